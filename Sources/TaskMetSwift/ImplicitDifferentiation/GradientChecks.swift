// Is the gradient that a user's task returns right? Is the hypergradient?

/// Checks a task's gradient against differences of its loss, along random directions and on single entries.
func checkTaskGradient(
  _ task: Task, _ dataset: Dataset, predictions: MatrixView, directions: Int, seed: UInt64, tolerance: Double
) throws -> GradientCheckReport {
  let batch = try TaskBatch(dataset, predictions: predictions, phase: .training)
  let moved = batch.predictions
  let count = moved.count
  let origin = try Buffer(copying: moved.base, count: count)
  let gradient = try Buffer<Double>(count: count)
  let direction = try Buffer<Double>(count: count)
  _ = try task.evaluate(batch, gradient: gradient.base)
  // A step moves predictions by a fraction of their size, or of the targets' where they are all zero.
  let size = max(norm(count, origin.base), norm(count, batch.targets.base)) / Double(count).squareRoot()
  let unit = size > 0 ? size : 1
  var check = GradientCheck(tolerance: tolerance, gradientNorm: norm(count, gradient.base))
  var random = RandomGenerator(seed: seed)
  func compare(entry: Int?) throws {
    let numeric = try numericalDerivative(from: 0.1 * unit) { t in
      moved.base.update(from: origin.base, count: count)
      Double.axpy(count, t, direction.base, moved.base)
      return try task.evaluate(batch, gradient: nil)
    }
    check.compare(analytic: Double.dot(count, gradient.base, direction.base), numeric, entry: entry)
  }
  for _ in 0..<directions {
    randomUnitVector(count, &random, direction.base)
    try compare(entry: nil)
  }
  let entries = try random.sample(directions, of: count)
  for k in 0..<(entries?.count ?? count) {
    let entry = entries?[k] ?? k
    direction.base.update(repeating: 0, count: count)
    direction[entry] = 1
    try compare(entry: entry)
  }
  return check.report
}

/// Checks the hypergradient against differences of L_task(theta*(phi)), solving the inner problem anew at each phi.
func checkHypergradient(
  _ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, rho: Double, _ task: Task, inner: InnerOptions,
  solver: SolverOptions, directions: Int, seed: UInt64, tolerance: Double
) throws -> GradientCheckReport {
  let problem = try BilevelProblem(predictor, metric, dataset, rho: rho, task, inner)
  let count = metric.parameterCount
  let gradient = try Buffer<Double>(count: count)
  let direction = try Buffer<Double>(count: count)
  try problem.hypergradient(solver, into: gradient.base)
  var check = GradientCheck(tolerance: tolerance, gradientNorm: norm(count, gradient.base))
  var random = RandomGenerator(seed: seed)
  for _ in 0..<directions {
    randomUnitVector(count, &random, direction.base)
    let numeric = try numericalDerivative(halvings: 14) { t in
      try problem.taskLoss(moving: t, along: direction.base)
    }
    check.compare(analytic: Double.dot(count, gradient.base, direction.base), numeric)
  }
  return check.report
}

/// L_task(theta*(phi)) as a function of phi, on float64 copies of the predictor and the metric: differences of float32 losses
/// would say little. The hypergradient is that of the given two.
private final class BilevelProblem {
  private let given: (predictor: Predictor, metric: Metric)
  private let predictor: Predictor
  private let metric: Metric
  private let dataset: Dataset
  private let rho: Double
  private let task: Task
  private let inner: InnerOptions
  private let workspace = Workspace()
  private let followsNormalization: Bool
  private let origin: Buffer<Double>
  /// theta*(phi) at the centre: where every other solve starts.
  private let center: Buffer<Double>
  private let theta: Buffer<Double>

  init(
    _ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, rho: Double, _ task: Task, _ inner: InnerOptions
  ) throws {
    given = (predictor, metric)
    self.predictor = try predictor.converted(to: .float64)
    self.metric = try Metric(copying: metric, in: .float64)
    self.dataset = dataset
    self.rho = rho
    self.task = task
    self.inner = inner
    try MetricisedLoss.checkPrecisions(predictor, metric, dataset)
    followsNormalization = try metric.differentiatesNormalization(rows: dataset.rows, dataset.featureRows)
    origin = try Buffer(copying: metric.parameters, count: metric.parameterCount)
    center = try Buffer(copying: predictor.parameters, count: predictor.parameterCount)
    theta = try Buffer(count: predictor.parameterCount)
    // Twice: an iterative solver gets a little further from where it stopped.
    for _ in 0..<2 { _ = try loss().minimize(center.base, inner) }
  }

  private func loss() throws -> MetricisedLoss {
    try MetricisedLoss(predictor, metric, dataset, rho: rho, workspace, arithmetic: .float64)
  }

  /// The task at theta; its gradient in prediction space where there is room for it.
  private func evaluateTask(
    _ theta: UnsafePointer<Double>, gradient: UnsafeMutablePointer<Double>?
  ) throws -> Double {
    let batch = try TaskBatch(dataset, phase: .training)
    try batch.predict(predictor, theta)
    return try task.evaluate(batch, gradient: gradient)
  }

  func hypergradient(_ options: SolverOptions, into out: UnsafeMutablePointer<Double>) throws {
    let c = try Buffer<Double>(count: try checkedProduct(dataset.rows, dataset.targets))
    _ = try evaluateTask(center.base, gradient: c.base)
    let loss = try MetricisedLoss(given.predictor, given.metric, dataset, rho: rho, Workspace())
    try loss.linearize(center.base)
    let g = try Buffer<Double>(count: loss.parameterCount)
    let v = try Buffer<Double>(repeating: 0, count: loss.parameterCount)
    try loss.pullback(MatrixView(c.base, rows: dataset.rows, columns: dataset.targets), into: g.base)
    _ = try loss.hypergradient(g: g.base, v: v.base, options, into: out)
  }

  func taskLoss(moving t: Double, along direction: UnsafePointer<Double>) throws -> Double {
    let phi = try Buffer(copying: origin.base, count: origin.count)
    Double.axpy(origin.count, t, direction, phi.base)
    try metric.setParameters(phi.base)
    if followsNormalization { try metric.updateNormalization(rows: dataset.rows, dataset.featureRows) }
    theta.base.update(from: center.base, count: center.count)
    for _ in 0..<2 { _ = try loss().minimize(theta.base, inner) }
    return try evaluateTask(theta.base, gradient: nil)
  }
}

private func randomUnitVector(_ count: Int, _ random: inout RandomGenerator, _ out: UnsafeMutablePointer<Double>) {
  for k in 0..<count { out[k] = random.normal() }
  let length = norm(count, out)
  if length > 0 { Double.scale(count, 1 / length, out) }
}
