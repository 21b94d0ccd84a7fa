// Cholesky's factorisation of small matrices, where a call into LAPACK would cost more than the work.

/// Replaces the lower triangle of a symmetric matrix (order x order, row-major) by its Cholesky factor; false where the matrix
/// is not positive definite to working precision (its lower triangle is then lost).
func factorizeCholesky(_ order: Int, _ a: UnsafeMutablePointer<Double>) -> Bool {
  for i in 0..<order {
    let row = a + i * order
    let smallest = row[i] * Double(order) * 0x1p-50
    for j in 0..<i {
      let other = a + j * order
      row[j] = (row[j] - plainDot(j, row, other)) / other[j]
    }
    let pivot = row[i] - plainDot(i, row, row)
    guard pivot > smallest else { return false }
    row[i] = pivot.squareRoot()
  }
  return true
}

/// x <- (L L')^-1 x with the factor of `factorizeCholesky`.
func solveCholesky(_ order: Int, _ factor: UnsafePointer<Double>, _ x: UnsafeMutablePointer<Double>) {
  for i in 0..<order {
    let row = factor + i * order
    x[i] = (x[i] - plainDot(i, row, x)) / row[i]
  }
  for i in (0..<order).reversed() {
    let row = factor + i * order
    x[i] /= row[i]
    for j in 0..<i { x[j] -= row[j] * x[i] }
  }
}

@inline(__always)
private func plainDot(_ count: Int, _ x: UnsafePointer<Double>, _ y: UnsafePointer<Double>) -> Double {
  var sum = 0.0
  for k in 0..<count { sum += x[k] * y[k] }
  return sum
}
