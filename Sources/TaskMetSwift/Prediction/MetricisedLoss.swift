// The metricised prediction loss and its derivatives in theta:
//
//   L      = (1/N) sum_i s_i e_i' Lambda_i e_i + (rho/2) |theta|^2,   e_i = f_theta(x_i) - y_i
//   grad   = (2/N) sum_i s_i J_i' Lambda_i e_i + rho theta
//   H w    = (2/N) sum_i s_i [ J_i' Lambda_i J_i w + sum_k (Lambda_i e_i)_k (d2 f_k) w ] + rho w
//   G w    = (2/N) sum_i s_i J_i' Lambda_i J_i w + rho w
//
// While a loss exists, phi does not change: the metric is evaluated once.

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

  /// `factors`: where the metric's factors of these rows can be copied from, instead of evaluating the metric.
  init(
    _ predictor: Predictor, _ metric: Metric, _ dataset: Dataset, rho: Double, _ workspace: Workspace,
    factors: GatheredFactors? = nil
  ) throws {
    try Self.checkShapes(predictor, metric, dataset)
    self.predictor = predictor
    self.metric = metric
    self.dataset = dataset
    self.rho = rho
    parameterCount = predictor.parameterCount
    memory = try workspace.memory(predictor, metric, dataset)
    var start = 0
    penalizedRanges =
      predictor.unpenalizedRanges.map { range in
        defer { start = range.upperBound }
        return start..<range.lowerBound
      } + [start..<predictor.parameterCount]
    try memory.prepareFactors(dataset, factors)
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
  struct TileRows {
    let tile: Int
    let rows: Range<Int>
    let x: MatrixView
    let y: MatrixView
    let factors: MetricFactors
  }

  private var plan: RowReduction { memory.plan }

  private func forEachTile(_ lane: Int, _ body: (TileRows) throws -> Void) throws {
    let end = plan.rows(ofLane: lane).upperBound
    for tile in plan.tiles(ofLane: lane) {
      let rows = plan.rows(ofTile: tile)
      if dataset.isStreamed, pthread_equal(thread, pthread_self()) != 0 { try poll?() }
      let block = try dataset.block(rows, until: end, in: memory.lanes[lane].block)
      try body(
        TileRows(
          tile: tile, rows: rows, x: block.x, y: block.y,
          factors: try memory.factors(lane: lane, rows: rows, block.x)))
    }
  }

  /// The same for products at the point of `linearize`, whose tiles keep their rows where they are kept themselves: then y is
  /// not looked at, and nothing is read.
  private func forEachLinearizedTile(
    _ lane: Int, _ body: (TileRows, any PredictorTile) throws -> Void
  ) throws {
    guard memory.keepsLinearization else {
      return try forEachTile(lane) { rows in
        try linearize(rows, lane: lane)
        try body(rows, memory.linearizedTile(lane: lane, tile: rows.tile))
      }
    }
    for tile in plan.tiles(ofLane: lane) {
      let rows = plan.rows(ofTile: tile)
      let x = memory.keptInputs(tile: tile) ?? dataset.featureRows.inMemory!.rows(rows)
      let factors = try memory.factors(lane: lane, rows: rows, x)
      try body(
        TileRows(tile: tile, rows: rows, x: x, y: x, factors: factors),
        memory.linearizedTile(lane: lane, tile: tile))
    }
  }

  /// out = (2/N) s_i Lambda_i a_i for each row of the tile.
  private func applyMetric(
    _ rows: TileRows, _ lane: LossLane, _ a: UnsafePointer<Double>, _ out: UnsafeMutablePointer<Double>
  ) {
    let n = predictor.outputs
    rows.factors.apply(rows: rows.rows.count, a, out, scratch: lane.metricScratch.base)
    let share = 2 / Double(dataset.rows)
    if let weights = dataset.weights {
      for (index, row) in rows.rows.enumerated() {
        let weight = share * weights[row]
        for k in 0..<n { out[index * n + k] *= weight }
      }
    } else {
      for index in 0..<(rows.rows.count * n) { out[index] *= share }
    }
  }

  /// e = predictions - y in the lane's residual, (2/N) s Lambda e in its weighted; returns the tile's part of the loss.
  private func weighResidual(_ rows: TileRows, _ lane: LossLane, _ predictions: UnsafePointer<Double>) -> Double {
    let n = predictor.outputs
    let residual = lane.residual.base
    for index in 0..<rows.rows.count {
      let y = rows.y.row(index)
      for k in 0..<n { residual[index * n + k] = predictions[index * n + k] - y[k] }
    }
    applyMetric(rows, lane, residual, lane.weighted.base)
    return shortDot(rows.rows.count * n, residual, lane.weighted.base) / 2
  }
}

