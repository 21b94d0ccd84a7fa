// The soft Q function: two networks s -> R^2, each with a slowly following target, and its temporal-difference loss
//
//   V(s)             = alpha log sum_a exp(min(Q1, Q2)_target(s, a) / alpha)
//   TD(omega; s', r) = 1/2 sum_j mean_i (Qj(s_i, a_i) - y_i)^2,   y_i = r_i + gamma d_i V(s'_i)

import Glibc

/// What the Q function is learned with.
struct QSettings {
  var hidden = [32, 32]
  var discount = 0.99
  var temperature = 0.01
  /// How much of the networks their targets take over at each step.
  var targetRate = 0.01
}

/// V, from the target networks, at some states; `linearized` ones have a gradient too.
final class SoftValue {
  private let settings: QSettings
  private let networks: [SteppedNetwork]
  /// rows; rows x actions for each network.
  private(set) var values: [Double] = []
  private var outputs: [[Double]]
  private var cotangents: [[Double]]
  private var inputGradient: [Double] = []

  /// Networks that are linearised for nobody else.
  init(_ networks: [SteppedNetwork], _ settings: QSettings) {
    self.networks = networks
    self.settings = settings
    outputs = networks.map { _ in [] }
    cotangents = outputs
  }

  /// Fills `values`.
  func evaluate(rows: Int, _ states: [Double]) throws {
    let actions = CartPole.actionCount
    if values.count != rows {
      values = [Double](repeating: 0, count: rows)
      for j in networks.indices { outputs[j] = [Double](repeating: 0, count: rows * actions) }
      cotangents = outputs
      inputGradient = [Double](repeating: 0, count: rows * networks[0].inputs)
    }
    for j in networks.indices { try networks[j].linearize(rows: rows, states, into: &outputs[j]) }
    let alpha = settings.temperature
    for row in 0..<rows {
      let (first, second) = (smaller(2 * row), smaller(2 * row + 1))
      // The log of a sum of exponentials, from its larger term.
      values[row] = max(first, second) + alpha * log1p(exp(-abs(first - second) / alpha))
    }
  }

  private func smaller(_ index: Int) -> Double { min(outputs[0][index], outputs[1][index]) }

  /// gradient_i = weight_i dV/ds at the states of `evaluate`.
  func gradient(weights: [Double], into gradient: inout [Double]) throws {
    let alpha = settings.temperature
    for row in 0..<values.count {
      for index in [2 * row, 2 * row + 1] {
        let share = weights[row] * exp((smaller(index) - values[row]) / alpha)
        let isFirst = outputs[0][index] <= outputs[1][index]
        cotangents[0][index] = isFirst ? share : 0
        cotangents[1][index] = isFirst ? 0 : share
      }
    }
    try networks[0].pullbackToInputs(cotangents[0], into: &gradient)
    try networks[1].pullbackToInputs(cotangents[1], into: &inputGradient)
    for k in gradient.indices { gradient[k] += inputGradient[k] }
  }
}

/// The two networks at the states of a batch.
final class QFunction {
  let settings: QSettings
  let networks: [SteppedNetwork]
  let targets: [SteppedNetwork]
  let value: SoftValue
  /// For each network: Q at all actions; its residuals Qj(s, a) - y as cotangents of the outputs, over B.
  private var outputs: [[Double]] = [[], []]
  private var cotangents: [[Double]] = [[], []]
  private var rows = 0

  init(observationCount: Int, _ settings: QSettings, _ random: inout RandomNumbers) throws {
    self.settings = settings
    networks = try (0..<2).map { _ in
      let network = try SteppedNetwork(
        inputs: observationCount, hidden: settings.hidden, outputs: CartPole.actionCount)
      network.parameters = orthogonalParameters(
        inputs: observationCount, hidden: settings.hidden, outputs: CartPole.actionCount, &random)
      try network.push()
      return network
    }
    targets = try networks.map { network in
      let target = try SteppedNetwork(
        inputs: observationCount, hidden: settings.hidden, outputs: CartPole.actionCount)
      target.parameters = network.parameters
      try target.push()
      return target
    }
    value = SoftValue(targets, settings)
  }

