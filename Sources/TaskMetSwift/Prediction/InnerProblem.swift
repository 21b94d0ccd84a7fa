// theta*(phi) = argmin L_pred: the inner problem, by the solver that was chosen.

/// Raw values are those of `taskmet_inner_solver`.
enum InnerSolver: Int32, CaseIterable {
  case adam, sgd, lbfgs, exact
}

struct InnerOptions {
  var solver = InnerSolver.lbfgs
  var maximumIterations = 1000
  var gradientTolerance = 1e-8
  /// nil for the solver's own.
  var learningRate: Double?
  var momentum = 0.0
  var memory = 10
}

extension MetricisedLoss {
  /// Moves theta towards theta*(phi). Throws where the result is not finite; theta is then undefined.
  func minimize(_ theta: UnsafeMutablePointer<Double>, _ options: InnerOptions) throws -> MinimizationReport {
    let report =
      switch options.solver {
      case .exact: try solveExactly(theta, options)
      case .lbfgs:
        try LBFGS(
          count: parameterCount, memory: options.memory, maximumIterations: options.maximumIterations,
          gradientTolerance: options.gradientTolerance, rounding: memory.arithmetic.rounding
        ).minimize(theta) { try self.evaluate($0, gradient: $1) }
      case .adam:
        try descend(theta, .adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), options.learningRate ?? 1e-2, options)
      case .sgd: try descend(theta, .sgd(momentum: options.momentum), options.learningRate ?? 1e-3, options)
      }
    guard report.value.isFinite, report.gradientNorm.isFinite, firstNonFinite(parameterCount, theta) == nil,
      predictor.precision.firstOverflow(parameterCount, theta) == nil
    else {
      throw TaskMetError.numerical(
        "the prediction loss is \(report.value) after \(report.iterations) inner iterations; standardise the data or "
          + "lower the learning rate")
    }
    return report
  }

  private func descend(
    _ theta: UnsafeMutablePointer<Double>, _ method: Optimizer.Method, _ rate: Double, _ options: InnerOptions
  ) throws -> MinimizationReport {
    let optimizer = try Optimizer(method, count: parameterCount, learningRate: rate)
    let gradient = try Buffer<Double>(count: parameterCount)
    var report = MinimizationReport()
    while true {
      report.value = try evaluate(theta, gradient: gradient.base)
      report.evaluations += 1
      report.gradientNorm = norm(parameterCount, gradient.base)
      report.converged = report.gradientNorm <= options.gradientTolerance
      if report.converged || report.iterations >= options.maximumIterations || !report.gradientNorm.isFinite {
        return report
      }
      try optimizer.step(gradient: gradient.base, parameters: theta)
      report.iterations += 1
    }
  }

  /// The loss of a linear predictor is quadratic: theta* = -H^-1 grad(0). Two more steps of the same kind from there remove
  /// what rounding left (the corrected semi-normal equations). All in float64: it is the gradient there that must be exact.
  private func solveExactly(
    _ theta: UnsafeMutablePointer<Double>, _ options: InnerOptions
  ) throws -> MinimizationReport {
    guard predictor.isLinear else {
      throw TaskMetError.unsupported("the exact inner solution needs a linear predictor; use lbfgs")
    }
    if memory.arithmetic != .float64 { return try widened().solveExactly(theta, options) }
    let hessian = try DenseHessian(self, ridge: 0)
    let gradient = try Buffer<Double>(count: parameterCount)
    let step = try Buffer<Double>(count: parameterCount)
    theta.update(repeating: 0, count: parameterCount)
    for _ in 0..<3 {
      _ = try evaluate(theta, gradient: gradient.base)
      try hessian.solve(gradient.base, into: step.base)
      Double.axpy(parameterCount, -1, step.base, theta)
    }
    var report = MinimizationReport(iterations: 1, evaluations: 4)
    report.value = try evaluate(theta, gradient: gradient.base)
    report.gradientNorm = norm(parameterCount, gradient.base)
    report.converged = report.gradientNorm <= options.gradientTolerance
    return report
  }
}
