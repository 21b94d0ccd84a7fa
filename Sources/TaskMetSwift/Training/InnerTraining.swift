// The inner problem inside the trainer: K steps on theta while phi stays as it is, by whichever solver was chosen.

/// How the inner steps ended.
struct InnerResult {
  var steps = 0
  var loss = Double.nan
  var gradientNorm = Double.nan
}

/// Fits the predictor; keeps memory and optimiser between calls.
final class InnerTraining {
  private let predictor: Predictor
  let metric: Metric
  private let dataset: Dataset
  let fullWorkspace: Workspace
  private let batchWorkspace: Workspace
  private var batch: Dataset?
  private var optimizer: Optimizer?

  init(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, threads: Int, metricCacheBytes: Int) {
    self.predictor = predictor
    self.metric = metric
    self.dataset = dataset
    fullWorkspace = Workspace(threads: threads, metricCacheBytes: metricCacheBytes)
    batchWorkspace = Workspace(threads: threads, metricCacheBytes: metricCacheBytes)
  }

  /// The loss on all training rows.
  func fullLoss(_ options: TrainerOptions, poll: (() throws -> Void)?) throws -> MetricisedLoss {
    let loss = try MetricisedLoss(predictor, metric, dataset, rho: options.real(.rho), fullWorkspace)
    loss.poll = poll
    return loss
  }

  /// Sets m of batch_trace on the training rows.
  func updateNormalization() throws {
    try fullWorkspace.memory(predictor, metric, dataset, dataset.precision).updateNormalization(dataset)
  }

  /// The solver that "auto" stands for.
  static func solver(_ options: TrainerOptions, _ predictor: Predictor) -> InnerSolver {
    switch "\(options.choice(.innerSolver))" {
    case "adam": .adam
    case "sgd": .sgd
    case "lbfgs": .lbfgs
    case "exact": .exact
    default: predictor.isLinear ? .exact : .adam
    }
  }

  /// Moves theta by at most `steps` steps. `moments` is the optimiser's state before and after.
  func run(
    _ theta: UnsafeMutablePointer<Double>, steps: Int, _ options: TrainerOptions, moments: inout Optimizer.State?,
    _ random: inout RandomGenerator, poll: (() throws -> Void)?
  ) throws -> InnerResult {
    let solver = Self.solver(options, predictor)
    if solver == .lbfgs || solver == .exact {
      var inner = InnerOptions()
      inner.solver = solver
      inner.maximumIterations = steps
      inner.gradientTolerance = options.real(.innerTolerance)
      inner.memory = options.integer(.lbfgsMemory)
      let report = try fullLoss(options, poll: poll).minimize(theta, inner)
      return InnerResult(steps: report.iterations, loss: report.value, gradientNorm: report.gradientNorm)
    }
    let batchSize = options.integer(.innerBatch)
    let stochastic = batchSize > 0 && batchSize < dataset.instanceCount
    let full = try fullLoss(options, poll: poll)
    return try descend(theta, by: solver, steps: steps, options, moments: &moments) { theta, gradient in
      let loss = stochastic ? try batchLoss(batchSize, options, &random, full.memory, poll: poll) : full
      return try loss.evaluate(theta, gradient: gradient)
    }
  }

  private func makeOptimizer(_ solver: InnerSolver, _ options: TrainerOptions) throws -> Optimizer {
    let method: Optimizer.Method =
      solver == .adam
      ? .adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8) : .sgd(momentum: options.real(.innerMomentum))
    if let optimizer, optimizer.method == method {
      optimizer.setLearningRate(options.real(.innerRate))
      return optimizer
    }
    let fresh = try Optimizer(method, count: predictor.parameterCount, learningRate: options.real(.innerRate))
    optimizer = fresh
    return fresh
  }

  /// Steps of Adam or gradient descent on a loss, whose values and gradients `evaluate` gives, until the gradient is small
  /// enough.
  func descend(
    _ theta: UnsafeMutablePointer<Double>, by solver: InnerSolver, steps: Int, _ options: TrainerOptions,
    moments: inout Optimizer.State?,
    _ evaluate: (_ theta: UnsafePointer<Double>, _ gradient: UnsafeMutablePointer<Double>) throws -> Double
  ) throws -> InnerResult {
    let stepper = try makeOptimizer(solver, options)
    stepper.restore(moments?.moments.count == stepper.momentCount ? moments : nil)
    let count = predictor.parameterCount
    let gradient = try Buffer<Double>(count: count)
    let (tolerance, clip) = (options.real(.innerTolerance), options.real(.innerClip))
    var result = InnerResult()
    while true {
      result.loss = try evaluate(theta, gradient.base)
      result.gradientNorm = norm(count, gradient.base)
      guard result.loss.isFinite, result.gradientNorm.isFinite else {
        throw TaskMetError.numerical(
          "the loss is \(result.loss) in an inner step, its gradient's norm \(result.gradientNorm)")
      }
      if result.steps >= steps || result.gradientNorm <= tolerance {
        moments = try stepper.state()
        return result
      }
      if clip > 0, result.gradientNorm > clip { Double.scale(count, clip / result.gradientNorm, gradient.base) }
      try stepper.step(gradient: gradient.base, parameters: theta)
      result.steps += 1
    }
  }

  /// The loss on a random batch of instances; the metric's factors come from those of all rows where these are kept.
  private func batchLoss(
    _ size: Int, _ options: TrainerOptions, _ random: inout RandomGenerator, _ table: LossMemory,
    poll: (() throws -> Void)?
  ) throws -> MetricisedLoss {
    guard let instances = try random.sample(size, of: dataset.instanceCount) else {
      return try fullLoss(options, poll: poll)
    }
    let rows = try dataset.rows(ofInstances: instances)
    let batch = try self.batch ?? Dataset(rows, of: dataset)
    try batch.gather(rows, of: dataset)
    self.batch = batch
    let loss = try MetricisedLoss(
      predictor, metric, batch, rho: options.real(.rho), batchWorkspace,
      factors: GatheredFactors(table: table, rows: rows))
    loss.poll = poll
    return loss
  }
}
