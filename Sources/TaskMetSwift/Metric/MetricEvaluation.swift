// Evaluating a metric's factors on many rows, and pulling cotangents of Lambda back to phi, block by block.

import Glibc

/// Entries of a row's factor with which a pass takes a tile's rows: 16 MiB for all of them.
private let largestEntryCount = 1 << 14

/// The memory that one thread needs to evaluate a metric and to pull back through it, in a precision that need not be the
/// metric's own: what is asked of a metric alone is answered in float64.
final class MetricEvaluation<Scalar: BLASScalar> {
  let metric: Metric
  /// Rows of one pass through the metric's network: many, since its weights, which may be far more than the rows, are read
  /// once for each pass.
  let blockRows: Int
  private let state: NetworkState<Scalar>?
  private let scratch: NetworkScratch<Scalar>?
  private let inputs: Buffer<Scalar>?
  private let entryGradient: Buffer<Scalar>
  private let rowScratch: Buffer<Scalar>
  private let scales: Buffer<Scalar>
  private let phi: TileVector<Scalar>
  /// Of entries, or of the network's parameters.
  private let sum: TileSum<Scalar>
  /// The features, where they are streamed.
  private let block = RowBlock()

  /// `rows`: how many there are; more are taken in several passes.
  init(_ metric: Metric, rows: Int) throws {
    self.metric = metric
    let most = metric.entryCount <= largestEntryCount ? networkTileRows : networkTileRows / 4
    let blockRows = max(1, min(rows, most))
    self.blockRows = blockRows
    state = try metric.network.map { try NetworkState($0, capacity: blockRows, order: .gradient) }
    scratch = try metric.network.map { try NetworkScratch($0, capacity: blockRows) }
    inputs = metric.network == nil ? nil : try Buffer(count: try checkedProduct(blockRows, metric.inputs))
    entryGradient = try Buffer(count: try checkedProduct(metric.network == nil ? 1 : blockRows, metric.entryCount))
    rowScratch = try Buffer(
      count: max(try checkedProduct(metric.rank, metric.rank), try checkedProduct(cotangentRows, metric.outputs)))
    scales = try Buffer(count: blockRows)
    phi = try TileVector(count: metric.parameterCount)
    sum = try TileSum(count: metric.parameterCount)
  }

  /// The factors of up to `blockRows` rows, valid until the next call.
  private func evaluateBlock(rows: Int, _ x: MatrixView?, derivatives: Bool) -> MetricFactors<Scalar> {
    let phi = phi(metric.parameterCount, metric.parameters)
    var entries = phi
    if let network = metric.network, let state, let inputs, let x {
      var (base, stride) = (UnsafePointer(inputs.base), x.columns)
      if let standardization = metric.standardization {
        standardization.apply(x, to: inputs.base)
      } else if let elements = x.elements(as: Scalar.self), x.stride <= Int(Int32.max) {
        (base, stride) = (elements, x.stride)
      } else {
        x.copy(to: inputs.base)
      }
      network.forward(phi, rows: rows, base, stride: stride, state, derivatives: derivatives)
      entries = UnsafePointer(state.outputs)
    }
    let entryStride = metric.network == nil ? 0 : metric.entryCount
    return normalized(rows: rows, entries, entryStride: entryStride, scales.base)
  }

  /// Fills kappa for the rows.
  func normalized(
    rows: Int, _ entries: UnsafePointer<Scalar>, entryStride: Int, _ scales: UnsafeMutablePointer<Scalar>
  ) -> MetricFactors<Scalar> {
    // kappa is the same for all rows where neither the factor nor the normalisation depends on the row.
    let perRow = entryStride != 0 && (metric.normalization == .frobenius || metric.normalization == .trace)
    let factors = MetricFactors(
      structure: metric.structure, outputs: metric.outputs, rank: metric.rank, entries: entries,
      entryStride: entryStride, scales: scales, scaleStride: perRow ? 1 : 0, epsilon: Scalar(metric.epsilon))
    let n = Scalar(metric.outputs)
    for row in 0..<(perRow ? rows : 1) {
      switch metric.normalization {
      case .none: scales[row] = 1
      case .batchTrace: scales[row] = Scalar(1 / metric.normalizationScale)
      case .trace: scales[row] = n / factors.trace(row)
      case .frobenius:
        scales[row] = (n / factors.squaredFrobeniusNorm(row, scratch: rowScratch.base)).squareRoot()
      }
    }
    return factors
  }

