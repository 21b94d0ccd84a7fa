// The choice of an instance's k best entries; in training a soft one.

final class TopKTask: DecisionTask {
  private let wanted: Int
  private let temperature: Double
  private let isLegacy: Bool

  init(choosing wanted: Int, temperature: Double, isLegacy: Bool) {
    (self.wanted, self.temperature, self.isLegacy) = (wanted, temperature, isLegacy)
  }

  override var sense: Sense { .maximize }
  override var objectiveIsLinear: Bool { true }
  override func decisionCount(rows: Int, outputs: Int) -> Int { rows * outputs }

  override func check(_ problem: DecisionProblem) throws {
    guard wanted <= problem.entries else {
      throw TaskMetError.shape(
        "dataset: instance \(problem.instance) has \(problem.entries) entries, fewer than the task's k = \(wanted)")
    }
  }

  override func decide(
    _ problem: DecisionProblem, values: UnsafePointer<Double>, into decision: UnsafeMutablePointer<Double>
  ) throws {
    let indices = try Buffer<Int>(count: wanted)
    markLargest(wanted, of: problem.entries, values, indices: indices.base, into: decision)
  }

  override func objective(
    _ problem: DecisionProblem, _ decision: UnsafePointer<Double>, values: UnsafePointer<Double>
  ) throws -> Double {
    shortDot(problem.entries, decision, values)
  }

  override func trainingLoss(_ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    let selection = try SoftSelection(choosing: wanted, of: problem.entries)
    selection.choose(
      problem.predictions, temperature: isLegacy ? publishedTemperature(problem) : temperature)
    if let gradient { selection.pullBack(problem.targets, scale: -1, into: gradient) }
    return -selection.dot(problem.targets)
  }

  /// The published costs are (score - anchor)^2 / C with C the largest of them; their difference between the anchors 0 and 1 is
  /// (1 - 2 score) / C.
  private func publishedTemperature(_ problem: DecisionProblem) -> Double {
    var largest = 0.0
    for j in 0..<problem.entries {
      let score = problem.predictions[j]
      largest = max(largest, max(score * score, (score - 1) * (score - 1)))
    }
    return min(temperature * (min(largest, .greatestFiniteMagnitude) / 2), .greatestFiniteMagnitude)
  }
}
