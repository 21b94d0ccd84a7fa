// Derivatives from differences with their error bars, the checks of a user's gradients that are made of them, and the
// hypergradient of predictors that have no closed form.

import Glibc
import Testing

@testable import TaskMetSwift

@Suite("Numerical derivatives")
struct NumericalDerivativeTests {
  @Test("the error is within the noise, and the noise small", arguments: [0.3, 1, 5])
  func smooth(_ x: Double) throws {
    let functions: [(f: (Double) -> Double, slope: Double)] = [
      ({ sin($0) }, cos(x)), ({ exp($0) }, exp(x)), ({ $0 * $0 * $0 }, 3 * x * x), ({ 1 / $0 }, -1 / (x * x)),
      ({ _ in 7 }, 0), ({ 1e8 * tanh($0) }, 1e8 / pow(cosh(x), 2)), ({ 1e-8 * log($0) }, 1e-8 / x),
    ]
    for (f, slope) in functions {
      let result = try numericalDerivative { f(x + $0) }
      #expect(abs(result.value - slope) <= 10 * result.noise + 1e-300)
      #expect(result.noise <= 1e-8 * max(abs(slope), abs(f(x)) * 1e-2))
      #expect(result.step > 0 && result.step <= 0.1)
    }
  }

  @Test("noise in the function is seen")
  func noisy() throws {
    var random = RandomGenerator(seed: 111)
    for amplitude in [1e-9, 1e-6, 1e-3] {
      let result = try numericalDerivative { sin(1 + $0) + amplitude * random.normal() }
      #expect(abs(result.value - cos(1)) <= 10 * result.noise)
      #expect(result.noise > amplitude)
    }
  }

  @Test("small steps come through where large ones meet a kink")
  func kink() throws {
    let result = try numericalDerivative { abs($0 - 1e-3) }
    expectEqual(result.value, -1, to: 1e-9)
    #expect(result.step < 1e-3)
  }

  @Test("the choice of steps is the caller's; errors are passed on; what isn't a number is infinitely noisy")
  func contract() throws {
    var steps: [Double] = []
    _ = try numericalDerivative(from: 0.5, halvings: 8) {
      steps.append($0)
      return $0
    }
    #expect(steps.count == 18 && steps.prefix(4) == [0.5, -0.5, 0.25, -0.25] && steps.last == -0x1p-9)
    expectError(.callback) { _ = try numericalDerivative { _ in throw TaskMetError(code: .callback, message: "no") } }
    #expect(try numericalDerivative { _ in .nan }.noise == .infinity)
  }
}

@Suite("Gradient checks")
struct GradientCheckTests {
  private func verdict(_ pairs: [(analytic: Double, numeric: Double, noise: Double)], tolerance: Double = 1e-5)
    -> Verdict
  {
    var check = GradientCheck(tolerance: tolerance, gradientNorm: 1)
    for pair in pairs {
      check.compare(
        analytic: pair.analytic, NumericalDerivative(value: pair.numeric, noise: pair.noise, step: 1e-3))
    }
    return check.report.verdict
  }

  @Test("verdicts")
  func verdicts() {
    #expect(verdict([(1, 1 + 1e-7, 1e-8)]) == .correct)
    #expect(verdict([(1, 1.1, 1e-8)]) == .wrong)
    #expect(verdict([(1, 1.1, 0.05)]) == .undecided, "the difference could be noise")
    #expect(verdict([(1, 1, 0.1)]) == .undecided, "agreement within noise proves nothing")
    #expect(verdict([(1, 1, 1e-9), (1, -1, 1e-9)]) == .wrong, "one wrong direction is enough")
    #expect(verdict([(1, -1, 1e-9), (1, 1, 0.5)]) == .wrong, "noise elsewhere does not excuse it")
    #expect(verdict([(1, 1, 1e-9), (1, 1, 0.5)]) == .undecided)
    // Derivatives far below the gradient's size are compared with that.
    #expect(verdict([(1e-12, 2e-12, 1e-12)]) == .correct)
    #expect(verdict([(.nan, 1, 1e-9)]) != .correct && verdict([(1, .nan, .infinity)]) != .correct)
    #expect(verdict([(.infinity, 1, 1e-9)]) != .correct)
  }