  /// Calls `body` with the first row, the number of rows (at most `limit`) and the factors of each block; a pull-back through
  /// the block needs its derivatives.
  func forEachBlock(
    rows: Int, _ x: BlockedMatrix?, limit: Int = .max, derivatives: Bool = false,
    _ body: (Int, Int, MetricFactors<Scalar>) throws -> Void
  ) throws {
    let limit = min(limit, blockRows)
    for start in stride(from: 0, to: rows, by: limit) {
      let count = min(limit, rows - start)
      let features = try x.map { try $0.block(start..<(start + count), in: block) }
      try body(start, count, evaluateBlock(rows: count, features, derivatives: derivatives))
    }
  }

  /// The factors of the rows, kept in memory of the caller: rows x entryCount entries and rows scales (one of each for a
  /// constant metric).
  func factors(
    rows: Int, _ x: BlockedMatrix?, entries: UnsafeMutablePointer<Scalar>, scales: UnsafeMutablePointer<Scalar>
  ) throws -> MetricFactors<Scalar> {
    guard metric.network != nil else {
      // A copy, since what is narrowed for one call is gone with the next.
      entries.update(from: phi(metric.parameterCount, metric.parameters), count: metric.entryCount)
      return normalized(rows: rows, entries, entryStride: 0, scales)
    }
    try forEachBlock(rows: rows, x) { start, count, block in
      (entries + start * metric.entryCount).update(from: block.entries, count: count * metric.entryCount)
    }
    return normalized(rows: rows, entries, entryStride: metric.entryCount, scales)
  }

  /// sum_i tr(A_i).
  func sumOfTraces(rows: Int, _ x: BlockedMatrix?) throws -> Double {
    var sum = 0.0
    try forEachBlock(rows: rows, x) { _, count, factors in
      for row in 0..<count { sum += Double(factors.trace(row)) }
    }
    return sum
  }

  /// sum_i <C_i, A_i>.
  func sumOfInnerProducts(rows: Int, _ x: BlockedMatrix?, _ cotangent: MetricCotangent<Scalar>) throws -> Double {
    var sum = 0.0
    try forEachBlock(rows: rows, x) { start, count, factors in
      addInnerProducts(count, factors, cotangent.advanced(by: start, outputs: metric.outputs), to: &sum)
    }
    return sum
  }

  /// The same for a block whose factors are known.
  func addInnerProducts(
    _ rows: Int, _ factors: MetricFactors<Scalar>, _ cotangent: MetricCotangent<Scalar>, to sum: inout Double
  ) {
    for row in 0..<rows { sum += Double(factors.innerProduct(row, cotangent, scratch: rowScratch.base)) }
  }

  /// gradient (of phi) += sum_i <C_i, dLambda_i/dphi>. `traceWeight` is what batch_trace adds to each C_i as a multiple of I
  /// when m is differentiated.
  func pullback(
    rows: Int, _ x: BlockedMatrix?, _ cotangent: MetricCotangent<Scalar>, traceWeight: Double,
    gradient: UnsafeMutablePointer<Double>
  ) throws {
    if metric.network == nil, rows > 1, metric.structure == .full {
      // One factor for all rows: their cotangents add up to one, and so do the multiples of I.
      let total = try summed(rows: rows, cotangent)
      return try pullback(
        rows: 1, x, .dense(total.base), traceWeight: traceWeight * Double(rows), gradient: gradient)
    }
    try pullback(rows: rows, x, traceWeight: traceWeight, gradient: gradient) { start, _, _ in
      cotangent.advanced(by: start, outputs: metric.outputs)
    }
  }

  /// The same with each block's cotangents when it comes to the block, from its first row, its number of rows and its factors.
  func pullback(
    rows: Int, _ x: BlockedMatrix?, limit: Int = .max, traceWeight: Double, gradient: UnsafeMutablePointer<Double>,
    _ cotangent: (Int, Int, MetricFactors<Scalar>) -> MetricCotangent<Scalar>
  ) throws {
    var traces = 0.0
    try forEachBlock(rows: rows, x, limit: limit, derivatives: true) { start, count, factors in
      traces += pullbackBlock(count, factors, cotangent(start, count, factors), traceWeight, gradient)
    }
    gradient[metric.parameterCount - 1] += Glibc.exp(metric.parameters[metric.parameterCount - 1]) * traces
  }

