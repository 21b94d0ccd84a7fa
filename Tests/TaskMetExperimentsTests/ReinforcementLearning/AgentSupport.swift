// What the tests of this part share: differences, comparison, small batches.

import Testing

@testable import TaskMetExperiments

/// d/dt f(t) at 0 by central differences of the eighth order.
func derivative(step h: Double, _ f: (Double) throws -> Double) rethrows -> Double {
  let weights = [4.0 / 5, -1.0 / 5, 4.0 / 105, -1.0 / 280]
  var total = 0.0
  for (index, weight) in weights.enumerated() {
    let t = h * Double(index + 1)
    total += weight / h * (try f(t) - f(-t))
  }
  return total
}

/// Expects a relative error of at most `tolerance`.
func expectEqual(
  _ actual: [Double], _ expected: [Double], to tolerance: Double, _ what: @autoclosure () -> String = "",
  sourceLocation: SourceLocation = #_sourceLocation
) {
  let scale = expected.reduce(0) { max($0, abs($1)) }
  let error = zip(actual, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
  #expect(
    actual.count == expected.count && actual.allSatisfy(\.isFinite) && error <= tolerance * scale,
    "\(what()): \(actual.prefix(5)) should be \(expected.prefix(5)), relative error \(error / scale)",
    sourceLocation: sourceLocation)
}

extension [Double] {
  static func normal(_ count: Int, _ random: inout RandomNumbers) -> [Double] {
    (0..<count).map { _ in random.normal() }
  }

  func moved(_ t: Double, along direction: [Double]) -> [Double] { zip(self, direction).map { $0 + t * $1 } }
}

extension Batch {
  /// Random numbers; the last row terminated.
  static func random(rows: Int, observationCount n: Int, _ random: inout RandomNumbers) -> Batch {
    var batch = Batch(rows: rows, observationCount: n)
    for row in 0..<rows {
      let action = row % 2
      batch.actions[row] = action
      batch.rewards[row] = random.normal()
      batch.continuations[row] = row == rows - 1 ? 0 : 1
      for k in 0..<n {
        batch.states[row * n + k] = random.normal()
        batch.nextStates[row * n + k] = random.normal()
        batch.modelInputs[row * (n + 2) + k] = batch.states[row * n + k]
      }
      batch.modelInputs[row * (n + 2) + n + action] = 1
    }
    return batch
  }
}

/// A Q function with random parameters everywhere, targets included, whose soft value is soft.
func makeQ(
  observationCount: Int, hidden: [Int], temperature: Double = 0.5, _ random: inout RandomNumbers
) throws -> QFunction {
  var settings = QSettings()
  settings.hidden = hidden
  settings.temperature = temperature
  let q = try QFunction(observationCount: observationCount, settings, &random)
  for network in q.networks + q.targets {
    network.parameters = [Double].normal(network.parameterCount, &random).map { 0.5 * $0 }
    try network.push()
  }
  return q
}

/// x with A x = b, by elimination with pivots; A row-major.
func solve(_ a: [Double], _ b: [Double]) -> [Double] {
  let n = b.count
  var (a, b) = (a, b)
  for column in 0..<n {
    let pivot = (column..<n).max { abs(a[$0 * n + column]) < abs(a[$1 * n + column]) }!
    if pivot != column {
      for k in 0..<n { a.swapAt(column * n + k, pivot * n + k) }
      b.swapAt(column, pivot)
    }
    for row in (column + 1)..<max(n, column + 1) {
      let factor = a[row * n + column] / a[column * n + column]
      for k in column..<n { a[row * n + k] -= factor * a[column * n + k] }
      b[row] -= factor * b[column]
    }
  }
  for row in (0..<n).reversed() {
    for k in (row + 1)..<max(n, row + 1) { b[row] -= a[row * n + k] * b[k] }
    b[row] /= a[row * n + row]
  }
  return b
}
