// taskmet_predictor_*.

import CTaskMet

@_cdecl("taskmet_predictor_create_linear") @implementation
public func taskmet_predictor_create_linear(
  _ inputs: Int64, _ outputs: Int64, _ bias: Int32, _ predictor: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("predictor_create_linear") {
    let out = try requirePointer(predictor, "predictor")
    out.pointee = try makeHandle(
      try NetworkPredictor(
        linearInputs: try requireWidth(inputs, "inputs"), outputs: try requireWidth(outputs, "outputs"),
        bias: try requireFlag(bias, "bias")))
  }
}

@_cdecl("taskmet_predictor_create_mlp") @implementation
public func taskmet_predictor_create_mlp(
  _ inputs: Int64, _ outputs: Int64, _ hidden_count: Int64, _ hidden: UnsafePointer<Int64>!,
  _ activation: taskmet_activation, _ output_activation: taskmet_activation, _ seed: UInt64,
  _ predictor: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("predictor_create_mlp") {
    let out = try requirePointer(predictor, "predictor")
    let inputs = try requireWidth(inputs, "inputs")
    let outputs = try requireWidth(outputs, "outputs")
    out.pointee = try makeHandle(
      try NetworkPredictor(
        inputs: inputs, hidden: try requireHidden(hidden_count, hidden), outputs: outputs,
        activation: try requireCase(activation, "activation"),
        outputActivation: try requireCase(output_activation, "output_activation"), seed: seed))
  }
}

@_cdecl("taskmet_predictor_create_callback") @implementation
public func taskmet_predictor_create_callback(
  _ inputs: Int64, _ outputs: Int64, _ theta: UnsafePointer<Double>!, _ parameter_count: Int64,
  _ callbacks: UnsafePointer<taskmet_predictor_callbacks>!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ predictor: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("predictor_create_callback") {
    let out = try requirePointer(predictor, "predictor")
    let inputs = try requireWidth(inputs, "inputs")
    let outputs = try requireWidth(outputs, "outputs")
    let count = try requireWidth(parameter_count, "parameter_count")
    let parameters =
      theta == nil
      ? try Buffer(repeating: 0, count: count)
      : try Buffer(copying: try requireVector(theta, parameter_count, count, "theta", "parameter_count"), count: count)
    // Every version has forward, vjp and jvp.
    let functions = try readStruct(
      try requirePointer(callbacks, "callbacks"), defaults: taskmet_predictor_callbacks(), minimum: 32, "callbacks")
    for (missing, name) in [
      (functions.forward == nil, "forward"), (functions.vjp == nil, "vjp"), (functions.jvp == nil, "jvp"),
    ] where missing {
      throw TaskMetError.invalidArgument("callbacks.\(name) must not be NULL")
    }
    let owner = CallbackUser(user, free: free_user)
    out.pointee = try makeHandle(
      CallbackPredictor(
        inputs: inputs, outputs: outputs, parameters: parameters, callbacks: functions, user: owner), owning: owner)
  }
}

@_cdecl("taskmet_predictor_copy") @implementation
public func taskmet_predictor_copy(
  _ predictor: OpaquePointer!, _ copy: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("predictor_copy") {
    let object: Predictor = try resolve(predictor, "predictor")
    let out = try requirePointer(copy, "copy")
    out.pointee = try makeHandle(try withAccess(reading: [object]) { try object.copy() })
  }
}

@_cdecl("taskmet_predictor_convert") @implementation
public func taskmet_predictor_convert(
  _ predictor: OpaquePointer!, _ precision: taskmet_precision, _ converted: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("predictor_convert") {
    let object: Predictor = try resolve(predictor, "predictor")
    let precision: Precision = try requireCase(precision, "precision")
    let out = try requirePointer(converted, "converted")
    out.pointee = try makeHandle(try withAccess(reading: [object]) { try object.converted(to: precision) })
  }
}

@_cdecl("taskmet_predictor_precision") @implementation
public func taskmet_predictor_precision(
  _ predictor: OpaquePointer!, _ precision: UnsafeMutablePointer<taskmet_precision>!
) -> taskmet_status {
  call("predictor_precision") {
    let object: Predictor = try resolve(predictor, "predictor")
    try requirePointer(precision, "precision").pointee = object.precision.rawValue
  }
}

