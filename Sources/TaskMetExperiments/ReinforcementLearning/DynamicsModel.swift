// The prediction model of the environment: the next state and the reward, each by a network of state and action.

/// f_theta and r_theta with their losses: L_pred = mean e'Lambda e + mean (r_theta - r)^2.
final class DynamicsModel {
  let dynamics: SteppedNetwork
  let reward: SteppedNetwork
  let dynamicsLoss: SteppedLoss
  let rewardLoss: SteppedLoss
  private let dynamicsAdam: Adam
  private let rewardAdam: Adam
  /// What the networks predict for the last batch: rows x observationCount, and rows.
  private(set) var nextStates: [Double] = []
  private(set) var rewards: [Double] = []
  private var dynamicsGradient: [Double]
  private var rewardGradient: [Double]

  /// - Parameter metric: of the dynamics' errors; the reward's are counted as they are.
  init(observationCount: Int, hidden: [Int], rate: Double, metric: Metric, _ random: inout RandomNumbers) throws {
    let inputs = observationCount + CartPole.actionCount
    func network(outputs: Int) throws -> SteppedNetwork {
      let network = try SteppedNetwork(inputs: inputs, hidden: hidden, outputs: outputs)
      network.parameters = orthogonalParameters(inputs: inputs, hidden: hidden, outputs: outputs, &random)
      try network.push()
      return network
    }
    dynamics = try network(outputs: observationCount)
    reward = try network(outputs: 1)
    dynamicsLoss = try SteppedLoss(dynamics, metric)
    rewardLoss = try SteppedLoss(reward, try Metric.identity(outputs: 1))
    dynamicsAdam = try Adam(count: dynamics.parameterCount, rate: rate)
    rewardAdam = try Adam(count: reward.parameterCount, rate: rate)
    dynamicsGradient = [Double](repeating: 0, count: dynamics.parameterCount)
    rewardGradient = [Double](repeating: 0, count: reward.parameterCount)
  }

  /// theta <- Adam(grad L_pred); returns L_pred before the step.
  @discardableResult
  func fit(_ batch: Batch) throws -> Double {
    try dynamicsLoss.fill(rows: batch.rows, batch.modelInputs, batch.nextStates)
    try rewardLoss.fill(rows: batch.rows, batch.modelInputs, batch.rewards)
    let value =
      try dynamicsLoss.gradient(into: &dynamicsGradient) + rewardLoss.gradient(into: &rewardGradient)
    try step()
    return value
  }

  /// Linearises both networks at the batch, and keeps what they predict.
  func predict(_ batch: Batch) throws {
    if rewards.count != batch.rows {
      nextStates = [Double](repeating: 0, count: batch.rows * batch.observationCount)
      rewards = [Double](repeating: 0, count: batch.rows)
    }
    try dynamics.linearize(rows: batch.rows, batch.modelInputs, into: &nextStates)
    try reward.linearize(rows: batch.rows, batch.modelInputs, into: &rewards)
  }

  /// theta <- Adam(sum_i J_i' c_i) at the point of `predict`, both networks.
  func step(along cotangents: TaskCotangents) throws {
    try dynamics.pullback(cotangents.nextStates, into: &dynamicsGradient)
    try reward.pullback(cotangents.rewards, into: &rewardGradient)
    try step()
  }

  private func step() throws {
    try dynamicsAdam.step(&dynamics.parameters, along: dynamicsGradient)
    try rewardAdam.step(&reward.parameters, along: rewardGradient)
    try dynamics.push()
    try reward.push()
  }

  /// The mean squared error over the entries of the next states, of the first `dimensions` coordinates.
  func meanSquaredError(_ batch: Batch, dimensions: Int) throws -> Double {
    try predict(batch)
    let n = batch.observationCount
    var sum = 0.0
    for row in 0..<batch.rows {
      for k in 0..<dimensions {
        let error = nextStates[row * n + k] - batch.nextStates[row * n + k]
        sum += error * error
      }
    }
    return sum / Double(batch.rows * dimensions)
  }
}
