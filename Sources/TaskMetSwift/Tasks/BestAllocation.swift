// The budget allocation's real decision: the set of rows that reaches most users.

/// Chooses `budget` of an instance's rows for given rates.
struct BestAllocation {
  let rows: Int
  let users: Int
  let budget: Int
  /// rows x users, in [0, 1].
  private let rates: Buffer<Double>

  /// Sets that are looked at one by one.
  static let enumerated = 100_000

  /// The rates are brought into [0, 1].
  init(rows: Int, users: Int, budget: Int, rates source: UnsafePointer<Double>) throws {
    (self.rows, self.users, self.budget) = (rows, users, budget)
    rates = try Buffer(count: rows * users)
    for k in 0..<(rows * users) { rates[k] = min(max(source[k], 0), 1) }
  }

  /// decision: rows numbers, 0 or 1.
  func choose(into decision: UnsafeMutablePointer<Double>) throws {
    decision.update(repeating: 0, count: rows)
    if setCount <= Self.enumerated {
      let chosen = try best()
      for k in 0..<budget { decision[chosen[k]] = 1 }
    } else {
      try addGreedily(to: decision)
    }
  }

  /// The number of sets, or one more than are enumerated.
  private var setCount: Int {
    let smaller = min(budget, rows - budget)
    var count = 1
    for k in 0..<smaller {
      count = count * (rows - k) / (k + 1)
      if count > Self.enumerated { return Self.enumerated + 1 }
    }
    return count
  }

  // MARK: Enumeration

  /// The first of the best sets, in lexicographic order. missed[k] has each user's chance of being missed by the first k rows of
  /// the present set, so that a new last row costs one pass over the users.
  func best() throws -> Buffer<Int> {
    let set = try Buffer<Int>(count: budget)
    let best = try Buffer<Int>(count: budget)
    let missed = try Buffer<Double>(repeating: 1, count: (budget + 1) * users)
    for k in 0..<budget {
      set[k] = k
      miss(set[k], missed.base + k * users, into: missed.base + (k + 1) * users)
    }
    var fewest = Double.infinity
    repeat {
      let sum = sumOfMissed(missed.base + (budget - 1) * users, set[budget - 1])
      if sum < fewest {
        fewest = sum
        best.base.update(from: set.base, count: budget)
      }
    } while advance(set, missed)
    return best
  }

  /// To the next set; false after the last.
  private func advance(_ set: Buffer<Int>, _ missed: Buffer<Double>) -> Bool {
    var place = budget - 1
    while place >= 0, set[place] == rows - budget + place { place -= 1 }
    if place < 0 { return false }
    set[place] += 1
    for k in (place + 1)..<max(budget, place + 1) { set[k] = set[k - 1] + 1 }
    // The last row's products are summed up, never needed.
    for k in place..<max(budget - 1, place) {
      miss(set[k], missed.base + k * users, into: missed.base + (k + 1) * users)
    }
    return true
  }

  private func miss(_ row: Int, _ chance: UnsafePointer<Double>, into product: UnsafeMutablePointer<Double>) {
    let rate = rates.base + row * users
    for j in 0..<users { product[j] = chance[j] * (1 - rate[j]) }
  }

  private func sumOfMissed(_ chance: UnsafePointer<Double>, _ row: Int) -> Double {
    let rate = rates.base + row * users
    var sum = 0.0
    for j in 0..<users { sum += chance[j] * (1 - rate[j]) }
    return sum
  }

  // MARK: Greedy

  /// Adds the row that reaches most of the users missed so far, again and again. Gains only shrink as the set grows (rounded
  /// products and sums included), so that a row whose new gain is still the largest of the old ones is the best: others need not be
  /// looked at (Minoux 1978).
  func addGreedily(to decision: UnsafeMutablePointer<Double>) throws {
    let missed = try Buffer<Double>(repeating: 1, count: users)
    let gains = try Buffer<Double>(count: rows)
    let indices = try Buffer<Int>(count: rows)
    for i in 0..<rows { gains[i] = gain(i, missed.base) }
    let heap = RankedHeap(.highest, count: rows, values: gains.base, indices: indices.base)
    for _ in 0..<budget {
      while true {
        let candidate = heap.top
        gains[candidate] = gain(candidate, missed.base)
        heap.settleRoot()
        if heap.top == candidate { break }
      }
      let chosen = heap.top
      decision[chosen] = 1
      miss(chosen, missed.base, into: missed.base)
      gains[chosen] = -1
      heap.settleRoot()
    }
  }

  private func gain(_ row: Int, _ missed: UnsafePointer<Double>) -> Double {
    shortDot(users, rates.base + row * users, missed)
  }
}
