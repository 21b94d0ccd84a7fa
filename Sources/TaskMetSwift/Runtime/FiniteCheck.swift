// Looking for numbers that are not finite.

/// The index of the first element that is not finite.
@_specialize(where Scalar == Double)
@_specialize(where Scalar == Float)
func firstNonFinite<Scalar: BinaryFloatingPoint & SIMDScalar>(_ count: Int, _ x: UnsafePointer<Scalar>) -> Int? {
  // Summing x - x (0 or NaN) has no branch, so the common case of a clean vector runs at memory speed.
  var total = SIMD8<Scalar>(repeating: 0)
  let vectors = count / 8
  for block in 0..<vectors {
    let value = UnsafeRawPointer(x + 8 * block).loadUnaligned(as: SIMD8<Scalar>.self)
    total += value - value
  }
  var tail = total.sum()
  for index in (8 * vectors)..<count { tail += x[index] - x[index] }
  if tail == 0 { return nil }
  return (0..<count).first { !x[$0].isFinite }
}
