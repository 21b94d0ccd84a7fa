// Every metric alone: Lambda, the pull-back through it, the regularisation, and when m of batch_trace is
// differentiated.

import Testing

@testable import TaskMetSwift

@Suite("Metrics")
struct MetricContractTests {
  /// A metric, the rows it is asked for, and what it takes to move phi.
  private struct Case {
    let spec: MetricSpec
    let outputs: Int
    let data: TestData
    let metric: Metric

    init(_ spec: MetricSpec, outputs: Int, rows: Int) throws {
      (self.spec, self.outputs) = (spec, outputs)
      data = try TestData(rows: rows, outputs: outputs)
      metric = try spec.make(outputs: outputs, data.x, rows: data.dataset.x)
    }

    func derivative(along d: [Double], _ f: (Metric) throws -> Double) throws -> Double {
      let (moved, phi) = (try Metric(copying: metric), metric.phi)
      return try TaskMetTests.derivative(step: spec.factor.step) { t in
        try spec.move(moved, to: phi .+ t * d, rows: data.dataset.x)
        return try f(moved)
      }
    }
  }

  /// All metrics with this factor on a few rows; those of three outputs with a floor also on several blocks and lanes.
  private static func forEach(_ factor: FactorSpec, many: Bool = true, _ body: (Case) throws -> Void) throws {
    for outputs in [3, 1] {
      for spec in Registry.metrics(factor, outputs: outputs) {
        try body(try Case(spec, outputs: outputs, rows: 5))
        if many, outputs == 3, spec.floor > 0 { try body(try Case(spec, outputs: outputs, rows: 400)) }
      }
    }
  }

  @Test("Lambda = the formula", arguments: Registry.factors)
  func evaluate(_ factor: FactorSpec) throws {
    try Self.forEach(factor) { test in
      let metric = test.metric
      let expected = test.spec.lambda(
        metric.phi, outputs: test.outputs, test.data.x, m: metric.normalizationScale
      ).flatMap(\.values)
      try requireEqual(try metric.lambda(test.data.dataset.x), expected, to: 1e-13, test.spec.testDescription)
    }
  }

  @Test("the pull-back of Lambda = its differences", arguments: Registry.factors)
  func pullback(_ factor: FactorSpec) throws {
    try Self.forEach(factor) { test in
      let x = test.data.dataset.x
      var random = RandomGenerator(seed: 41)
      // Not symmetric.
      let cotangent = [Double].normal(x.rows * test.outputs * test.outputs, &random)
      let pulled = try test.metric.pullback(x, cotangent)
      let d = [Double].direction(pulled.count, &random)
      let expected = try test.derivative(along: d) { dot(try $0.lambda(x), cotangent) }
      try requireEqual(
        dot(pulled, d), expected, to: 1e-8, scale: 0.1 * max(norm(pulled), norm(cotangent)), test.spec.testDescription)
    }
  }

  @Test("a cotangent of rank two = the same one formed", arguments: Registry.factors)
  func rankTwo(_ factor: FactorSpec) throws {
    try Self.forEach(factor) { test in
      let (x, n) = (test.data.dataset.x, test.outputs)
      var random = RandomGenerator(seed: 42)
      let alpha = [Double].normal(x.rows, &random)
      let u = [Double].normal(x.rows * n, &random)
      let e = [Double].normal(x.rows * n, &random)
      let lambda = try test.metric.lambda(x)
      var lambdaE = [Double](repeating: 0, count: x.rows * n)
      var formed = [Double](repeating: 0, count: x.rows * n * n)
      for i in 0..<x.rows {
        for j in 0..<n {
          for k in 0..<n {
            lambdaE[i * n + j] += lambda[(i * n + j) * n + k] * e[i * n + k]
            formed[(i * n + j) * n + k] = alpha[i] * (u[i * n + j] * e[i * n + k] + e[i * n + j] * u[i * n + k])
          }
        }
      }
      let expected = try test.metric.pullback(x, formed)
      let actual = try test.metric.pullback(x, alpha: alpha, u: u, e: e, lambdaE: lambdaE)
      try requireEqual(actual, expected, to: 1e-11, scale: 1, test.spec.testDescription)
    }
  }

