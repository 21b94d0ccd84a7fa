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
  let file = try ResultsFile<RunRecord>(path: output)
  let existing = try file.records()
  let finished = Set(existing.map(\.key))
  let runs = all.filter { !finished.contains($0.key) }
  let progress = Progress(runs.map(\.group), earlier: existing.map { ($0.group, $0.seconds) }, jobs: jobs)
  for notice in notices { progress.note(notice) }
  if all.count > runs.count { progress.note("\(all.count - runs.count) of \(all.count) runs are in \(output)") }

  let cache = DataCache(runs)
  var outcome = try executeAll(runs, file, progress, jobs: jobs) { run in
    defer { cache.release(run) }
    let record = try run.execute(cache.data(run), threads: jobs, core: core)
    return (record, record.line, record.seconds)
  }
  outcome.skipped = all.count - runs.count
  outcome.keys = Set(all.map(\.key))
  return outcome
}

extension RunSpecification: QueuedRun {
  var group: String { "\(key.problem) \(key.method)" }
  var title: String { "\(group) data \(dataset) seed \(seed)" }
}

extension RunRecord {
  var group: String { "\(problem) \(method)" }
}

/// A run that waits for a thread.
protocol QueuedRun: Sendable {
  /// Those whose runs take about as long.
  var group: String { get }
  var title: String { get }
}

/// Executes runs on several threads; records are appended as they end. `body` returns a record, a line for the user and seconds.
func executeAll<Run: QueuedRun, Record: ResultRecord>(
  _ runs: [Run], _ file: ResultsFile<Record>, _ progress: Progress, jobs: Int,
  _ body: @escaping @Sendable (Run) throws -> (Record, String, Double)
) throws -> RunnerOutcome {
  let queue = RunQueue(runs)
  try onThreads(min(jobs, max(runs.count, 1))) {
    while let run = queue.next() {
      do {
        let (record, line, seconds) = try body(run)
        try file.append(record)
        queue.succeed()
        progress.finished(run, line, seconds: seconds)
      } catch is Interrupted {
        return
      } catch {
        let message = "\(run.title): \(error)"
        queue.fail(message)
        progress.failed(run, message)
      }
    }
  }
  progress.end()
  return queue.outcome
}

/// The runs that are left, for several threads.
private final class RunQueue<Run: QueuedRun>: @unchecked Sendable {
  private let lock = Lock()
  private let runs: [Run]
  private var position = 0
  private var result = RunnerOutcome()

  init(_ runs: [Run]) { self.runs = runs }

  func next() -> Run? {
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
