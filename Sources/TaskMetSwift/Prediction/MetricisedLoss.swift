// The metricised prediction loss and its derivatives in theta:
//
//   L      = (1/N) sum_i s_i e_i' Lambda_i e_i + (rho/2) |theta|^2,   e_i = f_theta(x_i) - y_i
//   grad   = (2/N) sum_i s_i J_i' Lambda_i e_i + rho theta
//   H w    = (2/N) sum_i s_i [ J_i' Lambda_i J_i w + sum_k (Lambda_i e_i)_k (d2 f_k) w ] + rho w
//   G w    = (2/N) sum_i s_i J_i' Lambda_i J_i w + rho w
//
// While a loss exists, phi does not change: the metric is evaluated once.
//
// Tiles are worked on in the arithmetic of the objects' precision; theta, directions and results are float64
// (LinearAlgebra/Precision.swift says why). Each pass is written once, for both, and `switch` chooses.

import Glibc

/// L_pred of one predictor, metric and dataset. theta is an argument: the predictor's own parameters are not looked at.
final class MetricisedLoss {
  let predictor: Predictor
  let metric: Metric
  let dataset: Dataset
  let rho: Double
  let memory: LossMemory
  let parameterCount: Int
  /// Called on this thread before each pass over the data, and where rows are streamed within it; may throw to end the
  /// computation.
  var poll: (() throws -> Void)?
  private let thread = pthread_self()
  private let penalizedRanges: [Range<Int>]
  /// theta of the last `linearize`.
  private var linearizationPoint: Buffer<Double> { memory.linearizationPoint }

  /// `arithmetic`: of the tiles; nil for that of the objects, which then must have the same.
  /// `factors`: where the metric's factors of these rows can be copied from, instead of evaluating the metric.
  convenience init(
    _ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, rho: Double, _ workspace: Workspace,
    arithmetic: Precision? = nil, factors: GatheredFactors? = nil
  ) throws {
    try Self.checkShapes(predictor, metric, dataset)
    if arithmetic == nil { try Self.checkPrecisions(predictor, metric, dataset) }
    try self.init(
      predictor, metric, dataset, rho: rho,
      try workspace.memory(predictor, metric, dataset, arithmetic ?? dataset.precision), factors)
  }

  private init(
    _ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, rho: Double, _ memory: LossMemory,
    _ factors: GatheredFactors? = nil
  ) throws {
    self.predictor = predictor
    self.metric = metric
    self.dataset = dataset
    self.rho = rho
    parameterCount = predictor.parameterCount
    self.memory = memory
    var start = 0
    penalizedRanges =
      predictor.unpenalizedRanges.map { range in
        defer { start = range.upperBound }
        return start..<range.lowerBound
      } + [start..<predictor.parameterCount]
    try memory.prepareFactors(dataset, factors)
  }

  /// The same loss in float64 arithmetic, on the widened numbers.
  func widened() throws -> MetricisedLoss {
    if memory.arithmetic == .float64 { return self }
    let wide = try MetricisedLoss(predictor, metric, dataset, rho: rho, try memory.widened(dataset))
    wide.poll = poll
    return wide
  }

  /// One loss, one arithmetic: what is converted, and when, is for the caller to say.
  static func checkPrecisions(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset) throws {
    let precision = predictor.precision
    for (name, other) in [("metric", metric.precision), ("dataset", dataset.precision)] where other != precision {
      throw TaskMetError.invalidArgument(
        "\(name): its precision must be the predictor's, \(precision.name), is \(other.name)")
    }
  }

  static func checkShapes(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset) throws {
    if predictor.inputs != dataset.features {
      throw TaskMetError.shape(
        "dataset: predictor has \(predictor.inputs) inputs, dataset has \(dataset.features) features")
    }
    if predictor.outputs != dataset.targets {
      throw TaskMetError.shape(
        "dataset: predictor has \(predictor.outputs) outputs, dataset has \(dataset.targets) targets")
    }
    if metric.outputs != predictor.outputs {
      throw TaskMetError.shape(
        "metric: metric has \(metric.outputs) outputs, predictor has \(predictor.outputs) outputs")
    }
    if metric.network != nil, metric.inputs != dataset.features {
      throw TaskMetError.shape(
        "metric: metric has \(metric.inputs) inputs, dataset has \(dataset.features) features")
    }
  }
}

