// Portfolios against enumeration, the conditions of optimality, closed forms and differences.

import Testing

@testable import TaskMetSwift

@Suite struct PortfolioTaskTests {
  static func task(_ lambda: Double, _ lower: Double = 0, _ upper: Double = 1, legacy: Bool = false) -> PortfolioTask {
    PortfolioTask(riskAversion: lambda, lower: lower, upper: upper, legacy: legacy)
  }

  /// Instances as in the literature: 50 stocks, nine days of returns.
  static func stocks(_ instances: Int, count: Int = 50, seed: UInt64) throws -> (ProgramInstances, [DenseMatrix]) {
    var random = RandomGenerator(seed: seed)
    let matrices = (0..<instances).map { _ in correlationMatrix(count, days: 9, floor: 0.1, &random) }
    let targets = (0..<instances).map { _ in 0.02 * [Double].normal(count, &random) }
    return (try ProgramInstances(targets, contexts: matrices), matrices)
  }

  @Test func decisionsAndGradientsAreThoseOfTheBestSupport() throws {
    var random = RandomGenerator(seed: 11)
    for _ in 0..<40 {
      let q = correlationMatrix(6, days: 4, floor: 0.1, &random)
      let (y, predicted) = ([Double].normal(6, &random), [Double].normal(6, &random))
      let reference = Portfolio(q: q, lambda: 0.5)
      let (z, support) = reference.solve(predicted)
      let instances = try ProgramInstances([y], contexts: [q])
      let task = Self.task(0.5)
      expectEqual(try task.decision(instances, 0, predicted), z, to: 1e-12)
      let (loss, gradient) = try task.trainingGradient(instances, [predicted])
      expectEqual(loss, 0.5 * dot(z, q * z) - dot(y, z), to: 1e-12)
      let slope = 2 * 0.5 * (q * z) .- y
      expectEqual(gradient, reference.jacobian(support).transposed * slope, to: 1e-11, scale: 1e-3)
    }
  }

  /// Stationarity inside, signs at the bounds, sum and bounds; relative to the size of the terms.
  static func residual(
    _ z: [Double], _ y: [Double], _ q: DenseMatrix, _ lambda: Double, _ bounds: ClosedRange<Double>
  ) -> Double {
    let slope = y .- 2 * lambda * (q * z)
    let inside = z.indices.filter { z[$0] > bounds.lowerBound && z[$0] < bounds.upperBound }
    let (low, high) = (z.indices.filter { z[$0] == bounds.lowerBound }, z.indices.filter { z[$0] == bounds.upperBound })
    // The multiplier of the sum may be anything between the slopes of those at a bound where nothing is inside.
    let least = (low + inside).map { slope[$0] }.max() ?? -.infinity
    let most = (high + inside).map { slope[$0] }.min() ?? .infinity
    let outside = z.map { max(bounds.lowerBound - $0, $0 - bounds.upperBound) }.max()!
    return max(
      (least - most) / (largest(y) + 2 * lambda * largest(q * z)), abs(z.reduce(0, +) - 1), outside)
  }

  @Test(arguments: [(0.0, 1.0), (-0.1, 0.15), (0.0, 0.05), (-2.0, 2.0), (0.01, 0.03)])
  func conditionsOfOptimality(lower: Double, upper: Double) throws {
    let (instances, matrices) = try Self.stocks(10, seed: 3)
    var random = RandomGenerator(seed: 4)
    for lambda in [1e-3, 0.1, 10] {
      let task = Self.task(lambda, lower, upper)
      for k in 0..<10 {
        let predicted = 0.02 * [Double].normal(50, &random)
        let z = try task.decision(instances, k, predicted)
        #expect(Self.residual(z, predicted, matrices[k], lambda, lower...upper) < 1e-12, "\(lambda), instance \(k)")
      }
    }
  }

  @Test func theGradientIsThatOfTheLoss() throws {
    let (instances, _) = try Self.stocks(2, count: 12, seed: 5)
    var random = RandomGenerator(seed: 6)
    let predictions = (0..<2).map { _ in 0.02 * [Double].normal(12, &random) }
    for task in [Self.task(0.1), Self.task(0.1, -0.05, 0.2), Self.task(0.1, legacy: true)] {
      let gradient = try task.trainingGradient(instances, predictions).1
      #expect(norm(gradient) > 1e-3)
      #expect(try task.gradientError(instances, predictions, step: 1e-6) < 1e-8)
    }
  }

