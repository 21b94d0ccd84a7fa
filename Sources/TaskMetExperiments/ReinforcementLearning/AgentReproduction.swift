// Many runs of the agents, for figures 6 to 8: those that the results do not cover yet.

/// Which figure a plan is for: what sets its runs apart.
public enum AgentFigure: String, CaseIterable, Sendable {
  /// Returns of the agents beside distractors.
  case figure6
  /// The metric that TaskMet learns there, by coordinate.
  case figure7
  /// A model of too few units.
  case figure8

  public var agents: [AgentKind] { self == .figure7 ? [.taskmet] : [.mle, .omd, .taskmet] }
  public var distractors: [Int] {
    switch self {
    case .figure6: [0, 8, 16, 32]
    case .figure7: [16]
    case .figure8: [0]
    }
  }

  /// What the figure changes in an agent's settings.
  public func apply(to settings: inout AgentSettings) {
    guard self == .figure8 else { return }
    settings.hidden = [3, 3]
    settings.metric.shape = .fullConditional
  }
}

public struct AgentPlan: Sendable {
  public var agents: [AgentKind]
  public var distractors: [Int]
  public var seeds: [Int]
  public var length = RunLength()
  /// Settings that all runs share, but for agent and distractors.
  public var settings: AgentSettings

  public init(_ figure: AgentFigure, seeds: [Int]) {
    agents = figure.agents
    distractors = figure.distractors
    self.seeds = seeds
    settings = AgentSettings()
    figure.apply(to: &settings)
  }

  /// Seed by seed, so that an interrupted sweep has whole comparisons.
  var runs: [AgentRunSpecification] {
    seeds.flatMap { seed in
      distractors.flatMap { count in
        agents.map { agent in
          var settings = settings
          settings.kind = agent
          settings.distractors = count
          return AgentRunSpecification(settings: settings, seed: seed, length: length)
        }
      }
    }
  }

  /// Of the records, those of this plan.
  public func select(_ records: [AgentRecord]) -> [AgentRecord] {
    let runs = runs
    return records.filter { record in runs.contains { record.covers($0) } }
  }
}

/// Runs what the plan asks for and the file does not hold.
public func reproduce(_ plan: AgentPlan, output: String, jobs: Int, core: String) throws -> RunnerOutcome {
  let file = try ResultsFile<AgentRecord>(path: output)
  let existing = try file.records()
  let all = plan.runs
  let runs = all.filter { run in !existing.contains { $0.covers(run) } }
  let earlier = existing.map { (group: "\($0.label) \($0.steps) steps", seconds: $0.seconds) }
  let progress = Progress(runs.map(\.group), earlier: earlier, jobs: jobs)
  if all.count > runs.count { progress.note("\(all.count - runs.count) of \(all.count) runs are in \(output)") }
  var outcome = try executeAll(runs, file, progress, jobs: jobs) { run in
    let record = try run.execute(core: core) { progress.going(run, $0) }
    return (record, record.line, record.seconds)
  }
  outcome.skipped = all.count - runs.count
  return outcome
}

extension AgentRunSpecification {
  /// `report` gets a few words after each evaluation.
  func execute(core: String, _ report: (String) -> Void = { _ in }) throws -> AgentRecord {
    var record = AgentRecord(self, core: core)
    let start = now()
    try AgentRun(settings, seed: seed, length).run { evaluation in
      record.evaluations.append(evaluation)
      let rate = Double(evaluation.step) / evaluation.seconds
      report(
        "\(evaluation.step), return \(fixed(evaluation.meanReturn, 0)), \(fixed(rate, 0)) steps/s, "
          + "\(duration(Double(length.steps - evaluation.step) / rate)) left")
      return !Interruption.isRequested
    }
    if Interruption.isRequested { throw Interrupted() }
    record.seconds = now() - start
    return record
  }
}

extension AgentRecord {
  /// For progress.
  var line: String {
    "\(label) seed \(seed): return \(fixed(finalReturn, 1)) at the end, mean \(fixed(meanReturn, 1)), "
      + "\(fixed(Double(steps) / seconds, 0)) steps/s"
  }
}