  @Test("the regularisation = the formula, its gradient = differences", arguments: Registry.factors)
  func regularizer(_ factor: FactorSpec) throws {
    try Self.forEach(factor) { test in
      let x = test.data.dataset.x
      let lambda = try test.metric.lambda(x)
      // |entry| as sign times entry, with the signs of where we are: no kink comes into the differences.
      let signs = lambda.map { $0 > 0 ? 1.0 : $0 < 0 ? -1 : 0 }
      let identity = (0..<x.rows).flatMap { _ in DenseMatrix.identity(test.outputs).values }
      func formula(_ lambda: [Double]) -> Double {
        (0.3 * dot(signs, lambda) + 0.7 * dot(lambda .- identity, lambda .- identity)) / Double(x.rows)
      }
      var gradient = [Double](repeating: .nan, count: test.metric.parameterCount)
      let value = try test.metric.regularizer(
        rows: x.rows, factor.isConditional ? BlockedMatrix(x) : nil, l1: 0.3, identity: 0.7, gradient: &gradient)
      try requireEqual(value, formula(lambda), to: 1e-13, test.spec.testDescription)
      var random = RandomGenerator(seed: 43)
      let d = [Double].direction(gradient.count, &random)
      let expected = try test.derivative(along: d) { formula(try $0.lambda(x)) }
      try requireEqual(
        dot(gradient, d), expected, to: 1e-8, scale: max(0.1 * norm(gradient), 1e-2), test.spec.testDescription)
    }
  }

  @Test("Lambda is symmetric and positive definite", arguments: Registry.factors)
  func definiteness(_ factor: FactorSpec) throws {
    try Self.forEach(factor, many: false) { test in
      let lambda = try test.metric.lambda(test.data.dataset.x)
      let n = test.outputs
      for i in 0..<5 {
        let matrix = DenseMatrix(n, n, Array(lambda[(i * n * n)..<((i + 1) * n * n)]))
        #expect(matrix.values == matrix.transposed.values)
        let system = try SymmetricSystem(consuming: Buffer(matrix.values), order: n)
        #expect(!system.isIndefinite)
      }
    }
  }
}

extension MetricContractTests {
  @Test("the spectrum and the diagonal without forming Lambda = Lambda's", arguments: Registry.factors)
  func spectrum(_ factor: FactorSpec) throws {
    try Self.forEach(factor, many: false) { test in
      let n = test.outputs
      let lambda = try test.metric.lambda(test.data.dataset.x)
      let scratch = try Buffer<Double>(count: n * n)
      try MetricEvaluation<Double>(test.metric, rows: 5).forEachBlock(rows: 5, test.data.dataset.featureRows) {
        _, count, factors in
        for i in 0..<count {
          let formed = Array(lambda[(i * n * n)..<((i + 1) * n * n)])
          let (smallest, largest) = try factors.extremeEigenvalues(i, scratch: scratch.base)
          var matrix = formed
          let expected = try extremeEigenvalues(&matrix, order: n)
          try requireEqual(
            [smallest, largest], [expected.smallest, expected.largest], to: 1e-13, test.spec.testDescription)
          for k in 0..<n {
            try requireEqual(factors.diagonalEntry(i, k), formed[k * n + k], to: 1e-13, test.spec.testDescription)
          }
        }
      }
    }
  }
}

@Suite("A metric's start, settings and normalisation")
struct MetricSettingsTests {
  private static func make(_ factor: FactorSpec, outputs: Int = 3, rank: Int = 2, seed: UInt64 = 1) throws -> Metric {
    try Metric(
      inputs: 2, outputs: outputs, structure: factor.structure, rank: rank, hidden: factor.hiddenLayers,
      activation: factor.activation, seed: seed)
  }

