// Prediction models f_theta and what the loss asks of one: values, J'c, Jv and second-order products, on a tile of rows.

/// A prediction model R^d -> R^n with a flat parameter vector theta, whose numbers its precision has.
class Predictor: SharedObject {
  override var kind: StaticString { "predictor" }

  let inputs: Int
  let outputs: Int
  let parameterCount: Int
  let precision: Precision
  fileprivate let parameterBuffer: Buffer<Double>
  /// Grows with each new standardisation: a pass that was made before one has no more derivatives.
  fileprivate(set) var settingsVersion = 0
  /// (rho/2)|theta|^2 includes the biases.
  fileprivate(set) var penalizesBias = true

  var parameters: UnsafePointer<Double> { UnsafePointer(parameterBuffer.base) }

  init(inputs: Int, outputs: Int, precision: Precision = .float64, parameters: Buffer<Double>) {
    self.inputs = inputs
    self.outputs = outputs
    self.precision = precision
    parameterCount = parameters.count
    parameterBuffer = parameters
  }

  /// The values must be finite; they are rounded to the precision, which must have room for them.
  func setParameters(_ values: UnsafePointer<Double>) throws {
    try precision.round(parameterCount, values, into: parameterBuffer.base, "theta")
  }

  func setPenalizesBias(_ value: Bool) throws { penalizesBias = value }

  /// Rows that a tile holds at most; nil for a predictor that wants all rows at once, on the calling thread.
  var tileRows: Int? { nil }

  /// Numbers that a linearised row takes in a tile.
  var numbersPerRow: Int { 0 }

  /// f is affine in theta.
  var isLinear: Bool { false }

  /// H and the Gauss-Newton matrix are the same for every residual.
  var hasNoCurvature: Bool { isLinear }

  /// The ranges of theta that (rho/2)|theta|^2 leaves out.
  var unpenalizedRanges: [Range<Int>] { [] }

  /// A lane that works in a precision, whatever the predictor's own.
  func makeLane<Scalar: BLASScalar>(rows: Int, in: Scalar.Type) throws -> any PredictorLane<Scalar> {
    throw Self.abstract
  }
  func converted(to precision: Precision) throws -> Predictor { throw Self.abstract }

  /// A lane with float64 vectors outside that works in the predictor's own precision inside.
  final func makeLane(rows: Int) throws -> any PredictorLane<Double> {
    switch precision {
    case .float64: try makeLane(rows: rows, in: Double.self)
    case .float32: try WideLane(self, rows: rows)
    }
  }

  final func copy() throws -> Predictor { try converted(to: precision) }

  private static var abstract: TaskMetError { .unsupported("an abstract predictor") }
}

/// Memory that one thread works in; makes the tiles it works on.
protocol PredictorLane<Scalar> {
  associatedtype Scalar: BLASScalar
  /// A tile for at most `rows` rows, prepared for derivatives of an order.
  func makeTile(rows: Int, order: DerivativeOrder) throws -> any PredictorTile<Scalar>
}

/// A predictor linearised on a tile of rows. After `forward`, the other functions may be called with the same theta.
/// Gradients are added to what is there; predictions, cotangents and tangents are contiguous rows x n.
protocol PredictorTile<Scalar>: AnyObject {
  associatedtype Scalar: BLASScalar
  /// f_theta(x_i), valid until the next `forward`.
  func forward(_ theta: UnsafePointer<Scalar>, _ x: MatrixView) throws -> UnsafePointer<Scalar>
  /// gradient += sum_i J_i' c_i.
  func pullback(
    _ theta: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>) throws
  /// out_i (rows x d) = (df(x_i)/dx_i)' c_i.
  func pullbackToInputs(
    _ theta: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>) throws
  /// out_i = J_i w.
  func pushforward(
    _ theta: UnsafePointer<Scalar>, direction: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>) throws
  /// Keeps c for `secondOrderPullback`: once after each `forward`, on a tile of order `.curvature`.
  func keep(_ theta: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>) throws
  /// gradient += sum_i J_i' cdot_i + sum_i sum_k c_ik d2f_k(x_i) w, with the kept c and the w of the last `pushforward`.
  func secondOrderPullback(
    _ theta: UnsafePointer<Scalar>, direction: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>,
    gradient: UnsafeMutablePointer<Scalar>) throws
}

