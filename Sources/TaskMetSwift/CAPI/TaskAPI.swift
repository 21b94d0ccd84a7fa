// taskmet_task_*: a task of the caller's, and what is asked of any task. The built-in tasks' constructors have files of their own.

import CTaskMet

@_cdecl("taskmet_task_create_callback") @implementation
public func taskmet_task_create_callback(
  _ fn: taskmet_task_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_callback") {
    guard let fn else { throw TaskMetError.invalidArgument("fn must not be NULL") }
    let out = try requirePointer(task, "task")
    let owner = CallbackUser(user, free: free_user)
    out.pointee = try makeHandle(CallbackTask(fn, owner), owning: owner)
  }
}

@_cdecl("taskmet_task_destroy") @implementation
public func taskmet_task_destroy(_ task: OpaquePointer!) { destroyHandle(task, as: Task.self) }

@_cdecl("taskmet_task_gradient") @implementation
public func taskmet_task_gradient(
  _ task: OpaquePointer!, _ dataset: OpaquePointer!, _ phase: taskmet_phase, _ predictions: UnsafePointer<Double>!,
  _ predictions_stride: Int64, _ loss: UnsafeMutablePointer<Double>!, _ gradient: UnsafeMutablePointer<Double>!,
  _ gradient_stride: Int64
) -> taskmet_status {
  call("task_gradient") {
    let object: Task = try resolve(task, "task")
    let data: Dataset = try resolve(dataset, "dataset")
    let phase: TaskBatch.Phase = try requireCase(phase, "phase")
    let lossOut = try requirePointer(loss, "loss")
    try withAccess(reading: [object, data]) {
      let (rows, outputs) = (data.rows, data.targets)
      let view = try requireMatrix(
        predictions, rows: rows, columns: outputs, stride: predictions_stride, "predictions")
      if let gradient {
        _ = try requireOutput(gradient, rows: rows, columns: outputs, stride: gradient_stride, "gradient")
      }
      let room = gradient == nil ? nil : try Buffer<Double>(count: try checkedProduct(rows, outputs))
      let value = try object.judge(try TaskBatch(data, predictions: view, phase: phase), gradient: room?.base)
      if let room, let gradient {
        try deliver(room, rows: rows, columns: outputs, to: gradient, stride: gradient_stride, "gradient")
      }
      lossOut.pointee = value
    }
  }
}

@_cdecl("taskmet_task_get_sense") @implementation
public func taskmet_task_get_sense(_ task: OpaquePointer!, _ sense: UnsafeMutablePointer<taskmet_sense>!)
  -> taskmet_status
{
  call("task_get_sense") {
    let object: Task = try resolve(task, "task")
    try requirePointer(sense, "sense").pointee = object.sense.rawValue
  }
}

// MARK: - Held-out data

@_cdecl("taskmet_task_evaluate") @implementation
public func taskmet_task_evaluate(
  _ task: OpaquePointer!, _ predictor: OpaquePointer!, _ dataset: OpaquePointer!, _ loss: UnsafeMutablePointer<Double>!,
  _ per_instance_loss: UnsafeMutablePointer<Double>!, _ count: Int64, _ decisions: UnsafeMutablePointer<Double>!,
  _ decision_count: Int64
) -> taskmet_status {
  call("task_evaluate") {
    let object: Task = try resolve(task, "task")
    let model: Predictor = try resolve(predictor, "predictor")
    let data: Dataset = try resolve(dataset, "dataset")
    guard model.inputs == data.features, model.outputs == data.targets else {
      throw TaskMetError.shape(
        "dataset: predictor is \(model.inputs) -> \(model.outputs), dataset is \(data.features) -> \(data.targets)")
    }
    try withAccess(reading: [object, model, data]) {
      try requireCount(count, per_instance_loss == nil ? 0 : data.instanceCount, "count")
      let batch = try TaskBatch(data, phase: .validation)
      if decisions == nil {
        try requireCount(decision_count, 0, "decision_count")
      } else {
        try requireDecisions(object, batch, decision_count)
      }
      try batch.predict(model, model.parameters)
      let total = try object.judge(batch, gradient: nil)
      let losses = try Buffer<Double>(count: per_instance_loss == nil ? 0 : data.instanceCount)
      if per_instance_loss != nil { try object.losses(batch, into: losses.base) }
      if let decisions {
        let taken = try Buffer<Double>(count: Int(decision_count))
        try object.decide(batch, into: taken.base)
        if let index = firstNonFinite(taken.count, taken.base) {
          throw TaskMetError.numerical("decisions[\(index)] is \(taken[index])")
        }
        decisions.update(from: taken.base, count: taken.count)
      }
      per_instance_loss?.update(from: losses.base, count: losses.count)
      loss?.pointee = total
    }
  }
}

