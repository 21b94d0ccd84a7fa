// Training without a prediction loss: steps of theta against the gradient of a decision loss, by Adam or gradient descent.

final class DirectTraining: InnerSteps {
  private let inner: InnerTraining
  private let predictor: Predictor
  private let dataset: Dataset
  private let objective: PredictionObjective
  /// All instances; made when first needed.
  private var everything: TaskBatch?
  private var cotangent: Buffer<Double>?

  /// `inner` lends its optimiser, and its loss the regularisation.
  init(_ inner: InnerTraining, _ predictor: Predictor, _ dataset: Dataset, _ objective: PredictionObjective) {
    self.inner = inner
    self.predictor = predictor
    self.dataset = dataset
    self.objective = objective
  }

  func run(
    _ theta: UnsafeMutablePointer<Double>, steps: Int, _ options: TrainerOptions, moments: inout Optimizer.State?,
    _ random: inout RandomGenerator, poll: (() throws -> Void)?
  ) throws -> InnerResult {
    let solver = options.chose(.innerSolver, "sgd") ? InnerSolver.sgd : .adam
    let penalty = try inner.fullLoss(options, poll: poll)
    return try inner.descend(theta, by: solver, steps: steps, options, moments: &moments) { theta, gradient in
      try poll?()
      let batch = try self.batch(options.integer(.innerBatch), &random)
      let loss = try self.evaluate(batch, theta, gradient: gradient)
      penalty.addPenalty(penalty.rho, theta, to: gradient)
      return loss + penalty.penalty(theta)
    }
  }

  /// The objective of a batch at theta, without rho, and its gradient.
  func evaluate(
    _ batch: TaskBatch, _ theta: UnsafePointer<Double>, gradient: UnsafeMutablePointer<Double>
  ) throws -> Double {
    try batch.predict(predictor, theta)
    let count = batch.rows * batch.outputs
    let c = try cotangent.flatMap { $0.count == count ? $0 : nil } ?? Buffer(count: count)
    cotangent = c
    let loss = try objective.evaluate(batch, of: dataset, gradient: c)
    try predictor.pullback(
      theta, try batch.inputRows(), MatrixView(c.base, rows: batch.rows, columns: batch.outputs), into: gradient)
    return loss
  }

  private func batch(_ size: Int, _ random: inout RandomGenerator) throws -> TaskBatch {
    if size > 0, size < dataset.instanceCount {
      return try TaskBatch(dataset, instances: random.sample(size, of: dataset.instanceCount), phase: .training)
    }
    let batch = try everything ?? TaskBatch(dataset, phase: .training)
    everything = batch
    return batch
  }
}
