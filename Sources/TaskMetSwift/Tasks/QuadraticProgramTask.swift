// A quadratic program whose costs are predicted: min 1/2 z'Qz + c(y)'z, c(y) = c0 + P y, over A z = b, G z <= h; or, to be
// maximised, c(y)'z - 1/2 z'Qz.

final class QuadraticProgramTask: DecisionTask {
  /// The parts of the objective; nil for each instance's own Q, c0 = 0, P = I.
  struct Objective {
    let entries: Int
    let quadratic: Buffer<Double>?
    let linear: Buffer<Double>?
    let prediction: Buffer<Double>?
  }

  private let parts: Objective
  private let set: FeasibleSet
  /// Of the task's own Q.
  private let quadratic: FeasibleSet.Quadratic?
  private let direction: Sense

  init(_ parts: Objective, over set: FeasibleSet, sense: Sense) throws {
    self.parts = parts
    self.set = set
    direction = sense
    quadratic = try parts.quadratic.map { try set.reduce(quadratic: $0.base) }
  }

  override var sense: Sense { direction }
  override func decisionCount(rows: Int, outputs: Int) -> Int { set.variables }
  override var objectiveIsLinear: Bool { parts.prediction == nil }

  override func check(_ problem: DecisionProblem) throws {
    guard problem.entries == parts.entries else {
      throw TaskMetError.shape(
        "instance \(problem.instance) has \(problem.entries) entries, the program is for \(parts.entries)")
    }
    if quadratic != nil { return }
    let matrix = try requireContextMatrix(problem, order: set.variables)
    if let eigenvalue = try negativeEigenvalue(matrix, order: set.variables) {
      throw TaskMetError.numerical(
        "the context of instance \(problem.instance) is not positive semidefinite: it has the eigenvalue \(eigenvalue)")
    }
  }

  private func matrix(_ problem: DecisionProblem) -> UnsafePointer<Double> {
    parts.quadratic.map { UnsafePointer($0.base) } ?? problem.context!.baseAddress!
  }

  private func solve(_ problem: DecisionProblem, _ values: UnsafePointer<Double>) throws -> ProgramSolution {
    let cost = try Buffer<Double>(count: set.variables)
    findCost(values, into: cost.base)
    Double.scale(set.variables, direction.sign, cost.base)
    return try naming(problem) {
      try set.minimize(try quadratic ?? set.reduce(quadratic: matrix(problem)), cost: cost.base)
    }
  }

  /// c0 + P y
  private func findCost(_ values: UnsafePointer<Double>, into cost: UnsafeMutablePointer<Double>) {
    for j in 0..<set.variables {
      let predicted = parts.prediction.map { Double.dot(parts.entries, $0.base + j * parts.entries, values) }
      cost[j] = (parts.linear?[j] ?? 0) + (predicted ?? values[j])
    }
  }

  override func decide(
    _ problem: DecisionProblem, values: UnsafePointer<Double>, into decision: UnsafeMutablePointer<Double>
  ) throws {
    let solution = try solve(problem, values)
    decision.update(from: solution.decision.base, count: set.variables)
  }

  override func objective(
    _ problem: DecisionProblem, _ decision: UnsafePointer<Double>, values: UnsafePointer<Double>
  ) throws -> Double {
    let slope = try Buffer<Double>(count: set.variables)
    return direction.sign * findLoss(problem, decision, values, slope: slope.base)
  }

  /// 1/2 z'Qz + c(y)'z (to be maximised: 1/2 z'Qz - c(y)'z), and its slope in z.
  private func findLoss(
    _ problem: DecisionProblem, _ z: UnsafePointer<Double>, _ values: UnsafePointer<Double>,
    slope: UnsafeMutablePointer<Double>
  ) -> Double {
    let (d, matrix) = (set.variables, matrix(problem))
    findCost(values, into: slope)
    Double.scale(d, direction.sign, slope)
    var loss = Double.dot(d, slope, z)
    for j in 0..<d {
      let product = Double.dot(d, matrix + j * d, z)
      loss += product * z[j] / 2
      slope[j] += product
    }
    return loss
  }

  override func trainingLoss(_ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    let d = set.variables
    let solution = try solve(problem, problem.predictions)
    let slope = try Buffer<Double>(count: d)
    let loss = findLoss(problem, solution.decision.base, problem.targets, slope: slope.base)
    guard let gradient else { return loss }
    let inCost = try Buffer<Double>(count: d)
    try solution.pullback(slope.base, into: inCost.base)
    Double.scale(d, direction.sign, inCost.base)
    guard let prediction = parts.prediction else {
      gradient.update(from: inCost.base, count: d)
      return loss
    }
    gradient.update(repeating: 0, count: parts.entries)
    for j in 0..<d { Double.axpy(parts.entries, inCost[j], prediction.base + j * parts.entries, gradient) }
    return loss
  }
}

/// An error of a program says which instance it came from.
func naming<Result>(_ problem: DecisionProblem, _ body: () throws -> Result) throws -> Result {
  do {
    return try body()
  } catch let error as TaskMetError where error.code == .numerical {
    throw TaskMetError.numerical("instance \(problem.instance): \(error.message)")
  }
}

/// The smallest eigenvalue of a symmetric matrix, where it is negative by more than rounding.
func negativeEigenvalue(_ matrix: UnsafePointer<Double>, order: Int) throws -> Double? {
  let copy = try Buffer(copying: matrix, count: try checkedProduct(order, order))
  let (smallest, largest) = try extremeEigenvalues(copy.base, order: order)
  return smallest < -1e-12 * max(largest, -smallest) ? smallest : nil
}
