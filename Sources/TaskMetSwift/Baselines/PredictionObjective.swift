// What the direct baselines minimise in prediction space: a decision loss of a batch, plus alpha times its squared errors.

/// The tasks' own training loss: decision-focused learning.
class PredictionObjective {
  fileprivate let tasks: OuterObjective
  private let alpha: Double

  init(_ tasks: OuterObjective, alpha: Double) {
    self.tasks = tasks
    self.alpha = alpha
  }

  fileprivate func decisionLoss(_ batch: TaskBatch, gradient: Buffer<Double>) throws -> Double {
    try tasks.evaluate(batch, gradient: gradient)
  }

  /// The loss of some instances of the dataset, and its gradient in their predictions.
  final func evaluate(_ batch: TaskBatch, of dataset: Dataset, gradient: Buffer<Double>) throws -> Double {
    let loss = try decisionLoss(batch, gradient: gradient)
    return alpha == 0 ? loss : loss + addSquaredErrors(batch, dataset, to: gradient)
  }

  /// alpha times the mean over all entries of s_i e_i^2, its gradient being added.
  private func addSquaredErrors(_ batch: TaskBatch, _ dataset: Dataset, to gradient: Buffer<Double>) -> Double {
    let n = batch.outputs
    let share = alpha / Double(batch.rows * n)
    var sum = 0.0
    for k in 0..<batch.instances.count {
      let source = dataset.rowRange(ofInstance: Int(batch.instances[k])).lowerBound
      let first = Int(batch.offsets[k])
      for row in first..<Int(batch.offsets[k + 1]) {
        let weight = share * (dataset.weights?[source + row - first] ?? 1)
        for entry in (row * n)..<((row + 1) * n) {
          let error = batch.predictions[entry] - batch.targets[entry]
          sum += weight * error * error
          gradient[entry] += 2 * weight * error
        }
      }
    }
    return sum
  }
}

/// SPO+ in place of the tasks' loss.
final class SPOPlusObjective: PredictionObjective {
  fileprivate override func decisionLoss(_ batch: TaskBatch, gradient: Buffer<Double>) throws -> Double {
    try tasks.evaluate(batch, gradient: gradient) { try $0.evaluateSPOPlus($1, gradient: $2) }
  }

  /// Fails where a task has no SPO+: asked about one instance, at its true targets.
  func checkSupport(_ dataset: Dataset) throws {
    let batch = try TaskBatch(dataset, instances: Buffer([0]), phase: .training)
    batch.predictions.base.update(from: batch.targets.base, count: batch.targets.count)
    for (task, _) in tasks.tasks { _ = try task.evaluateSPOPlus(batch, gradient: nil) }
  }
}
