// The trainer's options: one table says name, type, default, range, help and presets; everything else is read off it.

enum OptionKey: Int, CaseIterable {
  case preset, method, alpha, lodlLoss, lodlSampling, lodlSamples, lodlDeviation, lodlRate, lodlRank
  case outerIterations, innerIterations, warmupIterations
  case innerSolver, innerRate, innerMomentum, innerTolerance, innerClip, innerBatch, lbfgsMemory, rho, penalizeBias
  case outerBatch, outerData, taskCombination
  case solver, solverIterations, solverTolerance, solverRidge, solverNormalRidge, solverWarmStart, hypergradientBatch
  case metricOptimizer, metricRate, metricClip, metricFloor, normalization, metricL1, metricIdentity, metricCacheBytes
  case validationInterval, patience, maxPredictionLossRatio
  case maxRollbacks, maxRejections, explosionFactor
  case agreementInterval, adapt, trustResidual, trustAgreement, trustGradient
  case threads, seed
}

/// What an option may be.
enum OptionDomain {
  case integer(default: Int, ClosedRange<Int>)
  case real(default: Double, ClosedRange<Double>)
  case choice([StaticString])
}

enum OptionValue: Equatable {
  case integer(Int)
  case real(Double)
  /// The index of the choice.
  case choice(Int)
}

struct OptionDescriptor {
  let key: OptionKey
  let name: StaticString
  let domain: OptionDomain
  /// The value under the preset "paper", where it differs.
  let paper: OptionValue?
  let fixedAfterStart: Bool
  let help: StaticString

  var standard: OptionValue {
    switch domain {
    case .integer(let value, _): .integer(value)
    case .real(let value, _): .real(value)
    case .choice: .choice(0)
    }
  }

  /// What a value of another type, or a request for one, is told.
  var wrongType: TaskMetError {
    let (type, suffix) =
      switch domain {
      case .integer: ("an integer", "int")
      case .real: ("a real", "double")
      case .choice: ("a string", "string")
      }
    return .invalidArgument("\(name) is \(type) option: use taskmet_trainer_set_\(suffix) and _get_\(suffix)")
  }
}

private let most = 1 << 53
private let greatest = Double.greatestFiniteMagnitude
private let positive = Double.leastNonzeroMagnitude...greatest

private func integer(
  _ key: OptionKey, _ name: StaticString, _ value: Int, _ range: ClosedRange<Int>, paper: Int? = nil,
  fixed: Bool = false, _ help: StaticString
) -> OptionDescriptor {
  OptionDescriptor(
    key: key, name: name, domain: .integer(default: value, range), paper: paper.map { .integer($0) },
    fixedAfterStart: fixed, help: help)
}

private func real(
  _ key: OptionKey, _ name: StaticString, _ value: Double, _ range: ClosedRange<Double>, paper: Double? = nil,
  fixed: Bool = false, _ help: StaticString
) -> OptionDescriptor {
  OptionDescriptor(
    key: key, name: name, domain: .real(default: value, range), paper: paper.map { .real($0) }, fixedAfterStart: fixed,
    help: help)
}

/// The first choice is the default.
private func choice(
  _ key: OptionKey, _ name: StaticString, _ choices: [StaticString], paper: Int? = nil, fixed: Bool = false,
  _ help: StaticString
) -> OptionDescriptor {
  OptionDescriptor(
    key: key, name: name, domain: .choice(choices), paper: paper.map { .choice($0) }, fixedAfterStart: fixed, help: help
  )
}

