// Linear programs against the best of all vertices; their smoothed form against closed forms and differences.

import Testing

@testable import TaskMetSwift

@Suite struct LinearProgramTests {
  static func task(_ program: ProgramDescription, _ sense: Sense, smoothing: Double = 0.5) throws -> LinearProgramTask {
    try LinearProgramTask(over: try program.feasibleSet(), sense: sense, smoothing: smoothing)
  }

  /// The least cost over all points where as many constraints as variables are active.
  static func bestVertex(_ program: ProgramDescription, _ cost: [Double]) -> Double {
    var best = Double.infinity
    let rows = program.inequalities
    for mask in 0..<(1 << rows.count) where mask.nonzeroBitCount == program.variables {
      let active = rows.indices.filter { mask >> $0 & 1 == 1 }
      let vertex = DenseMatrix(active.map { rows[$0].0 }).solve(active.map { rows[$0].1 })
      if vertex.allSatisfy(\.isFinite), rows.allSatisfy({ dot($0.0, vertex) <= $0.1 + 1e-9 }) {
        best = min(best, dot(cost, vertex))
      }
    }
    return best
  }

  static func random(_ d: Int, cuts: Int, _ random: inout RandomGenerator) -> ProgramDescription {
    var program = ProgramDescription(quadratic: nil, variables: d)
    for _ in 0..<cuts { program.inequalities.append((.normal(d, &random), 0.2 + random.uniform())) }
    program.bound(-1, 1)
    return program
  }

  @Test func objectivesAreThoseOfTheBestVertex() throws {
    var random = RandomGenerator(seed: 31)
    for _ in 0..<40 {
      let program = Self.random(3, cuts: 5, &random)
      let cost = [Double].normal(3, &random)
      let best = Self.bestVertex(program, cost)
      let minimized = try Self.task(program, .minimize).validationLosses(try ProgramInstances([cost]), [cost])
      let negative = -1 * cost
      let maximized = try Self.task(program, .maximize).validationLosses(try ProgramInstances([negative]), [negative])
      expectEqual(minimized, [best], to: 1e-10)
      expectEqual(maximized, [best], to: 1e-10)
    }
  }

  /// Degenerate vertices, whole faces of solutions, and constraints that repeat each other.
  @Test func ties() throws {
    var program = ProgramDescription(quadratic: nil, variables: 3)
    program.bound(0, 1)
    program.inequalities += [([1, 1, 1], 1), ([1, 1, 1], 1), ([1, 1, 0], 1), ([2, 2, 2], 2)]
    for cost in [[-1.0, -1, -1], [-1, -1, 0], [0, 0, 0], [-2, -1, -1], [1, 0, 0]] {
      let instances = try ProgramInstances([cost])
      let loss = try Self.task(program, .minimize).validationLosses(instances, [cost])
      expectEqual(loss, [min(0, cost.min()!)], to: 1e-9)
    }
  }

  @Test func assignments() throws {
    // 5 x 5: rows and columns sum to 1 at most, maximised.
    var random = RandomGenerator(seed: 32)
    var program = ProgramDescription(quadratic: nil, variables: 25)
    for k in 0..<5 {
      program.inequalities.append(((0..<25).map { $0 / 5 == k ? 1 : 0 }, 1))
      program.inequalities.append(((0..<25).map { $0 % 5 == k ? 1 : 0 }, 1))
    }
    for j in 0..<25 { program.inequalities.append((-1 * [Double].unit(25, j), 0)) }
    func best(_ values: [Double], _ row: Int, _ used: Int) -> Double {
      if row == 5 { return 0 }
      return (0..<5).filter { used >> $0 & 1 == 0 }.map {
        values[row * 5 + $0] + best(values, row + 1, used | 1 << $0)
      }.max()!
    }
    for round in 0..<10 {
      // Every other time with whole numbers, where many assignments are equally good.
      let values = (0..<25).map { _ in round % 2 == 0 ? random.uniform() : (3 * random.uniform()).rounded(.up) }
      let instances = try ProgramInstances([values])
      let loss = try Self.task(program, .maximize).validationLosses(instances, [values])
      expectEqual(loss, [-best(values, 0, 0)], to: 1e-9)
    }
  }

  /// In a box, the smoothed decision is -y / smoothing, clipped.
  @Test func smoothedBox() throws {
    var program = ProgramDescription(quadratic: nil, variables: 4)
    program.bound(0, 1)
    let instances = try ProgramInstances([[1, 2, 3, 4]])
    let (loss, gradient) = try Self.task(program, .minimize).trainingGradient(instances, [[-0.1, -0.2, -3, 5]])
    expectEqual(loss, 0.2 + 2 * 0.4 + 3, to: 1e-12)
    expectEqual(gradient, [-2, -4, 0, 0], to: 1e-11)
    let maximized = try Self.task(program, .maximize).trainingGradient(instances, [[0.1, 0.2, 3, -5]])
    expectEqual(maximized.0, -loss, to: 1e-12)
    expectEqual(maximized.1, [-2, -4, 0, 0], to: 1e-11)
  }

  @Test(arguments: Sense.allCases)
  func theGradientIsThatOfTheLoss(sense: Sense) throws {
    var random = RandomGenerator(seed: 33)
    for _ in 0..<5 {
      let task = try Self.task(Self.random(6, cuts: 5, &random), sense, smoothing: 2)
      let instances = try ProgramInstances([.normal(6, &random), .normal(6, &random)])
      let predictions = [[Double].normal(6, &random), .normal(6, &random)]
      #expect(try norm(task.trainingGradient(instances, predictions).1) > 1e-3)
      #expect(try task.gradientError(instances, predictions, step: 1e-4) < 1e-8)
    }
  }

  @Test(arguments: Sense.allCases)
  func regretAndSPOPlus(sense: Sense) throws {
    var random = RandomGenerator(seed: 34)
    let task = try Self.task(Self.random(5, cuts: 4, &random), sense)
    let instances = try ProgramInstances((0..<10).map { _ in .normal(5, &random) })
    let predictions = (0..<10).map { _ in [Double].normal(5, &random) }
    let best = try task.validationLosses(instances, instances.targets)
    let regrets = try task.validationLosses(instances, predictions) .- best
    #expect(regrets.allSatisfy { $0 > -1e-9 } && norm(regrets) > 0.1)
    let surrogate = try task.evaluateSPOPlus(try instances.batch(predictions, .training), gradient: nil)
    #expect(surrogate >= regrets.reduce(0, +) / 10 - 1e-9)
    let perfect = try task.evaluateSPOPlus(try instances.batch(instances.targets, .training), gradient: nil)
    expectEqual(perfect, 0, to: 1e-9, scale: 1)
  }
}
