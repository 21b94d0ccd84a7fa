// The weighted MSE: the prediction loss under Lambda = I, its instances weighted by what their predictions cost the task.
//
//   w_k = 1/2 + 1/2 regret_k / mean regret,   regret_k = max(l_k(yhat) - l_k(y), 0)
//
// with l_k the task loss of instance k in phase validation, at the model with which the iteration begins: half of the weight
// follows the task, and the other half keeps every instance in play. The weights' mean is 1; they are all 1 where no instance
// has a regret. They multiply the dataset's own.

final class RegretWeighting: InnerSteps {
  private let predictor: Predictor
  private let dataset: Dataset
  private let tasks: OuterObjective
  /// The same rows under the present weights.
  private let weighted: Dataset
  private let inner: InnerTraining
  private let batch: TaskBatch
  /// Each task's losses at the true targets; empty before they are needed.
  private var optimal: [Buffer<Double>] = []

  init(
    _ predictor: Predictor, _ identity: Metric, _ dataset: Dataset, _ tasks: OuterObjective, _ options: TrainerOptions
  ) throws {
    self.predictor = predictor
    self.dataset = dataset
    self.tasks = tasks
    weighted = Dataset(sharingRowsOf: dataset)
    inner = InnerTraining(
      predictor, identity, weighted, threads: options.integer(.threads),
      metricCacheBytes: options.integer(.metricCacheBytes))
    batch = try TaskBatch(dataset, phase: .validation)
  }

  func run(
    _ theta: UnsafeMutablePointer<Double>, steps: Int, _ options: TrainerOptions, moments: inout Optimizer.State?,
    _ random: inout RandomGenerator, poll: (() throws -> Void)?
  ) throws -> InnerResult {
    try poll?()
    try reweigh(theta)
    return try inner.run(theta, steps: steps, options, moments: &moments, &random, poll: poll)
  }

  private func reweigh(_ theta: UnsafePointer<Double>) throws {
    let weights = try instanceWeights(theta)
    let rows = try Buffer<Double>(count: dataset.rows)
    for k in 0..<weights.count {
      for row in dataset.rowRange(ofInstance: k) { rows[row] = weights[k] * (dataset.weights?[row] ?? 1) }
    }
    try weighted.setWeights(rows.base)
  }

  /// w_k at theta.
  func instanceWeights(_ theta: UnsafePointer<Double>) throws -> Buffer<Double> {
    try batch.predict(predictor, theta)
    let weights = try regrets()
    for k in 0..<weights.count { weights[k] = max(weights[k], 0) }
    let average = mean(weights)
    guard average.isFinite else { throw TaskMetError.numerical("the mean regret is \(average)") }
    for k in 0..<weights.count { weights[k] = average > 0 ? 0.5 + 0.5 * (weights[k] / average) : 1 }
    return weights
  }

  /// Of each instance: the tasks' combined, or those of the task with the worst loss.
  private func regrets() throws -> Buffer<Double> {
    if optimal.isEmpty {
      let truth = batch.with(predictions: batch.targets, phase: .validation)
      optimal = try tasks.tasks.map { try losses($0.task, truth) }
    }
    var worst = -Double.infinity
    let result = try Buffer<Double>(repeating: 0, count: batch.instances.count)
    for (index, (task, weight)) in tasks.tasks.enumerated() {
      let losses = try losses(task, batch)
      let combined = weight * mean(losses)
      if tasks.worstCase, combined <= worst { continue }
      if tasks.worstCase { result.base.update(repeating: 0, count: result.count) }
      worst = combined
      for k in 0..<result.count { result[k] += weight * (losses[k] - optimal[index][k]) }
    }
    return result
  }

  private func losses(_ task: Task, _ batch: TaskBatch) throws -> Buffer<Double> {
    let result = try Buffer<Double>(count: batch.instances.count)
    try task.losses(batch, into: result.base)
    return result
  }
}
