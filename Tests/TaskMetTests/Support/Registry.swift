// What there is: predictors, metrics, settings of the loss. One list of each; every test of a contract runs over all
// combinations, so that something new is tested everywhere by one line here.

import Testing

@testable import TaskMetSwift

// MARK: - Predictors

struct PredictorSpec: Sendable, CustomTestStringConvertible {
  enum Kind: Sendable {
    case linear(bias: Bool)
    case perceptron(hidden: [Int], Activation, output: Activation = .identity)
    case callback(secondOrder: Bool)
  }

  let kind: Kind
  var outputs = 3
  var standardizesInputs = false
  var standardizesTargets = false
  var penalizesBias = true

  var testDescription: String {
    let notes = [
      outputs == 3 ? nil : "n = \(outputs)", standardizesInputs ? "inputs standardised" : nil,
      standardizesTargets ? "targets standardised" : nil, penalizesBias ? nil : "biases free",
    ]
    return (["\(kind)"] + notes.compactMap { $0 }).joined(separator: ", ")
  }

  var isLinear: Bool { if case .linear = kind { true } else { false } }

  /// The callback predictor without hvp, whose H is the Gauss-Newton matrix.
  var lacksSecondOrder: Bool { if case .callback(let secondOrder) = kind { !secondOrder } else { false } }

  /// Something in it is not smooth: parameters are chosen, and steps are, so that no unit comes near its kink.
  var hasKinks: Bool {
    guard case .perceptron(_, let activation, let output) = kind else { return false }
    return [activation, output].contains { [.relu, .leakyRelu, .elu].contains($0) }
  }

  /// Of differences in theta.
  var step: Double { hasKinks ? 1e-3 : 1e-2 }
}

// MARK: - Metrics

/// What the factor L is made from.
struct FactorSpec: Sendable, CustomTestStringConvertible {
  enum Conditioning: String, CaseIterable, Sendable { case constant, affine, hidden, standardized, rectified }

  let structure: MetricStructure
  let conditioning: Conditioning

  var testDescription: String { "\(structure) \(conditioning)" }
  var isConditional: Bool { conditioning != .constant }

  /// The hidden layers of its network.
  var hiddenLayers: [Int]? {
    switch conditioning {
    case .constant: nil
    case .affine: []
    case .hidden, .standardized, .rectified: [3]
    }
  }

  /// Of differences in phi.
  var step: Double { conditioning == .rectified ? 1e-4 : 1e-2 }

  var activation: Activation {
    switch conditioning {
    case .standardized: .softplus
    case .rectified: .leakyRelu
    default: .tanh
    }
  }
}

/// How A becomes Lambda. batch_trace has two cases: m belongs to the present phi and rows (and is differentiated),
/// or not.
enum Scaling: String, CaseIterable, Sendable {
  case none, frobenius, trace, batchTrace, batchTraceStale

  var normalization: MetricNormalization {
    switch self {
    case .none: .none
    case .frobenius: .frobenius
    case .trace: .trace
    case .batchTrace, .batchTraceStale: .batchTrace
    }
  }
}

struct MetricSpec: Sendable, CustomTestStringConvertible {
  let factor: FactorSpec
  var scaling = Scaling.none
  var floor = 0.0

  var testDescription: String { "\(factor.testDescription), \(scaling), floor \(floor)" }

  /// frobenius and trace would leave a scalar, or one output, nothing to learn.
  func isValid(outputs: Int) -> Bool {
    (scaling != .frobenius && scaling != .trace) || (outputs > 1 && factor.structure != .scalar)
  }
}

// MARK: - The loss

struct LossSetting: Sendable, CustomTestStringConvertible {
  let weighted: Bool
  let rho: Double
  var testDescription: String { "\(weighted ? "weights" : "no weights"), rho \(rho)" }
}

// MARK: - The lists

enum Registry {
  static let predictors: [PredictorSpec] =
    linearPredictors
    + Activation.allCases.map { PredictorSpec(kind: .perceptron(hidden: [3], $0)) }
    + Activation.allCases.filter { $0 != .identity }.map {
      PredictorSpec(kind: .perceptron(hidden: [], .identity, output: $0), outputs: 2)
    }
    + [
      PredictorSpec(kind: .perceptron(hidden: [3], .tanh, output: .sigmoid)),
      PredictorSpec(kind: .perceptron(hidden: [3], .gelu, output: .softplus), outputs: 1),
      PredictorSpec(kind: .perceptron(hidden: [3], .relu), outputs: 1),
      PredictorSpec(
        kind: .perceptron(hidden: [5], .leakyRelu, output: .tanh), outputs: 1, standardizesInputs: true,
        standardizesTargets: true, penalizesBias: false),
      PredictorSpec(kind: .perceptron(hidden: [3, 2], .tanh), penalizesBias: false),
      PredictorSpec(kind: .perceptron(hidden: [3, 2], .silu, output: .tanh), outputs: 2, standardizesTargets: true),
      PredictorSpec(kind: .perceptron(hidden: [3, 2], .leakyRelu), standardizesInputs: true),
      PredictorSpec(
        kind: .perceptron(hidden: [2], .sigmoid), standardizesInputs: true, standardizesTargets: true,
        penalizesBias: false),
      PredictorSpec(kind: .callback(secondOrder: true)),
      PredictorSpec(kind: .callback(secondOrder: false), outputs: 2),
    ]

  static let linearPredictors: [PredictorSpec] = [
    PredictorSpec(kind: .linear(bias: true)),
    PredictorSpec(kind: .linear(bias: false)),
    PredictorSpec(kind: .linear(bias: true), outputs: 1),
    PredictorSpec(kind: .linear(bias: true), penalizesBias: false),
    PredictorSpec(kind: .linear(bias: false), standardizesTargets: true),
    PredictorSpec(
      kind: .linear(bias: true), standardizesInputs: true, standardizesTargets: true, penalizesBias: false),
  ]

  static let factors: [FactorSpec] = MetricStructure.allCases.flatMap { structure in
    FactorSpec.Conditioning.allCases.map { FactorSpec(structure: structure, conditioning: $0) }
  }

  /// All metrics with this factor for this number of outputs.
  static func metrics(_ factor: FactorSpec, outputs: Int) -> [MetricSpec] {
    Scaling.allCases.flatMap { scaling in
      [0, 0.05].map { MetricSpec(factor: factor, scaling: scaling, floor: $0) }
    }.filter { $0.isValid(outputs: outputs) }
  }

  static let lossSettings: [LossSetting] = [false, true].flatMap { weighted in
    [0, 0.3].map { LossSetting(weighted: weighted, rho: $0) }
  }
}
