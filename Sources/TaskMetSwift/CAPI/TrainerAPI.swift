// taskmet_trainer_*: handles, steps, models, history, files.

import CTaskMet

@_cdecl("taskmet_trainer_create") @implementation
public func taskmet_trainer_create(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!,
  _ trainer: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("trainer_create") {
    let model: Predictor = try resolve(predictor, "predictor")
    let metric: Metric = try resolve(metric, "metric")
    let data: Dataset = try resolve(dataset, "dataset")
    let out = try requirePointer(trainer, "trainer")
    out.pointee = try withAccess(reading: [model, metric, data]) {
      try makeTrainerHandle(try Trainer(model, metric, data))
    }
  }
}

@_cdecl("taskmet_trainer_destroy") @implementation
public func taskmet_trainer_destroy(_ trainer: OpaquePointer!) { destroyHandle(trainer, as: Trainer.self) }

/// Runs `body` with the trainer, which belongs to it alone for so long.
private func withTrainer(
  _ name: StaticString, _ trainer: OpaquePointer?, _ body: (Trainer) throws -> Void
) -> taskmet_status {
  call(name) {
    let object: Trainer = try resolve(trainer, "trainer")
    try withAccess(writing: [object]) { try body(object) }
  }
}

@_cdecl("taskmet_trainer_add_task") @implementation
public func taskmet_trainer_add_task(_ trainer: OpaquePointer!, _ task: OpaquePointer!, _ weight: Double)
  -> taskmet_status
{
  withTrainer("trainer_add_task", trainer) { object in
    let task: Task = try resolve(task, "task")
    try object.addTask(task, weight: try requirePositive(weight, "weight"))
  }
}

@_cdecl("taskmet_trainer_set_validation") @implementation
public func taskmet_trainer_set_validation(_ trainer: OpaquePointer!, _ dataset: OpaquePointer!) -> taskmet_status {
  withTrainer("trainer_set_validation", trainer) { object in
    let data: Dataset = try resolve(dataset, "dataset")
    try withAccess(reading: [data]) { try object.setValidation(data) }
  }
}

// MARK: - Training

@_cdecl("taskmet_trainer_step") @implementation
public func taskmet_trainer_step(
  _ trainer: OpaquePointer!, _ record: UnsafeMutablePointer<taskmet_record>!
) -> taskmet_status {
  withTrainer("trainer_step", trainer) { object in
    if let record { try structSize(record, minimum: 16, "record") }
    writeStruct(cRecord(try object.step()), to: record)
  }
}

@_cdecl("taskmet_trainer_fit") @implementation
public func taskmet_trainer_fit(
  _ trainer: OpaquePointer!, _ report: UnsafeMutablePointer<taskmet_fit_report>!
) -> taskmet_status {
  withTrainer("trainer_fit", trainer) { object in
    if let report { try structSize(report, minimum: 16, "report") }
    let result = try object.fit()
    var summary = taskmet_fit_report()
    summary.reason = result.reason.rawValue
    summary.iterations = Int64(result.iterations)
    summary.best_iteration = Int64(result.bestIteration)
    summary.best_task_loss = result.bestLoss
    summary.first_task_loss = result.firstLoss
    summary.best_rmse_ratio = result.bestRMSERatio
    summary.rollbacks = Int64(result.rollbacks)
    summary.rejections = Int64(result.rejections)
    summary.untrusted = Int64(result.untrusted)
    summary.seconds = result.seconds
    writeStruct(summary, to: report)
  }
}

@_cdecl("taskmet_trainer_stop") @implementation
public func taskmet_trainer_stop(_ trainer: OpaquePointer!) { setStopRequest(trainer, true) }

@_cdecl("taskmet_trainer_clear_stop") @implementation
public func taskmet_trainer_clear_stop(_ trainer: OpaquePointer!) { setStopRequest(trainer, false) }

// MARK: - Models

/// The chosen model of a trainer that has one.
private func requireModel(_ trainer: Trainer, _ model: taskmet_model) throws -> Model {
  guard Int(model) == TASKMET_MODEL_BEST || Int(model) == TASKMET_MODEL_LAST else {
    throw TaskMetError.invalidArgument("model must be 0 to 1, got \(model)")
  }
  guard let state = trainer.state else { throw TaskMetError.state("trainer: there is no model before the first step") }
  return Int(model) == TASKMET_MODEL_BEST ? state.best : state.model
}

@_cdecl("taskmet_trainer_copy_predictor") @implementation
public func taskmet_trainer_copy_predictor(
  _ trainer: OpaquePointer!, _ model: taskmet_model, _ predictor: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  withTrainer("trainer_copy_predictor", trainer) { object in
    let out = try requirePointer(predictor, "predictor")
    let chosen = try requireModel(object, model)
    let copy = try object.predictor.copy()
    try copy.setParameters(chosen.theta.base)
    out.pointee = try makeHandle(copy)
  }
}

@_cdecl("taskmet_trainer_copy_metric") @implementation
public func taskmet_trainer_copy_metric(
  _ trainer: OpaquePointer!, _ model: taskmet_model, _ metric: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  withTrainer("trainer_copy_metric", trainer) { object in
    let out = try requirePointer(metric, "metric")
    out.pointee = try makeHandle(try object.metric(of: try requireModel(object, model)))
  }
}

// MARK: - History

