// One entry to all solvers of A v = g, A = H + ridge I.

/// The matrices of the system: products with H and G, and H + ridge I factorised where that is asked for.
struct SystemMatrices {
  let hessian: LinearOperator
  let gaussNewton: LinearOperator
  let dense: (_ ridge: Double) throws -> any DenseSolve
  /// The error of a product beside |A| |w|.
  var rounding = Precision.float64.rounding
}

/// A factorised A.
protocol DenseSolve {
  var isIndefinite: Bool { get }
  func solve(_ g: UnsafePointer<Double>, into v: UnsafeMutablePointer<Double>) throws
}

extension DenseHessian: DenseSolve {}

/// Moves v, from where it is, to the solution of (H + ridge I) v = g; the report's residual is computed from v itself.
func solveLinearSystem(
  count: Int, _ matrices: SystemMatrices, g: UnsafePointer<Double>, v: UnsafeMutablePointer<Double>,
  _ options: SolverOptions
) throws -> SolverReport {
  let size = norm(count, g)
  guard size.isFinite, size > 0, size < 0x1p-300 || size > 0x1p300 else {
    return try solveWithinRange(count: count, matrices, g: g, v: v, options)
  }
  // The solvers square numbers of the size of g and v: here they work on multiples of both, by a power of two, which changes
  // no other bit.
  let scale = Double(sign: .plus, exponent: max(-1000, min(1000, -size.exponent)), significand: 1)
  let scaled = try Buffer(copying: g, count: count)
  Double.scale(count, scale, scaled.base)
  Double.scale(count, scale, v)
  if firstNonFinite(count, v) != nil { v.update(repeating: 0, count: count) }
  var report = try solveWithinRange(count: count, matrices, g: scaled.base, v: v, options)
  Double.scale(count, 1 / scale, v)
  report.gradientNorm = size
  report.solutionNorm = norm(count, v)
  return try checked(report)
}

/// The report, where the solution that it is of is finite.
private func checked(_ report: SolverReport) throws -> SolverReport {
  guard report.residual.isFinite, report.solutionNorm.isFinite else {
    throw TaskMetError.numerical("the linear solver's solution is not finite; use a ridge or another solver")
  }
  return report
}

/// The same for a g whose squares are numbers.
private func solveWithinRange(
  count: Int, _ matrices: SystemMatrices, g: UnsafePointer<Double>, v: UnsafeMutablePointer<Double>,
  _ options: SolverOptions
) throws -> SolverReport {
  var report = SolverReport(solver: options.solver)
  func shifted(_ matrix: @escaping LinearOperator) -> LinearOperator {
    { w, out in
      try matrix(w, out)
      if options.ridge > 0 { Double.axpy(count, options.ridge, w, out) }
    }
  }
  let matrix = options.solver == .gaussNewtonCG ? matrices.gaussNewton : matrices.hessian
  let system = try LinearSystem(
    count: count, g: g, v: v, tolerance: options.tolerance, rounding: matrices.rounding, vectors: 6, shifted(matrix))
  report.gradientNorm = system.gradientNorm
  if system.gradientNorm == 0 {
    v.update(repeating: 0, count: count)
    report.converged = true
    return report
  }
  guard system.gradientNorm.isFinite else {
    throw TaskMetError.numerical("the norm of the task's gradient in theta is \(system.gradientNorm)")
  }
  if options.solver == .dense {
    let factors = try matrices.dense(options.ridge)
    system.negativeCurvature = factors.isIndefinite
    try solveDensely(system, factors)
  } else {
    report.solver = try run(options, system)
  }
  report.iterations = system.iterations
  report.negativeCurvature = system.negativeCurvature
  report.residual = try system.finalResidual()
  report.converged = report.residual <= options.tolerance
  report.operatorProducts = system.products
  if options.solver == .gaussNewtonCG {
    // It converges in its own system; the residual that is reported is the true one.
    let check = try LinearSystem(
      count: count, g: g, v: v, tolerance: options.tolerance, rounding: matrices.rounding, vectors: 0,
      shifted(matrices.hessian))
    report.residual = try check.finalResidual()
    report.operatorProducts += 1
  }
  report.solutionNorm = norm(count, v)
  return try checked(report)
}

/// Returns the solver that finished.
private func run(_ options: SolverOptions, _ system: LinearSystem) throws -> LinearSolver {
  let limit = options.iterationLimit
  switch options.solver {
  case .cg, .gaussNewtonCG:
    try system.solveWithRestarts(limit: limit, conjugateGradients)
    if system.brokeDown {
      try system.solveWithRestarts(limit: limit, minimumResidual)
      return .minres
    }
  case .normalCG: try normalConjugateGradients(system, limit: limit, normalRidge: options.normalRidge)
  case .minres: try system.solveWithRestarts(limit: limit, minimumResidual)
  case .neumann:
    try system.computeResidual()
    try neumann(system, limit: limit, step: options.neumannStep)
  case .identity:
    system.v.update(from: system.g, count: system.count)
    try system.apply(system.v, into: system.vector(0))
    system.noteCurvature(system.v, system.vector(0))
  case .dense: break
  }
  return options.solver
}

/// A factorisation, and one step of iterative refinement.
private func solveDensely(_ system: LinearSystem, _ factors: any DenseSolve) throws {
  try factors.solve(system.g, into: system.v)
  try system.computeResidual()
  let correction = system.vector(0)
  try factors.solve(system.residual, into: correction)
  Double.axpy(system.count, 1, correction, system.v)
}
