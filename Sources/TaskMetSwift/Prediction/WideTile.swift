// A float32 predictor behind float64 vectors: what predictions and products outside a loss are made with.

/// Converts at the boundary of a lane that works in float32.
struct WideLane: PredictorLane {
  fileprivate let lane: any PredictorLane<Float>
  fileprivate let memory: WideMemory

  init(_ predictor: Predictor, rows: Int) throws {
    lane = try predictor.makeLane(rows: rows, in: Float.self)
    memory = try WideMemory(predictor, rows: rows)
  }

  func makeTile(rows: Int, order: DerivativeOrder) throws -> any PredictorTile<Double> {
    try WideTile(
      try lane.makeTile(rows: rows, order: order), memory, predictions: try Buffer(count: memory.entryCount(rows)))
  }
}

/// float32 counterparts of a tile's arguments, shared by the tiles of a lane.
private final class WideMemory {
  let predictor: Predictor
  let theta: TileVector<Float>
  let direction: TileVector<Float>
  let cotangent: TileVector<Float>
  let gradient: TileSum<Float>
  let tangents: Buffer<Float>
  let inputCotangents: Buffer<Float>

  init(_ predictor: Predictor, rows: Int) throws {
    self.predictor = predictor
    theta = try TileVector(count: predictor.parameterCount)
    direction = try TileVector(count: predictor.parameterCount)
    gradient = try TileSum(count: predictor.parameterCount)
    cotangent = try TileVector(count: try checkedProduct(rows, predictor.outputs))
    tangents = try Buffer(count: try checkedProduct(rows, predictor.outputs))
    inputCotangents = try Buffer(count: try checkedProduct(rows, predictor.inputs))
  }

  func entryCount(_ rows: Int) throws -> Int { try checkedProduct(rows, predictor.outputs) }
}

/// Cotangents and directions keep their size: a number that float32 has no room for makes a result that is not finite.
private final class WideTile: PredictorTile {
  private let tile: any PredictorTile<Float>
  private let memory: WideMemory
  private let predictions: Buffer<Double>
  private var rows = 0

  init(_ tile: any PredictorTile<Float>, _ memory: WideMemory, predictions: Buffer<Double>) throws {
    self.tile = tile
    self.memory = memory
    self.predictions = predictions
  }

  private var entries: Int { rows * memory.predictor.outputs }

  private func narrow(_ theta: UnsafePointer<Double>) -> UnsafePointer<Float> {
    memory.theta(memory.predictor.parameterCount, theta)
  }

  func forward(_ theta: UnsafePointer<Double>, _ x: MatrixView) throws -> UnsafePointer<Double> {
    rows = x.rows
    convert(entries, try tile.forward(narrow(theta), x), to: predictions.base)
    return UnsafePointer(predictions.base)
  }

  func pullback(
    _ theta: UnsafePointer<Double>, cotangent: UnsafePointer<Double>, gradient: UnsafeMutablePointer<Double>
  ) throws {
    let (theta, cotangent) = (narrow(theta), memory.cotangent(entries, cotangent))
    try memory.gradient.add(memory.predictor.parameterCount, to: gradient) {
      try tile.pullback(theta, cotangent: cotangent, gradient: $0)
    }
  }

  func pullbackToInputs(
    _ theta: UnsafePointer<Double>, cotangent: UnsafePointer<Double>, _ out: UnsafeMutablePointer<Double>
  ) throws {
    let result = memory.inputCotangents.base
    try tile.pullbackToInputs(narrow(theta), cotangent: memory.cotangent(entries, cotangent), result)
    convert(rows * memory.predictor.inputs, UnsafePointer(result), to: out)
  }

  func pushforward(
    _ theta: UnsafePointer<Double>, direction: UnsafePointer<Double>, _ out: UnsafeMutablePointer<Double>
  ) throws {
    let tangents = memory.tangents.base
    try tile.pushforward(
      narrow(theta), direction: memory.direction(memory.predictor.parameterCount, direction), tangents)
    convert(entries, UnsafePointer(tangents), to: out)
  }

  func keep(_ theta: UnsafePointer<Double>, cotangent: UnsafePointer<Double>) throws {
    try tile.keep(narrow(theta), cotangent: memory.cotangent(entries, cotangent))
  }

  func secondOrderPullback(
    _ theta: UnsafePointer<Double>, direction: UnsafePointer<Double>, cotangent: UnsafePointer<Double>,
    gradient: UnsafeMutablePointer<Double>
  ) throws {
    let count = memory.predictor.parameterCount
    let (theta, direction) = (narrow(theta), memory.direction(count, direction))
    let cotangent = memory.cotangent(entries, cotangent)
    try memory.gradient.add(count, to: gradient) {
      try tile.secondOrderPullback(theta, direction: direction, cotangent: cotangent, gradient: $0)
    }
  }
}
