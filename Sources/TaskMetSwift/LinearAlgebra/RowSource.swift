// Rows that are not kept in memory: read block by block when they are needed, into memory that the reader brings.

/// Features (rows x d) and targets (rows x n) of one precision, the same at each reading.
class RowSource {
  let rows: Int
  let features: Int
  let targets: Int
  let precision: Precision
  private let featureFingerprint = Lock<UInt64?>(nil)

  init(rows: Int, features: Int, targets: Int, _ precision: Precision) {
    (self.rows, self.features, self.targets, self.precision) = (rows, features, targets, precision)
  }

  /// Whether features can be read without targets, and targets without features.
  var sidesAreSeparate: Bool { false }

  /// Fills contiguous rows of the source's precision with finite numbers, on any thread; a side that is nil is not
  /// wanted, which happens only where sides are separate.
  func read(_ range: Range<Int>, x: UnsafeMutableRawPointer?, y: UnsafeMutableRawPointer?) throws {
    throw TaskMetError.unsupported("an abstract source of rows")
  }

  /// How many rows are read at once where that many are wanted: 512 KiB of them in either precision, in whole tiles, of
  /// which there is one at least.
  final var blockRows: Int {
    let tileBytes = precision.tileRows * precision.size * (features + targets)
    return precision.tileRows * max(1, blockBytes / tileBytes)
  }

  /// Of all features; they are read for it once.
  final func fingerprint() throws -> UInt64 {
    if let known = featureFingerprint.withLock({ $0 }) { return known }
    var hash = Fingerprint()
    try BlockedMatrix(featuresOf: self).forEachBlock { _, block in hash.add(block) }
    featureFingerprint.withLock { [hash] in $0 = hash.value }
    return hash.value
  }
}

/// What is read at once, where that is a tile at least.
private let blockBytes = 1 << 19

/// Which of features and targets are wanted.
struct RowSides: OptionSet {
  let rawValue: Int

  static let features = RowSides(rawValue: 1)
  static let targets = RowSides(rawValue: 2)
  static let both: RowSides = [.features, .targets]
}

/// Room for a block of rows, which remembers what was read into it last. One user at a time; takes no memory before it is used.
final class RowBlock {
  private var x = GrowingMatrixBuffer()
  private var y = GrowingMatrixBuffer()
  private weak var source: RowSource?
  private var held = 0..<0
  private var sides: RowSides = []

  /// Views of some rows, valid until the next read. Rows that follow, up to `end`, are read along with them where a block has
  /// room. A side that is not wanted is a view of no rows.
  func read(_ rows: Range<Int>, until end: Int, of source: RowSource, _ wanted: RowSides) throws
    -> (x: MatrixView, y: MatrixView)
  {
    if self.source !== source || !sides.isSuperset(of: wanted) || rows.lowerBound < held.lowerBound
      || rows.upperBound > held.upperBound
    {
      try fill(rows.lowerBound..<max(rows.upperBound, min(end, rows.lowerBound + source.blockRows)), source, wanted)
    }
    let part = (rows.lowerBound - held.lowerBound)..<(rows.upperBound - held.lowerBound)
    func view(_ side: RowSides, _ room: MatrixBuffer, _ columns: Int) -> MatrixView {
      room.view(rows: held.count, columns: columns).rows(sides.contains(side) ? part : 0..<0)
    }
    return (
      view(.features, try x.reserve(0, source.precision), source.features),
      view(.targets, try y.reserve(0, source.precision), source.targets)
    )
  }

  private func fill(_ rows: Range<Int>, _ source: RowSource, _ wanted: RowSides) throws {
    self.source = nil
    let read = source.sidesAreSeparate ? wanted : .both
    func reserve(_ room: inout GrowingMatrixBuffer, _ columns: Int) throws -> UnsafeMutableRawPointer {
      try room.reserve(try checkedProduct(rows.count, columns), source.precision).address()
    }
    let xRoom = read.contains(.features) ? try reserve(&x, source.features) : nil
    let yRoom = read.contains(.targets) ? try reserve(&y, source.targets) : nil
    try source.read(rows, x: xRoom, y: yRoom)
    (self.source, held, sides) = (source, rows, read)
  }
}

/// A matrix in memory, or one side of a source of rows.
struct BlockedMatrix {
  private enum Place {
    case memory(MatrixView)
    case source(RowSource, RowSides)
  }

  private let place: Place
  /// The source's rows that these are.
  private let range: Range<Int>
  let columns: Int

  private init(_ place: Place, _ range: Range<Int>, columns: Int) {
    (self.place, self.range, self.columns) = (place, range, columns)
  }

  init(_ view: MatrixView) { self.init(.memory(view), 0..<view.rows, columns: view.columns) }

  init(featuresOf source: RowSource) {
    self.init(.source(source, .features), 0..<source.rows, columns: source.features)
  }

  init(targetsOf source: RowSource) {
    self.init(.source(source, .targets), 0..<source.rows, columns: source.targets)
  }

  var rows: Int { range.count }

  /// The matrix itself, where it is in memory.
  var inMemory: MatrixView? {
    if case .memory(let view) = place { return view }
    return nil
  }

  /// Rows that are best asked for at once.
  var blockRows: Int {
    if case .source(let source, _) = place { return min(rows, source.blockRows) }
    return rows
  }

  func rows(_ part: Range<Int>) -> BlockedMatrix {
    switch place {
    case .memory(let view): BlockedMatrix(view.rows(part))
    case .source:
      BlockedMatrix(
        place, (range.lowerBound + part.lowerBound)..<(range.lowerBound + part.upperBound), columns: columns)
    }
  }

  /// Some rows, valid until the room's next use.
  func block(_ part: Range<Int>, in room: RowBlock) throws -> MatrixView {
    switch place {
    case .memory(let view): return view.rows(part)
    case .source(let source, let side):
      let wanted = (range.lowerBound + part.lowerBound)..<(range.lowerBound + part.upperBound)
      let views = try room.read(wanted, until: range.upperBound, of: source, side)
      return side == .features ? views.x : views.y
    }
  }

  /// Calls body with the first row of each block, and the block; a matrix in memory is one block.
  func forEachBlock(_ body: (Int, MatrixView) throws -> Void) throws {
    let room = RowBlock()
    for start in stride(from: 0, to: rows, by: max(blockRows, 1)) {
      try body(start, try block(start..<min(rows, start + blockRows), in: room))
    }
  }

  /// Copies the rows, contiguous, to `target`, converted where that is of another precision.
  func copy<Scalar: BLASScalar>(to target: UnsafeMutablePointer<Scalar>) throws {
    try forEachBlock { start, block in block.copy(to: target + start * columns) }
  }

  /// What tells these numbers from others, row by row, as a precision holds them (nil: their own).
  func fingerprint(roundedTo precision: Precision? = nil) throws -> UInt64 {
    if case .source(let source, .features) = place, precision ?? source.precision == source.precision,
      rows == source.rows
    {
      return try source.fingerprint()
    }
    var hash = Fingerprint()
    try hash.add(self, roundedTo: precision)
    return hash.value
  }
}

extension Fingerprint {
  mutating func add(_ matrix: BlockedMatrix, roundedTo precision: Precision? = nil) throws {
    var hash = self
    try matrix.forEachBlock { _, block in hash.add(block, roundedTo: precision) }
    self = hash
  }
}
