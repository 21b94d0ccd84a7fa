// The metricised loss: every derivative, for every predictor x structure x conditioning x normalisation x floor x
// weights x rho, against differences and explicit formulas.

import Testing

@testable import TaskMetSwift

@Suite("The metricised loss")
struct LossContractTests {
  @Test("value = the formula, gradient = differences of the value", arguments: Registry.predictors, Registry.factors)
  func gradient(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    try Problem.forEach(predictor, factor) { problem in
      let loss = try problem.loss()
      let theta = problem.theta
      try requireEqual(try loss.value(theta), problem.referenceValue(theta), to: 1e-13, problem.description)
      let gradient = try loss.gradient(theta)
      var random = RandomGenerator(seed: 21)
      let d = [Double].direction(theta.count, &random)
      let expected = try derivative(step: predictor.step) { try loss.value(theta .+ $0 * d) }
      try requireEqual(dot(gradient, d), expected, to: 1e-9, scale: 0.1 * norm(gradient), problem.description)
    }
  }

  @Test("H w = differences of the gradient", arguments: Registry.predictors, Registry.factors)
  func hessian(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    try Problem.forEach(predictor, factor) { problem in
      let loss = try problem.loss()
      let theta = problem.theta
      try loss.linearize(theta)
      var random = RandomGenerator(seed: 22)
      let w = [Double].direction(theta.count, &random)
      let u = [Double].direction(theta.count, &random)
      let hw = try loss.product(w)
      let hu = try loss.product(u)
      try requireEqual(dot(u, hw), dot(w, hu), to: 1e-12, scale: 0.1 * norm(hw), "symmetry: \(problem.description)")
      let expected =
        try predictor.lacksSecondOrder
        ? loss.product(w, gaussNewton: true)
        : derivative(step: predictor.step) { try loss.gradient(theta .+ $0 * w) }
      try requireEqual(hw, expected, to: 1e-9, problem.description)
    }
  }

  @Test("G w = J' B J w", arguments: Registry.predictors, Registry.factors)
  func gaussNewton(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    var known: DenseMatrix?  // the same for all metrics
    try Problem.forEach(predictor, factor) { problem in
      let loss = try problem.loss()
      let theta = problem.theta
      try loss.linearize(theta)
      var random = RandomGenerator(seed: 23)
      let w = [Double].direction(theta.count, &random)
      let jacobian = try known ?? problem.predictor.jacobian(theta, problem.data.dataset.x)
      known = jacobian
      let weighted = problem.applyMetric(jacobian * w)
      let penalty = zip(predictor.penaltyMask(theta.count), w).map { problem.setting.rho * $0 * $1 }
      try requireEqual(
        try loss.product(w, gaussNewton: true), jacobian.transposed * weighted .+ penalty, to: 1e-12,
        problem.description)
    }
  }

  @Test("the cross product = differences in phi of <gradient, v>", arguments: Registry.predictors, Registry.factors)
  func crossProduct(_ predictor: PredictorSpec, _ factor: FactorSpec) throws {
    try Problem.forEach(predictor, factor) { problem in
      let loss = try problem.loss()
      try loss.linearize(problem.theta)
      var random = RandomGenerator(seed: 24)
      let v = [Double].direction(problem.theta.count, &random)
      let cross = try loss.cross(v)
      let phi = problem.metric.phi
      let d = [Double].direction(phi.count, &random)
      let moved = try problem.movingMetric()
      let expected = try derivative { dot(try moved(phi .+ $0 * d).gradient(problem.theta), v) }
      try requireEqual(dot(cross, d), -expected, to: 1e-9, scale: max(0.1 * norm(cross), 1e-2), problem.description)
    }
  }
}

extension Problem {
  /// L_pred by the plain formulas; Lambda is the one of `MetricSpec.lambda`.
  func referenceValue(_ theta: [Double]) -> Double {
    let penalty = zip(predictorSpec.penaltyMask(theta.count), theta).reduce(0) { $0 + $1.0 * $1.1 * $1.1 }
    return referenceLoss(
      predictorSpec.predictions(theta, data.x).values, data.y, referenceLambda, weights: data.weights)
      + setting.rho / 2 * penalty
  }

  var referenceLambda: [DenseMatrix] {
    metricSpec.lambda(metric.phi, outputs: predictor.outputs, data.x, m: metric.normalizationScale)
  }

  /// (2/N) s_i Lambda_i a_i, row by row.
  func applyMetric(_ a: [Double]) -> [Double] {
    let n = predictor.outputs
    return referenceLambda.enumerated().flatMap { i, lambda in
      2 / Double(data.x.rows) * data.weights[i] * (lambda * Array(a[(i * n)..<((i + 1) * n)]))
    }
  }
}
