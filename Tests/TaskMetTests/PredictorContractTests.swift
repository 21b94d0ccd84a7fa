// Every predictor alone: predictions, J v and J'c, on a few rows and on several tiles of rows.

import Testing

@testable import TaskMetSwift

@Suite("Predictors")
struct PredictorContractTests {
  /// 128 rows make a tile, so 300 make two full ones and a part.
  static let rowCounts = [1, 5, 300]

  @Test("predictions = the formula", arguments: Registry.predictors, rowCounts)
  func predictions(_ spec: PredictorSpec, _ rows: Int) throws {
    let data = try TestData(rows: rows, outputs: spec.outputs)
    let predictor = try spec.make(try TestData(outputs: spec.outputs).x)
    let theta = predictor.theta
    expectEqual(
      try predictor.predictions(theta, data.dataset.x), spec.predictions(theta, data.x).values.values, to: 1e-13)
  }

  @Test("predictions are written with the row stride that was asked for")
  func stride() throws {
    let spec = Registry.linearPredictors[0]
    let data = try TestData(outputs: spec.outputs)
    let predictor = try spec.make(data.x)
    var out = [Double](repeating: -7, count: 5 * 5)
    try predictor.predict(predictor.theta, data.dataset.featureRows, into: &out, stride: 5)
    let expected = spec.predictions(predictor.theta, data.x).values
    for i in 0..<5 {
      expectEqual(Array(out[(5 * i)..<(5 * i + 3)]), expected.row(i), to: 1e-13)
      #expect(out[5 * i + 3] == -7 && out[5 * i + 4] == -7)
    }
  }

  @Test("J v = differences of predictions", arguments: Registry.predictors)
  func pushforward(_ spec: PredictorSpec) throws {
    let data = try TestData(outputs: spec.outputs)
    let predictor = try spec.make(data.x)
    let theta = predictor.theta
    var random = RandomGenerator(seed: 31)
    for _ in 0..<3 {
      let v = [Double].direction(theta.count, &random)
      let expected = try derivative(step: spec.step) { try predictor.predictions(theta .+ $0 * v, data.dataset.x) }
      expectEqual(try predictor.pushforward(theta, data.dataset.x, v), expected, to: 1e-10)
    }
  }

  @Test("J'c is the transpose of J v", arguments: Registry.predictors, rowCounts)
  func transpose(_ spec: PredictorSpec, _ rows: Int) throws {
    let data = try TestData(rows: rows, outputs: spec.outputs)
    let predictor = try spec.make(try TestData(outputs: spec.outputs).x)
    let theta = predictor.theta
    var random = RandomGenerator(seed: 32)
    let c = [Double].normal(rows * spec.outputs, &random)
    let pulled = try predictor.pullback(theta, data.dataset.x, c)
    for _ in 0..<3 {
      let v = [Double].direction(theta.count, &random)
      expectEqual(dot(pulled, v), dot(c, try predictor.pushforward(theta, data.dataset.x, v)), to: 1e-12, scale: 1)
    }
  }

  @Test("the loss's own J'c is the predictor's", arguments: Registry.predictors)
  func lossPullback(_ spec: PredictorSpec) throws {
    let problem = try Problem(
      spec, MetricSpec(factor: Registry.factors[0]), LossSetting(weighted: true, rho: 0.3), rows: 400)
    let theta = problem.theta
    let loss = try problem.loss()
    try loss.linearize(theta)
    var random = RandomGenerator(seed: 33)
    let c = try Buffer([Double].normal(400 * spec.outputs, &random))
    var out = [Double](repeating: .nan, count: theta.count)
    try loss.pullback(MatrixView(c.base, rows: 400, columns: spec.outputs), into: &out)
    expectEqual(out, try problem.predictor.pullback(theta, problem.data.dataset.x, c.array), to: 1e-12)
  }

  @Test("copies are independent", arguments: Registry.predictors)
  func copies(_ spec: PredictorSpec) throws {
    let data = try TestData(outputs: spec.outputs)
    let predictor = try spec.make(data.x)
    let copy = try predictor.copy()
    let theta = predictor.theta
    let predictions = try predictor.predictions(theta, data.dataset.x)
    try predictor.setParameters([Double](repeating: 0.25, count: theta.count))
    #expect(copy.theta == theta)
    #expect(try copy.predictions(copy.theta, data.dataset.x) == predictions)
    #expect(copy.unpenalizedRanges == predictor.unpenalizedRanges)
  }

