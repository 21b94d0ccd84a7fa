// The budget allocation: its objective's derivatives, the soft decision against its KKT conditions and many random starts, the
// gradient against differences, the real decision against all sets.
//
// The default gamma was chosen by training on rates from `sparseRates` (100 + 500 instances of 5 x 10, budget 2; paper preset, inner
// rate 1e-4, 60 outer iterations). Test decision quality and mean squared error of the best model, for two seeds:
//     gamma 0.1   0.92, 0.94   26e-4, 31e-4
//     gamma 0.05  0.93, 0.94   27e-4, 33e-4
//     gamma 0.02  0.95, 0.93   16e-4, 70e-4
//     gamma 0.01  0.95, 0.96   14e-4, 21e-4
//     gamma 0.005 0.96, 0.96   12e-4, 17e-4      but slow to begin: 0.84 after 20 iterations of seed 1, where 0.01 has 0.96
// The two-stage model has 0.50, 0.52 and 5e-4, 6e-4.

import Glibc
import Testing

@testable import TaskMetSwift

@Suite("Budget allocation task")
struct BudgetAllocationTaskTests {
  /// F(z, y), user by user.
  private func reach(_ z: [Double], _ y: [Double], users: Int) -> Double {
    (0..<users).reduce(0) { sum, j in
      sum + 1 - z.indices.reduce(1.0) { $0 * (1 - z[$1] * y[$1 * users + j]) }
    }
  }

  private func uniform(_ count: Int, _ random: inout RandomGenerator, to largest: Double = 1) -> [Double] {
    (0..<count).map { _ in largest * random.uniform() }
  }

  /// Bernoulli(0.1) Beta(1, 15) U(0.5, 1.5).
  private func sparseRates(_ count: Int, _ random: inout RandomGenerator) -> [Double] {
    (0..<count).map { _ in
      let beta = 1 - power(random.uniform(), 1.0 / 15)
      let factor = 0.5 + random.uniform()
      return random.uniform() < 0.1 ? min(beta * factor, 1) : 0
    }
  }

  private func entropic(_ budget: Int, _ gamma: Double) -> BudgetAllocationTask {
    BudgetAllocationTask(budget: budget, .entropic(gamma: gamma))
  }

  /// z of the soft decision.
  private func soft(_ rows: Int, _ users: Int, _ budget: Int, _ gamma: Double, _ rates: [Double]) throws -> [Double] {
    let values = try Buffer(rates)
    return try withExtendedLifetime(values) {
      let problem = DecisionProblem(
        instance: 0, rows: rows, outputs: users, features: 1, predictions: values.base, targets: values.base,
        context: nil)
      let allocation = try EntropicAllocation(problem, budget: budget, gamma: gamma)
      try allocation.solve()
      return withExtendedLifetime(allocation) { (0..<rows).map { allocation.z[$0] } }
    }
  }

  private func objective(_ z: [Double], _ rates: [Double], users: Int, gamma: Double) -> Double {
    reach(z, rates, users: users) + gamma * z.reduce(0) { $0 + entropy($1) }
  }

  private func entropy(_ z: Double) -> Double { z <= 0 || z >= 1 ? 0 : -z * log(z) - (1 - z) * log(1 - z) }

  // MARK: The objective

