// What is asked of a predictor alone: predictions, J'c and Jv at given rows.

extension Predictor {
  private func forEachTile(
    _ theta: UnsafePointer<Double>, _ x: BlockedMatrix, order: DerivativeOrder,
    _ body: (Range<Int>, any PredictorTile<Double>, UnsafePointer<Double>) throws -> Void
  ) throws {
    let rows = tileRows(of: x)
    let block = RowBlock()
    let tile = try makeLane(rows: rows).makeTile(rows: rows, order: order)
    for start in stride(from: 0, to: x.rows, by: rows) {
      let range = start..<min(x.rows, start + rows)
      try body(range, tile, try tile.forward(theta, try x.block(range, in: block)))
    }
  }

  /// A predictor that wants all rows at once gets those that are read at once.
  private func tileRows(of x: BlockedMatrix) -> Int { min(x.rows, tileRows ?? x.blockRows) }

  /// out (rows x n, with a row stride) = f_theta(x_i).
  func predict(
    _ theta: UnsafePointer<Double>, _ x: BlockedMatrix, into out: UnsafeMutablePointer<Double>, stride: Int
  ) throws {
    try forEachTile(theta, x, order: .value) { rows, _, predictions in
      for (index, row) in rows.enumerated() {
        (out + row * stride).update(from: predictions + index * outputs, count: outputs)
      }
    }
  }

  /// out (theta's length) = sum_i J_i' c_i.
  func pullback(
    _ theta: UnsafePointer<Double>, _ x: BlockedMatrix, _ c: MatrixView, into out: UnsafeMutablePointer<Double>
  ) throws {
    out.update(repeating: 0, count: parameterCount)
    let cotangent = try Buffer<Double>(count: try checkedProduct(tileRows(of: x), outputs))
    try forEachTile(theta, x, order: .gradient) { rows, tile, _ in
      c.rows(rows).copy(to: cotangent.base)
      try tile.pullback(theta, cotangent: cotangent.base, gradient: out)
    }
  }

  /// out (rows x n, with a row stride) = J_i v.
  func pushforward(
    _ theta: UnsafePointer<Double>, _ x: BlockedMatrix, _ v: UnsafePointer<Double>,
    into out: UnsafeMutablePointer<Double>, stride: Int
  ) throws {
    let tangents = try Buffer<Double>(count: try checkedProduct(tileRows(of: x), outputs))
    try forEachTile(theta, x, order: .gradient) { rows, tile, _ in
      try tile.pushforward(theta, direction: v, tangents.base)
      for (index, row) in rows.enumerated() {
        (out + row * stride).update(from: tangents.base + index * outputs, count: outputs)
      }
    }
  }
}
