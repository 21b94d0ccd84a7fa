// Quadratic programs against enumerated active sets, the portfolio's active-set method, closed forms and differences; and
// programs that are degenerate, infeasible or unbounded.

import Testing

@testable import TaskMetSwift

@Suite struct QuadraticProgramTests {
  static func definite(_ n: Int, rank: Int? = nil, floor: Double = 0.1, _ random: inout RandomGenerator) -> DenseMatrix
  {
    let root = DenseMatrix(n, rank ?? n, .normal(n * (rank ?? n), &random))
    return root * root.transposed + floor * DenseMatrix.identity(n)
  }

  /// A feasible program: the constraints have room around a random point.
  static func random(_ d: Int, equalities: Int, inequalities: Int, _ random: inout RandomGenerator)
    -> ProgramDescription
  {
    var program = ProgramDescription(quadratic: definite(d, &random), variables: d)
    let point = [Double].normal(d, &random)
    for _ in 0..<equalities {
      let row = [Double].normal(d, &random)
      program.equalities.append((row, dot(row, point)))
    }
    for _ in 0..<inequalities {
      let row = [Double].normal(d, &random)
      program.inequalities.append((row, dot(row, point) + 0.3 * random.uniform()))
    }
    return program
  }

  @Test(arguments: [(4, 0, 6), (4, 1, 6), (5, 2, 5), (3, 3, 2), (2, 0, 8)])
  func decisionsAreThoseOfTheBestActiveSet(d: Int, equalities: Int, inequalities: Int) throws {
    var random = RandomGenerator(seed: 21)
    for _ in 0..<20 {
      let program = Self.random(d, equalities: equalities, inequalities: inequalities, &random)
      let cost = 3 * [Double].normal(d, &random)
      let z = try program.task().decision(try ProgramInstances([cost]), 0, cost)
      expectEqual(z, program.enumerate(cost), to: 1e-9)
    }
  }

  @Test(arguments: [(4, 0, 6), (4, 1, 6), (5, 2, 5), (3, 3, 2)], [Sense.minimize, .maximize])
  func theGradientIsThatOfTheLoss(sizes: (Int, Int, Int), sense: Sense) throws {
    var random = RandomGenerator(seed: 22)
    for _ in 0..<3 {
      var program = Self.random(sizes.0, equalities: sizes.1, inequalities: sizes.2, &random)
      program.linear = .normal(sizes.0, &random)
      program.prediction = DenseMatrix(sizes.0, 3, .normal(3 * sizes.0, &random))
      let instances = try ProgramInstances([.normal(3, &random), .normal(3, &random)])
      let predictions = [[Double].normal(3, &random), .normal(3, &random)]
      #expect(try program.task(sense).gradientError(instances, predictions, step: 1e-3) < 1e-8)
    }
  }

  /// A program without inequalities in closed form: the decision is linear in the cost.
  @Test func withoutInequalities() throws {
    var random = RandomGenerator(seed: 23)
    var program = ProgramDescription(quadratic: Self.definite(4, &random), variables: 4)
    let cost = [Double].normal(4, &random)
    let instances = try ProgramInstances([cost])
    expectEqual(try program.task().decision(instances, 0, cost), program.quadratic!.solve(-1 * cost), to: 1e-12)
    program.equalities = [([1, 1, 1, 1], 1), ([1, -1, 0, 0], 0.5)]
    expectEqual(try program.task().decision(instances, 0, cost), program.enumerate(cost), to: 1e-12)
    // The solution of the equalities alone.
    program.equalities += [([0, 0, 1, -2], 0.1), ([0, 1, 3, 0], 0.7)]
    expectEqual(try program.task().decision(instances, 0, cost), program.enumerate(cost), to: 1e-12)
    #expect(try largest(program.task().trainingGradient(instances, [cost]).1) < 1e-12)
  }

