// Indices in a heap by the value of each: the k largest of many, and the next best of those that are left.

/// Of two indices the one with the larger value ranks higher, the earlier one where values are equal.
struct RankedHeap {
  enum Root { case highest, lowest }

  private let root: Root
  private let values: UnsafePointer<Double>
  private let indices: UnsafeMutablePointer<Int>
  private let count: Int

  /// Indices 0 ..< count in the memory given, whose values may change, but only for the root, and before `settleRoot`.
  init(_ root: Root, count: Int, values: UnsafePointer<Double>, indices: UnsafeMutablePointer<Int>) {
    (self.root, self.values, self.indices, self.count) = (root, values, indices, count)
    for k in 0..<count { indices[k] = k }
    for k in (0..<(count / 2)).reversed() { settle(k) }
  }

  /// The index at the root; after a change there (of the index, or of its value) call `settleRoot`.
  var top: Int {
    get { indices[0] }
    nonmutating set { indices[0] = newValue }
  }

  func settleRoot() { settle(0) }

  /// Whether index a belongs nearer to the root than b.
  @inline(__always)
  func precedes(_ a: Int, _ b: Int) -> Bool {
    let ranksHigher = values[a] > values[b] || (values[a] == values[b] && a < b)
    return ranksHigher == (root == .highest)
  }

  private func settle(_ start: Int) {
    var place = start
    let index = indices[place]
    while true {
      var child = 2 * place + 1
      guard child < count else { break }
      if child + 1 < count, precedes(indices[child + 1], indices[child]) { child += 1 }
      guard precedes(indices[child], index) else { break }
      indices[place] = indices[child]
      place = child
    }
    indices[place] = index
  }
}

/// marks <- 1 for the `wanted` largest values, 0 for the others; among equal values the earlier are taken. `indices` is room for
/// `wanted` numbers.
func markLargest(
  _ wanted: Int, of count: Int, _ values: UnsafePointer<Double>, indices: UnsafeMutablePointer<Int>,
  into marks: UnsafeMutablePointer<Double>
) {
  marks.update(repeating: 0, count: count)
  let heap = RankedHeap(.lowest, count: wanted, values: values, indices: indices)
  // Later indices rank lower where values are equal, so only larger values get in.
  for k in wanted..<count where values[k] > values[heap.top] {
    heap.top = k
    heap.settleRoot()
  }
  for k in 0..<wanted { marks[indices[k]] = 1 }
}
