// Datasets and the batches that tasks are given: the right rows, targets and weights in the right places.

import Testing

@testable import TaskMetSwift

@Suite("Datasets and batches")
struct DatasetTests {
  /// x_i = (i, 10 i), y_i = -i.
  private static func make(rows: Int = 6, weighted: Bool = true) throws -> Dataset {
    let x = DenseMatrix((0..<rows).map { [Double($0), 10 * Double($0)] })
    let dataset = try Dataset(borrowing: x, DenseMatrix((0..<rows).map { [-Double($0)] }))
    if weighted { try dataset.setWeights((0..<rows).map { 0.5 + Double($0) }) }
    return dataset
  }

  private func column(_ view: MatrixView, _ column: Int = 0) -> [Double] {
    (0..<view.rows).map { view[$0, column] }
  }

  @Test("rows of another dataset", arguments: [true, false])
  func gathering(_ weighted: Bool) throws {
    let source = try Self.make(weighted: weighted)
    let dataset = try Dataset(Buffer([5, 0, 5, 2]), of: source)
    #expect(column(dataset.x) == [5, 0, 5, 2] && column(dataset.x, 1) == [50, 0, 50, 20])
    #expect(column(dataset.y) == [-5, 0, -5, -2] && dataset.instanceCount == 4)
    #expect(dataset.weights?.array == (weighted ? [5.5, 0.5, 5.5, 2.5] : nil))
    let version = dataset.version
    try dataset.gather(Buffer([1, 2]), of: source)
    #expect(column(dataset.x) == [1, 2] && dataset.weights?.array == (weighted ? [1.5, 2.5] : nil))
    #expect(dataset.version > version)
    try dataset.gather(Buffer([0, 1, 2, 3, 4, 5, 0]), of: source)
    #expect(column(dataset.x) == [0, 1, 2, 3, 4, 5, 0])
  }

  @Test("instances")
  func instances() throws {
    let dataset = try Self.make()
    #expect(dataset.instanceCount == 6 && dataset.rowRange(ofInstance: 3) == 3..<4)
    try dataset.setOffsets([0, 2, 3, 6], count: 4)
    #expect(dataset.instanceCount == 3 && dataset.rowRange(ofInstance: 2) == 3..<6)
    #expect(try dataset.rows(ofInstances: Buffer([2, 0])).array == [3, 4, 5, 0, 1])
  }

  @Test("a batch of some instances, in their order")
  func batches() throws {
    let dataset = try Self.make()
    try dataset.setOffsets([0, 2, 3, 6], count: 4)
    let batch = try TaskBatch(dataset, instances: Buffer([2, 0]), phase: .validation)
    #expect(batch.instances.array == [2, 0] && batch.offsets.array == [0, 3, 5] && batch.rows == 5)
    #expect(batch.targets.array == [-3, -4, -5, 0, -1])
    #expect(batch.inputs?.array == [3, 30, 4, 40, 5, 50, 0, 0, 1, 10] && batch.phase == .validation)
    let predictor = try NetworkPredictor(linearInputs: 2, outputs: 1, bias: false)
    try batch.predict(predictor, [1, 0.1])
    #expect(batch.predictions.array == [6, 8, 10, 0, 2])
    expectEqual(batch.rmse, ((81.0 + 144 + 225 + 0 + 9) / 5).squareRoot(), to: 1e-14)
    let whole = try TaskBatch(dataset, phase: .training)
    #expect(whole.instances.array == [0, 1, 2] && whole.offsets.array == [0, 2, 3, 6])
  }

  @Test("new rows in place of the old ones")
  func refilling() throws {
    let dataset = try Dataset(DenseMatrix([[1, 2], [3, 4]]), DenseMatrix([[5], [6]]))
    try dataset.setWeights([1, 2])
    try dataset.setOffsets([0, 2], count: 2)
    let other = try Self.make(rows: 4)
    try dataset.refill(other.x, other.y, weights: nil)
    #expect(column(dataset.x) == [0, 1, 2, 3] && dataset.weights == nil && dataset.instanceCount == 4)
    expectError(.state, "borrowed") { try other.refill(dataset.x, dataset.y, weights: nil) }
    dataset.hold()
    expectError(.state, "held") { try dataset.refill(other.x, other.y, weights: nil) }
    expectError(.state, "held") { try dataset.setWeights([1, 1, 1, 1]) }
    dataset.letGo()
    try dataset.setWeights([1, 1, 1, 1])
  }
}

/// x_i = (i, i/3, ...), y_i = -i/7, rounded to the precision, read by blocks.
private final class CountedRows: RowSource {
  private(set) var readings: [Range<Int>] = []
  private let separate: Bool

  init(rows: Int, features: Int = 2, _ precision: Precision, separate: Bool = false) {
    self.separate = separate
    super.init(rows: rows, features: features, targets: 1, precision)
  }

  override var sidesAreSeparate: Bool { separate }

  func feature(_ row: Int, _ column: Int) -> Double { precision.rounded(Double(row) / Double(2 * column + 1)) }
  func target(_ row: Int) -> Double { precision.rounded(-Double(row) / 7) }

  override func read(_ range: Range<Int>, x: UnsafeMutableRawPointer?, y: UnsafeMutableRawPointer?) throws {
    readings.append(range)
    switch precision {
    case .float64: write(range, x, y, Double.self)
    case .float32: write(range, x, y, Float.self)
    }
  }