// MARK: - Tiles

extension MetricisedLoss {
  /// A tile's rows, and their metric.
  struct TileRows<Scalar: BLASScalar> {
    let tile: Int
    let rows: Range<Int>
    let x: MatrixView
    let y: MatrixView
    let factors: MetricFactors<Scalar>
  }

  private var plan: RowReduction { memory.plan }

  @inline(__always)
  private func forEachTile<Scalar>(
    _ tiles: TileMemory<Scalar>, _ lane: Int, _ body: (TileRows<Scalar>) throws -> Void
  ) throws {
    let end = plan.rows(ofLane: lane).upperBound
    for tile in plan.tiles(ofLane: lane) {
      let rows = plan.rows(ofTile: tile)
      if dataset.isStreamed, pthread_equal(thread, pthread_self()) != 0 { try poll?() }
      let block = try dataset.block(rows, until: end, in: tiles.lanes[lane].block)
      try body(
        TileRows(
          tile: tile, rows: rows, x: block.x, y: block.y,
          factors: try tiles.factors(lane: lane, rows: rows, block.x)))
    }
  }

  /// The same for products at the point of `linearize`, whose tiles keep their rows where they are kept themselves: then y is
  /// not looked at, and nothing is read.
  @inline(__always)
  private func forEachLinearizedTile<Scalar>(
    _ tiles: TileMemory<Scalar>, _ lane: Int, _ theta: UnsafePointer<Scalar>,
    _ body: (TileRows<Scalar>, any PredictorTile<Scalar>) throws -> Void
  ) throws {
    guard tiles.keepsLinearization else {
      return try forEachTile(tiles, lane) { rows in
        try linearize(tiles, rows, lane: lane, theta)
        try body(rows, tiles.linearizedTile(lane: lane, tile: rows.tile))
      }
    }
    for tile in plan.tiles(ofLane: lane) {
      let rows = plan.rows(ofTile: tile)
      let x = tiles.keptInputs(tile: tile) ?? dataset.featureRows.inMemory!.rows(rows)
      let factors = try tiles.factors(lane: lane, rows: rows, x)
      try body(
        TileRows(tile: tile, rows: rows, x: x, y: x, factors: factors),
        tiles.linearizedTile(lane: lane, tile: tile))
    }
  }

  /// out = (2/N) s_i Lambda_i a_i for each row of the tile.
  private func applyMetric<Scalar>(
    _ rows: TileRows<Scalar>, _ lane: LossLane<Scalar>, _ a: UnsafePointer<Scalar>,
    _ out: UnsafeMutablePointer<Scalar>
  ) {
    let n = predictor.outputs
    rows.factors.apply(rows: rows.rows.count, a, out, scratch: lane.metricScratch.base)
    let share = 2 / Double(dataset.rows)
    if let weights = dataset.weights {
      for (index, row) in rows.rows.enumerated() {
        let weight = Scalar(share * weights[row])
        for k in 0..<n { out[index * n + k] *= weight }
      }
    } else {
      let share = Scalar(share)
      for index in 0..<(rows.rows.count * n) { out[index] *= share }
    }
  }

  /// e = predictions - y in the lane's residual, (2/N) s Lambda e in its weighted; returns the tile's part of the loss.
  private func weighResidual<Scalar>(
    _ rows: TileRows<Scalar>, _ lane: LossLane<Scalar>, _ predictions: UnsafePointer<Scalar>
  ) -> Double {
    let count = rows.rows.count * predictor.outputs
    let residual = lane.residual.base
    rows.y.copy(to: residual)
    for index in 0..<count { residual[index] = predictions[index] - residual[index] }
    applyMetric(rows, lane, residual, lane.weighted.base)
    return wideDot(count, residual, lane.weighted.base) / 2
  }
}

// MARK: - Value and derivatives

