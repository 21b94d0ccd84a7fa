// A trainer's whole state as one safetensors file, and back.

import COpenBLAS

/// The dense algebra that the bits depend on besides the file.
private var algebraDescription: String {
  let kernels = String(cString: machineKernels.name)
  return
    "OpenBLAS \(String(cString: openblas_get_corename())), \(openblas_get_num_threads()) threads, \(kernels) kernels"
}

extension Trainer {
  // MARK: Writing

  func save(to path: String) throws {
    guard let state else { throw TaskMetError.state("nothing to save before the first step") }
    var file = SafeTensors(kind: "trainer")
    file.add("predictor", predictorSignature)
    file.add("metric", metricSignature)
    file.add("data", try fingerprint())
    file.add("algebra", algebraDescription)
    file.add("task_count", String(objective.tasks.count))
    for option in trainerOptions { file.add("option.\(option.name)", options.text(option)) }
    file.add("random", state.random.words.map(String.init).joined(separator: ","))
    for (name, path) in Self.counts + Self.newerCounts { file.add(name, String(state[keyPath: path])) }
    file.add("warnings", state.warnings.joined(separator: "\n"))
    let numbers = Self.numbers.map { state[keyPath: $0] }
    try file.add("numbers", numbers)
    try file.add("model", state.model)
    try file.add("best", state.best)
    try file.add("metric_floor", [metric.floor])
    file.add("metric_normalization", metric.normalization.name)
    try file.add("verdict", [state.verdict.loss, state.verdict.rmse])
    if let instances = state.verdict.instances { file.add("verdict.instances", try numbersOf(instances)) }
    file.add("verdict.cotangent", state.verdict.cotangent)
    file.add("inner_optimizer", state.innerOptimizer)
    file.add("metric_optimizer", state.metricOptimizer)
    if let v = state.v { file.add("v", v) }
    file.add("history", try numbersOf(history))
    try file.write(to: path)
  }

  private func numbersOf(_ instances: Buffer<Int>) throws -> Buffer<Double> {
    let numbers = try Buffer<Double>(count: instances.count)
    for k in 0..<instances.count { numbers[k] = Double(instances[k]) }
    return numbers
  }

  private func numbersOf(_ history: [Record]) throws -> Buffer<Double> {
    let fields = Record.Field.allCases.count
    let numbers = try Buffer<Double>(count: try checkedProduct(history.count, fields))
    for (index, record) in history.enumerated() {
      (numbers.base + index * fields).update(from: record.values, count: fields)
    }
    return numbers
  }

  /// Counters of the state, by their names in the file.
  private static let counts: [(String, WritableKeyPath<TrainerState, Int> & Sendable)] = [
    ("iteration", \.iteration), ("best_iteration", \.bestIteration), ("inner_factor", \.innerFactor),
    ("solver_factor", \.solverFactor), ("batch_factor", \.batchFactor), ("rollbacks", \.rollbacks),
    ("rejections", \.rejections), ("untrusted", \.untrusted),
  ]

  /// The same that older files do not have.
  private static let newerCounts: [(String, WritableKeyPath<TrainerState, Int> & Sendable)] = [
    ("good_steps", \.goodSteps)
  ]

  /// Reals of the state, in the file's order: only append.
  private static let numbers: [WritableKeyPath<TrainerState, Double> & Sendable] = [
    \.bestLoss, \.bestRMSE, \.firstLoss, \.firstRMSE, \.firstTrainingRMSE, \.referenceGradientNorm, \.rateFactor,
    \.seconds,
  ]

  /// Of the predictor, the metric and the data alike. The state's vectors are float64 in any case, and so are the file's.
  private var precisionSignature: String { dataset.precision == .float64 ? "" : ", \(dataset.precision.name)" }

  private var predictorSignature: String {
    let shape = "\(predictor.inputs) -> \(predictor.outputs), \(predictor.parameterCount) parameters"
    guard let network = (predictor as? NetworkPredictor)?.network else { return "callback " + shape }
    return "network " + shape + precisionSignature
      + network.layers.map { ", \($0.outputs) \($0.activation.name)" }.joined()
      + standardizationSignature("inputs", (predictor as? NetworkPredictor)?.inputStandardization)
      + standardizationSignature("targets", (predictor as? NetworkPredictor)?.targetStandardization)
  }

  private var metricSignature: String {
    let shape = "\(metric.structure.name) \(metric.inputs) -> \(metric.outputs), rank \(metric.rank)"
    return shape + precisionSignature
      + (metric.network?.layers ?? []).map { ", \($0.outputs) \($0.activation.name)" }.joined()
      + standardizationSignature("inputs", metric.standardization)
  }