  @Test func agreesWithThePortfolio() throws {
    let (instances, matrices) = try PortfolioTaskTests.stocks(3, count: 30, seed: 24)
    let contexts = matrices.map { 0.2 * $0 }
    let scaled = try ProgramInstances(instances.targets, contexts: contexts)
    var program = ProgramDescription(quadratic: nil, variables: 30)
    program.equalities = [([Double](repeating: 1, count: 30), 1)]
    program.bound(0, 0.2)
    let (task, portfolio) = (try program.task(.maximize), PortfolioTaskTests.task(0.1, 0, 0.2))
    var random = RandomGenerator(seed: 25)
    let predictions = (0..<3).map { _ in 0.02 * [Double].normal(30, &random) }
    for k in 0..<3 {
      let z = try portfolio.decision(instances, k, predictions[k])
      expectEqual(try task.decision(scaled, k, predictions[k]), z, to: 1e-10)
    }
    let (loss, gradient) = try task.trainingGradient(scaled, predictions)
    let (expectedLoss, expected) = try portfolio.trainingGradient(instances, predictions)
    expectEqual(loss, expectedLoss, to: 1e-11)
    expectEqual(gradient, expected, to: 1e-9)
  }

  @Test func maximizingIsMinimizingTheNegative() throws {
    var random = RandomGenerator(seed: 26)
    var program = Self.random(4, equalities: 1, inequalities: 5, &random)
    let instances = try ProgramInstances([.normal(4, &random)])
    let predictions = [[Double].normal(4, &random)]
    let (loss, gradient) = try program.task(.maximize).trainingGradient(instances, predictions)
    program.prediction = -1 * DenseMatrix.identity(4)
    let (negativeLoss, negativeGradient) = try program.task().trainingGradient(instances, predictions)
    #expect(loss == negativeLoss && norm(gradient) > 1e-3)
    expectEqual(gradient, negativeGradient, to: 1e-14)
  }

  @Test func regretIsNeverNegative() throws {
    var random = RandomGenerator(seed: 27)
    let program = Self.random(5, equalities: 1, inequalities: 8, &random)
    let instances = try ProgramInstances((0..<20).map { _ in .normal(5, &random) })
    for sense in Sense.allCases {
      let task = try program.task(sense)
      let best = try task.validationLosses(instances, instances.targets)
      let losses = try task.validationLosses(instances, (0..<20).map { _ in .normal(5, &random) })
      #expect((losses .- best).allSatisfy { $0 > -1e-12 })
      #expect(norm(losses .- best) > 0.1)
    }
  }

  // MARK: Degenerate programs

  /// Constraints that repeat each other, in all the ways they can, change neither the decision nor the gradient.
  @Test func repeatedConstraints() throws {
    var random = RandomGenerator(seed: 28)
    for _ in 0..<10 {
      let program = Self.random(4, equalities: 1, inequalities: 5, &random)
      let instances = try ProgramInstances([.normal(4, &random)])
      let predictions = [3 * [Double].normal(4, &random)]
      let expected = try program.task().trainingGradient(instances, predictions)
      var repeated = program
      let (row, value) = program.equalities[0]
      repeated.equalities += [(-2 * row, -2 * value), (row, value)]
      repeated.inequalities += program.inequalities.map { (3 * $0.0, 3 * $0.1) } + [(row, value)]
      repeated.inequalities += [([0, 0, 0, 0], 0)]
      var split = program
      split.equalities = []
      split.inequalities += [(row, value), (-1 * row, -value)]
      for other in [repeated, split] {
        let (loss, gradient) = try other.task().trainingGradient(instances, predictions)
        expectEqual(loss, expected.0, to: 1e-9)
        expectEqual(gradient, expected.1, to: 1e-7)
      }
    }
  }

