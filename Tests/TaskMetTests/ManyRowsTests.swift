// The loss on more rows than a tile and a lane hold: every row gets its own y, weight, residual and metric, and
// neither the number of threads nor what is kept in memory changes a bit.

import Testing

@testable import TaskMetSwift

/// 600 rows are five tiles, of which the last is a part, in two lanes.
private let rowCount = 600

private let predictors = [
  Registry.linearPredictors[5],
  PredictorSpec(kind: .perceptron(hidden: [3, 2], .tanh), penalizesBias: false),
  PredictorSpec(kind: .perceptron(hidden: [5], .relu, output: .tanh), outputs: 1, standardizesTargets: true),
  PredictorSpec(kind: .callback(secondOrder: true)),
]

private let metrics = [
  MetricSpec(factor: FactorSpec(structure: .scalar, conditioning: .standardized), scaling: .batchTrace),
  MetricSpec(factor: FactorSpec(structure: .scalar, conditioning: .rectified), scaling: .batchTrace, floor: 0.05),
  MetricSpec(factor: FactorSpec(structure: .diagonal, conditioning: .constant), floor: 0.05),
  MetricSpec(factor: FactorSpec(structure: .diagonal, conditioning: .affine), scaling: .batchTraceStale),
  MetricSpec(factor: FactorSpec(structure: .lowrank, conditioning: .constant), scaling: .trace),
  MetricSpec(factor: FactorSpec(structure: .lowrank, conditioning: .hidden), scaling: .batchTrace, floor: 0.05),
  MetricSpec(factor: FactorSpec(structure: .full, conditioning: .hidden), scaling: .frobenius),
]

private let pairs = predictors.flatMap { predictor in
  metrics.filter { $0.isValid(outputs: predictor.outputs) }.map { (predictor, $0) }
}

/// On so many rows some are close to a kink: there differences say nothing.
private let smoothPairs = pairs.filter { !$0.hasKinks && $1.factor.conditioning != .rectified }

private let setting = LossSetting(weighted: true, rho: 0.3)

/// What the bits of a loss are compared by.
private struct Results: Equatable {
  let value: Double
  let gradient: [Double]
  let hessian: [Double]
  let gaussNewton: [Double]
  let cross: [Double]

  init(_ loss: MetricisedLoss, _ theta: [Double]) throws {
    var random = RandomGenerator(seed: 51)
    let w = [Double].direction(theta.count, &random)
    try loss.linearize(theta)
    // In an order that makes each step on what the one before has left in the work space.
    hessian = try loss.product(w)
    cross = try loss.cross(w)
    value = try loss.value(theta)
    gaussNewton = try loss.product(w, gaussNewton: true)
    gradient = try loss.gradient(theta)
  }
}

@Suite("The loss on many rows")
struct ManyRowsTests {
  @Test("value and derivatives = the formulas, row by row", arguments: pairs)
  func formulas(_ predictor: PredictorSpec, _ metric: MetricSpec) throws {
    let problem = try Problem(predictor, metric, setting, rows: rowCount)
    let (theta, x) = (problem.theta, problem.data.dataset.x)
    let results = try Results(problem.loss(), theta)
    var random = RandomGenerator(seed: 51)
    let w = [Double].direction(theta.count, &random)
    func penalty(_ a: [Double]) -> [Double] {
      zip(predictor.penaltyMask(theta.count), a).map { setting.rho * $0 * $1 }
    }
    let residual = predictor.predictions(theta, problem.data.x).values.values .- problem.data.y.values
    let weighted = problem.applyMetric(residual)
    expectEqual(results.value, problem.referenceValue(theta), to: 1e-12)
    expectEqual(results.gradient, try problem.predictor.pullback(theta, x, weighted) .+ penalty(theta), to: 1e-11)
    let u = try problem.predictor.pushforward(theta, x, w)
    expectEqual(
      results.gaussNewton, try problem.predictor.pullback(theta, x, problem.applyMetric(u)) .+ penalty(w), to: 1e-11)
    let lambda = problem.referenceLambda
    let n = predictor.outputs
    let lambdaE = (0..<rowCount).flatMap { lambda[$0] * Array(residual[(n * $0)..<(n * $0 + n)]) }
    let alpha = (-1 / Double(rowCount)) * problem.data.weights
    expectEqual(
      results.cross, try problem.metric.pullback(x, alpha: alpha, u: u, e: residual, lambdaE: lambdaE), to: 1e-11)
  }

