// A predictor, a metric and a dataset made from their descriptions, at parameters where nothing is special.

import Testing

@testable import TaskMetSwift

/// Rows of features and targets. The arrays are borrowed with padded rows, the padding being NaN: a row stride that is
/// forgotten somewhere shows at once.
struct TestData {
  let features = 2
  let x: DenseMatrix
  let y: DenseMatrix
  let weights: [Double]
  let dataset: Dataset

  init(rows: Int = 5, outputs: Int, weighted: Bool = false, seed: UInt64 = 1) throws {
    var random = RandomGenerator(seed: seed)
    x = DenseMatrix(rows, 2, .normal(rows * 2, &random))
    y = DenseMatrix(rows, outputs, .normal(rows * outputs, &random))
    // One row counts for nothing.
    weights = weighted ? (0..<rows).map { $0 == 1 ? 0 : 0.3 + random.uniform() } : [Double](repeating: 1, count: rows)
    dataset = try Dataset(borrowing: x, y)
    if weighted { try dataset.setWeights(weights) }
  }
}

extension Dataset {
  /// Of padded copies of the two matrices.
  convenience init(borrowing x: DenseMatrix, _ y: DenseMatrix) throws {
    let memory = try BorrowedArrays(x: paddedCopy(x), y: paddedCopy(y))
    let owner = CallbackUser(Unmanaged.passRetained(memory).toOpaque()) { pointer in
      Unmanaged<BorrowedArrays>.fromOpaque(pointer!).release()
    }
    self.init(
      borrowing: MatrixView(memory.x.base, rows: x.rows, columns: x.columns, stride: x.columns + 2),
      MatrixView(memory.y.base, rows: y.rows, columns: y.columns, stride: y.columns + 2), owner)
  }

  convenience init(_ x: DenseMatrix, _ y: DenseMatrix) throws {
    let (xBuffer, yBuffer) = (try Buffer(x.values), try Buffer(y.values))
    try self.init(
      copying: MatrixView(xBuffer.base, rows: x.rows, columns: x.columns),
      MatrixView(yBuffer.base, rows: y.rows, columns: y.columns))
  }
}

private final class BorrowedArrays {
  let x: Buffer<Double>
  let y: Buffer<Double>

  init(x: Buffer<Double>, y: Buffer<Double>) { (self.x, self.y) = (x, y) }
}

private func paddedCopy(_ matrix: DenseMatrix) throws -> Buffer<Double> {
  try Buffer((0..<matrix.rows).flatMap { matrix.row($0) + [.nan, .nan] })
}

// MARK: - Predictors

extension PredictorSpec {
  var network: ReferenceNetwork? {
    switch kind {
    case .linear(let bias):
      ReferenceNetwork(
        inputs: 2, hidden: [], outputs: outputs, bias: bias, activation: .identity, outputActivation: .identity)
    case .perceptron(let hidden, let activation, let output):
      ReferenceNetwork(
        inputs: 2, hidden: hidden, outputs: outputs, bias: true, activation: activation, outputActivation: output)
    case .callback:
      ReferenceNetwork(
        inputs: 2, hidden: [2], outputs: outputs, bias: true, activation: .tanh, outputActivation: .identity)
    }
  }

  private func makeBare() throws -> Predictor {
    switch kind {
    case .linear(let bias): try NetworkPredictor(linearInputs: 2, outputs: outputs, bias: bias)
    case .perceptron(let hidden, let activation, let output):
      try NetworkPredictor(
        inputs: 2, hidden: hidden, outputs: outputs, activation: activation, outputActivation: output, seed: 7)
    case .callback(let secondOrder):
      try CallbackPredictor(CallbackNetwork(inputs: 2, hidden: 2, outputs: outputs), secondOrder: secondOrder)
    }
  }

  static let inputScaling = (mean: [0.3, -0.2], scale: [1.5, 0.6])
  static let targetScaling = (mean: [0.5, -1, 0.2], scale: [1.7, 0.4, 2.5])