  @Test(arguments: [(1, 1), (3, 5), (5, 10), (6, 13)]) func derivativesOfCoverage(_ rows: Int, _ users: Int) throws {
    var random = RandomGenerator(seed: UInt64(10 * rows + users))
    let (y, z) = (uniform(rows * users, &random), uniform(rows, &random))
    let direction = [Double].normal(rows, &random)
    let scratch = try Buffer<Double>(count: Coverage.scratchCount(rows: rows, users: users))
    let (zRoom, out) = (try Buffer(z), try Buffer<Double>(count: rows * max(rows, users)))
    let coverage = Coverage(rows: rows, users: users, rates: y, z: zRoom.base, scratch: scratch.base)
    coverage.prepare()
    expectEqual(coverage.value, reach(z, y, users: users), to: 1e-14)
    func along(_ z: [Double], _ y: [Double], _ d: [Double]) -> Double {
      derivative { reach(z .+ $0 * d, y, users: users) }
    }
    coverage.gradient(into: out.base)
    let slope = (0..<rows).map { along(z, y, .unit(rows, $0)) }
    expectEqual(Array(out.array.prefix(rows)), slope, to: 1e-11)
    coverage.hessian(into: out.base)
    for i in 0..<rows {
      let expected = (0..<rows).map { k in derivative { along(z .+ $0 * .unit(rows, k), y, .unit(rows, i)) } }
      expectEqual(Array(out.array[(i * rows)..<((i + 1) * rows)]), expected, to: 1e-9)
      #expect(expected.map(abs).reduce(0, +) <= coverage.curvatureBound + 1e-9)
    }
    coverage.pullBack(direction, into: out.base)
    let mixed = y.indices.map { k in derivative { along(z, y .+ $0 * .unit(y.count, k), direction) } }
    expectEqual(Array(out.array.prefix(rows * users)), mixed, to: 1e-9)
    withExtendedLifetime((scratch, zRoom)) {}
  }

  // MARK: The soft decision

  /// F_i + gamma log((1 - z_i) / z_i) is the same for all rows; feasible; as good as every set and as ascents from random points.
  @Test(arguments: [0.005, 0.01, 0.05, 0.3]) func softDecisionIsOptimal(_ gamma: Double) throws {
    var random = RandomGenerator(seed: 4)
    var (found, missed) = (0, 0.0)
    for trial in 0..<12 {
      let (rows, users, budget) = [(5, 10, 2), (4, 3, 1), (6, 4, 3)][trial % 3]
      let rates =
        trial % 2 == 0
        ? sparseRates(rows * users, &random) : uniform(rows * users, &random, to: trial % 4 == 1 ? 1 : 0.2)
      let z = try soft(rows, users, budget, gamma, rates)
      expectEqual(z.reduce(0, +), Double(budget), to: 1e-13)
      let slope = gradient(z, rates, users: users)
      let inside = (0..<rows).filter { z[$0] > 1e-5 && z[$0] < 1 - 1e-5 }
      let multipliers = inside.map { slope[$0] + gamma * log((1 - z[$0]) / z[$0]) }
      for value in multipliers { try requireEqual(value, multipliers[0], to: 1e-9, scale: 1, "trial \(trial)") }
      let value = objective(z, rates, users: users, gamma: gamma)
      let others = (0..<6).map { _ in
        objective(ascend(from: uniform(rows, &random), rates, users, budget, gamma), rates, users: users, gamma: gamma)
      }
      missed = max(missed, others.max()! - value)
      if others.max()! <= value + 1e-9 { found += 1 }
      for set in Decisions.choices(budget, of: rows).options {
        #expect(value >= reach(set, rates, users: users), "trial \(trial)")
      }
    }
    #expect(found >= 11 && missed < 5e-3, "\(found) of 12, worst by \(missed)")
  }

  private func gradient(_ z: [Double], _ y: [Double], users: Int) -> [Double] {
    z.indices.map { i in
      (0..<users).reduce(0) { sum, j in
        sum + y[i * users + j]
          * z.indices.reduce(1.0) { $1 == i ? $0 : $0 * (1 - z[$1] * y[$1 * users + j]) }
      }
    }
  }

  /// Damped mirror ascent from scores in the unit of gamma: slow and simple.
  private func ascend(
    from start: [Double], _ rates: [Double], _ users: Int, _ budget: Int, _ gamma: Double
  ) -> [Double] {
    var scores = (6 * gamma) * start
    for _ in 0..<60 {
      let slope = gradient(shares(scores, budget, gamma), rates, users: users)
      scores = 0.5 * scores .+ 0.5 * slope
    }
    return shares(scores, budget, gamma)
  }

