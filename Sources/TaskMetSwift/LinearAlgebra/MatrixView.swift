// A row-major matrix that somebody else owns.

/// rows x columns elements of one precision, one row `stride` elements after the other.
struct MatrixView {
  private let base: UnsafeRawPointer
  let precision: Precision
  let rows: Int
  let columns: Int
  let stride: Int

  init<Scalar: BLASScalar>(_ base: UnsafePointer<Scalar>, rows: Int, columns: Int, stride: Int? = nil) {
    self.init(UnsafeRawPointer(base), Scalar.precision, rows: rows, columns: columns, stride: stride ?? columns)
  }

  init<Scalar: BLASScalar>(_ base: UnsafeMutablePointer<Scalar>, rows: Int, columns: Int, stride: Int? = nil) {
    self.init(UnsafePointer(base), rows: rows, columns: columns, stride: stride)
  }

  /// Elements of a precision that is known only when they are looked at.
  init(_ base: UnsafeRawPointer, _ precision: Precision, rows: Int, columns: Int, stride: Int? = nil) {
    self.base = base
    self.precision = precision
    self.rows = rows
    self.columns = columns
    self.stride = stride ?? columns
  }

  /// The elements where they are, or nil where they are of another precision.
  @inline(__always)
  func elements<Scalar: BLASScalar>(as: Scalar.Type) -> UnsafePointer<Scalar>? {
    Scalar.precision == precision ? base.assumingMemoryBound(to: Scalar.self) : nil
  }

  /// One element, widened.
  subscript(row: Int, column: Int) -> Double {
    let index = row * stride + column
    return switch precision {
    case .float64: base.assumingMemoryBound(to: Double.self)[index]
    case .float32: Double(base.assumingMemoryBound(to: Float.self)[index])
    }
  }

  /// Copies the rows, contiguous, to `target`, converted where that is of another precision.
  func copy<Scalar: BLASScalar>(to target: UnsafeMutablePointer<Scalar>) {
    switch precision {
    case .float64: copy(from: base.assumingMemoryBound(to: Double.self), to: target)
    case .float32: copy(from: base.assumingMemoryBound(to: Float.self), to: target)
    }
  }

  @inline(__always)
  private func copy<Source: BLASScalar, Target: BLASScalar>(
    from base: UnsafePointer<Source>, to target: UnsafeMutablePointer<Target>
  ) {
    if stride == columns {
      convert(rows * columns, base, to: target)
    } else {
      for index in 0..<rows { convert(columns, base + index * stride, to: target + index * columns) }
    }
  }

  func rows(_ range: Range<Int>) -> MatrixView {
    MatrixView(
      base + range.lowerBound * stride * precision.size, precision, rows: range.count, columns: columns, stride: stride)
  }

  /// Row and column of the first element that is not finite.
  var firstNonFinite: (row: Int, column: Int)? {
    switch precision {
    case .float64: firstNonFinite(base.assumingMemoryBound(to: Double.self))
    case .float32: firstNonFinite(base.assumingMemoryBound(to: Float.self))
    }
  }

  private func firstNonFinite<Scalar: BLASScalar>(_ base: UnsafePointer<Scalar>) -> (row: Int, column: Int)? {
    if stride == columns, Scalar.areFinite(rows * columns, base) { return nil }
    for index in 0..<rows {
      if let column = TaskMetSwift.firstNonFinite(columns, base + index * stride) { return (index, column) }
    }
    return nil
  }

  /// Row and column of the first of finite elements that another precision has no room for.
  func firstOverflow(in other: Precision) -> (row: Int, column: Int)? {
    guard precision == .float64, other == .float32 else { return nil }
    for index in 0..<rows {
      let row = base.assumingMemoryBound(to: Double.self) + index * stride
      if let column = other.firstOverflow(columns, row) { return (index, column) }
    }
    return nil
  }
}

/// The memory of a matrix, of one precision or the other.
enum MatrixBuffer {
  case float64(Buffer<Double>)
  case float32(Buffer<Float>)

  init(count: Int, _ precision: Precision) throws {
    switch precision {
    case .float64: self = .float64(try Buffer(count: count))
    case .float32: self = .float32(try Buffer(count: count))
    }
  }

  var count: Int {
    switch self {
    case .float64(let buffer): buffer.count
    case .float32(let buffer): buffer.count
    }
  }

  var precision: Precision {
    switch self {
    case .float64: .float64
    case .float32: .float32
    }
  }

  /// Where the element `offset` is.
  func address(_ offset: Int = 0) -> UnsafeMutableRawPointer {
    switch self {
    case .float64(let buffer): UnsafeMutableRawPointer(buffer.base + offset)
    case .float32(let buffer): UnsafeMutableRawPointer(buffer.base + offset)
    }
  }

  /// Contiguous rows from the beginning on.
  func view(rows: Int, columns: Int) -> MatrixView {
    switch self {
    case .float64(let buffer): MatrixView(buffer.base, rows: rows, columns: columns)
    case .float32(let buffer): MatrixView(buffer.base, rows: rows, columns: columns)
    }
  }

  /// Copies a matrix to the place `offset` elements from the beginning.
  func store(_ matrix: MatrixView, at offset: Int = 0) {
    switch self {
    case .float64(let buffer): matrix.copy(to: buffer.base + offset)
    case .float32(let buffer): matrix.copy(to: buffer.base + offset)
    }
  }
}

/// The same that grows when asked for more, or for another precision, and otherwise keeps its memory. Contents are lost
/// then.
struct GrowingMatrixBuffer {
  private var buffer: MatrixBuffer?

  init() {}

  mutating func reserve(_ count: Int, _ precision: Precision) throws -> MatrixBuffer {
    if let buffer, buffer.precision == precision, buffer.count >= count { return buffer }
    buffer = nil
    let fresh = try MatrixBuffer(count: count, precision)
    buffer = fresh
    return fresh
  }
}