  /// With random parameters such that, on these rows, no unit is close to zero where that is a kink.
  func make(_ x: DenseMatrix) throws -> Predictor {
    let predictor = try makeBare()
    if let networkPredictor = predictor as? NetworkPredictor {
      let (means, scales) = Self.targetScaling
      networkPredictor.setStandardization(
        inputs: standardizesInputs
          ? Standardization(mean: try Buffer(Self.inputScaling.mean), scale: try Buffer(Self.inputScaling.scale)) : nil,
        targets: standardizesTargets
          ? Standardization(
            mean: try Buffer(Array(means.prefix(outputs))), scale: try Buffer(Array(scales.prefix(outputs))))
          : nil)
      try networkPredictor.setPenalizesBias(penalizesBias)
    }
    var random = RandomGenerator(seed: 11)
    for _ in 0..<10_000 {
      let theta = 0.8 * [Double].normal(predictor.parameterCount, &random)
      if hasKinks, predictions(theta, x).closestToKink < 0.02 { continue }
      try predictor.setParameters(theta)
      return predictor
    }
    throw TaskMetError.state("no parameters away from the kinks of \(testDescription)")
  }

  /// By the plain formulas.
  func predictions(_ theta: [Double], _ x: DenseMatrix) -> (values: DenseMatrix, closestToKink: Double) {
    var rows: [[Double]] = []
    var closest = Double.infinity
    for i in 0..<x.rows {
      var input = x.row(i)
      if standardizesInputs {
        let (mean, scale) = Self.inputScaling
        input = input.indices.map { (input[$0] - mean[$0]) / scale[$0] }
      }
      var (output, kink) = network!.evaluate(theta, input)
      closest = min(closest, kink)
      if standardizesTargets {
        let (mean, scale) = Self.targetScaling
        output = output.indices.map { mean[$0] + scale[$0] * output[$0] }
      }
      rows.append(output)
    }
    return (DenseMatrix(rows), closest)
  }

  /// 1 for a parameter that (rho/2)|theta|^2 includes, 0 for one that it leaves out.
  func penaltyMask(_ count: Int) -> [Double] {
    var mask = [Double](repeating: 1, count: count)
    if !penalizesBias { for range in network!.biasRanges { for k in range { mask[k] = 0 } } }
    return mask
  }
}

// MARK: - Metrics

extension MetricSpec {
  /// With random parameters such that, on a few rows, no unit is close to zero where that is a kink. `rows` are what an
  /// up-to-date m of batch_trace belongs to.
  func make(outputs: Int, _ x: DenseMatrix, rows: MatrixView) throws -> Metric {
    let metric = try Metric(
      inputs: x.columns, outputs: outputs, structure: factor.structure, rank: min(2, outputs),
      hidden: factor.hiddenLayers, activation: factor.activation, seed: 3)
    metric.setFloor(floor)
    try metric.setNormalization(scaling.normalization)
    if factor.conditioning == .standardized {
      let (mean, scale) = PredictorSpec.inputScaling
      metric.setStandardization(Standardization(mean: try Buffer(mean), scale: try Buffer(scale)))
    }
    var random = RandomGenerator(seed: 5)
    let start = metric.phi
    func draw() -> [Double] { start .+ 0.4 * [Double].normal(start.count, &random) }
    func move() throws {
      // Of a hundred the one that differences may go farthest from.
      let draws = factor.conditioning == .rectified && x.rows < 50 ? (0..<100).map { _ in draw() } : [draw()]
      try metric.setParameters(
        draws.max { closestToKink($0, outputs: outputs, x) < closestToKink($1, outputs: outputs, x) }!)
    }
    try move()
    if scaling.normalization == .batchTrace { try metric.updateNormalization(rows: rows) }
    if scaling == .batchTraceStale { try move() }
    return metric
  }

  private func network(outputs: Int, _ x: DenseMatrix) -> ReferenceNetwork {
    ReferenceNetwork(
      inputs: x.columns, hidden: factor.hiddenLayers ?? [],
      outputs: MetricSpec.entryCount(factor.structure, outputs, min(2, outputs)), bias: true,
      activation: factor.activation, outputActivation: .identity)
  }

  private func closestToKink(_ phi: [Double], outputs: Int, _ x: DenseMatrix) -> Double {
    let network = network(outputs: outputs, x)
    return (0..<x.rows).reduce(.infinity) { min($0, network.evaluate(phi, x.row($1)).closestToKink) }
  }