  @Test("a new metric is close to I, with eps = 0.1", arguments: Registry.factors)
  func start(_ factor: FactorSpec) throws {
    let data = try TestData(outputs: 3)
    let metric = try Self.make(factor)
    expectEqual(metric.epsilon, 0.1, to: 1e-15)
    #expect(metric.normalization == .none && metric.floor == 0 && metric.normalizationScale == 1)
    let lambda = try metric.lambda(data.dataset.x)
    for i in 0..<5 {
      let matrix = DenseMatrix(3, 3, Array(lambda[(9 * i)..<(9 * i + 9)]))
      let tolerance = factor.isConditional ? 0.2 : 1e-14
      if factor.structure == .lowrank {
        // Orthonormal columns: a projection of rank 2 times 1.35, and 0.1 I; the trace is 3.
        let excess = matrix - 0.1 * .identity(3)
        expectEqual((excess * excess).values, (1.35 * excess).values, to: tolerance, scale: 1)
        expectEqual((0..<3).reduce(0) { $0 + matrix[$1, $1] }, 3, to: tolerance)
      } else {
        expectEqual(matrix.values, DenseMatrix.identity(3).values, to: tolerance)
      }
    }
    if factor.isConditional { #expect(Array(lambda[0..<9]) != Array(lambda[9..<18]), "it depends on x") }
  }

  @Test("the same seed gives the same metric", arguments: Registry.factors)
  func seeds(_ factor: FactorSpec) throws {
    let phi = try Self.make(factor, seed: 4).phi
    #expect(try Self.make(factor, seed: 4).phi == phi)
    let usesSeed = factor.isConditional || factor.structure == .lowrank
    let other = try Self.make(factor, seed: 5).phi
    #expect((other != phi) == usesSeed)
  }

  @Test("frobenius and trace are refused where they leave nothing to learn")
  func refusals() throws {
    for normalization in [MetricNormalization.frobenius, .trace] {
      for factor in Registry.factors {
        expectError(.unsupported) { try Self.make(factor, outputs: 1, rank: 1).setNormalization(normalization) }
        if factor.structure == .scalar {
          expectError(.unsupported) { try Self.make(factor).setNormalization(normalization) }
        }
      }
    }
    expectError(.state, "m without batch_trace") {
      try Self.make(Registry.factors[0]).updateNormalization(rows: 1, nil)
    }
  }

  @Test("m = the mean trace over the rows, and stays when phi changes", arguments: Registry.factors)
  func scale(_ factor: FactorSpec) throws {
    let data = try TestData(rows: 600, outputs: 3)
    let spec = MetricSpec(factor: factor, floor: 0.05)
    let metric = try spec.make(outputs: 3, data.x, rows: data.dataset.x)
    try metric.setNormalization(.batchTrace)
    #expect(metric.normalizationScale == 1)
    try metric.updateNormalization(rows: data.dataset.x)
    let traces = spec.lambda(metric.phi, outputs: 3, data.x, m: 1).map { $0[0, 0] + $0[1, 1] + $0[2, 2] }
    let m = traces.reduce(0, +) / (3 * 600)
    expectEqual(metric.normalizationScale, m, to: 1e-13)
    try metric.setParameters(metric.phi .+ [Double](repeating: 0.1, count: metric.parameterCount))
    expectEqual(metric.normalizationScale, m, to: 1e-13)
  }

  @Test("m is differentiated only where nothing that it was made from has changed", arguments: Registry.factors)
  func differentiation(_ factor: FactorSpec) throws {
    let data = try TestData(outputs: 3)
    let (x, other) = (data.dataset.x, try TestData(outputs: 3, seed: 2).dataset)
    let metric = try MetricSpec(factor: factor, scaling: .batchTraceStale).make(outputs: 3, data.x, rows: x)
    func isDifferentiated(_ rows: MatrixView) throws -> Bool {
      try metric.differentiatesNormalization(rows: rows.rows, rows)
    }
    func update() throws { try metric.updateNormalization(rows: x) }
    #expect(try !isDifferentiated(x), "phi has changed since")
    try update()
    #expect(try isDifferentiated(x))
    // A constant metric's m is the same for all rows.
    #expect(try isDifferentiated(other.x) == !factor.isConditional)
    #expect(try isDifferentiated(x.rows(0..<4)) == !factor.isConditional)
    #expect(try Metric(copying: metric).differentiatesNormalization(rows: 5, x))
    metric.setFloor(0.01)
    #expect(try !isDifferentiated(x), "the floor has changed since")
    try update()
    metric.setStandardization(nil)
    #expect(try !isDifferentiated(x), "the standardisation has changed since")
    try update()
    metric.restoreNormalization(scale: metric.normalizationScale)
    #expect(try !isDifferentiated(x), "m was set from outside")
    try update()
    try metric.setNormalization(.none)
    #expect(try !isDifferentiated(x), "no normalisation at all")
  }

  @Test("copies are independent", arguments: Registry.factors)
  func copies(_ factor: FactorSpec) throws {
    let data = try TestData(outputs: 3)
    let spec = MetricSpec(factor: factor, scaling: .batchTrace, floor: 0.05)
    let metric = try spec.make(outputs: 3, data.x, rows: data.dataset.x)
    let lambda = try metric.lambda(data.dataset.x)
    let copy = try Metric(copying: metric)
    try metric.setParameters([Double](repeating: 0.5, count: metric.parameterCount))
    metric.setFloor(1)
    #expect(try copy.lambda(data.dataset.x) == lambda)
    metric.become(copy)
    #expect(try metric.lambda(data.dataset.x) == lambda && metric.floor == 0.05)
    #expect(try metric.differentiatesNormalization(rows: 5, data.dataset.x), "m and what it was made from come along")
  }

  @Test("a floor set later leaves eps where it was, or close to the floor", arguments: [0.0, 0.05, 0.1, 0.4])
  func floorKeepingEpsilon(_ floor: Double) throws {
    let metric = try Self.make(FactorSpec(structure: .diagonal, conditioning: .constant))
    metric.setFloorKeepingEpsilon(floor)
    #expect(metric.floor == floor)
    expectEqual(metric.epsilon, floor <= 0.09 ? 0.1 : floor + 0.01, to: 1e-14)
  }
}
