// exp for eight arguments at once, none of them positive: what sums of sigmoids are made of.

/// exp(x) for x <= 0, to 4e-16 relative; 0 below -708. The same bits on every machine: no library function, no fused
/// multiply-add.
@inline(__always)
func exponentialOfNonPositive(_ x: SIMD8<Double>) -> SIMD8<Double> {
  let lowest = SIMD8<Double>(repeating: -708)
  let isTiny = x .< lowest
  let clamped = x.replacing(with: lowest, where: isTiny)
  // Adding 1.5 2^52 rounds to an integer, and leaves it in the low bits.
  let shifter = SIMD8<Double>(repeating: 0x1.8p52)
  let shifted = clamped * 1.4426950408889634 + shifter
  let power = shifted - shifter
  // The first part of log 2 has 32 bits: its products with powers are exact.
  let r = (clamped - power * 0x1.62e42feep-1) - power * 0x1.a39ef35793c76p-33
  let bits = (unsafeBitCast(shifted, to: SIMD8<UInt64>.self) &+ 1023) &<< 52
  let result = taylorExponential(r) * unsafeBitCast(bits, to: SIMD8<Double>.self)
  return result.replacing(with: 0, where: isTiny)
}

/// The Taylor series of exp to degree 12, for |r| <= log(2) / 2.
@inline(__always)
private func taylorExponential(_ r: SIMD8<Double>) -> SIMD8<Double> {
  var sum = SIMD8<Double>(repeating: 1 / 479001600)
  sum = sum * r + 1 / 39916800
  sum = sum * r + 1 / 3628800
  sum = sum * r + 1 / 362880
  sum = sum * r + 1 / 40320
  sum = sum * r + 1 / 5040
  sum = sum * r + 1 / 720
  sum = sum * r + 1 / 120
  sum = sum * r + 1 / 24
  sum = sum * r + 1 / 6
  sum = sum * r + 0.5
  sum = sum * r + 1
  return sum * r + 1
}
