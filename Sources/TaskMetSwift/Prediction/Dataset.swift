// Rows of features and targets, with optional weights and a grouping into instances.

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

  var rows: Int { x.rows }
  var instanceCount: Int { offsets.map { $0.count - 1 } ?? rows }

  func rowRange(ofInstance instance: Int) -> Range<Int> {
    guard let offsets else { return instance..<(instance + 1) }
    return Int(offsets[instance])..<Int(offsets[instance + 1])
  }

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
    guard borrowed == nil else { throw TaskMetError.state("a borrowed dataset cannot be refilled") }
    let newWeights = try weights.map { try Buffer(copying: $0, count: x.rows) }
    try store(x, y)
    self.weights = newWeights
    offsets = nil
  }

  func setWeights(_ values: UnsafePointer<Double>) throws {
    weights = try Buffer(copying: values, count: rows)
    version += 1
  }

  func setOffsets(_ values: UnsafePointer<Int64>, count: Int) throws {
    offsets = try Buffer(copying: values, count: count)
    version += 1
  }
}
