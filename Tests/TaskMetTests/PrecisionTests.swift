// float32 against float64: the same numbers, all of which float32 has, in the two arithmetics.
//
// Both see the same rows, theta and phi, so that what differs is arithmetic alone. A result is a sum of products a few layers
// deep; with k roundings in a row it is off by about k u of the size of its terms, u = 2^-24 = 6e-8. Here k is a few tens (two
// or three layers of two or three units, the metric's network, the sum over five rows), and where terms cancel (a residual,
// a pull-back through a normalisation) their size is several times the result's. Hence 1e-5 of the result's size, or of a tenth
// of 1, which is the size of theta and of directions; for the cross product of 1, since what moves the scale alone cancels
// under a normalisation: there the result can be zero, and its terms are of the size of the loss.

import Testing

@testable import TaskMetSwift

private let tolerance = 1e-5

/// A problem's objects in float32, and the same numbers in float64.
private struct TwoPrecisions {
  let narrow: (predictor: Predictor, metric: Metric, dataset: Dataset)
  let wide: (predictor: Predictor, metric: Metric, dataset: Dataset)
  let rho: Double

  init(_ problem: Problem) throws {
    let (x, y) = (problem.data.x, problem.data.y)
    narrow = (
      try problem.predictor.converted(to: .float32), try Metric(copying: problem.metric, in: .float32),
      try Dataset(float32: x, y)
    )
    wide = (
      try narrow.predictor.converted(to: .float64), try Metric(copying: narrow.metric, in: .float64),
      try Dataset(x.rounded, y.rounded)
    )
    rho = problem.setting.rho
    for (_, metric, dataset) in [narrow, wide] {
      if problem.setting.weighted { try dataset.setWeights(problem.data.weights) }
      if problem.metricSpec.scaling == .batchTrace { try metric.updateNormalization(rows: dataset.x) }
    }
  }

  func losses(_ threads: Int = 1) throws -> (narrow: MetricisedLoss, wide: MetricisedLoss) {
    (
      try MetricisedLoss(
        narrow.predictor, narrow.metric, narrow.dataset, rho: rho, Workspace(threads: threads)),
      try MetricisedLoss(wide.predictor, wide.metric, wide.dataset, rho: rho, Workspace())
    )
  }
}

extension DenseMatrix {
  /// Each number as float32 has it.
  fileprivate var rounded: DenseMatrix { DenseMatrix(rows, columns, values.map { Double(Float($0)) }) }
}

extension Dataset {
  /// Borrowed float32 rows, padded with NaN.
  fileprivate convenience init(float32 x: DenseMatrix, _ y: DenseMatrix) throws {
    func padded(_ matrix: DenseMatrix) throws -> Buffer<Float> {
      try Buffer((0..<matrix.rows).flatMap { matrix.row($0).map { Float($0) } + [.nan] })
    }
    let memory = NarrowArrays(x: try padded(x), y: try padded(y))
    let owner = CallbackUser(Unmanaged.passRetained(memory).toOpaque()) { pointer in
      Unmanaged<NarrowArrays>.fromOpaque(pointer!).release()
    }
    self.init(
      borrowing: MatrixView(memory.x.base, rows: x.rows, columns: x.columns, stride: x.columns + 1),
      MatrixView(memory.y.base, rows: y.rows, columns: y.columns, stride: y.columns + 1), owner)
  }
}

private final class NarrowArrays {
  let x: Buffer<Float>
  let y: Buffer<Float>

  init(x: Buffer<Float>, y: Buffer<Float>) { (self.x, self.y) = (x, y) }
}

@Suite("float32 against float64")
struct PrecisionTests {
  private static let networks = Registry.predictors.filter { if case .callback = $0.kind { false } else { true } }