/// A record in the header's form; iteration -1 where there is none.
private func cRecord(_ record: Record?) -> taskmet_record {
  let record = record ?? Record()
  var result = taskmet_record()
  result.iteration = record[.iteration].isNaN ? -1 : Int64(record.count(.iteration))
  result.task_loss = record[.taskLoss]
  result.prediction_loss = record[.predictionLoss]
  result.prediction_rmse = record[.predictionRMSE]
  result.inner_gradient_norm = record[.innerGradientNorm]
  result.inner_steps = Int64(record.count(.innerSteps))
  result.hypergradient_norm = record[.hypergradientNorm]
  result.solver_residual = record[.solverResidual]
  result.solver_iterations = Int64(record.count(.solverIterations))
  result.solver_converged = record.flag(.solverConverged)
  result.negative_curvature = record.flag(.negativeCurvature)
  result.agreement = record[.agreement]
  result.trusted = record.flag(.trusted)
  result.is_best = record.flag(.isBest)
  result.metric_rate = record[.metricRate]
  result.rollbacks = Int64(record.count(.rollbacks))
  result.rejections = Int64(record.count(.rejections))
  result.hypergradient_instances = Int64(record.count(.hypergradientInstances))
  result.metric_smallest_eigenvalue = record[.smallestEigenvalue]
  result.metric_largest_eigenvalue = record[.largestEigenvalue]
  result.metric_mean_trace = record[.meanTrace]
  result.validation_task_loss = record[.validationTaskLoss]
  result.validation_rmse = record[.validationRMSE]
  result.seconds_inner = record[.secondsInner]
  result.seconds_task = record[.secondsTask]
  result.seconds_hypergradient = record[.secondsHypergradient]
  result.seconds_validation = record[.secondsValidation]
  result.seconds_total = record[.secondsTotal]
  return result
}

@_cdecl("taskmet_trainer_history_count") @implementation
public func taskmet_trainer_history_count(
  _ trainer: OpaquePointer!, _ count: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  withTrainer("trainer_history_count", trainer) { object in
    try requirePointer(count, "count").pointee = Int64(object.history.count)
  }
}

@_cdecl("taskmet_trainer_history_get") @implementation
public func taskmet_trainer_history_get(
  _ trainer: OpaquePointer!, _ index: Int64, _ record: UnsafeMutablePointer<taskmet_record>!
) -> taskmet_status {
  withTrainer("trainer_history_get", trainer) { object in
    let record = try requirePointer(record, "record")
    try structSize(record, minimum: 16, "record")
    let count = object.history.count
    guard index >= 0, index < Int64(count) else {
      let allowed = count == 0 ? "is of no record: there is none before the first step" : "must be 0 to \(count - 1)"
      throw TaskMetError.invalidArgument("index \(allowed), got \(index)")
    }
    writeStruct(cRecord(object.history[Int(index)]), to: record)
  }
}

@_cdecl("taskmet_trainer_explain") @implementation
public func taskmet_trainer_explain(
  _ trainer: OpaquePointer!, _ out: UnsafeMutablePointer<CChar>!, _ capacity: Int64,
  _ size: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  withTrainer("trainer_explain", trainer) { object in
    let capacity = try requireInteger(capacity, "capacity", atLeast: 0)
    let text = Array(try object.explain().utf8CString)
    if let out {
      guard capacity >= text.count else {
        throw TaskMetError.shape("capacity must be >= \(text.count), got \(capacity)")
      }
      out.update(from: text, count: text.count)
    } else if capacity > 0 {
      throw TaskMetError.invalidArgument("out must not be NULL with capacity \(capacity)")
    }
    size?.pointee = Int64(text.count)
  }
}

// MARK: - Files

@_cdecl("taskmet_trainer_save") @implementation
public func taskmet_trainer_save(_ trainer: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> taskmet_status {
  withTrainer("trainer_save", trainer) { try $0.save(to: try requirePath(path)) }
}

@_cdecl("taskmet_trainer_load") @implementation
public func taskmet_trainer_load(_ trainer: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> taskmet_status {
  withTrainer("trainer_load", trainer) { object in
    let path = try requirePath(path)
    try SafeTensors.describing(path) { try object.load(from: path) }
  }
}

// MARK: - Callbacks

@_cdecl("taskmet_trainer_set_progress") @implementation
public func taskmet_trainer_set_progress(
  _ trainer: OpaquePointer!, _ fn: taskmet_progress_fn!, _ user: UnsafeMutableRawPointer!
) -> taskmet_status {
  withTrainer("trainer_set_progress", trainer) { object in
    object.callbacks.progress = fn.map { fn in
      { record in
        var view = cRecord(record)
        view.struct_size = MemoryLayout<taskmet_record>.stride
        let status = fn(user, &view)
        if Int(status) == TASKMET_CALLBACK_STOP { return false }
        try checkCallback(status, "the progress callback")
        return true
      }
    }
  }
}

@_cdecl("taskmet_trainer_set_log") @implementation
public func taskmet_trainer_set_log(
  _ trainer: OpaquePointer!, _ fn: taskmet_log_fn!, _ user: UnsafeMutableRawPointer!
) -> taskmet_status {
  withTrainer("trainer_set_log", trainer) { object in
    object.callbacks.log = fn.map { fn in { level, message in message.withCString { fn(user, level.rawValue, $0) } } }
  }
}

@_cdecl("taskmet_trainer_set_interrupt") @implementation
public func taskmet_trainer_set_interrupt(
  _ trainer: OpaquePointer!, _ fn: taskmet_interrupt_fn!, _ user: UnsafeMutableRawPointer!
) -> taskmet_status {
  withTrainer("trainer_set_interrupt", trainer) { object in
    object.callbacks.interruption = fn.map { fn in Interruption { fn(user) != 0 } }
  }
}
