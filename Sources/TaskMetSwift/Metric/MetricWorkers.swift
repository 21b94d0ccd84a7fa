// A metric on all rows of a problem: sums and pull-backs over rows, in lanes.

/// One evaluation memory for each lane of a reduction.
final class MetricWorkers<Scalar: BLASScalar> {
  let metric: Metric
  let plan: RowReduction
  let lanes: [MetricEvaluation<Scalar>]
  private var partials = GrowingBuffer<Double>()

  init(_ metric: Metric, plan: RowReduction) throws {
    self.metric = metric
    self.plan = plan
    lanes = try (0..<plan.laneCount).map { try MetricEvaluation<Scalar>(metric, rows: plan.rows(ofLane: $0).count) }
  }

  /// For rows that belong to no loss.
  convenience init(_ metric: Metric, rows: Int) throws {
    try self.init(
      metric, plan: RowReduction(rows: rows, tileRows: networkTileRows, vectorCount: metric.parameterCount, threads: 1))
  }

  /// mean_i tr(A_i)/n.
  func meanTrace(_ x: BlockedMatrix?) throws -> Double {
    if metric.network == nil { return try lanes[0].sumOfTraces(rows: 1, nil) / Double(metric.outputs) }
    let sum = try plan.sum(partials: &partials) { lane, _ in
      let rows = plan.rows(ofLane: lane)
      return try lanes[lane].sumOfTraces(rows: rows.count, x?.rows(rows))
    }
    return sum / (Double(plan.rows) * Double(metric.outputs))
  }

  /// out (phi's length) = sum_i <C_i, dLambda_i/dphi>, m of batch_trace included where it is a function of phi on these rows.
  func pullback(
    _ x: BlockedMatrix, _ cotangent: MetricCotangent<Scalar>, into out: UnsafeMutablePointer<Double>
  ) throws {
    var traceWeight = 0.0
    if try metric.differentiatesNormalization(rows: plan.rows, x) {
      let sum = try plan.sum(partials: &partials) { lane, _ in
        let rows = plan.rows(ofLane: lane)
        let part = cotangent.advanced(by: rows.lowerBound, outputs: metric.outputs)
        return try part.sumOfInnerProducts(
          rows: rows.count, outputs: metric.outputs, scale: Scalar(1 / metric.normalizationScale))
          ?? lanes[lane].sumOfInnerProducts(rows: rows.count, x.rows(rows), part)
      }
      traceWeight = metric.traceWeight(rows: plan.rows, sumOfInnerProducts: sum)
    }
    try plan.sum(into: out, count: metric.parameterCount, partials: &partials) { lane, partial in
      let rows = plan.rows(ofLane: lane)
      try lanes[lane].pullback(
        rows: rows.count, x.rows(rows), cotangent.advanced(by: rows.lowerBound, outputs: metric.outputs),
        traceWeight: traceWeight, gradient: partial)
      return 0
    }
  }
}
