// The inner problem of a linear predictor: theta*(phi) against the normal equations, and the hypergradient through it
// against the closed form and against the task's loss at solutions for phi +- h.

import Testing

@testable import TaskMetSwift

/// A task for the tests: sum_i a_i . f_i + (1/2) |f_i|^2, over predictions of all rows.
private struct QuadraticTask {
  let a: [Double]

  init(_ count: Int) {
    var random = RandomGenerator(seed: 61)
    a = .normal(count, &random)
  }

  func loss(_ f: [Double]) -> Double { dot(a, f) + dot(f, f) / 2 }
  func gradient(_ f: [Double]) -> [Double] { a .+ f }
}

/// The normal equations, put together from J and Lambda by the tests' own linear algebra.
private struct NormalEquations {
  let jacobian: DenseMatrix
  /// f at theta = 0.
  let offset: [Double]
  let problem: Problem

  init(_ problem: Problem) throws {
    self.problem = problem
    let (count, x) = (problem.predictor.parameterCount, problem.data.dataset.x)
    let zero = [Double](repeating: 0, count: count)
    offset = try problem.predictor.predictions(zero, x)
    jacobian = try problem.predictor.jacobian(zero, x)
  }

  /// (2/N) s_i Lambda_i of each row, for a metric at phi.
  func weights(_ phi: [Double]) -> [DenseMatrix] {
    let n = problem.predictor.outputs
    let (spec, x) = (problem.metricSpec, problem.data.x)
    var m = problem.metric.normalizationScale
    if spec.scaling == .batchTrace {
      let traces = spec.lambda(phi, outputs: n, x, m: 1).map { lambda in (0..<n).reduce(0) { $0 + lambda[$1, $1] } }
      m = traces.reduce(0, +) / Double(n * x.rows)
    }
    return zip(spec.lambda(phi, outputs: n, x, m: m), problem.data.weights).map { 2 / Double(x.rows) * $1 * $0 }
  }

  private func apply(_ weights: [DenseMatrix], _ a: [Double]) -> [Double] {
    let n = problem.predictor.outputs
    return weights.enumerated().flatMap { i, weight in weight * Array(a[(i * n)..<((i + 1) * n)]) }
  }

  /// J' diag(weights) a.
  private func pullback(_ weights: [DenseMatrix], _ a: [Double]) -> [Double] {
    jacobian.transposed * apply(weights, a)
  }

  func hessian(_ weights: [DenseMatrix]) -> DenseMatrix {
    let mask = problem.predictorSpec.penaltyMask(jacobian.columns)
    let columns = (0..<jacobian.columns).map { apply(weights, jacobian.column($0)) }
    return DenseMatrix(columns) * jacobian + problem.setting.rho * .diagonal(mask)
  }

  func solve(_ phi: [Double]) -> [Double] {
    let weights = weights(phi)
    return hessian(weights).solve(pullback(weights, problem.data.y.values .- offset))
  }

  func predictions(_ theta: [Double]) -> [Double] { offset .+ jacobian * theta }

  /// dL_task/dphi along d: -g' H^-1 (d/dphi grad_theta L_pred) d.
  func hypergradient(_ phi: [Double], along d: [Double], _ task: QuadraticTask) -> Double {
    let weights = weights(phi)
    let f = predictions(solve(phi))
    let residual = f .- problem.data.y.values
    let change = derivative { t in pullback(self.weights(phi .+ t * d), residual) }
    let v = hessian(weights).solve(jacobian.transposed * task.gradient(f))
    return -dot(v, change)
  }
}

extension Problem {
  /// theta*, by a solver of the library.
  fileprivate func minimize(_ options: InnerOptions) throws -> (theta: [Double], report: MinimizationReport) {
    var theta = self.theta
    let report = try loss().minimize(&theta, options)
    return (theta, report)
  }

  /// The library's hypergradient of a task at theta.
  fileprivate func hypergradient(
    _ theta: [Double], _ task: QuadraticTask, _ options: SolverOptions
  ) throws -> (phi: [Double], report: SolverReport) {
    let x = data.dataset.x
    let g = try predictor.pullback(theta, x, task.gradient(try predictor.predictions(theta, x)))
    let loss = try loss()
    try loss.linearize(theta)
    var v = [Double](repeating: 0, count: theta.count)
    var out = [Double](repeating: .nan, count: metric.parameterCount)
    let report = try loss.hypergradient(g: g, v: &v, options, into: &out)
    return (out, report)
  }
}

@Suite("The exact inner solution")
struct ExactSolutionTests {
  /// Twelve rows, so that no solution is exact for the data.
  private static func forEach(
    _ predictor: PredictorSpec, _ factor: FactorSpec, _ body: (Problem, NormalEquations) throws -> Void
  ) throws {
    for metric in Registry.metrics(factor, outputs: predictor.outputs) where metric.floor > 0 {
      for setting in Registry.lossSettings where setting.weighted {
        let problem = try Problem(predictor, metric, setting, rows: 12)
        try body(problem, try NormalEquations(problem))
      }
    }
  }

