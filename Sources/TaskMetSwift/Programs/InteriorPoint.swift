// Mehrotra's predictor-corrector method for convex programs.
//
// K gets a little of the identity, so that the Newton systems are definite whatever K and G are: the solution moves by no more
// than what polishing takes back, and a program without a solution ends far away, with a large residual.

private let regularization = 1e-11

/// A point near the solution, if there is one: the best that was met.
func interiorPoint(_ program: ConvexProgram) throws -> ConvexProgram.Point {
  let method = try InteriorPoint(program)
  try method.start()
  let best = try method.copy()
  var (least, stalled) = (Double.infinity, 0)
  for _ in 0..<100 {
    let error = method.measure()
    stalled = error < 0.9 * least ? 0 : stalled + 1
    if error < least {
      least = error
      method.copy(to: best)
    }
    // Below, the Newton systems lose more to rounding than a step gains.
    if !error.isFinite || least <= 1e-11 || stalled > 5 { break }
    if try !method.step() { break }
  }
  return best
}

private struct InteriorPoint {
  private let program: ConvexProgram
  private let (n, m): (Int, Int)
  private let t: Buffer<Double>
  private let slack: Buffer<Double>
  private let multipliers: Buffer<Double>
  private let (tStep, slackStep, multiplierStep): (Buffer<Double>, Buffer<Double>, Buffer<Double>)
  private let dualResidual: Buffer<Double>
  private let primalResidual: Buffer<Double>
  /// What slack times multiplier has too much of, and what the Newton system makes of it.
  private let excess: Buffer<Double>
  private let weighted: Buffer<Double>
  private let weightedRows: Buffer<Double>
  private let matrix: Buffer<Double>

  init(_ program: ConvexProgram) throws {
    self.program = program
    (n, m) = (program.variables, program.constraints)
    func vector(_ count: Int) throws -> Buffer<Double> { try Buffer(repeating: 0, count: count) }
    (t, slack, multipliers) = (try vector(n), try vector(m), try vector(m))
    (tStep, slackStep, multiplierStep) = (try vector(n), try vector(m), try vector(m))
    (dualResidual, primalResidual) = (try vector(n), try vector(m))
    (excess, weighted) = (try vector(m), try vector(m))
    weightedRows = try vector(try checkedProduct(m, n))
    matrix = try vector(try checkedProduct(n, n))
  }

  func copy() throws -> ConvexProgram.Point {
    ConvexProgram.Point(
      t: try Buffer(copying: t.base, count: n), multipliers: try Buffer(copying: multipliers.base, count: m))
  }

  func copy(to point: ConvexProgram.Point) {
    point.t.base.update(from: t.base, count: n)
    point.multipliers.base.update(from: multipliers.base, count: m)
  }

  /// The minimum of the objective plus half the squared slack; slack and multipliers are then shifted to be positive.
  func start() throws {
    guard let system = try factorize({ _ in 1 }) else { return }
    t.base.update(repeating: 0, count: n)
    addTransposed(program.values.base, to: t.base)
    Double.axpy(n, -1, program.linear.base, t.base)
    try system.solve(t.base)
    program.findSlack(t.base, into: slack.base)
    for i in 0..<m { multipliers[i] = -slack[i] }
    for values in [slack, multipliers] {
      let least = (0..<m).reduce(1) { min($0, values[$1]) }
      if least <= 1e-3 { for i in 0..<m { values[i] += 1 - least } }
    }
  }

  /// Finds the residuals of the present point: the largest, or the largest product of slack and multiplier, relative to the
  /// point.
  func measure() -> Double {
    program.findSlope(t.base, multipliers.base, into: dualResidual.base)
    Double.axpy(n, regularization, t.base, dualResidual.base)
    program.findSlack(t.base, into: primalResidual.base)
    for i in 0..<m { primalResidual[i] = slack[i] - primalResidual[i] }
    var error = max(largestEntry(dualResidual), largestEntry(primalResidual))
    for i in 0..<m { error = max(error, slack[i] * multipliers[i]) }
    let size = 1 + largestEntry(t) + largestEntry(multipliers)
    return error.isFinite && size < 1e13 ? error / size : .infinity
  }

  /// One predictor and corrector step from a point that was measured; false where it leads nowhere.
  func step() throws -> Bool {
    let complementarity = meanComplementarity(0)
    guard let system = try factorize({ multipliers[$0] / slack[$0] }) else { return false }
    for i in 0..<m { excess[i] = slack[i] * multipliers[i] }
    try findSteps(system)
    if m > 0 {
      let reduction = meanComplementarity(longestStep()) / complementarity
      let target = reduction * reduction * reduction * complementarity
      for i in 0..<m { excess[i] = slack[i] * multipliers[i] + slackStep[i] * multiplierStep[i] - target }
      try findSteps(system)
    }
    let length = min(1, 0.995 * longestStep())
    guard length > 1e-10, largestEntry(tStep).isFinite else { return false }
    Double.axpy(n, length, tStep.base, t.base)
    Double.axpy(m, length, slackStep.base, slack.base)
    Double.axpy(m, length, multiplierStep.base, multipliers.base)
    return true
  }

  /// y += G'x
  private func addTransposed(_ x: UnsafePointer<Double>, to y: UnsafeMutablePointer<Double>) {
    for i in 0..<m { shortAxpy(n, x[i], program.rows.base + i * n, y) }
  }

  /// K + G'W G; nil where that is no matrix of numbers.
  private func factorize(_ weight: (Int) -> Double) throws -> SymmetricSystem? {
    matrix.base.update(from: program.quadratic.base, count: n * n)
    for k in 0..<n { matrix[k * (n + 1)] += regularization }
    if m > 0 {
      for i in 0..<m {
        let (line, factor) = (weightedRows.base + i * n, weight(i))
        for j in 0..<n { line[j] = factor * program.rows[i * n + j] }
      }
      Double.multiply(
        n, n, m, program.rows.base, n, transposeA: true, weightedRows.base, n, transposeB: false, beta: 1, matrix.base,
        n)
    }
    return firstNonFinite(n * n, matrix.base) == nil ? try SymmetricSystem(consuming: matrix, order: n) : nil
  }

  /// The Newton step for the present residuals and excess.
  private func findSteps(_ system: SymmetricSystem) throws {
    for i in 0..<m { weighted[i] = (excess[i] - multipliers[i] * primalResidual[i]) / slack[i] }
    tStep.base.update(repeating: 0, count: n)
    addTransposed(weighted.base, to: tStep.base)
    Double.axpy(n, -1, dualResidual.base, tStep.base)
    try system.solve(tStep.base)
    for i in 0..<m {
      slackStep[i] = -primalResidual[i] - shortDot(n, program.rows.base + i * n, tStep.base)
      multiplierStep[i] = -(excess[i] + multipliers[i] * slackStep[i]) / slack[i]
    }
  }

  /// How far the steps can go until a slack or a multiplier is zero.
  private func longestStep() -> Double {
    var length = 1 / 0.995
    for i in 0..<m {
      if slackStep[i] < 0 { length = min(length, -slack[i] / slackStep[i]) }
      if multiplierStep[i] < 0 { length = min(length, -multipliers[i] / multiplierStep[i]) }
    }
    return length
  }

  /// Mean product of slack and multiplier after a part of the step.
  private func meanComplementarity(_ length: Double) -> Double {
    var sum = 0.0
    for i in 0..<m {
      sum += (slack[i] + length * slackStep[i]) * (multipliers[i] + length * multiplierStep[i])
    }
    return m == 0 ? 0 : sum / Double(m)
  }
}