/// A linear model or a multilayer perceptron, with optional standardisation of inputs and targets inside.
final class NetworkPredictor: Predictor {
  let network: DenseNetwork
  private(set) var inputStandardization: Standardization?
  private(set) var targetStandardization: Standardization?

  /// W x + b or W x, at zero.
  init(linearInputs inputs: Int, outputs: Int, bias: Bool) throws {
    network = try DenseNetwork(
      inputs: inputs, hidden: [], outputs: outputs, activation: .identity, outputActivation: .identity, bias: bias)
    super.init(
      inputs: inputs, outputs: outputs, parameters: try Buffer(repeating: 0, count: network.parameterCount))
  }

  /// A multilayer perceptron, initialised from the seed.
  init(
    inputs: Int, hidden: [Int], outputs: Int, activation: Activation, outputActivation: Activation, seed: UInt64
  ) throws {
    network = try DenseNetwork(
      inputs: inputs, hidden: hidden, outputs: outputs, activation: activation, outputActivation: outputActivation,
      bias: true)
    let parameters = try Buffer<Double>(count: network.parameterCount)
    var random = RandomGenerator(seed: seed)
    network.initialize(parameters.base, &random)
    super.init(inputs: inputs, outputs: outputs, parameters: parameters)
  }

  private init(_ other: NetworkPredictor, in precision: Precision) throws {
    network = other.network
    inputStandardization = other.inputStandardization
    targetStandardization = other.targetStandardization
    super.init(
      inputs: other.inputs, outputs: other.outputs, precision: precision,
      parameters: try Buffer(count: other.parameterCount))
    try setParameters(other.parameters)
    penalizesBias = other.penalizesBias
  }

  /// Shares the (immutable) standardisation.
  override func converted(to precision: Precision) throws -> NetworkPredictor {
    try NetworkPredictor(self, in: precision)
  }

  func setStandardization(inputs: Standardization?, targets: Standardization?) {
    inputStandardization = inputs
    targetStandardization = targets
    settingsVersion += 1
  }

  override var isLinear: Bool { network.isLinear }
  override var hasNoCurvature: Bool { network.isPiecewiseLinearMap }
  override var tileRows: Int? { precision.tileRows }
  override var numbersPerRow: Int { network.numbersPerRow(.curvature) + inputs + outputs }
  override var unpenalizedRanges: [Range<Int>] {
    penalizesBias ? [] : network.layers.compactMap { layer in layer.biasOffset.map { $0..<($0 + layer.outputs) } }
  }

  override func makeLane<Scalar: BLASScalar>(rows: Int, in: Scalar.Type) throws -> any PredictorLane<Scalar> {
    try NetworkLane<Scalar>(self, rows: rows)
  }
}

private final class NetworkLane<Scalar: BLASScalar>: PredictorLane {
  let predictor: NetworkPredictor
  let scratch: NetworkScratch<Scalar>
  let cotangents: Buffer<Scalar>

  init(_ predictor: NetworkPredictor, rows: Int) throws {
    self.predictor = predictor
    scratch = try NetworkScratch(predictor.network, capacity: rows)
    cotangents = try Buffer(count: try checkedProduct(rows, predictor.outputs))
  }

  func makeTile(rows: Int, order: DerivativeOrder) throws -> any PredictorTile<Scalar> {
    try NetworkTile(self, rows: rows, order: order)
  }
}

