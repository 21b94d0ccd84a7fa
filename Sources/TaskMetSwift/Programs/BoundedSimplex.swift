// min 1/2 z'Hz - y'z over sum z = 1, lower <= z <= upper, with H positive definite: a primal active-set method for many small
// programs, and the derivative of their solutions.
//
// A variable is free or at a bound; at least one is always free, so that the active constraints are independent. A step goes to
// the minimum over the free variables, or as far as the first bound on the way; there, the variable whose multiplier has the wrong
// sign most is freed. Each such minimum is lower than the one before unless a step has no length, and after too many of
// those the lowest index is chosen. The set that is found decides everything else: the solution is computed from it
// anew, so that it does not depend on the way.

/// The fixed part of a program. H = curvature Q.
struct BoundedSimplex {
  let count: Int
  /// Q: count x count.
  let matrix: UnsafePointer<Double>
  let curvature: Double
  let lower: Double
  let upper: Double

  func entry(_ i: Int, _ j: Int) -> Double { curvature * matrix[i * count + j] }

  /// out = H z
  func multiply(_ z: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
    out.update(repeating: 0, count: count)
    for k in 0..<count where z[k] != 0 { shortAxpy(count, curvature * z[k], matrix + k * count, out) }
  }
}

/// A solution and the memory it took to find it.
struct BoundedSimplexSolution {
  private enum Place: UInt8 {
    case free, atLower, atUpper
  }

  private let program: BoundedSimplex
  private let y: UnsafePointer<Double>
  /// The solution, and H z.
  let z: Buffer<Double>
  private let product: Buffer<Double>
  private let places: Buffer<UInt8>
  /// The free variables, in the order of the factor's rows: H_FF.
  private let free: Buffer<Int>
  private var factor: ChangingCholesky
  /// By position in `free`: a step, and H_FF^-1 1.
  private let step: Buffer<Double>
  private let ones: Buffer<Double>

  /// Of H: on its diagonal, since it is positive definite.
  private let largestEntry: Double

  private var freeCount: Int { factor.order }

  private init(_ program: BoundedSimplex, _ y: UnsafePointer<Double>) throws {
    self.program = program
    self.y = y
    let count = program.count
    largestEntry = (0..<count).reduce(0) { max($0, program.entry($1, $1)) }
    z = try Buffer(repeating: program.lower, count: count)
    product = try Buffer(count: count)
    places = try Buffer(repeating: Place.atLower.rawValue, count: count)
    free = try Buffer(count: count)
    factor = try ChangingCholesky(capacity: count)
    step = try Buffer(count: count)
    ones = try Buffer(count: count)
  }

  /// By search; nil where it does not end at a point that is optimal to `tolerance` (relative).
  static func search(
    _ program: BoundedSimplex, _ y: UnsafePointer<Double>, tolerance: Double = 1e-10
  ) throws -> BoundedSimplexSolution? {
    var solution = try BoundedSimplexSolution(program, y)
    guard solution.start(), solution.search(), solution.settle() else { return nil }
    return solution.residual() <= tolerance * solution.scale ? solution : nil
  }

  /// By a point near the solution, which shows the active set, or one from which the search has not far to go.
  static func refine(
    _ program: BoundedSimplex, _ y: UnsafePointer<Double>, near point: UnsafePointer<Double>, tolerance: Double = 1e-9
  ) throws -> BoundedSimplexSolution? {
    var solution = try BoundedSimplexSolution(program, y)
    var (widest, most) = (0, -Double.infinity)
    for j in 0..<program.count {
      let (below, above) = (point[j] - program.lower, program.upper - point[j])
      let room = min(below, above)
      solution.place(j, room > 1e-9 ? .free : below < above ? .atLower : .atUpper)
      if room > most { (widest, most) = (j, room) }
    }
    solution.place(widest, .free)
    guard solution.settle(), solution.search(), solution.settle() else { return nil }
    return solution.residual() <= tolerance * solution.scale ? solution : nil
  }

  // MARK: The search

  /// The best vertex for y alone: mass goes to the largest entries first, the one that gets the last of it is free.
  private mutating func start() -> Bool {
    let width = program.upper - program.lower
    var mass = 1 - Double(program.count) * program.lower
    var filled = 0
    while true {
      var best = -1
      for j in 0..<program.count where places[j] == Place.atLower.rawValue && (best < 0 || y[j] > y[best]) { best = j }
      filled += 1
      if mass > width, filled < program.count {
        place(best, .atUpper)
        mass -= width
        continue
      }
      z[best] = min(program.upper, program.lower + max(mass, 0))
      program.multiply(z.base, into: product.base)
      return release(best)
    }
  }

  private func place(_ index: Int, _ place: Place) {
    places[index] = place.rawValue
    if place == .atLower { z[index] = program.lower }
    if place == .atUpper { z[index] = program.upper }
  }

  private mutating func release(_ index: Int) -> Bool {
    let position = freeCount
    free[position] = index
    places[index] = Place.free.rawValue
    let line = program.matrix + index * program.count
    return factor.append { program.curvature * line[free[$0]] }
  }

  /// Puts a free variable at a bound.
  private mutating func fix(_ position: Int, _ bound: Place) {
    let index = free[position]
    let before = z[index]
    place(index, bound)
    shortAxpy(
      program.count, program.curvature * (z[index] - before), program.matrix + index * program.count, product.base)
    factor.remove(position)
    for k in position..<freeCount { free[k] = free[k + 1] }
  }

  private mutating func search() -> Bool {
    let limit = 20 * program.count + 100
    var idle = 0
    for _ in 0..<limit {
      if freeCount > 1 {
        findStep(missing: 0)
        let (length, position, bound) = longestStep()
        move(length)
        if let bound {
          if length <= 0x1p-40 { idle += 1 }
          fix(position, bound)
          continue
        }
      }
      guard let index = violated(first: idle > program.count) else { return true }
      if !release(index) { return false }
    }
    return true  // what it has come to is judged by the caller
  }

