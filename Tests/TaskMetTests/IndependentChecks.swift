// The nine independent checks: derivatives with closed forms that other libraries' authors know, each under its number.
// 1, 4 and 5 differentiate by something other than phi, with the operators that the hypergradient is made of.

import Testing

@testable import TaskMetSwift

/// A linear fit with its own metric, and what the library says of it.
private struct Fit {
  let predictor: Predictor
  let loss: MetricisedLoss
  let dataset: Dataset

  /// Lambda = `scale` I for all rows.
  init(_ x: DenseMatrix, _ y: DenseMatrix, bias: Bool = false, scale: Double = 1, rho: Double = 0) throws {
    let metric = try Metric(
      inputs: 0, outputs: y.columns, structure: .scalar, rank: 1, hidden: nil, activation: .identity, seed: 1)
    try metric.setParameters([(0.9 * scale).squareRoot(), logarithm(0.1 * scale)])
    dataset = try Dataset(x, y)
    predictor = try NetworkPredictor(linearInputs: x.columns, outputs: y.columns, bias: bias)
    loss = try MetricisedLoss(predictor, metric, dataset, rho: rho, Workspace())
  }

  var solution: [Double] {
    get throws {
      var theta = predictor.theta
      _ = try loss.minimize(&theta, InnerOptions(solver: .exact))
      return theta
    }
  }

  /// H^-1 g.
  func solve(_ g: [Double], _ solver: LinearSolver) throws -> [Double] {
    try loss.linearize(solution)
    let matrices = SystemMatrices(
      hessian: { try loss.hessianProduct($0, into: $1) },
      gaussNewton: { try loss.hessianProduct($0, into: $1, gaussNewton: true) },
      dense: { try DenseHessian(loss, ridge: $0) })
    var v = [Double](repeating: 0, count: g.count)
    let options = SolverOptions(solver: solver, maximumIterations: 1000, tolerance: 1e-14)
    _ = try solveLinearSystem(count: g.count, matrices, g: g, v: &v, options)
    return v
  }
}

private func logarithm(_ x: Double) -> Double { Double.logarithmOnePlus(x - 1) }

private let solvers: [LinearSolver] = [.dense, .cg, .minres, .normalCG, .gaussNewtonCG]

@Suite("Independent checks")
struct IndependentChecks {
  private static func data(_ rows: Int, _ features: Int, outputs: Int = 1, seed: UInt64 = 91) -> (
    x: DenseMatrix, y: DenseMatrix
  ) {
    var random = RandomGenerator(seed: seed)
    let x = DenseMatrix(rows, features, .normal(rows * features, &random))
    return (x, DenseMatrix(rows, outputs, .normal(rows * outputs, &random)))
  }

  // MARK: 1

  /// (1/N) |X theta - y|^2 + (rho/2) |theta|^2 is ridge with lambda = rho/2: dtheta*/dlambda = 2 dtheta*/drho = -2
  /// H^-1 theta*.
  @Test("1: ridge, d theta*/d lambda = -N (X'X + lambda N I)^-1 theta*", arguments: solvers)
  func ridge(_ solver: LinearSolver) throws {
    let (x, y) = Self.data(30, 5)
    let lambda = 0.2
    let fit = try Fit(x, y, rho: 2 * lambda)
    let normal = x.transposed * x + lambda * 30 * .identity(5)
    let theta = normal.solve(x.transposed * y.values)
    expectEqual(try fit.solution, theta, to: 1e-12)
    expectEqual(-2 * (try fit.solve(theta, solver)), -30 * normal.solve(theta), to: 1e-10)
  }

  // MARK: 2