  @Test("value, gradient, H w, G w, J'c and the cross product", arguments: networks, Registry.factors)
  func derivatives(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    try Problem.forEach(predictor, factor) { problem in
      let (narrow, wide) = try TwoPrecisions(problem).losses()
      let theta = narrow.predictor.theta
      var random = RandomGenerator(seed: 41)
      let w = [Double].direction(theta.count, &random)
      let c = [Double].normal(problem.data.y.values.count, &random)
      func compare(
        _ what: String, scale: Double = 0.1, _ quantity: (MetricisedLoss) throws -> [Double]
      ) throws {
        let (result, expected) = (try quantity(narrow), try quantity(wide))
        #expect(
          result != expected || largest(expected) < 1e-12, "\(what) is not in float32: \(problem.description)")
        try requireEqual(
          result, expected, to: tolerance, scale: max(largest(expected), scale), "\(what): \(problem.description)")
      }
      try compare("value") { [try $0.value(theta)] }
      try compare("gradient") { try $0.gradient(theta) }
      for loss in [narrow, wide] { try loss.linearize(theta) }
      try compare("H w") { try $0.product(w) }
      try compare("G w") { try $0.product(w, gaussNewton: true) }
      try compare("cross product", scale: 1) { try $0.cross(w) }
      try compare("J'c") { loss in
        var out = [Double](repeating: .nan, count: theta.count)
        let view = try Buffer(c)
        try loss.pullback(MatrixView(view.base, rows: 5, columns: predictor.outputs), into: &out)
        return out
      }
    }
  }

  /// In float32 the iterative solver ends at a residual of 1e-5, which the system's condition multiplies: up to 50 with this
  /// ridge.
  @Test("the hypergradient, by an iterative and a dense solver", arguments: networks, Registry.factors)
  func hypergradient(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    let problem = try Problem(predictor, MetricSpec(factor: factor, floor: 0.05), LossSetting(weighted: true, rho: 0.3))
    let (narrow, wide) = try TwoPrecisions(problem).losses()
    let theta = narrow.predictor.theta
    var random = RandomGenerator(seed: 42)
    let g = [Double].direction(theta.count, &random)
    for solver in [LinearSolver.gaussNewtonCG, .dense] {
      // H of a network that is not trained may be indefinite: then only G makes a good system.
      if solver == .dense, !predictor.isLinear { continue }
      func hypergradient(_ loss: MetricisedLoss) throws -> [Double] {
        var (v, out) = ([Double](repeating: 0, count: g.count), [Double](repeating: .nan, count: loss.metric.phi.count))
        try loss.linearize(theta)
        let options = SolverOptions(solver: solver, tolerance: 1e-12, ridge: 1)
        let report = try loss.hypergradient(g: g, v: &v, options, into: &out)
        #expect(solver != .dense || report.converged, "\(report.residual)")
        return out
      }
      let (result, expected) = (try hypergradient(narrow), try hypergradient(wide))
      try requireEqual(result, expected, to: 50 * tolerance, scale: max(largest(expected), 0.1), problem.description)
    }
  }

  @Test("predictions and products of a predictor alone", arguments: networks)
  func predictorAlone(_ spec: PredictorSpec) throws {
    let problem = try Problem(
      spec, MetricSpec(factor: Registry.factors[0]), LossSetting(weighted: false, rho: 0))
    let both = try TwoPrecisions(problem)
    let (narrow, wide, x) = (both.narrow.predictor, both.wide.predictor, problem.data.x.rounded)
    var random = RandomGenerator(seed: 43)
    let (theta, v) = (narrow.theta, [Double].direction(narrow.parameterCount, &random))
    let c = [Double].normal(x.rows * spec.outputs, &random)
    let dataset = both.wide.dataset
    func compare(_ quantity: (Predictor) throws -> [Double]) throws {
      let (result, expected) = (try quantity(narrow), try quantity(wide))
      #expect(result != expected)
      try requireEqual(result, expected, to: tolerance, scale: max(largest(expected), 0.1), spec.testDescription)
    }
    try compare { try $0.predictions(theta, dataset.x) }
    try compare { try $0.pullback(theta, dataset.x, c) }
    try compare { try $0.pushforward(theta, dataset.x, v) }
    #expect(
      try narrow.predictions(theta, both.narrow.dataset.x) == narrow.predictions(theta, dataset.x),
      "rows of either precision")
    for (product, exists) in [("input", true), ("second order", !narrow.hasNoCurvature)] where exists {
      try compare { predictor in
        let rows = try LinearizedRows(predictor, capacity: x.rows)
        try rows.forward(dataset.x)
        let view = try Buffer(c)
        let cotangents = MatrixView(view.base, rows: x.rows, columns: spec.outputs)
        if product == "input" {
          try rows.pullbackToInputs(cotangents)
          return rows.inputCotangents.array
        }
        try rows.secondOrderProduct(cotangents, v)
        return rows.gradient.array
      }
    }
  }

  @Test("many rows: sums over tiles lose nothing, and threads change no bit", arguments: Registry.factors)
  func manyRows(_ factor: FactorSpec) throws {
    let spec = PredictorSpec(kind: .perceptron(hidden: [3], .tanh))
    let problem = try Problem(
      spec, MetricSpec(factor: factor, scaling: .batchTrace), LossSetting(weighted: true, rho: 0.3), rows: 3000)
    let both = try TwoPrecisions(problem)
    let (narrow, wide) = try both.losses()
    let (parallel, _) = try both.losses(2)
    let theta = narrow.predictor.theta
    try requireEqual(
      try narrow.gradient(theta), try wide.gradient(theta), to: tolerance, scale: 1, factor.testDescription)
    #expect(try narrow.gradient(theta) == parallel.gradient(theta))
    for loss in [narrow, wide, parallel] { try loss.linearize(theta) }
    var random = RandomGenerator(seed: 44)
    let w = [Double].direction(theta.count, &random)
    let (cross, expected) = (try narrow.cross(w), try wide.cross(w))
    try requireEqual(cross, expected, to: tolerance, scale: max(largest(expected), 0.1), factor.testDescription)
    #expect(try cross == parallel.cross(w) && narrow.product(w) == parallel.product(w))
  }

  /// (1e-30)^2 and 1e30 1e30 are outside of float32's range.
  @Test("directions of any size: products are linear", arguments: [1e-60, 1e-30, 1e30, 1e60])
  func scaled(_ size: Double) throws {
    let spec = PredictorSpec(kind: .perceptron(hidden: [3], .tanh))
    let problem = try Problem(
      spec, MetricSpec(factor: Registry.factors[4]), LossSetting(weighted: false, rho: 0.3))
    let (narrow, _) = try TwoPrecisions(problem).losses()
    try narrow.linearize(narrow.predictor.theta)
    var random = RandomGenerator(seed: 45)
    let w = [Double].direction(narrow.parameterCount, &random)
    try requireEqual(1 / size * (try narrow.product(size * w)), try narrow.product(w), to: tolerance, "H w")
    try requireEqual(1 / size * (try narrow.cross(size * w)), try narrow.cross(w), to: tolerance, "cross")
  }
}