  /// The Newton step on the free variables, whose sum changes by `missing`. What the slopes have in common is taken out before
  /// the solve: where H is nearly singular, it would leave large numbers to cancel.
  private func findStep(missing: Double) {
    let (count, multiplier) = (freeCount, multiplier)
    for k in 0..<count {
      step[k] = y[free[k]] - product[free[k]] - multiplier
      ones[k] = 1
    }
    factor.solve(step.base)
    factor.solve(ones.base)
    var (stepSum, onesSum) = (0.0, 0.0)
    for k in 0..<count {
      stepSum += step[k]
      onesSum += ones[k]
    }
    shortAxpy(count, (missing - stepSum) / onesSum, ones.base, step.base)
  }

  /// How far the step may go, at most 1, and the bound that ends it.
  private func longestStep() -> (length: Double, position: Int, bound: Place?) {
    var result: (length: Double, position: Int, bound: Place?) = (1, 0, nil)
    for k in 0..<freeCount where step[k] != 0 {
      let down = step[k] < 0
      let room = max(0, down ? z[free[k]] - program.lower : program.upper - z[free[k]])
      if room < result.length * abs(step[k]) { result = (room / abs(step[k]), k, down ? .atLower : .atUpper) }
    }
    return result
  }

  private func move(_ length: Double) {
    if length == 0 { return }
    for k in 0..<freeCount {
      z[free[k]] += length * step[k]
      shortAxpy(
        program.count, program.curvature * length * step[k], program.matrix + free[k] * program.count, product.base)
    }
  }

  /// What stationarity of a free variable says: y - H z is the same number for all of them.
  private var multiplier: Double {
    var sum = 0.0
    for k in 0..<freeCount { sum += y[free[k]] - product[free[k]] }
    return sum / Double(freeCount)
  }

  /// The size of the numbers that y - H z is made of.
  private var scale: Double {
    var (largestValue, length) = (0.0, 0.0)
    for j in 0..<program.count {
      largestValue = max(largestValue, abs(y[j]))
      length += abs(z[j])
    }
    return largestValue + largestEntry * length
  }

  /// How much the objective would fall by a unit of the feasible direction of a variable at a bound.
  private func gain(_ index: Int, _ multiplier: Double) -> Double {
    let slope = y[index] - product[index] - multiplier
    return places[index] == Place.atLower.rawValue ? slope : -slope
  }

  /// A variable at a bound that should leave it: the one that gains most, or the first of all.
  private func violated(first: Bool) -> Int? {
    if program.lower == program.upper { return nil }
    let multiplier = multiplier
    var (best, most) = (-1, 1e-12 * scale)
    for j in 0..<program.count where places[j] != Place.free.rawValue {
      let gain = gain(j, multiplier)
      if gain > most {
        (best, most) = (j, gain)
        if first { break }
      }
    }
    return best < 0 ? nil : best
  }

  // MARK: The solution of an active set

  /// The solution of the present active set, its free variables in order and factorised anew. A free variable that comes to lie
  /// at a bound is fixed to it.
  private mutating func settle() -> Bool {
    repeat {
      factor.removeAll()
      for j in 0..<program.count where places[j] == Place.free.rawValue {
        z[j] = program.lower
        if !release(j) { return false }
      }
      program.multiply(z.base, into: product.base)
      // The second step refines the first.
      for _ in 0..<2 {
        findStep(missing: 1 - sum)
        for k in 0..<freeCount { z[free[k]] += step[k] }
        program.multiply(z.base, into: product.base)
      }
    } while fixOutliers()
    return true
  }

  /// Whether there were any, beside the one variable that must stay free.
  private func fixOutliers() -> Bool {
    let rounding = 0x1p-48
    var left = freeCount
    for k in 0..<freeCount where left > 1 {
      let index = free[k]
      if z[index] <= program.lower + rounding { place(index, .atLower) }
      if z[index] >= program.upper - rounding { place(index, .atUpper) }
      if places[index] != Place.free.rawValue { left -= 1 }
    }
    return left < freeCount
  }

  private var sum: Double {
    var sum = 0.0
    for j in 0..<program.count { sum += z[j] }
    return sum
  }

  /// By how much the conditions of optimality are missed, in the unit of y.
  private func residual() -> Double {
    let multiplier = multiplier
    var worst = scale * abs(sum - 1)
    for j in 0..<program.count {
      worst = max(worst, scale * (program.lower - z[j]), scale * (z[j] - program.upper))
      if places[j] == Place.free.rawValue {
        worst = max(worst, abs(y[j] - product[j] - multiplier))
      } else if program.lower < program.upper {
        worst = max(worst, gain(j, multiplier))
      }
    }
    return worst
  }

  // MARK: Derivative

  /// The slope of a loss in y from its slope in z: dz_F/dy_F = H^-1 - H^-1 1 1'H^-1 / (1'H^-1 1), H = H_FF; zero elsewhere.
  func pullback(_ slope: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
    out.update(repeating: 0, count: program.count)
    // The sum of one free variable is fixed, and so is the variable.
    if freeCount == 1 { return }
    let values = step.base
    for k in 0..<freeCount { values[k] = slope[free[k]] }
    factor.solve(values)
    var (valueSum, onesSum) = (0.0, 0.0)
    for k in 0..<freeCount {
      valueSum += values[k]
      onesSum += ones[k]
    }
    for k in 0..<freeCount { out[free[k]] = values[k] - valueSum / onesSum * ones[k] }
  }
}
