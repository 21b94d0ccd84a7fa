// The outer objective: what the tasks say of the present model on a batch of instances, and on held-out data.

/// Tasks with weights, combined to one loss.
struct OuterObjective {
  var tasks: [(task: Task, weight: Double)] = []
  /// The largest weighted loss counts, rather than the sum.
  var worstCase = false

  /// The combined loss of predictions, and its gradient in prediction space where there is room for it. `evaluate` gives a
  /// task's own.
  func evaluate(
    _ batch: TaskBatch, gradient: Buffer<Double>?,
    _ evaluate: (Task, TaskBatch, UnsafeMutablePointer<Double>?) throws -> Double = {
      try $0.judge($1, gradient: $2)
    }
  ) throws -> Double {
    if tasks.count == 1, tasks[0].weight == 1 { return try evaluate(tasks[0].task, batch, gradient?.base) }
    let count = batch.rows * batch.outputs
    let part = try gradient.map { _ in try Buffer<Double>(count: count) }
    gradient?.base.update(repeating: 0, count: count)
    var combined = worstCase ? -Double.infinity : 0
    for (task, weight) in tasks {
      let loss = weight * (try evaluate(task, batch, part?.base))
      if !worstCase {
        combined += loss
        if let gradient, let part { Double.axpy(count, weight, part.base, gradient.base) }
      } else if loss > combined {
        combined = loss
        if let gradient, let part {
          gradient.base.update(repeating: 0, count: count)
          Double.axpy(count, weight, part.base, gradient.base)
        }
      }
    }
    // Finite losses times finite weights may overflow.
    guard combined.isFinite else { throw TaskMetError.numerical("the combined task loss is \(combined)") }
    if let gradient, let index = firstNonFinite(count, gradient.base) {
      throw TaskMetError.numerical("the combined task gradient's entry \(index) is \(gradient[index])")
    }
    return combined
  }
}

/// The tasks' mean loss over all instances of held-out data, and the RMSE there. A rejection counts as an infinite loss, and
/// so do predictions that are not finite or whose error is not.
func evaluateHeldOut(
  _ objective: OuterObjective, _ predictor: Predictor, _ theta: UnsafePointer<Double>, _ dataset: Dataset
) throws -> (loss: Double, rmse: Double) {
  let batch = try TaskBatch(dataset, phase: .validation)
  do {
    try batch.predict(predictor, theta)
  } catch let error as TaskMetError where error.code == .numerical {
    return (.infinity, .infinity)
  }
  let rmse = batch.rmse
  guard rmse.isFinite else { return (.infinity, .infinity) }
  do {
    return (try objective.evaluate(batch, gradient: nil), rmse)
  } catch let error as TaskMetError where error.code == .rejected {
    return (.infinity, rmse)
  }
}
