// All transitions of a run, and minibatches of them.

/// B transitions, row by row.
struct Batch {
  let rows: Int
  let observationCount: Int
  /// rows x observationCount.
  var states: [Double]
  var nextStates: [Double]
  /// What a model of the dynamics sees: the state, then the action as one of two indicators.
  var modelInputs: [Double]
  var actions: [Int]
  var rewards: [Double]
  /// 1, or 0 where the episode terminated.
  var continuations: [Double]

  init(rows: Int, observationCount: Int) {
    self.rows = rows
    self.observationCount = observationCount
    states = [Double](repeating: 0, count: rows * observationCount)
    nextStates = states
    modelInputs = [Double](repeating: 0, count: rows * (observationCount + CartPole.actionCount))
    actions = [Int](repeating: 0, count: rows)
    rewards = [Double](repeating: 0, count: rows)
    continuations = rewards
  }
}

/// Keeps everything.
struct ReplayBuffer {
  let observationCount: Int
  /// For each transition the state and the next one.
  private var observations: [Double] = []
  private var actions: [Int] = []
  private var rewards: [Double] = []
  private var continuations: [Double] = []

  init(observationCount: Int, capacity: Int) {
    self.observationCount = observationCount
    observations.reserveCapacity(2 * observationCount * capacity)
    actions.reserveCapacity(capacity)
    rewards.reserveCapacity(capacity)
    continuations.reserveCapacity(capacity)
  }

  var count: Int { actions.count }

  mutating func append(
    state: [Double], action: Int, nextState: [Double], reward: Double, terminated: Bool
  ) {
    observations += state
    observations += nextState
    actions.append(action)
    rewards.append(reward)
    continuations.append(terminated ? 0 : 1)
  }

  /// Fills a batch with transitions drawn uniformly, with replacement.
  func sample(into batch: inout Batch, _ random: inout RandomNumbers) {
    for row in 0..<batch.rows { copy(random.index(below: count), to: row, of: &batch) }
  }

  /// Row `row` of the batch becomes transition `index`.
  func copy(_ index: Int, to row: Int, of batch: inout Batch) {
    let (n, inputs) = (observationCount, observationCount + CartPole.actionCount)
    observations.withUnsafeBufferPointer { source in
      let transition = source.baseAddress! + 2 * n * index
      batch.states.withUnsafeMutableBufferPointer {
        ($0.baseAddress! + n * row).update(from: transition, count: n)
      }
      batch.nextStates.withUnsafeMutableBufferPointer {
        ($0.baseAddress! + n * row).update(from: transition + n, count: n)
      }
      batch.modelInputs.withUnsafeMutableBufferPointer {
        let input = $0.baseAddress! + inputs * row
        input.update(from: transition, count: n)
        for action in 0..<CartPole.actionCount { input[n + action] = action == actions[index] ? 1 : 0 }
      }
    }
    batch.actions[row] = actions[index]
    batch.rewards[row] = rewards[index]
    batch.continuations[row] = continuations[index]
  }
}
