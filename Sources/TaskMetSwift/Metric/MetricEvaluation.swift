// Evaluating a metric's factors on many rows, and pulling cotangents of Lambda back to phi, block by block.

import Glibc

/// Rows of one pass through the metric's network: its activations stay in the cache.
let blockRows = 128

/// The memory that one thread needs to evaluate a metric and to pull back through it.
final class MetricEvaluation {
  let metric: Metric
  private let state: NetworkState<Double>?
  private let scratch: NetworkScratch<Double>?
  private let inputs: Buffer<Double>?
  private let entryGradient: Buffer<Double>
  private let rowScratch: Buffer<Double>
  private let scales: Buffer<Double>
  /// The features, where they are streamed.
  private let block = RowBlock()

  init(_ metric: Metric) throws {
    self.metric = metric
    state = try metric.network.map { try NetworkState($0, capacity: blockRows, order: .gradient) }
    scratch = try metric.network.map { try NetworkScratch($0, capacity: blockRows) }
    inputs = metric.network == nil ? nil : try Buffer(count: try checkedProduct(blockRows, metric.inputs))
    entryGradient = try Buffer(count: try checkedProduct(metric.network == nil ? 1 : blockRows, metric.entryCount))
    rowScratch = try Buffer(count: max(2 * metric.rank, try checkedProduct(metric.rank, metric.rank)))
    scales = try Buffer(count: blockRows)
  }

  /// The factors of up to `blockRows` rows, valid until the next call.
  private func evaluateBlock(rows: Int, _ x: MatrixView?) -> MetricFactors {
    var entries = metric.parameters
    if let network = metric.network, let state, let inputs, let x {
      let base: UnsafePointer<Double>
      let stride: Int
      if let standardization = metric.standardization {
        standardization.apply(x, to: inputs.base)
        (base, stride) = (UnsafePointer(inputs.base), x.columns)
      } else if x.stride > Int(Int32.max) {
        x.copy(to: inputs.base)
        (base, stride) = (UnsafePointer(inputs.base), x.columns)
      } else {
        (base, stride) = (x.base, x.stride)
      }
      network.forward(metric.parameters, rows: rows, base, stride: stride, state)
      entries = UnsafePointer(state.outputs)
    }
    let entryStride = metric.network == nil ? 0 : metric.entryCount
    return normalized(rows: rows, entries, entryStride: entryStride, scales.base)
  }

  /// Fills kappa for the rows.
  func normalized(
    rows: Int, _ entries: UnsafePointer<Double>, entryStride: Int, _ scales: UnsafeMutablePointer<Double>
  ) -> MetricFactors {
    // kappa is the same for all rows where neither the factor nor the normalisation depends on the row.
    let perRow = entryStride != 0 && (metric.normalization == .frobenius || metric.normalization == .trace)
    let factors = MetricFactors(
      structure: metric.structure, outputs: metric.outputs, rank: metric.rank, entries: entries,
      entryStride: entryStride, scales: scales, scaleStride: perRow ? 1 : 0, epsilon: metric.epsilon)
    let n = Double(metric.outputs)
    for row in 0..<(perRow ? rows : 1) {
      switch metric.normalization {
      case .none: scales[row] = 1
      case .batchTrace: scales[row] = 1 / metric.normalizationScale
      case .trace: scales[row] = n / factors.trace(row)
      case .frobenius:
        scales[row] = (n / factors.squaredFrobeniusNorm(row, scratch: rowScratch.base)).squareRoot()
      }
    }
    return factors
  }

  /// Calls `body` with the first row, the number of rows (at most `limit`) and the factors of each block.
  func forEachBlock(
    rows: Int, _ x: BlockedMatrix?, limit: Int = blockRows, _ body: (Int, Int, MetricFactors) throws -> Void
  ) throws {
    for start in stride(from: 0, to: rows, by: limit) {
      let count = min(limit, rows - start)
      let features = try x.map { try $0.block(start..<(start + count), in: block) }
      try body(start, count, evaluateBlock(rows: count, features))
    }
  }

  /// The factors of the rows, kept in memory of the caller: rows x entryCount entries and rows scales (one of each for a
  /// constant metric).
  func factors(
    rows: Int, _ x: BlockedMatrix?, entries: UnsafeMutablePointer<Double>, scales: UnsafeMutablePointer<Double>
  ) throws -> MetricFactors {
    guard metric.network != nil else { return normalized(rows: rows, metric.parameters, entryStride: 0, scales) }
    try forEachBlock(rows: rows, x) { start, count, block in
      (entries + start * metric.entryCount).update(from: block.entries, count: count * metric.entryCount)
    }
    return normalized(rows: rows, entries, entryStride: metric.entryCount, scales)
  }

