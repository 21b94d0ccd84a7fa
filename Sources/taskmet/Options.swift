// Options that several commands share.

import ArgumentParser
import TaskMetExperiments

extension ProblemName: ExpressibleByArgument {}
extension Method: ExpressibleByArgument {}
extension Preset: ExpressibleByArgument {}
extension TableFormat: ExpressibleByArgument {}
extension QOptimizer: ExpressibleByArgument {}
extension QBatch: ExpressibleByArgument {}
extension ModelSolver: ExpressibleByArgument {}
extension MetricShape: ExpressibleByArgument {}

/// Names apart by commas.
func parseNames<Name: RawRepresentable & CaseIterable>(_ text: String, _ what: String) throws -> [Name]
where Name.RawValue == String {
  try text.split(separator: ",", omittingEmptySubsequences: false).map { name in
    guard let value = Name(rawValue: String(name)) else {
      let known = Name.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("\"\(name)\" is not a \(what) (\(known))")
    }
    return value
  }
}

/// Calls the body; what is wrong with its input is the user's to mend, with the usage shown.
func validating<Value>(_ body: () throws -> Value) throws -> Value {
  do { return try body() } catch let error as ExperimentError {
    throw ValidationError(error.description)
  } catch let error as LibraryError {
    throw ValidationError(error.description)
  }
}

struct DataArguments: ParsableArguments {
  @Option(
    help: "Daily adjusted closing prices: a CSV file, date and a column for each symbol. Else they are generated.")
  var prices: String?

  @Flag(help: "Portfolio: the published recipe's quadratic term, which differs between decision and objective.")
  var legacyQuadratic = false

  @Option(
    help: "Click-through rates of websites x users: .csv, or .npy with 2 or 3 dimensions. Else they are generated.")
  var clickThrough: String?

  @Option(help: "Hourly loads and temperatures for grid-scheduling.")
  var loads: String?

  var sources: DataSources {
    var sources = DataSources()
    sources.prices = prices
    sources.clickThrough = clickThrough
    sources.loads = loads
    sources.legacyQuadratic = legacyQuadratic
    return sources
  }
}

struct TrainingArguments: ParsableArguments {
  @Option(help: "The options that runs start from: the paper's recipe, or the library's default hypergradients.")
  var preset = Preset.paper

  @Option(name: .customLong("set"), help: "A trainer option, option=value; may be given several times.")
  var set: [String] = []

  func settings() throws -> RunSettings {
    var settings = RunSettings()
    settings.preset = preset
    settings.overrides = try validating { try set.map(parseOption) }
    return settings
  }
}

struct JobArguments: ParsableArguments {
  @Option(help: "Runs at the same time. Default: one for each processor.")
  var jobs: Int?

  func validate() throws {
    if let jobs, !(1...1024).contains(jobs) { throw ValidationError("--jobs must be 1 to 1024, got \(jobs)") }
  }

  var count: Int { jobs ?? processorCount() }
}
