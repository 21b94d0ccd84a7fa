// Affine rescaling of columns: (x - mean) / scale.

/// Means and scales, one for each column.
struct Standardization {
  let mean: Buffer<Double>
  let scale: Buffer<Double>

  var columns: Int { mean.count }

  /// out (contiguous) = (x - mean) / scale, in float64 whatever x and out are: columns far from zero cancel here.
  func apply<Scalar: BLASScalar>(_ x: MatrixView, to out: UnsafeMutablePointer<Scalar>) {
    if let source = x.elements(as: Double.self) {
      apply(source, x, to: out)
    } else if let source = x.elements(as: Float.self) {
      apply(source, x, to: out)
    }
  }

  @inline(__always)
  private func apply<Source: BLASScalar, Target: BLASScalar>(
    _ base: UnsafePointer<Source>, _ x: MatrixView, to out: UnsafeMutablePointer<Target>
  ) {
    let (mean, scale) = (mean.base, scale.base)
    for row in 0..<x.rows {
      let source = base + row * x.stride
      let target = out + row * columns
      for column in 0..<columns { target[column] = Target((Double(source[column]) - mean[column]) / scale[column]) }
    }
  }

  /// y <- mean + scale y, row by row.
  func invert<Scalar: BLASScalar>(rows: Int, _ y: UnsafeMutablePointer<Scalar>) {
    let (mean, scale) = (mean.base, scale.base)
    for row in 0..<rows {
      let line = y + row * columns
      for column in 0..<columns {
        line[column] = Scalar(mean[column] + scale[column] * Double(line[column]))
      }
    }
  }

  /// out = scale c, row by row: the derivative of `invert`, and its transpose. out may be c.
  func multiplyByScale<Scalar: BLASScalar>(
    rows: Int, _ c: UnsafePointer<Scalar>, to out: UnsafeMutablePointer<Scalar>
  ) {
    let scale = scale.base
    for row in 0..<rows {
      for column in 0..<columns {
        out[row * columns + column] = Scalar(scale[column] * Double(c[row * columns + column]))
      }
    }
  }

  /// x <- x / scale, row by row: the transpose of the derivative of `apply`.
  func divideByScale<Scalar: BLASScalar>(rows: Int, _ x: UnsafeMutablePointer<Scalar>) {
    let scale = scale.base
    for row in 0..<rows {
      for column in 0..<columns {
        x[row * columns + column] = Scalar(Double(x[row * columns + column]) / scale[column])
      }
    }
  }

  /// The columns' means and population standard deviations; 1 for a column that does not vary beyond rounding.
  init(measuring x: BlockedMatrix) throws {
    mean = try Buffer(repeating: 0, count: x.columns)
    scale = try Buffer(repeating: 0, count: x.columns)
    let rows = Double(x.rows)
    let line = try Buffer<Double>(count: x.columns)
    try x.forEachBlock { [mean] _, block in
      for row in 0..<block.rows {
        block.rows(row..<(row + 1)).copy(to: line.base)
        for column in 0..<block.columns { mean[column] += line[column] / rows }
      }
    }
    try x.forEachBlock { [mean, scale] _, block in
      for row in 0..<block.rows {
        block.rows(row..<(row + 1)).copy(to: line.base)
        for column in 0..<block.columns {
          let deviation = line[column] - mean[column]
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
