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
    var loss = Double.nan
    let count = batch.rows * batch.outputs
    gradient?.update(repeating: .nan, count: count)
    let status = try batch.withView { function(user.pointer, $0, &loss, gradient) }
    try checkTaskCallback(status, "the task callback")
    guard loss.isFinite else {
      throw TaskMetError(code: .callback, message: "the task callback's loss must be finite, got \(loss)")
    }
    if let gradient { try checkCallbackOutput(count, gradient, "the task callback's gradient") }
    return loss
  }

  /// One call for each instance.
  override func losses(_ batch: TaskBatch, into losses: UnsafeMutablePointer<Double>) throws {
    for k in 0..<batch.instances.count { losses[k] = try evaluate(batch.instance(k), gradient: nil) }
  }
}

extension TaskBatch {
  /// The batch as callbacks see it.
  func withView<Result>(_ body: (UnsafePointer<taskmet_task_batch>) throws -> Result) throws -> Result {
    let context = try contextPointers(of: instances)
    var view = taskmet_task_batch()
    view.struct_size = MemoryLayout<taskmet_task_batch>.size
    view.instance_count = Int64(instances.count)
    view.instances = UnsafePointer(instances.base)
    view.offsets = UnsafePointer(offsets.base)
    view.rows = Int64(rows)
    view.outputs = Int64(outputs)
    view.features = Int64(features)
    view.predictions = UnsafePointer(predictions.base)
    view.targets = UnsafePointer(targets.base)
    view.inputs = inputs.map { UnsafePointer($0.base) }
    view.phase = phase.rawValue
    if let context {
      view.context = UnsafePointer(context.pointers.base)
      view.context_counts = UnsafePointer(context.counts.base)
    }
    return try withExtendedLifetime(context) { try withUnsafePointer(to: view, body) }
  }

  /// Where the context of each of some instances (ids) is, and its length.
  func contextPointers(of instances: Buffer<Int64>) throws -> InstancePointers? {
    guard let context else { return nil }
    let pointers = try Buffer<UnsafePointer<Double>?>(count: instances.count)
    let counts = try Buffer<Int64>(count: instances.count)
    for k in 0..<instances.count {
      let values = context[Int(instances[k])]
      pointers[k] = values.baseAddress
      counts[k] = Int64(values.count)
    }
    return InstancePointers(pointers: pointers, counts: counts)
  }
}

struct InstancePointers {
  let pointers: Buffer<UnsafePointer<Double>?>
  let counts: Buffer<Int64>
}