  /// sigmoid((a - t) / gamma) with sum budget, by bisection.
  private func shares(_ a: [Double], _ budget: Int, _ gamma: Double) -> [Double] {
    var (lower, upper) = (a.min()! - 50 * gamma, a.max()! + 50 * gamma)
    func z(_ t: Double) -> [Double] { a.map { 1 / (1 + exp((t - $0) / gamma)) } }
    for _ in 0..<60 {
      let middle = (lower + upper) / 2
      if z(middle).reduce(0, +) > Double(budget) { lower = middle } else { upper = middle }
    }
    return z((lower + upper) / 2)
  }

  /// Identical rows: no start may be left at the saddle between taking one and taking the other.
  @Test func identicalRows() throws {
    var random = RandomGenerator(seed: 8)
    let row = uniform(6, &random)
    for copies in [2, 3, 5] {
      let rates = (0..<copies).flatMap { _ in row } + uniform(12, &random)
      for budget in 1...(copies + 1) {
        let z = try soft(copies + 2, 6, budget, 0.01, rates)
        let best = Decisions.choices(budget, of: copies + 2).options.map { reach($0, rates, users: 6) }.max()!
        #expect(objective(z, rates, users: 6, gamma: 0.01) >= best)
      }
    }
  }

  @Test func extremeRates() throws {
    for rates in [[Double](repeating: 0, count: 20), [Double](repeating: 1, count: 20)] {
      let instance = SingleInstance(rows: 4, outputs: 5, targets: [Double](repeating: 0.5, count: 20))
      for gamma in [1e-8, 0.01, 1e8] {
        for budget in 1...4 {
          #expect(try instance.loss(entropic(budget, gamma), rates).isFinite)
          #expect(try instance.gradient(entropic(budget, gamma), rates).allSatisfy { $0.isFinite })
        }
      }
    }
  }

  /// Nothing that can be predicted fails to converge.
  @Test func alwaysConverges() throws {
    var random = RandomGenerator(seed: 21)
    for trial in 0..<400 {
      let (rows, users) = (1 + Int(random.next() % 7), 1 + Int(random.next() % 6))
      let budget = 1 + Int(random.next() % UInt64(rows))
      let gamma = exp(9 * random.uniform() - 8)
      let rates = (0..<(rows * users)).map { _ in min(exp(6 * random.uniform() - 5), 1) }
      let instance = SingleInstance(rows: rows, outputs: users, targets: rates)
      let slope = try instance.gradient(
        entropic(budget, gamma), trial % 2 == 0 ? rates : rates.map { $0 > 0.3 ? 1 : 0 })
      #expect(slope.allSatisfy { $0.isFinite })
    }
  }

  // MARK: The gradient

  @Test(arguments: [0.005, 0.01, 0.05, 0.5]) func gradientEqualsDifferences(_ gamma: Double) throws {
    var random = RandomGenerator(seed: 31)
    for (rows, users, budget, size) in [
      (5, 10, 2, 0.05), (5, 10, 2, 0.2), (4, 3, 1, 0.1), (6, 4, 3, 0.3), (2, 1, 1, 0.1),
    ] {
      let instance = SingleInstance(rows: rows, outputs: users, targets: uniform(rows * users, &random))
      // Away from the clip.
      let rates = uniform(rows * users, &random, to: size).map { $0 + 0.02 }
      let task = entropic(budget, gamma)
      try requireEqual(
        instance.gradient(task, rates), instance.differences(task, rates, step: min(4e-3, gamma / 45)), to: 1e-8,
        scale: 1e-2, "\(rows) x \(users), budget \(budget), gamma \(gamma)")
    }
  }

  /// Outside [0, 1] a prediction does nothing; beside the bounds its derivative is as inside.
  @Test func gradientBesideTheClip() throws {
    var random = RandomGenerator(seed: 41)
    let instance = SingleInstance(rows: 4, outputs: 3, targets: uniform(12, &random))
    var rates = uniform(12, &random, to: 0.2).map { $0 + 0.02 }
    rates[1] = -1e-3
    rates[4] = 1.001
    rates[6] = 1e-3
    rates[11] = 0.999
    let task = entropic(2, 0.2)
    let slope = try instance.gradient(task, rates)
    #expect(slope[1] == 0 && slope[4] == 0)
    expectEqual(slope, try instance.differences(task, rates, step: 2e-4), to: 1e-8)
    #expect(abs(slope[6]) > 1e-3 && abs(slope[11]) > 1e-3)
    rates[6] = 0
    #expect(abs(try instance.gradient(task, rates)[6]) > 1e-3, "the clip has its derivative on the bound itself")
  }

