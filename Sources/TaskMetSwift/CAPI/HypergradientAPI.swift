// taskmet_hypergradient*, taskmet_solver_options_init, taskmet_task_*: what is asked about a task.

import CTaskMet

private var defaultSolverOptions: taskmet_solver_options {
  var options = taskmet_solver_options()
  options.struct_size = MemoryLayout<taskmet_solver_options>.stride
  options.tolerance = SolverOptions().tolerance
  return options
}

@_cdecl("taskmet_solver_options_init") @implementation
public func taskmet_solver_options_init(_ options: UnsafeMutablePointer<taskmet_solver_options>!) {
  options?.pointee = defaultSolverOptions
}

private func requireSolverOptions(
  _ pointer: UnsafePointer<taskmet_solver_options>?, _ name: String = "options"
) throws -> SolverOptions {
  let given = try readStruct(pointer, defaults: defaultSolverOptions, minimum: 16, name)
  guard given.reserved == 0 else {
    throw TaskMetError.invalidArgument("\(name).reserved must be 0, got \(given.reserved)")
  }
  var options = SolverOptions()
  options.solver = try requireCase(given.solver, "\(name).solver")
  let iterations = try requireInteger(given.max_iterations, "\(name).max_iterations", atLeast: 0)
  if iterations > 0 { options.maximumIterations = iterations }
  options.tolerance = try requireReal(given.tolerance, "\(name).tolerance", atLeast: 0)
  options.ridge = try requireReal(given.ridge, "\(name).ridge", atLeast: 0)
  options.normalRidge = try requireReal(given.normal_ridge, "\(name).normal_ridge", atLeast: 0)
  let step = try requireReal(given.neumann_step, "\(name).neumann_step", atLeast: 0)
  if step > 0 { options.neumannStep = step }
  return options
}

private func write(_ report: SolverReport, to pointer: UnsafeMutablePointer<taskmet_solver_report>?) {
  var summary = taskmet_solver_report()
  summary.residual = report.residual
  summary.iterations = Int64(report.iterations)
  summary.operator_products = Int64(report.operatorProducts)
  summary.converged = report.converged ? 1 : 0
  summary.negative_curvature = report.negativeCurvature ? 1 : 0
  summary.solver = report.solver.rawValue
  summary.gradient_norm = report.gradientNorm
  summary.solution_norm = report.solutionNorm
  writeStruct(summary, to: pointer)
}

@_cdecl("taskmet_hypergradient") @implementation
public func taskmet_hypergradient(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ c: UnsafePointer<Double>!, _ c_stride: Int64, _ options: UnsafePointer<taskmet_solver_options>!,
  _ out: UnsafeMutablePointer<Double>!, _ count: Int64, _ report: UnsafeMutablePointer<taskmet_solver_report>!
) -> taskmet_status {
  call("hypergradient") {
    let arguments = try LossArguments(predictor, metric, dataset, rho)
    let options = try requireSolverOptions(options)
    let out = try requireOutput(out, count, arguments.metric.parameterCount, "out")
    if let report { try structSize(report, minimum: 16, "report") }
    try arguments.withLoss { loss in
      let c = try requireMatrix(
        c, rows: loss.dataset.rows, columns: loss.predictor.outputs, stride: c_stride, "c")
      let g = try Buffer<Double>(count: loss.parameterCount)
      let v = try Buffer<Double>(repeating: 0, count: loss.parameterCount)
      let result = try Buffer<Double>(count: loss.metric.parameterCount)
      try loss.linearize(loss.predictor.parameters)
      try loss.pullback(c, into: g.base)
      let summary = try loss.hypergradient(g: g.base, v: v.base, options, into: result.base)
      try deliver(result, to: out, "the hypergradient")
      write(summary, to: report)
    }
  }
}

@_cdecl("taskmet_hypergradient_from_gradient") @implementation
public func taskmet_hypergradient_from_gradient(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ g: UnsafePointer<Double>!, _ g_count: Int64, _ options: UnsafePointer<taskmet_solver_options>!,
  _ workspace: OpaquePointer!, _ v: UnsafeMutablePointer<Double>!, _ v_count: Int64,
  _ out: UnsafeMutablePointer<Double>!, _ count: Int64, _ report: UnsafeMutablePointer<taskmet_solver_report>!
) -> taskmet_status {
  call("hypergradient_from_gradient") {
    let arguments = try LossArguments(predictor, metric, dataset, rho, workspace: workspace)
    let parameterCount = arguments.predictor.parameterCount
    let options = try requireSolverOptions(options)
    let g = try requireVector(g, g_count, parameterCount, "g", "g_count")
    if v == nil { try requireCount(v_count, 0, "v_count") }
    let start = try v.map { try requireVector(UnsafePointer($0), v_count, parameterCount, "v", "v_count") }
    let out = try requireOutput(out, count, arguments.metric.parameterCount, "out")
    if let report { try structSize(report, minimum: 16, "report") }
    try arguments.withLoss { loss in
      let solution =
        try start.map { try Buffer(copying: $0, count: parameterCount) } ?? Buffer(repeating: 0, count: parameterCount)
      let result = try Buffer<Double>(count: loss.metric.parameterCount)
      try loss.linearize(loss.predictor.parameters)
      let summary = try loss.hypergradient(g: g, v: solution.base, options, into: result.base)
      try deliver(result, to: out, "the hypergradient")
      v?.update(from: solution.base, count: parameterCount)
      write(summary, to: report)
    }
  }
}

