// Dense symmetric linear systems by LAPACK.

import COpenBLAS

/// A factorised symmetric matrix A, n x n, or several of one order, which then share a few blocks of memory. Storage is
/// column-major; A is symmetric, so it is row-major just as well.
///
/// A is brought to a diagonal of about 1 first, D A D with D = 1/sqrt|A_kk|: unknowns of very different scales are no rank
/// deficiency.
struct SymmetricSystem {
  private enum Factorization: UInt8 {
    case cholesky, bunchKaufman
    /// Eigenvectors of A itself in the columns: for a matrix that is singular to working precision.
    case eigen
  }

  let order: Int
  let count: Int
  /// A matrix has a negative eigenvalue.
  let isIndefinite: Bool
  /// count x n x n.
  private let factors: Buffer<Double>
  /// count x n each: D, or the eigenvalues; and Bunch and Kaufman's pivots.
  private let scales: Buffer<Double>
  private let pivots: Buffer<Int32>
  private let factorizations: Buffer<Factorization>

  /// Factorises the matrices in place, both of whose triangles must be filled: Cholesky; where that fails, Bunch and
  /// Kaufman's; where A is singular, its eigenvalues, so that `solve` gives the least-norm solution.
  init(consuming matrices: Buffer<Double>, order: Int, count: Int = 1) throws {
    (self.order, self.count) = (order, count)
    factors = matrices
    scales = try Buffer(count: try checkedProduct(count, order))
    pivots = try Buffer(count: try checkedProduct(count, order))
    factorizations = try Buffer(count: count)
    let diagonal = try Buffer<Double>(count: order)
    var isIndefinite = false
    for k in 0..<count {
      let (kind, negative) = try Self.factorize(
        matrices.base + k * order * order, order, scale: scales.base + k * order, pivots: pivots.base + k * order,
        diagonal.base)
      factorizations[k] = kind
      isIndefinite = isIndefinite || negative
    }
    self.isIndefinite = isIndefinite
  }

