// Rows of features and targets, with optional weights and a grouping into instances.

import Synchronization

/// Reals that belong to instances: values[offsets[k] ..< offsets[k + 1]] to instance k.
struct InstanceContext {
  let values: Buffer<Double>
  /// instances + 1.
  let offsets: Buffer<Int64>

  subscript(instance: Int) -> UnsafeBufferPointer<Double> {
    let start = Int(offsets[instance])
    return UnsafeBufferPointer(start: values.base + start, count: Int(offsets[instance + 1]) - start)
  }
}

/// Where rows are.
private enum RowStorage {
  case memory(x: MatrixView, y: MatrixView)
  case source(RowSource)
}

/// N rows: x (N x d), y (N x n), s_i >= 0. They are in memory, or streamed: read by blocks at each use. x and y are of
/// one precision; weights and contexts are float64.
final class Dataset: SharedObject {
  override var kind: StaticString { "dataset" }

  let features: Int
  let targets: Int
  let precision: Precision
  /// nil for all ones.
  private(set) var weights: Buffer<Double>?
  /// First row of each instance, and the number of rows; nil where each row is its own instance.
  private(set) var offsets: Buffer<Int64>?
  /// What tasks know of each instance; nil where there is nothing.
  private(set) var context: InstanceContext?
  /// Grows with each change: what caches are valid for.
  private(set) var version = 0
  private var storage: RowStorage
  private var xBuffer: MatrixBuffer?
  private var yBuffer: MatrixBuffer?
  /// The owner of borrowed arrays, told when the dataset is gone.
  private let borrowed: CallbackUser?

  /// How many trainers hold the dataset, which must not change while one does.
  private let holders = Atomic<Int>(0)

  func hold() { holders.add(1, ordering: .relaxed) }
  func letGo() { holders.subtract(1, ordering: .releasing) }

  func requireUnheld() throws {
    if holders.load(ordering: .acquiring) > 0 {
      throw TaskMetError.state("dataset: a trainer holds it; it can be changed when the trainer is destroyed")
    }
  }

  var rows: Int { features(of: storage).rows }
  var instanceCount: Int { offsets.map { $0.count - 1 } ?? rows }

  func rowRange(ofInstance instance: Int) -> Range<Int> {
    guard let offsets else { return instance..<(instance + 1) }
    return Int(offsets[instance])..<Int(offsets[instance + 1])
  }

  /// Some rows of another dataset of the same shape, weights included, in place of what was here; each is an instance of its
  /// own.
  func gather(_ rows: Buffer<Int>, of source: Dataset) throws {
    let (xRoom, yRoom) = try reserve(rows: rows.count)
    let newWeights =
      try source.weights.map { _ in
        if let weights, weights.count == rows.count { return weights }
        return try Buffer<Double>(count: rows.count)
      }
    switch source.storage {
    case .memory(let x, let y):
      try forEachRun(rows, limit: source.rows) { index, run in
        xRoom.store(x.rows(run), at: index * features)
        yRoom.store(y.rows(run), at: index * targets)
      }
    case .source(let reader):
      try forEachRun(rows, limit: reader.blockRows) { index, run in
        try reader.read(run, x: xRoom.address(index * features), y: yRoom.address(index * targets))
      }
    }
    if let newWeights, let old = source.weights {
      for index in 0..<rows.count { newWeights[index] = old[rows[index]] }
    }
    adopt(xRoom, yRoom, rows: rows.count)
    weights = newWeights
    offsets = nil
    context = nil
  }

  /// A dataset of some rows of another.
  init(_ rows: Buffer<Int>, of source: Dataset) throws {
    features = source.features
    targets = source.targets
    precision = source.precision
    borrowed = nil
    storage = source.storage
    super.init()
    try gather(rows, of: source)
  }

  /// The rows of some instances, in order.
  func rows(ofInstances instances: Buffer<Int>) throws -> Buffer<Int> {
    let rows = try Buffer<Int>(count: rowCount(ofInstances: instances))
    var next = 0
    for k in 0..<instances.count {
      for row in rowRange(ofInstance: instances[k]) {
        rows[next] = row
        next += 1
      }
    }
    return rows
  }

  func rowCount(ofInstances instances: Buffer<Int>) -> Int {
    (0..<instances.count).reduce(0) { $0 + rowRange(ofInstance: instances[$1]).count }
  }

  /// With a copy of the data, which are of one precision.
  init(copying x: MatrixView, _ y: MatrixView) throws {
    features = x.columns
    targets = y.columns
    precision = x.precision
    borrowed = nil
    storage = .memory(x: x, y: y)
    super.init()
    try store(x, y)
  }