extension MetricisedLoss {
  /// L_pred, and its gradient where that is asked for.
  func evaluate(_ theta: UnsafePointer<Double>, gradient: UnsafeMutablePointer<Double>? = nil) throws -> Double {
    try poll?()
    let value =
      switch memory.tiles {
      case .float64(let tiles): try evaluate(tiles, theta, gradient)
      case .float32(let tiles): try evaluate(tiles, theta, gradient)
      }
    if let gradient { addPenalty(rho, theta, to: gradient) }
    return value + penalty(theta)
  }

  private func evaluate<Scalar>(
    _ tiles: TileMemory<Scalar>, _ theta: UnsafePointer<Double>, _ gradient: UnsafeMutablePointer<Double>?
  ) throws -> Double {
    let theta = tiles.theta(parameterCount, theta)
    return try plan.sum(into: gradient, count: parameterCount, partials: &memory.partials) { index, partial in
      let lane = tiles.lanes[index]
      var sum = 0.0
      try forEachTile(tiles, index) { rows in
        sum += weighResidual(rows, lane, try lane.tile.forward(theta, rows.x))
        if gradient == nil { return }
        try lane.gradient.add(parameterCount, to: partial) {
          try lane.tile.pullback(theta, cotangent: lane.weighted.base, gradient: $0)
        }
      }
      return sum
    }
  }

  /// (rho/2) |theta|^2.
  func penalty(_ theta: UnsafePointer<Double>) -> Double {
    if rho == 0 { return 0 }
    return penalizedRanges.reduce(0) {
      $0 + rho / 2 * Double.dot($1.count, theta + $1.lowerBound, theta + $1.lowerBound)
    }
  }

  /// out += weight w on the penalised parameters.
  func addPenalty(_ weight: Double, _ w: UnsafePointer<Double>, to out: UnsafeMutablePointer<Double>) {
    if weight == 0 { return }
    for range in penalizedRanges { Double.axpy(range.count, weight, w + range.lowerBound, out + range.lowerBound) }
  }

  /// Fixes the theta of the products below. Where memory allows, the tiles keep their activations until the next call.
  func linearize(_ theta: UnsafePointer<Double>) throws {
    linearizationPoint.base.update(from: theta, count: parameterCount)
    switch memory.tiles {
    case .float64(let tiles): try linearize(tiles)
    case .float32(let tiles): try linearize(tiles)
    }
  }

  private func linearize<Scalar>(_ tiles: TileMemory<Scalar>) throws {
    guard tiles.keepsLinearization else { return }
    let theta = tiles.theta(parameterCount, linearizationPoint.base)
    try plan.sum(partials: &memory.partials) { index, _ in
      try forEachTile(tiles, index) { try linearize(tiles, $0, lane: index, theta) }
      return 0
    }
  }

  private func linearize<Scalar>(
    _ tiles: TileMemory<Scalar>, _ rows: TileRows<Scalar>, lane index: Int, _ theta: UnsafePointer<Scalar>
  ) throws {
    let tile = tiles.linearizedTile(lane: index, tile: rows.tile)
    let lane = tiles.lanes[index]
    _ = weighResidual(rows, lane, try tile.forward(theta, tiles.keepInputs(rows.x, tile: rows.tile)))
    if !predictor.hasNoCurvature { try tile.keep(theta, cotangent: lane.weighted.base) }
  }

  /// out = H w, or G w, at the point of `linearize`.
  func hessianProduct(
    _ w: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>, gaussNewton: Bool = false
  ) throws {
    try poll?()
    let firstOrder = gaussNewton || predictor.hasNoCurvature
    switch memory.tiles {
    case .float64(let tiles): try hessianProduct(tiles, w, into: out, firstOrder: firstOrder)
    case .float32(let tiles): try hessianProduct(tiles, w, into: out, firstOrder: firstOrder)
    }
    addPenalty(rho, w, to: out)
  }

