// taskmet_metric_*.

import CTaskMet

private func requireRank(_ rank: Int64, _ structure: MetricStructure, _ outputs: Int) throws -> Int {
  structure == .lowrank ? try requireInteger(rank, "rank", atLeast: 1, atMost: Int64(outputs)) : 1
}

@_cdecl("taskmet_metric_create_constant") @implementation
public func taskmet_metric_create_constant(
  _ outputs: Int64, _ structure: taskmet_structure, _ rank: Int64, _ seed: UInt64,
  _ metric: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("metric_create_constant") {
    let out = try requirePointer(metric, "metric")
    let outputs = try requireWidth(outputs, "outputs")
    let structure: MetricStructure = try requireCase(structure, "structure")
    out.pointee = try makeHandle(
      try Metric(
        inputs: 0, outputs: outputs, structure: structure, rank: try requireRank(rank, structure, outputs),
        hidden: nil, activation: .identity, seed: seed))
  }
}

@_cdecl("taskmet_metric_create_conditional") @implementation
public func taskmet_metric_create_conditional(
  _ inputs: Int64, _ outputs: Int64, _ structure: taskmet_structure, _ rank: Int64, _ hidden_count: Int64,
  _ hidden: UnsafePointer<Int64>!, _ activation: taskmet_activation, _ seed: UInt64,
  _ metric: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("metric_create_conditional") {
    let out = try requirePointer(metric, "metric")
    let inputs = try requireWidth(inputs, "inputs")
    let outputs = try requireWidth(outputs, "outputs")
    let structure: MetricStructure = try requireCase(structure, "structure")
    out.pointee = try makeHandle(
      try Metric(
        inputs: inputs, outputs: outputs, structure: structure, rank: try requireRank(rank, structure, outputs),
        hidden: try requireHidden(hidden_count, hidden), activation: try requireCase(activation, "activation"),
        seed: seed))
  }
}

@_cdecl("taskmet_metric_copy") @implementation
public func taskmet_metric_copy(_ metric: OpaquePointer!, _ copy: UnsafeMutablePointer<OpaquePointer?>!)
  -> taskmet_status
{
  call("metric_copy") {
    let object: Metric = try resolve(metric, "metric")
    let out = try requirePointer(copy, "copy")
    out.pointee = try makeHandle(try withAccess(reading: [object]) { try Metric(copying: object) })
  }
}

@_cdecl("taskmet_metric_convert") @implementation
public func taskmet_metric_convert(
  _ metric: OpaquePointer!, _ precision: taskmet_precision, _ converted: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("metric_convert") {
    let object: Metric = try resolve(metric, "metric")
    let precision: Precision = try requireCase(precision, "precision")
    let out = try requirePointer(converted, "converted")
    out.pointee = try makeHandle(try withAccess(reading: [object]) { try Metric(copying: object, in: precision) })
  }
}

@_cdecl("taskmet_metric_precision") @implementation
public func taskmet_metric_precision(
  _ metric: OpaquePointer!, _ precision: UnsafeMutablePointer<taskmet_precision>!
) -> taskmet_status {
  call("metric_precision") {
    let object: Metric = try resolve(metric, "metric")
    try requirePointer(precision, "precision").pointee = object.precision.rawValue
  }
}

@_cdecl("taskmet_metric_destroy") @implementation
public func taskmet_metric_destroy(_ metric: OpaquePointer!) { destroyHandle(metric, as: Metric.self) }

@_cdecl("taskmet_metric_shape") @implementation
public func taskmet_metric_shape(
  _ metric: OpaquePointer!, _ inputs: UnsafeMutablePointer<Int64>!, _ outputs: UnsafeMutablePointer<Int64>!,
  _ parameter_count: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  call("metric_shape") {
    let object: Metric = try resolve(metric, "metric")
    inputs?.pointee = Int64(object.inputs)
    outputs?.pointee = Int64(object.outputs)
    parameter_count?.pointee = Int64(object.parameterCount)
  }
}

@_cdecl("taskmet_metric_parameter_count") @implementation
public func taskmet_metric_parameter_count(
  _ metric: OpaquePointer!, _ count: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  call("metric_parameter_count") {
    let object: Metric = try resolve(metric, "metric")
    try requirePointer(count, "count").pointee = Int64(object.parameterCount)
  }
}

@_cdecl("taskmet_metric_get_parameters") @implementation
public func taskmet_metric_get_parameters(
  _ metric: OpaquePointer!, _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("metric_get_parameters") {
    let object: Metric = try resolve(metric, "metric")
    let out = try requireOutput(out, count, object.parameterCount, "out")
    try withAccess(reading: [object]) { out.update(from: object.parameters, count: object.parameterCount) }
  }
}

@_cdecl("taskmet_metric_set_parameters") @implementation
public func taskmet_metric_set_parameters(
  _ metric: OpaquePointer!, _ values: UnsafePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("metric_set_parameters") {
    let object: Metric = try resolve(metric, "metric")
    let values = try requireVector(values, count, object.parameterCount, "values", "count", in: object.precision)
    try withAccess(writing: [object]) { try object.setParameters(values) }
  }
}

@_cdecl("taskmet_metric_set_normalization") @implementation
public func taskmet_metric_set_normalization(
  _ metric: OpaquePointer!, _ normalization: taskmet_normalization
) -> taskmet_status {
  call("metric_set_normalization") {
    let object: Metric = try resolve(metric, "metric")
    let normalization: MetricNormalization = try requireCase(normalization, "normalization")
    try withAccess(writing: [object]) { try object.setNormalization(normalization) }
  }
}

