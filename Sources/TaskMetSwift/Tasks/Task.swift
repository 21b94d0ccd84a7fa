// A task: a loss of predictions, and its gradient in prediction space.

/// Some instances of a dataset, with their rows' targets and inputs gathered, and predictions to judge.
struct TaskBatch {
  enum Phase: Int32, CaseIterable { case training, validation }

  let instances: Buffer<Int64>
  /// instances + 1: where each instance's rows begin below.
  let offsets: Buffer<Int64>
  let rows: Int
  let outputs: Int
  let features: Int
  /// rows x outputs and rows x features, contiguous. No inputs where the batch is all of a streamed dataset.
  let predictions: Buffer<Double>
  let targets: Buffer<Double>
  let inputs: Buffer<Double>?
  /// The inputs where they are streamed.
  private let streamed: BlockedMatrix?
  let phase: Phase
  /// What the dataset knows of each instance, by the instance's id.
  let context: InstanceContext?

  /// Instances of a dataset (nil: all of them), which may be there several times; the predictions are left to be filled.
  init(_ dataset: Dataset, instances chosen: Buffer<Int>? = nil, phase: Phase) throws {
    let count = chosen?.count ?? dataset.instanceCount
    instances = try Buffer(count: count)
    offsets = try Buffer(count: count + 1)
    var row = 0
    for k in 0..<count {
      let instance = chosen?[k] ?? k
      instances[k] = Int64(instance)
      offsets[k] = Int64(row)
      row += dataset.rowRange(ofInstance: instance).count
    }
    offsets[count] = Int64(row)
    rows = row
    outputs = dataset.targets
    features = dataset.features
    predictions = try Buffer(count: try checkedProduct(rows, outputs))
    targets = try Buffer(count: try checkedProduct(rows, outputs))
    self.phase = phase
    context = dataset.context
    if chosen == nil, dataset.isStreamed {
      (inputs, streamed) = (nil, dataset.featureRows)
      try dataset.targetRows.copy(to: targets.base)
    } else {
      let room = try Buffer<Double>(count: try checkedProduct(rows, features))
      (inputs, streamed) = (room, nil)
      try gather(dataset, into: room)
    }
  }

  /// Fills targets and inputs, instance by instance.
  private func gather(_ dataset: Dataset, into inputs: Buffer<Double>) throws {
    let block = RowBlock()
    for k in 0..<instances.count {
      let source = dataset.rowRange(ofInstance: Int(instances[k]))
      var row = Int(offsets[k])
      // In parts, so that the block stays small whatever an instance's size.
      for start in stride(from: source.lowerBound, to: source.upperBound, by: dataset.blockRows) {
        let part = start..<min(source.upperBound, start + dataset.blockRows)
        let (x, y) = try dataset.block(part, until: part.upperBound, in: block)
        x.copy(to: inputs.base + row * features)
        y.copy(to: targets.base + row * outputs)
        row += part.count
      }
    }
  }

  /// All instances, with given predictions (the dataset's rows x targets).
  init(_ dataset: Dataset, predictions source: MatrixView, phase: Phase) throws {
    try self.init(dataset, phase: phase)
    source.copy(to: predictions.base)
  }

  private init(
    instances: Buffer<Int64>, offsets: Buffer<Int64>, rows: Int, outputs: Int, features: Int,
    predictions: Buffer<Double>, targets: Buffer<Double>, inputs: Buffer<Double>?, streamed: BlockedMatrix?,
    phase: Phase, context: InstanceContext?
  ) {
    (self.instances, self.offsets) = (instances, offsets)
    (self.rows, self.outputs, self.features) = (rows, outputs, features)
    (self.predictions, self.targets, self.inputs, self.streamed) = (predictions, targets, inputs, streamed)
    (self.phase, self.context) = (phase, context)
  }

  /// The same instances in another phase, under other predictions (rows x outputs).
  func with(predictions: Buffer<Double>, phase: Phase) -> TaskBatch {
    TaskBatch(
      instances: instances, offsets: offsets, rows: rows, outputs: outputs, features: features,
      predictions: predictions, targets: targets, inputs: inputs, streamed: streamed, phase: phase, context: context)
  }

  /// One of the batch's instances (a position, not an id) as a batch of its own.
  func instance(_ index: Int) throws -> TaskBatch { try taking(Buffer([Int64(index)])) }