  /// More active constraints than variables, and a feasible set of one point.
  @Test func verticesAndPoints() throws {
    var program = ProgramDescription(quadratic: .identity(3), variables: 3)
    program.bound(0, 1)
    program.inequalities += [([1, 1, 1], 3), ([1, 1, 0], 2), ([1, 2, 3], 6)]
    let instances = try ProgramInstances([[-5, -6, -7]])
    expectEqual(try program.task().decision(instances, 0, [-5, -6, -7]), [1, 1, 1], to: 1e-12)
    #expect(try largest(program.task().trainingGradient(instances, [[-5, -6, -7]]).1) < 1e-12)
    program.inequalities += [([-1, -1, -1], -3)]
    expectEqual(try program.task().decision(instances, 0, [5, 6, 7]), [1, 1, 1], to: 1e-9)
  }

  /// Sets that are a point to within a width, some of whose constraints are far away.
  @Test(arguments: [0, 1e-17, 1e-15, 1e-12, 1e-9, 3e-7, 1e-5])
  func nearlyPoints(_ width: Double) throws {
    var random = RandomGenerator(seed: 36)
    for _ in 0..<60 {
      let d = 1 + Int(random.next() % 3)
      var program = ProgramDescription(quadratic: Self.definite(d, rank: d, &random), variables: d)
      let point = (0..<d).map { _ in Double(random.next() % 3) - 1 }
      func surround(_ row: [Double], _ room: Double) {
        program.inequalities.append((row, dot(row, point) + room * random.uniform()))
      }
      for j in 0..<d {
        for sign in [-1.0, 1, 1] { surround(sign * [Double].unit(d, j), random.next() % 4 == 0 ? 0 : width) }
        surround([Double].unit(d, j), 1)
      }
      for _ in 0..<4 { surround((0..<d).map { _ in Double(random.next() % 5) - 2 }, width) }
      let cost = 3 * [Double].normal(d, &random)
      let instances = try ProgramInstances([cost])
      let z = try program.task().decision(instances, 0, cost)
      #expect(largest(z .- point) <= width + 1e-7)
      #expect(try program.task().trainingGradient(instances, [cost]).1.allSatisfy(\.isFinite))
    }
  }

  /// Small whole numbers: vertices where more constraints meet than there are variables, ties and repeated constraints.
  @Test func wholeNumbers() throws {
    var random = RandomGenerator(seed: 35)
    func whole(_ count: Int) -> [Double] { (0..<count).map { _ in Double(random.next() % 3) - 1 } }
    for _ in 0..<60 {
      var program = ProgramDescription(quadratic: .diagonal([1, 2, 2, 1]), variables: 4)
      for _ in 0..<5 { program.inequalities.append((whole(4), Double(random.next() % 2))) }
      for j in 0..<4 { program.inequalities.append((-1 * [Double].unit(4, j), 0)) }
      let cost = 2 * whole(4)
      let z = try program.task().decision(try ProgramInstances([cost]), 0, cost)
      expectEqual(z, program.enumerate(cost), to: 1e-9, scale: 1)
    }
  }

  /// A minimum that touches a constraint it does not need: its derivative is that of the smaller face.
  @Test func ties() throws {
    var program = ProgramDescription(quadratic: .identity(2), variables: 2)
    program.bound(0, 1)
    let instances = try ProgramInstances([[2, 2]])
    let (_, gradient) = try program.task().trainingGradient(instances, [[0, -0.5]])
    expectEqual(try program.task().decision(instances, 0, [0, -0.5]), [0, 0.5], to: 1e-10)
    expectEqual(gradient, [0, -2.5], to: 1e-9)
  }