/// All options, in the order in which they are listed.
let trainerOptions: [OptionDescriptor] = [
  choice(
    .preset, "preset", ["default", "paper"],
    "a group of options set at once: this library's defaults, or the paper's recipe"),
  choice(
    .method, "method", ["taskmet", "two_stage", "dfl", "spo_plus", "lodl", "weighted_mse"], fixed: true,
    "learn the metric from the task, train the predictor alone, or by a baseline"),
  real(
    .alpha, "alpha", 0, 0...greatest,
    "weight of the mean squared error beside the decision loss: dfl, spo_plus, lodl"),
  choice(
    .lodlLoss, "lodl_loss", LODLForm.allCases.map(\.name), fixed: true, "form of the loss fitted to each instance"),
  choice(
    .lodlSampling, "lodl_sampling", LODLSampling.allCases.map(\.name), fixed: true,
    "entries of a prediction that noise moves at once"),
  integer(.lodlSamples, "lodl_samples", 5000, 2...most, fixed: true, "sampled predictions of each instance"),
  real(
    .lodlDeviation, "lodl_deviation", 0, 0...greatest, fixed: true,
    "standard deviation of the noise; 0: that of the training targets"),
  real(.lodlRate, "lodl_rate", 0.1, positive, fixed: true, "learning rate of the fit, relative to its unknowns; > 0"),
  integer(.lodlRank, "lodl_rank", 20, 1...most, fixed: true, "rank of the quadratic forms, at most"),
  integer(.outerIterations, "outer_iterations", 200, 0...most, paper: 1000, "updates of the metric until fit ends"),
  integer(
    .innerIterations, "inner_iterations", 100, 0...most,
    "inner steps between two updates of the metric, at most (not for exact)"),
  integer(
    .warmupIterations, "warmup_iterations", 500, 0...most,
    "inner steps under the initial metric before the first update"),
  choice(
    .innerSolver, "inner_solver", ["auto", "adam", "sgd", "lbfgs", "exact"], paper: 1,
    "how the predictor is fitted; auto: exact for a linear predictor, else adam"),
  real(.innerRate, "inner_rate", 0.01, positive, "learning rate of the predictor, adam and sgd; > 0"),
  real(.innerMomentum, "inner_momentum", 0, 0...1.0.nextDown, "momentum of sgd; below 1"),
  real(
    .innerTolerance, "inner_tolerance", 1e-6, 0...greatest, paper: 1e-3,
    "inner steps end at this norm of the prediction loss's gradient"),
  real(
    .innerClip, "inner_clip", 0, 0...greatest, paper: 1,
    "a longer inner gradient is scaled to this norm, adam and sgd; 0: never"),
  integer(.innerBatch, "inner_batch", 0, 0...most, paper: 10, "instances of an inner step, adam and sgd; 0: all"),
  integer(.lbfgsMemory, "lbfgs_memory", 10, 1...1000, "correction pairs of lbfgs"),
  real(.rho, "rho", 0, 0...greatest, "regularisation (rho/2)|theta|^2 of the predictor"),
  integer(.penalizeBias, "penalize_bias", 1, 0...1, "whether rho counts biases; starts as the predictor says"),
  integer(.outerBatch, "outer_batch", 0, 0...most, "instances that the task judges in an iteration; 0: all"),
  choice(
    .outerData, "outer_data", ["training", "validation"], fixed: true, "the data that the task's gradient comes from"),
  choice(
    .taskCombination, "task_combination", ["weighted_sum", "worst_case"],
    "several tasks: the sum of weight times loss, or the largest of them"),
  choice(
    .solver, "solver", ["auto", "cg", "normal_cg", "minres", "neumann", "dense", "gauss_newton_cg", "identity"],
    paper: 2, "solver of the hypergradient's linear system; auto: dense for a linear predictor, else cg"),
  integer(.solverIterations, "solver_iterations", 300, 1...most, paper: 5, "iterations of that solver, at most"),
  real(.solverTolerance, "solver_tolerance", 1e-4, 0...greatest, paper: 0, "relative residual at which it ends"),
  real(
    .solverRidge, "solver_ridge", 1e-3, 0...greatest, paper: 0,
    "damping: ridge times the identity is added to the Hessian (with solver auto not for a linear predictor)"),
  real(
    .solverNormalRidge, "solver_normal_ridge", 0, 0...greatest, paper: 1e-5, "what normal_cg adds to the squared matrix"
  ),
  integer(.solverWarmStart, "solver_warm_start", 1, 0...1, paper: 0, "start from the solution of the iteration before"),
  integer(
    .hypergradientBatch, "hypergradient_batch", 0, 0...most, paper: 10,
    "instances in the Hessian and the cross term; 0: all; the outer batch's own if the sizes are equal"),
  choice(.metricOptimizer, "metric_optimizer", ["adam", "sgd"], "optimiser of the metric"),
  real(.metricRate, "metric_rate", 0.01, positive, paper: 1e-3, "learning rate of the metric; > 0"),
  real(.metricClip, "metric_clip", 0, 0...greatest, "a longer hypergradient is scaled to this norm; 0: never"),
  real(
    .metricFloor, "metric_floor", 0.01, 0...greatest, paper: 0, fixed: true,
    "smallest eigenvalue of L L' + eps I, where the metric's own setter was not called"),
  choice(
    .normalization, "normalization", ["auto", "none", "frobenius", "trace", "batch_trace"], paper: 1, fixed: true,
    "of the metric; auto: batch_trace where the metric's own setter was not called"),
  real(.metricL1, "metric_l1", 0, 0...greatest, "weight of the mean sum of |Lambda_jk| in the outer objective"),
  real(
    .metricIdentity, "metric_identity", 0, 0...greatest, "weight of the mean of |Lambda - I|^2 in the outer objective"),
  integer(
    .metricCacheBytes, "metric_cache_bytes", Workspace.defaultMetricCacheBytes, 0...most,
    "memory for the metric's factors of all rows; beyond it they are evaluated again"),
  integer(
    .validationInterval, "validation_interval", 1, 1...most, paper: 10,
    "iterations between evaluations on the validation data"),
  integer(
    .patience, "patience", 100, 0...most,
    "iterations without a better model until fit ends, counted at validations; 0: no limit"),
  real(
    .maxPredictionLossRatio, "max_prediction_loss_ratio", 0, 0...greatest,
    "the best model's root mean squared error may be this many times the two-stage model's; 0: any"),
  integer(
    .maxRollbacks, "max_rollbacks", 10, 0...1000,
    "steps in a row that are undone, each with half the rate, until fit ends"),
  integer(
    .maxRejections, "max_rejections", 10, 0...1000, "the same for steps that the task rejects, until that is an error"),
  real(
    .explosionFactor, "explosion_factor", 1000, 1.0.nextUp...greatest,
    "a step is undone whose error is this many times the two-stage model's"),
  integer(
    .agreementInterval, "agreement_interval", 0, 0...most,
    "iterations between measurements of the hypergradient's agreement between two halves of its data; 0: never"),
  integer(
    .adapt, "adapt", 1, 0...1, paper: 0,
    "whether an untrusted hypergradient enlarges batch, inner steps or solver iterations"),
  real(
    .trustResidual, "trust_residual", 0.1, 0...greatest,
    "a hypergradient is trusted up to this residual of its linear system"),
  real(.trustAgreement, "trust_agreement", 0.5, -1...1, "and down to this agreement, where it is measured"),
  real(
    .trustGradient, "trust_gradient", 0.1, 0...greatest,
    "and up to this norm of the inner gradient, relative to that before the warm-up"),
  integer(.threads, "threads", 1, 1...256, "the library's own threads; the results have the same bits for any number"),
  integer(.seed, "seed", 0, 0...most, fixed: true, "of the batches and of lodl's samples"),
]

