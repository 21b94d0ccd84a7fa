// The Hessian of L_pred as a factorised matrix: from the data for a linear predictor, column by column for any other.
//
// For f(x) = t o (W x~ + b) + mean, with X = (x~, 1) and t the targets' scale, H's block for outputs k and l is
//   (2/N) t_k t_l sum_i s_i Lambda_i,kl X_i X_i' + rho (k = l).
// A diagonal Lambda leaves n separate systems of d + 1 unknowns.

/// H + ridge I, ready to solve with. Unknowns are in the parameters' own order.
final class DenseHessian {
  /// A matrix of more unknowns than this is not built.
  static let maximumOrder = 20_000

  private let systems: [SymmetricSystem]
  /// Where each system's unknowns are in theta; empty for one system in theta's own order.
  private let positions: [[Int]]

  var isIndefinite: Bool { systems.contains { $0.isIndefinite } }

  /// At the loss's point of `linearize` (which a linear predictor does not depend on).
  init(_ loss: MetricisedLoss, ridge: Double) throws {
    if let linear = try LinearDesign(loss) {
      let structure = loss.metric.structure
      let separate = structure == .scalar || structure == .diagonal
      let order = separate ? linear.width : loss.parameterCount
      try Self.checkOrder(order)
      positions = separate ? (0..<linear.outputs).map(linear.positions(ofOutput:)) : []
      systems =
        separate ? try linear.separateSystems(ridge: ridge) : [try linear.coupledSystem(ridge: ridge)]
    } else {
      try Self.checkOrder(loss.parameterCount)
      positions = []
      systems = [try Self.columnByColumn(loss, ridge: ridge)]
    }
  }

  private static func checkOrder(_ order: Int) throws {
    if order > maximumOrder {
      throw TaskMetError.unsupported(
        "a dense Hessian of order \(order) is larger than \(maximumOrder): use an iterative solver")
    }
  }

  /// H e_1, H e_2, ...
  private static func columnByColumn(_ loss: MetricisedLoss, ridge: Double) throws -> SymmetricSystem {
    let order = loss.parameterCount
    let matrix = try Buffer<Double>(count: try checkedProduct(order, order))
    let unit = try Buffer<Double>(repeating: 0, count: order)
    for column in 0..<order {
      unit[column] = 1
      try loss.hessianProduct(unit.base, into: matrix.base + column * order)
      unit[column] = 0
    }
    for column in 0..<order {
      for row in 0..<column {
        let mean = (matrix[row + column * order] + matrix[column + row * order]) / 2
        matrix[row + column * order] = mean
        matrix[column + row * order] = mean
      }
      matrix[column * (order + 1)] += ridge
    }
    return try SymmetricSystem(consuming: matrix, order: order)
  }

  /// v = (H + ridge I)^-1 g (least-norm where singular).
  func solve(_ g: UnsafePointer<Double>, into v: UnsafeMutablePointer<Double>) throws {
    if positions.isEmpty {
      v.update(from: g, count: systems[0].order)
      return try systems[0].solve(v)
    }
    let part = try Buffer<Double>(count: positions[0].count)
    for (output, indices) in positions.enumerated() {
      for (k, index) in indices.enumerated() { part[k] = g[index] }
      try systems[output].solve(part.base)
      for (k, index) in indices.enumerated() { v[index] = part[k] }
    }
  }
}

/// The design matrix of a linear predictor, and the Hessian it makes: in float64 whatever the loss's arithmetic, since it is
/// solved with.
private struct LinearDesign {
  let loss: MetricisedLoss
  let tiles: TileMemory<Double>
  let predictor: NetworkPredictor
  let layer: DenseNetwork.Layer
  let outputs: Int
  /// d, or d + 1 with a bias.
  let width: Int

  init?(_ loss: MetricisedLoss) throws {
    guard let predictor = loss.predictor as? NetworkPredictor, predictor.isLinear else { return nil }
    let loss = try loss.widened()
    guard case .float64(let tiles) = loss.memory.tiles else { return nil }
    self.loss = loss
    self.tiles = tiles
    self.predictor = predictor
    layer = predictor.network.layers[0]
    outputs = layer.outputs
    width = layer.inputs + (layer.biasOffset == nil ? 0 : 1)
  }

  /// Output k's row of W, then its bias.
  func positions(ofOutput k: Int) -> [Int] {
    (0..<layer.inputs).map { layer.weightOffset + k * layer.inputs + $0 } + (layer.biasOffset.map { [$0 + k] } ?? [])
  }

  /// X_i, the columns of ones included, for a tile of rows.
  private func fill(_ x: MatrixView, _ out: UnsafeMutablePointer<Double>, _ scratch: UnsafeMutablePointer<Double>) {
    if let standardization = predictor.inputStandardization {
      standardization.apply(x, to: scratch)
    } else {
      x.copy(to: scratch)
    }
    for row in 0..<x.rows {
      (out + row * width).update(from: scratch + row * x.columns, count: x.columns)
      if layer.biasOffset != nil { out[row * width + width - 1] = 1 }
    }
  }

  private func targetScale(_ k: Int) -> Double { predictor.targetStandardization?.scale[k] ?? 1 }

