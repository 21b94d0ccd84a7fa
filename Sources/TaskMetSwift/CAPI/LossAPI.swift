// taskmet_loss_*, taskmet_inner_options_init.

import CTaskMet

/// The objects that a loss is made of.
struct LossArguments {
  let predictor: Predictor
  let metric: Metric
  let dataset: Dataset
  let rho: Double
  let workspace: Workspace?

  init(
    _ predictor: OpaquePointer?, _ metric: OpaquePointer?, _ dataset: OpaquePointer?, _ rho: Double,
    workspace: OpaquePointer? = nil
  ) throws {
    self.predictor = try resolve(predictor, "predictor")
    self.metric = try resolve(metric, "metric")
    self.dataset = try resolve(dataset, "dataset")
    self.rho = try requireReal(rho, "rho", atLeast: 0)
    self.workspace = try workspace.map { try resolve($0, "workspace") }
    try MetricisedLoss.checkShapes(self.predictor, self.metric, self.dataset)
    try MetricisedLoss.checkPrecisions(self.predictor, self.metric, self.dataset)
  }

  /// Runs `body` with the loss, while all of it may be read (`writing`: while the predictor is to be written).
  func withLoss(writing: Bool = false, _ body: (MetricisedLoss) throws -> Void) throws {
    try withAccess(
      reading: [writing ? nil : predictor, metric, dataset], writing: [workspace, writing ? predictor : nil]
    ) {
      try body(try MetricisedLoss(predictor, metric, dataset, rho: rho, workspace ?? Workspace()))
    }
  }
}

private func deliver(_ value: Double, to out: UnsafeMutablePointer<Double>) throws {
  guard value.isFinite else {
    throw TaskMetError.numerical("the prediction loss is \(value); standardise the data or scale the parameters down")
  }
  out.pointee = value
}

@_cdecl("taskmet_loss_value") @implementation
public func taskmet_loss_value(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ value: UnsafeMutablePointer<Double>!
) -> taskmet_status {
  call("loss_value") {
    let arguments = try LossArguments(predictor, metric, dataset, rho)
    let out = try requirePointer(value, "value")
    try arguments.withLoss { loss in try deliver(try loss.evaluate(loss.predictor.parameters), to: out) }
  }
}

@_cdecl("taskmet_loss_gradient") @implementation
public func taskmet_loss_gradient(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("loss_gradient") {
    let arguments = try LossArguments(predictor, metric, dataset, rho)
    let out = try requireOutput(out, count, arguments.predictor.parameterCount, "out")
    try arguments.withLoss { loss in
      let gradient = loss.memory.result
      _ = try loss.evaluate(loss.predictor.parameters, gradient: gradient.base)
      try deliver(gradient, to: out, "the gradient")
    }
  }
}

@_cdecl("taskmet_loss_value_gradient") @implementation
public func taskmet_loss_value_gradient(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ workspace: OpaquePointer!, _ value: UnsafeMutablePointer<Double>!, _ out: UnsafeMutablePointer<Double>!,
  _ count: Int64
) -> taskmet_status {
  call("loss_value_gradient") {
    let arguments = try LossArguments(predictor, metric, dataset, rho, workspace: workspace)
    let valueOut = try requirePointer(value, "value")
    let out = try requireOutput(out, count, arguments.predictor.parameterCount, "out")
    try arguments.withLoss { loss in
      let gradient = loss.memory.result
      let result = try loss.evaluate(loss.predictor.parameters, gradient: gradient.base)
      guard result.isFinite else { return try deliver(result, to: valueOut) }
      try deliver(gradient, to: out, "the gradient")
      try deliver(result, to: valueOut)
    }
  }
}

