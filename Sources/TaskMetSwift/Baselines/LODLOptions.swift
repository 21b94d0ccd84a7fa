// How a locally optimised decision loss (LODL; Shah et al. 2022) is fitted: its form, where it is sampled, and the regression.

/// Raw values are those of `taskmet_lodl_loss`.
enum LODLForm: Int32, CaseIterable {
  case weightedMSE, directedWeightedMSE, quadratic, directedQuadratic

  /// In the trainer's option "lodl_loss".
  var name: StaticString {
    switch self {
    case .weightedMSE: "weighted_mse"
    case .directedWeightedMSE: "directed_weighted_mse"
    case .quadratic: "quadratic"
    case .directedQuadratic: "directed_quadratic"
    }
  }

  /// An entry has other parameters where its prediction is below the truth.
  var isDirected: Bool { self == .directedWeightedMSE || self == .directedQuadratic }
  var isQuadratic: Bool { self == .quadratic || self == .directedQuadratic }
}

/// Raw values are those of `taskmet_lodl_sampling`.
enum LODLSampling: Int32, CaseIterable {
  case all, one, two

  /// In the trainer's option "lodl_sampling".
  var name: StaticString {
    switch self {
    case .all: "all"
    case .one: "one"
    case .two: "two"
    }
  }

  /// How many of M entries noise moves at once.
  func moved(of entries: Int) -> Int {
    switch self {
    case .all: entries
    case .one: 1
    case .two: min(2, entries)
    }
  }
}

struct LODLOptions: Equatable {
  var form = LODLForm.weightedMSE
  var sampling = LODLSampling.all
  var samples = 5000
  /// Of the noise; 0 for that of the dataset's targets.
  var deviation = 0.0
  var rank = 20
  var learningRate = 0.1
  var iterations = 100
  var patience = 25
  var heldOutShare = 0.3
  var seed: UInt64 = 0

  init() {}

  /// A trainer's.
  init(_ options: TrainerOptions) {
    form = LODLForm.allCases.first { options.chose(.lodlLoss, "\($0.name)") } ?? .weightedMSE
    sampling = LODLSampling.allCases.first { options.chose(.lodlSampling, "\($0.name)") } ?? .all
    samples = options.integer(.lodlSamples)
    deviation = options.real(.lodlDeviation)
    rank = options.integer(.lodlRank)
    learningRate = options.real(.lodlRate)
    seed = UInt64(options.integer(.seed))
  }

  /// The samples that only judge the fit: the last of them.
  var heldOut: Int { min(max(Int((heldOutShare * Double(samples)).rounded()), 1), samples - 1) }
}
