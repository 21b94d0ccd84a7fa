// Tasks whose decisions the library takes, instance by instance: what they share.

/// One instance of a batch: one decision problem.
struct DecisionProblem {
  /// Its id in the dataset.
  let instance: Int
  let rows: Int
  let outputs: Int
  let features: Int
  /// rows x outputs each.
  let predictions: UnsafePointer<Double>
  let targets: UnsafePointer<Double>
  /// What the dataset knows of the instance.
  let context: UnsafeBufferPointer<Double>?

  /// Predictions, and targets.
  var entries: Int { rows * outputs }
}

extension TaskBatch {
  /// The batch's instance `index` (a position, not an id).
  func problem(_ index: Int) -> DecisionProblem {
    let (first, last) = (Int(offsets[index]), Int(offsets[index + 1]))
    let instance = Int(instances[index])
    return DecisionProblem(
      instance: instance, rows: last - first, outputs: outputs, features: features,
      predictions: UnsafePointer(predictions.base + first * outputs),
      targets: UnsafePointer(targets.base + first * outputs),
      context: context?[instance])
  }
}

/// A task that decides each instance by itself. A subclass says how one instance is decided and judged, and how its training
/// loss comes about.
class DecisionTask: Task {
  /// Refuses an instance that does not fit the task, before anything is computed. Its predictions are not looked at.
  func check(_ problem: DecisionProblem) throws {}

  /// The real decision for given costs or values (as many as the problem has entries): the predictions, the targets, or others.
  func decide(
    _ problem: DecisionProblem, values: UnsafePointer<Double>, into decision: UnsafeMutablePointer<Double>
  ) throws {
    throw TaskMetError.unsupported("an abstract task")
  }

  /// F(z, values): the objective, in the task's sense, of a decision.
  func objective(
    _ problem: DecisionProblem, _ decision: UnsafePointer<Double>, values: UnsafePointer<Double>
  ) throws -> Double {
    throw TaskMetError.unsupported("an abstract task")
  }

  /// The training loss of one instance, and its gradient (the problem's entries, overwritten) where there is room for it.
  func trainingLoss(_ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    throw TaskMetError.unsupported("an abstract task")
  }

  /// Whether F(z, y) = y'z + r(z), and the real decision is its optimum.
  var objectiveIsLinear: Bool { false }

  // MARK: Batches

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    if batch.phase == .validation {
      if gradient != nil { throw Self.noGradient }
      let losses = try Buffer<Double>(count: batch.instances.count)
      try self.losses(batch, into: losses.base)
      return mean(losses)
    }
    return try averaged(batch, gradient) { try trainingLoss($0, gradient: $1) }
  }

  static var noGradient: TaskMetError {
    TaskMetError.unsupported("gradient: the real decision has none; ask in TASKMET_PHASE_TRAINING")
  }

  override func losses(_ batch: TaskBatch, into losses: UnsafeMutablePointer<Double>) throws {
    let decision = try Buffer<Double>(count: largestDecision(batch))
    for k in 0..<batch.instances.count {
      let problem = try checkedProblem(batch, k)
      if batch.phase == .training {
        losses[k] = try trainingLoss(problem, gradient: nil)
      } else {
        try decide(problem, values: problem.predictions, into: decision.base)
        losses[k] = sense.sign * (try objective(problem, decision.base, values: problem.targets))
      }
      guard losses[k].isFinite else { throw Self.notFinite(losses[k], problem) }
    }
  }

  override func decide(_ batch: TaskBatch, into decisions: UnsafeMutablePointer<Double>) throws {
    var next = decisions
    for k in 0..<batch.instances.count {
      let problem = try checkedProblem(batch, k)
      try decide(problem, values: problem.predictions, into: next)
      next += decisionCount(rows: problem.rows, outputs: problem.outputs)
    }
  }

  /// With r of the objective: (2 yhat - y)'w + r(w) at w(y), minus the same at w(2 yhat - y); for maximisation the negative.
  override func evaluateSPOPlus(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    guard objectiveIsLinear else { return try super.evaluateSPOPlus(batch, gradient: gradient) }
    let count = largestDecision(batch)
    let (shifted, optimal, other) = (
      try Buffer<Double>(count: count), try Buffer<Double>(count: count), try Buffer<Double>(count: count)
    )
    return try averaged(batch, gradient) { problem, slope in
      for j in 0..<problem.entries { shifted[j] = 2 * problem.predictions[j] - problem.targets[j] }
      try decide(problem, values: problem.targets, into: optimal.base)
      try decide(problem, values: shifted.base, into: other.base)
      if let slope {
        for j in 0..<problem.entries { slope[j] = 2 * sense.sign * (optimal[j] - other[j]) }
      }
      return sense.sign
        * (try objective(problem, optimal.base, values: shifted.base)
          - objective(problem, other.base, values: shifted.base))
    }
  }

  /// The mean of a loss over the batch's instances, and its gradient.
  private func averaged(
    _ batch: TaskBatch, _ gradient: UnsafeMutablePointer<Double>?,
    _ loss: (DecisionProblem, UnsafeMutablePointer<Double>?) throws -> Double
  ) throws -> Double {
    let count = batch.instances.count
    var sum = 0.0
    for k in 0..<count {
      let problem = try checkedProblem(batch, k)
      let slope = gradient.map { $0 + Int(batch.offsets[k]) * batch.outputs }
      let value = try loss(problem, slope)
      guard value.isFinite else { throw Self.notFinite(value, problem) }
      sum += value
      if let slope { Double.scale(problem.entries, 1 / Double(count), slope) }
    }
    return sum / Double(count)
  }

  /// The batch's instance `index`, checked unless it is the same as the one before: what is checked does not depend on
  /// predictions.
  private func checkedProblem(_ batch: TaskBatch, _ index: Int) throws -> DecisionProblem {
    let problem = batch.problem(index)
    if index == 0 || batch.instances[index] != batch.instances[index - 1] { try check(problem) }
    return problem
  }

  static func notFinite(_ value: Double, _ problem: DecisionProblem) -> TaskMetError {
    TaskMetError.numerical("the task loss of instance \(problem.instance) is \(value)")
  }

  /// Room for the largest decision of a batch, and for as many entries.
  private func largestDecision(_ batch: TaskBatch) -> Int {
    (0..<batch.instances.count).reduce(0) {
      let rows = Int(batch.offsets[$1 + 1] - batch.offsets[$1])
      return max($0, decisionCount(rows: rows, outputs: batch.outputs), rows * batch.outputs)
    }
  }
}

/// The arithmetic mean.
func mean(_ values: Buffer<Double>) -> Double {
  var sum = 0.0
  for k in 0..<values.count { sum += values[k] }
  return sum / Double(values.count)
}
