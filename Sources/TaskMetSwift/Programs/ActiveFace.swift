// A convex program with some of its constraints as equalities: the face of the feasible set on which its solution lies.

struct ActiveFace {
  private let program: ConvexProgram
  /// The active constraints, and the decomposition of their rows.
  private let active: Buffer<Int>
  private let normals: SingularValues
  /// Of B K B', with B's rows a basis of the directions along the face.
  private let curvature: SingularValues

  init(_ program: ConvexProgram, isActive: (Int) -> Bool) throws {
    self.program = program
    let n = program.variables
    let chosen = try Buffer<Int>(count: program.constraints)
    var count = 0
    for i in 0..<program.constraints where isActive(i) {
      chosen[count] = i
      count += 1
    }
    active = try Buffer(copying: chosen.base, count: count)
    let rows = try Buffer<Double>(count: try checkedProduct(count, n))
    for k in 0..<count { (rows.base + k * n).update(from: program.rows.base + active[k] * n, count: n) }
    normals = try SingularValues(consuming: rows, rows: count, columns: n, negligible: 1e-11)
    let along = normals.nullity
    let (product, reduced) = (try Buffer<Double>(count: along * n), try Buffer<Double>(count: along * along))
    if along > 0 {
      Double.multiply(
        along, n, n, normals.nullSpace, n, transposeA: false, program.quadratic.base, n, transposeB: false, beta: 0,
        product.base, n)
      Double.multiply(
        along, along, n, product.base, n, transposeA: false, normals.nullSpace, n, transposeB: true, beta: 0,
        reduced.base, along)
    }
    curvature = try SingularValues(
      consuming: reduced, rows: along, columns: along, negligible: 1e-12 * largestEntry(program.quadratic))
  }

  /// The program's solution on the face, nearest to a point that is close to it.
  func polish(_ near: ConvexProgram.Point) throws -> ConvexProgram.Point {
    let n = program.variables
    let t = try Buffer(copying: near.t.base, count: n)
    let all = try Buffer<Double>(repeating: 0, count: program.constraints)
    let (slack, slope) = (try Buffer<Double>(count: program.constraints), try Buffer<Double>(count: n))
    let missing = try Buffer<Double>(count: active.count)
    for k in 0..<active.count { all[active[k]] = near.multipliers[active[k]] }
    // The second round refines the first.
    for _ in 0..<2 {
      program.findSlack(t.base, into: slack.base)
      for k in 0..<active.count { missing[k] = slack[active[k]] }
      normals.addSolution(of: missing.base, to: t.base)
      program.findSlope(t.base, all.base, into: slope.base)
      try descend(slope.base, to: t.base)
      correctMultipliers(all, at: t, slope, missing)
    }
    // At a vertex of many constraints there is a choice of multipliers, which may be none below zero: by projections in turn.
    for _ in 0..<100 where (0..<active.count).contains(where: { all[active[$0]] < 0 }) {
      for k in 0..<active.count { all[active[k]] = max(all[active[k]], 0) }
      correctMultipliers(all, at: t, slope, missing)
    }
    return ConvexProgram.Point(t: t, multipliers: all)
  }

  /// The least change of the active constraints' multipliers that makes the point stationary. The last two are room for it.
  private func correctMultipliers(
    _ all: Buffer<Double>, at t: Buffer<Double>, _ slope: Buffer<Double>, _ change: Buffer<Double>
  ) {
    program.findSlope(t.base, all.base, into: slope.base)
    Double.scale(program.variables, -1, slope.base)
    change.base.update(repeating: 0, count: change.count)
    normals.addTransposedSolution(of: slope.base, to: change.base)
    for k in 0..<active.count { all[active[k]] += change[k] }
  }

  /// t -= B'(B K B')^+ B slope: the Newton step along the face, of least norm where K is singular there. It is also the derivative
  /// of the solution by c, which is symmetric.
  func descend(_ slope: UnsafePointer<Double>, to t: UnsafeMutablePointer<Double>) throws {
    let (along, n) = (normals.nullity, program.variables)
    let (coordinates, step) = (try Buffer<Double>(count: along), try Buffer<Double>(repeating: 0, count: along))
    for k in 0..<along { coordinates[k] = Double.dot(n, normals.nullSpace + k * n, slope) }
    curvature.addSolution(of: coordinates.base, to: step.base)
    for k in 0..<along { Double.axpy(n, -step[k], normals.nullSpace + k * n, t) }
  }
}
