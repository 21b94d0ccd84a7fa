// A task whose training loss is a LODL, fitted to another task on each instance of one dataset.

final class LODLTask: Task {
  private let task: Task
  private let form: LODLForm
  private let rank: Int
  private let outputs: Int
  /// The entries of each instance of the dataset it was fitted on: where they begin, and their targets.
  private let entryOffsets: Buffer<Int64>
  private let targets: Buffer<Double>
  private let parameterOffsets: Buffer<Int64>
  private let parameters: Buffer<Double>
  /// The mean over the instances of R^2 on held-out samples; NaN where no instance's losses vary.
  let rSquared: Double

  /// Instances are fitted in parallel, each from random numbers of its own. `poll` is called on this thread, now and then.
  init(
    _ task: Task, _ dataset: Dataset, _ options: LODLOptions, threads: Int = 1, poll: (() throws -> Void)? = nil
  ) throws {
    (self.task, form, rank, outputs) = (task, options.form, options.rank, dataset.targets)
    let count = dataset.instanceCount
    entryOffsets = try Buffer(repeating: 0, count: count + 1)
    parameterOffsets = try Buffer(repeating: 0, count: count + 1)
    for k in 0..<count {
      let entries = dataset.rowRange(ofInstance: k).count * outputs
      let size = try LODLLoss.parameterCount(form, entries: entries, rank: rank)
      entryOffsets[k + 1] = entryOffsets[k] + Int64(entries)
      parameterOffsets[k + 1] = parameterOffsets[k] + Int64(size)
    }
    targets = try Buffer(count: try checkedProduct(dataset.rows, outputs))
    try dataset.targetRows.copy(to: targets.base)
    let parameters = try Buffer<Double>(count: Int(parameterOffsets[count]))
    self.parameters = parameters
    let deviation = try Self.deviation(options, targets)
    let qualities = try Buffer<Double>(count: count)
    let offsets = parameterOffsets
    // In groups, so that the caller can be asked whether to go on.
    let group = 4 * threads
    for start in stride(from: 0, to: count, by: group) {
      try poll?()
      try parallelLoop(min(group, count - start), threads: threads) { index in
        let k = start + index
        var random = InstanceNoise(seed: options.seed).generator(instance: k, draw: 0)
        let samples = try LODLSamples(task, dataset, instance: k, deviation: deviation, options, &random)
        let fit = LODLFit(options: options, samples: samples, deviation: deviation)
        qualities[k] = try fit.run(into: parameters.base + Int(offsets[k]), &random) ?? .nan
      }
    }
    var (sum, known) = (0.0, 0)
    for k in 0..<count where !qualities[k].isNaN {
      sum += qualities[k]
      known += 1
    }
    rSquared = sum / Double(known)
  }

  /// The noise's: the one that was asked for, or that of the targets.
  private static func deviation(_ options: LODLOptions, _ targets: Buffer<Double>) throws -> Double {
    if options.deviation > 0 { return options.deviation }
    let average = mean(targets)
    let result = rootMeanSquare(targets.count) { targets[$0] - average }
    guard result.isFinite, result > 0 else {
      throw TaskMetError.invalidArgument("deviation must be given: that of the dataset's targets is \(result)")
    }
    return result
  }

  // MARK: As a task

  override var sense: Sense { task.sense }

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    if batch.phase == .validation { return try task.evaluate(batch, gradient: gradient) }
    let count = batch.instances.count
    let scratch = try makeScratch()
    var sum = 0.0
    for k in 0..<count {
      let problem = batch.problem(k)
      let slope = gradient.map { $0 + Int(batch.offsets[k]) * batch.outputs }
      sum += try loss(problem).evaluate(problem.predictions, problem.targets, gradient: slope, scratch: scratch.base)
      if let slope { Double.scale(problem.entries, 1 / Double(count), slope) }
    }
    return sum / Double(count)
  }

  override func losses(_ batch: TaskBatch, into losses: UnsafeMutablePointer<Double>) throws {
    if batch.phase == .validation { return try task.losses(batch, into: losses) }
    let scratch = try makeScratch()
    for k in 0..<batch.instances.count {
      let problem = batch.problem(k)
      losses[k] = try loss(problem).evaluate(
        problem.predictions, problem.targets, gradient: nil, scratch: scratch.base)
      guard losses[k].isFinite else { throw DecisionTask.notFinite(losses[k], problem) }
    }
  }

  override func decisionCount(rows: Int, outputs: Int) -> Int { task.decisionCount(rows: rows, outputs: outputs) }

  override func decide(_ batch: TaskBatch, into decisions: UnsafeMutablePointer<Double>) throws {
    try task.decide(batch, into: decisions)
  }

  override func evaluateSPOPlus(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    try task.evaluateSPOPlus(batch, gradient: gradient)
  }

  private func makeScratch() throws -> Buffer<Double> {
    try Buffer(count: form.isQuadratic ? min(rank, targets.count) : 1)
  }

  /// The fitted loss of an instance, which must be one of those that were fitted.
  func loss(_ problem: DecisionProblem) throws -> LODLLoss {
    let k = problem.instance
    guard k < entryOffsets.count - 1, problem.outputs == outputs,
      problem.entries == Int(entryOffsets[k + 1] - entryOffsets[k])
    else {
      throw TaskMetError.shape(
        "the LODL was fitted on another dataset: it has no instance \(k) of \(problem.rows) rows and \(problem.outputs) "
          + "outputs")
    }
    let fitted = targets.base + Int(entryOffsets[k])
    if let j = (0..<problem.entries).first(where: { fitted[$0] != problem.targets[$0] }) {
      throw TaskMetError.state(
        "the LODL was fitted on another dataset: target \(j) of instance \(k) was \(fitted[j]), is \(problem.targets[j])"
      )
    }
    return LODLLoss(form, entries: problem.entries, rank: rank, parameters.base + Int(parameterOffsets[k]))
  }
}