  /// With the caller's data, which are of one precision.
  init(borrowing x: MatrixView, _ y: MatrixView, _ owner: CallbackUser) {
    features = x.columns
    targets = y.columns
    precision = x.precision
    borrowed = owner
    storage = .memory(x: x, y: y)
  }

  /// With rows that are read when they are needed.
  init(_ source: RowSource) {
    features = source.features
    targets = source.targets
    precision = source.precision
    borrowed = nil
    storage = .source(source)
  }

  /// With the rows and the instances of another dataset, which must not be refilled; without its weights and its context.
  init(sharingRowsOf other: Dataset) {
    features = other.features
    targets = other.targets
    precision = other.precision
    borrowed = other.borrowed
    storage = other.storage
    (xBuffer, yBuffer) = (other.xBuffer, other.yBuffer)
    offsets = other.offsets
  }

  /// Memory for that many rows: the present one where it is large enough.
  private func reserve(rows: Int) throws -> (x: MatrixBuffer, y: MatrixBuffer) {
    func room(_ old: MatrixBuffer?, _ count: Int) throws -> MatrixBuffer {
      if let old, old.count >= count { return old }
      return try MatrixBuffer(count: count, precision)
    }
    return (
      try room(xBuffer, try checkedProduct(rows, features)), try room(yBuffer, try checkedProduct(rows, targets))
    )
  }

  private func adopt(_ xRoom: MatrixBuffer, _ yRoom: MatrixBuffer, rows: Int) {
    (xBuffer, yBuffer) = (xRoom, yRoom)
    storage = .memory(x: xRoom.view(rows: rows, columns: features), y: yRoom.view(rows: rows, columns: targets))
    version += 1
  }

  private func store(_ x: MatrixView, _ y: MatrixView) throws {
    let (xRoom, yRoom) = try reserve(rows: x.rows)
    xRoom.store(x)
    yRoom.store(y)
    adopt(xRoom, yRoom, rows: x.rows)
  }

  /// Replaces the rows, in the dataset's precision (finite there, too); instances are single rows again.
  func refill(_ x: MatrixView, _ y: MatrixView, weights: UnsafePointer<Double>?) throws {
    try requireUnheld()
    guard borrowed == nil else { throw TaskMetError.state("a borrowed dataset cannot be refilled") }
    guard !isStreamed else { throw TaskMetError.state("a streamed dataset cannot be refilled") }
    let newWeights = try weights.map { try Buffer(copying: $0, count: x.rows) }
    try store(x, y)
    self.weights = newWeights
    offsets = nil
    context = nil
  }

  func setWeights(_ values: UnsafePointer<Double>) throws {
    try requireUnheld()
    weights = try Buffer(copying: values, count: rows)
    version += 1
  }

  func setOffsets(_ values: UnsafePointer<Int64>, count: Int) throws {
    try requireUnheld()
    offsets = try Buffer(copying: values, count: count)
    context = nil
    version += 1
  }

  func setContext(_ new: InstanceContext?) throws {
    try requireUnheld()
    context = new
    version += 1
  }
}

// MARK: - Rows

extension Dataset {
  var isStreamed: Bool {
    if case .source = storage { return true }
    return false
  }

  /// Rows that are best asked for at once.
  var blockRows: Int { featureRows.blockRows }

  /// x, N x d.
  var featureRows: BlockedMatrix { features(of: storage) }

  /// y, N x n.
  var targetRows: BlockedMatrix {
    switch storage {
    case .memory(_, let y): BlockedMatrix(y)
    case .source(let source): BlockedMatrix(targetsOf: source)
    }
  }

  private func features(of storage: RowStorage) -> BlockedMatrix {
    switch storage {
    case .memory(let x, _): BlockedMatrix(x)
    case .source(let source): BlockedMatrix(featuresOf: source)
    }
  }

  /// Both sides of some rows, valid until the room's next use. `end`: rows up to there will be asked for next.
  func block(_ rows: Range<Int>, until end: Int, in room: RowBlock) throws -> (x: MatrixView, y: MatrixView) {
    switch storage {
    case .memory(let x, let y): return (x.rows(rows), y.rows(rows))
    case .source(let source): return try room.read(rows, until: end, of: source, .both)
    }
  }
}

/// Calls body with the position of each run of consecutive rows in a list, and the run, which has at most `limit` rows.
private func forEachRun(_ rows: Buffer<Int>, limit: Int, _ body: (Int, Range<Int>) throws -> Void) throws {
  var start = 0
  while start < rows.count {
    var end = start + 1
    while end < rows.count, end - start < limit, rows[end] == rows[end - 1] + 1 { end += 1 }
    try body(start, rows[start]..<(rows[start] + end - start))
    start = end
  }
}