@_cdecl("taskmet_predictor_destroy") @implementation
public func taskmet_predictor_destroy(_ predictor: OpaquePointer!) { destroyHandle(predictor, as: Predictor.self) }

@_cdecl("taskmet_predictor_shape") @implementation
public func taskmet_predictor_shape(
  _ predictor: OpaquePointer!, _ inputs: UnsafeMutablePointer<Int64>!, _ outputs: UnsafeMutablePointer<Int64>!,
  _ parameter_count: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  call("predictor_shape") {
    let object: Predictor = try resolve(predictor, "predictor")
    inputs?.pointee = Int64(object.inputs)
    outputs?.pointee = Int64(object.outputs)
    parameter_count?.pointee = Int64(object.parameterCount)
  }
}

@_cdecl("taskmet_predictor_parameter_count") @implementation
public func taskmet_predictor_parameter_count(
  _ predictor: OpaquePointer!, _ count: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  call("predictor_parameter_count") {
    let object: Predictor = try resolve(predictor, "predictor")
    try requirePointer(count, "count").pointee = Int64(object.parameterCount)
  }
}

@_cdecl("taskmet_predictor_get_parameters") @implementation
public func taskmet_predictor_get_parameters(
  _ predictor: OpaquePointer!, _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("predictor_get_parameters") {
    let object: Predictor = try resolve(predictor, "predictor")
    let out = try requireOutput(out, count, object.parameterCount, "out")
    try withAccess(reading: [object]) { out.update(from: object.parameters, count: object.parameterCount) }
  }
}

@_cdecl("taskmet_predictor_set_parameters") @implementation
public func taskmet_predictor_set_parameters(
  _ predictor: OpaquePointer!, _ values: UnsafePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("predictor_set_parameters") {
    let object: Predictor = try resolve(predictor, "predictor")
    let values = try requireVector(values, count, object.parameterCount, "values", "count", in: object.precision)
    try withAccess(writing: [object]) { try object.setParameters(values) }
  }
}

@_cdecl("taskmet_predictor_set_penalize_bias") @implementation
public func taskmet_predictor_set_penalize_bias(_ predictor: OpaquePointer!, _ penalize_bias: Int32) -> taskmet_status {
  call("predictor_set_penalize_bias") {
    let object: Predictor = try resolve(predictor, "predictor")
    let flag = try requireFlag(penalize_bias, "penalize_bias")
    try withAccess(writing: [object]) { try object.setPenalizesBias(flag) }
  }
}

/// The built-in predictor behind a handle.
private func resolveNetwork(_ predictor: OpaquePointer?, _ what: String) throws -> NetworkPredictor {
  let object: Predictor = try resolve(predictor, "predictor")
  guard let network = object as? NetworkPredictor else {
    throw TaskMetError.unsupported("predictor: a callback predictor cannot be \(what)")
  }
  return network
}

@_cdecl("taskmet_predictor_set_standardization") @implementation
public func taskmet_predictor_set_standardization(
  _ predictor: OpaquePointer!, _ input_mean: UnsafePointer<Double>!, _ input_scale: UnsafePointer<Double>!,
  _ inputs: Int64, _ target_mean: UnsafePointer<Double>!, _ target_scale: UnsafePointer<Double>!, _ targets: Int64
) -> taskmet_status {
  call("predictor_set_standardization") {
    let object = try resolveNetwork(predictor, "standardised")
    let input = try requireStandardization(
      input_mean, input_scale, inputs, object.inputs, ("input_mean", "input_scale", "inputs"))
    let target = try requireStandardization(
      target_mean, target_scale, targets, object.outputs, ("target_mean", "target_scale", "targets"))
    try withAccess(writing: [object]) { object.setStandardization(inputs: input, targets: target) }
  }
}

@_cdecl("taskmet_predictor_fit_standardization") @implementation
public func taskmet_predictor_fit_standardization(
  _ predictor: OpaquePointer!, _ dataset: OpaquePointer!, _ what: Int32
) -> taskmet_status {
  call("predictor_fit_standardization") {
    let object = try resolveNetwork(predictor, "standardised")
    let data: Dataset = try resolve(dataset, "dataset")
    guard (1...3).contains(what) else { throw TaskMetError.invalidArgument("what must be 1 to 3, got \(what)") }
    guard data.features == object.inputs, data.targets == object.outputs else {
      throw TaskMetError.shape(
        "dataset: predictor is \(object.inputs) -> \(object.outputs), dataset is \(data.features) -> \(data.targets)")
    }
    try withAccess(reading: [data], writing: [object]) {
      let inputs = Int(what) & TASKMET_STANDARDIZE_INPUTS != 0
      let targets = Int(what) & TASKMET_STANDARDIZE_TARGETS != 0
      object.setStandardization(
        inputs: inputs ? try Standardization(measuring: data.featureRows) : object.inputStandardization,
        targets: targets ? try Standardization(measuring: data.targetRows) : object.targetStandardization)
    }
  }
}

