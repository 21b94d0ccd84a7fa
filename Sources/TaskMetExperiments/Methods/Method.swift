// The methods that are compared: what the library's trainer is asked for by each.

public enum Method: String, CaseIterable, Sendable {
  case mse, dfl
  case dfl10 = "dfl-10"
  case lodl
  case lodl10 = "lodl-10"
  case spoPlus = "spo-plus"
  case weightedMSE = "weighted-mse"
  case taskmet
  case predictZero = "predict-zero"
  case hourlyShift = "hourly-shift"

  public var summary: String {
    switch self {
    case .mse: "two-stage learning: the mean squared error alone"
    case .dfl: "decision-focused learning: the task's loss (alpha = 0)"
    case .dfl10: "decision-focused learning: the task's loss + 10 MSE"
    case .lodl: "locally optimised decision losses, fitted once for each data set (alpha = 0)"
    case .lodl10: "locally optimised decision losses + 10 MSE"
    case .spoPlus: "the SPO+ surrogate of regret (objectives that are linear in the targets)"
    case .weightedMSE: "the mean squared error, instances weighted by their regret"
    case .taskmet: "a metric learned from the task"
    case .predictZero: "no model: zero for every stock (portfolio)"
    case .hourlyShift: "two-stage learning and a constant shift for each hour (grid-scheduling)"
    }
  }

  /// The trainer's option `method`. A learned decision loss is a task of its own, trained on as decision-focused learning does.
  var trainerMethod: String {
    switch self {
    case .mse, .predictZero, .hourlyShift: "two_stage"
    case .dfl, .dfl10, .lodl, .lodl10: "dfl"
    case .spoPlus: "spo_plus"
    case .weightedMSE: "weighted_mse"
    case .taskmet: "taskmet"
    }
  }

  /// The weight of the mean squared error beside the task's loss.
  var alpha: Double { self == .dfl10 || self == .lodl10 ? 10 : 0 }

  var usesLODL: Bool { self == .lodl || self == .lodl10 }

  /// In the paper's tables: trained from the two-stage model (or that model itself), not from scratch.
  var hasWarmUp: Bool { ["two_stage", "taskmet"].contains(trainerMethod) }

  /// Whether seeds make no difference.
  var isDeterministic: Bool { self == .predictZero }

  public func applies(to problem: ProblemName) -> Bool {
    switch self {
    case .spoPlus: problem == .cubic || problem == .portfolio
    case .predictZero: problem == .portfolio
    case .hourlyShift: problem == .gridScheduling
    default: true
    }
  }
}

/// How learned decision losses are fitted.
struct LODLSettings: Sendable, Equatable {
  enum Loss: String {
    case weightedMSE = "weighted_mse"
    case directedWeightedMSE = "directed_weighted_mse"
    case quadratic
    case directedQuadratic = "directed_quadratic"
  }

  enum Sampling: String {
    case all, one, two
  }

  var loss: Loss
  var sampling: Sampling
  var samples: Int
  /// Of the noise; 0: that of the targets.
  var deviation: Double
  var rank = 20
  var rate: Double

  /// The trainer's options of the same meaning: a run's settings go by these, and so can be set by name.
  var options: [(String, OptionValue)] {
    [
      ("lodl_loss", .text(loss.rawValue)), ("lodl_sampling", .text(sampling.rawValue)),
      ("lodl_samples", .integer(Int64(samples))), ("lodl_deviation", .real(deviation)),
      ("lodl_rank", .integer(Int64(rank))), ("lodl_rate", .real(rate)),
    ]
  }
}

extension LODLSettings {
  /// From the values of all options.
  init?(options: JSON) {
    guard let loss = options["lodl_loss"]?.string.flatMap(Loss.init),
      let sampling = options["lodl_sampling"]?.string.flatMap(Sampling.init),
      let samples = options["lodl_samples"]?.integer, let deviation = options["lodl_deviation"]?.real,
      let rank = options["lodl_rank"]?.integer, let rate = options["lodl_rate"]?.real
    else { return nil }
    self.init(loss: loss, sampling: sampling, samples: samples, deviation: deviation, rank: rank, rate: rate)
  }
}