  /// What became of a matrix, and whether it has a negative eigenvalue. `diagonal` is room for n numbers.
  private static func factorize(
    _ matrix: UnsafeMutablePointer<Double>, _ order: Int, scale: UnsafeMutablePointer<Double>,
    pivots: UnsafeMutablePointer<Int32>, _ diagonal: UnsafeMutablePointer<Double>
  ) throws -> (Factorization, isIndefinite: Bool) {
    let n = Int32(order)
    for k in 0..<order {
      let entry = abs(matrix[k * (order + 1)])
      scale[k] = entry > 0 ? 1 / entry.squareRoot() : 1
    }
    rescale(matrix, order) { scale[$0] }
    for k in 0..<order { diagonal[k] = matrix[k * (order + 1)] }
    /// The upper triangle is left alone by LAPACK.
    func restore() {
      for column in 0..<order {
        matrix[column * (order + 1)] = diagonal[column]
        for row in (column + 1)..<order {
          matrix[row + column * order] = matrix[column + row * order]
        }
      }
    }
    if LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, CChar(UInt8(ascii: "L")), n, matrix, n) == 0,
      (0..<order).allSatisfy({ power(matrix[$0 * (order + 1)], 2) > rounding(order) })
    {
      return (.cholesky, false)
    }
    restore()
    if let negative = try bunchKaufman(matrix, order, pivots) { return (.bunchKaufman, negative) }
    restore()
    rescale(matrix, order) { 1 / scale[$0] }
    try eigen(matrix, order, scale)
    return (.eigen, scale[0] < -cutoff(scale, order))
  }

  /// What is rounding beside 1 in a matrix that was itself summed up.
  private static func rounding(_ order: Int) -> Double { 32 * Double(order) * 0x1p-52 }

  private static func rescale(_ matrix: UnsafeMutablePointer<Double>, _ order: Int, _ factor: (Int) -> Double) {
    for column in 0..<order {
      let columnFactor = factor(column)
      for row in 0..<order { matrix[row + column * order] *= columnFactor * factor(row) }
    }
  }

  /// Whether D has a negative eigenvalue; nil where one of them is zero to working precision.
  private static func bunchKaufman(
    _ matrix: UnsafeMutablePointer<Double>, _ order: Int, _ pivots: UnsafeMutablePointer<Int32>
  ) throws -> Bool? {
    let n = Int32(order)
    let lower = CChar(UInt8(ascii: "L"))
    var largest = 0.0
    for k in 0..<(order * order) { largest = max(largest, abs(matrix[k])) }
    var size = 0.0
    LAPACKE_dsytrf_work(LAPACK_COL_MAJOR, lower, n, matrix, n, pivots, &size, -1)
    let work = try Buffer<Double>(count: max(1, Int(size)))
    let status = LAPACKE_dsytrf_work(
      LAPACK_COL_MAJOR, lower, n, matrix, n, pivots, work.base, Int32(work.count))
    if status != 0 { return nil }
    let threshold = rounding(order) * largest
    var negative = false
    var k = 0
    while k < order {
      let a = matrix[k * (order + 1)]
      if pivots[k] > 0 {
        if abs(a) <= threshold { return nil }
        negative = negative || a < 0
        k += 1
      } else {
        // A 2 x 2 pivot of this method has one eigenvalue of each sign.
        let (b, c) = (matrix[k * (order + 1) + 1], matrix[(k + 1) * (order + 1)])
        if abs(a * c - b * b) <= threshold * max(abs(a), abs(b), abs(c)) { return nil }
        negative = true
        k += 2
      }
    }
    return negative
  }

  private static func eigen(
    _ matrix: UnsafeMutablePointer<Double>, _ order: Int, _ values: UnsafeMutablePointer<Double>
  ) throws {
    let n = Int32(order)
    let vectors = CChar(UInt8(ascii: "V"))
    let lower = CChar(UInt8(ascii: "L"))
    var size = 0.0
    var integerSize: Int32 = 0
    LAPACKE_dsyevd_work(
      LAPACK_COL_MAJOR, vectors, lower, n, matrix, n, values, &size, -1, &integerSize, -1)
    let work = try Buffer<Double>(count: max(1, Int(size)))
    let integers = try Buffer<Int32>(count: max(1, Int(integerSize)))
    let status = LAPACKE_dsyevd_work(
      LAPACK_COL_MAJOR, vectors, lower, n, matrix, n, values, work.base, Int32(work.count), integers.base,
      Int32(integers.count))
    if status != 0 { throw TaskMetError.numerical("the eigenvalues of a singular system did not converge") }
  }

  /// Eigenvalues of this size and below are rounding.
  private static func cutoff(_ values: UnsafePointer<Double>, _ order: Int) -> Double {
    rounding(order) * max(abs(values[0]), abs(values[order - 1]))
  }

  /// x <- A^-1 x (the least-norm solution where A is singular), A the matrix of this index.
  func solve(_ x: UnsafeMutablePointer<Double>, of index: Int = 0) throws {
    let n = Int32(order)
    let lower = CChar(UInt8(ascii: "L"))
    let (factors, scale) = (self.factors.base + index * order * order, scales.base + index * order)
    switch factorizations[index] {
    case .cholesky:
      multiplyElements(order, x, by: scale)
      LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, lower, n, 1, factors, n, x, n)
      multiplyElements(order, x, by: scale)
    case .bunchKaufman:
      multiplyElements(order, x, by: scale)
      LAPACKE_dsytrs_work(LAPACK_COL_MAJOR, lower, n, 1, factors, n, pivots.base + index * order, x, n)
      multiplyElements(order, x, by: scale)
    case .eigen:
      let coordinates = try Buffer<Double>(repeating: 0, count: order)
      let cutoff = Self.cutoff(scale, order)
      for k in 0..<order where abs(scale[k]) > cutoff {
        coordinates[k] = Double.dot(order, factors + k * order, x) / scale[k]
      }
      x.update(repeating: 0, count: order)
      for k in 0..<order { Double.axpy(order, coordinates[k], factors + k * order, x) }
    }
  }
}

/// The smallest and the largest eigenvalue of a symmetric matrix, which is overwritten.
func extremeEigenvalues(_ matrix: UnsafeMutablePointer<Double>, order: Int) throws -> (
  smallest: Double, largest: Double
) {
  let n = Int32(order)
  let values = try Buffer<Double>(count: order)
  let work = try Buffer<Double>(count: 34 * order)
  let status = LAPACKE_dsyev_work(
    LAPACK_COL_MAJOR, CChar(UInt8(ascii: "N")), CChar(UInt8(ascii: "L")), n, matrix, n, values.base, work.base,
    Int32(work.count))
  if status != 0 { throw TaskMetError.numerical("the eigenvalues of a symmetric matrix did not converge") }
  return (values[0], values[order - 1])
}
