// The protocol of the paper's tables, and each problem's settings: the one place where they are chosen.

/// Whose hypergradient TaskMet uses; also the name of the trainer's group of options that a run starts from.
public enum Preset: String, CaseIterable, Sendable {
  /// The paper's recipe.
  case paper
  /// The library's defaults where the paper's recipe is worse (the linear system on more data and solved further, a floor and a
  /// normalisation of the metric); the predictor is trained by the same updates.
  case `default`
}

/// What is set for each problem beside the presets. Chosen on validation data.
struct ProblemSettings {
  /// Adam's rate for the predictor: published, but for the portfolio's, where the published 1e-2 is unstable.
  var innerRate: Double
  /// Instances that the task judges in an iteration: published.
  var outerBatch: Int64
  /// Preset default only: the metric's rate, and the instances and iterations of the hypergradient's linear system.
  var metricRate: Double
  var hypergradientBatch: Int64
  var solverIterations: Int64
  var lodl: LODLSettings
}

enum RunProtocol {
  /// Updates of the metric, at most; between two of them the predictor gets innerIterations updates.
  static let outerIterations: Int64 = 150
  static let innerIterations: Int64 = 100
  static let warmUpIterations: Int64 = 500
  static let innerBatch: Int64 = 10
  static let innerClip = 1.0
  static let validationInterval: Int64 = 10
  static let patience: Int64 = 100

  static func settings(_ problem: ProblemName) -> ProblemSettings {
    switch problem {
    case .cubic:
      ProblemSettings(
        innerRate: 0.1, outerBatch: 50, metricRate: 1e-2, hypergradientBatch: 0, solverIterations: 30,
        lodl: LODLSettings(
          loss: .directedWeightedMSE, sampling: .all, samples: 50_000, deviation: 1, rate: 0.1))
    case .budget:
      ProblemSettings(
        innerRate: 1e-4, outerBatch: 100, metricRate: 1e-3, hypergradientBatch: 0, solverIterations: 30,
        lodl: LODLSettings(loss: .directedQuadratic, sampling: .all, samples: 5_000, deviation: 0, rate: 0.1))
    case .portfolio:
      ProblemSettings(
        innerRate: 1e-3, outerBatch: 100, metricRate: 1e-3, hypergradientBatch: 50, solverIterations: 30,
        lodl: LODLSettings(loss: .weightedMSE, sampling: .all, samples: 5_000, deviation: 0.1, rate: 0.1))
    case .gridScheduling:
      ProblemSettings(
        innerRate: 3e-4, outerBatch: 0, metricRate: 3e-3, hypergradientBatch: 0, solverIterations: 300,
        lodl: LODLSettings(loss: .directedWeightedMSE, sampling: .all, samples: 5_000, deviation: 0, rate: 0.1))
    }
  }

  /// The trainer's options of a run, in the order in which they are set.
  static func options(_ problem: ProblemName, _ method: Method, _ preset: Preset, seed: UInt64) -> [(
    String, OptionValue
  )] {
    var options: [(String, OptionValue)] = [
      ("preset", .text(preset.rawValue)), ("method", .text(method.trainerMethod)),
      // Seeds of the library's options end at 2^53.
      ("seed", .integer(Int64(seed >> 11))),
    ]
    options += problem == .gridScheduling ? gridScheduling(method) : tables(problem, method, preset)
    if method.trainerMethod == "dfl" || method.trainerMethod == "spo_plus" {
      options.append(("alpha", .real(method.alpha)))
    }
    if method.usesLODL { options += settings(problem).lodl.options }
    return options
  }

  private static func tables(_ problem: ProblemName, _ method: Method, _ preset: Preset) -> [(String, OptionValue)] {
    let settings = settings(problem)
    // Without a warm-up, its updates come on top: every method gets the same number in all.
    let warmUp = method.hasWarmUp ? warmUpIterations : 0
    let outer = outerIterations + (warmUpIterations - warmUp) / innerIterations
    var options: [(String, OptionValue)] = [
      ("outer_iterations", .integer(outer)), ("inner_iterations", .integer(innerIterations)),
      ("warmup_iterations", .integer(warmUp)), ("inner_rate", .real(settings.innerRate)),
      ("inner_batch", .integer(innerBatch)), ("inner_clip", .real(innerClip)),
      ("outer_batch", .integer(settings.outerBatch)), ("validation_interval", .integer(validationInterval)),
      ("patience", .integer(patience)),
    ]
    // The tolerance at which inner steps end belongs to TaskMet; the others get all their updates.
    if method != .taskmet { options.append(("inner_tolerance", .real(0))) }
    if preset == .default {
      options += [
        ("metric_rate", .real(settings.metricRate)), ("hypergradient_batch", .integer(settings.hypergradientBatch)),
        ("solver_iterations", .integer(settings.solverIterations)), ("adapt", .integer(0)),
      ]
    }
    return options
  }

  /// Not one of the paper's problems: always the preset `default`, and the values of examples/c/grid_scheduling.c. The other methods
  /// begin with the two-stage model and go in small steps.
  private static func gridScheduling(_ method: Method) -> [(String, OptionValue)] {
    var options: [(String, OptionValue)] = [
      ("outer_iterations", .integer(120)), ("rho", .real(2e-2)), ("penalize_bias", .integer(0)),
      ("metric_rate", .real(settings(.gridScheduling).metricRate)),
      ("inner_rate", .real(settings(.gridScheduling).innerRate)), ("max_prediction_loss_ratio", .real(1.05)),
    ]
    if !["two_stage", "taskmet"].contains(method.trainerMethod) {
      options += [("inner_iterations", .integer(5)), ("outer_iterations", .integer(60))]
    }
    return options
  }

  /// The seed of a run's models and batches: another one for each data set and seed, the same for every method.
  static func seed(_ problem: ProblemName, dataset: Int, seed: Int) -> UInt64 {
    var random = RandomNumbers("run \(problem.rawValue)", dataset, seed)
    return random.next()
  }
}
