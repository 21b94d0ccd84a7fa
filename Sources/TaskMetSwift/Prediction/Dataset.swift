// Rows of features and targets, with optional weights and a grouping into instances.

import Synchronization

/// N rows: x (N x d), y (N x n), s_i >= 0.
final class Dataset: SharedObject {
  let features: Int
  let targets: Int
  private(set) var x: MatrixView
  private(set) var y: MatrixView
  /// nil for all ones.
  private(set) var weights: Buffer<Double>?
  /// First row of each instance, and the number of rows; nil where each row is its own instance.
  private(set) var offsets: Buffer<Int64>?
  /// Grows with each change: what caches are valid for.
  private(set) var version = 0
  private var xBuffer: Buffer<Double>?
  private var yBuffer: Buffer<Double>?
  /// The owner of borrowed arrays, told when the dataset is gone.
  private let borrowed: CallbackUser?

  /// How many trainers hold the dataset, which must not change while one does.
  private let holders = Atomic<Int>(0)

  func hold() { holders.add(1, ordering: .relaxed) }
  func letGo() { holders.subtract(1, ordering: .relaxed) }

  func requireUnheld() throws {
    if holders.load(ordering: .relaxed) > 0 {
      throw TaskMetError.state("dataset: a trainer holds it; it can be changed when the trainer is destroyed")
    }
  }

  var rows: Int { x.rows }
  var instanceCount: Int { offsets.map { $0.count - 1 } ?? rows }

  func rowRange(ofInstance instance: Int) -> Range<Int> {
    guard let offsets else { return instance..<(instance + 1) }
    return Int(offsets[instance])..<Int(offsets[instance + 1])
  }

  /// The rows of some instances (of their weights too), each row an instance of its own, gathered into `batch` or a new
  /// dataset.
  func gather(_ rows: [Int], into batch: Dataset?) throws -> Dataset {
    let xRows = try Buffer<Double>(count: try checkedProduct(rows.count, features))
    let yRows = try Buffer<Double>(count: try checkedProduct(rows.count, targets))
    let rowWeights = try weights.map { _ in try Buffer<Double>(count: rows.count) }
    for (index, row) in rows.enumerated() {
      (xRows.base + index * features).update(from: x.row(row), count: features)
      (yRows.base + index * targets).update(from: y.row(row), count: targets)
      if let weights, let rowWeights { rowWeights[index] = weights[row] }
    }
    let xView = MatrixView(xRows.base, rows: rows.count, columns: features)
    let yView = MatrixView(yRows.base, rows: rows.count, columns: targets)
    let result = try batch ?? Dataset(copying: xView, yView)
    try result.refill(xView, yView, weights: rowWeights.map { UnsafePointer($0.base) })
    return result
  }

  /// The rows of some instances, in order.
  func rows(ofInstances instances: [Int]) -> [Int] { instances.flatMap { Array(rowRange(ofInstance: $0)) } }

  /// With a copy of the data.
  init(copying x: MatrixView, _ y: MatrixView) throws {
    features = x.columns
    targets = y.columns
    borrowed = nil
    self.x = x
    self.y = y
    super.init()
    try store(x, y)
  }

  /// With the caller's data.
  init(borrowing x: MatrixView, _ y: MatrixView, _ owner: CallbackUser) {
    features = x.columns
    targets = y.columns
    borrowed = owner
    self.x = x
    self.y = y
  }

  private func store(_ x: MatrixView, _ y: MatrixView) throws {
    func room(_ old: Buffer<Double>?, _ count: Int) throws -> Buffer<Double> {
      if let old, old.count >= count { return old }
      return try Buffer(count: count)
    }
    let xRoom = try room(xBuffer, try checkedProduct(x.rows, features))
    let yRoom = try room(yBuffer, try checkedProduct(y.rows, targets))
    x.copy(to: xRoom.base)
    y.copy(to: yRoom.base)
    (xBuffer, yBuffer) = (xRoom, yRoom)
    self.x = MatrixView(xRoom.base, rows: x.rows, columns: features)
    self.y = MatrixView(yRoom.base, rows: y.rows, columns: targets)
    version += 1
  }

  /// Replaces the rows; instances are single rows again.
  func refill(_ x: MatrixView, _ y: MatrixView, weights: UnsafePointer<Double>?) throws {
    try requireUnheld()
    guard borrowed == nil else { throw TaskMetError.state("a borrowed dataset cannot be refilled") }
    let newWeights = try weights.map { try Buffer(copying: $0, count: x.rows) }
    try store(x, y)
    self.weights = newWeights
    offsets = nil
  }

  func setWeights(_ values: UnsafePointer<Double>) throws {
    try requireUnheld()
    weights = try Buffer(copying: values, count: rows)
    version += 1
  }

  func setOffsets(_ values: UnsafePointer<Int64>, count: Int) throws {
    try requireUnheld()
    offsets = try Buffer(copying: values, count: count)
    version += 1
  }
}