  @Test func oneVariableOrNoChoice() throws {
    let single = try ProgramInstances([[0.3], [-2]], contexts: [.identity(1), DenseMatrix([[2.0]])])
    let (loss, gradient) = try Self.task(0.5).trainingGradient(single, [[5], [-1]])
    expectEqual(loss, ((0.5 - 0.3) + (1 + 2)) / 2, to: 1e-15)
    #expect(gradient == [0, 0])

    let (instances, _) = try Self.stocks(1, count: 49, seed: 7)
    let even = [Double](repeating: 1.0 / 49, count: 49)
    for (lower, upper) in [(1.0 / 49, 1.0), (0, 1.0 / 49), (1.0 / 49, 1.0 / 49)] {
      let task = Self.task(0.1, lower, upper)
      expectEqual(try task.decision(instances, 0, instances.targets[0]), even, to: 1e-13)
      let gradient = try task.trainingGradient(instances, instances.targets).1
      #expect(largest(gradient) < 1e-15)
    }
  }

  /// Equal entries share equally, and a solution at a vertex has no derivative but zero.
  @Test func ties() throws {
    let q = DenseMatrix.identity(8)
    let instances = try ProgramInstances([[Double](repeating: 0, count: 8)], contexts: [q])
    let level = [Double](repeating: 1, count: 8)
    expectEqual(try Self.task(1).decision(instances, 0, level), 0.125 * level, to: 1e-14)
    // The first two are exactly at the point where the others would come in: 2 lambda / 2 = 1.
    let step = [1.0, 1] + [Double](repeating: 0, count: 6)
    expectEqual(try Self.task(1).decision(instances, 0, step), 0.5 * step, to: 1e-14)
    // Two at their upper bound, and nothing left for the rest.
    expectEqual(try Self.task(1, 0, 0.5).decision(instances, 0, 5 * step), 0.5 * step, to: 1e-14)
    #expect(try largest(Self.task(1, 0, 0.5).trainingGradient(instances, [5 * step]).1) == 0)
  }

  /// Many steps without a length: every variable enters at once.
  @Test func manyTies() throws {
    var random = RandomGenerator(seed: 8)
    for _ in 0..<50 {
      let q = correlationMatrix(30, days: 3, floor: 1e-3, &random)
      let y = (0..<30).map { _ in (3 * random.uniform()).rounded(.down) }
      let instances = try ProgramInstances([y], contexts: [q])
      for (lower, upper) in [(0.0, 0.1), (0.0, 1.0), (-0.1, 0.1)] {
        let z = try Self.task(0.5, lower, upper).decision(instances, 0, y)
        #expect(Self.residual(z, y, q, 0.5, lower...upper) < 1e-11)
      }
    }
  }

  /// Nearly singular matrices, and one that is next to nothing beside the predictions.
  @Test func illConditioned() throws {
    let flat = try ProgramInstances([[1, 1, 0.5]], contexts: [1e-9 * .identity(3)])
    expectEqual(try Self.task(1).decision(flat, 0, [1, 1, 0.5]), [0.5, 0.5, 0], to: 1e-12)
    expectEqual(try Self.task(1).decision(flat, 0, [0.7, 0.8, 0.5]), [0, 1, 0], to: 1e-12)
    var random = RandomGenerator(seed: 9)
    for floor in [1e-6, 1e-9, 1e-11] {
      let q = correlationMatrix(40, days: 9, floor: floor, &random)
      let y = 0.02 * [Double].normal(40, &random)
      let instances = try ProgramInstances([y], contexts: [q])
      let z = try Self.task(0.1).decision(instances, 0, y)
      #expect(Self.residual(z, y, q, 0.1, 0...1) < 1e-9)
    }
  }

  /// The way for where the search fails.
  @Test func theInteriorPointMethodFindsTheSame() throws {
    let (instances, _) = try Self.stocks(3, count: 20, seed: 14)
    for task in [Self.task(0.1), Self.task(0.1, 0, 0.1), Self.task(0.01, -0.05, 0.2), Self.task(0.1, 0.05, 0.05)] {
      let batch = try instances.batch(instances.targets, .validation)
      for k in 0..<3 {
        let problem = batch.problem(k)
        let solution = try task.solveByInteriorPoint(problem, problem.predictions)
        expectEqual(solution.z.array, try task.decision(instances, k, instances.targets[k]), to: 1e-12)
      }
    }
  }