  @Test("theta* = the normal equations' solution", arguments: Registry.linearPredictors, Registry.factors)
  func solution(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    try Self.forEach(predictor, factor) { problem, equations in
      let (theta, report) = try problem.minimize(InnerOptions(solver: .exact))
      try requireEqual(theta, equations.solve(problem.metric.phi), to: 1e-10, problem.description)
      #expect(report.converged && report.gradientNorm < 1e-12, "\(problem.description)")
      try requireEqual(report.value, problem.referenceValue(theta), to: 1e-12, problem.description)
    }
  }

  @Test("the dense Hessian is the products' Hessian", arguments: Registry.linearPredictors, Registry.factors)
  func denseHessian(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    try Self.forEach(predictor, factor) { problem, equations in
      let loss = try problem.loss()
      let shifted = equations.hessian(equations.weights(problem.metric.phi)) + 0.2 * .identity(loss.parameterCount)
      var random = RandomGenerator(seed: 62)
      let v = [Double].normal(loss.parameterCount, &random)
      var solution = [Double](repeating: .nan, count: v.count)
      try DenseHessian(loss, ridge: 0.2).solve(shifted * v, into: &solution)
      try requireEqual(solution, v, to: 1e-11, problem.description)
    }
  }

  @Test("the hypergradient = the closed form", arguments: Registry.linearPredictors, Registry.factors)
  func closedForm(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    try Self.forEach(predictor, factor) { problem, equations in
      let task = QuadraticTask(12 * predictor.outputs)
      let phi = problem.metric.phi
      let (theta, _) = try problem.minimize(InnerOptions(solver: .exact))
      let (gradient, report) = try problem.hypergradient(theta, task, SolverOptions(solver: .dense))
      #expect(report.converged && !report.negativeCurvature, "\(problem.description)")
      var random = RandomGenerator(seed: 63)
      let d = [Double].direction(phi.count, &random)
      try requireEqual(
        dot(gradient, d), equations.hypergradient(phi, along: d, task), to: 1e-9, scale: max(0.1 * norm(gradient), 0.1),
        problem.description)
    }
  }

  @Test("the hypergradient = differences of the task's loss", arguments: Registry.linearPredictors, Registry.factors)
  func differences(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    for metric in Registry.metrics(factor, outputs: predictor.outputs) where metric.floor > 0 {
      let problem = try Problem(predictor, metric, LossSetting(weighted: true, rho: 0.3), rows: 12)
      let equations = try NormalEquations(problem)
      let task = QuadraticTask(12 * predictor.outputs)
      let phi = problem.metric.phi
      let (theta, _) = try problem.minimize(InnerOptions(solver: .exact))
      let (gradient, _) = try problem.hypergradient(theta, task, SolverOptions(solver: .dense))
      var random = RandomGenerator(seed: 64)
      let d = [Double].direction(phi.count, &random)
      let expected = derivative { task.loss(equations.predictions(equations.solve(phi .+ $0 * d))) }
      try requireEqual(
        dot(gradient, d), expected, to: 1e-8, scale: max(0.1 * norm(gradient), 0.1), problem.description)
    }
  }

  @Test("every solver finds the same hypergradient", arguments: [LinearSolver.cg, .normalCG, .minres, .gaussNewtonCG])
  func solvers(_ solver: LinearSolver) throws {
    for predictor in Registry.linearPredictors {
      let metric = MetricSpec(
        factor: FactorSpec(structure: .full, conditioning: .hidden), scaling: .batchTrace, floor: 0.05)
      let problem = try Problem(predictor, metric, LossSetting(weighted: true, rho: 0.3), rows: 12)
      let task = QuadraticTask(12 * predictor.outputs)
      let (theta, _) = try problem.minimize(InnerOptions(solver: .exact))
      let (expected, _) = try problem.hypergradient(theta, task, SolverOptions(solver: .dense))
      let (gradient, report) = try problem.hypergradient(
        theta, task, SolverOptions(solver: solver, maximumIterations: 1000, tolerance: 1e-12))
      #expect(report.converged, "\(problem.description)")
      expectEqual(gradient, expected, to: 1e-9, problem.description)
    }
  }

  @Test("L-BFGS reaches the same theta*", arguments: Registry.linearPredictors, Registry.factors)
  func quasiNewton(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    let metric = MetricSpec(factor: factor, scaling: .batchTrace, floor: 0.05)
    let problem = try Problem(predictor, metric, LossSetting(weighted: true, rho: 0.3), rows: 12)
    let (exact, _) = try problem.minimize(InnerOptions(solver: .exact))
    let (theta, report) = try problem.minimize(InnerOptions(solver: .lbfgs, gradientTolerance: 1e-10))
    #expect(report.converged && report.iterations < 200)
    expectEqual(theta, exact, to: 1e-8, problem.description)
  }

  @Test("Adam and gradient descent come closer to theta*", arguments: [InnerSolver.adam, .sgd])
  func firstOrder(_ solver: InnerSolver) throws {
    let metric = MetricSpec(factor: FactorSpec(structure: .full, conditioning: .constant))
    let problem = try Problem(Registry.linearPredictors[0], metric, LossSetting(weighted: true, rho: 0.3), rows: 12)
    let (exact, _) = try problem.minimize(InnerOptions(solver: .exact))
    let (theta, report) = try problem.minimize(
      InnerOptions(solver: solver, maximumIterations: 3000, gradientTolerance: 1e-6, learningRate: 0.01, momentum: 0.9))
    #expect(report.converged && report.evaluations == report.iterations + 1)
    expectEqual(theta, exact, to: 1e-4)
  }

