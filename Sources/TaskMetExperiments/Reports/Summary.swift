// Means over runs.

/// Mean, standard deviation and standard error of one quantity.
struct Estimate: Equatable {
  let mean: Double
  /// Over all runs (n - 1); what the paper's tables show.
  let deviation: Double
  /// Of the mean. Runs on the same data set are not independent, so it is made from the data sets' own means; where there is only
  /// one data set it is that of the seeds.
  let error: Double

  /// Values by data set.
  init(_ values: [Int: [Double]]) {
    let all = values.keys.sorted().flatMap { values[$0]! }
    let means = values.count > 1 ? values.keys.sorted().map { Self.mean(values[$0]!) } : all
    mean = Self.mean(all)
    deviation = Self.deviation(all)
    error = Self.deviation(means) / Double(means.count).squareRoot()
  }

  private static func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

  /// NaN for fewer than two values.
  private static func deviation(_ values: [Double]) -> Double {
    guard values.count > 1 else { return .nan }
    let mean = mean(values)
    return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)).squareRoot()
  }
}

/// The runs of one method on one problem with the same settings.
struct SummaryRow {
  let problem, method, preset, settingsHash: String
  let runs, datasets: Int
  let quality, regret, error, seconds, bestIteration: Estimate
  let slope: Estimate?
  /// How many other settings the same method was run with: rows must then be told apart.
  var variants = 1

  fileprivate init(_ records: [RunRecord]) {
    let first = records[0]
    problem = first.problem
    method = first.method
    preset = first.preset
    settingsHash = first.key.settingsHash
    runs = records.count
    datasets = Set(records.map(\.key.dataset)).count
    func estimate(_ value: (RunRecord) -> Double) -> Estimate {
      Estimate(Dictionary(grouping: records, by: \.key.dataset).mapValues { $0.map(value) })
    }
    quality = estimate(\.quality)
    regret = estimate(\.regret)
    error = estimate(\.meanSquaredError)
    seconds = estimate(\.seconds)
    bestIteration = estimate { Double($0.bestIteration) }
    let hasSlope = records.allSatisfy { $0.columns.contains { $0.0 == "slope" } }
    slope = hasSlope ? estimate { $0.columns.first { $0.0 == "slope" }!.1 } : nil
  }

  /// What the row is called.
  var label: String { variants > 1 ? "\(method) [\(preset) \(settingsHash.prefix(4))]" : method }
}

/// Rows in the order of problems and methods.
func summarize(_ records: [RunRecord]) -> [SummaryRow] {
  // A run that is there twice counts once.
  var seen: Set<RunKey> = []
  let records = records.filter { seen.insert($0.key).inserted }
  let groups = Dictionary(grouping: records) { [$0.problem, $0.method, $0.key.settingsHash] }
  var rows = groups.values.map { SummaryRow($0) }
  for index in rows.indices {
    rows[index].variants = rows.filter { $0.problem == rows[index].problem && $0.method == rows[index].method }.count
  }
  func order(_ row: SummaryRow) -> (Int, Int, String) {
    let problem = ProblemName.allCases.firstIndex { $0.rawValue == row.problem } ?? ProblemName.allCases.count
    let method = Method.allCases.firstIndex { $0.rawValue == row.method } ?? Method.allCases.count
    return (problem, method, row.settingsHash)
  }
  return rows.sorted { order($0) < order($1) }
}
