// A predictor whose mathematics belongs to the caller: forward, vjp, jvp and, if there is one, hvp are callbacks.

import CTaskMet

final class CallbackPredictor: Predictor {
  fileprivate let callbacks: taskmet_predictor_callbacks
  fileprivate let user: CallbackUser

  /// forward, vjp and jvp are not nil.
  init(
    inputs: Int, outputs: Int, parameters: Buffer<Double>, callbacks: taskmet_predictor_callbacks, user: CallbackUser
  ) {
    self.callbacks = callbacks
    self.user = user
    super.init(inputs: inputs, outputs: outputs, parameters: parameters)
  }

  override func converted(to precision: Precision) throws -> Predictor {
    guard precision == .float64 else {
      throw TaskMetError.unsupported(
        "predictor: a callback predictor's arithmetic is its caller's, and its numbers are float64 always")
    }
    return CallbackPredictor(
      inputs: inputs, outputs: outputs, parameters: try Buffer(copying: parameters, count: parameterCount),
      callbacks: callbacks, user: user)
  }

  override var hasNoCurvature: Bool { callbacks.hvp == nil }

  override func setPenalizesBias(_ value: Bool) throws {
    throw TaskMetError.unsupported(
      "penalize_bias: the library does not know which parameters of a callback predictor are biases")
  }

  override func makeLane<Scalar: BLASScalar>(rows: Int, in: Scalar.Type) throws -> any PredictorLane<Scalar> {
    guard let lane = CallbackLane(predictor: self) as? any PredictorLane<Scalar> else {
      throw TaskMetError.unsupported("predictor: a callback predictor works in float64")
    }
    return lane
  }
}

private struct CallbackLane: PredictorLane {
  let predictor: CallbackPredictor

  func makeTile(rows: Int, order: DerivativeOrder) throws -> any PredictorTile<Double> {
    try CallbackTile(predictor, rows: rows, order: order)
  }
}

private final class CallbackTile: PredictorTile {
  private let predictor: CallbackPredictor
  private let predictions: Buffer<Double>
  private let gradient: Buffer<Double>
  private let kept: Buffer<Double>?
  private var x: MatrixView?

  init(_ predictor: CallbackPredictor, rows: Int, order: DerivativeOrder) throws {
    self.predictor = predictor
    let entries = try checkedProduct(rows, predictor.outputs)
    predictions = try Buffer(count: entries)
    gradient = try Buffer(count: predictor.parameterCount)
    kept = order >= .curvature ? try Buffer(count: entries) : nil
  }

  /// Fills the output with NaN, calls, and checks the answer and the output.
  private func call(
    _ name: String, _ out: UnsafeMutablePointer<Double>, _ count: Int,
    _ body: (UnsafeMutableRawPointer?, Int64, UnsafePointer<Double>, Int64) -> Int32
  ) throws {
    guard let x else { throw TaskMetError.state("\(name) before forward") }
    guard let elements = x.elements(as: Double.self) else {
      throw TaskMetError.unsupported("\(name): a callback predictor's rows are float64")
    }
    out.update(repeating: .nan, count: count)
    try checkCallback(body(predictor.user.pointer, Int64(x.rows), elements, Int64(x.stride)), name)
    try checkCallbackOutput(count, out, "\(name): out")
  }

  private var entries: Int { (x?.rows ?? 0) * predictor.outputs }

  func forward(_ theta: UnsafePointer<Double>, _ x: MatrixView) throws -> UnsafePointer<Double> {
    self.x = x
    let out = predictions.base
    try call("forward", out, entries) { predictor.callbacks.forward($0, $1, $2, $3, theta, out) }
    return UnsafePointer(out)
  }

  func pullback(
    _ theta: UnsafePointer<Double>, cotangent: UnsafePointer<Double>, gradient: UnsafeMutablePointer<Double>
  ) throws {
    let (out, count) = (self.gradient.base, predictor.parameterCount)
    try call("vjp", out, count) { predictor.callbacks.vjp($0, $1, $2, $3, theta, cotangent, out) }
    Double.axpy(count, 1, out, gradient)
  }

  func pullbackToInputs(
    _ theta: UnsafePointer<Double>, cotangent: UnsafePointer<Double>, _ out: UnsafeMutablePointer<Double>
  ) throws {
    throw TaskMetError.unsupported("predictor: a callback predictor has no derivative in its inputs")
  }

  func pushforward(
    _ theta: UnsafePointer<Double>, direction: UnsafePointer<Double>, _ out: UnsafeMutablePointer<Double>
  ) throws {
    try call("jvp", out, entries) { predictor.callbacks.jvp($0, $1, $2, $3, theta, direction, out) }
  }

  func keep(_ theta: UnsafePointer<Double>, cotangent: UnsafePointer<Double>) throws {
    kept?.base.update(from: cotangent, count: entries)
  }

  func secondOrderPullback(
    _ theta: UnsafePointer<Double>, direction: UnsafePointer<Double>, cotangent: UnsafePointer<Double>,
    gradient: UnsafeMutablePointer<Double>
  ) throws {
    try pullback(theta, cotangent: cotangent, gradient: gradient)
    guard let hvp = predictor.callbacks.hvp, let kept else { return }
    let (out, count) = (self.gradient.base, predictor.parameterCount)
    try call("hvp", out, count) { hvp($0, $1, $2, $3, theta, kept.base, direction, out) }
    Double.axpy(count, 1, out, gradient)
  }
}
