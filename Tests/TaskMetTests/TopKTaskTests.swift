// The soft choice of the k largest against differences, Sinkhorn's algorithm, and limits that are known; the hard one against
// all sets.

import Glibc
import Testing

@testable import TaskMetSwift

/// Entropic optimal transport of scores to the anchors 0 (left) and 1 (taken) with costs (score - anchor)^2 / scale: Sinkhorn's
/// algorithm with potentials in place of scalings, nothing but its textbook form.
private struct Sinkhorn {
  let wanted: Int
  let epsilon: Double
  let scale: Double

  /// M times the mass that goes to "taken".
  func shares(_ scores: [Double], iterations: Int) -> [Double] {
    let count = Double(scores.count)
    let mass = [1 - Double(wanted) / count, Double(wanted) / count]
    let costs = scores.map { score in [0.0, 1].map { (score - $0) * (score - $0) / scale } }
    var (row, column) = ([Double](repeating: 0, count: scores.count), [0.0, 0])
    for _ in 0..<iterations {
      for i in scores.indices {
        row[i] = epsilon * (log(1 / count) - logSum([0, 1].map { (column[$0] - costs[i][$0]) / epsilon }))
      }
      for a in 0...1 {
        column[a] = epsilon * (log(mass[a]) - logSum(scores.indices.map { (row[$0] - costs[$0][a]) / epsilon }))
      }
    }
    return scores.indices.map { count * exp((row[$0] + column[1] - costs[$0][1]) / epsilon) }
  }

  private func logSum(_ x: [Double]) -> Double {
    let largest = x.max()!
    return largest + log(x.reduce(0) { $0 + exp($1 - largest) })
  }
}

@Suite("Top-k task")
struct TopKTaskTests {
  private func problem(_ count: Int, seed: UInt64) -> (SingleInstance, scores: [Double]) {
    var random = RandomGenerator(seed: seed)
    let y = [Double].normal(count, &random)
    return (SingleInstance(rows: count, outputs: 1, targets: y), .normal(count, &random))
  }

  private func soft(_ k: Int, _ temperature: Double) -> TopKTask {
    TopKTask(choosing: k, temperature: temperature, isLegacy: false)
  }

  @Test(arguments: [(1, 1, 2), (3, 1, 7), (5, 2, 8), (8, 3, 9), (50, 1, 50), (51, 25, 51), (16, 15, 16)])
  func gradientEqualsDifferences(_ sizes: (count: Int, k: Int, seed: Int)) throws {
    let (instance, scores) = problem(sizes.count, seed: UInt64(sizes.seed))
    for temperature in [0.05, 0.3, 2] {
      let task = soft(sizes.k, temperature)
      try requireEqual(
        instance.gradient(task, scores), instance.differences(task, scores, step: temperature / 50), to: 1e-8,
        scale: 1e-6, "\(sizes) at \(temperature)")
    }
  }

  @Test func gradientWithSeveralOutputsAndInstances() throws {
    var random = RandomGenerator(seed: 5)
    let (y, f) = ([Double].normal(18, &random), [Double].normal(18, &random))
    let dataset = try Dataset(DenseMatrix(zeros: 6, 1), DenseMatrix(6, 3, y))
    try dataset.setInstances([0, 2, 6])
    let batch = try TaskBatch(dataset, phase: .training).with(predictions: Buffer(f), phase: .training)
    let room = try Buffer<Double>(count: 18)
    let value = try soft(2, 0.2).evaluate(batch, gradient: room.base)
    let parts = [(0..<6, 2), (6..<18, 4)].map { range, rows in
      (SingleInstance(rows: rows, outputs: 3, targets: Array(y[range])), Array(f[range]))
    }
    let losses = try parts.map { try $0.0.loss(soft(2, 0.2), $0.1) }
    let gradients = try parts.map { try $0.0.gradient(soft(2, 0.2), $0.1) }
    expectEqual(value, (losses[0] + losses[1]) / 2, to: 1e-14)
    expectEqual(room.array, 0.5 * (gradients[0] + gradients[1]), to: 1e-14)
  }

