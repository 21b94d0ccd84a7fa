// taskmet_task_create_lodl, taskmet_task_lodl_fit_quality, taskmet_lodl_options_init.

import CTaskMet

private var defaultLODLOptions: taskmet_lodl_options {
  var options = taskmet_lodl_options()
  options.struct_size = MemoryLayout<taskmet_lodl_options>.stride
  return options
}

@_cdecl("taskmet_lodl_options_init") @implementation
public func taskmet_lodl_options_init(_ options: UnsafeMutablePointer<taskmet_lodl_options>!) {
  options?.pointee = defaultLODLOptions
}

private func requireLODLOptions(
  _ pointer: UnsafePointer<taskmet_lodl_options>?
) throws -> (options: LODLOptions, threads: Int) {
  let given = try readStruct(pointer, defaults: defaultLODLOptions, minimum: 16, "options")
  var options = LODLOptions()
  options.form = try requireCase(given.loss, "options.loss")
  options.sampling = try requireCase(given.sampling, "options.sampling")
  func count(_ value: Int64, _ name: String, atLeast minimum: Int64 = 1, or standard: Int) throws -> Int {
    if value == 0 { return standard }
    return try requireInteger(value, "options.\(name)", atLeast: minimum)
  }
  options.samples = try count(given.samples, "samples", atLeast: 2, or: options.samples)
  options.rank = try count(given.rank, "rank", or: options.rank)
  options.iterations = try count(given.iterations, "iterations", or: options.iterations)
  options.patience = try count(given.patience, "patience", or: options.patience)
  options.deviation = try requireReal(given.deviation, "options.deviation", atLeast: 0)
  let rate = try requireReal(given.learning_rate, "options.learning_rate", atLeast: 0)
  if rate > 0 { options.learningRate = rate }
  let share = try requireDecay(given.held_out_share, "options.held_out_share")
  if share > 0 { options.heldOutShare = share }
  options.seed = given.seed
  let threads = try requireInteger(given.threads, "options.threads", atLeast: 0, atMost: 256)
  return (options, max(threads, 1))
}

@_cdecl("taskmet_task_create_lodl") @implementation
public func taskmet_task_create_lodl(
  _ task: OpaquePointer!, _ dataset: OpaquePointer!, _ options: UnsafePointer<taskmet_lodl_options>!,
  _ lodl: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_lodl") {
    let object: Task = try resolve(task, "task")
    let data: Dataset = try resolve(dataset, "dataset")
    let (options, threads) = try requireLODLOptions(options)
    let out = try requirePointer(lodl, "lodl")
    out.pointee = try withAccess(reading: [object, data]) {
      try makeHandle(try LODLTask(object, data, options, threads: threads))
    }
  }
}

@_cdecl("taskmet_task_lodl_fit_quality") @implementation
public func taskmet_task_lodl_fit_quality(_ lodl: OpaquePointer!, _ r_squared: UnsafeMutablePointer<Double>!)
  -> taskmet_status
{
  call("task_lodl_fit_quality") {
    let object: LODLTask = try resolve(lodl, "lodl")
    try requirePointer(r_squared, "r_squared").pointee = object.rSquared
  }
}
