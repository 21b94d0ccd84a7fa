// The metric of the dynamics' errors, by coordinate of the state, and how it is learned.

import CTaskMet

/// What the metric may be.
public enum MetricShape: String, CaseIterable, Sendable {
  /// A weight for each coordinate.
  case diagonal
  /// A full matrix that a network makes of the state.
  case fullConditional = "full-conditional"
}

public struct MetricSettings: Equatable, Sendable {
  public var shape = MetricShape.diagonal
  /// Frobenius: Lambda = A sqrt(n) / |A|_F.
  public var isNormalized = true
  /// Of the sum of |Lambda_jk|.
  public var l1 = 0.0
  public var rate = 1e-3
  /// Of the conditional metric's network.
  public var hidden = [32, 32]

  public init() {}
}

/// phi, its Adam, and the metric that holds it.
final class StateMetric {
  let metric: Metric
  private let settings: MetricSettings
  private let inputs: Int
  private let adam: Adam
  private var parameters: [Double]
  private var gradient: [Double]
  private var regularizerGradient: [Double]

  init(observationCount: Int, _ settings: MetricSettings, seed: UInt64) throws {
    self.settings = settings
    inputs = observationCount + CartPole.actionCount
    switch settings.shape {
    case .diagonal:
      metric = try .constant(outputs: observationCount, structure: .diagonal)
    case .fullConditional:
      metric = try .conditional(
        inputs: inputs, outputs: observationCount, structure: .full, hidden: settings.hidden, seed: seed)
      // The metric is a function of the state alone: scaled by 1e30 the action's indicators, and the gradients of their
      // weights, are nothing.
      try metric.setScale(
        [Double](repeating: 1, count: observationCount) + [Double](repeating: 1e30, count: CartPole.actionCount))
    }
    if settings.isNormalized { try metric.normalize() }
    parameters = try metric.parameters()
    gradient = [Double](repeating: 0, count: parameters.count)
    regularizerGradient = gradient
    adam = try Adam(count: parameters.count, rate: settings.rate)
  }

  /// phi <- Adam(dL_task/dphi + the L1 term's gradient), from g = dL_task/dtheta, on the rows that the loss holds.
  func step(_ loss: SteppedLoss, _ batch: Batch, _ g: [Double], _ options: taskmet_solver_options) throws {
    try loss.hypergradient(g, options, into: &gradient)
    if settings.l1 > 0 {
      try metric.regularizerGradient(
        l1: settings.l1, rows: rows(of: batch), batch.modelInputs, features: inputs, into: &regularizerGradient)
      for k in gradient.indices { gradient[k] += regularizerGradient[k] }
    }
    try adam.step(&parameters, along: gradient)
    try metric.setParameters(parameters)
  }

  /// A constant metric is the same at every row.
  private func rows(of batch: Batch) -> Int { settings.shape == .diagonal ? 1 : batch.rows }

  /// Lambda's diagonal, its mean over the batch.
  func diagonal(_ batch: Batch) throws -> [Double] {
    let (rows, n) = (rows(of: batch), batch.observationCount)
    let values = try metric.evaluate(Array(batch.modelInputs[..<(rows * inputs)]), features: inputs)
    return (0..<n).map { k in
      (0..<rows).reduce(0) { $0 + values[($1 * n + k) * n + k] } / Double(rows)
    }
  }
}