  @Test(arguments: [1, 2, 5]) func equalsSinkhorn(_ k: Int) throws {
    let (instance, scores) = problem(6, seed: UInt64(20 + k))
    let largestCost = scores.map { max($0 * $0, ($0 - 1) * ($0 - 1)) }.max()!
    let transport = Sinkhorn(wanted: k, epsilon: 0.1, scale: largestCost)
    func transportLoss(_ scores: [Double]) -> Double {
      -dot(transport.shares(scores, iterations: 150), instance.targets)
    }
    let differences = scores.indices.map { j in
      derivative(step: 1e-2) { transportLoss(scores .+ $0 * .unit(6, j)) }
    }
    let task = soft(k, 0.1 * largestCost / 2)
    expectEqual(try instance.loss(task, scores), transportLoss(scores), to: 1e-9)
    expectEqual(try instance.gradient(task, scores), differences, to: 1e-7)
    // The published recipe measures the scale itself and holds it fixed.
    let legacy = TopKTask(choosing: k, temperature: 0.1, isLegacy: true)
    expectEqual(try instance.loss(legacy, scores), transportLoss(scores), to: 1e-9)
    expectEqual(try instance.gradient(legacy, scores), differences, to: 1e-7)
  }

  /// The recipe's own 200 iterations at its own epsilon, on a problem of its own kind.
  @Test func equalsThePublishedSetting() throws {
    var random = RandomGenerator(seed: 3)
    let x = (0..<50).map { _ in 2 * random.uniform() - 1 }
    let instance = SingleInstance(rows: 50, outputs: 1, targets: x.map { 10 * $0 * $0 * $0 - 6.5 * $0 })
    let scores = -0.49 * x
    let scale = scores.map { max($0 * $0, ($0 - 1) * ($0 - 1)) }.max()!
    let shares = Sinkhorn(wanted: 1, epsilon: 0.01, scale: scale).shares(scores, iterations: 200)
    let legacy = TopKTask(choosing: 1, temperature: 0.01, isLegacy: true)
    expectEqual(try instance.loss(legacy, scores), -dot(shares, instance.targets), to: 2e-5)
  }

  @Test func allEntries() throws {
    let (instance, scores) = problem(6, seed: 1)
    expectEqual(try instance.loss(soft(6, 0.1), scores), -instance.targets.reduce(0, +), to: 1e-15)
    #expect(try instance.gradient(soft(6, 0.1), scores) == [Double](repeating: 0, count: 6))
    #expect(try instance.decision(soft(6, 0.1), scores) == [Double](repeating: 1, count: 6))
  }

  /// Equal scores get equal shares, and the gradient is that of equal shares; the decision takes the earlier ones.
  @Test func ties() throws {
    let (instance, _) = problem(12, seed: 2)
    let scores = [Double](repeating: 0.7, count: 12)
    let mean = instance.targets.reduce(0, +) / 12
    expectEqual(try instance.loss(soft(3, 0.1), scores), -3 * mean, to: 1e-14)
    let expected = instance.targets.map { -0.25 * 0.75 / 0.1 * ($0 - mean) }
    expectEqual(try instance.gradient(soft(3, 0.1), scores), expected, to: 1e-13)
    #expect(try instance.decision(soft(3, 0.1), scores) == (0..<12).map { $0 < 3 ? 1 : 0 })
    #expect(try instance.decision(soft(2, 0.1), [1, 2, 1, 2] + Array(scores[4...])).prefix(4) == [0, 1, 0, 1])
  }