  @Test("the report tells of the worst direction")
  func report() {
    var check = GradientCheck(tolerance: 1e-5, gradientNorm: 10)
    for (index, numeric) in [1.0, 1.5, 1.2].enumerated() {
      check.compare(analytic: 1, NumericalDerivative(value: numeric, noise: 1e-9, step: 1e-3), entry: index)
    }
    let report = check.report
    #expect(report.directions == 3 && report.entry == 1 && report.numeric == 1.5 && report.analytic == 1)
    expectEqual(report.worstError, 0.5 / 1.5, to: 1e-12)
    #expect(report.scale == 1e-2 && report.step == 1e-3)
  }
}

/// sum over rows of a_i . f_i + |f_i|^2 / 2, divided by the rows; `scale` not 1 makes the gradient wrong.
private final class SmoothTask: Task {
  let scale: Double

  init(scale: Double = 1) { self.scale = scale }

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    batch.mean(gradient: gradient) { prediction, target in
      let a = target.map { sin(3 * $0) }
      return (dot(a, prediction) + dot(prediction, prediction) / 2, scale * (a .+ prediction))
    }
  }
}

@Suite("Checks of the user's gradients and of the hypergradient")
struct UserCheckTests {
  private func checkTask(_ task: Task, predictions values: [Double], targets: [Double]) throws -> GradientCheckReport {
    let dataset = try Dataset(
      DenseMatrix(zeros: values.count / 3, 1), DenseMatrix(values.count / 3, 3, targets))
    let predictions = try Buffer(values)
    return try checkTaskGradient(
      task, dataset, predictions: MatrixView(predictions.base, rows: values.count / 3, columns: 3), directions: 4,
      seed: 7, tolerance: 1e-6)
  }

  @Test("a right gradient is correct, a wrong one wrong, at any scale of the predictions", arguments: [1e-6, 1, 1e6])
  func tasks(_ scale: Double) throws {
    var random = RandomGenerator(seed: 112)
    let values = scale * [Double].normal(12, &random)
    let targets = scale * [Double].normal(12, &random)
    let right = try checkTask(SmoothTask(), predictions: values, targets: targets)
    #expect(right.verdict == .correct && right.directions == 8, "\(right)")
    #expect(try checkTask(SmoothTask(scale: 1.01), predictions: values, targets: targets).verdict == .wrong)
    #expect(try checkTask(SmoothTask(scale: -1), predictions: values, targets: targets).verdict == .wrong)
    #expect(try checkTask(SmoothTask(scale: 0), predictions: values, targets: targets).verdict == .wrong)
  }

  @Test("all entries are moved where there are few of them")
  func entries() throws {
    let report = try checkTask(SmoothTask(), predictions: [1, 2, 3], targets: [0, 1, 0])
    #expect(report.directions == 4 + 3 && report.verdict == .correct)
    let zero = try checkTask(SmoothTask(), predictions: [0, 0, 0], targets: [0, 0, 0])
    #expect(zero.verdict == .correct, "a step has a size of its own at zero")
  }

  /// A nearby optimum: what the predictor says, and some noise.
  private func bilevel(
    _ predictor: PredictorSpec, _ scaling: Scaling, _ inner: InnerOptions, _ solver: SolverOptions,
    _ structure: MetricStructure = .full
  ) throws -> GradientCheckReport {
    let metric = MetricSpec(
      factor: FactorSpec(structure: structure, conditioning: .affine), scaling: scaling, floor: 0.05)
    let problem = try Problem(predictor, metric, LossSetting(weighted: false, rho: 0.05), rows: 20)
    var random = RandomGenerator(seed: 113)
    let clean = try problem.predictor.predictions(problem.theta, problem.data.dataset.x)
    let dataset = try Dataset(
      problem.data.x, DenseMatrix(20, predictor.outputs, clean .+ 0.3 * .normal(clean.count, &random)))
    if scaling == .batchTrace { try problem.metric.updateNormalization(rows: dataset.x) }
    let before = problem.metric.phi
    let report = try checkHypergradient(
      problem.predictor, problem.metric, dataset, rho: 0.05, SmoothTask(), inner: inner, solver: solver, directions: 2,
      seed: 9, tolerance: 1e-5)
    #expect(problem.metric.phi == before && problem.predictor.theta == problem.theta, "they are only read")
    return report
  }

