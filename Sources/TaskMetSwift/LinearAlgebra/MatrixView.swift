// A row-major matrix that somebody else owns.

/// rows x columns elements, one row `stride` elements after the other.
struct MatrixView {
  let base: UnsafePointer<Double>
  let rows: Int
  let columns: Int
  let stride: Int

  init(_ base: UnsafePointer<Double>, rows: Int, columns: Int, stride: Int? = nil) {
    self.base = base
    self.rows = rows
    self.columns = columns
    self.stride = stride ?? columns
  }

  func row(_ index: Int) -> UnsafePointer<Double> { base + index * stride }

  /// Copies the rows, contiguous, to `target`.
  func copy(to target: UnsafeMutablePointer<Double>) {
    if stride == columns {
      target.update(from: base, count: rows * columns)
    } else {
      for index in 0..<rows { (target + index * columns).update(from: row(index), count: columns) }
    }
  }

  func rows(_ range: Range<Int>) -> MatrixView {
    MatrixView(row(range.lowerBound), rows: range.count, columns: columns, stride: stride)
  }

  /// Row and column of the first element that is not finite.
  var firstNonFinite: (row: Int, column: Int)? {
    if stride == columns, Double.areFinite(rows * columns, base) { return nil }
    for index in 0..<rows {
      if let column = TaskMetSwift.firstNonFinite(columns, row(index)) { return (index, column) }
    }
    return nil
  }
}