  /// Two entries d apart: z = sigmoid(d / 2T) for the larger one, whose part that is left has all its digits.
  @Test(arguments: [1.0, 40, 200, 900]) func smallDoubtsAreAccurate(_ gap: Double) throws {
    let instance = SingleInstance(rows: 2, outputs: 1, targets: [0, 1])
    let loss = try instance.loss(soft(1, 1), [gap, 0])
    expectEqual(loss / exp(-gap / 2), -1 / (1 + exp(-gap / 2)), to: 1e-12)
    let slope = try instance.gradient(soft(1, 1), [gap, 0])
    let expected = 0.5 * exp(-gap / 2) / ((1 + exp(-gap / 2)) * (1 + exp(-gap / 2)))
    expectEqual((1 / expected) * slope, [1, -1], to: 1e-12)
  }

  @Test func hugeScores() throws {
    let huge = Double.greatestFiniteMagnitude
    let scores = [huge, -huge, huge, 1e300, -1e-300, 0, 5, -1e200]
    let instance = SingleInstance(rows: 8, outputs: 1, targets: [1, 2, 3, 4, 5, 6, 7, 8])
    for isLegacy in [false, true] {
      for k in 1...8 {
        for temperature in [1e-6, 1, 1e6] {
          let task = TopKTask(choosing: k, temperature: temperature, isLegacy: isLegacy)
          #expect(try instance.loss(task, scores).isFinite)
          #expect(try instance.gradient(task, scores).allSatisfy { $0.isFinite })
        }
      }
    }
    expectEqual(try instance.loss(soft(1, 1), scores), -2, to: 1e-15, "the two largest are equal")
    expectEqual(try instance.loss(soft(2, 1), scores), -4, to: 1e-15)
  }

  /// Any temperature, any size: the shares sum to k.
  @Test func sharesSumToK() throws {
    var random = RandomGenerator(seed: 77)
    for _ in 0..<300 {
      let count = 2 + Int(random.next() % 40)
      let k = 1 + Int(random.next() % UInt64(count))
      let size = exp(12 * random.uniform() - 6)
      let scores = size * [Double].normal(count, &random)
      let selection = try SoftSelection(choosing: k, of: count)
      selection.choose(scores, temperature: 1)
      let z = withExtendedLifetime(selection) { (0..<count).map { selection.z[$0] } }
      try requireEqual(z.reduce(0, +), Double(k), to: 1e-12, "\(k) of \(count) at \(size)")
      #expect(z.allSatisfy { $0 >= 0 && $0 <= 1 })
    }
  }

  @Test func decisionIsTheBestSet() throws {
    for seed in 0..<30 {
      let count = 3 + seed % 6
      let (instance, scores) = problem(count, seed: UInt64(seed))
      for k in 1...count {
        let decision = try instance.decision(soft(k, 1), scores)
        #expect(decision.reduce(0, +) == Double(k) && decision.allSatisfy { $0 == 0 || $0 == 1 })
        let best = -Decisions.choices(k, of: count).value(-1 * scores)
        expectEqual(dot(decision, scores), best, to: 1e-14)
        expectEqual(try instance.loss(soft(k, 1), scores, .validation), -dot(decision, instance.targets), to: 1e-14)
      }
    }
  }

  @Test func exponential() {
    for k in 0...4000 {
      let x = -0.1771 * Double(k) - 1e-3 * Double(k % 7)
      let value = exponentialOfNonPositive(SIMD8(repeating: x))[k % 8]
      expectEqual(value / exp(max(x, -708)), x < -708 ? 0 : 1, to: 5e-16)
    }
    #expect(exponentialOfNonPositive(SIMD8(repeating: 0))[0] == 1)
    #expect(exponentialOfNonPositive(SIMD8(repeating: -.infinity))[0] == 0)
  }

  @Test func refusals() throws {
    let (instance, scores) = problem(4, seed: 1)
    expectError(.shape) { _ = try instance.loss(soft(5, 1), scores) }
    expectError(.shape) { _ = try instance.decision(soft(5, 1), scores) }
  }
}