  @Test func singularQuadratics() throws {
    var random = RandomGenerator(seed: 29)
    let q = Self.definite(4, rank: 2, floor: 0, &random)
    // In the range of Q: the least-norm minimum is one of many.
    let inRange = q * [Double].normal(4, &random)
    var program = ProgramDescription(quadratic: q, variables: 4)
    let instances = try ProgramInstances([inRange])
    let z = try program.task().decision(instances, 0, inRange)
    expectEqual(q * z, -1 * inRange, to: 1e-10)
    // With bounds: any cost. The objective is compared with that of a slightly convex program.
    program.bound(-1, 1)
    for _ in 0..<10 {
      let cost = [Double].normal(4, &random)
      let z = try program.task().decision(instances, 0, cost)
      var near = program
      near.quadratic = q + 1e-9 * DenseMatrix.identity(4)
      let other = near.enumerate(cost)
      func objective(_ z: [Double]) -> Double { dot(z, q * z) / 2 + dot(cost, z) }
      #expect(z.allSatisfy { abs($0) <= 1 + 1e-10 })
      expectEqual(objective(z), objective(other), to: 1e-8)
      let slopes = try program.task().gradientError(instances, [cost], step: 1e-4)
      #expect(slopes < 1e-8)
    }
    program.quadratic = DenseMatrix(zeros: 4, 4)
    expectEqual(try program.task().decision(instances, 0, [1, -1, 2, -3]), [-1, 1, -1, 1], to: 1e-12)
    expectEqual(try program.task().decision(instances, 0, [0, 0, 0, 0]), [0, 0, 0, 0], to: 1e-6)
  }

  @Test(arguments: [1e-6, 1e6], [1e-4, 1e4])
  func unitsDoNotMatter(length: Double, cost: Double) throws {
    var random = RandomGenerator(seed: 30)
    for _ in 0..<5 {
      let program = Self.random(4, equalities: 1, inequalities: 5, &random)
      var other = program
      other.quadratic = cost / length * program.quadratic!
      other.equalities = program.equalities.map { ($0.0, length * $0.1) }
      other.inequalities = program.inequalities.map { (1e3 * $0.0, 1e3 * length * $0.1) }
      let c = [Double].normal(4, &random)
      let instances = try ProgramInstances([c])
      let z = try program.task().decision(instances, 0, c)
      expectEqual(1 / length * (try other.task().decision(instances, 0, cost * c)), z, to: 1e-9)
    }
  }

  // MARK: Programs without a solution

  private func expectFailure(
    _ word: String, _ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    do {
      try body()
      Issue.record("no error, should say \(word)", sourceLocation: sourceLocation)
    } catch let error as TaskMetError {
      #expect(error.code == .numerical && error.message.contains(word), "\(error)", sourceLocation: sourceLocation)
    } catch {
      Issue.record("\(error)", sourceLocation: sourceLocation)
    }
  }

  @Test func infeasible() throws {
    var program = ProgramDescription(quadratic: .identity(2), variables: 2)
    program.equalities = [([1, 1], 1), ([2, 2], 3)]
    expectFailure("infeasible") { _ = try program.task() }
    program.equalities = [([0, 0], 1)]
    expectFailure("infeasible") { _ = try program.task() }
    program.equalities = [([1, 1], 3)]
    program.bound(0, 1)
    expectFailure("infeasible") { _ = try program.task() }
    program.equalities = [([1, 1], 2)]  // one point
    _ = try program.task()
    program.equalities = []
    program.inequalities.append(([-1, -1], -2.001))
    expectFailure("infeasible") { _ = try program.task() }
    program.inequalities = [([0, 0], -1)]
    expectFailure("infeasible") { _ = try program.task() }
  }

  @Test func unbounded() throws {
    var program = ProgramDescription(quadratic: DenseMatrix([[1, 0], [0, 0]]), variables: 2)
    let instances = try ProgramInstances([[1, 1]])
    func decide(_ cost: [Double]) throws { _ = try program.task().decision(instances, 0, cost) }
    expectFailure("unbounded") { try decide([1, 1]) }
    try decide([1, 0])
    program.inequalities = [([0, 1], 1), ([1, -1], 5)]
    try decide([1, -1])
    expectFailure("unbounded") {
      program.inequalities.removeFirst(); try decide([1, -1])
    }
    program.quadratic = DenseMatrix(zeros: 2, 2)
    expectFailure("instance 0") { try decide([1, 1]) }
    program.equalities = [([1, 1], 0)]
    expectFailure("unbounded") { try decide([1, -1]) }
    try decide([1, 1])
  }
}
