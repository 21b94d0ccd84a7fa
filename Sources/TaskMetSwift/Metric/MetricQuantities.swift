// What is asked of a metric alone: Lambda at given rows, its pull-back, and the regularisation.

extension Metric {
  /// out (rows x n x n) = Lambda(x_i); x is nil for a constant metric.
  func evaluate(rows: Int, _ x: MatrixView?, into out: UnsafeMutablePointer<Double>) throws {
    let square = outputs * outputs
    try MetricEvaluation(self).forEachBlock(rows: rows, x) { start, count, factors in
      for row in 0..<count { factors.form(row, out + (start + row) * square) }
    }
  }

  /// out (phi) = sum_i <C_i, dLambda_i/dphi>.
  func pullback(rows: Int, _ x: MatrixView?, _ cotangent: MetricCotangent, into out: UnsafeMutablePointer<Double>)
    throws
  {
    // A constant metric doesn't look at its features; any address stands in for them.
    let features = x ?? MatrixView(parameters, rows: rows, columns: 0, stride: 0)
    try MetricWorkers(self, rows: rows).pullback(features, cotangent, into: out)
  }

  /// b1 mean_i sum_jk |Lambda_i,jk| + b2 mean_i |Lambda_i - I|_F^2, and its gradient in phi where that is asked for.
  func regularizer(
    rows: Int, _ x: MatrixView?, l1 b1: Double, identity b2: Double, gradient: UnsafeMutablePointer<Double>?
  ) throws -> Double {
    let n = outputs
    let lambda = try Buffer<Double>(count: try checkedProduct(rows, n, n))
    try evaluate(rows: rows, x, into: lambda.base)
    var value = 0.0
    for row in 0..<rows {
      for j in 0..<n {
        for k in 0..<n {
          let index = (row * n + j) * n + k
          let entry = lambda[index]
          let excess = entry - (j == k ? 1 : 0)
          value += b1 * abs(entry) + b2 * excess * excess
          // From here on the cotangent in place of Lambda.
          lambda[index] = (b1 * (entry > 0 ? 1 : entry < 0 ? -1 : 0) + 2 * b2 * excess) / Double(rows)
        }
      }
    }
    if let gradient { try pullback(rows: rows, x, .dense(lambda.base), into: gradient) }
    return value / Double(rows)
  }
}