  /// The weight w_i of a row is a scalar Lambda_i = l_i^2, l_i = sqrt(w_i) being what a network without hidden
  /// layers makes of row i's own indicator; the predictor, a callback, looks at the other features alone.
  @Test("2: sample weights, dF/dw_i = r_i x_i'(X'WX)^-1 grad F", arguments: solvers)
  func sampleWeights(_ solver: LinearSolver) throws {
    let (rows, features) = (12, 3)
    let (x, y) = Self.data(rows, features)
    var random = RandomGenerator(seed: 92)
    let w = (0..<rows).map { _ in 0.5 + random.uniform() }
    let gradient = [Double].normal(features, &random)
    let predictor = try CallbackPredictor(linearIn: features, of: features + rows)
    let metric = try Metric(
      inputs: features + rows, outputs: 1, structure: .scalar, rank: 1, hidden: [], activation: .identity, seed: 1)
    // exp(-800) is 0: no eps.
    try metric.setParameters([Double](repeating: 0, count: features) + w.map { $0.squareRoot() } + [0, -800])
    let dataset = try Dataset(DenseMatrix((0..<rows).map { x.row($0) + .unit(rows, $0) }), y)
    let loss = try MetricisedLoss(predictor, metric, dataset, rho: 0, Workspace())
    let normal = x.transposed * (.diagonal(w) * x)
    let theta = normal.solve(x.transposed * (.diagonal(w) * y.values))
    #expect(norm(try loss.gradient(theta)) < 1e-13)
    try loss.linearize(theta)
    var v = [Double](repeating: 0, count: features)
    var phi = [Double](repeating: .nan, count: metric.parameterCount)
    _ = try loss.hypergradient(
      g: gradient, v: &v, SolverOptions(solver: solver, maximumIterations: 1000, tolerance: 1e-14), into: &phi)
    let expected = (0..<rows).map { i in
      (y[i, 0] - dot(x.row(i), theta)) * dot(x.row(i), normal.solve(gradient))
    }
    // dw/dl = 2 l.
    let actual = (0..<rows).map { phi[features + $0] / (2 * w[$0].squareRoot()) }
    expectEqual(actual, expected, to: 1e-10)
  }

  // MARK: 3

  /// L grows in proportion to itself, as its network's last layer does, and eps with s: Lambda becomes (1 + t)^2
  /// Lambda.
  @Test("3: the metric's scale is a null direction at the optimum", arguments: Registry.factors)
  func scale(_ factor: FactorSpec) throws {
    for predictor in [Registry.linearPredictors[0], PredictorSpec(kind: .perceptron(hidden: [2], .tanh))] {
      let problem = try Problem(predictor, MetricSpec(factor: factor), LossSetting(weighted: false, rho: 0), rows: 20)
      var random = RandomGenerator(seed: 93)
      // What the predictor says at theta, and some noise: the optimum is near.
      let clean = try problem.predictor.predictions(problem.theta, problem.data.dataset.x)
      let dataset = try Dataset(problem.data.x, DenseMatrix(20, 3, clean .+ 0.1 * .normal(60, &random)))
      let loss = try MetricisedLoss(problem.predictor, problem.metric, dataset, rho: 0, Workspace())
      var theta = problem.theta
      let report = try loss.minimize(
        &theta, InnerOptions(solver: predictor.isLinear ? .exact : .lbfgs, gradientTolerance: 1e-12))
      #expect(report.converged)
      let v = [Double].direction(theta.count, &random)
      try loss.linearize(theta)
      let phi = try loss.cross(v)
      expectEqual(dot(phi, problem.scaleDirection), 0, to: 1e-10, scale: max(0.1, norm(phi)), problem.description)
      // Elsewhere it is not one.
      try loss.linearize(problem.theta .+ 0.1 * v)
      #expect(abs(dot(try loss.cross(v), problem.scaleDirection)) > 1e-4)
    }
  }

  @Test("3: a constant metric does nothing to least squares with shared features", arguments: MetricStructure.allCases)
  func sharedFeatures(_ structure: MetricStructure) throws {
    for predictor in Registry.linearPredictors where predictor.outputs > 1 {
      let metric = MetricSpec(factor: FactorSpec(structure: structure, conditioning: .constant), floor: 0.05)
      let problem = try Problem(predictor, metric, LossSetting(weighted: true, rho: 0), rows: 20)
      var theta = problem.theta
      let loss = try problem.loss()
      _ = try loss.minimize(&theta, InnerOptions(solver: .exact))
      try loss.linearize(theta)
      var random = RandomGenerator(seed: 94)
      let g = [Double].direction(theta.count, &random)
      var v = [Double](repeating: 0, count: theta.count)
      var phi = [Double](repeating: .nan, count: problem.metric.parameterCount)
      _ = try loss.hypergradient(g: g, v: &v, SolverOptions(solver: .dense), into: &phi)
      expectEqual(phi, [Double](repeating: 0, count: phi.count), to: 1e-10, scale: norm(v), problem.description)
    }
  }

