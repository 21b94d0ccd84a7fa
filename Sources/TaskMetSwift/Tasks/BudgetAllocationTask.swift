// The choice of websites (rows) to reach as many users as possible; in training a soft one.

final class BudgetAllocationTask: DecisionTask {
  /// How the decision is softened.
  enum Relaxation {
    case entropic(gamma: Double)
    case published
  }

  /// Of 0.005 to 0.1 the one that learned the best decisions at the smallest prediction error, on sparse rates with a mean below
  /// 0.01: with more, z is far from the set that is taken in the end; with less, gradients vanish at first.
  static let defaultGamma = 0.01

  private let budget: Int
  private let relaxation: Relaxation

  init(budget: Int, _ relaxation: Relaxation) { (self.budget, self.relaxation) = (budget, relaxation) }

  override var sense: Sense { .maximize }
  override func decisionCount(rows: Int, outputs: Int) -> Int { rows }

  override func check(_ problem: DecisionProblem) throws {
    guard budget <= problem.rows else {
      throw TaskMetError.shape(
        "dataset: instance \(problem.instance) has \(problem.rows) rows, fewer than the task's budget \(budget)")
    }
    for k in 0..<problem.entries where !(problem.targets[k] >= 0 && problem.targets[k] <= 1) {
      throw TaskMetError.invalidArgument(
        "dataset: targets are rates in [0, 1], but row \(k / problem.outputs) of instance \(problem.instance) "
          + "has \(problem.targets[k])")
    }
  }

  override func decide(
    _ problem: DecisionProblem, values: UnsafePointer<Double>, into decision: UnsafeMutablePointer<Double>
  ) throws {
    try BestAllocation(rows: problem.rows, users: problem.outputs, budget: budget, rates: values)
      .choose(into: decision)
  }

  override func objective(
    _ problem: DecisionProblem, _ decision: UnsafePointer<Double>, values: UnsafePointer<Double>
  ) throws -> Double {
    let room = try Buffer<Double>(
      count: try Coverage.scratchCount(rows: problem.rows, users: problem.outputs))
    return withExtendedLifetime(room) {
      let coverage = Coverage(
        rows: problem.rows, users: problem.outputs, rates: values, z: decision, scratch: room.base)
      coverage.prepare()
      return coverage.value
    }
  }

  override func trainingLoss(_ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    let allocation = try softAllocation(problem)
    try allocation.solve()
    return try allocation.loss(problem, gradient: gradient)
  }

  private func softAllocation(_ problem: DecisionProblem) throws -> SoftAllocation {
    switch relaxation {
    case .entropic(let gamma): try EntropicAllocation(problem, budget: budget, gamma: gamma)
    case .published: try PublishedAllocation(problem, budget: budget)
    }
  }
}
