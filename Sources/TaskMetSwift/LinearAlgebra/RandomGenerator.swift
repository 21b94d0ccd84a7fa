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

  /// `wanted` different numbers below `count`, any set as likely as any other, by Floyd's method; nil for all of them, in
  /// order, where `wanted` is no less.
  mutating func sample(_ wanted: Int, of count: Int) throws -> Buffer<Int>? {
    if wanted >= count { return nil }
    let chosen = try IntegerSet(capacity: wanted)
    let result = try Buffer<Int>(count: wanted)
    for index in 0..<wanted {
      let top = count - wanted + index
      let candidate = Int(next() % UInt64(top + 1))
      let pick = chosen.contains(candidate) ? top : candidate
      chosen.insert(pick)
      result[index] = pick
    }
    return result
  }

  /// 0 ..< count in random order (Fisher and Yates).
  mutating func permutation(of count: Int) throws -> Buffer<Int> {
    let order = try Buffer<Int>(count: count)
    for k in 0..<count { order[k] = k }
    for last in stride(from: count - 1, to: 0, by: -1) {
      let other = Int(next() % UInt64(last + 1))
      (order[last], order[other]) = (order[other], order[last])
    }
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

/// Integers >= 0, at most as many as it was made for: a hash table with linear probing.
private struct IntegerSet {
  /// -1 where nothing is.
  private let slots: Buffer<Int>
  private let mask: Int

  init(capacity: Int) throws {
    var size = 16
    while size < 2 * capacity { size *= 2 }
    slots = try Buffer(repeating: -1, count: size)
    mask = size - 1
  }

  /// Where the value is, or would be.
  private func slot(of value: Int) -> Int {
    var slot = Int(truncatingIfNeeded: (UInt64(value) &* 0x9E37_79B9_7F4A_7C15) >> 20) & mask
    while slots[slot] >= 0, slots[slot] != value { slot = (slot + 1) & mask }
    return slot
  }

  func contains(_ value: Int) -> Bool { slots[slot(of: value)] == value }
  func insert(_ value: Int) { slots[slot(of: value)] = value }
}
