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

  /// The memory for a loss of these shapes: the kept one where it fits.
  func memory(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset) throws -> LossMemory {
    if let kept, kept.fits(predictor, metric, dataset) { return kept }
    kept = nil
    let memory = try LossMemory(predictor, metric, dataset, self)
    kept = memory
    return memory
  }
}

/// Everything that a loss needs and that depends on shapes and settings alone, and the factors at one phi.
final class LossMemory {
  /// Linearised tiles are kept between Hessian-vector products while they fit in this much.
  private static let linearizationBytes = 64 << 20

  let predictor: Predictor
  let metric: Metric
  let plan: RowReduction
  let lanes: [LossLane]
  let workers: MetricWorkers
  var partials = GrowingBuffer<Double>()
  /// theta's length: where products are taken, and room for a result that is not yet the caller's.
  let linearizationPoint: Buffer<Double>
  let result: Buffer<Double>
  /// One for each tile where they fit, else one for each lane. Made when first needed.
  private var linearized: [(any PredictorTile)?]
  let keepsLinearization: Bool
  /// The features of kept tiles, where the dataset's own do not stay in memory.
  private let keptFeatures: [Buffer<Double>]
  private let isStreamed: Bool
  fileprivate let cache: FactorCache?

  init(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, _ workspace: Workspace) throws {
    self.predictor = predictor
    self.metric = metric
    isStreamed = dataset.isStreamed
    let rows = dataset.rows
    // A predictor that wants all rows at once gets those that are read at once; always on the calling thread.
    let tileRows = predictor.tileRows ?? (isStreamed ? dataset.blockRows : nil)
    let plan = RowReduction(
      rows: rows, tileRows: tileRows, vectorCount: max(predictor.parameterCount, metric.parameterCount),
      threads: predictor.tileRows == nil ? 1 : workspace.threads)
    self.plan = plan
    workers = try MetricWorkers(metric, plan: plan)
    linearizationPoint = try Buffer(count: predictor.parameterCount)
    result = try Buffer(count: predictor.parameterCount)
    let entries = metric.network == nil ? 1 : try checkedProduct(rows, metric.entryCount + 1)
    let cached = metric.network == nil || entries <= workspace.metricCacheBytes / 8
    cache = cached ? try FactorCache(metric, rows: rows) : nil
    lanes = try (0..<plan.laneCount).map { _ in
      try LossLane(predictor, metric, rows: plan.tileRows, ownsFactors: !cached)
    }
    let bytesPerRow = max(predictor.bytesPerRow, isStreamed ? 8 * (predictor.inputs + predictor.outputs) : 0)
    let keeps = try checkedProduct(rows, bytesPerRow) <= Self.linearizationBytes
    keepsLinearization = keeps
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

  func fits(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset) -> Bool {
    self.predictor === predictor && self.metric === metric && plan.rows == dataset.rows
      && isStreamed == dataset.isStreamed
  }

  /// A tile's features, where they are kept.
  func keptInputs(tile: Int) -> MatrixView? {
    if keptFeatures.isEmpty { return nil }
    return MatrixView(keptFeatures[tile].base, rows: plan.rows(ofTile: tile).count, columns: predictor.inputs)
  }

  /// Keeps a tile's features where that is necessary; returns them as they can be looked at later.
  func keepInputs(_ x: MatrixView, tile: Int) -> MatrixView {
    guard let kept = keptInputs(tile: tile) else { return x }
    x.copy(to: keptFeatures[tile].base)
    return kept
  }

  func linearizedTile(lane: Int, tile: Int) -> any PredictorTile { linearized[keepsLinearization ? tile : lane]! }

  /// Evaluates the metric on the dataset, unless the cache holds just that or they can be copied.
  func prepareFactors(_ dataset: Dataset, _ gathered: GatheredFactors? = nil) throws {
    if let gathered, let cache, let table = gathered.table.cache, metric.network != nil {
      cache.gather(metric, dataset, from: table, rows: gathered.rows, workers)
    } else {
      try cache?.fill(metric, dataset, workers, &partials)
    }
  }

  /// Sets the metric's m on the dataset, from the factors that losses then use too where they are kept.
  func updateNormalization(_ dataset: Dataset) throws {
    guard let cache, metric.network != nil else {
      let workers = workers
      return try metric.updateNormalization(rows: dataset.rows, dataset.featureRows) {
        try workers.meanTrace(dataset.featureRows)
      }
    }
    try cache.fill(metric, dataset, workers, &partials)
    let sum = try plan.sum(partials: &partials) { lane, _ in
      plan.rows(ofLane: lane).reduce(0) { $0 + (cache.factors?.trace($1) ?? .nan) }
    }
    let mean = sum / (Double(dataset.rows) * Double(metric.outputs))
    try metric.updateNormalization(rows: dataset.rows, dataset.featureRows) { mean }
    cache.renormalize(metric, dataset, workers)
  }

  /// The factors of a tile's rows; x: their features.
  func factors(lane: Int, rows: Range<Int>, _ x: MatrixView) throws -> MetricFactors {
    if let cache { return cache.factors!.advanced(by: rows.lowerBound) }
    let memory = lanes[lane]
    return try workers.lanes[lane].factors(
      rows: rows.count, BlockedMatrix(x), entries: memory.entries!.base, scales: memory.scales!.base)
  }
}

/// Rows whose factors another memory holds already.
struct GatheredFactors {
  let table: LossMemory
  let rows: Buffer<Int>
}

/// The factors of all rows.
private final class FactorCache {
  fileprivate let entries: Buffer<Double>
  fileprivate let scales: Buffer<Double>
  fileprivate(set) var factors: MetricFactors?
  fileprivate var source: (metricVersion: Int, dataset: Int, datasetVersion: Int)?

