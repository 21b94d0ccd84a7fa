// The soft choice of k out of M, which both selection tasks rest on:
//
//     z maximises a'z + T sum_i h(z_i) over 0 <= z <= 1, sum z = k,     h(z) = -z log z - (1 - z) log(1 - z)
//     z_i = sigmoid((a_i - t) / T), with t such that sum z = k
//
// This is the entropic optimal transport of M entries to the anchors "taken" and "left" (Xie et al. 2020), with its two dual
// variables brought down to one. The k largest entries are the taken ones; an entry's doubt is the part of it that is on the
// other side, 1 - z where it is taken and z where it is left. The equation is solved as log(doubts of those left) =
// log(doubts of the taken): this keeps its accuracy where z is within rounding of 0 and 1, and is close to linear in t.

import Glibc

final class SoftSelection {
  private typealias Lanes = SIMD8<Double>

  let count: Int
  let wanted: Int
  /// The entries, filled up to whole blocks of lanes.
  private let padded: Int
  private let memory: Buffer<Double>
  private let indices: Buffer<Int>
  /// 1 or 0: the k largest.
  private let isTaken: UnsafeMutablePointer<Double>
  /// +1 for an entry that is left, -1 for one that is taken.
  private let side: UnsafeMutablePointer<Double>
  /// The doubt is sigmoid(exponent - side threshold), where the smallest taken entry has exponent 0 and none has more.
  private let exponent: UnsafeMutablePointer<Double>
  /// The solution; it lives as long as this object.
  let z: UnsafeMutablePointer<Double>
  /// z (1 - z), accurate relative to itself.
  let spread: UnsafeMutablePointer<Double>
  private var temperature = 1.0
  private var threshold = 0.0

  /// 1 <= wanted <= count.
  init(choosing wanted: Int, of count: Int) throws {
    (self.count, self.wanted) = (count, wanted)
    padded = (count + Lanes.scalarCount - 1) / Lanes.scalarCount * Lanes.scalarCount
    memory = try Buffer(count: try checkedProduct(5, padded))
    indices = try Buffer(count: wanted)
    isTaken = memory.base
    side = memory.base + padded
    exponent = memory.base + 2 * padded
    z = memory.base + 3 * padded
    spread = memory.base + 4 * padded
  }

  /// Doubts of exp(-600) and less are zero: beyond this gap, in temperatures, the choice is hard.
  private static let hardGap = 1200.0

  /// Finds z for `count` finite scores.
  func choose(_ scores: UnsafePointer<Double>, temperature: Double) {
    self.temperature = temperature
    markLargest(wanted, of: count, scores, indices: indices.base, into: isTaken)
    let (smallestTaken, largestLeft) = gap(scores)
    let gap = (smallestTaken - largestLeft) / temperature
    if wanted == count || gap > Self.hardGap {
      z.update(from: isTaken, count: count)
      spread.update(repeating: 0, count: padded)
      return
    }
    for i in 0..<count {
      side[i] = 1 - 2 * isTaken[i]
      exponent[i] = side[i] * ((scores[i] - smallestTaken) / temperature)
    }
    for i in count..<padded { (isTaken[i], side[i], exponent[i]) = (0, 1, -.infinity) }
    findThreshold(gap)
    finish()
  }

  private func gap(_ scores: UnsafePointer<Double>) -> (smallestTaken: Double, largestLeft: Double) {
    var (smallestTaken, largestLeft) = (Double.infinity, -Double.infinity)
    for i in 0..<count {
      if isTaken[i] == 1 {
        smallestTaken = min(smallestTaken, scores[i])
      } else {
        largestLeft = max(largestLeft, scores[i])
      }
    }
    return (smallestTaken, largestLeft)
  }

  /// Newton's method within a bracket. With the gap's middle as origin, threshold x, the doubts of the smallest taken and the
  /// largest left entry have a ratio between exp(x) and exp(2 x), and each sum is at least one of them and at most all.
  private func findThreshold(_ gap: Double) {
    var lower = -gap / 2 - log(Double(wanted))
    var upper = -gap / 2 + log(Double(count - wanted))
    threshold = (lower + upper) / 2
    for _ in 0..<100 {
      let (taken, left, slope) = balance()
      let excess = log(left / taken)
      if excess > 0 { lower = threshold } else { upper = threshold }
      var next = threshold + excess / slope
      if !(next >= lower && next <= upper) { next = (lower + upper) / 2 }
      let step = abs(next - threshold)
      threshold = next
      // The next step would be of the order of this one's square.
      if step <= 1e-9 { return }
    }
  }

  /// The doubts' sums, and minus the derivative of log(left / taken).
  private func balance() -> (taken: Double, left: Double, slope: Double) {
    var (taken, left) = (Lanes(), Lanes())
    var (takenSlope, leftSlope) = (Lanes(), Lanes())
    for block in stride(from: 0, to: padded, by: Lanes.scalarCount) {
      let (doubt, spread) = doubts(block)
      let mask = load(isTaken, block)
      let (doubtTaken, spreadTaken) = (doubt * mask, spread * mask)
      taken += doubtTaken
      takenSlope += spreadTaken
      // Exact: the mask is 0 or 1.
      left += doubt - doubtTaken
      leftSlope += spread - spreadTaken
    }
    let (a, b) = (taken.sum(), left.sum())
    return (a, b, takenSlope.sum() / a + leftSlope.sum() / b)
  }

  /// z and its spread at the threshold.
  private func finish() {
    for block in stride(from: 0, to: padded, by: Lanes.scalarCount) {
      let (doubt, spread) = doubts(block)
      UnsafeMutableRawPointer(self.spread + block).storeBytes(of: spread, as: Lanes.self)
      let share = load(isTaken, block) + load(side, block) * doubt
      UnsafeMutableRawPointer(z + block).storeBytes(of: share, as: Lanes.self)
    }
  }

  @inline(__always)
  private func doubts(_ block: Int) -> (doubt: Lanes, spread: Lanes) {
    let u = load(exponent, block) - load(side, block) * threshold
    let isNegative = u .< 0
    let small = exponentialOfNonPositive(u.replacing(with: -u, where: .!isNegative))
    let share = 1 / (1 + small)
    return (share * small.replacing(with: 1, where: .!isNegative), small * share * share)
  }

  @inline(__always)
  private func load(_ values: UnsafeMutablePointer<Double>, _ block: Int) -> Lanes {
    UnsafeRawPointer(values + block).load(as: Lanes.self)
  }

  /// y'z.
  func dot(_ y: UnsafePointer<Double>) -> Double { shortDot(count, z, y) }

  /// sum_i h(z_i), from the exponents: log(1 + exp(-|u|)) + |u| times the smaller part.
  var entropy: Double {
    var sum = 0.0
    for i in 0..<count where spread[i] > 0 {
      let u = abs(exponent[i] - side[i] * threshold)
      let small = exp(-u)
      sum += log1p(small) + u * small / (1 + small)
    }
    return sum
  }

  /// slopes <- (dz/da)' weight: (spread_j / T) (w_j - the mean of w weighted by spread). Zero where the choice is hard.
  func pullBack(_ weight: UnsafePointer<Double>, scale: Double = 1, into slopes: UnsafeMutablePointer<Double>) {
    var total = 0.0
    for j in 0..<count { total += spread[j] }
    let mean = total > 0 ? shortDot(count, spread, weight) / total : 0
    for j in 0..<count { slopes[j] = scale * (spread[j] / temperature) * (weight[j] - mean) }
  }
}