private func requireDecisions(_ task: Task, _ batch: TaskBatch, _ count: Int64) throws {
  let expected = task.decisionCount(batch)
  if expected == 0 { throw TaskMetError.unsupported("decisions: the task leaves them to its callback") }
  try requireCount(count, expected, "decision_count")
}

@_cdecl("taskmet_task_decision_count") @implementation
public func taskmet_task_decision_count(
  _ task: OpaquePointer!, _ dataset: OpaquePointer!, _ count: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  call("task_decision_count") {
    let object: Task = try resolve(task, "task")
    let data: Dataset = try resolve(dataset, "dataset")
    let count = try requirePointer(count, "count")
    try withAccess(reading: [object, data]) {
      var sum = 0
      for instance in 0..<data.instanceCount {
        sum += object.decisionCount(rows: data.rowRange(ofInstance: instance).count, outputs: data.targets)
      }
      count.pointee = Int64(sum)
    }
  }
}

@_cdecl("taskmet_task_decision_quality") @implementation
public func taskmet_task_decision_quality(
  _ task: OpaquePointer!, _ dataset: OpaquePointer!, _ predictions: UnsafePointer<Double>!, _ predictions_stride: Int64,
  _ random_draws: Int64, _ bootstrap_samples: Int64, _ confidence: Double, _ seed: UInt64,
  _ report: UnsafeMutablePointer<taskmet_decision_report>!
) -> taskmet_status {
  call("task_decision_quality") {
    let object: Task = try resolve(task, "task")
    let data: Dataset = try resolve(dataset, "dataset")
    let draws = try requireInteger(random_draws, "random_draws", atLeast: 0, atMost: 1_000_000)
    let samples = try requireInteger(bootstrap_samples, "bootstrap_samples", atLeast: 0, atMost: 1_000_000)
    let confidence = try requireDecay(confidence, "confidence")
    let report = try requirePointer(report, "report")
    try structSize(report, minimum: 16, "report")
    try withAccess(reading: [object, data]) {
      let view = try requireMatrix(
        predictions, rows: data.rows, columns: data.targets, stride: predictions_stride, "predictions")
      let batch = try TaskBatch(data, predictions: view, phase: .validation)
      let meanSquaredError = batch.rmse * batch.rmse
      guard meanSquaredError.isFinite else {
        throw TaskMetError.numerical("the mean squared error of the predictions is \(meanSquaredError)")
      }
      let losses = try DecisionLosses(object, batch, randomDraws: draws == 0 ? 10 : draws, seed: seed)
      let intervals = try losses.bootstrap(
        samples: samples == 0 ? 1000 : samples, confidence: confidence == 0 ? 0.95 : confidence, seed: seed)
      try checkFinite(losses.summary, intervals)
      var summary = taskmet_decision_report()
      summary.mean_squared_error = meanSquaredError
      summary.instances = Int64(data.instanceCount)
      write(losses.summary, intervals, sign: object.sense.sign, to: &summary)
      writeStruct(summary, to: report)
    }
  }
}

/// Objectives in the task's own sense: where that is to maximise, the loss's upper end is the objective's lower one.
/// Losses may be finite where their sums and differences are not. The quality is NaN where it is not defined.
private func checkFinite(_ summary: DecisionSummary, _ intervals: DecisionIntervals) throws {
  for (value, name) in [
    (summary.loss, "loss"), (summary.optimalLoss, "loss under the true targets"),
    (summary.randomLoss, "loss under random predictions"), (summary.regret, "regret"),
    (intervals.loss.upper - intervals.loss.lower, "interval of the loss"),
    (intervals.regret.upper - intervals.regret.lower, "interval of the regret"),
  ] where !value.isFinite {
    throw TaskMetError.numerical("the decisions' \(name) is \(value)")
  }
}

private func write(
  _ summary: DecisionSummary, _ intervals: DecisionIntervals, sign: Double, to report: inout taskmet_decision_report
) {
  report.objective = sign * summary.loss
  report.optimal_objective = sign * summary.optimalLoss
  report.random_objective = sign * summary.randomLoss
  report.regret = summary.regret
  report.decision_quality = summary.quality
  report.objective_lower = min(sign * intervals.loss.lower, sign * intervals.loss.upper)
  report.objective_upper = max(sign * intervals.loss.lower, sign * intervals.loss.upper)
  (report.regret_lower, report.regret_upper) = intervals.regret
  (report.decision_quality_lower, report.decision_quality_upper) = intervals.quality
}
