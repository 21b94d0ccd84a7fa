// Affine rescaling of columns: (x - mean) / scale.

/// Means and scales, one for each column.
struct Standardization {
  let mean: Buffer<Double>
  let scale: Buffer<Double>

  var columns: Int { mean.count }

  /// out (contiguous) = (x - mean) / scale.
  func apply(_ x: MatrixView, to out: UnsafeMutablePointer<Double>) {
    let (mean, scale) = (mean.base, scale.base)
    for row in 0..<x.rows {
      let source = x.row(row)
      let target = out + row * columns
      for column in 0..<columns { target[column] = (source[column] - mean[column]) / scale[column] }
    }
  }

  /// y <- mean + scale y, row by row.
  func invert(rows: Int, _ y: UnsafeMutablePointer<Double>) {
    let (mean, scale) = (mean.base, scale.base)
    for row in 0..<rows {
      let line = y + row * columns
      for column in 0..<columns { line[column] = mean[column] + scale[column] * line[column] }
    }
  }

  /// out = scale c, row by row: the derivative of `invert`, and its transpose. out may be c.
  func multiplyByScale(rows: Int, _ c: UnsafePointer<Double>, to out: UnsafeMutablePointer<Double>) {
    let scale = scale.base
    for row in 0..<rows {
      for column in 0..<columns { out[row * columns + column] = scale[column] * c[row * columns + column] }
    }
  }

  /// x <- x / scale, row by row: the transpose of the derivative of `apply`.
  func divideByScale(rows: Int, _ x: UnsafeMutablePointer<Double>) {
    let scale = scale.base
    for row in 0..<rows {
      for column in 0..<columns { x[row * columns + column] /= scale[column] }
    }
  }

  /// The columns' means and population standard deviations; 1 for a column that does not vary beyond rounding.
  init(measuring x: BlockedMatrix) throws {
    mean = try Buffer(repeating: 0, count: x.columns)
    scale = try Buffer(repeating: 0, count: x.columns)
    let rows = Double(x.rows)
    try x.forEachBlock { [mean] _, block in
      for row in 0..<block.rows {
        for column in 0..<block.columns { mean[column] += block.row(row)[column] / rows }
      }
    }
    try x.forEachBlock { [mean, scale] _, block in
      for row in 0..<block.rows {
        for column in 0..<block.columns {
          let deviation = block.row(row)[column] - mean[column]
          scale[column] += deviation * deviation / rows
        }
      }
    }
    for column in 0..<x.columns {
      let deviation = scale[column].squareRoot()
      guard deviation.isFinite else {
        throw TaskMetError.numerical("the standard deviation of column \(column) overflows")
      }
      scale[column] = deviation > 1e-14 * abs(mean[column]) ? deviation : 1
    }
  }

  init(mean: Buffer<Double>, scale: Buffer<Double>) {
    self.mean = mean
    self.scale = scale
  }
}