/// The options' present values.
struct TrainerOptions: Equatable {
  private var values: [OptionValue]

  private static let positions: [Int] = OptionKey.allCases.map { key in
    trainerOptions.firstIndex { $0.key == key }!
  }

  init() { values = trainerOptions.map(\.standard) }

  static func descriptor(named name: String) throws -> OptionDescriptor {
    guard let match = trainerOptions.first(where: { "\($0.name)" == name }) else {
      let names = trainerOptions.map { "\($0.name)" }.joined(separator: ", ")
      throw TaskMetError.invalidArgument("name must be one of \(names), got \(jsonLiteral(name))")
    }
    return match
  }

  static func descriptor(_ key: OptionKey) -> OptionDescriptor { trainerOptions[positions[key.rawValue]] }

  subscript(key: OptionKey) -> OptionValue {
    get { values[Self.positions[key.rawValue]] }
    set { values[Self.positions[key.rawValue]] = newValue }
  }

  func integer(_ key: OptionKey) -> Int { if case .integer(let value) = self[key] { value } else { 0 } }
  func flag(_ key: OptionKey) -> Bool { integer(key) != 0 }
  func real(_ key: OptionKey) -> Double { if case .real(let value) = self[key] { value } else { 0 } }

  /// The name of the choice.
  func choice(_ key: OptionKey) -> StaticString {
    guard case .choice(let index) = self[key], case .choice(let choices) = Self.descriptor(key).domain else {
      return ""
    }
    return choices[index]
  }