  @Test("H w = that of the parts", arguments: pairs)
  func parts(_ predictor: PredictorSpec, _ metric: MetricSpec) throws {
    let problem = try Problem(predictor, metric, setting, rows: rowCount)
    var random = RandomGenerator(seed: 51)
    let w = [Double].direction(problem.theta.count, &random)
    var sum = [Double](repeating: 0, count: w.count)
    for start in stride(from: 0, to: rowCount, by: 50) {
      let rows = try Buffer(Array(start..<(start + 50)))
      let part = try Dataset(rows, of: problem.data.dataset)
      try part.gather(rows, of: problem.data.dataset)
      let loss = try MetricisedLoss(problem.predictor, problem.metric, part, rho: setting.rho, Workspace())
      try loss.linearize(problem.theta)
      sum = sum .+ (50 / Double(rowCount)) * (try loss.product(w))
    }
    expectEqual(try Results(problem.loss(), problem.theta).hessian, sum, to: 1e-12)
  }

  @Test("H w and the cross product = differences", arguments: smoothPairs)
  func differences(_ predictor: PredictorSpec, _ metric: MetricSpec) throws {
    let problem = try Problem(predictor, metric, setting, rows: rowCount)
    let (theta, phi) = (problem.theta, problem.metric.phi)
    let loss = try problem.loss()
    let results = try Results(loss, theta)
    var random = RandomGenerator(seed: 51)
    let w = [Double].direction(theta.count, &random)
    expectEqual(results.hessian, try derivative { try loss.gradient(theta .+ $0 * w) }, to: 1e-9)
    let d = [Double].direction(phi.count, &random)
    let moved = try problem.movingMetric()
    let expected = try derivative { dot(try moved(phi .+ $0 * d).gradient(theta), w) }
    expectEqual(dot(results.cross, d), -expected, to: 1e-9)
  }

  @Test("any number of threads and any cache give the same bits", arguments: pairs)
  func bits(_ predictor: PredictorSpec, _ metric: MetricSpec) throws {
    let problem = try Problem(predictor, metric, setting, rows: rowCount)
    let expected = try Results(problem.loss(), problem.theta)
    for workspace in [Workspace(threads: 2), Workspace(threads: 7, metricCacheBytes: 1)] {
      let other = try Problem(predictor, metric, setting, rows: rowCount, workspace)
      let results = try Results(other.loss(), other.theta)
      #expect(results == expected, "\(workspace.threads) threads, \(workspace.metricCacheBytes) bytes")
    }
  }

  @Test("what a workspace keeps follows phi, the data, the weights and the settings", arguments: [1 << 28, 1])
  func workspace(_ cacheBytes: Int) throws {
    let problem = try Problem(predictors[0], metrics[5], setting, Workspace(metricCacheBytes: cacheBytes))
    let (theta, data) = (problem.theta, problem.data)
    let dataset = try Dataset(data.x, data.y)
    func check(_ what: String) throws {
      func results(_ workspace: Workspace) throws -> Results {
        try Results(MetricisedLoss(problem.predictor, problem.metric, dataset, rho: 0.1, workspace), theta)
      }
      let kept = try results(problem.workspace)
      #expect(try kept == results(Workspace()), "\(what)")
    }
    try check("first use")
    try problem.metric.setParameters(
      problem.metric.phi .+ [Double](repeating: 0.1, count: problem.metric.parameterCount))
    try check("phi")
    problem.metric.setFloor(0.2)
    try check("floor")
    try problem.metric.setNormalization(.trace)
    try check("normalisation")
    problem.metric.setStandardization(Standardization(mean: try Buffer([1, 2]), scale: try Buffer([3, 4])))
    try check("the metric's standardisation")
    let other = try TestData(outputs: 3, seed: 9)
    try dataset.refill(other.dataset.x, other.dataset.y, weights: nil)
    try check("the rows")
    try dataset.setWeights([1, 2, 0, 3, 0.5])
    try check("the weights")
    let predictor = problem.predictor as! NetworkPredictor
    predictor.setStandardization(inputs: nil, targets: predictor.targetStandardization)
    try check("the predictor's standardisation")
    let larger = try TestData(rows: 300, outputs: 3, seed: 10)
    try dataset.refill(larger.dataset.x, larger.dataset.y, weights: larger.weights)
    try check("more rows")
  }