  // MARK: 4

  /// With Lambda = 1/2 and rho = 1, L_pred is |X d - (y - X phi)|^2 / 2N + |d|^2 / 2 for theta = phi + d, whose
  /// Hessian is the proximal problem's; d/dphi of its gradient is -I.
  @Test(
    "4: theta* = argmin |X theta - y|^2/2N + |theta - phi|^2/2, d theta*/d phi = (X'X/N + I)^-1", arguments: solvers)
  func proximal(_ solver: LinearSolver) throws {
    let (x, y) = Self.data(20, 4)
    let fit = try Fit(x, y, scale: 0.5, rho: 1)
    let inverse = (1 / 20 * (x.transposed * x) + .identity(4)).inverse
    for k in 0..<4 {
      expectEqual(try fit.solve(.unit(4, k), solver), inverse.column(k), to: 1e-10)
    }
    let solution = { (phi: [Double]) in
      let shifted = DenseMatrix(20, 1, y.values .- x * phi)
      return try phi .+ Fit(x, shifted, scale: 0.5, rho: 1).solution
    }
    let phi = [0.3, -1, 2, 0.5]
    let d = [0.2, 0.4, -0.1, 0.7]
    expectEqual(try derivative(step: 1) { try solution(phi .+ $0 * d) }, inverse * d, to: 1e-10)
  }

  // MARK: 5

  /// d/du_i of grad_(a,b) is (2/N) (e_i + a u_i, a), so da/du_i = -v'(...) with v = H^-1 (1, 0): -(2/N) (v_a e_i +
  /// a (J v)_i).
  @Test("5: quadratic fit, da/dx_i = 2 x_i [(y_i - ybar) - 2a(u_i - ubar)]/S_uu", arguments: solvers)
  func quadraticFit(_ solver: LinearSolver) throws {
    let rows = 15
    let (x, noise) = Self.data(rows, 1)
    let u = x.values.map { $0 * $0 }
    let y = DenseMatrix(rows, 1, zip(u, noise.values).map { 1.5 * $0 - 0.7 + 0.2 * $1 })
    let fit = try Fit(DenseMatrix(rows, 1, u), y, bias: true)
    let theta = try fit.solution
    let a = theta[0]
    let v = try fit.solve([1, 0], solver)
    let tangents = try fit.predictor.pushforward(theta, fit.dataset.x, v)
    let residual = try fit.predictor.predictions(theta, fit.dataset.x) .- y.values
    let (ubar, ybar) = (u.reduce(0, +) / Double(rows), y.values.reduce(0, +) / Double(rows))
    let suu = u.reduce(0) { $0 + ($1 - ubar) * ($1 - ubar) }
    expectEqual(a, (0..<rows).reduce(0) { $0 + (u[$1] - ubar) * (y[$1, 0] - ybar) } / suu, to: 1e-12)
    let actual = (0..<rows).map { i in
      2 * x[i, 0] * (-2 / Double(rows)) * (v[0] * residual[i] + a * tangents[i])
    }
    let expected = (0..<rows).map { i in 2 * x[i, 0] * ((y[i, 0] - ybar) - 2 * a * (u[i] - ubar)) / suu }
    expectEqual(actual, expected, to: 1e-8)
  }

  // MARK: 6