private func hessianProduct(
  _ name: StaticString, _ predictor: OpaquePointer?, _ metric: OpaquePointer?, _ dataset: OpaquePointer?, _ rho: Double,
  _ w: UnsafePointer<Double>?, _ wCount: Int64, _ out: UnsafeMutablePointer<Double>?, _ count: Int64, gaussNewton: Bool
) -> taskmet_status {
  call(name) {
    let arguments = try LossArguments(predictor, metric, dataset, rho)
    let w = try requireVector(w, wCount, arguments.predictor.parameterCount, "w", "w_count")
    let out = try requireOutput(out, count, arguments.predictor.parameterCount, "out")
    try arguments.withLoss { loss in
      let product = loss.memory.result
      try loss.linearize(loss.predictor.parameters)
      try loss.hessianProduct(w, into: product.base, gaussNewton: gaussNewton)
      try deliver(product, to: out, "the product")
    }
  }
}

@_cdecl("taskmet_loss_hvp") @implementation
public func taskmet_loss_hvp(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ w: UnsafePointer<Double>!, _ w_count: Int64, _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  hessianProduct("loss_hvp", predictor, metric, dataset, rho, w, w_count, out, count, gaussNewton: false)
}

@_cdecl("taskmet_loss_gnvp") @implementation
public func taskmet_loss_gnvp(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ w: UnsafePointer<Double>!, _ w_count: Int64, _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  hessianProduct("loss_gnvp", predictor, metric, dataset, rho, w, w_count, out, count, gaussNewton: true)
}

// MARK: - The inner problem

private var defaultInnerOptions: taskmet_inner_options {
  var options = taskmet_inner_options()
  options.struct_size = MemoryLayout<taskmet_inner_options>.stride
  options.solver = taskmet_inner_solver(TASKMET_INNER_LBFGS)
  options.gradient_tolerance = InnerOptions().gradientTolerance
  return options
}

@_cdecl("taskmet_inner_options_init") @implementation
public func taskmet_inner_options_init(_ options: UnsafeMutablePointer<taskmet_inner_options>!) {
  options?.pointee = defaultInnerOptions
}

func requireInnerOptions(
  _ pointer: UnsafePointer<taskmet_inner_options>?, _ name: String = "options"
) throws -> InnerOptions {
  let given = try readStruct(pointer, defaults: defaultInnerOptions, minimum: 16, name)
  guard given.reserved == 0 else {
    throw TaskMetError.invalidArgument("\(name).reserved must be 0, got \(given.reserved)")
  }
  var options = InnerOptions()
  options.solver = try requireCase(given.solver, "\(name).solver")
  let iterations = try requireInteger(given.max_iterations, "\(name).max_iterations", atLeast: 0)
  if iterations > 0 { options.maximumIterations = iterations }
  options.gradientTolerance = try requireReal(given.gradient_tolerance, "\(name).gradient_tolerance", atLeast: 0)
  let rate = try requireReal(given.learning_rate, "\(name).learning_rate", atLeast: 0)
  if rate > 0 { options.learningRate = rate }
  options.momentum = try requireDecay(given.momentum, "\(name).momentum")
  let memory = try requireInteger(given.memory, "\(name).memory", atLeast: 0, atMost: 10_000)
  if memory > 0 { options.memory = memory }
  return options
}

@_cdecl("taskmet_loss_minimize") @implementation
public func taskmet_loss_minimize(
  _ predictor: OpaquePointer!, _ metric: OpaquePointer!, _ dataset: OpaquePointer!, _ rho: Double,
  _ options: UnsafePointer<taskmet_inner_options>!, _ workspace: OpaquePointer!,
  _ report: UnsafeMutablePointer<taskmet_inner_report>!
) -> taskmet_status {
  call("loss_minimize") {
    let arguments = try LossArguments(predictor, metric, dataset, rho, workspace: workspace)
    let options = try requireInnerOptions(options)
    if let report { try structSize(report, minimum: 16, "report") }
    try arguments.withLoss(writing: true) { loss in
      let theta = try Buffer(copying: loss.predictor.parameters, count: loss.parameterCount)
      let result = try loss.minimize(theta.base, options)
      try loss.predictor.setParameters(theta.base)
      var summary = taskmet_inner_report()
      summary.value = result.value
      summary.gradient_norm = result.gradientNorm
      summary.iterations = Int64(result.iterations)
      summary.evaluations = Int64(result.evaluations)
      summary.converged = result.converged ? 1 : 0
      writeStruct(summary, to: report)
    }
  }
}