  // MARK: The published recipe

  /// With z strictly inside, the published system is (F'' + 0.01 I - (nu / 0.01) 11') dz = d2F/dz dy, its multipliers eliminated; here it
  /// is solved whole, in its own unknowns.
  @Test(arguments: [true, false]) func publishedRecipe(_ isInside: Bool) throws {
    let (rows, users, budget) = (4, 3, isInside ? 2 : 1)
    var random = RandomGenerator(seed: 51)
    let instance = SingleInstance(rows: rows, outputs: users, targets: uniform(12, &random))
    let rates = uniform(12, &random, to: isInside ? 1e-3 : 0.3).map { $0 + 0.01 }
    let problem = try publishedSolution(rows, users, budget, rates)
    let z = problem.z
    expectEqual(z.reduce(0, +), Double(budget), to: 1e-12)
    let task = BudgetAllocationTask(budget: budget, .published)
    expectEqual(try instance.loss(task, rates), -reach(z, instance.targets, users: users), to: 1e-13)
    let slope = gradient(z, rates, users: users)
    let isFree = z.map { $0 > 1e-6 && $0 < 1 - 1e-6 }
    #expect(isFree.contains(true) == isInside)
    let free = (0..<rows).filter { isFree[$0] }
    let nu = free.isEmpty ? 0 : free.map { slope[$0] }.reduce(0, +) / Double(free.count)
    var system = 0.01 * DenseMatrix.identity(3 * rows + 1)
    for i in 0..<rows {
      for k in 0..<rows {
        system[i, k] += derivative { gradient(z .+ $0 * .unit(rows, k), rates, users: users)[i] }
      }
      let (upper, lower) = (z[i] > 1 - 1e-6 ? slope[i] - nu : 0, z[i] < 1e-6 ? slope[i] - nu : 0)
      let (u, l) = (rows + 1 + i, 2 * rows + 1 + i)
      (system[i, rows], system[rows, i]) = (1, nu)
      (system[i, u], system[u, i]) = (1, upper)
      (system[i, l], system[l, i]) = (-1, -lower)
      system[u, u] += z[i] - 1
      system[l, l] += -z[i]
    }
    let weight = -1 * gradient(z, instance.targets, users: users)
    let expected = rates.indices.map { k in
      let right = derivative { gradient(z, rates .+ $0 * .unit(12, k), users: users) }
      return dot(weight, Array(system.solve(right + [Double](repeating: 0, count: 2 * rows + 1)).prefix(rows)))
    }
    #expect(largest(expected) > 1e-6)
    expectEqual(try instance.gradient(task, rates), expected, to: 1e-8, scale: largest(expected))
  }

  private func publishedSolution(
    _ rows: Int, _ users: Int, _ budget: Int, _ rates: [Double]
  ) throws -> (z: [Double], value: Double) {
    let values = try Buffer(rates)
    return try withExtendedLifetime(values) {
      let problem = DecisionProblem(
        instance: 0, rows: rows, outputs: users, features: 1, predictions: values.base, targets: values.base,
        context: nil)
      let allocation = try PublishedAllocation(problem, budget: budget)
      try allocation.solve()
      let z = withExtendedLifetime(allocation) { (0..<rows).map { allocation.z[$0] } }
      return (z, reach(z, rates, users: users))
    }
  }

  /// Ascent gets to about where the best set is.
  @Test func publishedAscentReachesTheBestSet() throws {
    var random = RandomGenerator(seed: 61)
    for _ in 0..<20 {
      let rates = uniform(50, &random)
      let best = Decisions.choices(2, of: 5).options.map { reach($0, rates, users: 10) }.max()!
      #expect(try publishedSolution(5, 10, 2, rates).value > 0.9 * best)
    }
  }

  // MARK: The real decision