  /// Lambda of each row by the plain formulas, with a given m.
  func lambda(_ phi: [Double], outputs: Int, _ x: DenseMatrix, m: Double) -> [DenseMatrix] {
    let rank = min(2, outputs)
    let network = network(outputs: outputs, x)
    let count = network.outputs
    let epsilon = exponential(phi[phi.count - 1]) + floor
    return (0..<x.rows).map { i in
      var input = x.row(i)
      if factor.conditioning == .standardized {
        let (mean, scale) = PredictorSpec.inputScaling
        input = input.indices.map { (input[$0] - mean[$0]) / scale[$0] }
      }
      let entries = factor.isConditional ? network.evaluate(phi, input).outputs : Array(phi.prefix(count))
      return referenceLambda(
        factor.structure, outputs: outputs, rank: rank, entries: entries, epsilon: epsilon, scaling.normalization, m: m)
    }
  }

  /// Numbers in the factor.
  static func entryCount(_ structure: MetricStructure, _ n: Int, _ rank: Int) -> Int {
    switch structure {
    case .scalar: 1
    case .diagonal: n
    case .lowrank: n * rank
    case .full: n * n
    }
  }

  /// Moves phi as differences must: an m that is up to date follows.
  func move(_ metric: Metric, to phi: [Double], rows: MatrixView) throws {
    try metric.setParameters(phi)
    if scaling == .batchTrace { try metric.updateNormalization(rows: rows) }
  }
}

private func exponential(_ x: Double) -> Double { Double.exponential(x) }

// MARK: - All of it

/// One combination of the registry.
struct Problem {
  let predictorSpec: PredictorSpec
  let metricSpec: MetricSpec
  let setting: LossSetting
  let data: TestData
  let predictor: Predictor
  let metric: Metric
  let workspace: Workspace

  init(
    _ predictor: PredictorSpec, _ metric: MetricSpec, _ setting: LossSetting, rows: Int = 5,
    _ workspace: Workspace = Workspace()
  ) throws {
    (predictorSpec, metricSpec, self.setting, self.workspace) = (predictor, metric, setting, workspace)
    data = try TestData(rows: rows, outputs: predictor.outputs, weighted: setting.weighted)
    self.predictor = try predictor.make(rows == 5 ? data.x : TestData(outputs: predictor.outputs).x)
    self.metric = try metric.make(outputs: predictor.outputs, data.x, rows: data.dataset.x)
  }

  /// The same objects, another setting of the loss.
  private init(_ other: Problem, _ setting: LossSetting, _ data: TestData) {
    (predictorSpec, metricSpec, predictor, metric) = (
      other.predictorSpec, other.metricSpec, other.predictor, other.metric
    )
    (workspace, self.setting, self.data) = (other.workspace, setting, data)
  }

  private init(_ other: Problem, _ spec: MetricSpec, _ metric: Metric) {
    (predictorSpec, predictor, setting, data) = (other.predictorSpec, other.predictor, other.setting, other.data)
    (metricSpec, self.metric, workspace) = (spec, metric, other.workspace)
  }

  var description: String {
    "\(predictorSpec.testDescription); \(metricSpec.testDescription); \(setting.testDescription)"
  }

  var theta: [Double] { predictor.theta }

  func loss() throws -> MetricisedLoss {
    try MetricisedLoss(predictor, metric, data.dataset, rho: setting.rho, workspace)
  }

  /// The loss with phi somewhere else, from a metric of its own.
  func movingMetric() throws -> (_ phi: [Double]) throws -> MetricisedLoss {
    let moved = try Metric(copying: metric)
    let workspace = Workspace()
    return { phi in
      try metricSpec.move(moved, to: phi, rows: data.dataset.x)
      return try MetricisedLoss(predictor, moved, data.dataset, rho: setting.rho, workspace)
    }
  }

  /// Runs `body` on every combination of these with the metrics of a factor and the settings of the loss, until one
  /// fails.
  static func forEach(
    _ predictor: PredictorSpec, _ factor: FactorSpec, _ body: (Problem) throws -> Void
  ) throws {
    let first = try Problem(predictor, MetricSpec(factor: factor), LossSetting(weighted: false, rho: 0))
    let weighted = try TestData(outputs: predictor.outputs, weighted: true)
    for spec in Registry.metrics(factor, outputs: predictor.outputs) {
      let metric = try spec.make(outputs: predictor.outputs, first.data.x, rows: first.data.dataset.x)
      for setting in Registry.lossSettings {
        let problem = Problem(Problem(first, spec, metric), setting, setting.weighted ? weighted : first.data)
        do {
          try body(problem)
        } catch let error as TaskMetError {
          Issue.record(error, "\(problem.description)")
          return
        }
      }
    }
  }
}