private final class NetworkTile<Scalar: BLASScalar>: PredictorTile {
  private let lane: NetworkLane<Scalar>
  private let state: NetworkState<Scalar>
  private let inputs: Buffer<Scalar>
  private let predictions: Buffer<Scalar>
  private var network: DenseNetwork { lane.predictor.network }

  init(_ lane: NetworkLane<Scalar>, rows: Int, order: DerivativeOrder) throws {
    self.lane = lane
    let predictor = lane.predictor
    state = try NetworkState(predictor.network, capacity: rows, order: order)
    // Made for every predictor, since rows can be of another precision or their stride too long for BLAS; pages that are
    // not touched cost nothing.
    inputs = try Buffer(count: try checkedProduct(rows, predictor.inputs))
    predictions = try Buffer(count: try checkedProduct(rows, predictor.outputs))
  }

  @_specialize(where Scalar == Double)
  @_specialize(where Scalar == Float)
  func forward(_ theta: UnsafePointer<Scalar>, _ x: MatrixView) throws -> UnsafePointer<Scalar> {
    let predictor = lane.predictor
    if let standardization = predictor.inputStandardization {
      standardization.apply(x, to: inputs.base)
      network.forward(theta, rows: x.rows, inputs.base, stride: x.columns, state)
    } else if let elements = x.elements(as: Scalar.self), x.stride <= Int(Int32.max) {
      network.forward(theta, rows: x.rows, elements, stride: x.stride, state)
    } else {
      x.copy(to: inputs.base)
      network.forward(theta, rows: x.rows, inputs.base, stride: x.columns, state)
    }
    guard let standardization = predictor.targetStandardization else { return UnsafePointer(state.outputs) }
    predictions.base.update(from: state.outputs, count: x.rows * predictor.outputs)
    standardization.invert(rows: x.rows, predictions.base)
    return UnsafePointer(predictions.base)
  }

  /// The cotangent of the network's own outputs.
  private func scaled(_ cotangent: UnsafePointer<Scalar>) -> UnsafePointer<Scalar> {
    guard let standardization = lane.predictor.targetStandardization else { return cotangent }
    standardization.multiplyByScale(rows: state.rows, cotangent, to: lane.cotangents.base)
    return UnsafePointer(lane.cotangents.base)
  }

  @_specialize(where Scalar == Double)
  @_specialize(where Scalar == Float)
  func pullback(
    _ theta: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
  ) throws {
    network.pullback(theta, state, lane.scratch, cotangent: scaled(cotangent), gradient: gradient)
  }

  @_specialize(where Scalar == Double)
  @_specialize(where Scalar == Float)
  func pullbackToInputs(
    _ theta: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>
  ) throws {
    network.pullbackToInputs(theta, state, lane.scratch, cotangent: scaled(cotangent), out)
    lane.predictor.inputStandardization?.divideByScale(rows: state.rows, out)
  }

  @_specialize(where Scalar == Double)
  @_specialize(where Scalar == Float)
  func keep(_ theta: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>) throws {
    network.keepCotangents(theta, state, cotangent: scaled(cotangent))
  }

  @_specialize(where Scalar == Double)
  @_specialize(where Scalar == Float)
  func pushforward(
    _ theta: UnsafePointer<Scalar>, direction: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>
  ) throws {
    network.pushforward(theta, state, lane.scratch, direction: direction)
    let tangents = UnsafePointer(lane.scratch.outputTangents)
    if let standardization = lane.predictor.targetStandardization {
      standardization.multiplyByScale(rows: state.rows, tangents, to: out)
    } else {
      out.update(from: tangents, count: state.rows * lane.predictor.outputs)
    }
  }

  @_specialize(where Scalar == Double)
  @_specialize(where Scalar == Float)
  func secondOrderPullback(
    _ theta: UnsafePointer<Scalar>, direction: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>,
    gradient: UnsafeMutablePointer<Scalar>
  ) throws {
    network.secondOrderPullback(
      theta, state, lane.scratch, direction: direction, cotangent: scaled(cotangent), gradient: gradient)
  }
}
