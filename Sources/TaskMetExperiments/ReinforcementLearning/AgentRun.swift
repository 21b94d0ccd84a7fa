// One run of an agent: steps in the environment, an update after each, and an evaluation now and then.

/// What an evaluation finds.
public struct Evaluation: Equatable, Sendable {
  public var step: Int
  /// The mean over episodes of the softmax policy.
  public var meanReturn: Double
  /// The model's mean squared error on stored transitions: over all coordinates, and over those of the cart and the pole.
  public var modelError: Double
  public var stateModelError: Double
  /// The diagonal of Lambda (its mean over transitions); empty where there is no metric.
  public var metricDiagonal: [Double]
  /// Since the run began.
  public var seconds: Double
}

public struct RunLength: Equatable, Sendable {
  public var steps = 50_000
  public var evaluationInterval = 1000
  public var evaluationEpisodes = 10

  public init() {}
}

/// A run, step by step.
final class AgentRun {
  private static let errorRows = 1024

  let agent: Agent
  private let length: RunLength
  private var environment: CartPoleEnvironment
  private var replay: ReplayBuffer
  private var behaviour: RandomNumbers
  private var sampling: RandomNumbers
  private var judging: RandomNumbers
  private var first: Batch
  private var second: Batch
  private var judged: Batch
  private(set) var step = 0
  private let start = now()

  init(_ settings: AgentSettings, seed: Int, _ length: RunLength) throws {
    self.length = length
    agent = try Agent(settings, seed: seed)
    environment = CartPoleEnvironment(
      distractors: settings.distractors, random: RandomNumbers("environment", seed))
    let n = environment.observationCount
    replay = ReplayBuffer(observationCount: n, capacity: length.steps)
    behaviour = RandomNumbers("behaviour", seed)
    sampling = RandomNumbers("sampling", seed)
    judging = RandomNumbers("evaluation", seed)
    first = Batch(rows: settings.batchRows, observationCount: n)
    second = first
    judged = Batch(rows: Self.errorRows, observationCount: n)
  }

  /// The rest of the run; `report` gets each evaluation, and says whether to go on.
  func run(_ report: (Evaluation) throws -> Bool) throws {
    while step < length.steps {
      try act()
      step += 1
      if step >= agent.settings.randomSteps {
        try agent.update(step: step, &first, &second) { replay.sample(into: &$0, &sampling) }
      }
      if step % length.evaluationInterval == 0, try !report(evaluate()) { return }
    }
  }

  /// One step in the environment, stored.
  private func act() throws {
    let state = environment.observation
    let action = try chooseAction(state)
    let outcome = environment.step(action)
    replay.append(
      state: state, action: action, nextState: environment.observation, reward: outcome.reward,
      terminated: outcome.terminated)
    if outcome.ended { environment.reset() }
  }

  /// Epsilon-greedy over the softmax policy.
  private func chooseAction(_ state: [Double]) throws -> Int {
    let isRandom = step < agent.settings.randomSteps || behaviour.uniform() < agent.settings.exploration
    let probability = isRandom ? 0.5 : try agent.q.probabilities(rows: 1, state)[0]
    return behaviour.uniform() < probability ? 1 : 0
  }
}

// MARK: - Evaluation

extension AgentRun {
  private func evaluate() throws -> Evaluation {
    replay.sample(into: &judged, &judging)
    return Evaluation(
      step: step, meanReturn: try meanReturn(),
      modelError: try agent.model.meanSquaredError(judged, dimensions: judged.observationCount),
      stateModelError: try agent.model.meanSquaredError(judged, dimensions: CartPole.stateCount),
      metricDiagonal: try agent.metric?.diagonal(judged) ?? [], seconds: now() - start)
  }

  /// All episodes at once, a step of each at a time.
  private func meanReturn() throws -> Double {
    var active = (0..<length.evaluationEpisodes).map { _ in
      CartPoleEnvironment(distractors: agent.settings.distractors, random: RandomNumbers(seed: judging.next()))
    }
    var total = 0.0
    while !active.isEmpty {
      let probabilities = try agent.q.probabilities(rows: active.count, active.flatMap(\.observation))
      var going: [CartPoleEnvironment] = []
      for (index, var environment) in active.enumerated() {
        let outcome = environment.step(judging.uniform() < probabilities[index] ? 1 : 0)
        total += outcome.reward
        if !outcome.ended { going.append(environment) }
      }
      active = going
    }
    return total / Double(length.evaluationEpisodes)
  }
}