  @Test("the exact solution doesn't depend on the start, and needs a linear predictor")
  func contract() throws {
    let metric = MetricSpec(factor: FactorSpec(structure: .full, conditioning: .hidden))
    let setting = LossSetting(weighted: true, rho: 0)
    let problem = try Problem(Registry.linearPredictors[0], metric, setting, rows: 12)
    var far = [Double](repeating: 1e6, count: problem.predictor.parameterCount)
    _ = try problem.loss().minimize(&far, InnerOptions(solver: .exact))
    #expect(far == (try problem.minimize(InnerOptions(solver: .exact)).theta))
    let perceptron = try Problem(PredictorSpec(kind: .perceptron(hidden: [3], .tanh)), metric, setting)
    expectError(.unsupported) { _ = try perceptron.minimize(InnerOptions(solver: .exact)) }
  }
}

@Suite("The exact solution of a rank-deficient design")
struct LeastNormTests {
  /// x = z B with orthonormal rows of B: theta* lies in their span, and is B' times the solution for z.
  @Test(
    "is the least-norm one", arguments: MetricStructure.allCases, [(2, 50), (3, 200), (6, 40), (12, 600)])
  func leastNorm(_ structure: MetricStructure, _ size: (features: Int, rows: Int)) throws {
    for seed in 0..<6 as Range<UInt64> {
      for bias in [true, false] {
        var random = RandomGenerator(seed: 70 + seed)
        let rank = size.features / 2
        let basis = orthonormalRows(rank, size.features, &random)
        let z = DenseMatrix(size.rows, rank, .normal(size.rows * rank, &random))
        let y = DenseMatrix(size.rows, 2, .normal(size.rows * 2, &random))
        let metric = try Metric(
          inputs: 0, outputs: 2, structure: structure, rank: 1, hidden: nil, activation: .identity, seed: 1)
        func solve(_ x: DenseMatrix) throws -> (theta: [Double], report: MinimizationReport) {
          let predictor = try NetworkPredictor(linearInputs: x.columns, outputs: 2, bias: bias)
          var theta = predictor.theta
          let loss = try MetricisedLoss(predictor, metric, Dataset(x, y), rho: 0, Workspace())
          let report = try loss.minimize(&theta, InnerOptions(solver: .exact))
          return (theta, report)
        }
        let small = try solve(z).theta
        let weights = DenseMatrix(2, rank, Array(small.prefix(2 * rank))) * basis
        let (theta, report) = try solve(z * basis)
        try requireEqual(theta, weights.values + small.dropFirst(2 * rank), to: 1e-8, "bias \(bias), seed \(seed)")
        #expect(report.gradientNorm < 1e-12)
      }
    }
  }

  private func orthonormalRows(_ count: Int, _ length: Int, _ random: inout RandomGenerator) -> DenseMatrix {
    var rows: [[Double]] = []
    for _ in 0..<count {
      var row = [Double].normal(length, &random)
      for _ in 0..<2 { for other in rows { row = row .- dot(row, other) * other } }
      rows.append((1 / norm(row)) * row)
    }
    return DenseMatrix(rows)
  }

  private func fit(_ x: DenseMatrix, _ y: [Double]) throws -> [Double] {
    let predictor = try NetworkPredictor(linearInputs: x.columns, outputs: 1, bias: false)
    let metric = try Metric(
      inputs: 0, outputs: 1, structure: .scalar, rank: 1, hidden: nil, activation: .identity, seed: 1)
    var theta = predictor.theta
    let loss = try MetricisedLoss(predictor, metric, Dataset(x, DenseMatrix(y.count, 1, y)), rho: 0, Workspace())
    _ = try loss.minimize(&theta, InnerOptions(solver: .exact))
    return theta
  }

  @Test("a feature that is twice another one")
  func duplicate() throws {
    var random = RandomGenerator(seed: 75)
    let z = [Double].normal(50, &random)
    let y = z.map { 3 * $0 + 0.1 * random.normal() }
    let slope = dot(z, y) / dot(z, z)
    expectEqual(try fit(DenseMatrix(z.map { [$0, 2 * $0] }), y), [slope / 5, 2 * slope / 5], to: 1e-12)
  }

  @Test("features of very different scales are not a rank deficiency", arguments: [1e3, 1e6, 1e9])
  func scales(_ scale: Double) throws {
    var random = RandomGenerator(seed: 76)
    let z = DenseMatrix(50, 2, .normal(100, &random))
    let y = (0..<50).map { 3 * z[$0, 0] - 2 * z[$0, 1] + 0.1 * random.normal() }
    let expected = try fit(z, y)
    let theta = try fit(z * .diagonal([scale, 1]), y)
    expectEqual([scale * theta[0], theta[1]], expected, to: 1e-10)
  }
}
