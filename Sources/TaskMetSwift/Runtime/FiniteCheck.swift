// Looking for numbers that are not finite.

/// The index of the first element that is not finite. A clean vector, the common case, is passed over at memory speed.
@inline(__always)
func firstNonFinite<Scalar: BLASScalar>(_ count: Int, _ x: UnsafePointer<Scalar>) -> Int? {
  Scalar.areFinite(count, x) ? nil : (0..<count).first { !x[$0].isFinite }
}
