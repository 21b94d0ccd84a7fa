// The budget allocation's soft decision: z maximises F(z) + gamma sum_i h(z_i) over 0 <= z <= 1, sum z = budget.
//
// Stationary points are the fixed points of a -> dF/dz at z(a), with z(a) the soft choice for scores a at temperature gamma: z is
// feasible and interior for every a, and a fixed point's z has (1/gamma) log(z / (1 - z)) = a up to a constant, which is the
// KKT condition. Steps are Newton's, with a shift of the Hessian where the objective is not concave on the tangent space: they go
// uphill, and are shortened until they do by enough.

final class EntropicAllocation: SoftAllocation {
  private let gamma: Double
  private let selection: SoftSelection
  private let memory: Buffer<Double>
  private let scores: UnsafeMutablePointer<Double>
  private let trial: UnsafeMutablePointer<Double>
  /// The scores of the best stationary point so far.
  private let best: UnsafeMutablePointer<Double>
  private let root: UnsafeMutablePointer<Double>
  private let matrix: UnsafeMutablePointer<Double>

  init(_ problem: DecisionProblem, budget: Int, gamma: Double) throws {
    self.gamma = gamma
    selection = try SoftSelection(choosing: budget, of: problem.rows)
    let rows = problem.rows
    memory = try Buffer(count: try checkedProduct(rows, rows + 4))
    scores = memory.base
    trial = memory.base + rows
    best = memory.base + 2 * rows
    root = memory.base + 3 * rows
    matrix = memory.base + 4 * rows
    try super.init(problem, budget: budget, z: selection.z)
  }

  /// The KKT residual of a solution, relative to F where that is above 1.
  static let tolerance = 1e-10
  /// Where Newton's method takes it, if rounding lets it: derivatives are as accurate as the solution.
  private static let aim = 1e-13
  private static let iterations = 500
  private static let starts = 8

  // MARK: Starts

  /// The best of several stationary points. Where F's curvature is below the entropy's, 4 gamma, there is only one.
  override func solve() throws {
    z.update(repeating: 0, count: rows)
    start()
    var kept = ascend()
    if predicted.curvatureBound < 4 * gamma { return try requireSolved(kept) }
    best.update(from: scores, count: rows)
    let gains = try Buffer<Double>(count: rows)
    let order = try Buffer<Int>(count: rows)
    firstGains(gains)
    let heap = RankedHeap(.highest, count: rows, values: gains.base, indices: order.base)
    for _ in 0..<min(rows, Self.starts) {
      let first = heap.top
      gains[first] = -1
      heap.settleRoot()
      startGreedily(from: first)
      let found = ascend()
      // Only by more than rounding: the same point found twice must not matter.
      let isBetter = found.value > kept.value + 1e-12 * max(1, abs(kept.value))
      guard isSolved(found), isBetter || !isSolved(kept) else { continue }
      kept = found
      best.update(from: scores, count: rows)
    }
    scores.update(from: best, count: rows)
    place(scores)
    try requireSolved(kept)
  }

  private typealias Ascent = (value: Double, residual: Double)

  private func isSolved(_ ascent: Ascent) -> Bool {
    ascent.residual <= Self.tolerance * max(1, abs(ascent.value))
  }

  private func requireSolved(_ ascent: Ascent) throws {
    if isSolved(ascent) { return }
    throw TaskMetError.numerical(
      "the soft allocation did not converge (residual \(ascent.residual)): a larger gamma makes it easier")
  }

  /// dF/dz at z = 0.
  private func firstGains(_ gains: Buffer<Double>) {
    z.update(repeating: 0, count: rows)
    predicted.prepare()
    predicted.gradient(into: gains.base)
  }

  /// A soft version of the set that begins with this row and goes on greedily.
  private func startGreedily(from first: Int) {
    z.update(repeating: 0, count: rows)
    z[first] = 1
    for _ in 1..<max(budget, 1) {
      predicted.prepare()
      predicted.gradient(into: slope)
      var next = -1
      for i in 0..<rows where z[i] == 0 && (next < 0 || slope[i] > slope[next]) { next = i }
      z[next] = 1
    }
    start()
  }

  /// Scores that give rows with z = 1 about 0.95, or all rows the same where there are none; slightly tilted, so that rows that are
  /// alike are not left in the saddle between taking the one and the other.
  private func start() {
    for i in 0..<rows { scores[i] = gamma * (6 * z[i] - 1e-3 * Double(i) / Double(rows)) }
  }

  // MARK: Ascent