  /// Calls body with each tile's rows, their design matrix and their factors.
  private func forEachTile(_ body: (Range<Int>, UnsafePointer<Double>, MetricFactors<Double>) throws -> Void) throws {
    let plan = loss.memory.plan
    let design = try Buffer<Double>(count: try checkedProduct(plan.tileRows, width))
    let scratch = try Buffer<Double>(count: try checkedProduct(plan.tileRows, layer.inputs))
    for lane in 0..<plan.laneCount {
      for tile in plan.tiles(ofLane: lane) {
        let rows = plan.rows(ofTile: tile)
        let x = try loss.dataset.featureRows.block(rows, in: tiles.lanes[lane].block)
        fill(x, design.base, scratch.base)
        try body(rows, design.base, try tiles.factors(lane: lane, rows: rows, x))
      }
    }
  }

  /// (2/N) s_i.
  private func share(_ row: Int) -> Double {
    2 / Double(loss.dataset.rows) * (loss.dataset.weights?[row] ?? 1)
  }

  /// matrix (width x width, leading dimension ld) += X' diag(weights) X for a tile.
  private func addGram(
    rows: Int, _ design: UnsafePointer<Double>, _ weights: UnsafePointer<Double>,
    to matrix: UnsafeMutablePointer<Double>,
    leading: Int, scratch: UnsafeMutablePointer<Double>
  ) {
    for row in 0..<rows {
      for column in 0..<width { scratch[row * width + column] = weights[row] * design[row * width + column] }
    }
    Double.multiply(
      width, width, rows, scratch, width, transposeA: true, design, width, transposeB: false, beta: 1, matrix, leading)
  }

  /// rho on the penalised unknowns, ridge on all.
  private func addToDiagonal(
    _ matrix: UnsafeMutablePointer<Double>, order: Int, positions: [Int], ridge: Double
  ) throws {
    let ones = try Buffer<Double>(repeating: 1, count: loss.parameterCount)
    let diagonal = try Buffer<Double>(repeating: ridge, count: loss.parameterCount)
    loss.addPenalty(loss.rho, ones.base, to: diagonal.base)
    for (k, position) in positions.enumerated() { matrix[k * (order + 1)] += diagonal[position] }
  }

  /// One system for each output.
  func separateSystems(ridge: Double) throws -> [SymmetricSystem] {
    let matrices = try (0..<outputs).map { _ in try Buffer<Double>(repeating: 0, count: width * width) }
    let rows = loss.memory.plan.tileRows
    let threads = loss.memory.plan.threads
    // Output k's scratch is its own, so that outputs can go to different threads.
    let scratch = try (0..<outputs).map { _ in try Buffer<Double>(count: try checkedProduct(rows, width + 1)) }
    try forEachTile { range, design, factors in
      try parallelLoop(outputs, threads: threads) { k in
        let weights = scratch[k].base + rows * width
        let scale = targetScale(k) * targetScale(k)
        for (index, row) in range.enumerated() {
          let l = factors.factor(index)[factors.structure == .scalar ? 0 : k]
          weights[index] = scale * share(row) * factors.scale(index) * (l * l + factors.epsilon)
        }
        addGram(
          rows: range.count, design, weights, to: matrices[k].base, leading: width, scratch: scratch[k].base)
      }
    }
    return try (0..<outputs).map { k in
      try addToDiagonal(matrices[k].base, order: width, positions: positions(ofOutput: k), ridge: ridge)
      return try SymmetricSystem(consuming: matrices[k], order: width)
    }
  }

  /// One system for all outputs, in theta's order.
  func coupledSystem(ridge: Double) throws -> SymmetricSystem {
    let order = loss.parameterCount
    let blocks = try blockMatrix()
    let matrix = try Buffer<Double>(count: try checkedProduct(order, order))
    // Blocks are ordered by output, theta has the biases last; H is symmetric, so rows and columns are placed alike.
    let target = (0..<outputs).flatMap(positions(ofOutput:))
    for column in 0..<order {
      for row in 0..<order {
        matrix[target[row] + target[column] * order] = blocks[row * order + column]
      }
    }
    try addToDiagonal(matrix.base, order: order, positions: Array(0..<order), ridge: ridge)
    return try SymmetricSystem(consuming: matrix, order: order)
  }

  /// sum_i (2/N) s_i (t t' o Lambda_i) (x) X_i X_i', both triangles, ordered by output.
  private func blockMatrix() throws -> Buffer<Double> {
    let order = loss.parameterCount
    let blocks = try Buffer<Double>(repeating: 0, count: try checkedProduct(order, order))
    let (n, tileRows) = (outputs, loss.memory.plan.tileRows)
    let lambda = try Buffer<Double>(count: try checkedProduct(tileRows, n, n))
    let scratch = try Buffer<Double>(count: try checkedProduct(tileRows, width))
    let weights = try Buffer<Double>(count: tileRows)
    try forEachTile { range, design, factors in
      for index in 0..<range.count { factors.form(index, lambda.base + index * n * n) }
      for k in 0..<n {
        for l in 0...k {
          let scale = targetScale(k) * targetScale(l)
          for (index, row) in range.enumerated() {
            weights[index] = scale * share(row) * lambda[(index * n + k) * n + l]
          }
          addGram(
            rows: range.count, design, weights.base, to: blocks.base + k * width * order + l * width, leading: order,
            scratch: scratch.base)
        }
      }
    }
    for row in 0..<order {
      for column in 0..<row { blocks[column * order + row] = blocks[row * order + column] }
    }
    return blocks
  }
}