// MARK: - Tasks

@_cdecl("taskmet_task_create_callback") @implementation
public func taskmet_task_create_callback(
  _ fn: taskmet_task_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_callback") {
    guard let fn else { throw TaskMetError.invalidArgument("fn must not be NULL") }
    let out = try requirePointer(task, "task")
    out.pointee = try makeHandle(CallbackTask(fn, CallbackUser(user, free: free_user)))
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
      let value = try object.evaluate(try TaskBatch(data, predictions: view, phase: phase), gradient: room?.base)
      if let room, let gradient {
        try deliver(room, rows: rows, columns: outputs, to: gradient, stride: gradient_stride, "gradient")
      }
      lossOut.pointee = value
    }
  }
}

// MARK: - Checks

/// 0 stands for the default.
private func requireTolerance(_ value: Double, default standard: Double) throws -> Double {
  let value = try requireReal(value, "tolerance", atLeast: 0)
  return value == 0 ? standard : value
}

private func write(
  _ report: GradientCheckReport, outputs: Int, to pointer: UnsafeMutablePointer<taskmet_check_report>?
) {
  var summary = taskmet_check_report()
  summary.verdict = report.verdict.rawValue
  summary.worst_error = report.worstError
  summary.noise = report.noise
  summary.analytic = report.analytic
  summary.numeric = report.numeric
  summary.step = report.step
  summary.scale = report.scale
  summary.row = report.entry.map { Int64($0 / outputs) } ?? -1
  summary.output = report.entry.map { Int64($0 % outputs) } ?? -1
  summary.directions = Int64(report.directions)
  writeStruct(summary, to: pointer)
}

@_cdecl("taskmet_task_check_gradient") @implementation
public func taskmet_task_check_gradient(
  _ task: OpaquePointer!, _ dataset: OpaquePointer!, _ predictions: UnsafePointer<Double>!, _ predictions_stride: Int64,
  _ directions: Int64, _ seed: UInt64, _ tolerance: Double, _ worst: UnsafeMutablePointer<Double>!,
  _ report: UnsafeMutablePointer<taskmet_check_report>!
) -> taskmet_status {
  call("task_check_gradient") {
    let object: Task = try resolve(task, "task")
    let data: Dataset = try resolve(dataset, "dataset")
    let directions = try requireInteger(directions, "directions", atLeast: 1, atMost: 1_000_000)
    let tolerance = try requireTolerance(tolerance, default: 1e-5)
    let worst = try requirePointer(worst, "worst")
    if let report { try structSize(report, minimum: 16, "report") }
    try withAccess(reading: [object, data]) {
      let view = try requireMatrix(
        predictions, rows: data.rows, columns: data.targets, stride: predictions_stride, "predictions")
      let result = try checkTaskGradient(
        object, data, predictions: view, directions: directions, seed: seed, tolerance: tolerance)
      worst.pointee = result.worstError
      write(result, outputs: data.targets, to: report)
    }
  }
}

@_cdecl("taskmet_hypergradient_check") @implementation
public func taskmet_hypergradient_check(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ task: OpaquePointer!, _ inner_options: UnsafePointer<taskmet_inner_options>!,
  _ solver_options: UnsafePointer<taskmet_solver_options>!, _ directions: Int64, _ seed: UInt64, _ tolerance: Double,
  _ worst: UnsafeMutablePointer<Double>!, _ report: UnsafeMutablePointer<taskmet_check_report>!
) -> taskmet_status {
  call("hypergradient_check") {
    let arguments = try LossArguments(predictor, metric, dataset, rho)
    let object: Task = try resolve(task, "task")
    let inner = try requireInnerOptions(inner_options, "inner_options")
    let solver = try requireSolverOptions(solver_options, "solver_options")
    let directions = try requireInteger(directions, "directions", atLeast: 1, atMost: 1_000_000)
    let tolerance = try requireTolerance(tolerance, default: 1e-4)
    let worst = try requirePointer(worst, "worst")
    if let report { try structSize(report, minimum: 16, "report") }
    try withAccess(reading: [arguments.predictor, arguments.metric, arguments.dataset, object]) {
      let result = try checkHypergradient(
        arguments.predictor, arguments.metric, arguments.dataset, rho: arguments.rho, object, inner: inner,
        solver: solver, directions: directions, seed: seed, tolerance: tolerance)
      worst.pointee = result.worstError
      write(result, outputs: 1, to: report)
    }
  }
}
