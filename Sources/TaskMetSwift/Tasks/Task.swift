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
  /// rows x outputs and rows x features, contiguous.
  let predictions: Buffer<Double>
  let targets: Buffer<Double>
  let inputs: Buffer<Double>
  let phase: Phase

  /// Instances of a dataset (nil: all of them); the predictions are left to be filled.
  init(_ dataset: Dataset, instances chosen: [Int]? = nil, phase: Phase) throws {
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
    inputs = try Buffer(count: try checkedProduct(rows, features))
    self.phase = phase
    for k in 0..<count {
      let source = dataset.rowRange(ofInstance: Int(instances[k]))
      let start = Int(offsets[k])
      dataset.y.rows(source).copy(to: targets.base + start * outputs)
      dataset.x.rows(source).copy(to: inputs.base + start * features)
    }
  }

  /// All instances, with given predictions (the dataset's rows x targets).
  init(_ dataset: Dataset, predictions source: MatrixView, phase: Phase) throws {
    try self.init(dataset, phase: phase)
    source.copy(to: predictions.base)
  }

  /// rows x features.
  var x: MatrixView { MatrixView(inputs.base, rows: rows, columns: features) }

  /// Fills the predictions.
  func predict(_ predictor: Predictor, _ theta: UnsafePointer<Double>) throws {
    try predictor.predict(theta, x, into: predictions.base, stride: outputs)
  }

  /// Root mean squared error of the predictions, over all entries.
  var rmse: Double {
    let count = rows * outputs
    var sum = 0.0
    for k in 0..<count {
      let error = predictions[k] - targets[k]
      sum += error * error
    }
    return (sum / Double(count)).squareRoot()
  }
}

/// The loss of predictions that a predictor is trained for. Lower is better.
class Task: SharedObject {
  override var kind: StaticString { "task" }

  /// The mean loss over the batch's instances, and d loss / d predictions (rows x outputs) where there is room for it.
  func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    throw TaskMetError.unsupported("an abstract task")
  }
}
