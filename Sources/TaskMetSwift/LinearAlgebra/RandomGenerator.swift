// Seeded random numbers: xoshiro256++ (Blackman and Vigna), its state filled by SplitMix64.

import Glibc

/// The same seed gives the same numbers on every machine.
struct RandomGenerator: RandomNumberGenerator {
  private var state: (UInt64, UInt64, UInt64, UInt64)
  private var spareNormal: Double?

  init(seed: UInt64) {
    var mixer = seed
    func next() -> UInt64 {
      mixer &+= 0x9E37_79B9_7F4A_7C15
      var z = mixer
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
    state = (next(), next(), next(), next())
  }

  /// The state, for checkpoints: four words (a spare normal is dropped; batches draw none).
  var words: [UInt64] {
    get { [state.0, state.1, state.2, state.3] }
    set {
      state = (newValue[0], newValue[1], newValue[2], newValue[3])
      spareNormal = nil
    }
  }

  mutating func next() -> UInt64 {
    func rotate(_ x: UInt64, _ k: UInt64) -> UInt64 { (x << k) | (x >> (64 - k)) }
    let result = rotate(state.0 &+ state.3, 23) &+ state.0
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = rotate(state.3, 45)
    return result
  }

  /// Uniform in [0, 1), 53 bits.
  mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// `wanted` different numbers below `count`, any set as likely as any other (all of them where `wanted` is no less), by
  /// Floyd's method.
  mutating func sample(_ wanted: Int, of count: Int) -> [Int] {
    if wanted >= count { return Array(0..<count) }
    var chosen = Set<Int>(minimumCapacity: wanted)
    var result: [Int] = []
    result.reserveCapacity(wanted)
    for top in (count - wanted)..<count {
      let candidate = Int(next() % UInt64(top + 1))
      let pick = chosen.contains(candidate) ? top : candidate
      chosen.insert(pick)
      result.append(pick)
    }
    return result
  }

  /// 0 ..< count in random order (Fisher and Yates).
  mutating func permutation(of count: Int) -> [Int] {
    var order = Array(0..<count)
    for last in stride(from: count - 1, to: 0, by: -1) { order.swapAt(last, Int(next() % UInt64(last + 1))) }
    return order
  }

  /// Standard normal, by Box and Muller.
  mutating func normal() -> Double {
    if let spare = spareNormal {
      spareNormal = nil
      return spare
    }
    let radius = (-2 * Glibc.log(1 - uniform())).squareRoot()
    let angle = 2 * Double.pi * uniform()
    spareNormal = radius * Glibc.sin(angle)
    return radius * Glibc.cos(angle)
  }
}