  @Test func legacyCountsTheOtherQuadraticForm() throws {
    let q = DenseMatrix([[4.0, 2], [2, 5]])  // L = [[2, 0], [1, 2]]
    let instances = try ProgramInstances([[0.3, 0.1]], contexts: [q])
    let z = try Self.task(0.1).decision(instances, 0, [0.2, 0.1])
    let squares = 4 * z[0] * z[0] + (z[0] + 2 * z[1]) * (z[0] + 2 * z[1])
    let utility = 0.3 * z[0] + 0.1 * z[1] - 0.1 * squares
    let task = Self.task(0.1, legacy: true)
    expectEqual(try task.trainingGradient(instances, [[0.2, 0.1]]).0, -utility, to: 1e-14)
    expectEqual(try task.validationLosses(instances, [[0.2, 0.1]]), [-utility], to: 1e-14)
    #expect(!task.objectiveIsLinear)
  }

  @Test func regretIsNeverNegativeAndSPOPlusIsAbove() throws {
    let (instances, _) = try Self.stocks(20, seed: 10)
    let task = Self.task(0.1)
    let best = try task.validationLosses(instances, instances.targets)
    var random = RandomGenerator(seed: 12)
    let predictions = (0..<20).map { _ in 0.02 * [Double].normal(50, &random) }
    let losses = try task.validationLosses(instances, predictions)
    let regrets = losses .- best
    #expect(regrets.allSatisfy { $0 > 0 })
    let batch = try instances.batch(predictions, .training)
    let gradient = try Buffer<Double>(count: 1000)
    #expect(try task.evaluateSPOPlus(batch, gradient: gradient.base) >= regrets.reduce(0, +) / 20)
    let direction = [Double].direction(1000, &random)
    let numeric = try derivative(step: 1e-7) { t in
      let moved = try instances.batch(predictions, .training)
      for k in 0..<1000 { moved.predictions[k] += t * direction[k] }
      return try task.evaluateSPOPlus(moved, gradient: nil)
    }
    expectEqual(dot(gradient.array, direction), numeric, to: 1e-7)
  }

  /// The same bits, whichever instances were decided before.
  @Test func instancesAreDecidedIndependently() throws {
    let (instances, _) = try Self.stocks(3, seed: 13)
    let task = Self.task(0.1)
    let alone = try task.validationLosses(instances, instances.targets)
    let order = [2, 2, 0, 1, 1, 2]
    let batch = try instances.batch(order.map { instances.targets[$0] }, .validation, instances: order)
    let losses = try Buffer<Double>(count: order.count)
    try task.losses(batch, into: losses.base)
    #expect(losses.array == order.map { alone[$0] })
  }

  @Test func refusals() throws {
    let y = [0.1, 0.2]
    func decide(_ context: DenseMatrix?, _ task: PortfolioTask = Self.task(0.1)) throws {
      let instances = try ProgramInstances([y], contexts: context.map { [$0] })
      _ = try task.validationLosses(instances, [y])
    }
    try decide(.identity(2))
    expectError(.shape, "no context") { try decide(nil) }
    expectError(.shape, "wrong size") { try decide(.identity(3)) }
    expectError(.numerical, "asymmetric") { try decide(DenseMatrix([[1, 0.5], [0.4, 1]])) }
    expectError(.numerical, "indefinite") { try decide(DenseMatrix([[1, 2], [2, 1]])) }
    expectError(.numerical, "singular") { try decide(DenseMatrix([[1, 1], [1, 1]])) }
    expectError(.numerical, "zero") { try decide(DenseMatrix(zeros: 2, 2)) }
    expectError(.shape, "too little room") { try decide(.identity(2), Self.task(0.1, 0, 0.4)) }
    expectError(.shape, "too much") { try decide(.identity(2), Self.task(0.1, 0.6, 1)) }
    expectError(.unsupported, "gradient of the real decision") {
      let instances = try ProgramInstances([y], contexts: [.identity(2)])
      let gradient = try Buffer<Double>(count: 2)
      _ = try Self.task(0.1).evaluate(try instances.batch([y], .validation), gradient: gradient.base)
    }
  }
}