  /// sum_i C_i, n x n.
  private func summed(rows: Int, _ cotangent: MetricCotangent<Scalar>) throws -> Buffer<Scalar> {
    let n = metric.outputs
    let total = try Buffer<Double>(repeating: 0, count: try checkedProduct(n, n))
    let weighted = try Buffer<Scalar>(count: try checkedProduct(blockRows, n))
    for start in stride(from: 0, to: rows, by: blockRows) {
      let count = min(blockRows, rows - start)
      sum.add(n * n, to: total.base) { total in
        switch cotangent.advanced(by: start, outputs: n) {
        case .dense(let c):
          for row in 0..<count { Scalar.axpy(n * n, 1, c + row * n * n, total) }
        case .rankTwo(let alpha, let u, let e, _):
          // The pull-back sees C + C' only, so sum_i 2 alpha_i u_i e_i' does.
          for row in 0..<count {
            for k in 0..<n { weighted[row * n + k] = 2 * alpha[row] * u[row * n + k] }
          }
          Scalar.multiply(
            n, n, count, weighted.base, n, transposeA: true, e, n, transposeB: false, beta: 1, total, n)
        }
      }
    }
    let result = try Buffer<Scalar>(count: total.count)
    convert(total.count, UnsafePointer(total.base), to: result.base)
    return result
  }

  /// Returns the sum of tr C'_i.
  private func pullbackBlock(
    _ rows: Int, _ factors: MetricFactors<Scalar>, _ cotangent: MetricCotangent<Scalar>, _ traceWeight: Double,
    _ gradient: UnsafeMutablePointer<Double>
  ) -> Double {
    guard let network = metric.network, let state, let scratch else {
      var traces = 0.0
      sum.add(metric.entryCount, to: gradient) {
        traces = pullbackRows(rows, factors, cotangent, traceWeight, $0, stride: 0)
      }
      return traces
    }
    let entryGradient = entryGradient.base
    entryGradient.update(repeating: 0, count: rows * metric.entryCount)
    let traces = pullbackRows(rows, factors, cotangent, traceWeight, entryGradient, stride: metric.entryCount)
    let phi = phi(metric.parameterCount, metric.parameters)
    sum.add(network.parameterCount, to: gradient) {
      network.pullback(phi, state, scratch, cotangent: entryGradient, gradient: $0)
    }
    return traces
  }

  /// Adds each row's gradient of its entries to memory a stride after that of the row before.
  private func pullbackRows(
    _ rows: Int, _ factors: MetricFactors<Scalar>, _ cotangent: MetricCotangent<Scalar>, _ traceWeight: Double,
    _ entryGradient: UnsafeMutablePointer<Scalar>, stride: Int
  ) -> Double {
    var traces = 0.0
    for row in 0..<rows {
      traces += Double(
        factors.pullback(
          row, cotangent, normalizedWeights(factors, row, cotangent, traceWeight),
          entryGradient: entryGradient + row * stride, scratch: rowScratch.base))
    }
    return traces
  }

  /// C' = kappa C + a A + i I: the derivative of the normalisation, transposed.
  private func normalizedWeights(
    _ factors: MetricFactors<Scalar>, _ row: Int, _ cotangent: MetricCotangent<Scalar>, _ traceWeight: Double
  ) -> NormalizedCotangent<Scalar> {
    let kappa = factors.scale(row)
    switch metric.normalization {
    case .none: return NormalizedCotangent(kappa: kappa)
    case .batchTrace: return NormalizedCotangent(kappa: kappa, i: Scalar(traceWeight))
    case .trace:
      let inner = factors.innerProduct(row, cotangent, scratch: rowScratch.base)
      return NormalizedCotangent(kappa: kappa, i: -kappa * inner / factors.trace(row))
    case .frobenius:
      let inner = factors.innerProduct(row, cotangent, scratch: rowScratch.base)
      return NormalizedCotangent(kappa: kappa, a: -kappa * inner * kappa * kappa / Scalar(metric.outputs))
    }
  }
}

extension MetricCotangent {
  /// The cotangents from a row on.
  func advanced(by rows: Int, outputs n: Int) -> MetricCotangent {
    switch self {
    case .rankTwo(let alpha, let u, let e, let lambdaE):
      .rankTwo(alpha: alpha + rows, u: u + rows * n, e: e + rows * n, lambdaE: lambdaE + rows * n)
    case .dense(let c): .dense(c + rows * n * n)
    }
  }
}
