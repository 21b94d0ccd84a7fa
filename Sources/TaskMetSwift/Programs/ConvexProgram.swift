// min 1/2 t'Kt + c't over G t <= h, with K positive semidefinite, all numbers of the size of 1: how it is solved.
//
// The interior point method comes near; the constraints that are active there then give the solution to working precision. What
// counts in the end is the residual of the conditions of optimality, however the point was found.

struct ConvexProgram {
  /// Of t, and of G.
  let variables: Int
  let constraints: Int
  /// K, c, G (row-major), h.
  let quadratic: Buffer<Double>
  let linear: Buffer<Double>
  let rows: Buffer<Double>
  let values: Buffer<Double>

  /// t and the constraints' multipliers.
  struct Point {
    let t: Buffer<Double>
    let multipliers: Buffer<Double>
  }

  /// The solution to 1e-10 or better; of very degenerate programs the best that is found, or nil where that is not good to
  /// `tolerance`.
  func solve(tolerance: Double = 1e-8) throws -> Point? {
    if variables == 0 {  // nor are there constraints then
      return Point(t: try Buffer(count: 0), multipliers: try Buffer(count: 0))
    }
    var best = try polish(try interiorPoint(self), tolerance)
    // A set that is nearly a point, or flat, has no inside to come near through: one that is a little wider has.
    for width in [1e-9, 1e-7, 1e-5] where best.residual > tolerance {
      let found = try polish(try interiorPoint(try widened(by: width)), tolerance)
      if found.residual < best.residual { best = found }
    }
    return best.residual <= tolerance ? best.point : nil
  }

  /// The program with room of some width at every constraint.
  private func widened(by width: Double) throws -> ConvexProgram {
    let wider = try Buffer<Double>(count: constraints)
    for i in 0..<constraints { wider[i] = values[i] + width }
    return ConvexProgram(
      variables: variables, constraints: constraints, quadratic: quadratic, linear: linear, rows: rows, values: wider)
  }

  /// The best of a point near the solution and of what the constraints that seem to be active there make of it.
  private func polish(_ near: Point, _ tolerance: Double) throws -> (point: Point, residual: Double) {
    var best = (point: near, residual: try residual(near))
    let slack = try Buffer<Double>(count: constraints)
    let active = try Buffer<Bool>(count: constraints)
    // Strict complementarity first; a constraint whose slack and multiplier are both small may count as active, too.
    for small in [0, 1e-6] {
      findSlack(near.t.base, into: slack.base)
      for i in 0..<constraints { active[i] = near.multipliers[i] > slack[i] || slack[i] < small }
      for _ in 0..<5 where best.residual > 1e-6 * tolerance {
        let point = try ActiveFace(self) { active[$0] }.polish(near)
        let residual = try residual(point)
        if residual < best.residual { best = (point, residual) }
        findSlack(point.t.base, into: slack.base)
        for i in 0..<constraints { active[i] = active[i] ? point.multipliers[i] >= 0 : slack[i] < 0 }
      }
    }
    return best
  }

  /// h - G t
  func findSlack(_ t: UnsafePointer<Double>, into slack: UnsafeMutablePointer<Double>) {
    for i in 0..<constraints { slack[i] = values[i] - shortDot(variables, rows.base + i * variables, t) }
  }

  /// out = K t + c + G'multipliers
  func findSlope(
    _ t: UnsafePointer<Double>, _ multipliers: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
  ) {
    out.update(from: linear.base, count: variables)
    for j in 0..<variables where t[j] != 0 { shortAxpy(variables, t[j], quadratic.base + j * variables, out) }
    for i in 0..<constraints where multipliers[i] != 0 {
      shortAxpy(variables, multipliers[i], rows.base + i * variables, out)
    }
  }

  /// By how much the conditions of optimality are missed, relative to the numbers they are made of.
  func residual(_ point: Point) throws -> Double {
    let (slope, slack) = (try Buffer<Double>(count: variables), try Buffer<Double>(count: constraints))
    findSlope(point.t.base, point.multipliers.base, into: slope.base)
    findSlack(point.t.base, into: slack.base)
    let dualScale = 1 + largestEntry(point.multipliers)
    let primalScale = 1 + largestEntry(point.t)
    var worst = largestEntry(slope) / dualScale
    for i in 0..<constraints {
      let multiplier = point.multipliers[i]
      worst = max(
        worst, -slack[i] / primalScale, -multiplier / dualScale, abs(multiplier * slack[i]) / (dualScale * primalScale))
    }
    return worst.isFinite ? worst : .infinity
  }
}

/// The largest absolute value; infinite where one is not finite.
func largestEntry(_ values: Buffer<Double>) -> Double {
  if firstNonFinite(values.count, values.base) != nil { return .infinity }
  var largest = 0.0
  for k in 0..<values.count { largest = max(largest, abs(values[k])) }
  return largest
}
