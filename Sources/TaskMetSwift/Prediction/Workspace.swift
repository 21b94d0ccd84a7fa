// Memory that outlives a call: the lanes that a loss works in, and the metric's factors while phi and the data stay the same.

/// One caller at a time. Keeps the predictor and the metric it was last used with, but no dataset.
final class Workspace: SharedObject {
  override var kind: StaticString { "workspace" }

  static let defaultMetricCacheBytes = 256 << 20

  let threads: Int
  let metricCacheBytes: Int
  private var kept: LossMemory?

  init(threads: Int = 1, metricCacheBytes: Int = defaultMetricCacheBytes) {
    self.threads = threads
    self.metricCacheBytes = metricCacheBytes
  }

  /// The memory for a loss of these shapes in this arithmetic: the kept one where it fits.
  func memory(
    _ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, _ arithmetic: Precision
  ) throws -> LossMemory {
    if let kept, kept.fits(predictor, metric, dataset, arithmetic) { return kept }
    kept = nil
    let memory = try LossMemory(predictor, metric, dataset, arithmetic, self)
    kept = memory
    return memory
  }
}

/// Everything that a loss needs and that depends on shapes and settings alone, and the factors at one phi.
final class LossMemory {
  /// In the arithmetic of the tiles.
  enum Tiles {
    case float64(TileMemory<Double>)
    case float32(TileMemory<Float>)
  }

  let predictor: Predictor
  let metric: Metric
  let plan: RowReduction
  let tiles: Tiles
  let arithmetic: Precision
  var partials = GrowingBuffer<Double>()
  /// theta's length: where products are taken, and room for a result that is not yet the caller's.
  let linearizationPoint: Buffer<Double>
  let result: Buffer<Double>
  private let isStreamed: Bool
  /// For what a loss in float32 does in float64; made when first needed.
  private let wideWorkspace: Workspace

  init(
    _ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, _ arithmetic: Precision, _ workspace: Workspace
  ) throws {
    self.predictor = predictor
    self.metric = metric
    self.arithmetic = arithmetic
    isStreamed = dataset.isStreamed
    let rows = dataset.rows
    // A predictor that wants all rows at once gets those that are read at once; always on the calling thread.
    let tileRows = predictor.tileRows ?? (isStreamed ? dataset.blockRows : nil)
    let plan = RowReduction(
      rows: rows, tileRows: tileRows, vectorCount: max(predictor.parameterCount, metric.parameterCount),
      threads: predictor.tileRows == nil ? 1 : workspace.threads)
    self.plan = plan
    linearizationPoint = try Buffer(count: predictor.parameterCount)
    result = try Buffer(count: predictor.parameterCount)
    tiles =
      switch arithmetic {
      case .float64: .float64(try TileMemory(predictor, metric, plan, streamed: isStreamed, workspace.metricCacheBytes))
      case .float32: .float32(try TileMemory(predictor, metric, plan, streamed: isStreamed, workspace.metricCacheBytes))
      }
    wideWorkspace = Workspace(threads: workspace.threads, metricCacheBytes: workspace.metricCacheBytes)
  }

  func fits(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, _ arithmetic: Precision) -> Bool {
    self.predictor === predictor && self.metric === metric && plan.rows == dataset.rows
      && isStreamed == dataset.isStreamed && self.arithmetic == arithmetic
  }

  /// Whether activations are kept between products.
  var keepsLinearization: Bool {
    switch tiles {
    case .float64(let tiles): tiles.keepsLinearization
    case .float32(let tiles): tiles.keepsLinearization
    }
  }

  /// The same for float64 arithmetic.
  func widened(_ dataset: Dataset) throws -> LossMemory {
    arithmetic == .float64 ? self : try wideWorkspace.memory(predictor, metric, dataset, .float64)
  }

  /// Evaluates the metric on the dataset, unless the cache holds just that or they can be copied.
  func prepareFactors(_ dataset: Dataset, _ gathered: GatheredFactors? = nil) throws {
    switch (tiles, gathered?.table.tiles) {
    case (.float64(let tiles), .float64(let table)):
      try tiles.prepareFactors(dataset, from: table, rows: gathered?.rows, &partials)
    case (.float32(let tiles), .float32(let table)):
      try tiles.prepareFactors(dataset, from: table, rows: gathered?.rows, &partials)
    case (.float64(let tiles), _): try tiles.prepareFactors(dataset, from: nil, rows: nil, &partials)
    case (.float32(let tiles), _): try tiles.prepareFactors(dataset, from: nil, rows: nil, &partials)
    }
  }

  /// Sets the metric's m on the dataset, from the factors that losses then use too where they are kept.
  func updateNormalization(_ dataset: Dataset) throws {
    switch tiles {
    case .float64(let tiles): try tiles.updateNormalization(dataset, &partials)
    case .float32(let tiles): try tiles.updateNormalization(dataset, &partials)
    }
  }
}