  @Test("a linear predictor's hypergradient, solved exactly", arguments: Scaling.allCases)
  func linear(_ scaling: Scaling) throws {
    for predictor in [Registry.linearPredictors[0], Registry.linearPredictors[5]] {
      let report = try bilevel(
        predictor, scaling, InnerOptions(solver: .exact), SolverOptions(solver: .dense))
      #expect(report.verdict == .correct && report.worstError < 1e-7, "\(report)")
    }
  }

  private static let nonlinearPredictors = [
    PredictorSpec(kind: .perceptron(hidden: [2], .tanh)),
    PredictorSpec(kind: .perceptron(hidden: [2], .silu), standardizesTargets: true, penalizesBias: false),
    PredictorSpec(kind: .callback(secondOrder: true)),
  ]

  @Test(
    "a perceptron's and a callback's, by L-BFGS",
    arguments: zip(nonlinearPredictors, [LinearSolver.dense, .minres, .cg]))
  func nonlinear(_ predictor: PredictorSpec, _ solver: LinearSolver) throws {
    let report = try bilevel(
      predictor, .batchTrace, InnerOptions(solver: .lbfgs, maximumIterations: 3000, gradientTolerance: 1e-11),
      SolverOptions(solver: solver, maximumIterations: 500, tolerance: 1e-11))
    #expect(report.verdict == .correct, "\(report)")
  }

  @Test("a wrong solution of the linear system is found; an inexact inner solution decides nothing")
  func failures() throws {
    let wrong = try bilevel(
      Registry.linearPredictors[0], .none, InnerOptions(solver: .exact), SolverOptions(solver: .identity))
    #expect(wrong.verdict == .wrong)
    let loose = try bilevel(
      Registry.linearPredictors[0], .none, InnerOptions(solver: .sgd, maximumIterations: 3),
      SolverOptions(solver: .dense))
    #expect(loose.verdict != .correct)
  }
}

@Suite("The hypergradient")
struct HypergradientTests {
  @Test(
    "g may come from other rows than the loss's, with more features than rows",
    arguments: [LinearSolver.cg, .minres, .normalCG, .dense])
  func heldOut(_ solver: LinearSolver) throws {
    // Nothing that the six rows say fixes theta in the other directions: H is singular, and g is not in its range.
    var random = RandomGenerator(seed: 121)
    let (x, y) = (DenseMatrix(6, 10, .normal(60, &random)), DenseMatrix(6, 1, .normal(6, &random)))
    let predictor = try NetworkPredictor(linearInputs: 10, outputs: 1, bias: false)
    let metric = try Metric(
      inputs: 10, outputs: 1, structure: .scalar, rank: 1, hidden: [], activation: .identity, seed: 1)
    let dataset = try Dataset(x, y)
    let loss = try MetricisedLoss(predictor, metric, dataset, rho: 0, Workspace())
    let theta = [Double].normal(10, &random)
    let g = [Double].normal(10, &random)
    try loss.linearize(theta)
    var v = [Double](repeating: 0, count: 10)
    var phi = [Double](repeating: .nan, count: metric.parameterCount)
    let report = try loss.hypergradient(g: g, v: &v, SolverOptions(solver: solver), into: &phi)
    #expect(!report.converged && !report.negativeCurvature && report.residual < 1)
    // J v is what a pseudo-inverse gives: X (2/N X'WX)^+ g = N/2 (X X'W)^-1 X g, as X has full row rank.
    let gram = x * x.transposed * .diagonal(try metric.lambda(dataset.x))
    let expected = 3 * gram.solve(x * g)
    expectEqual(try predictor.pushforward(theta, dataset.x, v), expected, to: 1e-6)
  }