  private func hessianProduct<Scalar>(
    _ tiles: TileMemory<Scalar>, _ w: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>, firstOrder: Bool
  ) throws {
    let theta = tiles.theta(parameterCount, linearizationPoint.base)
    let scale = scaleForRange(parameterCount, w, Scalar.self)
    let w = tiles.direction(parameterCount, w, scale: scale)
    try plan.sum(into: out, count: parameterCount, partials: &memory.partials) { index, partial in
      let lane = tiles.lanes[index]
      try forEachLinearizedTile(tiles, index, theta) { rows, tile in
        try tile.pushforward(theta, direction: w, lane.tangent.base)
        applyMetric(rows, lane, lane.tangent.base, lane.weighted.base)
        try lane.gradient.add(parameterCount, to: partial) { gradient in
          if firstOrder {
            try tile.pullback(theta, cotangent: lane.weighted.base, gradient: gradient)
          } else {
            try tile.secondOrderPullback(theta, direction: w, cotangent: lane.weighted.base, gradient: gradient)
          }
        }
      }
      return 0
    }
    if scale != 1 { Double.scale(parameterCount, 1 / scale, out) }
  }

  /// out = sum_i J_i' c_i at the point of `linearize`; c: N x n.
  func pullback(_ c: MatrixView, into out: UnsafeMutablePointer<Double>) throws {
    switch memory.tiles {
    case .float64(let tiles): try pullback(tiles, c, into: out)
    case .float32(let tiles): try pullback(tiles, c, into: out)
    }
  }

  private func pullback<Scalar>(
    _ tiles: TileMemory<Scalar>, _ c: MatrixView, into out: UnsafeMutablePointer<Double>
  ) throws {
    let theta = tiles.theta(parameterCount, linearizationPoint.base)
    try plan.sum(into: out, count: parameterCount, partials: &memory.partials) { index, partial in
      let lane = tiles.lanes[index]
      try forEachLinearizedTile(tiles, index, theta) { rows, tile in
        c.rows(rows.rows).copy(to: lane.tangent.base)
        try lane.gradient.add(parameterCount, to: partial) {
          try tile.pullback(theta, cotangent: lane.tangent.base, gradient: $0)
        }
      }
      return 0
    }
  }

  /// out (phi) = -d/dphi [ (2/N) sum_i s_i (J_i v)' Lambda_i e_i ] at the point of `linearize`: the pull-back of
  /// C_i = -(1/N) s_i (u_i e_i' + e_i u_i'), u_i = J_i v.
  func crossProduct(_ v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) throws {
    switch memory.tiles {
    case .float64(let tiles): try crossProduct(tiles, v, into: out)
    case .float32(let tiles): try crossProduct(tiles, v, into: out)
    }
  }

  private func crossProduct<Scalar>(
    _ tiles: TileMemory<Scalar>, _ v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
  ) throws {
    let n = predictor.outputs
    let theta = tiles.theta(parameterCount, linearizationPoint.base)
    let scale = scaleForRange(parameterCount, v, Scalar.self)
    let v = tiles.direction(parameterCount, v, scale: scale)
    let entries = try checkedProduct(dataset.rows, n)
    let u = try Buffer<Scalar>(count: entries)
    let e = try Buffer<Scalar>(count: entries)
    let lambdaE = try Buffer<Scalar>(count: entries)
    let alpha = try Buffer<Scalar>(count: dataset.rows)
    let share = -1 / Double(dataset.rows)
    for row in 0..<dataset.rows { alpha[row] = Scalar(share * (dataset.weights?[row] ?? 1)) }
    try plan.sum(partials: &memory.partials) { index, _ in
      let lane = tiles.lanes[index]
      try forEachTile(tiles, index) { rows in
        let (start, count) = (rows.rows.lowerBound * n, rows.rows.count * n)
        let predictions = try lane.tile.forward(theta, rows.x)
        _ = weighResidual(rows, lane, predictions)
        (e.base + start).update(from: lane.residual.base, count: count)
        rows.factors.apply(
          rows: rows.rows.count, e.base + start, lambdaE.base + start, scratch: lane.metricScratch.base)
        try lane.tile.pushforward(theta, direction: v, u.base + start)
      }
      return 0
    }
    try tiles.workers.pullback(
      dataset.featureRows, .rankTwo(alpha: alpha.base, u: u.base, e: e.base, lambdaE: lambdaE.base), into: out)
    if scale != 1 { Double.scale(metric.parameterCount, 1 / scale, out) }
  }
}
