// A task that the caller's program computes.

import CTaskMet

final class CallbackTask: Task {
  private let function: taskmet_task_fn
  private let user: CallbackUser

  init(_ function: @escaping taskmet_task_fn, _ user: CallbackUser) {
    self.function = function
    self.user = user
  }

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    var view = taskmet_task_batch()
    view.struct_size = MemoryLayout<taskmet_task_batch>.size
    view.instance_count = Int64(batch.instances.count)
    view.instances = UnsafePointer(batch.instances.base)
    view.offsets = UnsafePointer(batch.offsets.base)
    view.rows = Int64(batch.rows)
    view.outputs = Int64(batch.outputs)
    view.features = Int64(batch.features)
    view.predictions = UnsafePointer(batch.predictions.base)
    view.targets = UnsafePointer(batch.targets.base)
    view.inputs = UnsafePointer(batch.inputs.base)
    view.phase = batch.phase.rawValue
    var loss = Double.nan
    let count = batch.rows * batch.outputs
    gradient?.update(repeating: .nan, count: count)
    let status = function(user.pointer, &view, &loss, gradient)
    if Int(status) == TASKMET_CALLBACK_STOP { throw StopTraining(reason: .task) }
    try checkCallback(status, "the task callback")
    guard loss.isFinite else {
      throw TaskMetError(code: .callback, message: "the task callback's loss must be finite, got \(loss)")
    }
    if let gradient { try checkCallbackOutput(count, gradient, "the task callback's gradient") }
    return loss
  }
}
