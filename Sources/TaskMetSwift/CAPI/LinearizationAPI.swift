// taskmet_linearization_*.

import CTaskMet

@_cdecl("taskmet_linearization_create") @implementation
public func taskmet_linearization_create(_ linearization: UnsafeMutablePointer<OpaquePointer?>!) -> taskmet_status {
  call("linearization_create") {
    try requirePointer(linearization, "linearization").pointee = try makeHandle(Linearization())
  }
}

@_cdecl("taskmet_linearization_destroy") @implementation
public func taskmet_linearization_destroy(_ linearization: OpaquePointer!) {
  destroyHandle(linearization, as: Linearization.self)
}

@_cdecl("taskmet_linearization_update") @implementation
public func taskmet_linearization_update(
  _ linearization: OpaquePointer!, _ predictor: OpaquePointer!, _ rows: Int64, _ x: UnsafePointer<Double>!,
  _ x_stride: Int64, _ out: UnsafeMutablePointer<Double>!, _ out_stride: Int64
) -> taskmet_status {
  call("linearization_update") {
    let object: Linearization = try resolve(linearization, "linearization")
    let predictor: Predictor = try resolve(predictor, "predictor")
    let rows = try requireRowCount(rows)
    let x = try requireMatrix(
      x, rows: rows, columns: predictor.inputs, stride: x_stride, "x",
      in: predictor.precision)
    let out = try out.map {
      try requireOutput($0, rows: rows, columns: predictor.outputs, stride: out_stride, "out")
    }
    try withAccess(reading: [predictor], writing: [object]) {
      try object.update(predictor, x) { held in
        guard let out else { return }
        try deliver(
          held.predictions, rows: rows, columns: predictor.outputs, to: out, stride: out_stride, "the prediction")
      }
    }
  }
}

/// Runs `body` with what a linearisation holds, while it and its predictor's settings stay as they are.
private func withHeld(
  _ name: StaticString, _ linearization: OpaquePointer?, _ body: (LinearizedRows) throws -> Void
) -> taskmet_status {
  call(name) {
    let object: Linearization = try resolve(linearization, "linearization")
    try withAccess(writing: [object]) {
      let held = try object.held()
      try withAccess(reading: [held.predictor]) {
        guard held.isCurrent else {
          throw TaskMetError.state(
            "linearization: the predictor's standardisation has changed; call linearization_update again")
        }
        try body(held)
      }
    }
  }
}

/// Cotangents of the predictions of the rows that are held.
private func requireCotangents(
  _ c: UnsafePointer<Double>?, _ stride: Int64, _ held: LinearizedRows
) throws -> MatrixView {
  try requireMatrix(
    c, rows: held.rows, columns: held.predictor.outputs, stride: stride, "c",
    in: held.predictor.precision)
}

@_cdecl("taskmet_linearization_vjp") @implementation
public func taskmet_linearization_vjp(
  _ linearization: OpaquePointer!, _ c: UnsafePointer<Double>!, _ c_stride: Int64, _ out: UnsafeMutablePointer<Double>!,
  _ count: Int64
) -> taskmet_status {
  withHeld("linearization_vjp", linearization) { held in
    let c = try requireCotangents(c, c_stride, held)
    let out = try requireOutput(out, count, held.predictor.parameterCount, "out")
    try held.pullback(c)
    try deliver(held.gradient, to: out, "the product")
  }
}

@_cdecl("taskmet_linearization_input_vjp") @implementation
public func taskmet_linearization_input_vjp(
  _ linearization: OpaquePointer!, _ c: UnsafePointer<Double>!, _ c_stride: Int64, _ out: UnsafeMutablePointer<Double>!,
  _ out_stride: Int64
) -> taskmet_status {
  withHeld("linearization_input_vjp", linearization) { held in
    let (rows, columns) = (held.rows, held.predictor.inputs)
    let c = try requireCotangents(c, c_stride, held)
    let out = try requireOutput(out, rows: rows, columns: columns, stride: out_stride, "out")
    try held.pullbackToInputs(c)
    try deliver(held.inputCotangents, rows: rows, columns: columns, to: out, stride: out_stride, "the product")
  }
}

@_cdecl("taskmet_linearization_jvp") @implementation
public func taskmet_linearization_jvp(
  _ linearization: OpaquePointer!, _ v: UnsafePointer<Double>!, _ count: Int64, _ out: UnsafeMutablePointer<Double>!,
  _ out_stride: Int64
) -> taskmet_status {
  withHeld("linearization_jvp", linearization) { held in
    let (rows, columns) = (held.rows, held.predictor.outputs)
    let v = try requireVector(v, count, held.predictor.parameterCount, "v", "count", in: held.predictor.precision)
    let out = try requireOutput(out, rows: rows, columns: columns, stride: out_stride, "out")
    try held.pushforward(v)
    try deliver(held.tangents, rows: rows, columns: columns, to: out, stride: out_stride, "the product")
  }
}

@_cdecl("taskmet_linearization_hvp") @implementation
public func taskmet_linearization_hvp(
  _ linearization: OpaquePointer!, _ c: UnsafePointer<Double>!, _ c_stride: Int64, _ w: UnsafePointer<Double>!,
  _ w_count: Int64, _ out: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  withHeld("linearization_hvp", linearization) { held in
    if held.predictor is CallbackPredictor, held.predictor.hasNoCurvature {
      throw TaskMetError.unsupported("linearization: its callback predictor has no hvp")
    }
    let c = try requireCotangents(c, c_stride, held)
    let w = try requireVector(w, w_count, held.predictor.parameterCount, "w", "w_count", in: held.predictor.precision)
    let out = try requireOutput(out, count, held.predictor.parameterCount, "out")
    try held.secondOrderProduct(c, w)
    try deliver(held.gradient, to: out, "the product")
  }
}
