// Many runs: those that are not in the results yet, on several threads, with records appended as they end.

/// What a batch of runs is, for `reproduce`.
public struct ReproductionPlan: Sendable {
  public var problems: [ProblemName] = ProblemName.ofTheTables
  /// nil: all that the paper's tables have, and those that apply beside.
  public var methods: [Method]?
  public var datasets = 10
  public var seeds = 5
  public var settings = RunSettings()
  public var sources = DataSources()

  public init() {}

  /// In an order that needs few data sets at once.
  func runs() throws -> (runs: [RunSpecification], notices: [String]) {
    var runs: [RunSpecification] = []
    var notices: [String] = []
    for name in problems {
      let problem = try makeProblem(name, sources)
      if let notice = problem.notice { notices.append(notice) }
      let chosen = methods ?? Method.allCases
      for dataset in 0..<datasets {
        for seed in 0..<seeds {
          for method in chosen where method.applies(to: name) && !(method.isDeterministic && seed > 0) {
            runs.append(try RunSpecification(problem, method, dataset: dataset, seed: seed, settings))
          }
        }
      }
    }
    return (runs, notices)
  }
}

/// How a batch of runs ended.
public struct RunnerOutcome: Sendable {
  public var done = 0
  public var skipped = 0
  public var failures: [String] = []
  public var interrupted = false
  /// The keys of all runs of the plan.
  var keys: Set<RunKey> = []

  /// Of the records, those of this plan.
  public func select(_ records: [RunRecord]) -> [RunRecord] { records.filter { keys.contains($0.key) } }
}

/// Runs what the plan asks for and the file does not hold. A run that fails is reported and leaves no record.
public func reproduce(_ plan: ReproductionPlan, output: String, jobs: Int, core: String) throws -> RunnerOutcome {
  let (all, notices) = try plan.runs()
  let file = try ResultsFile(path: output)
  let existing = try file.records()
  let finished = Set(existing.map(\.key))
  let runs = all.filter { !finished.contains($0.key) }
  let progress = Progress(runs, earlier: existing, jobs: jobs)
  for notice in notices { progress.note(notice) }
  if all.count > runs.count { progress.note("\(all.count - runs.count) of \(all.count) runs are in \(output)") }

  let queue = RunQueue(runs, skipped: all.count - runs.count, keys: Set(all.map(\.key)))
  let cache = DataCache(runs)
  try onThreads(min(jobs, max(runs.count, 1))) {
    while let run = queue.next() {
      defer { cache.release(run) }
      do {
        let record = try run.execute(cache.data(run), threads: jobs, core: core)
        try file.append(record)
        queue.succeed()
        progress.finished(record)
      } catch is Interrupted {
        return
      } catch {
        let message = "\(run.key.problem) \(run.key.method) data \(run.dataset) seed \(run.seed): \(error)"
        queue.fail(message)
        progress.failed(run, message)
      }
    }
  }
  progress.end()
  return queue.outcome
}

/// The runs that are left, for several threads.
private final class RunQueue: @unchecked Sendable {
  private let lock = Lock()
  private let runs: [RunSpecification]
  private var position = 0
  private var result: RunnerOutcome

  init(_ runs: [RunSpecification], skipped: Int, keys: Set<RunKey>) {
    self.runs = runs
    result = RunnerOutcome(skipped: skipped, keys: keys)
  }

  func next() -> RunSpecification? {
    lock.withLock {
      guard position < runs.count, !Interruption.isRequested else { return nil }
      position += 1
      return runs[position - 1]
    }
  }

  func succeed() { lock.withLock { result.done += 1 } }

  func fail(_ message: String) { lock.withLock { result.failures.append(message) } }

  var outcome: RunnerOutcome {
    lock.withLock {
      var outcome = result
      outcome.interrupted = Interruption.isRequested && result.done + result.failures.count < runs.count
      return outcome
    }
  }
}
