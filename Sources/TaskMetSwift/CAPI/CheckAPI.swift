// taskmet_task_check_gradient, taskmet_hypergradient_check.

import CTaskMet

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