  @Test func decisionIsTheBestSet() throws {
    var random = RandomGenerator(seed: 71)
    for trial in 0..<40 {
      let (rows, users) = (2 + trial % 7, 1 + trial % 5)
      let rates = trial % 2 == 0 ? uniform(rows * users, &random) : sparseRates(rows * users, &random)
      let instance = SingleInstance(rows: rows, outputs: users, targets: rates)
      for budget in 1...rows {
        let sets = Decisions.choices(budget, of: rows).options
        let decision = try instance.decision(entropic(budget, 1), rates)
        #expect(sets.contains(decision))
        let best = sets.map { reach($0, rates, users: users) }.max()!
        expectEqual(reach(decision, rates, users: users), best, to: 1e-13)
        expectEqual(try instance.loss(entropic(budget, 1), rates, .validation), -best, to: 1e-13)
      }
    }
  }

  /// The lazy variant takes the rows that the plain one takes, and at least 1 - 1/e of the best.
  @Test func greedy() throws {
    var random = RandomGenerator(seed: 81)
    for trial in 0..<60 {
      let (rows, users, budget) = (9, 1 + trial % 6, 1 + trial % 8)
      let rates = trial % 3 == 0 ? sparseRates(rows * users, &random) : uniform(rows * users, &random)
      let best = Decisions.choices(budget, of: rows).options.map { reach($0, rates, users: users) }.max()!
      let lazy = try lazyGreedy(rows, users, budget, rates)
      #expect(lazy == plainGreedy(rows, users, budget, rates))
      #expect(reach(lazy, rates, users: users) >= (1 - exp(-1)) * best)
    }
    // More sets than are enumerated: the task itself is greedy.
    let (rows, users, budget) = (60, 7, 12)
    let rates = uniform(rows * users, &random)
    let instance = SingleInstance(rows: rows, outputs: users, targets: rates)
    #expect(try instance.decision(entropic(budget, 1), rates) == plainGreedy(rows, users, budget, rates))
  }

  private func lazyGreedy(_ rows: Int, _ users: Int, _ budget: Int, _ rates: [Double]) throws -> [Double] {
    let room = try Buffer<Double>(repeating: 0, count: rows)
    try BestAllocation(rows: rows, users: users, budget: budget, rates: rates).addGreedily(to: room.base)
    return room.array
  }

  private func plainGreedy(_ rows: Int, _ users: Int, _ budget: Int, _ rates: [Double]) -> [Double] {
    var z = [Double](repeating: 0, count: rows)
    var missed = [Double](repeating: 1, count: users)
    for _ in 0..<budget {
      let gains = (0..<rows).map { i in shortDot(users, Array(rates[(i * users)..<((i + 1) * users)]), missed) }
      let next = (0..<rows).filter { z[$0] == 0 }.max { gains[$0] < gains[$1] || (gains[$0] == gains[$1] && $0 > $1) }!
      z[next] = 1
      for j in 0..<users { missed[j] *= 1 - rates[next * users + j] }
    }
    return z
  }

  /// Minus the true reach of the set that the clipped predictions lead to.
  @Test func validationJudgesByTheTargets() throws {
    let instance = SingleInstance(rows: 3, outputs: 2, targets: [0.1, 0.2, 0.5, 0.4, 0.3, 0.3])
    #expect(try instance.decision(entropic(1, 1), [-5, 0.3, 0.1, 0.1, 7, -9]) == [0, 0, 1])
    expectEqual(try instance.loss(entropic(1, 1), [-5, 0.3, 0.1, 0.1, 7, -9], .validation), -0.6, to: 1e-15)
  }

  @Test func refusals() throws {
    let instance = SingleInstance(rows: 2, outputs: 2, targets: [0.1, 0.2, 0.3, 0.4])
    expectError(.shape) { _ = try instance.loss(entropic(3, 1), [0, 0, 0, 0]) }
    let outside = SingleInstance(rows: 2, outputs: 2, targets: [0.1, 0.2, 1.5, 0.4])
    expectError(.invalidArgument) { _ = try outside.loss(entropic(1, 1), [0, 0, 0, 0]) }
  }
}
