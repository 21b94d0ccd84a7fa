// What is kept of an agent's run, and the key by which it is found again.

/// One run of the plan.
public struct AgentRunSpecification: QueuedRun, Sendable {
  let settings: AgentSettings
  let seed: Int
  let length: RunLength

  var group: String { "\(settings.label) \(length.steps) steps" }
  var title: String { "\(settings.label) seed \(seed)" }
}

/// A run's evaluations, and everything that they depend on.
public struct AgentRecord: ResultRecord {
  let agent: String
  let label: String
  let seed, steps: Int
  let settings: JSON
  var evaluations: [Evaluation] = []
  var seconds = 0.0
  var library = libraryVersion()
  var core = ""

  init(_ run: AgentRunSpecification, core: String) {
    agent = run.settings.kind.rawValue
    label = run.settings.label
    seed = run.seed
    steps = run.length.steps
    settings = run.settings.json(run.length)
    self.core = core
  }

  var settingsHash: String { String(fingerprint(settings.text), radix: 16) }
  var distractors: Int { settings["distractors"]?.integer ?? 0 }

  /// Holds what a run would find: the same settings and seed, at least as long. (A longer run begins as a shorter one.)
  func covers(_ run: AgentRunSpecification) -> Bool {
    seed == run.seed && steps >= run.length.steps && settings == run.settings.json(run.length)
  }
}

// MARK: - Settings

extension AgentSettings {
  /// For people: the agent and the task.
  var label: String {
    var label = kind.rawValue
    if distractors > 0 { label += " \(distractors) distractors" }
    if hidden != [32, 32] { label += " \(hidden.map(String.init).joined(separator: "-")) units" }
    return label
  }

  /// Everything that shapes a run, but its seed and its number of steps; of the metric's and the linear system's settings only
  /// what the agent looks at.
  func json(_ length: RunLength) -> JSON {
    func integer(_ value: Int) -> JSON { .integer(Int64(value)) }
    var members: [(String, JSON)] = [
      ("agent", .string(kind.rawValue)), ("distractors", integer(distractors)),
      ("hidden", .array(hidden.map(integer))), ("model_rate", .real(modelRate)), ("q_rate", .real(qRate)),
      ("q_optimizer", .string(qOptimizer.rawValue)), ("q_batch", .string(qBatch.rawValue)),
      ("exploration", .real(exploration)), ("batch_rows", integer(batchRows)), ("random_steps", integer(randomSteps)),
    ]
    if kind != .mle { members.append(("inverse_hessian", .string(inverseHessian.name))) }
    if kind == .taskmet {
      members += [
        ("metric", .string(metric.shape.rawValue)), ("metric_normalized", .bool(metric.isNormalized)),
        ("metric_l1", .real(metric.l1)), ("metric_rate", .real(metric.rate)),
        ("metric_hidden", .array(metric.hidden.map(integer))), ("metric_start", integer(metricStart)),
        ("solver", .string(solver.rawValue)), ("solver_iterations", integer(solverIterations)),
      ]
    }
    members += [
      ("evaluation_interval", integer(length.evaluationInterval)),
      ("evaluation_episodes", integer(length.evaluationEpisodes)),
    ]
    return .dictionary(members)
  }
}

extension InverseHessian {
  /// identity, or cg:iterations:damping.
  public var name: String {
    switch self {
    case .identity: "identity"
    case .conjugateGradients(let iterations, let damping): "cg:\(iterations):\(damping)"
    }
  }

  public init?(name: String) {
    let parts = name.split(separator: ":", omittingEmptySubsequences: false)
    if name == "identity" {
      self = .identity
    } else if parts.count == 3, parts[0] == "cg", let iterations = Int(parts[1]), iterations > 0,
      let damping = Double(parts[2]), damping >= 0, damping.isFinite
    {
      self = .conjugateGradients(iterations: iterations, damping: damping)
    } else {
      return nil
    }
  }
}

// MARK: - JSON

extension AgentRecord {
  public var json: JSON {
    func reals(_ value: (Evaluation) -> Double) -> JSON { .array(evaluations.map { .real(value($0)) }) }
    return .dictionary([
      ("experiment", .string("cartpole")), ("agent", .string(agent)), ("label", .string(label)),
      ("seed", .integer(Int64(seed))), ("steps", .integer(Int64(steps))), ("settings_hash", .string(settingsHash)),
      ("step", .array(evaluations.map { .integer(Int64($0.step)) })), ("return", reals(\.meanReturn)),
      ("model_error", reals(\.modelError)), ("state_model_error", reals(\.stateModelError)),
      ("metric_diagonal", .array(evaluations.map { .array($0.metricDiagonal.map(JSON.real)) })),
      ("elapsed", reals(\.seconds)), ("seconds", .real(seconds)),
      ("steps_per_second", .real(Double(steps) / seconds)), ("library", .string(library)),
      ("openblas_core", .string(core)), ("settings", settings),
    ])
  }

  public init?(_ json: JSON) {
    guard json["experiment"]?.string == "cartpole", let agent = json["agent"]?.string,
      let label = json["label"]?.string, let seed = json["seed"]?.integer, let steps = json["steps"]?.integer,
      let settings = json["settings"], let columns = Self.columns(json)
    else { return nil }
    self.agent = agent
    self.label = label
    self.seed = seed
    self.steps = steps
    self.settings = settings
    evaluations = columns
    seconds = json["seconds"]?.real ?? .nan
    library = json["library"]?.string ?? ""
    core = json["openblas_core"]?.string ?? ""
  }

  private static func columns(_ json: JSON) -> [Evaluation]? {
    func reals(_ value: JSON) -> [Double]? { value.array.map { $0.map { $0.real ?? .nan } } }
    guard let steps = json["step"]?.array?.compactMap(\.integer), let returns = json["return"].flatMap(reals),
      let errors = json["model_error"].flatMap(reals), let stateErrors = json["state_model_error"].flatMap(reals),
      let diagonals = json["metric_diagonal"]?.array?.compactMap(reals), let elapsed = json["elapsed"].flatMap(reals),
      [returns.count, errors.count, stateErrors.count, diagonals.count, elapsed.count].allSatisfy({ $0 == steps.count })
    else { return nil }
    return steps.indices.map {
      Evaluation(
        step: steps[$0], meanReturn: returns[$0], modelError: errors[$0], stateModelError: stateErrors[$0],
        metricDiagonal: diagonals[$0], seconds: elapsed[$0])
    }
  }
}
