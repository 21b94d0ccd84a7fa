// The one reduction that every sum over rows passes through: loss, gradient, H w, hypergradient.
//
// Rows are cut into tiles, tiles are dealt to lanes, and each lane adds up its own in order; the lanes' results are then
// added in order. The cut depends on the problem's shape alone, so any number of threads gives the same bits. A sum
// over several machines would go where the lanes are combined.

/// Rows of a tile of a network's, whose activations then stay in the second cache; of float64 numbers.
let networkTileRows = 128

extension Precision {
  /// Rows of a tile of a network's in this precision: as many bytes as in float64.
  var tileRows: Int { networkTileRows * Precision.float64.size / size }
}

/// How the rows of one problem are cut.
struct RowReduction {
  let rows: Int
  let tileRows: Int
  let laneCount: Int
  let threads: Int

  /// - Parameters:
  ///   - tileRows: nil for one tile of all rows, on the calling thread.
  ///   - vectorCount: the length of the longest vector that will be summed; each lane has one of its own.
  init(rows: Int, tileRows: Int?, vectorCount: Int, threads: Int) {
    self.rows = rows
    self.tileRows = min(rows, tileRows ?? rows)
    let tiles = (rows + self.tileRows - 1) / self.tileRows
    // Two tiles a lane at least; and no more than 64 MiB of partial sums.
    laneCount = max(1, min(8, tiles / 2, (1 << 23) / max(vectorCount, 1)))
    self.threads = tileRows == nil ? 1 : threads
  }

  var tileCount: Int { (rows + tileRows - 1) / tileRows }

  func tiles(ofLane lane: Int) -> Range<Int> {
    (lane * tileCount / laneCount)..<((lane + 1) * tileCount / laneCount)
  }

  func rows(ofTile tile: Int) -> Range<Int> { (tile * tileRows)..<min(rows, (tile + 1) * tileRows) }

  func rows(ofLane lane: Int) -> Range<Int> {
    let tiles = tiles(ofLane: lane)
    return (tiles.lowerBound * tileRows)..<min(rows, tiles.upperBound * tileRows)
  }

  /// Sums a scalar, and a vector where `out` is given (it is overwritten). `body(lane, partial)` returns the lane's scalar and
  /// adds to its partial vector, which arrives as zeros.
  @discardableResult
  func sum(
    into out: UnsafeMutablePointer<Double>? = nil, count: Int = 0, partials: inout GrowingBuffer<Double>,
    _ body: (Int, UnsafeMutablePointer<Double>) throws -> Double
  ) throws -> Double {
    let width = out == nil ? 0 : count
    // The lanes' vectors, then their scalars.
    let memory = try partials.reserve(laneCount * width + laneCount)
    let scalars = memory + laneCount * width
    try parallelLoop(laneCount, threads: threads) { lane in
      let partial = memory + lane * width
      partial.update(repeating: 0, count: width)
      scalars[lane] = try body(lane, partial)
    }
    if let out {
      out.update(from: memory, count: width)
      for lane in 1..<laneCount { Double.axpy(width, 1, memory + lane * width, out) }
    }
    return (0..<laneCount).reduce(0) { $0 + scalars[$1] }
  }
}
