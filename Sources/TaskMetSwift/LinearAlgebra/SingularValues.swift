// The singular value decomposition of a small dense matrix, by LAPACK: rank, null space and least-norm solutions.

import COpenBLAS

/// R = V S U', rows x columns; singular values in falling order.
struct SingularValues {
  let rows: Int
  let columns: Int
  /// How many singular values are not negligible.
  let rank: Int
  private let values: Buffer<Double>
  /// All of the columns' vectors, one after the other: first those of the row space, then those of the null space.
  private let right: Buffer<Double>
  /// Entry i of the rows' vector k is at k + i * min(rows, columns).
  private let left: Buffer<Double>

  /// Of a row-major matrix, which is overwritten. Singular values up to `negligible`, or to rounding, count as zero.
  init(consuming matrix: Buffer<Double>, rows: Int, columns: Int, negligible: Double = 0) throws {
    (self.rows, self.columns) = (rows, columns)
    let small = min(rows, columns)
    values = try Buffer(repeating: 0, count: small)
    right = try Buffer(repeating: 0, count: try checkedProduct(columns, columns))
    left = try Buffer(count: try checkedProduct(small, rows))
    for k in 0..<columns { right[k * (columns + 1)] = 1 }
    if small > 0 { try Self.decompose(matrix, rows, columns, values, right, left) }
    let rounding = small == 0 ? 0 : 4 * Double(max(rows, columns)) * 0x1p-52 * values[0]
    let cutoff = max(negligible, rounding)
    rank = (0..<small).first { [values] in !(values[$0] > cutoff) } ?? small
  }

  /// To LAPACK, which reads by columns, the matrix is its transpose.
  private static func decompose(
    _ matrix: Buffer<Double>, _ rows: Int, _ columns: Int, _ values: Buffer<Double>, _ right: Buffer<Double>,
    _ left: Buffer<Double>
  ) throws {
    let (m, n, small) = (Int32(columns), Int32(rows), Int32(min(rows, columns)))
    // The null space is wanted, so all of the columns' vectors, but no more of the rows' than there are values.
    let job = CChar(UInt8(ascii: rows > columns ? "S" : "A"))
    let integers = try Buffer<Int32>(count: 8 * Int(small))
    func run(_ work: UnsafeMutablePointer<Double>, _ size: Int32) -> Int32 {
      LAPACKE_dgesdd_work(
        LAPACK_COL_MAJOR, job, m, n, matrix.base, m, values.base, right.base, m, left.base, small, work, size,
        integers.base)
    }
    var size = 0.0
    var status = run(&size, -1)
    if status == 0 {
      let work = try Buffer<Double>(count: max(1, Int(size)))
      status = run(work.base, Int32(work.count))
    }
    if status != 0 { throw TaskMetError.numerical("the singular values of a matrix did not converge") }
  }

  var nullity: Int { columns - rank }

  /// An orthonormal basis of the null space: `nullity` vectors of `columns` numbers, one after the other.
  var nullSpace: UnsafePointer<Double> { UnsafePointer(right.base + rank * columns) }

  /// x += the least-norm solution of R x = b (of least squares where there is none).
  func addSolution(of b: UnsafePointer<Double>, to x: UnsafeMutablePointer<Double>) {
    let small = min(rows, columns)
    for k in 0..<rank {
      var coordinate = 0.0
      for i in 0..<rows { coordinate += left[k + i * small] * b[i] }
      Double.axpy(columns, coordinate / values[k], right.base + k * columns, x)
    }
  }

  /// y += the least-norm solution of R'y = b.
  func addTransposedSolution(of b: UnsafePointer<Double>, to y: UnsafeMutablePointer<Double>) {
    let small = min(rows, columns)
    for k in 0..<rank {
      let coordinate = Double.dot(columns, right.base + k * columns, b) / values[k]
      for i in 0..<rows { y[i] += coordinate * left[k + i * small] }
    }
  }
}
