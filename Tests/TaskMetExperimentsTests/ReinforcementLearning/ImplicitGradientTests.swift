// The task's gradient in prediction space, and through the model and the metric: the whole chain of two and of three levels.

import CTaskMet
import Testing

@testable import TaskMetExperiments

@Suite("Implicit gradient of the Q function's task")
struct ImplicitGradientTests {
  /// The predictions as one vector: next states, then rewards.
  struct Predictions {
    var values: [Double]
    let rows: Int

    var nextStates: [Double] { Array(values.dropLast(rows)) }
    var rewards: [Double] { Array(values.suffix(rows)) }
  }

  @Test("with the identity: c = -d/d(f, r) <grad L_Q, g>, by differences")
  func identity() throws {
    var random = RandomNumbers(seed: 21)
    let q = try makeQ(observationCount: 3, hidden: [6, 5], &random)
    let batch = Batch.random(rows: 8, observationCount: 3, &random)
    let predictions = Predictions(values: .normal(8 * 4, &random), rows: 8)
    let implicit = ImplicitQGradient(q, .identity)
    try implicit.update(batch, nextStates: predictions.nextStates, rewards: predictions.rewards)
    let c = implicit.cotangents.nextStates + implicit.cotangents.rewards

    var y = [Double](repeating: 0, count: 8)
    var g = q.networks.map { [Double](repeating: 0, count: $0.parameterCount) }
    try q.linearize(batch)
    try q.regressionTargets(batch, nextStates: batch.nextStates, rewards: batch.rewards, into: &y)
    try q.gradient(batch, y, into: &g)
    expectEqual([implicit.taskLoss], [q.loss(batch, y)], to: 1e-14)
    let expected = try c.indices.map { entry in
      -(try derivative(step: 1e-4) { t in
        var moved = predictions
        moved.values[entry] += t
        try q.regressionTargets(batch, nextStates: moved.nextStates, rewards: moved.rewards, into: &y)
        var gradients = g
        try q.gradient(batch, y, into: &gradients)
        return dot(gradients[0], g[0]) + dot(gradients[1], g[1])
      })
    }
    expectEqual(c, expected, to: 1e-9)
  }

  @Test("with the inverse Hessian: c = d/d(f, r) of L_task at the Q function that is learned from f and r")
  func twoLevels() throws {
    var random = RandomNumbers(seed: 22)
    let chain = try LinearQ(observationCount: 2, rows: 12, &random)
    let predictions = Predictions(values: .normal(12 * 3, &random), rows: 12)
    let c = try chain.gradient(predictions)
    let expected = try c.indices.map { entry in
      try derivative(step: 1e-3) { t in
        var moved = predictions
        moved.values[entry] += t
        return try chain.taskLoss(moved)
      }
    }
    expectEqual(c, expected, to: 1e-8)
  }

  @Test("the identity is not the inverse Hessian")
  func identityIsNotExact() throws {
    var random = RandomNumbers(seed: 22)
    let chain = try LinearQ(observationCount: 2, rows: 12, &random)
    let predictions = Predictions(values: .normal(12 * 3, &random), rows: 12)
    let exact = try chain.gradient(predictions)
    let implicit = ImplicitQGradient(chain.q, .identity)
    try implicit.update(chain.batch, nextStates: predictions.nextStates, rewards: predictions.rewards)
    let approximate = implicit.cotangents.nextStates + implicit.cotangents.rewards
    let cosine = dot(exact, approximate) / (dot(exact, exact) * dot(approximate, approximate)).squareRoot()
    #expect(cosine > 0.1 && cosine < 0.999)
  }

  @Test("through a network of the dynamics, by differences in its parameters")
  func throughModel() throws {
    var random = RandomNumbers(seed: 23)
    let chain = try LinearQ(observationCount: 2, rows: 12, &random)
    let model = try SteppedNetwork(inputs: 4, hidden: [5], outputs: 2)
    model.parameters = .normal(model.parameterCount, &random)
    let (start, direction) = (model.parameters, [Double].normal(model.parameterCount, &random))
    func predictions(at t: Double) throws -> Predictions {
      model.parameters = start.moved(t, along: direction)
      try model.push()
      var nextStates = chain.batch.nextStates
      try model.linearize(rows: 12, chain.batch.modelInputs, into: &nextStates)
      return Predictions(values: nextStates + chain.batch.rewards, rows: 12)
    }
    let c = try chain.gradient(try predictions(at: 0))
    var gradient = start
    try model.pullback(Array(c.dropLast(12)), into: &gradient)
    let expected = try derivative(step: 1e-4) { try chain.taskLoss(try predictions(at: $0)) }
    expectEqual([dot(gradient, direction)], [expected], to: 1e-8)
  }
}

