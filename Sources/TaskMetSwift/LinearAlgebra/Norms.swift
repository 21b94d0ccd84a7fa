// Lengths of vectors of any size: a square may overflow, or vanish, where the length does not.

import Glibc

/// Whether the root of a sum of squares is right: no square overflowed, and those that vanished do not count beside the sum.
@inline(__always)
private func isTrusted<Scalar: BinaryFloatingPoint>(_ squares: Scalar) -> Bool {
  let least = Scalar(sign: .plus, exponent: Scalar.leastNormalMagnitude.exponent * 7 / 8, significand: 1)
  return squares > least && squares < .infinity
}

/// A power of two that brings numbers whose squares sum up to this to where their squares are safe.
private func scale<Scalar: BinaryFloatingPoint>(for squares: Scalar) -> Scalar {
  let exponent = Scalar.greatestFiniteMagnitude.exponent * 4 / 5
  return Scalar(sign: .plus, exponent: squares < 1 ? exponent : -exponent, significand: 1)
}

/// The Euclidean norm, by the dot product: BLAS's own nrm2 is several times slower.
func norm<Scalar: BLASScalar>(_ count: Int, _ x: UnsafePointer<Scalar>) -> Scalar {
  let squares = Scalar.dot(count, x, x)
  if isTrusted(squares) || squares.isNaN { return squares.squareRoot() }
  let scale = scale(for: squares)
  var sum: Scalar = 0
  for k in 0..<count { sum += (scale * x[k]) * (scale * x[k]) }
  return sum.squareRoot() / scale
}

/// sqrt(mean of x_k^2) over k < count.
@inline(__always)
func rootMeanSquare(_ count: Int, _ x: (Int) -> Double) -> Double {
  func sum(_ scale: Double) -> Double {
    var sum = 0.0
    for k in 0..<count {
      let value = scale * x(k)
      sum += value * value
    }
    return sum
  }
  let squares = sum(1)
  if isTrusted(squares) || squares.isNaN { return (squares / Double(count)).squareRoot() }
  let scale = scale(for: squares)
  return (sum(scale) / Double(count)).squareRoot() / scale
}

/// sqrt(a^2 + b^2).
func hypotenuse(_ a: Double, _ b: Double) -> Double { Glibc.hypot(a, b) }
