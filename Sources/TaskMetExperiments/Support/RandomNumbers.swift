// Seeded random numbers for data sets: SplitMix64 (Steele, Lea and Flood), and the distributions that the problems draw from.

import Glibc

/// The same seed gives the same numbers on every machine.
struct RandomNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  /// A stream of its own for each purpose: what a data set draws does not change what a model draws.
  init(_ purpose: String, _ parts: Int...) {
    state = parts.reduce(fingerprint(purpose)) { fingerprint(" \($1)", from: $0) }
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// Uniform in [0, 1), 53 bits.
  mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

  mutating func uniform(_ lower: Double, _ upper: Double) -> Double { lower + (upper - lower) * uniform() }

  /// Uniform in 0 ..< count, by the high part of a product (its bias is below count / 2^64).
  mutating func index(below count: Int) -> Int { Int(next().multipliedFullWidth(by: UInt64(count)).high) }

  /// Standard normal, by Box and Muller.
  mutating func normal() -> Double {
    let radius = (-2 * log(1 - uniform())).squareRoot()
    return radius * cos(2 * .pi * uniform())
  }

  /// `wanted` different numbers below `count`, in random order.
  mutating func sample(_ wanted: Int, of count: Int) -> [Int] {
    var all = Array(0..<count)
    for index in 0..<wanted { all.swapAt(index, Int.random(in: index..<count, using: &self)) }
    return Array(all[..<wanted])
  }
}

/// FNV-1a of the text's bytes; `from` continues an earlier one.
func fingerprint(_ text: String, from start: UInt64 = 0xCBF2_9CE4_8422_2325) -> UInt64 {
  text.utf8.reduce(start) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
}