// MARK: - Value and derivatives

extension MetricisedLoss {
  /// L_pred, and its gradient where that is asked for.
  func evaluate(_ theta: UnsafePointer<Double>, gradient: UnsafeMutablePointer<Double>? = nil) throws -> Double {
    try poll?()
    let value = try plan.sum(into: gradient, count: parameterCount, partials: &memory.partials) { index, partial in
      let lane = memory.lanes[index]
      var sum = 0.0
      try forEachTile(index) { rows in
        sum += weighResidual(rows, lane, try lane.tile.forward(theta, rows.x))
        if gradient != nil { try lane.tile.pullback(theta, cotangent: lane.weighted.base, gradient: partial) }
      }
      return sum
    }
    if let gradient { addPenalty(rho, theta, to: gradient) }
    return value + penalty(theta)
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
    guard memory.keepsLinearization else { return }
    try plan.sum(partials: &memory.partials) { index, _ in
      try forEachTile(index) { try linearize($0, lane: index) }
      return 0
    }
  }

  private func linearize(_ rows: TileRows, lane index: Int) throws {
    let tile = memory.linearizedTile(lane: index, tile: rows.tile)
    let lane = memory.lanes[index]
    let theta = UnsafePointer(linearizationPoint.base)
    _ = weighResidual(rows, lane, try tile.forward(theta, memory.keepInputs(rows.x, tile: rows.tile)))
    if !predictor.hasNoCurvature { try tile.keep(theta, cotangent: lane.weighted.base) }
  }

  /// out = H w, or G w, at the point of `linearize`.
  func hessianProduct(
    _ w: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>, gaussNewton: Bool = false
  ) throws {
    let theta = UnsafePointer(linearizationPoint.base)
    let firstOrder = gaussNewton || predictor.hasNoCurvature
    try poll?()
    try plan.sum(into: out, count: parameterCount, partials: &memory.partials) { index, partial in
      let lane = memory.lanes[index]
      try forEachLinearizedTile(index) { rows, tile in
        try tile.pushforward(theta, direction: w, lane.tangent.base)
        applyMetric(rows, lane, lane.tangent.base, lane.weighted.base)
        if firstOrder {
          try tile.pullback(theta, cotangent: lane.weighted.base, gradient: partial)
        } else {
          try tile.secondOrderPullback(theta, direction: w, cotangent: lane.weighted.base, gradient: partial)
        }
      }
      return 0
    }
    addPenalty(rho, w, to: out)
  }

  /// out = sum_i J_i' c_i at the point of `linearize`; c: N x n.
  func pullback(_ c: MatrixView, into out: UnsafeMutablePointer<Double>) throws {
    let theta = UnsafePointer(linearizationPoint.base)
    try plan.sum(into: out, count: parameterCount, partials: &memory.partials) { index, partial in
      let lane = memory.lanes[index]
      try forEachLinearizedTile(index) { rows, tile in
        c.rows(rows.rows).copy(to: lane.tangent.base)
        try tile.pullback(theta, cotangent: lane.tangent.base, gradient: partial)
      }
      return 0
    }
  }

  /// out (phi) = -d/dphi [ (2/N) sum_i s_i (J_i v)' Lambda_i e_i ] at the point of `linearize`: the pull-back of
  /// C_i = -(1/N) s_i (u_i e_i' + e_i u_i'), u_i = J_i v.
  func crossProduct(_ v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) throws {
    let (n, theta) = (predictor.outputs, UnsafePointer(linearizationPoint.base))
    let entries = try checkedProduct(dataset.rows, n)
    let u = try Buffer<Double>(count: entries)
    let e = try Buffer<Double>(count: entries)
    let lambdaE = try Buffer<Double>(count: entries)
    let alpha = try Buffer<Double>(repeating: -1 / Double(dataset.rows), count: dataset.rows)
    if let weights = dataset.weights { multiplyElements(dataset.rows, alpha.base, by: weights.base) }
    try plan.sum(partials: &memory.partials) { index, _ in
      let lane = memory.lanes[index]
      try forEachTile(index) { rows in
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
    try memory.workers.pullback(
      dataset.featureRows, .rankTwo(alpha: alpha.base, u: u.base, e: e.base, lambdaE: lambdaE.base), into: out)
  }
}