// MARK: - The library with arrays

extension Predictor {
  var theta: [Double] { Array(UnsafeBufferPointer(start: parameters, count: parameterCount)) }

  func predictions(_ theta: [Double], _ x: MatrixView) throws -> [Double] {
    var out = [Double](repeating: .nan, count: x.rows * outputs)
    try predict(theta, BlockedMatrix(x), into: &out, stride: outputs)
    return out
  }

  /// sum_i J_i' c_i.
  func pullback(_ theta: [Double], _ x: MatrixView, _ c: [Double]) throws -> [Double] {
    var out = [Double](repeating: .nan, count: parameterCount)
    try c.withUnsafeBufferPointer { c in
      try pullback(theta, BlockedMatrix(x), MatrixView(c.baseAddress!, rows: x.rows, columns: outputs), into: &out)
    }
    return out
  }

  /// J_i v.
  func pushforward(_ theta: [Double], _ x: MatrixView, _ v: [Double]) throws -> [Double] {
    var out = [Double](repeating: .nan, count: x.rows * outputs)
    try pushforward(theta, BlockedMatrix(x), v, into: &out, stride: outputs)
    return out
  }

  /// All of J, (rows n) x parameters.
  func jacobian(_ theta: [Double], _ x: MatrixView) throws -> DenseMatrix {
    let columns = try (0..<parameterCount).map { try pushforward(theta, x, .unit(parameterCount, $0)) }
    return DenseMatrix(columns).transposed
  }
}

extension Metric {
  var phi: [Double] { Array(UnsafeBufferPointer(start: parameters, count: parameterCount)) }

  func updateNormalization(rows: MatrixView) throws {
    try updateNormalization(rows: rows.rows, network == nil ? nil : BlockedMatrix(rows))
  }

  /// Lambda of each row, one after the other.
  func lambda(_ x: MatrixView) throws -> [Double] {
    var out = [Double](repeating: .nan, count: x.rows * outputs * outputs)
    try evaluate(rows: x.rows, network == nil ? nil : BlockedMatrix(x), into: &out)
    return out
  }

  /// sum_i <C_i, dLambda_i/dphi>.
  func pullback(_ x: MatrixView, _ cotangent: [Double]) throws -> [Double] {
    var out = [Double](repeating: .nan, count: parameterCount)
    try cotangent.withUnsafeBufferPointer {
      try pullback(rows: x.rows, network == nil ? nil : BlockedMatrix(x), .dense($0.baseAddress!), into: &out)
    }
    return out
  }
}

extension Metric {
  /// The same for C_i = alpha_i (u_i e_i' + e_i u_i').
  func pullback(_ x: MatrixView, alpha: [Double], u: [Double], e: [Double], lambdaE: [Double]) throws -> [Double] {
    let buffers = try [alpha, u, e, lambdaE].map { try Buffer($0) }
    var out = [Double](repeating: .nan, count: parameterCount)
    try withExtendedLifetime(buffers) {
      let cotangent = MetricCotangent<Double>.rankTwo(
        alpha: buffers[0].base, u: buffers[1].base, e: buffers[2].base, lambdaE: buffers[3].base)
      try pullback(rows: x.rows, network == nil ? nil : BlockedMatrix(x), cotangent, into: &out)
    }
    return out
  }
}

extension MetricisedLoss {
  func value(_ theta: [Double]) throws -> Double { try evaluate(theta, gradient: nil) }

  func gradient(_ theta: [Double]) throws -> [Double] {
    var out = [Double](repeating: .nan, count: parameterCount)
    _ = try evaluate(theta, gradient: &out)
    return out
  }

  /// H w or G w, at the point of `linearize`.
  func product(_ w: [Double], gaussNewton: Bool = false) throws -> [Double] {
    var out = [Double](repeating: .nan, count: parameterCount)
    try hessianProduct(w, into: &out, gaussNewton: gaussNewton)
    return out
  }

  /// All of H or G, at the point of `linearize`.
  func matrix(gaussNewton: Bool = false) throws -> DenseMatrix {
    DenseMatrix(try (0..<parameterCount).map { try product(.unit(parameterCount, $0), gaussNewton: gaussNewton) })
  }

  func cross(_ v: [Double]) throws -> [Double] {
    var out = [Double](repeating: .nan, count: metric.parameterCount)
    try crossProduct(v, into: &out)
    return out
  }
}
