// What every problem gives to the methods: data sets, a task, models to begin with.

/// One data set: what its runs share, whatever their method and seed.
final class ProblemData: Sendable {
  let training, validation, test: Dataset
  let task: Task

  init(training: Table, validation: Table, test: Table, task: Task) throws {
    self.training = try Dataset(training)
    self.validation = try Dataset(validation)
    self.test = try Dataset(test)
    self.task = task
  }

  var inputs: Int { training.table.features }
  var outputs: Int { training.table.targets }
}

protocol Problem: Sendable {
  var name: ProblemName { get }

  /// All that shapes the data, the task and the models, for the records.
  var settings: [(String, JSON)] { get }

  /// What the user should know of the data, once.
  var notice: String? { get }

  /// Data set number `dataset`, the same each time.
  func makeData(_ dataset: Int) throws -> ProblemData

  /// The models to begin with; the seed is the run's, and differs between data sets.
  func makePredictor(_ data: ProblemData, seed: UInt64) throws -> Predictor
  func makeMetric(_ data: ProblemData, seed: UInt64) throws -> Metric

  /// More to say of a trained model than all problems say.
  func columns(_ predictor: Predictor) throws -> [(String, Double)]
}

extension Problem {
  var notice: String? { nil }
  func columns(_ predictor: Predictor) throws -> [(String, Double)] { [] }
}

public enum ProblemName: String, CaseIterable, Sendable {
  case cubic, budget, portfolio
  case gridScheduling = "grid-scheduling"

  public var summary: String {
    switch self {
    case .cubic: "take the best of 50 items, whose worth a straight line predicts"
    case .budget: "choose 2 of 5 websites to reach as many of 10 users as possible"
    case .portfolio: "divide money among 50 stocks, by their predicted returns and known risks"
    case .gridScheduling: "schedule tomorrow's generation, by 24 predicted loads (needs --loads)"
    }
  }

  /// The problems of the paper's tables.
  public static let ofTheTables: [ProblemName] = [.cubic, .budget, .portfolio]
}

/// Where the problems' data come from; nil: they are made up.
public struct DataSources: Sendable {
  public var prices: String?
  public var clickThrough: String?
  public var loads: String?
  public var legacyQuadratic = false

  public init() {}
}

/// Reads what files there are, once.
func makeProblem(_ name: ProblemName, _ sources: DataSources) throws -> any Problem {
  switch name {
  case .cubic: CubicProblem()
  case .budget:
    BudgetProblem(source: try sources.clickThrough.map { try ClickThroughSource(reading: $0) } ?? .generated)
  case .portfolio:
    try PortfolioProblem(
      prices: try sources.prices.map { try PriceTable(reading: $0) }, legacy: sources.legacyQuadratic)
  case .gridScheduling:
    GridSchedulingProblem(hours: try LoadFile(reading: try requireLoads(sources)))
  }
}

private func requireLoads(_ sources: DataSources) throws -> String {
  guard let loads = sources.loads else {
    throw ExperimentError("\(ProblemName.gridScheduling.rawValue) needs a file of hourly loads: --loads FILE")
  }
  return loads
}
