// taskmet_hypergradient*, taskmet_solver_options_init.

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

func requireSolverOptions(
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
        c, rows: loss.dataset.rows, columns: loss.predictor.outputs, stride: c_stride, "c",
        in: loss.predictor.precision)
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