  @Test("m set from kept factors, and factors copied from other rows', are what evaluating gives", arguments: [1, 2])
  func keptFactors(_ threads: Int) throws {
    let spec = MetricSpec(factor: FactorSpec(structure: .lowrank, conditioning: .hidden), scaling: .batchTrace)
    let problem = try Problem(predictors[0], spec, setting, rows: rowCount, Workspace(threads: threads))
    let (metric, dataset, theta) = (problem.metric, problem.data.dataset, problem.theta)
    let (expected, m) = (try Results(problem.loss(), theta), metric.normalizationScale)
    try metric.setParameters(metric.phi)  // m is out of date
    let table = try problem.workspace.memory(problem.predictor, metric, dataset, .float64)
    try table.updateNormalization(dataset)
    expectEqual(metric.normalizationScale, m, to: 1e-14)
    #expect(try metric.differentiatesNormalization(rows: rowCount, dataset.x))
    let results = try Results(problem.loss(), theta)
    expectEqual(
      results.gradient + results.hessian + results.cross, expected.gradient + expected.hessian + expected.cross,
      to: 1e-13)
    // A minibatch in any order, with repetitions.
    let rows = try Buffer([599, 0, 128, 127, 300, 0])
    let batch = try Dataset(rows, of: dataset)
    func value(_ factors: GatheredFactors?) throws -> Results {
      try Results(
        MetricisedLoss(problem.predictor, metric, batch, rho: 0.1, Workspace(), factors: factors), theta)
    }
    #expect(try value(GatheredFactors(table: table, rows: rows)) == value(nil))
  }

  /// The rows are cut differently by the pull-back, which sums up the same derivatives.
  @Test("the regularisation of many rows", arguments: [false, true])
  func regularizer(_ conditional: Bool) throws {
    for scaling in [Scaling.none, .batchTrace] {
      let factor = FactorSpec(structure: .full, conditioning: conditional ? .hidden : .constant)
      let data = try TestData(rows: 300, outputs: 3)
      let metric = try MetricSpec(factor: factor, scaling: scaling).make(outputs: 3, data.x, rows: data.dataset.x)
      let x = conditional ? data.dataset.featureRows : nil
      let lambda = try metric.lambda(data.dataset.x)
      let off = lambda.enumerated().map { $1 - ($0 % 9 % 4 == 0 ? 1 : 0) }
      let signs = lambda.map { $0 > 0 ? 1.0 : -1 }
      let cotangent = try Buffer((0.3 / 300) * signs .+ (1.4 / 300) * off)
      var (expected, gradient) = (
        [Double](repeating: 0, count: metric.parameterCount), [Double](repeating: .nan, count: metric.parameterCount)
      )
      try metric.pullback(rows: 300, x, .dense(cotangent.base), into: &expected)
      let value = try metric.regularizer(rows: 300, x, l1: 0.3, identity: 0.7, gradient: &gradient)
      expectEqual(value, (0.3 * dot(signs, lambda) + 0.7 * dot(off, off)) / 300, to: 1e-13)
      expectEqual(gradient, expected, to: 1e-12)
    }
  }

  /// Rows times n times n numbers are not needed for it: here they would be 4 TB.
  @Test("the regularisation of a constant metric takes one row")
  func constantRegularizer() throws {
    let metric = try Metric(
      inputs: 0, outputs: 500, structure: .diagonal, rank: 1, hidden: nil, activation: .identity, seed: 1)
    var gradient = [Double](repeating: .nan, count: metric.parameterCount)
    _ = try metric.regularizer(rows: 2_000_000, nil, l1: 0.3, identity: 0.7, gradient: &gradient)
    var one = gradient
    _ = try metric.regularizer(rows: 1, nil, l1: 0.3, identity: 0.7, gradient: &one)
    #expect(gradient == one && gradient.allSatisfy(\.isFinite))
  }

  /// The loss of all rows is the mean of the parts' losses, and so is everything else. The network is so wide that the
  /// activations of all rows are too much to keep between products, and those of a part are not.
  @Test("where activations aren't kept, H w and the cross product are the same")
  func recomputed() throws {
    let predictor = try NetworkPredictor(
      inputs: 2, hidden: [7000], outputs: 1, activation: .tanh, outputActivation: .identity, seed: 1)
    let data = try TestData(rows: 400, outputs: 1, weighted: true)
    let metric = try MetricSpec(factor: FactorSpec(structure: .diagonal, conditioning: .affine))
      .make(outputs: 1, data.x, rows: data.dataset.x)
    func results(_ rows: Range<Int>) throws -> (keeps: Bool, vectors: [[Double]]) {
      let part = try Dataset(
        copying: data.dataset.x.rows(rows), data.dataset.y.rows(rows))
      try part.setWeights(Array(data.weights[rows]))
      let loss = try MetricisedLoss(predictor, metric, part, rho: 0.1, Workspace())
      let results = try Results(loss, predictor.theta)
      return (
        loss.memory.keepsLinearization,
        [[results.value], results.gradient, results.hessian, results.gaussNewton, results.cross]
      )
    }
    let all = try results(0..<400)
    let parts = [try results(0..<200), try results(200..<400)]
    #expect(!all.keeps && parts[0].keeps)
    for (index, vector) in all.vectors.enumerated() {
      expectEqual(vector, 0.5 * parts[0].vectors[index] .+ 0.5 * parts[1].vectors[index], to: 1e-11)
    }
  }
}
