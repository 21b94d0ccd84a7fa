// A predictor at fixed rows and a fixed theta: one forward pass, then any number of products with its derivatives.

/// What a caller keeps between passes. One call at a time.
final class Linearization: SharedObject {
  override var kind: StaticString { "linearization" }

  private var memory: LinearizedRows?
  private var isFilled = false

  /// Linearises at the predictor's parameters; where that or `receive` fails nothing is held.
  func update(_ predictor: Predictor, _ x: MatrixView, _ receive: (LinearizedRows) throws -> Void) throws {
    isFilled = false
    if memory?.fits(predictor, rows: x.rows) != true {
      memory = nil
      memory = try LinearizedRows(predictor, capacity: x.rows)
    }
    let held = memory!
    try held.forward(x)
    try receive(held)
    isFilled = true
  }

  /// What the last update has made.
  func held() throws -> LinearizedRows {
    guard isFilled, let memory else {
      throw TaskMetError.state("linearization: it holds nothing; call linearization_update first")
    }
    return memory
  }
}

/// Copies of rows and theta, the tiles' activations, and room for results that are not yet the caller's.
final class LinearizedRows {
  let predictor: Predictor
  let capacity: Int
  private(set) var rows = 0
  /// The predictor's at the last pass.
  private var settingsVersion = 0
  private let tileRows: Int
  private let lane: any PredictorLane<Double>
  private let tiles: [any PredictorTile<Double>]
  /// For second-order products; made when first needed.
  private var curvedTile: (any PredictorTile<Double>)?
  private let theta: Buffer<Double>
  private let x: Buffer<Double>
  /// rows x n each.
  let predictions: Buffer<Double>
  let tangents: Buffer<Double>
  /// rows x d.
  let inputCotangents: Buffer<Double>
  /// theta's length.
  let gradient: Buffer<Double>
  /// A tile's cotangents, contiguous.
  private let cotangents: Buffer<Double>

  init(_ predictor: Predictor, capacity: Int) throws {
    self.predictor = predictor
    self.capacity = capacity
    tileRows = min(capacity, predictor.tileRows ?? capacity)
    // The large blocks first: what does not fit is refused before many small ones have filled the memory.
    x = try Buffer(count: try checkedProduct(capacity, predictor.inputs))
    inputCotangents = try Buffer(count: x.count)
    predictions = try Buffer(count: try checkedProduct(capacity, predictor.outputs))
    tangents = try Buffer(count: predictions.count)
    cotangents = try Buffer(count: try checkedProduct(tileRows, predictor.outputs))
    theta = try Buffer(count: predictor.parameterCount)
    gradient = try Buffer(count: predictor.parameterCount)
    let lane = try predictor.makeLane(rows: tileRows)
    self.lane = lane
    // A callback's tile knows no part of its rows: it gets all of them.
    let tileCount = (capacity + tileRows - 1) / tileRows
    tiles = try (0..<tileCount).map { [tileRows] _ in try lane.makeTile(rows: tileRows, order: .gradient) }
  }

  /// Nothing has changed that the tiles look at.
  var isCurrent: Bool { settingsVersion == predictor.settingsVersion }

  func fits(_ predictor: Predictor, rows: Int) -> Bool {
    self.predictor === predictor && rows <= capacity
  }

  private func rows(_ range: Range<Int>) -> MatrixView {
    MatrixView(x.base, rows: rows, columns: predictor.inputs).rows(range)
  }

  private func forEachTile(_ body: (Range<Int>, any PredictorTile<Double>) throws -> Void) rethrows {
    for (index, start) in stride(from: 0, to: rows, by: tileRows).enumerated() {
      try body(start..<min(rows, start + tileRows), tiles[index])
    }
  }
}

// MARK: - Passes

extension LinearizedRows {
  func forward(_ source: MatrixView) throws {
    rows = source.rows
    settingsVersion = predictor.settingsVersion
    source.copy(to: x.base)
    theta.base.update(from: predictor.parameters, count: theta.count)
    let n = predictor.outputs
    try forEachTile { range, tile in
      let values = try tile.forward(theta.base, rows(range))
      (predictions.base + range.lowerBound * n).update(from: values, count: range.count * n)
    }
  }

  /// The gradient = sum_i J_i' c_i.
  func pullback(_ c: MatrixView) throws {
    gradient.base.update(repeating: 0, count: gradient.count)
    try forEachTile { range, tile in
      c.rows(range).copy(to: cotangents.base)
      try tile.pullback(theta.base, cotangent: cotangents.base, gradient: gradient.base)
    }
  }

  /// The inputs' cotangents = (df(x_i)/dx_i)' c_i.
  func pullbackToInputs(_ c: MatrixView) throws {
    try forEachTile { range, tile in
      c.rows(range).copy(to: cotangents.base)
      try tile.pullbackToInputs(
        theta.base, cotangent: cotangents.base, inputCotangents.base + range.lowerBound * predictor.inputs)
    }
  }

  /// The tangents = J_i v.
  func pushforward(_ v: UnsafePointer<Double>) throws {
    try forEachTile { range, tile in
      try tile.pushforward(theta.base, direction: v, tangents.base + range.lowerBound * predictor.outputs)
    }
  }

  /// The gradient = sum_i sum_k c_ik d2f_k(x_i) w.
  func secondOrderProduct(_ c: MatrixView, _ w: UnsafePointer<Double>) throws {
    gradient.base.update(repeating: 0, count: gradient.count)
    // Linear in theta, or refused by the caller.
    if predictor.hasNoCurvature { return }
    let tile = try curvedTile ?? lane.makeTile(rows: tileRows, order: .curvature)
    curvedTile = tile
    for start in stride(from: 0, to: rows, by: tileRows) {
      let range = start..<min(rows, start + tileRows)
      _ = try tile.forward(theta.base, rows(range))
      c.rows(range).copy(to: cotangents.base)
      try tile.keep(theta.base, cotangent: cotangents.base)
      try tile.pushforward(theta.base, direction: w, tangents.base)
      cotangents.base.update(repeating: 0, count: range.count * predictor.outputs)
      try tile.secondOrderPullback(theta.base, direction: w, cotangent: cotangents.base, gradient: gradient.base)
    }
  }
}