  @Test("6: SPO+ is what its formula says, and bounds regret")
  func spoPlus() throws {
    let decisions = Decisions.choices(2, of: 4)
    let task = EnumeratedSPOPlusTask(decisions)
    // By hand: c = (1,2,3,4), so w* = (1,1,0,0), z* = 3; c^ = (4,3,2,1), 2c^ - c = (7,4,1,-2), w = (0,0,1,1), z = -1.
    let (loss, gradient) = task.loss([4, 3, 2, 1], [1, 2, 3, 4])
    #expect(loss == 1 + 14 - 3 && gradient == [2, 2, -2, -2])
    #expect(task.loss([1, 2, 3, 4], [1, 2, 3, 4]).0 == 0)
    var random = RandomGenerator(seed: 95)
    for _ in 0..<50 {
      let (c, predicted) = ([Double].normal(4, &random), [Double].normal(4, &random))
      let regret = dot(c, decisions.best(predicted)) - decisions.value(c)
      #expect(task.loss(predicted, c).0 >= regret - 1e-12 && regret >= 0)
    }
  }

  @Test("6: SPO+'s gradient is confirmed, and a wrong sign found", arguments: [1.0, -1])
  func spoPlusGradient(_ sign: Double) throws {
    let (x, c) = Self.data(6, 2, outputs: 4)
    let dataset = try Dataset(x, c)
    var random = RandomGenerator(seed: 96)
    let predictions = try Buffer([Double].normal(24, &random))
    let report = try checkTaskGradient(
      EnumeratedSPOPlusTask(.choices(2, of: 4), sign: sign), dataset,
      predictions: MatrixView(predictions.base, rows: 6, columns: 4), directions: 5, seed: 1, tolerance: 1e-6)
    #expect(report.verdict == (sign == 1 ? .correct : .wrong), "\(report)")
    #expect(report.directions == 10)
  }

  // MARK: 7

  private static let portfolio: Portfolio = {
    var random = RandomGenerator(seed: 97)
    let factor = DenseMatrix(4, 4, .normal(16, &random))
    return Portfolio(q: factor * factor.transposed + 0.3 * .identity(4), lambda: 0.5)
  }()

