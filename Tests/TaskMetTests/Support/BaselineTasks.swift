// Tasks with closed forms for the baselines: a linear objective over a box, a LODL's own forms, and costs that are known.

import Testing

@testable import TaskMetSwift

/// min y'z over 0 <= z <= 1: take what has a negative cost. In training an entry is taken in part, sigmoid(-yhat).
final class BoxTask: DecisionTask {
  override func decisionCount(rows: Int, outputs: Int) -> Int { rows * outputs }
  override var objectiveIsLinear: Bool { true }

  override func decide(
    _ problem: DecisionProblem, values: UnsafePointer<Double>, into decision: UnsafeMutablePointer<Double>
  ) throws {
    for j in 0..<problem.entries { decision[j] = values[j] < 0 ? 1 : 0 }
  }

  override func objective(
    _ problem: DecisionProblem, _ decision: UnsafePointer<Double>, values: UnsafePointer<Double>
  ) throws -> Double { (0..<problem.entries).reduce(0) { $0 + values[$1] * decision[$1] } }

  override func trainingLoss(_ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    var sum = 0.0
    for j in 0..<problem.entries {
      let share = 1 / (1 + Double.exponential(problem.predictions[j]))
      sum += problem.targets[j] * share
      gradient?[j] = -problem.targets[j] * share * (1 - share)
    }
    return sum
  }
}

/// Each instance's loss is what a function says of it, in both phases; no gradient.
class InstanceTask: Task {
  private let loss: (DecisionProblem) -> Double

  init(_ loss: @escaping (DecisionProblem) -> Double) { self.loss = loss }

  override func losses(_ batch: TaskBatch, into losses: UnsafeMutablePointer<Double>) throws {
    for k in 0..<batch.instances.count { losses[k] = loss(batch.problem(k)) }
  }

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    if gradient != nil { throw TaskMetError.unsupported("no gradient") }
    let losses = try Buffer<Double>(count: batch.instances.count)
    try self.losses(batch, into: losses.base)
    return mean(losses)
  }
}

/// Nothing costs anything.
final class ZeroTask: InstanceTask {
  init() { super.init { _ in 0 } }

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    gradient?.update(repeating: 0, count: batch.rows * batch.outputs)
    return 0
  }
}

extension DecisionProblem {
  var errors: [Double] { (0..<entries).map { predictions[$0] - targets[$0] } }
}

/// A loss of a LODL's own form, by the plain formula. Rows of L, or weights in a column.
struct PlainLODL: Sendable {
  let form: LODLForm
  let above: DenseMatrix
  let below: DenseMatrix

  func loss(_ e: [Double]) -> Double {
    let rows = e.indices.map { j in (e[j] < 0 && form.isDirected ? below : above).row(j) }
    if !form.isQuadratic { return e.indices.reduce(0) { $0 + rows[$1][0] * e[$1] * e[$1] } }
    let z = e.indices.reduce([Double](repeating: 0, count: above.columns)) { $0 .+ e[$1] * rows[$1] }
    return dot(z, z)
  }

  /// What the fit can know of the parameters: weights, or products of rows of L, which no rotation of its columns changes. An
  /// entry is not on both sides at once, so that the product of its two rows is not known.
  var identified: [Double] {
    let both = form.isDirected ? DenseMatrix((0..<above.rows).map(above.row) + (0..<below.rows).map(below.row)) : above
    if !form.isQuadratic { return both.values }
    var products = both * both.transposed
    if form.isDirected {
      for j in 0..<above.rows { (products[j, above.rows + j], products[above.rows + j, j]) = (0, 0) }
    }
    return products.values
  }

  /// With random parameters.
  init(_ form: LODLForm, entries: Int, rank: Int, seed: UInt64 = 31) {
    var random = RandomGenerator(seed: seed)
    func matrix() -> DenseMatrix {
      DenseMatrix(
        (0..<entries).map { row in
          form.isQuadratic
            ? (0..<rank).map { $0 > row ? 0 : (row == $0 ? 1 : 0.4) * (0.7 + random.uniform()) }
            : [0.5 + random.uniform()]
        })
    }
    self.init(form: form, above: matrix(), below: matrix())
  }

  init(form: LODLForm, above: DenseMatrix, below: DenseMatrix) {
    (self.form, self.above, self.below) = (form, above, below)
  }

  /// The fitted parameters.
  init(_ loss: LODLLoss) {
    func matrix(_ start: Int) -> DenseMatrix {
      DenseMatrix(
        loss.entries, loss.rank, (0..<(loss.entries * loss.rank)).map { loss.parameters[start * loss.rank + $0] })
    }
    self.init(form: loss.form, above: matrix(0), below: matrix(loss.form.isDirected ? loss.entries : 0))
  }
}
