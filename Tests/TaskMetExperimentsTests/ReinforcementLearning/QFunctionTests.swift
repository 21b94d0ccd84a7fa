// The soft Q function: value, temporal-difference loss, derivatives, targets, policy.

import Glibc
import Testing

@testable import TaskMetExperiments

@Suite("Q function")
struct QFunctionTests {
  /// Q of one network from its parameters, by hand: ReLU between layers.
  static func outputs(_ network: SteppedNetwork, hidden: [Int], _ x: [Double]) -> [Double] {
    var (a, offset) = (x, 0)
    for (index, next) in (hidden + [network.outputs]).enumerated() {
      let width = a.count
      let z = (0..<next).map { unit in
        (0..<width).reduce(network.parameters[offset + next * width + unit]) {
          $0 + network.parameters[offset + unit * width + $1] * a[$1]
        }
      }
      a = index < hidden.count ? z.map { max($0, 0) } : z
      offset += next * width + next
    }
    return a
  }

  static func value(_ q: QFunction, _ state: [Double]) -> Double {
    let first = outputs(q.targets[0], hidden: q.settings.hidden, state)
    let second = outputs(q.targets[1], hidden: q.settings.hidden, state)
    let alpha = q.settings.temperature
    return alpha * log((0..<2).reduce(0) { $0 + exp(min(first[$1], second[$1]) / alpha) })
  }

  @Test("V is the soft maximum of the targets' minimum")
  func softValue() throws {
    var random = RandomNumbers(seed: 11)
    let q = try makeQ(observationCount: 3, hidden: [5, 4], &random)
    let states = [Double].normal(7 * 3, &random)
    try q.value.evaluate(rows: 7, states)
    expectEqual(q.value.values, (0..<7).map { Self.value(q, Array(states[(3 * $0)..<(3 * $0 + 3)])) }, to: 1e-13)
  }

  @Test("V does not overflow at the temperature of the experiments")
  func coldValue() throws {
    var random = RandomNumbers(seed: 12)
    let q = try makeQ(observationCount: 2, hidden: [], temperature: 0.01, &random)
    try q.value.evaluate(rows: 1, [1e4, -1e4])
    let first = Self.outputs(q.targets[0], hidden: [], [1e4, -1e4])
    let second = Self.outputs(q.targets[1], hidden: [], [1e4, -1e4])
    expectEqual(q.value.values, [max(min(first[0], second[0]), min(first[1], second[1]))], to: 1e-12)
  }

  @Test("V's gradient = differences")
  func valueGradient() throws {
    var random = RandomNumbers(seed: 13)
    let q = try makeQ(observationCount: 3, hidden: [6, 5], &random)
    let states = [Double].normal(9 * 3, &random)
    let weights = [Double].normal(9, &random)
    var gradient = [Double](repeating: 0, count: 27)
    try q.value.evaluate(rows: 9, states)
    try q.value.gradient(weights: weights, into: &gradient)
    let expected = try (0..<27).map { entry in
      try derivative(step: 1e-4) { t in
        var moved = states
        moved[entry] += t
        try q.value.evaluate(rows: 9, moved)
        return dot(weights, q.value.values)
      }
    }
    expectEqual(gradient, expected, to: 1e-9)
  }

  @Test("the loss is TD's formula, its gradient and Hessian are differences of it")
  func lossDerivatives() throws {
    var random = RandomNumbers(seed: 14)
    let q = try makeQ(observationCount: 3, hidden: [6, 5], &random)
    let batch = Batch.random(rows: 8, observationCount: 3, &random)
    var y = [Double](repeating: 0, count: 8)
    try q.regressionTargets(batch, nextStates: batch.nextStates, rewards: batch.rewards, into: &y)
    let expectedY = (0..<8).map { row in
      batch.rewards[row] + 0.99 * batch.continuations[row]
        * Self.value(q, Array(batch.nextStates[(3 * row)..<(3 * row + 3)]))
    }
    expectEqual(y, expectedY, to: 1e-13)
    try q.linearize(batch)
    let expectedLoss = (0..<2).reduce(0.0) { sum, j in
      (0..<8).reduce(sum) { sum, row in
        let state = Array(batch.states[(3 * row)..<(3 * row + 3)])
        let residual = Self.outputs(q.networks[j], hidden: [6, 5], state)[batch.actions[row]] - y[row]
        return sum + residual * residual / 16
      }
    }
    expectEqual([q.loss(batch, y)], [expectedLoss], to: 1e-13)
    try checkDerivatives(q, batch, y, &random)
  }

  private func checkDerivatives(
    _ q: QFunction, _ batch: Batch, _ y: [Double], _ random: inout RandomNumbers
  ) throws {
    var gradients = q.networks.map { [Double](repeating: 0, count: $0.parameterCount) }
    var products = gradients
    let start = q.networks.map(\.parameters)
    let directions = gradients.map { [Double].normal($0.count, &random) }
    func gradient(at t: Double, _ j: Int) throws -> [[Double]] {
      q.networks[j].parameters = start[j].moved(t, along: directions[j])
      try q.networks[j].push()
      try q.linearize(batch)
      var gradients = products
      try q.gradient(batch, y, into: &gradients)
      return gradients
    }
    for j in 0..<2 {
      gradients = try gradient(at: 0, j)
      try q.hessianProduct(j, batch, directions[j], into: &products[j])
      let slope = try derivative(step: 1e-4) { t in
        _ = try gradient(at: t, j)
        return q.loss(batch, y)
      }
      expectEqual([dot(gradients[j], directions[j])], [slope], to: 1e-9, "gradient \(j)")
      let probe = [Double].normal(start[j].count, &random)
      let curvature = try derivative(step: 1e-4) { t in dot(try gradient(at: t, j)[j], probe) }
      expectEqual([dot(products[j], probe)], [curvature], to: 1e-9, "Hessian \(j)")
      _ = try gradient(at: 0, j)
    }
  }

  @Test("targets move by tau of the distance")
  func targets() throws {
    var random = RandomNumbers(seed: 15)
    let q = try makeQ(observationCount: 2, hidden: [3], &random)
    let before = q.targets.map(\.parameters)
    try q.updateTargets()
    for j in 0..<2 {
      let expected = zip(before[j], q.networks[j].parameters).map { 0.99 * $0 + 0.01 * $1 }
      expectEqual(q.targets[j].parameters, expected, to: 1e-14)
      #expect(try q.targets[j].predictor.parameters() == q.targets[j].parameters)
    }
  }

  @Test("the policy is the softmax of the networks' mean")
  func policy() throws {
    var random = RandomNumbers(seed: 16)
    let q = try makeQ(observationCount: 2, hidden: [4], &random)
    let states = [Double].normal(5 * 2, &random)
    let expected = (0..<5).map { row in
      let state = Array(states[(2 * row)..<(2 * row + 2)])
      let values = q.networks.map { Self.outputs($0, hidden: [4], state) }
      let weights = (0..<2).map { exp((values[0][$0] + values[1][$0]) / (2 * 0.5)) }
      return weights[1] / (weights[0] + weights[1])
    }
    expectEqual(try q.probabilities(rows: 5, states), expected, to: 1e-12)
  }
}
