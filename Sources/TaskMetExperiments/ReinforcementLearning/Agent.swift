// The agents: what each does with one minibatch (or two) after every step in the environment.

import CTaskMet

public enum AgentKind: String, CaseIterable, Sendable {
  /// Maximum likelihood: the model predicts as well as it can.
  case mle
  /// Optimal model design (Nikishin et al. 2022): the model is trained on the task alone.
  case omd
  /// The model gives the Bellman targets that real transitions give (value equivalence, Grimm et al. 2020).
  case vep
  /// The model predicts as well as it can under a metric that is trained on the task.
  case taskmet
}

/// How the Q function's Adam goes through a run.
public enum QOptimizer: String, CaseIterable, Sendable {
  /// Its moments are kept.
  case kept
  /// It starts anew at each step.
  case fresh
}

/// Which minibatch the Q function is updated on.
public enum QBatch: String, CaseIterable, Sendable {
  /// One of its own.
  case separate
  /// The model's.
  case shared
}

/// Everything that a run depends on, but for its seed and length.
public struct AgentSettings: Equatable, Sendable {
  public var kind = AgentKind.mle
  public var distractors = 0
  /// Of the model's networks.
  public var hidden = [32, 32]
  public var modelRate = 1e-3
  public var qRate = 3e-4
  public var qOptimizer = QOptimizer.kept
  public var qBatch = QBatch.separate
  public var exploration = 0.1
  public var batchRows = 256
  /// Steps with random actions, before any update.
  public var randomSteps = 1000
  /// The step from which the metric is updated.
  public var metricStart = 5000
  public var metric = MetricSettings()
  public var inverseHessian = InverseHessian.identity
  /// The solver of the model's linear system.
  public var solver = ModelSolver.normalCG
  public var solverIterations = 10

  public init(_ kind: AgentKind = .mle) { self.kind = kind }
}

/// How u is found in H u = v, H the Hessian of the model's loss.
public enum ModelSolver: String, CaseIterable, Sendable {
  /// The paper's.
  case normalCG = "normal-cg"
  case minres
  case gaussNewtonCG = "gauss-newton-cg"
  case identity

  fileprivate var code: Int {
    switch self {
    case .normalCG: TASKMET_SOLVER_NORMAL_CG
    case .minres: TASKMET_SOLVER_MINRES
    case .gaussNewtonCG: TASKMET_SOLVER_GAUSS_NEWTON_CG
    case .identity: TASKMET_SOLVER_IDENTITY
    }
  }
}

/// Networks, optimisers and the update of one step.
final class Agent {
  let settings: AgentSettings
  let q: QFunction
  let model: DynamicsModel
  /// TaskMet's.
  let metric: StateMetric?
  private let qAdam: [Adam]
  private let implicit: ImplicitQGradient
  private let equivalence: ValueEquivalence
  private var qGradients: [[Double]]
  private var taskGradient: [Double]
  private var y: [Double]

  init(_ settings: AgentSettings, seed: Int) throws {
    self.settings = settings
    let n = CartPole.stateCount + settings.distractors
    var random = RandomNumbers("networks", seed)
    q = try QFunction(observationCount: n, QSettings(), &random)
    metric =
      settings.kind == .taskmet
      ? try StateMetric(observationCount: n, settings.metric, seed: random.next()) : nil
    model = try DynamicsModel(
      observationCount: n, hidden: settings.hidden, rate: settings.modelRate,
      metric: try metric?.metric ?? Metric.identity(outputs: n), &random)
    qAdam = try q.networks.map { try Adam(count: $0.parameterCount, rate: settings.qRate) }
    implicit = ImplicitQGradient(q, settings.inverseHessian)
    equivalence = ValueEquivalence(q)
    qGradients = q.networks.map { [Double](repeating: 0, count: $0.parameterCount) }
    taskGradient = [Double](repeating: 0, count: model.dynamics.parameterCount)
    y = [Double](repeating: 0, count: settings.batchRows)
  }

  /// The update after step number `step`. `draw` fills a minibatch; `first` and `second` are room for two.
  func update(step: Int, _ first: inout Batch, _ second: inout Batch, _ draw: (inout Batch) -> Void) throws {
    draw(&first)
    switch settings.kind {
    case .mle, .taskmet: try model.fit(first)
    case .vep: try fitValues(first)
    case .omd: break
    }
    if settings.qBatch == .separate {
      draw(&second)
      try updateQ(second)
    } else {
      try updateQ(first)
    }
    switch settings.kind {
    case .mle, .vep: break
    case .omd: try updateModel(first)
    case .taskmet: if step >= settings.metricStart { try updateMetric(first) }
    }
  }

  /// VEP: theta <- Adam(dL_VEP/dtheta).
  private func fitValues(_ batch: Batch) throws {
    try model.predict(batch)
    try equivalence.update(batch, nextStates: model.nextStates, rewards: model.rewards)
    try model.step(along: equivalence.cotangents)
  }

  /// omega <- one step of Adam on L_Q at the model's predictions, and the targets after it.
  private func updateQ(_ batch: Batch) throws {
    try model.predict(batch)
    try q.regressionTargets(batch, nextStates: model.nextStates, rewards: model.rewards, into: &y)
    try q.linearize(batch)
    try q.gradient(batch, y, into: &qGradients)
    for j in q.networks.indices {
      if settings.qOptimizer == .fresh { try qAdam[j].reset() }
      try qAdam[j].step(&q.networks[j].parameters, along: qGradients[j])
      try q.networks[j].push()
    }
    try q.updateTargets()
  }

  /// The task's gradient at the predictions for a batch, which the model is then linearised at.
  private func findTaskGradient(_ batch: Batch) throws {
    if settings.qBatch == .separate { try model.predict(batch) }
    try implicit.update(batch, nextStates: model.nextStates, rewards: model.rewards)
  }

  /// OMD: theta <- Adam(dL_task/dtheta).
  private func updateModel(_ batch: Batch) throws {
    try findTaskGradient(batch)
    try model.step(along: implicit.cotangents)
  }

  /// TaskMet: phi <- Adam(dL_task/dphi), through theta*(phi) by the implicit function theorem.
  private func updateMetric(_ batch: Batch) throws {
    guard let metric else { return }
    try findTaskGradient(batch)
    try model.dynamics.pullback(implicit.cotangents.nextStates, into: &taskGradient)
    try metric.step(model.dynamicsLoss, batch, taskGradient, solverOptions)
  }

  private var solverOptions: taskmet_solver_options {
    var options = taskmet_solver_options()
    taskmet_solver_options_init(&options)
    options.solver = taskmet_solver(settings.solver.code)
    options.max_iterations = Int64(settings.solverIterations)
    options.tolerance = 1e-5
    return options
  }
}