/// What the lanes of a loss work in, in one arithmetic.
final class TileMemory<Scalar: BLASScalar> {
  let metric: Metric
  let plan: RowReduction
  let lanes: [LossLane<Scalar>]
  let workers: MetricWorkers<Scalar>
  /// theta and a direction as the tiles see them: narrowed once for all lanes.
  let theta: TileVector<Scalar>
  let direction: TileVector<Scalar>
  /// One for each tile where they fit, else one for each lane. Made when first needed.
  private var linearized: [(any PredictorTile<Scalar>)?]
  let keepsLinearization: Bool
  /// The features of kept tiles, where the dataset's own do not stay in memory, and their number in a row.
  private let keptFeatures: [Buffer<Scalar>]
  private let inputs: Int
  private let cache: FactorCache<Scalar>?

  init(
    _ predictor: Predictor, _ metric: Metric, _ plan: RowReduction, streamed isStreamed: Bool, _ metricCacheBytes: Int
  ) throws {
    self.metric = metric
    self.plan = plan
    workers = try MetricWorkers(metric, plan: plan)
    theta = try TileVector(count: predictor.parameterCount)
    direction = try TileVector(count: predictor.parameterCount)
    let size = MemoryLayout<Scalar>.stride
    let entries = metric.network == nil ? 1 : try checkedProduct(plan.rows, metric.entryCount + 1)
    let cached = metric.network == nil || entries <= metricCacheBytes / size
    cache = cached ? try FactorCache(metric, rows: plan.rows) : nil
    lanes = try (0..<plan.laneCount).map { _ in
      try LossLane(predictor, metric, rows: plan.tileRows, ownsFactors: !cached)
    }
    let perRow = max(predictor.numbersPerRow, isStreamed ? predictor.inputs + predictor.outputs : 0)
    let keeps = try checkedProduct(plan.rows, size, perRow) <= linearizationBytes
    keepsLinearization = keeps
    inputs = predictor.inputs
    keptFeatures = try (0..<(keeps && isStreamed ? plan.tileCount : 0)).map {
      try Buffer(count: try checkedProduct(plan.rows(ofTile: $0).count, predictor.inputs))
    }
    linearized = Array(repeating: nil, count: keepsLinearization ? plan.tileCount : plan.laneCount)
    // Made now, so that the lanes' threads only read the array.
    for index in linearized.indices {
      let lane = keepsLinearization ? (0..<plan.laneCount).first { plan.tiles(ofLane: $0).contains(index) }! : index
      linearized[index] = try lanes[lane].predictorLane.makeTile(rows: plan.tileRows, order: .curvature)
    }
  }

  /// A tile's features, where they are kept.
  func keptInputs(tile: Int) -> MatrixView? {
    if keptFeatures.isEmpty { return nil }
    return MatrixView(keptFeatures[tile].base, rows: plan.rows(ofTile: tile).count, columns: inputs)
  }

  /// Keeps a tile's features where that is necessary; returns them as they can be looked at later.
  func keepInputs(_ x: MatrixView, tile: Int) -> MatrixView {
    guard let kept = keptInputs(tile: tile) else { return x }
    x.copy(to: keptFeatures[tile].base)
    return kept
  }

  func linearizedTile(lane: Int, tile: Int) -> any PredictorTile<Scalar> {
    linearized[keepsLinearization ? tile : lane]!
  }

  /// Evaluates the metric on the dataset, unless the cache holds just that, or copies the factors of a table's rows.
  fileprivate func prepareFactors(
    _ dataset: Dataset, from table: TileMemory?, rows: Buffer<Int>?, _ partials: inout GrowingBuffer<Double>
  ) throws {
    if let rows, let cache, let table = table?.cache, metric.network != nil {
      cache.gather(metric, dataset, from: table, rows: rows, workers)
    } else {
      try cache?.fill(metric, dataset, workers, &partials)
    }
  }

  fileprivate func updateNormalization(_ dataset: Dataset, _ partials: inout GrowingBuffer<Double>) throws {
    guard let cache, metric.network != nil else {
      let workers = workers
      return try metric.updateNormalization(rows: dataset.rows, dataset.featureRows) {
        try workers.meanTrace(dataset.featureRows)
      }
    }
    try cache.fill(metric, dataset, workers, &partials)
    let sum = try plan.sum(partials: &partials) { lane, _ in
      plan.rows(ofLane: lane).reduce(0) { sum, row in sum + (cache.factors.map { Double($0.trace(row)) } ?? .nan) }
    }
    let mean = sum / (Double(dataset.rows) * Double(metric.outputs))
    try metric.updateNormalization(rows: dataset.rows, dataset.featureRows) { mean }
    cache.renormalize(metric, dataset, workers)
  }