@_cdecl("taskmet_predictor_predict") @implementation
public func taskmet_predictor_predict(
  _ predictor: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64,
  _ out: UnsafeMutablePointer<Double>!, _ out_stride: Int64
) -> taskmet_status {
  call("predictor_predict") {
    let object: Predictor = try resolve(predictor, "predictor")
    let rows = try requireRowCount(rows)
    let out = try requireOutput(out, rows: rows, columns: object.outputs, stride: out_stride, "out")
    let x = try requireMatrix(
      x, rows: rows, columns: object.inputs, stride: x_stride, "x",
      in: object.precision)
    let result = try Buffer<Double>(count: try checkedProduct(rows, object.outputs))
    try withAccess(reading: [object]) {
      try object.predict(object.parameters, BlockedMatrix(x), into: result.base, stride: object.outputs)
    }
    try deliver(result, rows: rows, columns: object.outputs, to: out, stride: out_stride, "the prediction")
  }
}

@_cdecl("taskmet_predictor_vjp") @implementation
public func taskmet_predictor_vjp(
  _ predictor: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64,
  _ c: UnsafePointer<Double>!, _ c_stride: Int64, _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("predictor_vjp") {
    let object: Predictor = try resolve(predictor, "predictor")
    let rows = try requireRowCount(rows)
    let out = try requireOutput(out, count, object.parameterCount, "out")
    let x = try requireMatrix(
      x, rows: rows, columns: object.inputs, stride: x_stride, "x",
      in: object.precision)
    let c = try requireMatrix(
      c, rows: rows, columns: object.outputs, stride: c_stride, "c",
      in: object.precision)
    let result = try Buffer<Double>(count: object.parameterCount)
    try withAccess(reading: [object]) { try object.pullback(object.parameters, BlockedMatrix(x), c, into: result.base) }
    try deliver(result, to: out, "the product")
  }
}

@_cdecl("taskmet_predictor_jvp") @implementation
public func taskmet_predictor_jvp(
  _ predictor: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!, _ x_stride: Int64,
  _ v: UnsafePointer<Double>!, _ count: Int64, _ out: UnsafeMutablePointer<Double>!, _ out_stride: Int64
) -> taskmet_status {
  call("predictor_jvp") {
    let object: Predictor = try resolve(predictor, "predictor")
    let rows = try requireRowCount(rows)
    let out = try requireOutput(out, rows: rows, columns: object.outputs, stride: out_stride, "out")
    let x = try requireMatrix(
      x, rows: rows, columns: object.inputs, stride: x_stride, "x",
      in: object.precision)
    let v = try requireVector(v, count, object.parameterCount, "v", "count", in: object.precision)
    let result = try Buffer<Double>(count: try checkedProduct(rows, object.outputs))
    try withAccess(reading: [object]) {
      try object.pushforward(object.parameters, BlockedMatrix(x), v, into: result.base, stride: object.outputs)
    }
    try deliver(result, rows: rows, columns: object.outputs, to: out, stride: out_stride, "the product")
  }
}

@_cdecl("taskmet_predictor_save") @implementation
public func taskmet_predictor_save(_ predictor: OpaquePointer!, _ path: UnsafePointer<CChar>!) -> taskmet_status {
  call("predictor_save") {
    let object = try resolveNetwork(predictor, "saved")
    let path = try requirePath(path)
    try withAccess(reading: [object]) { try object.save(to: path) }
  }
}

@_cdecl("taskmet_predictor_load") @implementation
public func taskmet_predictor_load(
  _ path: UnsafePointer<CChar>!, _ predictor: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("predictor_load") {
    let out = try requirePointer(predictor, "predictor")
    let path = try requirePath(path)
    out.pointee = try makeHandle(try SafeTensors.describing(path) { try NetworkPredictor.load(from: path) })
  }
}
