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

  /// All instances of a dataset; predictions: its rows x targets.
  init(_ dataset: Dataset, predictions source: MatrixView, phase: Phase) throws {
    let count = dataset.instanceCount
    instances = try Buffer(count: count)
    offsets = try Buffer(count: count + 1)
    for k in 0..<count {
      instances[k] = Int64(k)
      offsets[k] = Int64(dataset.rowRange(ofInstance: k).lowerBound)
    }
    offsets[count] = Int64(dataset.rows)
    rows = dataset.rows
    outputs = dataset.targets
    features = dataset.features
    predictions = try Buffer(count: try checkedProduct(rows, outputs))
    targets = try Buffer(count: try checkedProduct(rows, outputs))
    inputs = try Buffer(count: try checkedProduct(rows, features))
    source.copy(to: predictions.base)
    dataset.y.copy(to: targets.base)
    dataset.x.copy(to: inputs.base)
    self.phase = phase
  }
}

/// The loss of predictions that a predictor is trained for. Lower is better.
class Task: SharedObject {
  /// The mean loss over the batch's instances, and d loss / d predictions (rows x outputs) where there is room for it.
  func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    throw TaskMetError.unsupported("an abstract task")
  }
}