  /// Whether the choice is this one.
  func chose(_ key: OptionKey, _ name: String) -> Bool { "\(choice(key))" == name }

  /// Sets a checked value; "preset" sets its whole group.
  mutating func set(_ descriptor: OptionDescriptor, _ value: OptionValue) throws {
    try Self.check(descriptor, value)
    if descriptor.key == .preset {
      // What a preset does not speak of goes back to the default too, but for what belongs to the problem at hand.
      let problem: [OptionKey] = [
        .innerRate, .rho, .penalizeBias, .outerBatch, .outerData, .threads, .seed, .metricCacheBytes, .method,
        .taskCombination, .alpha, .lodlLoss, .lodlSampling, .lodlSamples, .lodlDeviation, .lodlRate, .lodlRank,
      ]
      for option in trainerOptions where !problem.contains(option.key) {
        self[option.key] = value == .choice(1) ? option.paper ?? option.standard : option.standard
      }
    }
    self[descriptor.key] = value
  }

  private static func check(_ descriptor: OptionDescriptor, _ value: OptionValue) throws {
    let name = descriptor.name
    switch (descriptor.domain, value) {
    case (.integer(_, let range), .integer(let value)):
      if !range.contains(value) {
        throw TaskMetError.invalidArgument("\(name) must be \(range.lowerBound) to \(range.upperBound), got \(value)")
      }
    case (.real(_, let range), .real(let value)):
      if !value.isFinite { throw TaskMetError.invalidArgument("\(name) must be finite, got \(value)") }
      if !range.contains(value) {
        let lower = range.lowerBound == .leastNonzeroMagnitude ? "> 0" : ">= \(range.lowerBound)"
        let upper = range.upperBound == .greatestFiniteMagnitude ? "" : " and <= \(range.upperBound)"
        throw TaskMetError.invalidArgument("\(name) must be \(lower)\(upper), got \(value)")
      }
    case (.choice, .choice): break
    case (.integer, _), (.real, _), (.choice, _): throw descriptor.wrongType
    }
  }

  /// The value that a string stands for.
  static func parseChoice(_ descriptor: OptionDescriptor, _ text: String) throws -> OptionValue {
    guard case .choice(let choices) = descriptor.domain else { throw descriptor.wrongType }
    guard let index = choices.firstIndex(where: { "\($0)" == text }) else {
      let names = choices.map { "\($0)" }.joined(separator: ", ")
      throw TaskMetError.invalidArgument("\(descriptor.name) must be one of \(names), got \(jsonLiteral(text))")
    }
    return .choice(index)
  }

  // MARK: As text, for checkpoints

  func text(_ descriptor: OptionDescriptor) -> String {
    switch self[descriptor.key] {
    case .integer(let value): String(value)
    case .real(let value): "\(value)"
    case .choice: "\(choice(descriptor.key))"
    }
  }

  /// Sets one option alone, a preset included.
  mutating func restore(_ descriptor: OptionDescriptor, text: String) throws {
    let value: OptionValue?
    switch descriptor.domain {
    case .integer: value = Int(text).map { .integer($0) }
    case .real: value = Double(text).map { .real($0) }
    case .choice: value = try Self.parseChoice(descriptor, text)
    }
    guard let value else { throw TaskMetError.format("the option \(descriptor.name) is \(jsonLiteral(text))") }
    try Self.check(descriptor, value)
    self[descriptor.key] = value
  }
}