@Suite("Value equivalence")
struct ValueEquivalenceTests {
  @Test("the gradient in prediction space, by differences; none where the predictions are real")
  func gradient() throws {
    var random = RandomNumbers(seed: 24)
    let q = try makeQ(observationCount: 3, hidden: [6, 5], &random)
    let batch = Batch.random(rows: 8, observationCount: 3, &random)
    let predictions = ImplicitGradientTests.Predictions(values: .normal(8 * 4, &random), rows: 8)
    let equivalence = ValueEquivalence(q)
    func loss(_ predictions: ImplicitGradientTests.Predictions) throws -> Double {
      try equivalence.update(batch, nextStates: predictions.nextStates, rewards: predictions.rewards)
      return equivalence.loss
    }
    let value = try loss(predictions)
    let c = equivalence.cotangents.nextStates + equivalence.cotangents.rewards
    let expected = try c.indices.map { entry in
      try derivative(step: 1e-4) { t in
        var moved = predictions
        moved.values[entry] += t
        return try loss(moved)
      }
    }
    #expect(value > 1e-3)
    expectEqual(c, expected, to: 1e-8)
    let real = ImplicitGradientTests.Predictions(values: batch.nextStates + batch.rewards, rows: 8)
    #expect(try loss(real) == 0)
    #expect((equivalence.cotangents.nextStates + equivalence.cotangents.rewards).allSatisfy { $0 == 0 })
  }
}

/// A linear Q function, whose omega*(f, r) is known: the normal equations, for each network and action.
final class LinearQ {
  let q: QFunction
  let batch: Batch
  private let damping = 0.05
  private let implicit: ImplicitQGradient

  init(observationCount: Int, rows: Int, _ random: inout RandomNumbers) throws {
    q = try makeQ(observationCount: observationCount, hidden: [], &random)
    batch = Batch.random(rows: rows, observationCount: observationCount, &random)
    implicit = ImplicitQGradient(q, .conjugateGradients(iterations: 200, damping: damping))
  }

  /// Moves the Q function to omega* = argmin L_Q + damping/2 |omega|^2.
  func learn(_ predictions: ImplicitGradientTests.Predictions) throws {
    var y = [Double](repeating: 0, count: batch.rows)
    try q.regressionTargets(batch, nextStates: predictions.nextStates, rewards: predictions.rewards, into: &y)
    let (n, rows) = (batch.observationCount, Double(batch.rows))
    for network in q.networks {
      for action in 0..<2 {
        var a = [Double](repeating: 0, count: (n + 1) * (n + 1))
        var b = [Double](repeating: 0, count: n + 1)
        for k in 0...n { a[k * (n + 1) + k] = damping }
        for row in 0..<batch.rows where batch.actions[row] == action {
          let x = batch.states[(row * n)..<((row + 1) * n)] + [1]
          for (i, xi) in x.enumerated() {
            b[i] += xi * y[row] / rows
            for (k, xk) in x.enumerated() { a[i * (n + 1) + k] += xi * xk / rows }
          }
        }
        let w = solve(a, b)
        for k in 0..<n { network.parameters[action * n + k] = w[k] }
        network.parameters[2 * n + action] = w[n]
      }
      try network.push()
    }
  }

  func taskLoss(_ predictions: ImplicitGradientTests.Predictions) throws -> Double {
    try learn(predictions)
    try q.linearize(batch)
    var y = [Double](repeating: 0, count: batch.rows)
    try q.regressionTargets(batch, nextStates: batch.nextStates, rewards: batch.rewards, into: &y)
    return q.loss(batch, y)
  }

  /// c, next states and then rewards.
  func gradient(_ predictions: ImplicitGradientTests.Predictions) throws -> [Double] {
    try learn(predictions)
    try implicit.update(batch, nextStates: predictions.nextStates, rewards: predictions.rewards)
    return implicit.cotangents.nextStates + implicit.cotangents.rewards
  }
}