  private func write<Scalar: BLASScalar>(
    _ range: Range<Int>, _ x: UnsafeMutableRawPointer?, _ y: UnsafeMutableRawPointer?, _: Scalar.Type
  ) {
    for (index, row) in range.enumerated() {
      for k in 0..<features { x?.assumingMemoryBound(to: Scalar.self)[index * features + k] = Scalar(feature(row, k)) }
      y?.assumingMemoryBound(to: Scalar.self)[index] = Scalar(target(row))
    }
  }

  /// The same rows in memory.
  func inMemory() throws -> Dataset {
    func values(_ columns: Int, _ entry: (Int, Int) -> Double) -> DenseMatrix {
      DenseMatrix(rows, columns, (0..<(rows * columns)).map { entry($0 / columns, $0 % columns) })
    }
    let (x, y) = (values(features, feature), values(1) { row, _ in target(row) })
    func narrowed(_ matrix: DenseMatrix) throws -> Buffer<Float> { try Buffer(matrix.values.map { Float($0) }) }
    guard precision == .float32 else { return try Dataset(x, y) }
    let (xs, ys) = (try narrowed(x), try narrowed(y))
    return try withExtendedLifetime((xs, ys)) {
      try Dataset(
        copying: MatrixView(xs.base, rows: rows, columns: features), MatrixView(ys.base, rows: rows, columns: 1))
    }
  }
}

@Suite("Streamed rows")
struct StreamedRowsTests {
  @Test("a block is 512 KiB in whole tiles, or one tile", arguments: Precision.allCases)
  func blocks(_ precision: Precision) throws {
    #expect(precision.tileRows * precision.size == 1024)
    for features in [1, 2, 7, 100, 300, 511, 600, 5000] {
      let rows = CountedRows(rows: 10, features: features, precision).blockRows
      let bytes = rows * (features + 1) * precision.size
      let tileBytes = precision.tileRows * (features + 1) * precision.size
      #expect(rows % precision.tileRows == 0)
      #expect(bytes <= 1 << 19 ? bytes + tileBytes > 1 << 19 : rows == precision.tileRows)
    }
    let source = CountedRows(rows: 20_000, features: 30, precision)
    try BlockedMatrix(featuresOf: source).forEachBlock { start, block in
      #expect(block.precision == precision && start % source.blockRows == 0 && block.rows <= source.blockRows)
      #expect(block[block.rows - 1, 29] == source.feature(start + block.rows - 1, 29))
    }
    #expect(source.readings.count == (20_000 + source.blockRows - 1) / source.blockRows)
  }

  @Test("some rows of a streamed dataset", arguments: Precision.allCases)
  func gathering(_ precision: Precision) throws {
    let source = CountedRows(rows: 5000, precision)
    let gathered = try Dataset(Buffer([4999, 7, 8, 9, 7, 0]), of: Dataset(source))
    #expect(gathered.precision == precision && !gathered.isStreamed && gathered.x.precision == precision)
    #expect(source.readings == [4999..<5000, 7..<10, 7..<8, 0..<1])
    for (index, row) in [4999, 7, 8, 9, 7, 0].enumerated() {
      #expect(gathered.x[index, 0] == source.feature(row, 0) && gathered.x[index, 1] == source.feature(row, 1))
      #expect(gathered.y[index, 0] == source.target(row))
    }
  }

  @Test(
    "fingerprints are those of the rows in memory, and features are read for theirs once", arguments: Precision.allCases
  )
  func fingerprints(_ precision: Precision) throws {
    let source = CountedRows(rows: 3000, precision)
    let (streamed, memory) = (Dataset(source), try source.inMemory())
    for rounding in [nil] + Precision.allCases.map(Optional.some) {
      #expect(
        try streamed.featureRows.fingerprint(roundedTo: rounding) == memory.featureRows.fingerprint(roundedTo: rounding)
      )
      #expect(
        try streamed.targetRows.fingerprint(roundedTo: rounding) == memory.targetRows.fingerprint(roundedTo: rounding))
    }
    let before = source.readings.count
    _ = try streamed.featureRows.fingerprint()
    _ = try streamed.featureRows.fingerprint(roundedTo: precision)
    #expect(source.readings.count == before)
  }

  @Test("one room for sources of both precisions, one side or both", arguments: [false, true])
  func rooms(_ separate: Bool) throws {
    let room = RowBlock()
    let sources = [Precision.float64, .float32, .float64].map { CountedRows(rows: 900, $0, separate: separate) }
    for source in sources + sources.reversed() {
      let x = try room.read(100..<140, until: 900, of: source, .features).x
      #expect(x.precision == source.precision && x.rows == 40 && x[39, 1] == source.feature(139, 1))
      let both = try room.read(130..<150, until: 900, of: source, .both)
      #expect(both.x.precision == source.precision && both.y.precision == source.precision)
      #expect(both.x[0, 1] == source.feature(130, 1) && both.y[19, 0] == source.target(149))
      let readings = source.readings.count
      let y = try room.read(400..<410, until: 900, of: source, .targets).y
      #expect(y[3, 0] == source.target(403) && source.readings.count == readings)
    }
  }
}