  init(_ metric: Metric, rows: Int) throws {
    let count = metric.network == nil ? 1 : rows
    entries = try Buffer(count: try checkedProduct(count, metric.entryCount))
    scales = try Buffer(count: count)
  }

  func fill(
    _ metric: Metric, _ dataset: Dataset, _ workers: MetricWorkers, _ partials: inout GrowingBuffer<Double>
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
    _ metric: Metric, _ dataset: Dataset, from table: FactorCache, rows: Buffer<Int>, _ workers: MetricWorkers
  ) {
    let width = metric.entryCount
    for index in 0..<rows.count {
      (entries.base + index * width).update(from: table.entries.base + rows[index] * width, count: width)
    }
    factors = workers.lanes[0].normalized(
      rows: rows.count, UnsafePointer(entries.base), entryStride: width, scales.base)
    source = (metric.version, dataset.serial, dataset.version)
  }
}

extension FactorCache {
  /// The entries are good, the metric's normalisation has changed.
  fileprivate func renormalize(_ metric: Metric, _ dataset: Dataset, _ workers: MetricWorkers) {
    factors = workers.lanes[0].normalized(
      rows: dataset.rows, UnsafePointer(entries.base), entryStride: metric.entryCount, scales.base)
    source = (metric.version, dataset.serial, dataset.version)
  }
}

/// What one thread works in.
final class LossLane {
  let predictorLane: any PredictorLane
  /// For values and gradients.
  let tile: any PredictorTile
  /// rows x n each.
  let residual: Buffer<Double>
  let weighted: Buffer<Double>
  let tangent: Buffer<Double>
  /// rows x rank, for products with the metric.
  let metricScratch: Buffer<Double>
  /// The rows, where the dataset's are streamed.
  let block = RowBlock()
  /// A tile's factors where they are not cached.
  let entries: Buffer<Double>?
  let scales: Buffer<Double>?

  init(_ predictor: Predictor, _ metric: Metric, rows: Int, ownsFactors: Bool) throws {
    predictorLane = try predictor.makeLane(rows: rows)
    tile = try predictorLane.makeTile(rows: rows, order: .gradient)
    let count = try checkedProduct(rows, predictor.outputs)
    residual = try Buffer(count: count)
    weighted = try Buffer(count: count)
    tangent = try Buffer(count: count)
    metricScratch = try Buffer(count: try checkedProduct(rows, metric.rank))
    entries = ownsFactors ? try Buffer(count: try checkedProduct(rows, metric.entryCount)) : nil
    scales = ownsFactors ? try Buffer(count: rows) : nil
  }
}
