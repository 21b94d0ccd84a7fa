// Dense symmetric linear systems by LAPACK.

import COpenBLAS

/// A factorised symmetric matrix A, n x n. Storage is column-major; A is symmetric, so it is row-major just as well.
///
/// A is brought to a diagonal of about 1 first, D A D with D = 1/sqrt|A_kk|: unknowns of very different scales are no rank
/// deficiency.
struct SymmetricSystem {
  private enum Factorization {
    case cholesky
    case bunchKaufman(pivots: Buffer<Int32>)
    /// Eigenvectors of A itself in the columns, and the eigenvalues: for a matrix that is singular to working precision.
    case eigen(values: Buffer<Double>)
  }

  let order: Int
  /// A has a negative eigenvalue.
  let isIndefinite: Bool
  private let factors: Buffer<Double>
  private let scale: Buffer<Double>
  private let factorization: Factorization

  /// Factorises the matrix in place, both of whose triangles must be filled: Cholesky; where that fails, Bunch and Kaufman's;
  /// where A is singular, its eigenvalues, so that `solve` gives the least-norm solution.
  init(consuming matrix: Buffer<Double>, order: Int) throws {
    self.order = order
    factors = matrix
    let n = Int32(order)
    let scale = try Buffer<Double>(count: order)
    self.scale = scale
    for k in 0..<order {
      let entry = abs(matrix[k * (order + 1)])
      scale[k] = entry > 0 ? 1 / entry.squareRoot() : 1
    }
    Self.rescale(matrix, order) { scale[$0] }
    let diagonal = try Buffer<Double>(count: order)
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
    if LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, CChar(UInt8(ascii: "L")), n, matrix.base, n) == 0,
      (0..<order).allSatisfy({ power(matrix[$0 * (order + 1)], 2) > Self.rounding(order) })
    {
      factorization = .cholesky
      isIndefinite = false
      return
    }
    restore()
    if let (pivots, negative) = try Self.bunchKaufman(matrix, order) {
      factorization = .bunchKaufman(pivots: pivots)
      isIndefinite = negative
      return
    }
    restore()
    Self.rescale(matrix, order) { 1 / scale[$0] }
    let values = try Buffer<Double>(count: order)
    try Self.eigen(matrix, order, values)
    factorization = .eigen(values: values)
    isIndefinite = values[0] < -Self.cutoff(values)
  }

  /// What is rounding beside 1 in a matrix that was itself summed up.
  private static func rounding(_ order: Int) -> Double { 32 * Double(order) * 0x1p-52 }

  private static func rescale(_ matrix: Buffer<Double>, _ order: Int, _ factor: (Int) -> Double) {
    for column in 0..<order {
      let columnFactor = factor(column)
      for row in 0..<order { matrix[row + column * order] *= columnFactor * factor(row) }
    }
  }

  /// Pivots, and whether D has a negative eigenvalue; nil where an eigenvalue of D is zero to working precision.
  private static func bunchKaufman(_ matrix: Buffer<Double>, _ order: Int) throws -> (Buffer<Int32>, Bool)? {
    let n = Int32(order)
    let lower = CChar(UInt8(ascii: "L"))
    var largest = 0.0
    for k in 0..<(order * order) { largest = max(largest, abs(matrix[k])) }
    let pivots = try Buffer<Int32>(count: order)
    var size = 0.0
    LAPACKE_dsytrf_work(LAPACK_COL_MAJOR, lower, n, matrix.base, n, pivots.base, &size, -1)
    let work = try Buffer<Double>(count: max(1, Int(size)))
    let status = LAPACKE_dsytrf_work(
      LAPACK_COL_MAJOR, lower, n, matrix.base, n, pivots.base, work.base, Int32(work.count))
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
    return (pivots, negative)
  }

  private static func eigen(_ matrix: Buffer<Double>, _ order: Int, _ values: Buffer<Double>) throws {
    let n = Int32(order)
    let vectors = CChar(UInt8(ascii: "V"))
    let lower = CChar(UInt8(ascii: "L"))
    var size = 0.0
    var integerSize: Int32 = 0
    LAPACKE_dsyevd_work(
      LAPACK_COL_MAJOR, vectors, lower, n, matrix.base, n, values.base, &size, -1, &integerSize, -1)
    let work = try Buffer<Double>(count: max(1, Int(size)))
    let integers = try Buffer<Int32>(count: max(1, Int(integerSize)))
    let status = LAPACKE_dsyevd_work(
      LAPACK_COL_MAJOR, vectors, lower, n, matrix.base, n, values.base, work.base, Int32(work.count), integers.base,
      Int32(integers.count))
    if status != 0 { throw TaskMetError.numerical("the eigenvalues of a singular system did not converge") }
  }

  /// Eigenvalues of this size and below are rounding.
  private static func cutoff(_ values: Buffer<Double>) -> Double {
    rounding(values.count) * max(abs(values[0]), abs(values[values.count - 1]))
  }

  /// x <- A^-1 x (the least-norm solution where A is singular).
  func solve(_ x: UnsafeMutablePointer<Double>) throws {
    let n = Int32(order)
    let lower = CChar(UInt8(ascii: "L"))
    switch factorization {
    case .cholesky:
      multiplyElements(order, x, by: scale.base)
      LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, lower, n, 1, factors.base, n, x, n)
      multiplyElements(order, x, by: scale.base)
    case .bunchKaufman(let pivots):
      multiplyElements(order, x, by: scale.base)
      LAPACKE_dsytrs_work(LAPACK_COL_MAJOR, lower, n, 1, factors.base, n, pivots.base, x, n)
      multiplyElements(order, x, by: scale.base)
    case .eigen(let values):
      let coordinates = try Buffer<Double>(repeating: 0, count: order)
      let cutoff = Self.cutoff(values)
      for k in 0..<order where abs(values[k]) > cutoff {
        coordinates[k] = Double.dot(order, factors.base + k * order, x) / values[k]
      }
      x.update(repeating: 0, count: order)
      for k in 0..<order { Double.axpy(order, coordinates[k], factors.base + k * order, x) }
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