  @Test("the previous v is a warm start")
  func warmStart() throws {
    let metric = MetricSpec(factor: FactorSpec(structure: .full, conditioning: .hidden), scaling: .batchTrace)
    let problem = try Problem(
      PredictorSpec(kind: .perceptron(hidden: [3], .tanh)), metric, LossSetting(weighted: true, rho: 2), rows: 20)
    let loss = try problem.loss()
    try loss.linearize(problem.theta)
    var random = RandomGenerator(seed: 122)
    let g = [Double].normal(problem.theta.count, &random)
    let options = SolverOptions(solver: .minres, maximumIterations: 500, tolerance: 1e-10)
    var v = [Double](repeating: 0, count: g.count)
    var (first, second) = ([Double](repeating: 0, count: problem.metric.parameterCount), [Double]())
    second = first
    let cold = try loss.hypergradient(g: g, v: &v, options, into: &first)
    let warm = try loss.hypergradient(g: g, v: &v, options, into: &second)
    #expect(cold.converged && cold.iterations > 5 && warm.converged && warm.iterations == 0)
    #expect(first == second)
  }

  @Test("ridge is added to H, whatever the solver", arguments: LinearSolver.allCases)
  func ridge(_ solver: LinearSolver) throws {
    let metric = MetricSpec(factor: FactorSpec(structure: .diagonal, conditioning: .affine))
    let problem = try Problem(Registry.linearPredictors[0], metric, LossSetting(weighted: true, rho: 0), rows: 20)
    let loss = try problem.loss()
    try loss.linearize(problem.theta)
    var random = RandomGenerator(seed: 123)
    let g = [Double].normal(problem.theta.count, &random)
    var v = [Double](repeating: 0, count: g.count)
    var phi = [Double](repeating: .nan, count: problem.metric.parameterCount)
    let options = SolverOptions(solver: solver, maximumIterations: 5000, tolerance: 1e-12, ridge: 0.7)
    let report = try loss.hypergradient(g: g, v: &v, options, into: &phi)
    if solver == .identity {
      #expect(v == g)
    } else {
      #expect(report.converged)
      expectEqual(v, (try loss.matrix() + 0.7 * .identity(g.count)).solve(g), to: 1e-9)
    }
    expectEqual(phi, try loss.cross(v), to: 1e-14)
  }

  @Test(
    "a dense Hessian of a perceptron and of a callback = the products' matrix",
    arguments: [
      PredictorSpec(kind: .perceptron(hidden: [3], .tanh)), PredictorSpec(kind: .callback(secondOrder: true)),
      PredictorSpec(kind: .callback(secondOrder: false)),
    ])
  func dense(_ predictor: PredictorSpec) throws {
    let metric = MetricSpec(factor: FactorSpec(structure: .lowrank, conditioning: .affine))
    let problem = try Problem(predictor, metric, LossSetting(weighted: true, rho: 0.3), rows: 20)
    let loss = try problem.loss()
    try loss.linearize(problem.theta)
    var random = RandomGenerator(seed: 124)
    let g = [Double].normal(problem.theta.count, &random)
    var v = g
    let hessian = try DenseHessian(loss, ridge: 0.1)
    try hessian.solve(g, into: &v)
    expectEqual((try loss.matrix() + 0.1 * .identity(g.count)) * v, g, to: 1e-10)
  }

  @Test("a dense Hessian too large to build is refused")
  func tooLarge() throws {
    let wide = DenseHessian.maximumOrder + 1
    let predictor = try NetworkPredictor(linearInputs: wide, outputs: 1, bias: false)
    let metric = try Metric(
      inputs: 0, outputs: 1, structure: .scalar, rank: 1, hidden: nil, activation: .identity, seed: 1)
    let dataset = try Dataset(DenseMatrix(zeros: 1, wide), DenseMatrix(zeros: 1, 1))
    let loss = try MetricisedLoss(predictor, metric, dataset, rho: 1, Workspace())
    expectError(.unsupported) { _ = try DenseHessian(loss, ridge: 0) }
  }
}
