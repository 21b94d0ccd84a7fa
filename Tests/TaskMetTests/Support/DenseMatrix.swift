// Small dense matrices in plain Swift: the tests' own linear algebra, which shares nothing with the library's.

/// rows x columns, row-major.
struct DenseMatrix {
  let rows: Int
  let columns: Int
  var values: [Double]

  init(_ rows: Int, _ columns: Int, _ values: [Double]) {
    precondition(values.count == rows * columns)
    (self.rows, self.columns, self.values) = (rows, columns, values)
  }

  init(zeros rows: Int, _ columns: Int) {
    self.init(rows, columns, [Double](repeating: 0, count: rows * columns))
  }

  init(_ rows: [[Double]]) { self.init(rows.count, rows.first?.count ?? 0, rows.flatMap { $0 }) }

  static func identity(_ n: Int) -> DenseMatrix { diagonal([Double](repeating: 1, count: n)) }

  static func diagonal(_ entries: [Double]) -> DenseMatrix {
    var result = DenseMatrix(zeros: entries.count, entries.count)
    for (k, entry) in entries.enumerated() { result[k, k] = entry }
    return result
  }

  subscript(row: Int, column: Int) -> Double {
    get { values[row * columns + column] }
    set { values[row * columns + column] = newValue }
  }

  func row(_ index: Int) -> [Double] { Array(values[(index * columns)..<((index + 1) * columns)]) }
  func column(_ index: Int) -> [Double] { (0..<rows).map { self[$0, index] } }

  var transposed: DenseMatrix {
    var result = DenseMatrix(zeros: columns, rows)
    for i in 0..<rows { for j in 0..<columns { result[j, i] = self[i, j] } }
    return result
  }

  static func * (a: DenseMatrix, b: DenseMatrix) -> DenseMatrix {
    precondition(a.columns == b.rows)
    var result = DenseMatrix(zeros: a.rows, b.columns)
    a.values.withUnsafeBufferPointer { x in
      b.values.withUnsafeBufferPointer { y in
        for i in 0..<a.rows {
          for j in 0..<b.columns {
            result.values[i * b.columns + j] = dot(
              a.columns, x.baseAddress! + i * a.columns, 1, y.baseAddress! + j, b.columns)
          }
        }
      }
    }
    return result
  }

  static func * (a: DenseMatrix, x: [Double]) -> [Double] { (a * DenseMatrix(x.count, 1, x)).values }
  static func * (scale: Double, a: DenseMatrix) -> DenseMatrix { DenseMatrix(a.rows, a.columns, scale * a.values) }
  static func + (a: DenseMatrix, b: DenseMatrix) -> DenseMatrix { DenseMatrix(a.rows, a.columns, a.values .+ b.values) }
  static func - (a: DenseMatrix, b: DenseMatrix) -> DenseMatrix { DenseMatrix(a.rows, a.columns, a.values .- b.values) }

  /// A^-1 b by Gaussian elimination with partial pivoting, and one step of refinement.
  func solve(_ b: [Double]) -> [Double] {
    let x = eliminate(b)
    return x .+ eliminate(b .- self * x)
  }

  private func eliminate(_ b: [Double]) -> [Double] {
    var (values, x) = (values, b)
    values.withUnsafeMutableBufferPointer { buffer in
      guard let a = buffer.baseAddress else { return }
      for k in 0..<rows {
        let pivot = (k..<rows).max { abs(a[$0 * rows + k]) < abs(a[$1 * rows + k]) }!
        if pivot != k {
          for j in k..<rows { buffer.swapAt(k * rows + j, pivot * rows + j) }
          x.swapAt(k, pivot)
        }
        for i in (k + 1)..<max(rows, k + 1) {
          let factor = a[i * rows + k] / a[k * rows + k]
          var j = k
          while j < rows {
            a[i * rows + j] -= factor * a[k * rows + j]
            j += 1
          }
          x[i] -= factor * x[k]
        }
      }
      for k in (0..<rows).reversed() {
        for j in (k + 1)..<max(rows, k + 1) { x[k] -= a[k * rows + j] * x[j] }
        x[k] /= a[k * rows + k]
      }
    }
    return x
  }

  var inverse: DenseMatrix {
    DenseMatrix((0..<rows).map { solve(.unit(rows, $0)) }).transposed
  }
}
