// Markowitz's portfolio: max y'z - lambda z'Qz over sum z = 1, lower <= z <= upper, with Q the instance's context.

final class PortfolioTask: DecisionTask {
  private let riskAversion: Double
  private let lower: Double
  private let upper: Double
  /// The published recipe: the objective counts |L z|^2, Q = L L', in place of z'Qz.
  private let legacy: Bool

  init(riskAversion: Double, lower: Double, upper: Double, legacy: Bool) {
    (self.riskAversion, self.lower, self.upper, self.legacy) = (riskAversion, lower, upper, legacy)
  }

  override var sense: Sense { .maximize }
  override func decisionCount(rows: Int, outputs: Int) -> Int { rows * outputs }
  /// The published recipe's decision is not the optimum of its objective.
  override var objectiveIsLinear: Bool { !legacy }

  // MARK: What an instance must be

  override func check(_ problem: DecisionProblem) throws {
    let count = problem.entries
    let what = "instance \(problem.instance)"
    guard Double(count) * lower <= 1 + 1e-12, Double(count) * upper >= 1 - 1e-12 else {
      throw TaskMetError.shape("\(what): \(count) entries between \(lower) and \(upper) cannot have the sum 1")
    }
    let matrix = try requireContextMatrix(problem, order: count)
    guard try cholesky(matrix, order: count) != nil else {
      throw TaskMetError.numerical(
        "the context of \(what) is not positive definite: add a multiple of the identity to the matrix")
    }
  }

  /// L of the instance's Q = L L'.
  private func cholesky(_ matrix: UnsafePointer<Double>, order: Int) throws -> ChangingCholesky? {
    var factor = try ChangingCholesky(capacity: order)
    for k in 0..<order {
      let line = matrix + k * order
      if !factor.append({ line[$0] }) { return nil }
    }
    return factor
  }

  // MARK: Decisions

  private func program(_ problem: DecisionProblem) -> BoundedSimplex {
    BoundedSimplex(
      count: problem.entries, matrix: problem.context!.baseAddress!, curvature: 2 * riskAversion, lower: lower,
      upper: upper)
  }

  private func solve(_ problem: DecisionProblem, _ values: UnsafePointer<Double>) throws -> BoundedSimplexSolution {
    try BoundedSimplexSolution.search(program(problem), values) ?? solveByInteriorPoint(problem, values)
  }

  /// For where the search for the active set loses its way to rounding.
  func solveByInteriorPoint(
    _ problem: DecisionProblem, _ values: UnsafePointer<Double>
  ) throws -> BoundedSimplexSolution {
    let count = problem.entries
    let hessian = try Buffer(copying: problem.context!.baseAddress!, count: count * count)
    let cost = try Buffer(copying: values, count: count)
    Double.scale(count * count, 2 * riskAversion, hessian.base)
    Double.scale(count, -1, cost.base)
    let near = try naming(problem) {
      let set = try feasibleSet(count)
      return try set.minimize(try set.reduce(quadratic: hessian.base), cost: cost.base).decision
    }
    if let solution = try BoundedSimplexSolution.refine(program(problem), values, near: near.base) { return solution }
    throw TaskMetError.numerical(
      "the portfolio of instance \(problem.instance) could not be found: its context is close to singular")
  }

  /// sum z = 1, -z <= -lower, z <= upper
  private func feasibleSet(_ count: Int) throws -> FeasibleSet {
    let (ones, one) = (try Buffer<Double>(repeating: 1, count: count), try Buffer<Double>(repeating: 1, count: 1))
    let rows = try Buffer<Double>(repeating: 0, count: 2 * count * count)
    let bounds = try Buffer<Double>(count: 2 * count)
    for j in 0..<count {
      (rows[j * (count + 1)], bounds[j]) = (-1, -lower)
      (rows[count * count + j * (count + 1)], bounds[count + j]) = (1, upper)
    }
    return try withExtendedLifetime((ones, one, rows, bounds)) {
      try FeasibleSet(
        variables: count, equalities: Constraints(count: 1, matrix: ones.base, values: one.base),
        inequalities: Constraints(count: 2 * count, matrix: rows.base, values: bounds.base))
    }
  }

  override func decide(
    _ problem: DecisionProblem, values: UnsafePointer<Double>, into decision: UnsafeMutablePointer<Double>
  ) throws {
    let solution = try solve(problem, values)
    decision.update(from: solution.z.base, count: problem.entries)
  }

  override func objective(
    _ problem: DecisionProblem, _ decision: UnsafePointer<Double>, values: UnsafePointer<Double>
  ) throws -> Double {
    let slope = try Buffer<Double>(count: problem.entries)
    return try objective(problem, decision, values: values, slope: slope.base)
  }

  /// F(z, values), and its slope in z.
  private func objective(
    _ problem: DecisionProblem, _ z: UnsafePointer<Double>, values: UnsafePointer<Double>,
    slope: UnsafeMutablePointer<Double>
  ) throws -> Double {
    let count = problem.entries
    try multiplyByRisk(problem, z, into: slope)
    let risk = Double.dot(count, z, slope)
    for j in 0..<count { slope[j] = values[j] - 2 * riskAversion * slope[j] }
    return Double.dot(count, values, z) - riskAversion * risk
  }

  /// Q z, or L'L z.
  private func multiplyByRisk(
    _ problem: DecisionProblem, _ z: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
  ) throws {
    let count = problem.entries
    let matrix = problem.context!.baseAddress!
    out.update(repeating: 0, count: count)
    if legacy {
      guard let factor = try cholesky(matrix, order: count) else { return }
      for k in 0..<count { shortAxpy(k + 1, shortDot(k + 1, factor.row(k), z), factor.row(k), out) }
    } else {
      for k in 0..<count where z[k] != 0 { shortAxpy(count, z[k], matrix + k * count, out) }
    }
  }

  override func trainingLoss(_ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    let solution = try solve(problem, problem.predictions)
    let slope = try Buffer<Double>(count: problem.entries)
    let value = try objective(problem, solution.z.base, values: problem.targets, slope: slope.base)
    if let gradient {
      Double.scale(problem.entries, -1, slope.base)
      solution.pullback(slope.base, into: gradient)
    }
    return -value
  }
}

/// The instance's context as a symmetric matrix.
func requireContextMatrix(_ problem: DecisionProblem, order: Int) throws -> UnsafePointer<Double> {
  let what = "the context of instance \(problem.instance)"
  guard let context = problem.context, let matrix = context.baseAddress, context.count == order * order else {
    throw TaskMetError.shape(
      "\(what) must be a matrix of \(order) x \(order) reals, got \(problem.context?.count ?? 0) reals")
  }
  if let (row, column) = firstAsymmetry(matrix, order: order) {
    throw TaskMetError.numerical(
      "\(what) is not symmetric: [\(row),\(column)] is \(matrix[row * order + column]), "
        + "[\(column),\(row)] is \(matrix[column * order + row])")
  }
  return matrix
}

/// The first entry that differs from its mirror image by more than rounding.
func firstAsymmetry(_ matrix: UnsafePointer<Double>, order: Int) -> (row: Int, column: Int)? {
  var largest = 0.0
  for k in 0..<(order * order) { largest = max(largest, abs(matrix[k])) }
  let rounding = 1e-12 * largest
  for row in 0..<order {
    for column in 0..<row {
      if abs(matrix[row * order + column] - matrix[column * order + row]) > rounding { return (row, column) }
    }
  }
  return nil
}