  /// z and F's derivatives at scores; the objective.
  @discardableResult
  private func place(_ scores: UnsafePointer<Double>) -> Double {
    selection.choose(scores, temperature: gamma)
    predicted.prepare()
    predicted.gradient(into: slope)
    return predicted.value + gamma * selection.entropy
  }

  /// Moves the scores to a stationary point.
  private func ascend() -> Ascent {
    var value = place(scores)
    var last = Double.infinity
    for _ in 0..<Self.iterations {
      let residual = residual()
      let isStalled = isSolved((value, residual)) && residual >= last
      if residual <= Self.aim || isStalled { return (value, residual) }
      last = residual
      guard let next = step(from: value) else { return (value, residual) }
      value = next
    }
    return (value, residual())
  }

  /// How far dF/dz and the scores are from differing by a constant.
  private func residual() -> Double {
    var (lowest, highest) = (Double.infinity, -Double.infinity)
    for i in 0..<rows {
      lowest = min(lowest, slope[i] - scores[i])
      highest = max(highest, slope[i] - scores[i])
    }
    return (highest - lowest) / 2
  }

  /// One step uphill; nil where none is left.
  private func step(from value: Double) -> Double? {
    let (move, change) = (vectors, vectors + rows)
    for i in 0..<rows { change[i] = slope[i] - scores[i] }
    let shift = factorize()
    solveTangent(change)
    var climb = 0.0
    for i in 0..<rows {
      let spread = selection.spread[i]
      let rest = slope[i] - scores[i]
      climb += rest * change[i]
      // The move of the scores that changes z so: without a shift the linearised fixed point.
      move[i] = rest + shortDot(rows, hessian + i * rows, change)
      if shift > 0, spread > 0 { move[i] -= shift * (change[i] / spread) }
    }
    let rounding = 1e-15 * max(1, abs(value))
    var length = 1.0
    while length > 1e-12 {
      for i in 0..<rows { trial[i] = scores[i] + length * move[i] }
      let reached = place(trial)
      if reached >= value + 1e-4 * length * climb - rounding {
        scores.update(from: trial, count: rows)
        return reached
      }
      length /= 2
    }
    place(scores)
    return nil
  }

  // MARK: Linear algebra

  /// With S = diag(z (1 - z)), the negative Hessian on the tangent space sum dz = 0 is S^-1/2 A S^-1/2 there, where
  /// A = gamma I - P S^1/2 F'' S^1/2 P and P projects out sqrt(s): no entry grows as z comes close to 0 or 1. Factorises A + shift
  /// I, which is positive definite; the shift is zero where A is.
  private func factorize() -> Double {
    predicted.hessian(into: hessian)
    var total = 0.0
    for i in 0..<rows { total += selection.spread[i] }
    for i in 0..<rows { root[i] = total > 0 ? (selection.spread[i] / total).squareRoot() : 0 }
    var shift = 0.0
    while true {
      fill(scale: total, diagonal: gamma + shift)
      if factorizeCholesky(rows, matrix) { return shift }
      shift = shift == 0 ? 1e-4 * gamma : 30 * shift
    }
  }

  private func fill(scale: Double, diagonal: Double) {
    for i in 0..<rows {
      for k in 0..<rows { matrix[i * rows + k] = -scale * root[i] * root[k] * hessian[i * rows + k] }
    }
    for i in 0..<rows { project(matrix + i * rows, 1) }
    for k in 0..<rows { project(matrix + k, rows) }
    for i in 0..<rows { matrix[i * rows + i] += diagonal }
  }

  /// x <- P x.
  private func project(_ x: UnsafeMutablePointer<Double>, _ stride: Int) {
    var product = 0.0
    for i in 0..<rows { product += root[i] * x[i * stride] }
    for i in 0..<rows { x[i * stride] -= product * root[i] }
  }

  /// x <- S^1/2 A^-1 P S^1/2 x: what a change of dF/dz by x does to z, and its own adjoint.
  private func solveTangent(_ x: UnsafeMutablePointer<Double>) {
    for i in 0..<rows { x[i] *= selection.spread[i].squareRoot() }
    project(x, 1)
    solveCholesky(rows, matrix, x)
    project(x, 1)
    for i in 0..<rows { x[i] *= selection.spread[i].squareRoot() }
  }

  /// Where the solution is not differentiable (two maxima become one), the shifted system's.
  override func adjoint(_ weight: UnsafeMutablePointer<Double>) throws {
    _ = factorize()
    solveTangent(weight)
  }
}
