// Data sets, and the decision losses fitted to them: made once, shared by the runs that need them, dropped when none is left.

/// Makes values on demand; a thread that asks for one that is being made waits for it.
private final class Once<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  private var value: Result<Value, any Error>?

  func get(_ make: () throws -> Value) throws -> Value {
    try lock.withLock {
      if value == nil { value = Result { try make() } }
      return try value!.get()
    }
  }
}

/// A learned decision loss, and how it went.
struct FittedLODL: Sendable {
  let task: Task
  let seconds: Double
  let fitQuality: Double
}

/// A data set and what was fitted to it.
final class SharedData: @unchecked Sendable {
  private let once = Once<ProblemData>()
  private let lodls = Lock()
  private var fitted: [(settings: LODLSettings, once: Once<FittedLODL>)] = []

  fileprivate init() {}

  func data(_ problem: any Problem, _ dataset: Int) throws -> ProblemData {
    try once.get { try problem.makeData(dataset) }
  }

  /// Fitted to the training instances by this data set's own seed, the same for all seeds of the runs.
  func lodl(_ settings: LODLSettings, _ data: ProblemData, _ problem: ProblemName, dataset: Int, threads: Int) throws
    -> FittedLODL
  {
    let once = lodls.withLock {
      if let found = fitted.first(where: { $0.settings == settings }) { return found.once }
      fitted.append((settings, Once()))
      return fitted.last!.once
    }
    return try once.get {
      let start = now()
      var random = RandomNumbers("lodl \(problem.rawValue)", dataset)
      let task = try Task.lodl(data.task, data.training, settings, threads: threads, seed: random.next())
      return FittedLODL(task: task, seconds: now() - start, fitQuality: try task.lodlFitQuality())
    }
  }
}

/// The data sets of the runs that are left.
final class DataCache: @unchecked Sendable {
  private struct Key: Hashable {
    let problem: ProblemName
    let dataset: Int
  }

  private let lock = Lock()
  private var entries: [Key: (data: SharedData, users: Int)] = [:]

  init(_ runs: [RunSpecification]) {
    for run in runs { entries[Self.key(run), default: (SharedData(), 0)].users += 1 }
  }

  private static func key(_ run: RunSpecification) -> Key { Key(problem: run.problem.name, dataset: run.dataset) }

  func data(_ run: RunSpecification) -> SharedData { lock.withLock { entries[Self.key(run)]!.data } }

  /// To be called once for each run, when it has ended.
  func release(_ run: RunSpecification) {
    lock.withLock {
      let key = Self.key(run)
      entries[key]!.users -= 1
      if entries[key]!.users == 0 { entries[key] = nil }
    }
  }
}
