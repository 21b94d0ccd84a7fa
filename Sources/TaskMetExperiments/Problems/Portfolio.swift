// Portfolio optimisation: an instance is a day, its rows are 50 stocks, drawn once for each data set, and the target of a row is the
// stock's return of the next day.

struct PortfolioProblem: Problem {
  let name = ProblemName.portfolio
  /// nil: a factor model's, another one for each data set.
  let prices: PriceTable?
  let legacy: Bool
  static let stocks = 50
  /// Days: the first are for training, then validation, then the test.
  static let trainingDays = 200
  static let validationDays = 200
  static let testDays = 400
  static let riskAversion = 0.1
  static let hidden = 500
  static let metricHidden = 200

  init(prices: PriceTable?, legacy: Bool) throws {
    self.prices = prices
    self.legacy = legacy
    if let prices { try Self.requireEnough(prices) }
  }

  private static func requireEnough(_ prices: PriceTable) throws {
    guard prices.symbols.count >= stocks else {
      throw ExperimentError("prices: \(stocks) symbols without gaps are needed, got \(prices.symbols.count)")
    }
    let days = StockFeatures(prices: prices, columns: []).usableDays.count
    let needed = trainingDays + validationDays + testDays
    guard days >= needed else {
      throw ExperimentError("prices: \(needed) days with full windows are needed, got \(days) of \(prices.days)")
    }
  }

  var settings: [(String, JSON)] {
    [
      ("prices", .string(prices.map { String($0.contentFingerprint, radix: 16) } ?? "generated")),
      ("legacy_quadratic", .bool(legacy)), ("risk_aversion", .number(Self.riskAversion)),
      ("predictor_hidden", .integer(Int64(Self.hidden))), ("metric_hidden", .integer(Int64(Self.metricHidden))),
    ]
  }

  var notice: String? {
    guard let prices else { return "portfolio: no price file (--prices): prices come from a factor model" }
    let days = StockFeatures(prices: prices, columns: []).usableDays.count
    return "portfolio: \(prices.symbols.count) symbols, \(prices.days) days, \(days) with full windows; "
      + "\(prices.dropped.count) symbols with gaps dropped"
      + (prices.dropped.isEmpty ? "" : " (\(prices.dropped.joined(separator: ", ")))")
  }

  func makeData(_ dataset: Int) throws -> ProblemData {
    let prices = prices ?? FactorModel().prices(seed: dataset)
    var random = RandomNumbers("portfolio", dataset)
    let features = StockFeatures(prices: prices, columns: random.sample(Self.stocks, of: prices.symbols.count))
    let tables = Self.tables(features, [Self.trainingDays, Self.validationDays, Self.testDays])
    return try ProblemData(
      training: tables[0], validation: tables[1], test: tables[2],
      task: try .portfolio(riskAversion: Self.riskAversion, legacy: legacy))
  }

  /// Consecutive parts of the usable days; all are standardised as the first part demands.
  static func tables(_ features: StockFeatures, _ sizes: [Int]) -> [Table] {
    var next = features.usableDays.lowerBound
    var tables = sizes.map { size in
      defer { next += size }
      return table(features, next..<next + size)
    }
    let standardization = Standardization(fitting: tables[0].x, columns: StockFeatures.count)
    for index in tables.indices { standardization.apply(to: &tables[index].x) }
    return tables
  }

  private static func table(_ features: StockFeatures, _ days: Range<Int>) -> Table {
    var table = Table(features: StockFeatures.count, targets: 1)
    for day in days {
      table.append(
        x: features.columns.indices.flatMap { features.features(day, $0) },
        y: features.columns.indices.map { features.target(day, $0) }, context: features.riskMatrix(day))
    }
    return table
  }

  func makePredictor(_ data: ProblemData, seed: UInt64) throws -> Predictor {
    try .multilayer(
      inputs: data.inputs, outputs: 1, hidden: [Self.hidden], output: .tanh, seed: seed)
  }

  func makeMetric(_ data: ProblemData, seed: UInt64) throws -> Metric {
    try .conditional(
      inputs: data.inputs, outputs: 1, structure: .scalar, hidden: [Self.metricHidden], seed: seed)
  }
}
