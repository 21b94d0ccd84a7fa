// What is asked of a metric alone: Lambda at given rows, its pull-back, and the regularisation. All of it in float64: none is
// asked often.

extension Metric {
  /// out (rows x n x n) = Lambda(x_i); x is nil for a constant metric.
  func evaluate(rows: Int, _ x: BlockedMatrix?, into out: UnsafeMutablePointer<Double>) throws {
    let square = outputs * outputs
    if network == nil, rows > 0 {
      try MetricEvaluation<Double>(self, rows: 1).forEachBlock(rows: 1, nil) { _, _, factors in factors.form(0, out) }
      for row in 1..<rows { (out + row * square).update(from: out, count: square) }
      return
    }
    try MetricEvaluation<Double>(self, rows: rows).forEachBlock(rows: rows, x) { start, count, factors in
      for row in 0..<count { factors.form(row, out + (start + row) * square) }
    }
  }

  /// out (phi) = sum_i <C_i, dLambda_i/dphi>.
  func pullback(
    rows: Int, _ x: BlockedMatrix?, _ cotangent: MetricCotangent<Double>, into out: UnsafeMutablePointer<Double>
  ) throws {
    // A constant metric doesn't look at its features; any address stands in for them.
    let features = x ?? BlockedMatrix(MatrixView(parameters, rows: rows, columns: 0))
    try MetricWorkers<Double>(self, rows: rows).pullback(features, cotangent, into: out)
  }

  /// b1 mean_i sum_jk |Lambda_i,jk| + b2 mean_i |Lambda_i - I|_F^2, and its gradient in phi where that is asked for.
  func regularizer(
    rows: Int, _ x: BlockedMatrix?, l1 b1: Double, identity b2: Double, gradient: UnsafeMutablePointer<Double>?
  ) throws -> Double {
    // Every row of a constant metric says the same.
    let (count, x) = network == nil ? (1, nil) : (rows, x)
    let square = try checkedProduct(outputs, outputs)
    let evaluation = try MetricEvaluation<Double>(self, rows: count)
    let limit = max(1, min(evaluation.blockRows, count, regularizerElements / square))
    let lambda = try Buffer<Double>(count: try checkedProduct(limit, square))
    let penalty = LambdaPenalty(b1: b1, b2: b2, share: 1 / Double(count))
    // m of batch_trace is a function of phi on all rows, so its part of the gradient takes a pass of its own.
    let followsNormalization =
      try gradient != nil && differentiatesNormalization(rows: rows, x)
    var (value, inner) = (0.0, 0.0)
    try evaluation.forEachBlock(rows: count, x, limit: limit) { _, rows, factors in
      value += penalty.differentiate(rows, factors, into: lambda.base)
      if followsNormalization { evaluation.addInnerProducts(rows, factors, .dense(lambda.base), to: &inner) }
    }
    guard let gradient else { return value }
    gradient.update(repeating: 0, count: parameterCount)
    let traceWeight = followsNormalization ? self.traceWeight(rows: count, sumOfInnerProducts: inner) : 0
    try evaluation.pullback(rows: count, x, limit: limit, traceWeight: traceWeight, gradient: gradient) {
      _, rows, factors in
      _ = penalty.differentiate(rows, factors, into: lambda.base)
      return .dense(lambda.base)
    }
    return value
  }

  /// What the derivative of m = mean tr(A_i)/n adds to each C_i, as a multiple of I, given sum_i <C_i, A_i>.
  func traceWeight(rows: Int, sumOfInnerProducts sum: Double) -> Double {
    -sum / (Double(rows) * Double(outputs) * normalizationScale * normalizationScale)
  }
}

/// Elements of a block of Lambdas, at most, but for one row's.
private let regularizerElements = 1 << 22

/// share (b1 sum_jk |Lambda_jk| + b2 |Lambda - I|^2), summed over rows.
private struct LambdaPenalty {
  let b1: Double
  let b2: Double
  let share: Double

  /// The value for a block of rows; its derivatives in their Lambdas go to `out`, rows x n x n.
  func differentiate(_ rows: Int, _ factors: MetricFactors<Double>, into out: UnsafeMutablePointer<Double>) -> Double {
    let n = factors.outputs
    var value = 0.0
    for row in 0..<rows {
      let lambda = out + row * n * n
      factors.form(row, lambda)
      for index in 0..<(n * n) {
        let entry = lambda[index]
        let excess = entry - (index % (n + 1) == 0 ? 1 : 0)
        value += b1 * abs(entry) + b2 * excess * excess
        lambda[index] = share * (b1 * (entry > 0 ? 1 : entry < 0 ? -1 : 0) + 2 * b2 * excess)
      }
    }
    return share * value
  }
}