  /// Which standardisation: the parameters mean nothing under another one.
  private func standardizationSignature(_ side: String, _ standardization: Standardization?) -> String {
    guard let standardization else { return "" }
    var hash = Fingerprint()
    for values in [standardization.mean, standardization.scale] {
      hash.add(MatrixView(values.base, rows: 1, columns: values.count))
    }
    return ", \(side) standardised (\(String(hash.value, radix: 16)))"
  }

  /// Of all numbers of the training and validation data.
  private func fingerprint() throws -> String {
    var hash = Fingerprint()
    for data in [dataset, validation] {
      guard let data else { continue }
      hash.add(UInt64(data.rows))
      try hash.add(data.featureRows)
      try hash.add(data.targetRows)
      if let weights = data.weights { hash.add(MatrixView(weights.base, rows: 1, columns: data.rows)) }
      for instance in 0..<data.instanceCount { hash.add(UInt64(data.rowRange(ofInstance: instance).lowerBound)) }
      if let context = data.context {
        for instance in 0..<data.instanceCount { hash.add(UInt64(context[instance].count)) }
        hash.add(MatrixView(context.values.base, rows: 1, columns: context.values.count))
      }
    }
    return String(hash.value, radix: 16) + " of \(dataset.rows) and \(validation?.rows ?? 0) rows"
  }

  // MARK: Reading

  func load(from path: String) throws {
    let file = try SafeTensors(reading: path)
    try file.check(kind: "trainer")
    for (key, own) in [("predictor", predictorSignature), ("metric", metricSignature)] {
      let other = try file.string(key)
      guard other == own else { throw TaskMetError.shape("path: the file's \(key) is \(other), the trainer's \(own)") }
    }
    let (count, data) = (try file.integer("task_count", 0...Int.max), try file.string("data"))
    guard count == objective.tasks.count else {
      throw TaskMetError.state("path: the file's trainer has \(count) tasks, this one has \(objective.tasks.count)")
    }
    let own = try fingerprint()
    guard data == own else {
      throw TaskMetError.state("path: the file was made with other data (\(data), not \(own))")
    }
    let algebra = try file.string("algebra")
    let newOptions = try readOptions(file)
    let newState = try readState(file, newOptions)
    let fields = Record.Field.allCases.count
    let length = try file.length("history")
    guard length == (newState.iteration + 1) * fields else {
      throw TaskMetError.format("the history has \(length) numbers for \(newState.iteration + 1) records")
    }
    let records = try file.tensor("history", shape: [length], finite: false)
    let floor = try file.tensor("metric_floor", shape: [1])[0]
    let normalization = try file.value("metric_normalization") { name in
      MetricNormalization.allCases.first { $0.name == name }
    }
    guard floor >= 0 else { throw TaskMetError.format("the metric's floor is \(floor)") }
    try adopt(newState, newOptions, floor: floor, normalization)
    history = (0..<(length / fields)).map { index in
      Record(values: (0..<fields).map { records[index * fields + $0] })
    }
    if algebra != algebraDescription {
      log(
        .warning,
        "the checkpoint was made with \(algebra); this is \(algebraDescription): training goes on, but not bit for bit")
    }
  }

  /// From here on nothing fails but for memory; then the old state comes back.
  private func adopt(
    _ newState: TrainerState, _ newOptions: TrainerOptions, floor: Double, _ normalization: MetricNormalization
  ) throws {
    let oldMetric = try Metric(copying: metric)
    let oldTheta = try Buffer(copying: predictor.parameters, count: predictor.parameterCount)
    do {
      metric.setFloor(floor)
      try metric.setNormalization(normalization)
      try restore(newState.model)
      if predictor is NetworkPredictor { try predictor.setPenalizesBias(newOptions.flag(.penalizeBias)) }
      (state, options) = (newState, newOptions)
    } catch let error as TaskMetError {
      metric.become(oldMetric)
      try? predictor.setParameters(oldTheta.base)
      // Parameters that no training could have left.
      throw error.code == .numerical ? TaskMetError.format(error.message) : error
    }
  }

  private func readOptions(_ file: SafeTensors) throws -> TrainerOptions {
    var result = TrainerOptions()
    for option in trainerOptions {
      // An option that the file's version did not know keeps its default.
      guard let text = try? file.string("option.\(option.name)") else { continue }
      do {
        try result.restore(option, text: text)
      } catch let error as TaskMetError {
        throw TaskMetError.format(error.message)
      }
    }
    return result
  }