  @Test("a perceptron starts as nn.Linear does: uniform in +-1/sqrt(inputs)")
  func initialization() throws {
    let predictor = try NetworkPredictor(
      inputs: 16, hidden: [64], outputs: 25, activation: .relu, outputActivation: .identity, seed: 9)
    let theta = predictor.theta
    for (range, bound) in [(0..<(17 * 64), 1.0 / 4), ((17 * 64)..<theta.count, 1.0 / 8)] {
      let values = theta[range]
      #expect(values.allSatisfy { abs($0) < bound })
      #expect(values.contains { $0 > 0.95 * bound } && values.contains { $0 < -0.95 * bound })
      let mean = values.reduce(0, +) / Double(values.count)
      let variance = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
      #expect(abs(mean) < 0.06 * bound && abs(variance / (bound * bound / 3) - 1) < 0.1)
    }
    let again = try NetworkPredictor(
      inputs: 16, hidden: [64], outputs: 25, activation: .relu, outputActivation: .identity, seed: 9)
    #expect(again.theta == theta)
    let other = try NetworkPredictor(
      inputs: 16, hidden: [64], outputs: 25, activation: .relu, outputActivation: .identity, seed: 10)
    #expect(other.theta != theta)
  }

  @Test("a linear predictor starts at zero", arguments: [true, false])
  func linearInitialization(_ bias: Bool) throws {
    let predictor = try NetworkPredictor(linearInputs: 4, outputs: 3, bias: bias)
    #expect(predictor.theta == [Double](repeating: 0, count: bias ? 15 : 12))
  }
}

@Suite("Activations")
struct ActivationTests {
  private func jet(_ activation: Activation, _ z: [Double]) -> (value: [Double], slope: [Double], curvature: [Double]) {
    var (value, slope, curvature) = (z, [Double](repeating: 1, count: z.count), [Double](repeating: 0, count: z.count))
    activate(activation, z.count, &value, slope: &slope, curvature: &curvature)
    return (value, slope, curvature)
  }

  private static let points = [-3.1, -1.4, -0.6, -0.07, 0.05, 0.8, 2.2, 4]

  @Test("values are PyTorch's, derivatives those of the values", arguments: Activation.allCases)
  func derivatives(_ activation: Activation) {
    let (value, slope, curvature) = jet(activation, Self.points)
    expectEqual(value, Self.points.map { referenceActivation(activation, $0) }, to: 1e-14)
    expectEqual(slope, derivative { t in jet(activation, Self.points.map { $0 + t }).value }, to: 1e-11)
    if !activation.isPiecewiseLinear {
      expectEqual(curvature, derivative { t in jet(activation, Self.points.map { $0 + t }).slope }, to: 1e-11)
    }
  }

  @Test("nothing overflows far out", arguments: Activation.allCases)
  func extremes(_ activation: Activation) {
    let (value, slope, curvature) = jet(activation, [-1e3, -40, 40, 1e3])
    let finite = (value + slope + curvature).allSatisfy(\.isFinite)
    #expect(finite)
    expectEqual(
      Array(slope.suffix(2)), activation == .tanh || activation == .sigmoid ? [0, 0] : [1, 1], to: 1e-12, scale: 1)
    let identityLike: Set<Activation> = [.identity, .relu, .leakyRelu, .softplus, .elu, .gelu, .silu]
    expectEqual(value[3], identityLike.contains(activation) ? 1e3 : 1, to: 1e-12)
  }

  @Test("small values keep their relative accuracy")
  func smallValues() {
    // 1 + z and erf(z) - 1 lose all digits; expm1 and erfc don't.
    expectEqual(jet(.elu, [-1e-12]).value, [-1e-12 + 0.5e-24], to: 1e-14, scale: 1e-13)
    expectEqual(jet(.gelu, [-8]).value, [-8 * 6.220960574271785e-16], to: 1e-13, scale: 1e-16)
    expectEqual(jet(.softplus, [-50]).value, [1.9287498479639178e-22], to: 1e-14, scale: 1e-23)
  }

  @Test("at zero relu's slope is 0, leaky relu's 0.01")
  func kinks() {
    #expect(jet(.relu, [0, -0.0]).slope == [0, 0])
    #expect(jet(.leakyRelu, [0]).slope == [0.01])
  }

  @Test("names lead back to their activation", arguments: Activation.allCases)
  func names(_ activation: Activation) {
    #expect(Activation(name: activation.name) == activation)
    #expect(Activation(name: activation.name + "x") == nil)
  }
}