  /// The targets move towards the networks.
  func updateTargets() throws {
    let rate = settings.targetRate
    for (network, target) in zip(networks, targets) {
      network.parameters.withUnsafeBufferPointer { source in
        target.parameters.withUnsafeMutableBufferPointer { goal in
          for k in goal.indices { goal[k] += rate * (source[k] - goal[k]) }
        }
      }
      try target.push()
    }
  }

  /// y for given next states and rewards; `value` then holds V and its gradient there.
  func regressionTargets(_ batch: Batch, nextStates: [Double], rewards: [Double], into y: inout [Double]) throws {
    try value.evaluate(rows: batch.rows, nextStates)
    for row in 0..<batch.rows {
      y[row] = rewards[row] + settings.discount * batch.continuations[row] * value.values[row]
    }
  }
}

// MARK: - The loss

extension QFunction {
  /// Linearises the networks at the batch's states.
  func linearize(_ batch: Batch) throws {
    if rows != batch.rows {
      rows = batch.rows
      for j in networks.indices {
        outputs[j] = [Double](repeating: 0, count: rows * CartPole.actionCount)
        cotangents[j] = outputs[j]
      }
    }
    for j in networks.indices { try networks[j].linearize(rows: rows, batch.states, into: &outputs[j]) }
  }

  /// TD where `linearize` was called.
  func loss(_ batch: Batch, _ y: [Double]) -> Double {
    var sum = 0.0
    for j in networks.indices {
      for row in 0..<rows {
        let residual = outputs[j][CartPole.actionCount * row + batch.actions[row]] - y[row]
        sum += residual * residual
      }
    }
    return sum / Double(2 * rows)
  }

  /// gradients[j] = dTD/d(network j's parameters) where `linearize` was called; the residuals are kept for
  /// `hessianProduct`.
  func gradient(_ batch: Batch, _ y: [Double], into gradients: inout [[Double]]) throws {
    let actions = CartPole.actionCount
    for j in networks.indices {
      for row in 0..<rows {
        for action in 0..<actions { cotangents[j][actions * row + action] = 0 }
        let taken = actions * row + batch.actions[row]
        cotangents[j][taken] = (outputs[j][taken] - y[row]) / Double(rows)
      }
      try networks[j].pullback(cotangents[j], into: &gradients[j])
    }
  }

  /// qDot_i = sum_j dQj(s_i, a_i) along the directions.
  func pushforward(_ batch: Batch, _ directions: [[Double]], into qDot: inout [Double]) throws {
    var tangents = [Double](repeating: 0, count: rows * CartPole.actionCount)
    for j in networks.indices {
      try networks[j].pushforward(directions[j], into: &tangents)
      for row in 0..<rows {
        qDot[row] = (j == 0 ? 0 : qDot[row]) + tangents[CartPole.actionCount * row + batch.actions[row]]
      }
    }
  }

  /// out = (d2TD/domega_j2) w for network j, at the residuals of the last `gradient`.
  func hessianProduct(_ j: Int, _ batch: Batch, _ w: [Double], into out: inout [Double]) throws {
    let actions = CartPole.actionCount
    var tangents = [Double](repeating: 0, count: rows * actions)
    try networks[j].pushforward(w, into: &tangents)
    for row in 0..<rows {
      for action in 0..<actions {
        let index = actions * row + action
        tangents[index] = action == batch.actions[row] ? tangents[index] / Double(rows) : 0
      }
    }
    try networks[j].pullback(tangents, into: &out)
    var curvature = [Double](repeating: 0, count: out.count)
    try networks[j].secondOrderProduct(cotangents[j], w, into: &curvature)
    for k in out.indices { out[k] += curvature[k] }
  }
}

// MARK: - Behaviour

extension QFunction {
  /// The probability of action 1 under softmax((Q1 + Q2) / 2 alpha) at each state.
  func probabilities(rows: Int, _ states: [Double]) throws -> [Double] {
    let actions = CartPole.actionCount
    var sums = [Double](repeating: 0, count: rows * actions)
    var out = sums
    for network in networks {
      try network.linearize(rows: rows, states, into: &out)
      for k in sums.indices { sums[k] += out[k] }
    }
    return (0..<rows).map { row in
      1 / (1 + exp((sums[actions * row] - sums[actions * row + 1]) / (2 * settings.temperature)))
    }
  }
}