@_cdecl("taskmet_metric_set_floor") @implementation
public func taskmet_metric_set_floor(_ metric: OpaquePointer!, _ floor: Double) -> taskmet_status {
  call("metric_set_floor") {
    let object: Metric = try resolve(metric, "metric")
    let floor = try requireReal(floor, "floor", atLeast: 0)
    try withAccess(writing: [object]) { object.setFloor(floor) }
  }
}

@_cdecl("taskmet_metric_set_standardization") @implementation
public func taskmet_metric_set_standardization(
  _ metric: OpaquePointer!, _ mean: UnsafePointer<Double>!, _ scale: UnsafePointer<Double>!, _ inputs: Int64
) -> taskmet_status {
  call("metric_set_standardization") {
    let object: Metric = try resolve(metric, "metric")
    guard object.network != nil else {
      throw TaskMetError.unsupported("metric: a constant metric has no features to standardise")
    }
    let value = try requireStandardization(mean, scale, inputs, object.inputs, ("mean", "scale", "inputs"))
    try withAccess(writing: [object]) { object.setStandardization(value) }
  }
}

/// The rows that a metric is asked about: nil for a constant one, whose x is not looked at.
private func requireRows(
  _ object: Metric, _ rows: Int64, _ x: UnsafePointer<Double>?, _ stride: Int64
) throws -> (rows: Int, x: BlockedMatrix?) {
  let rows = try requireRowCount(rows)
  if object.network == nil { return (rows, nil) }
  return (rows, BlockedMatrix(try requireMatrix(x, rows: rows, columns: object.inputs, stride: stride, "x")))
}

@_cdecl("taskmet_metric_update_normalization") @implementation
public func taskmet_metric_update_normalization(
  _ metric: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64
) -> taskmet_status {
  call("metric_update_normalization") {
    let object: Metric = try resolve(metric, "metric")
    let data = try requireRows(object, rows, x, x_stride)
    try withAccess(writing: [object]) { try object.updateNormalization(rows: data.rows, data.x) }
  }
}

@_cdecl("taskmet_metric_get_normalization_scale") @implementation
public func taskmet_metric_get_normalization_scale(
  _ metric: OpaquePointer!, _ scale: UnsafeMutablePointer<Double>!
) -> taskmet_status {
  call("metric_get_normalization_scale") {
    let object: Metric = try resolve(metric, "metric")
    let out = try requirePointer(scale, "scale")
    try withAccess(reading: [object]) { out.pointee = object.normalizationScale }
  }
}

/// rows n n, as a count that callers hand in.
private func squareCount(_ object: Metric, _ rows: Int) throws -> Int {
  try checkedProduct(rows, object.outputs, object.outputs)
}

@_cdecl("taskmet_metric_evaluate") @implementation
public func taskmet_metric_evaluate(
  _ metric: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64,
  _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("metric_evaluate") {
    let object: Metric = try resolve(metric, "metric")
    let data = try requireRows(object, rows, x, x_stride)
    let expected = try squareCount(object, data.rows)
    let out = try requireOutput(out, count, expected, "out")
    let result = try Buffer<Double>(count: expected)
    try withAccess(reading: [object]) { try object.evaluate(rows: data.rows, data.x, into: result.base) }
    try deliver(result, to: out, "Lambda")
  }
}

@_cdecl("taskmet_metric_vjp") @implementation
public func taskmet_metric_vjp(
  _ metric: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64,
  _ cotangent: UnsafePointer<Double>!, _ cotangent_count: Int64, _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("metric_vjp") {
    let object: Metric = try resolve(metric, "metric")
    let data = try requireRows(object, rows, x, x_stride)
    let cotangent = try requireVector(
      cotangent, cotangent_count, try squareCount(object, data.rows), "cotangent", "cotangent_count")
    let out = try requireOutput(out, count, object.parameterCount, "out")
    let result = try Buffer<Double>(count: object.parameterCount)
    try withAccess(reading: [object]) {
      try object.pullback(rows: data.rows, data.x, .dense(cotangent), into: result.base)
    }
    try deliver(result, to: out, "the product")
  }
}

@_cdecl("taskmet_metric_regularizer") @implementation
public func taskmet_metric_regularizer(
  _ metric: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64, _ b1: Double, _ b2: Double,
  _ value: UnsafeMutablePointer<Double>!, _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("metric_regularizer") {
    let object: Metric = try resolve(metric, "metric")
    let data = try requireRows(object, rows, x, x_stride)
    let b1 = try requireReal(b1, "b1", atLeast: 0)
    let b2 = try requireReal(b2, "b2", atLeast: 0)
    try requireCount(count, out == nil ? 0 : object.parameterCount, "count")
    let gradient = out == nil ? nil : try Buffer<Double>(count: object.parameterCount)
    let result = try withAccess(reading: [object]) {
      try object.regularizer(rows: data.rows, data.x, l1: b1, identity: b2, gradient: gradient?.base)
    }
    guard result.isFinite else { throw TaskMetError.numerical("the regularisation is \(result)") }
    if let gradient, let out { try deliver(gradient, to: out, "the gradient") }
    value?.pointee = result
  }
}

@_cdecl("taskmet_metric_save") @implementation
public func taskmet_metric_save(_ metric: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> taskmet_status {
  call("metric_save") {
    let object: Metric = try resolve(metric, "metric")
    let path = try requirePath(path)
    try withAccess(reading: [object]) { try object.save(to: path) }
  }
}

@_cdecl("taskmet_metric_load") @implementation
public func taskmet_metric_load(
  _ path: UnsafePointer<CChar>!, _ metric: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("metric_load") {
    let out = try requirePointer(metric, "metric")
    let path = try requirePath(path)
    out.pointee = try makeHandle(try SafeTensors.describing(path) { try Metric.load(from: path) })
  }
}