  /// sum_i tr(A_i).
  func sumOfTraces(rows: Int, _ x: BlockedMatrix?) throws -> Double {
    var sum = 0.0
    try forEachBlock(rows: rows, x) { _, count, factors in
      for row in 0..<count { sum += factors.trace(row) }
    }
    return sum
  }

  /// sum_i <C_i, A_i>.
  func sumOfInnerProducts(rows: Int, _ x: BlockedMatrix?, _ cotangent: MetricCotangent) throws -> Double {
    var sum = 0.0
    try forEachBlock(rows: rows, x) { start, count, factors in
      addInnerProducts(count, factors, cotangent.advanced(by: start, outputs: metric.outputs), to: &sum)
    }
    return sum
  }

  /// The same for a block whose factors are known.
  func addInnerProducts(_ rows: Int, _ factors: MetricFactors, _ cotangent: MetricCotangent, to sum: inout Double) {
    for row in 0..<rows { sum += factors.innerProduct(row, cotangent, scratch: rowScratch.base) }
  }

  /// gradient (of phi) += sum_i <C_i, dLambda_i/dphi>. `traceWeight` is what batch_trace adds to each C_i as a multiple of I
  /// when m is differentiated.
  func pullback(
    rows: Int, _ x: BlockedMatrix?, _ cotangent: MetricCotangent, traceWeight: Double,
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
    rows: Int, _ x: BlockedMatrix?, limit: Int = blockRows, traceWeight: Double, gradient: UnsafeMutablePointer<Double>,
    _ cotangent: (Int, Int, MetricFactors) -> MetricCotangent
  ) throws {
    var traces = 0.0
    try forEachBlock(rows: rows, x, limit: limit) { start, count, factors in
      traces += pullbackBlock(count, factors, cotangent(start, count, factors), traceWeight, gradient)
    }
    gradient[metric.parameterCount - 1] += Glibc.exp(metric.parameters[metric.parameterCount - 1]) * traces
  }

  /// sum_i C_i, n x n.
  private func summed(rows: Int, _ cotangent: MetricCotangent) throws -> Buffer<Double> {
    let n = metric.outputs
    let total = try Buffer<Double>(repeating: 0, count: try checkedProduct(n, n))
    switch cotangent {
    case .dense(let c):
      for row in 0..<rows { Double.axpy(n * n, 1, c + row * n * n, total.base) }
    case .rankTwo(let alpha, let u, let e, _):
      // The pull-back sees C + C' only, so sum_i 2 alpha_i u_i e_i' does.
      let weighted = try Buffer<Double>(count: try checkedProduct(rows, n))
      for row in 0..<rows {
        for k in 0..<n { weighted[row * n + k] = 2 * alpha[row] * u[row * n + k] }
      }
      Double.multiply(
        n, n, rows, weighted.base, n, transposeA: true, e, n, transposeB: false, beta: 0, total.base, n)
    }
    return total
  }

  /// Returns the sum of tr C'_i.
  private func pullbackBlock(
    _ rows: Int, _ factors: MetricFactors, _ cotangent: MetricCotangent, _ traceWeight: Double,
    _ gradient: UnsafeMutablePointer<Double>
  ) -> Double {
    let conditional = metric.network != nil
    let target = conditional ? entryGradient.base : gradient
    if conditional { target.update(repeating: 0, count: rows * metric.entryCount) }
    var traces = 0.0
    for row in 0..<rows {
      traces += factors.pullback(
        row, cotangent, normalizedWeights(factors, row, cotangent, traceWeight),
        entryGradient: target + (conditional ? row * metric.entryCount : 0), scratch: rowScratch.base)
    }
    if let network = metric.network, let state, let scratch {
      network.pullback(metric.parameters, state, scratch, cotangent: target, gradient: gradient)
    }
    return traces
  }

  /// C' = kappa C + a A + i I: the derivative of the normalisation, transposed.
  private func normalizedWeights(
    _ factors: MetricFactors, _ row: Int, _ cotangent: MetricCotangent, _ traceWeight: Double
  ) -> NormalizedCotangent {
    let kappa = factors.scale(row)
    switch metric.normalization {
    case .none: return NormalizedCotangent(kappa: kappa)
    case .batchTrace: return NormalizedCotangent(kappa: kappa, i: traceWeight)
    case .trace:
      let inner = factors.innerProduct(row, cotangent, scratch: rowScratch.base)
      return NormalizedCotangent(kappa: kappa, i: -kappa * inner / factors.trace(row))
    case .frobenius:
      let inner = factors.innerProduct(row, cotangent, scratch: rowScratch.base)
      return NormalizedCotangent(kappa: kappa, a: -kappa * inner * kappa * kappa / Double(metric.outputs))
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