  /// Some of the batch's instances (positions), which may be there several times, as a batch of their own.
  func taking(_ positions: Buffer<Int64>) throws -> TaskBatch {
    let count = positions.count
    let (ids, starts) = (try Buffer<Int64>(count: count), try Buffer<Int64>(count: count + 1))
    starts[0] = 0
    for k in 0..<count {
      let position = Int(positions[k])
      ids[k] = instances[position]
      starts[k + 1] = starts[k] + offsets[position + 1] - offsets[position]
    }
    func part(_ source: Buffer<Double>, _ columns: Int) throws -> Buffer<Double> {
      let result = try Buffer<Double>(count: try checkedProduct(Int(starts[count]), columns))
      for k in 0..<count {
        let (start, source) = (Int(starts[k]), source.base + Int(offsets[Int(positions[k])]) * columns)
        (result.base + start * columns).update(from: source, count: (Int(starts[k + 1]) - start) * columns)
      }
      return result
    }
    return TaskBatch(
      instances: ids, offsets: starts, rows: Int(starts[count]), outputs: outputs, features: features,
      predictions: try part(predictions, outputs), targets: try part(targets, outputs),
      inputs: try inputs.map { try part($0, features) }, streamed: nil, phase: phase, context: context)
  }

  /// rows x features. What was taken from a batch without inputs has none either.
  func inputRows() throws -> BlockedMatrix {
    if let inputs { return BlockedMatrix(MatrixView(inputs.base, rows: rows, columns: features)) }
    guard let streamed else { throw TaskMetError.state("the batch has no inputs") }
    return streamed
  }

  /// Fills the predictions; no task has to judge one that is not finite.
  func predict(_ predictor: Predictor, _ theta: UnsafePointer<Double>) throws {
    try predictor.predict(theta, try inputRows(), into: predictions.base, stride: outputs)
    if let index = firstNonFinite(rows * outputs, predictions.base) {
      throw TaskMetError.numerical("a prediction is \(predictions[index])")
    }
  }

  /// Root mean squared error of the predictions, over all entries; infinite where an error is.
  var rmse: Double { rootMeanSquare(rows * outputs) { predictions[$0] - targets[$0] } }
}

/// Raw values are those of `taskmet_sense`.
enum Sense: Int32, CaseIterable {
  case minimize, maximize

  /// What makes a loss of an objective.
  var sign: Double { self == .minimize ? 1 : -1 }
}

/// The loss of predictions that a predictor is trained for. Lower is better.
class Task: SharedObject {
  override var kind: StaticString { "task" }

  /// Of the objective that the loss is made from.
  var sense: Sense { .minimize }

  /// The mean loss over the batch's instances, and d loss / d predictions (rows x outputs) where there is room for it.
  func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    throw TaskMetError.unsupported("an abstract task")
  }

  /// Each instance's loss, judged alone.
  func losses(_ batch: TaskBatch, into losses: UnsafeMutablePointer<Double>) throws {
    throw TaskMetError.unsupported("an abstract task")
  }

  /// The number of decision variables of an instance with that many rows and outputs; 0 where the task has none of its own.
  func decisionCount(rows: Int, outputs: Int) -> Int { 0 }

  /// The real decisions that follow from the batch's predictions, instance after instance.
  func decide(_ batch: TaskBatch, into decisions: UnsafeMutablePointer<Double>) throws {
    throw TaskMetError.unsupported("decisions: the task leaves them to its callback")
  }

  /// SPO+ in place of the loss (the mean over instances), where decisions are the optimum of a linear objective.
  func evaluateSPOPlus(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    throw TaskMetError.unsupported(
      "method spo_plus needs a task whose decisions optimise an objective linear in the targets")
  }
}

extension Task {
  /// `evaluate`, of which nothing but finite numbers comes: sums of finite losses may overflow.
  func judge(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    let loss = try evaluate(batch, gradient: gradient)
    guard loss.isFinite else { throw TaskMetError.numerical("the task loss is \(loss)") }
    if let gradient, let index = firstNonFinite(batch.rows * batch.outputs, gradient) {
      throw TaskMetError.numerical("the task gradient's entry \(index) is \(gradient[index])")
    }
    return loss
  }

  /// The number of decision variables of all instances of a batch.
  func decisionCount(_ batch: TaskBatch) -> Int {
    (0..<batch.instances.count).reduce(0) {
      $0 + decisionCount(rows: Int(batch.offsets[$1 + 1] - batch.offsets[$1]), outputs: batch.outputs)
    }
  }
}