extension PrecisionTests {
  private static func trainingProblem(_ predictor: PredictorSpec) throws -> TwoPrecisions {
    try TwoPrecisions(
      Problem(
        predictor, MetricSpec(factor: FactorSpec(structure: .full, conditioning: .constant)),
        LossSetting(weighted: true, rho: 0.1), rows: 400))
  }

  /// A linear problem is solved in float64, from the same numbers.
  @Test("exact solutions agree to float64's accuracy")
  func exact() throws {
    let (narrow, wide) = try Self.trainingProblem(Registry.linearPredictors[0]).losses()
    var (a, b) = (narrow.predictor.theta, wide.predictor.theta)
    _ = try narrow.minimize(&a, InnerOptions(solver: .exact))
    _ = try wide.minimize(&b, InnerOptions(solver: .exact))
    try requireEqual(a, b, to: 1e-12, "theta*")
  }

  @Test("L-BFGS and Adam end where float64 does", arguments: [InnerSolver.lbfgs, .adam])
  func minimisation(_ solver: InnerSolver) throws {
    let (narrow, wide) = try Self.trainingProblem(PredictorSpec(kind: .perceptron(hidden: [3], .tanh))).losses()
    var (a, b) = (narrow.predictor.theta, wide.predictor.theta)
    let start = try wide.value(a)
    let options = InnerOptions(solver: solver, maximumIterations: 400, gradientTolerance: 1e-6)
    let report = try narrow.minimize(&a, options)
    let expected = try wide.minimize(&b, options)
    try #require(expected.value < 0.9 * start)
    try requireEqual(report.value, expected.value, to: 1e-4, scale: start, "\(report) \(expected)")
    try requireEqual(try wide.value(a), report.value, to: tolerance, "the value is that of theta")
  }
}

@Suite("Objects in float32")
struct PrecisionObjectTests {
  private static let spec = PredictorSpec(kind: .perceptron(hidden: [3], .tanh), standardizesTargets: true)

  private static func problem() throws -> Problem {
    try Problem(
      spec, MetricSpec(factor: FactorSpec(structure: .full, conditioning: .hidden), scaling: .batchTrace),
      LossSetting(weighted: false, rho: 0))
  }