  @Test("7: portfolio, dz_S/dy_S = 1/(2 lambda) [Q^-1 - Q^-1 1 1'Q^-1/(1'Q^-1 1)], zero off S")
  func portfolio() throws {
    var random = RandomGenerator(seed: 98)
    var sizes = Set<Int>()
    for _ in 0..<20 {
      let y = [Double].normal(4, &random)
      let (z, support) = Self.portfolio.solve(y)
      sizes.insert(support.count)
      expectEqual(z.reduce(0, +), 1, to: 1e-12)
      let jacobian = Self.portfolio.jacobian(support)
      let d = [Double].direction(4, &random)
      for k in 0..<4 {
        let numeric = try numericalDerivative(from: 1e-3, halvings: 12) { Self.portfolio.solve(y .+ $0 * d).z[k] }
        expectEqual(dot(jacobian.row(k), d), numeric.value, to: 1e-9, scale: 1)
        if !support.contains(k) { #expect(numeric.value == 0) }
      }
    }
    #expect(sizes.count >= 3, "supports of several sizes were met: \(sizes)")
  }

  @Test("7: the portfolio task's gradient is confirmed")
  func portfolioGradient() throws {
    let (x, y) = Self.data(5, 2, outputs: 4)
    let dataset = try Dataset(x, y)
    var random = RandomGenerator(seed: 99)
    let predictions = try Buffer([Double].normal(20, &random))
    let report = try checkTaskGradient(
      EnumeratedPortfolioTask(Self.portfolio), dataset, predictions: MatrixView(predictions.base, rows: 5, columns: 4),
      directions: 6, seed: 2, tolerance: 1e-6)
    #expect(report.verdict == .correct, "\(report)")
  }

  // MARK: 8

  @Test("8: linear solvers against LAPACK", arguments: [LinearSolver.dense, .minres, .normalCG], LinearProblem.all)
  func generalSolvers(_ solver: LinearSolver, _ problem: LinearProblem) throws {
    try checkSolver(solver, problem)
  }

  @Test(
    "8: solvers of definite systems", arguments: [LinearSolver.cg, .gaussNewtonCG],
    LinearProblem.all.filter { $0.kind == .definite })
  func definiteSolvers(_ solver: LinearSolver, _ problem: LinearProblem) throws {
    try checkSolver(solver, problem)
  }

  private func checkSolver(_ solver: LinearSolver, _ problem: LinearProblem) throws {
    let options = SolverOptions(solver: solver, maximumIterations: 20_000, tolerance: 1e-15, ridge: problem.ridge)
    let result = try solve(problem.dense, problem.g, options)
    var expected = problem.g
    try DenseFactors(problem.shifted).solve(problem.g, into: &expected)
    expectEqual(
      result.v, expected, to: problem.tolerance(solver), scale: norm(expected) * 1e-3, problem.name)
    expectEqual(expected, problem.shifted.solve(problem.g), to: max(1e-10, problem.condition * 1e-13), scale: 1e-300)
    #expect(result.report.solver == solver)
  }

  @Test("8: neumann where its spectral radius allows, else not converged", arguments: LinearProblem.all)
  func neumannSolver(_ problem: LinearProblem) throws {
    let options = SolverOptions(solver: .neumann, maximumIterations: 2000, tolerance: 1e-12, ridge: problem.ridge)
    let result = try solve(problem.dense, problem.g, options)
    if problem.kind == .definite, problem.condition <= 50 {
      #expect(result.report.converged)
      expectEqual(result.v, problem.shifted.solve(problem.g), to: 1e-10)
    }
    if problem.kind == .indefinite { #expect(!result.report.converged) }
    #expect(result.report.residual <= 1 + 1e-12)
  }

  @Test("8: identity is g", arguments: LinearProblem.all)
  func identitySolver(_ problem: LinearProblem) throws {
    #expect(try solve(problem.dense, problem.g, SolverOptions(solver: .identity)).v == problem.g)
  }

  // MARK: 9

  /// phi -> theta*(phi) -> w*(theta) = argmin w'Aw/2 - w'B theta -> b'w. g = B'A^-1 b is the product of one
  /// inverse, the hypergradient of the second; the signs of the two cancel.
  @Test("9: a chain of two levels = the product of two dense inverses", arguments: solvers)
  func chain(_ solver: LinearSolver) throws {
    var random = RandomGenerator(seed: 100)
    let metric = MetricSpec(factor: FactorSpec(structure: .full, conditioning: .affine))
    let problem = try Problem(Registry.linearPredictors[0], metric, LossSetting(weighted: true, rho: 0.4), rows: 15)
    let count = problem.theta.count
    let factor = DenseMatrix(4, 4, .normal(16, &random))
    let a = factor * factor.transposed + .identity(4)
    let b = DenseMatrix(4, count, .normal(4 * count, &random))
    let target = [Double].normal(4, &random)
    let options = SolverOptions(solver: solver, maximumIterations: 1000, tolerance: 1e-14)
    let inner = try solve(a, target, options).v
    let loss = try problem.loss()
    var theta = problem.theta
    _ = try loss.minimize(&theta, InnerOptions(solver: .exact))
    try loss.linearize(theta)
    var v = [Double](repeating: 0, count: count)
    var phi = [Double](repeating: .nan, count: problem.metric.parameterCount)
    _ = try loss.hypergradient(g: b.transposed * inner, v: &v, options, into: &phi)
    // -(d grad/dphi)' H^-1 B' A^-1 b, with the mixed derivative from differences of exact gradients.
    let product = try loss.matrix().inverse * (b.transposed * (a.inverse * target))
    let moved = try problem.movingMetric()
    let start = problem.metric.phi
    let d = [Double].direction(start.count, &random)
    let mixed = try derivative { try moved(start .+ $0 * d).gradient(theta) }
    expectEqual(dot(phi, d), -dot(mixed, product), to: 1e-9)
    // And by solving both levels again.
    let resolved = try derivative { t in
      var theta = theta
      _ = try moved(start .+ t * d).minimize(&theta, InnerOptions(solver: .exact))
      return dot(target, a.solve(b * theta))
    }
    expectEqual(dot(phi, d), resolved, to: 1e-9)
  }
}

extension Problem {
  /// The direction in phi along which Lambda grows in proportion to itself.
  fileprivate var scaleDirection: [Double] {
    let phi = metric.phi
    guard let last = metric.network?.layers.last else { return Array(phi.dropLast()) + [2] }
    return phi.indices.map { $0 == phi.count - 1 ? 2 : $0 >= last.weightOffset ? phi[$0] : 0 }
  }
}
