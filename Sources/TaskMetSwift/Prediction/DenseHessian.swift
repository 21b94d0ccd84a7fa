// The Hessian of L_pred as a factorised matrix: from the data for a linear predictor, column by column for any other.
//
// For f(x) = t o (W x~ + b) + mean, with X = (x~, 1) and t the targets' scale, H's block for outputs k and l is
//   (2/N) t_k t_l sum_i s_i Lambda_i,kl X_i X_i' + rho (k = l).
// A diagonal Lambda leaves n separate systems of d + 1 unknowns.

/// H + ridge I, ready to solve with. Unknowns are in the parameters' own order.
final class DenseHessian {
  /// A matrix of more unknowns than this is not built.
  static let maximumOrder = 20_000

  /// One of all unknowns in theta's own order, or one of each output's.
  private let system: SymmetricSystem
  /// Where an output's unknowns are in theta; nil for one system.
  private let positions: LinearPositions?

  var isIndefinite: Bool { system.isIndefinite }

  /// At the loss's point of `linearize` (which a linear predictor does not depend on).
  init(_ loss: MetricisedLoss, ridge: Double) throws {
    if let linear = try LinearDesign(loss) {
      let structure = loss.metric.structure
      let separate = structure == .scalar || structure == .diagonal
      let order = separate ? linear.width : loss.parameterCount
      try Self.checkOrder(order)
      positions = separate ? linear.positions : nil
      system = separate ? try linear.separateSystems(ridge: ridge) : try linear.coupledSystem(ridge: ridge)
    } else {
      try Self.checkOrder(loss.parameterCount)
      positions = nil
      system = try Self.columnByColumn(loss, ridge: ridge)
    }
  }

  private static func checkOrder(_ order: Int) throws {
    if order > maximumOrder {
      throw TaskMetError.unsupported(
        "a dense Hessian of order \(order) is larger than \(maximumOrder): use an iterative solver")
    }
  }

  /// The system of matrices that are numbers.
  fileprivate static func factorize(_ matrices: Buffer<Double>, order: Int, count: Int = 1) throws -> SymmetricSystem {
    if let index = firstNonFinite(matrices.count, matrices.base) {
      throw TaskMetError.numerical(
        "an entry of the Hessian is \(matrices[index]); standardise the data or scale the parameters down")
    }
    return try SymmetricSystem(consuming: matrices, order: order, count: count)
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
    return try factorize(matrix, order: order)
  }

  /// v = (H + ridge I)^-1 g (least-norm where singular).
  func solve(_ g: UnsafePointer<Double>, into v: UnsafeMutablePointer<Double>) throws {
    guard let positions else {
      v.update(from: g, count: system.order)
      return try system.solve(v)
    }
    let part = try Buffer<Double>(count: system.order)
    for output in 0..<system.count {
      for k in 0..<system.order { part[k] = g[positions[output, k]] }
      try system.solve(part.base, of: output)
      for k in 0..<system.order { v[positions[output, k]] = part[k] }
    }
  }
}

/// Where the parameters of a linear predictor's outputs are in theta: row k of W, then its bias.
private struct LinearPositions {
  let layer: DenseNetwork.Layer

  subscript(output: Int, unknown: Int) -> Int {
    unknown < layer.inputs ? layer.weightOffset + output * layer.inputs + unknown : layer.biasOffset! + output
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

  var positions: LinearPositions { LinearPositions(layer: layer) }

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

  /// What is added to theta's diagonal: rho for the penalised unknowns, ridge for all.
  private func diagonal(ridge: Double) throws -> Buffer<Double> {
    let ones = try Buffer<Double>(repeating: 1, count: loss.parameterCount)
    let diagonal = try Buffer<Double>(repeating: ridge, count: loss.parameterCount)
    loss.addPenalty(loss.rho, ones.base, to: diagonal.base)
    return diagonal
  }

  /// One matrix for each output.
  func separateSystems(ridge: Double) throws -> SymmetricSystem {
    let square = width * width
    let matrices = try Buffer<Double>(repeating: 0, count: try checkedProduct(outputs, square))
    let rows = loss.memory.plan.tileRows
    let threads = loss.memory.plan.threads
    // Outputs are dealt to parts of the work, each of which has scratch of its own and may go to another thread.
    let parts = min(outputs, max(1, threads))
    let room = try checkedProduct(rows, width + 1)
    let scratch = try Buffer<Double>(count: try checkedProduct(parts, room))
    try forEachTile { range, design, factors in
      try parallelLoop(parts, threads: threads) { part in
        let own = scratch.base + part * room
        for k in (part * outputs / parts)..<((part + 1) * outputs / parts) {
          let weights = own + rows * width
          let scale = targetScale(k) * targetScale(k)
          for (index, row) in range.enumerated() {
            let l = factors.factor(index)[factors.structure == .scalar ? 0 : k]
            weights[index] = scale * share(row) * factors.scale(index) * (l * l + factors.epsilon)
          }
          addGram(
            rows: range.count, design, weights, to: matrices.base + k * square, leading: width, scratch: own)
        }
      }
    }
    let diagonal = try diagonal(ridge: ridge)
    for k in 0..<outputs {
      for j in 0..<width { matrices[k * square + j * (width + 1)] += diagonal[positions[k, j]] }
    }
    return try DenseHessian.factorize(matrices, order: width, count: outputs)
  }

  /// One system for all outputs, in theta's order.
  func coupledSystem(ridge: Double) throws -> SymmetricSystem {
    let order = loss.parameterCount
    let blocks = try blockMatrix()
    let matrix = try Buffer<Double>(count: try checkedProduct(order, order))
    // Blocks are ordered by output, theta has the biases last; H is symmetric, so rows and columns are placed alike.
    let target = try Buffer<Int>(count: order)
    for k in 0..<order { target[k] = positions[k / width, k % width] }
    for column in 0..<order {
      for row in 0..<order {
        matrix[target[row] + target[column] * order] = blocks[row * order + column]
      }
    }
    let diagonal = try diagonal(ridge: ridge)
    for k in 0..<order { matrix[k * (order + 1)] += diagonal[k] }
    return try DenseHessian.factorize(matrix, order: order)
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
