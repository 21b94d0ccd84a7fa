// What is kept of a run: one line of the results file.

public struct RunRecord: ResultRecord {
  let key: RunKey
  let settings: JSON
  let preset: String
  /// The library's version, and OpenBLAS's kernels.
  var library = libraryVersion()
  var core = ""
  /// Of the run, the data set left out; and of the fit of learned decision losses, which the runs of a data set share.
  var seconds = 0.0
  var lodlSeconds: Double?
  var lodlFitQuality: Double?
  var quality, qualityLower, qualityUpper: Double
  var regret, regretLower, regretUpper: Double
  var objective, optimalObjective, randomObjective: Double
  var meanSquaredError: Double
  var iterations = 0
  var bestIteration = 0
  var stopReason = "none"
  /// The task's loss there, of the model that it chose.
  var validationLoss = Double.nan
  /// What the problem says beside.
  var columns: [(String, Double)] = []

  init(_ run: RunSpecification, _ report: DecisionReport) {
    key = run.key
    settings = run.settings
    preset = run.preset.rawValue
    (quality, qualityLower, qualityUpper) = (report.quality, report.qualityLower, report.qualityUpper)
    (regret, regretLower, regretUpper) = (report.regret, report.regretLower, report.regretUpper)
    objective = report.objective
    optimalObjective = report.optimalObjective
    randomObjective = report.randomObjective
    meanSquaredError = report.meanSquaredError
  }

  var problem: String { key.problem }
  var method: String { key.method }

  public var json: JSON {
    var members: [(String, JSON)] = [
      ("problem", .string(problem)), ("method", .string(method)), ("dataset", .integer(Int64(key.dataset))),
      ("seed", .integer(Int64(key.seed))), ("settings_hash", .string(key.settingsHash)), ("preset", .string(preset)),
      ("decision_quality", .real(quality)), ("decision_quality_lower", .real(qualityLower)),
      ("decision_quality_upper", .real(qualityUpper)), ("regret", .real(regret)), ("regret_lower", .real(regretLower)),
      ("regret_upper", .real(regretUpper)), ("test_mse", .real(meanSquaredError)), ("objective", .real(objective)),
      ("optimal_objective", .real(optimalObjective)), ("random_objective", .real(randomObjective)),
    ]
    members += columns.map { ($0.0, .real($0.1)) }
    members += [
      ("iterations", .integer(Int64(iterations))), ("best_iteration", .integer(Int64(bestIteration))),
      ("validation_loss", .real(validationLoss)), ("stop_reason", .string(stopReason)), ("seconds", .real(seconds)),
    ]
    if let lodlSeconds { members.append(("lodl_seconds", .real(lodlSeconds))) }
    if let lodlFitQuality { members.append(("lodl_r_squared", .real(lodlFitQuality))) }
    members += [("library", .string(library)), ("openblas_core", .string(core)), ("settings", settings)]
    return .dictionary(members)
  }

  /// A record read again; nil where a member is missing.
  public init?(_ json: JSON) {
    guard let problem = json["problem"]?.string, let method = json["method"]?.string,
      let dataset = json["dataset"]?.integer, let seed = json["seed"]?.integer,
      let hash = json["settings_hash"]?.string, let preset = json["preset"]?.string, let settings = json["settings"]
    else { return nil }
    key = RunKey(problem: problem, method: method, dataset: dataset, seed: seed, settingsHash: hash)
    self.settings = settings
    self.preset = preset
    // What was not finite was written as null.
    func real(_ name: String) -> Double { json[name]?.real ?? .nan }
    library = json["library"]?.string ?? ""
    core = json["openblas_core"]?.string ?? ""
    seconds = real("seconds")
    lodlSeconds = json["lodl_seconds"]?.real
    lodlFitQuality = json["lodl_r_squared"]?.real
    (quality, qualityLower, qualityUpper) = (
      real("decision_quality"), real("decision_quality_lower"), real("decision_quality_upper")
    )
    (regret, regretLower, regretUpper) = (real("regret"), real("regret_lower"), real("regret_upper"))
    objective = real("objective")
    optimalObjective = real("optimal_objective")
    randomObjective = real("random_objective")
    meanSquaredError = real("test_mse")
    iterations = json["iterations"]?.integer ?? 0
    bestIteration = json["best_iteration"]?.integer ?? 0
    validationLoss = real("validation_loss")
    stopReason = json["stop_reason"]?.string ?? ""
    columns = json["slope"]?.real.map { [("slope", $0)] } ?? []
  }
}

extension RunRecord {
  /// For progress.
  var line: String {
    var text = "\(problem) \(method) data \(key.dataset) seed \(key.seed): "
    text += "DQ \(fixed(quality, 3)), MSE \(significant(meanSquaredError, 3))"
    for (name, value) in columns { text += ", \(name) \(fixed(value, 3))" }
    return text
  }
}
