// Decision problems with known derivatives, as tasks: SPO+ over a finite set of decisions, and a portfolio by
// active sets.

import Testing

@testable import TaskMetSwift

extension TaskBatch {
  /// One batch row's predictions or targets.
  func row(_ index: Int, of values: Buffer<Double>) -> [Double] {
    Array(UnsafeBufferPointer(start: values.base + index * outputs, count: outputs))
  }

  /// The mean of a loss over rows, each row being an instance of its own; `body` gives a row's loss and gradient.
  func mean(
    gradient: UnsafeMutablePointer<Double>?, _ body: (_ prediction: [Double], _ target: [Double]) -> (Double, [Double])
  ) -> Double {
    var sum = 0.0
    for i in 0..<rows {
      let (loss, slope) = body(row(i, of: predictions), row(i, of: targets))
      sum += loss
      for (k, entry) in slope.enumerated() { gradient?[i * outputs + k] = entry / Double(rows) }
    }
    return sum / Double(rows)
  }
}

// MARK: - SPO+

/// min c'w over a finite set of decisions w.
struct Decisions: Sendable {
  let options: [[Double]]

  func best(_ c: [Double]) -> [Double] { options.min { dot(c, $0) < dot(c, $1) }! }
  func value(_ c: [Double]) -> Double { dot(c, best(c)) }

  /// The choices of `count` out of `items`.
  static func choices(_ count: Int, of items: Int) -> Decisions {
    Decisions(
      options: (0..<(1 << items)).filter { $0.nonzeroBitCount == count }.map { mask in
        (0..<items).map { mask >> $0 & 1 == 1 ? 1 : 0 }
      })
  }
}

/// Elmachtoub and Grigas's surrogate of regret.
final class EnumeratedSPOPlusTask: Task {
  let decisions: Decisions
  /// -1 makes the gradient wrong.
  let sign: Double

  init(_ decisions: Decisions, sign: Double = 1) { (self.decisions, self.sign) = (decisions, sign) }

  func loss(_ predicted: [Double], _ c: [Double]) -> (Double, [Double]) {
    let shifted = 2 * predicted .- c
    let optimal = decisions.best(c)
    let loss = -decisions.value(shifted) + 2 * dot(predicted, optimal) - decisions.value(c)
    return (loss, 2 * sign * (optimal .- decisions.best(shifted)))
  }

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    batch.mean(gradient: gradient, loss)
  }
}

// MARK: - Portfolio

/// max y'z - lambda z'Qz over 1'z = 1, z >= 0.
struct Portfolio {
  let q: DenseMatrix
  let lambda: Double

  /// The solution and its support S: on it, 2 lambda Q_SS z_S + mu 1 = y_S. Every support is tried.
  func solve(_ y: [Double]) -> (z: [Double], support: [Int]) {
    let n = y.count
    var best: (z: [Double], support: [Int], value: Double)?
    for mask in 1..<(1 << n) {
      let support = (0..<n).filter { mask >> $0 & 1 == 1 }
      let z = stationary(y, support)
      if z.contains(where: { $0 < 0 }) { continue }
      let value = dot(y, z) - lambda * dot(z, q * z)
      if value > best?.value ?? -.infinity { best = (z, support, value) }
    }
    return (best!.z, best!.support)
  }

  private func stationary(_ y: [Double], _ support: [Int]) -> [Double] {
    let k = support.count
    var system = DenseMatrix(zeros: k + 1, k + 1)
    for (i, a) in support.enumerated() {
      for (j, b) in support.enumerated() { system[i, j] = 2 * lambda * q[a, b] }
      system[i, k] = 1
      system[k, i] = 1
    }
    let solution = system.solve(support.map { y[$0] } + [1])
    var z = [Double](repeating: 0, count: y.count)
    for (i, a) in support.enumerated() { z[a] = solution[i] }
    return z
  }

  /// dz/dy: 1/(2 lambda) [Q^-1 - Q^-1 1 1' Q^-1 / (1' Q^-1 1)] on the support, with Q = Q_SS; zero off it.
  func jacobian(_ support: [Int]) -> DenseMatrix {
    let inverse = DenseMatrix(support.map { a in support.map { q[a, $0] } }).inverse
    let sums = inverse * [Double](repeating: 1, count: support.count)
    let total = sums.reduce(0, +)
    var result = DenseMatrix(zeros: q.rows, q.rows)
    for (i, a) in support.enumerated() {
      for (j, b) in support.enumerated() { result[a, b] = (inverse[i, j] - sums[i] * sums[j] / total) / (2 * lambda) }
    }
    return result
  }
}

/// Minus the true utility of the portfolio that the prediction leads to.
final class EnumeratedPortfolioTask: Task {
  let portfolio: Portfolio

  init(_ portfolio: Portfolio) { self.portfolio = portfolio }

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    batch.mean(gradient: gradient) { predicted, y in
      let (z, support) = portfolio.solve(predicted)
      let slope = 2 * portfolio.lambda * (portfolio.q * z) .- y
      return (portfolio.lambda * dot(z, portfolio.q * z) - dot(y, z), portfolio.jacobian(support).transposed * slope)
    }
  }
}