  /// The factors of a tile's rows; x: their features.
  func factors(lane: Int, rows: Range<Int>, _ x: MatrixView) throws -> MetricFactors<Scalar> {
    if let cache { return cache.factors!.advanced(by: rows.lowerBound) }
    let memory = lanes[lane]
    return try workers.lanes[lane].factors(
      rows: rows.count, BlockedMatrix(x), entries: memory.entries!.base, scales: memory.scales!.base)
  }
}

/// Linearised tiles are kept between Hessian-vector products while they fit in this much.
private let linearizationBytes = 64 << 20

/// Rows whose factors another memory holds already.
struct GatheredFactors {
  let table: LossMemory
  let rows: Buffer<Int>
}

/// The factors of all rows.
private final class FactorCache<Scalar: BLASScalar> {
  fileprivate let entries: Buffer<Scalar>
  fileprivate let scales: Buffer<Scalar>
  fileprivate(set) var factors: MetricFactors<Scalar>?
  fileprivate var source: (metricVersion: Int, dataset: Int, datasetVersion: Int)?

  init(_ metric: Metric, rows: Int) throws {
    let count = metric.network == nil ? 1 : rows
    entries = try Buffer(count: try checkedProduct(count, metric.entryCount))
    scales = try Buffer(count: count)
  }

  func fill(
    _ metric: Metric, _ dataset: Dataset, _ workers: MetricWorkers<Scalar>, _ partials: inout GrowingBuffer<Double>
  ) throws {
    let now = (metric.version, dataset.serial, dataset.version)
    if let source, source == now, factors != nil { return }
    source = nil
    if metric.network == nil {
      factors = try workers.lanes[0].factors(rows: 1, nil, entries: entries.base, scales: scales.base)
    } else {
      let plan = workers.plan
      try plan.sum(partials: &partials) { lane, _ in
        let rows = plan.rows(ofLane: lane)
        let part = try workers.lanes[lane].factors(
          rows: rows.count, dataset.featureRows.rows(rows), entries: entries.base + rows.lowerBound * metric.entryCount,
          scales: scales.base + rows.lowerBound)
        if lane == 0 { factors = part }
        return 0
      }
    }
    source = now
  }
}

extension FactorCache {
  /// Copies the factors of some rows of another cache.
  fileprivate func gather(
    _ metric: Metric, _ dataset: Dataset, from table: FactorCache<Scalar>, rows: Buffer<Int>,
    _ workers: MetricWorkers<Scalar>
  ) {
    let (width, source, target, places) = (metric.entryCount, table.entries.base, entries.base, rows.base)
    if width == 1 {
      for index in 0..<rows.count { target[index] = source[places[index]] }
    } else {
      for index in 0..<rows.count {
        (target + index * width).update(from: source + places[index] * width, count: width)
      }
    }
    factors = workers.lanes[0].normalized(
      rows: rows.count, UnsafePointer(entries.base), entryStride: width, scales.base)
    self.source = (metric.version, dataset.serial, dataset.version)
  }
}

extension FactorCache {
  /// The entries are good, the metric's normalisation has changed.
  fileprivate func renormalize(_ metric: Metric, _ dataset: Dataset, _ workers: MetricWorkers<Scalar>) {
    factors = workers.lanes[0].normalized(
      rows: dataset.rows, UnsafePointer(entries.base), entryStride: metric.entryCount, scales.base)
    source = (metric.version, dataset.serial, dataset.version)
  }
}

/// What one thread works in.
final class LossLane<Scalar: BLASScalar> {
  let predictorLane: any PredictorLane<Scalar>
  /// For values and gradients.
  let tile: any PredictorTile<Scalar>
  /// rows x n each.
  let residual: Buffer<Scalar>
  let weighted: Buffer<Scalar>
  let tangent: Buffer<Scalar>
  /// rows x rank, for products with the metric.
  let metricScratch: Buffer<Scalar>
  /// The rows, where the dataset's are streamed.
  let block = RowBlock()
  /// A tile's factors where they are not cached.
  let entries: Buffer<Scalar>?
  let scales: Buffer<Scalar>?

  /// Of theta's length, over one tile.
  let gradient: TileSum<Scalar>

  init(_ predictor: Predictor, _ metric: Metric, rows: Int, ownsFactors: Bool) throws {
    predictorLane = try predictor.makeLane(rows: rows, in: Scalar.self)
    tile = try predictorLane.makeTile(rows: rows, order: .gradient)
    let count = try checkedProduct(rows, predictor.outputs)
    residual = try Buffer(count: count)
    weighted = try Buffer(count: count)
    tangent = try Buffer(count: count)
    metricScratch = try Buffer(count: try checkedProduct(rows, metric.rank))
    entries = ownsFactors ? try Buffer(count: try checkedProduct(rows, metric.entryCount)) : nil
    scales = ownsFactors ? try Buffer(count: rows) : nil
    gradient = try TileSum(count: predictor.parameterCount)
  }
}
