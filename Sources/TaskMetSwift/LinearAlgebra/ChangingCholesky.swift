// The Cholesky factor of a small matrix whose rows and columns come and go, as active sets do: O(k^2) for each change, and
// without calls into LAPACK, whose overhead is larger than the work at these sizes.

/// A = L L', k x k, k <= capacity.
struct ChangingCholesky {
  private(set) var order = 0
  /// L, row-major with a stride of `capacity`; the upper triangle is not looked at.
  private let memory: Buffer<Double>
  private let capacity: Int

  init(capacity: Int) throws {
    self.capacity = capacity
    memory = try Buffer(count: try checkedProduct(capacity, capacity))
  }

  /// Row `index` of L, up to the diagonal.
  func row(_ index: Int) -> UnsafeMutablePointer<Double> { memory.base + index * capacity }

  mutating func removeAll() { order = 0 }

  /// Adds a last row and column to A, their entries given by position (the last one is the diagonal's). False, and no change,
  /// where A would not be positive definite to working precision.
  mutating func append(_ entry: (Int) -> Double) -> Bool {
    let new = row(order)
    let diagonal = entry(order)
    var pivot = diagonal
    for k in 0..<order {
      let old = row(k)
      let value = (entry(k) - shortDot(k, old, new)) / old[k]
      new[k] = value
      pivot -= value * value
    }
    guard pivot > 0x1p-52 * Double(order + 1) * diagonal else { return false }
    new[order] = pivot.squareRoot()
    order += 1
    return true
  }

  /// Takes a row and its column out of A: what is left of L gets its triangle back by Givens rotations.
  mutating func remove(_ position: Int) {
    order -= 1
    for index in position..<order { row(index).update(from: row(index + 1), count: index + 2) }
    for column in position..<order {
      let (a, b) = (row(column)[column], row(column)[column + 1])
      let length = (a * a + b * b).squareRoot()
      let (cosine, sine) = (a / length, b / length)
      for index in column..<order {
        let pair = row(index) + column
        (pair[0], pair[1]) = (cosine * pair[0] + sine * pair[1], cosine * pair[1] - sine * pair[0])
      }
    }
  }

  /// x <- A^-1 x
  func solve(_ x: UnsafeMutablePointer<Double>) {
    for k in 0..<order { x[k] = (x[k] - shortDot(k, row(k), x)) / row(k)[k] }
    for k in (0..<order).reversed() {
      x[k] /= row(k)[k]
      shortAxpy(k, -x[k], row(k), x)
    }
  }
}