  @Test("parameters are rounded once, and stay as they are through copies and back")
  func rounding() throws {
    let problem = try Self.problem()
    let narrow = try problem.predictor.converted(to: .float32)
    let expected = problem.theta.map { Double(Float($0)) }
    #expect(narrow.theta == expected && expected != problem.theta && narrow.precision == .float32)
    #expect(try narrow.copy().theta == expected && narrow.copy().precision == .float32)
    #expect(try narrow.converted(to: .float64).theta == expected)
    try narrow.setParameters(problem.theta)
    #expect(narrow.theta == expected)
    let metric = try Metric(copying: problem.metric, in: .float32)
    #expect(metric.phi == problem.metric.phi.map { Double(Float($0)) } && metric.precision == .float32)
    #expect(try Metric(copying: metric).precision == .float32)
    #expect(metric.normalizationScale == problem.metric.normalizationScale)
    try metric.updateNormalization(rows: problem.data.dataset.x)
    let rows = try Dataset(float32: problem.data.x, problem.data.y)
    #expect(
      try metric.differentiatesNormalization(rows: 5, rows.x), "float64 rows and their rounded copies are the same")
  }

  @Test("what float32 has no room for is refused, and changes nothing")
  func overflow() throws {
    let problem = try Self.problem()
    let narrow = try problem.predictor.converted(to: .float32)
    let before = narrow.theta
    var values = before
    values[3] = 1e39
    expectError(.numerical, "theta[3]") { try narrow.setParameters(values) }
    #expect(narrow.theta == before)
    try problem.predictor.setParameters(values)
    expectError(.numerical, "theta[3]") { _ = try problem.predictor.converted(to: .float32) }
  }

  @Test("a loss takes one precision; a callback predictor has float64")
  func mixing() throws {
    let problem = try Self.problem()
    let both = try TwoPrecisions(problem)
    expectError(.invalidArgument, "metric: its precision must be the predictor's, float64, is float32") {
      _ = try MetricisedLoss(both.wide.predictor, both.narrow.metric, both.wide.dataset, rho: 0, Workspace())
    }
    expectError(.invalidArgument, "dataset: its precision must be the predictor's, float32, is float64") {
      _ = try MetricisedLoss(both.narrow.predictor, both.narrow.metric, both.wide.dataset, rho: 0, Workspace())
    }
    let callback = try PredictorSpec(kind: .callback(secondOrder: true)).make(problem.data.x)
    expectError(.unsupported) { _ = try callback.converted(to: .float32) }
    #expect(try callback.converted(to: .float64).theta == callback.theta)
  }

  @Test("files: F32 tensors, read back with their precision")
  func files() throws {
    let directory = try TemporaryDirectory()
    let both = try TwoPrecisions(Self.problem())
    try (both.narrow.predictor as! NetworkPredictor).save(to: directory.file("p"))
    try both.narrow.metric.save(to: directory.file("m"))
    let file = try SafeTensors(reading: directory.file("p"))
    #expect(file.tensors.filter { $0.name.hasPrefix("layers") }.allSatisfy { $0.precision == .float32 })
    #expect(file.tensors.filter { $0.name.hasPrefix("target") }.allSatisfy { $0.precision == .float64 })
    #expect(try file.string("version") == "2")
    let (predictor, metric) = (
      try NetworkPredictor.load(from: directory.file("p")), try Metric.load(from: directory.file("m"))
    )
    #expect(predictor.precision == .float32 && predictor.theta == both.narrow.predictor.theta)
    #expect(metric.precision == .float32 && metric.phi == both.narrow.metric.phi)
    #expect(metric.normalizationScale == both.narrow.metric.normalizationScale)
    let x = both.narrow.dataset.x
    #expect(try metric.differentiatesNormalization(rows: 5, x))
    #expect(try both.narrow.metric.differentiatesNormalization(rows: 5, x))
    #expect(try metric.lambda(x) == both.narrow.metric.lambda(x))
    try (both.wide.predictor as! NetworkPredictor).save(to: directory.file("w"))
    #expect(try SafeTensors(reading: directory.file("w")).string("version") == "1")
  }

  @Test("tensors of one model must be of one type")
  func mixedFile() throws {
    let directory = try TemporaryDirectory()
    try (try Self.problem().predictor.converted(to: .float32) as! NetworkPredictor).save(to: directory.file("p"))
    let original = try SafeTensors(reading: directory.file("p"))
    var mixed = SafeTensors()
    for (key, value) in original.metadata { mixed.add(key, value) }
    for tensor in original.tensors {
      try mixed.add(
        tensor.name, shape: tensor.shape, tensor.values.base,
        in: tensor.name == "layers.1.bias" ? .float64 : tensor.precision)
    }
    try mixed.write(to: directory.file("mixed"))
    expectError(.format, "layers.1.bias") { _ = try NetworkPredictor.load(from: directory.file("mixed")) }
  }
}
