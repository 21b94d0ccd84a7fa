// The ways in which a trainer can train its predictor: the values of its option "method".

/// Raw values are those of the option.
enum TrainingMethod: String {
  case taskmet
  /// Lambda = I throughout.
  case twoStage = "two_stage"
  /// The task loss itself (Wilder et al. 2019).
  case decisionFocused = "dfl"
  /// Its convex surrogate (Elmachtoub and Grigas 2022).
  case spoPlus = "spo_plus"
  /// A loss fitted to the task's on each instance (Shah et al. 2022).
  case lodl
  /// Instances weighted by their regret (Farahmand et al. 2017, Lambert et al. 2020).
  case weightedMSE = "weighted_mse"

  var learnsMetric: Bool { self == .taskmet }

  /// Another way to let the task shape the predictor.
  var isBaseline: Bool { self != .taskmet && self != .twoStage }

  /// theta follows the gradient of a decision loss, and not of L_pred.
  var isDirect: Bool { [.decisionFocused, .spoPlus, .lodl].contains(self) }

  /// The verdict's gradient is used: by the hypergradient, or to tell that there is nothing to learn from.
  var usesTaskGradient: Bool { ![.lodl, .weightedMSE].contains(self) }
}

extension TrainerOptions {
  var method: TrainingMethod { TrainingMethod(rawValue: "\(choice(.method))") ?? .taskmet }
}

/// What moves theta within an iteration.
protocol InnerSteps: AnyObject {
  /// Moves theta by at most `steps` steps. `moments` is the optimiser's state before and after.
  func run(
    _ theta: UnsafeMutablePointer<Double>, steps: Int, _ options: TrainerOptions, moments: inout Optimizer.State?,
    _ random: inout RandomGenerator, poll: (() throws -> Void)?
  ) throws -> InnerResult
}

extension InnerTraining: InnerSteps {}