  private func readState(_ file: SafeTensors, _ newOptions: TrainerOptions) throws -> TrainerState {
    let (p, q) = (predictor.parameterCount, metric.parameterCount)
    var state = TrainerState(
      model: try file.model("model", p, q), best: try file.model("best", p, q),
      verdict: try readVerdict(file, newOptions),
      random: try file.random("random"))
    for (name, path) in Self.counts + Self.newerCounts.filter({ file.has($0.0) }) {
      state[keyPath: path] = try file.integer(name, 0...(1 << 53))
    }
    let numbers = try file.tensor("numbers", shape: [Self.numbers.count], finite: false)
    for (index, path) in Self.numbers.enumerated() { state[keyPath: path] = numbers[index] }
    let factors = [state.innerFactor, state.solverFactor, state.batchFactor]
    guard factors.allSatisfy({ $0 >= 1 && $0 <= Self.largestFactor }), state.rateFactor > 0, state.rateFactor <= 1,
      state.bestIteration <= state.iteration
    else { throw TaskMetError.format("the counters contradict each other") }
    let warnings = try file.string("warnings")
    state.warnings = warnings.isEmpty ? [] : warnings.split(separator: "\n").map(String.init)
    state.innerOptimizer = try file.optimizer("inner_optimizer", p)
    state.metricOptimizer = try file.optimizer("metric_optimizer", q)
    if file.contains("v") { state.v = try file.tensor("v", shape: [p]) }
    return state
  }

  private func readVerdict(_ file: SafeTensors, _ newOptions: TrainerOptions) throws -> TaskVerdict {
    guard let outer = newOptions.chose(.outerData, "validation") ? validation : dataset else {
      throw TaskMetError.format("outer_data is validation, and there is no validation data")
    }
    let instances = try readInstances(file, outer)
    let length = try file.length("verdict.cotangent")
    let rows = instances.map(outer.rowCount(ofInstances:)) ?? outer.rows
    guard length == rows * outer.targets else {
      throw TaskMetError.format("the verdict's gradient has \(length) numbers")
    }
    let summary = try file.tensor("verdict", shape: [2])
    return TaskVerdict(
      loss: summary[0], rmse: summary[1], instances: instances,
      cotangent: try file.tensor("verdict.cotangent", shape: [length]))
  }

  /// nil for all of them, which older files list.
  private func readInstances(_ file: SafeTensors, _ outer: Dataset) throws -> Buffer<Int>? {
    guard file.contains("verdict.instances") else { return nil }
    let count = try file.length("verdict.instances")
    guard count > 0 else { throw TaskMetError.format("the verdict is of no instance") }
    let numbers = try file.tensor("verdict.instances", shape: [count])
    let instances = try Buffer<Int>(count: count)
    for k in 0..<count {
      guard let instance = Int(exactly: numbers[k]), instance >= 0, instance < outer.instanceCount else {
        throw TaskMetError.format("the verdict is of instance \(numbers[k])")
      }
      instances[k] = instance
    }
    let isEverything = count == outer.instanceCount && (0..<count).allSatisfy { instances[$0] == $0 }
    return isEverything ? nil : instances
  }
}

// MARK: - Parts of the file

extension SafeTensors {
  fileprivate mutating func add(_ name: String, _ values: [Double]) throws {
    try values.withUnsafeBufferPointer { buffer in
      // An empty array has no address, and a vector of no numbers needs none of it.
      guard let base = buffer.baseAddress else { return }
      try add(name, shape: [buffer.count], base)
    }
  }

  fileprivate mutating func add(_ name: String, _ model: Model) throws {
    add(name + ".theta", model.theta)
    add(name + ".phi", model.phi)
    try add(name + ".normalization_scale", [model.normalizationScale])
  }

  fileprivate func model(_ name: String, _ thetaCount: Int, _ phiCount: Int) throws -> Model {
    let scale = try tensor(name + ".normalization_scale", shape: [1])[0]
    guard scale > 0 else { throw TaskMetError.format("normalization_scale is \(scale)") }
    return Model(
      theta: try tensor(name + ".theta", shape: [thetaCount]), phi: try tensor(name + ".phi", shape: [phiCount]),
      normalizationScale: scale)
  }

  fileprivate mutating func add(_ name: String, _ state: Optimizer.State?) {
    guard let state else { return }
    add(name, state.moments)
    add(name + ".steps", String(state.steps))
  }

  fileprivate func optimizer(_ name: String, _ count: Int) throws -> Optimizer.State? {
    guard contains(name) else { return nil }
    let length = try length(name)
    guard length == count || length == 2 * count else {
      throw TaskMetError.format("the tensor \(name) has \(length) numbers for \(count) parameters")
    }
    return Optimizer.State(
      moments: try tensor(name, shape: [length]), steps: try integer(name + ".steps", 0...(1 << 53)))
  }

  fileprivate func random(_ key: String) throws -> RandomGenerator {
    let words = try string(key).split(separator: ",").compactMap { UInt64($0) }
    guard words.count == 4, words.contains(where: { $0 != 0 }) else {
      throw TaskMetError.format("the metadata \(key) is no state of the random generator")
    }
    var generator = RandomGenerator(seed: 0)
    generator.words = words
    return generator
  }
}
