// A linear program whose costs or values are predicted: y'z over A z <= b, smoothed by |z|^2 in training.

final class LinearProgramTask: DecisionTask {
  private let set: FeasibleSet
  private let direction: Sense
  /// smoothing I, and 0.
  private let smoothed: FeasibleSet.Quadratic
  private let exact: FeasibleSet.Quadratic

  init(over set: FeasibleSet, sense: Sense, smoothing: Double) throws {
    self.set = set
    direction = sense
    let d = set.variables
    let matrix = try Buffer<Double>(repeating: 0, count: try checkedProduct(d, d))
    exact = try set.reduce(quadratic: matrix.base)
    for k in 0..<d { matrix[k * (d + 1)] = smoothing }
    smoothed = try set.reduce(quadratic: matrix.base)
  }

  override var sense: Sense { direction }
  override func decisionCount(rows: Int, outputs: Int) -> Int { set.variables }
  override var objectiveIsLinear: Bool { true }

  override func check(_ problem: DecisionProblem) throws {
    guard problem.entries == set.variables else {
      throw TaskMetError.shape(
        "instance \(problem.instance) has \(problem.entries) entries, the program is for \(set.variables)")
    }
  }

  private func solve(
    _ problem: DecisionProblem, _ quadratic: FeasibleSet.Quadratic, _ values: UnsafePointer<Double>
  ) throws -> ProgramSolution {
    let cost = try Buffer(copying: values, count: set.variables)
    Double.scale(cost.count, direction.sign, cost.base)
    return try naming(problem) { try set.minimize(quadratic, cost: cost.base) }
  }

  override func decide(
    _ problem: DecisionProblem, values: UnsafePointer<Double>, into decision: UnsafeMutablePointer<Double>
  ) throws {
    let solution = try solve(problem, exact, values)
    decision.update(from: solution.decision.base, count: set.variables)
  }

  override func objective(
    _ problem: DecisionProblem, _ decision: UnsafePointer<Double>, values: UnsafePointer<Double>
  ) throws -> Double { Double.dot(set.variables, values, decision) }

  /// The slope of the loss in z is +-y, and that of z in the predictions has the same sign: the signs cancel.
  override func trainingLoss(_ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    let solution = try solve(problem, smoothed, problem.predictions)
    if let gradient { try solution.pullback(problem.targets, into: gradient) }
    return direction.sign * Double.dot(set.variables, problem.targets, solution.decision.base)
  }
}
