// The feasible set {A z = b, G z <= h} of programs that differ in their costs, brought once to the form in which they are solved.
//
// Equalities are taken out: z = z0 + unit N't, with the rows of N an orthonormal basis of A's null space, so that equalities that
// repeat each other do no harm. Inequalities have rows of length 1, and t is measured in a unit that makes h of the size of 1.

/// A matrix of constraints and their right sides.
struct Constraints {
  let count: Int
  let matrix: UnsafePointer<Double>?
  let values: UnsafePointer<Double>?

  static var none: Constraints { Constraints(count: 0, matrix: nil, values: nil) }
}

final class FeasibleSet {
  /// Of z, and of t.
  let variables: Int
  let freedom: Int
  private let origin: Buffer<Double>
  /// N: freedom x variables.
  private let basis: Buffer<Double>
  private let unit: Double
  /// Inequalities in t: rows x freedom, and their values.
  private let inequalities: Int
  private let rows: Buffer<Double>
  private let values: Buffer<Double>

  /// An error where the set is empty.
  init(variables: Int, equalities: Constraints, inequalities: Constraints) throws {
    self.variables = variables
    origin = try Buffer(repeating: 0, count: variables)
    basis = try Self.solveEqualities(equalities, variables, origin)
    freedom = basis.count / variables
    let reduced = try Self.reduce(inequalities, variables, origin, basis)
    self.inequalities = reduced.values.count
    (rows, values, unit) = (reduced.rows, reduced.values, reduced.unit)
    try requireNonempty()
  }

  // MARK: Constraints

  private static func empty(_ why: String) -> TaskMetError {
    TaskMetError.numerical("the program is infeasible: \(why)")
  }

  /// The least-norm solution of the equalities; returns a basis of the directions that keep them.
  private static func solveEqualities(
    _ equalities: Constraints, _ variables: Int, _ solution: Buffer<Double>
  ) throws -> Buffer<Double> {
    let count = equalities.count
    let matrix = try Buffer<Double>(repeating: 0, count: try checkedProduct(count, variables))
    let values = try Buffer<Double>(repeating: 0, count: count)
    for i in 0..<count {
      let line = equalities.matrix! + i * variables
      let length = norm(variables, line)
      if length > 0 {
        for j in 0..<variables { matrix[i * variables + j] = line[j] / length }
        values[i] = equalities.values![i] / length
      } else if equalities.values![i] != 0 {
        throw empty("equality \(i) is 0 = \(equalities.values![i])")
      }
    }
    let copy = try Buffer(copying: matrix.base, count: matrix.count)
    let decomposition = try SingularValues(consuming: copy, rows: count, columns: variables, negligible: 1e-11)
    decomposition.addSolution(of: values.base, to: solution.base)
    let size = largestEntry(values) + norm(variables, solution.base)
    for i in 0..<count {
      if abs(Double.dot(variables, matrix.base + i * variables, solution.base) - values[i]) > 1e-10 * size {
        throw empty("its equalities contradict each other")
      }
    }
    return try Buffer(copying: decomposition.nullSpace, count: decomposition.nullity * variables)
  }

  /// The inequalities in t; those that t has no part in are checked and left out.
  private static func reduce(
    _ inequalities: Constraints, _ variables: Int, _ origin: Buffer<Double>, _ basis: Buffer<Double>
  ) throws -> (rows: Buffer<Double>, values: Buffer<Double>, unit: Double) {
    let freedom = basis.count / variables
    let rows = try Buffer<Double>(count: try checkedProduct(inequalities.count, freedom))
    let values = try Buffer<Double>(count: inequalities.count)
    let distance = norm(variables, origin.base)
    var kept = 0
    for i in 0..<inequalities.count {
      let line = inequalities.matrix! + i * variables
      let full = norm(variables, line)
      let size = abs(inequalities.values![i]) + full * distance
      let row = rows.base + kept * freedom
      for k in 0..<freedom { row[k] = Double.dot(variables, line, basis.base + k * variables) }
      let difference = inequalities.values![i] - Double.dot(variables, line, origin.base)
      let room = abs(difference) > 1e-14 * size ? difference : 0
      let length = norm(freedom, row)
      if length <= 1e-12 * full {
        if room < -1e-10 * size { throw empty("inequality \(i) cannot hold") }
        continue
      }
      for k in 0..<freedom { row[k] /= length }
      values[kept] = room / length
      kept += 1
    }
    let unit = try chooseUnit(values, kept, distance)
    for i in 0..<kept { values[i] /= unit }
    return (
      try Buffer(copying: rows.base, count: kept * freedom), try Buffer(copying: values.base, count: kept), unit
    )
  }

  /// The median of the absolute values that are not zero, unless it is next to nothing beside the origin's distance; 1 where
  /// there are none.
  private static func chooseUnit(_ values: Buffer<Double>, _ count: Int, _ distance: Double) throws -> Double {
    let sizes = try Buffer<Double>(count: count)
    var different = 0
    for i in 0..<count where values[i] != 0 {
      sizes[different] = abs(values[i])
      different += 1
    }
    var sorted = UnsafeMutableBufferPointer(start: sizes.base, count: different)
    sorted.sort()
    let unit = max(different == 0 ? 0 : sizes[different / 2], 1e-8 * distance)
    return unit > 0 ? unit : 1
  }

  /// The smallest violation that any t has to put up with: min v over G t - v <= h, v >= 0.
  private func requireNonempty() throws {
    let (n, m) = (freedom, inequalities)
    if (0..<m).allSatisfy({ values[$0] >= 0 }) { return }
    let wide = try Buffer<Double>(repeating: 0, count: try checkedProduct(m + 1, n + 1))
    let bounds = try Buffer<Double>(repeating: 0, count: m + 1)
    for i in 0..<m {
      (wide.base + i * (n + 1)).update(from: rows.base + i * n, count: n)
      wide[i * (n + 1) + n] = -1
      bounds[i] = values[i]
    }
    wide[m * (n + 1) + n] = -1
    let linear = try Buffer<Double>(repeating: 0, count: n + 1)
    linear[n] = 1
    let program = ConvexProgram(
      variables: n + 1, constraints: m + 1, quadratic: try Buffer(repeating: 0, count: (n + 1) * (n + 1)),
      linear: linear, rows: wide, values: bounds)
    // Where that cannot be told, the programs themselves will tell.
    guard let point = try program.solve() else { return }
    if point.t[n] > 1e-8 * (1 + largestEntry(point.t)) {
      throw Self.empty("no point comes closer to all inequalities than \(point.t[n] * unit)")
    }
  }

  // MARK: Costs

  /// What a matrix Q of the objective 1/2 z'Qz + c'z becomes in t.
  struct Quadratic {
    /// unit^2 N Q N', and unit N Q z0.
    fileprivate let matrix: Buffer<Double>
    fileprivate let linear: Buffer<Double>
  }

  func reduce(quadratic: UnsafePointer<Double>) throws -> Quadratic {
    let (n, d) = (freedom, variables)
    let matrix = try Buffer<Double>(count: try checkedProduct(n, n))
    let linear = try Buffer<Double>(repeating: 0, count: n)
    if n > 0 {
      let product = try Buffer<Double>(count: try checkedProduct(n, d))
      Double.multiply(
        n, d, d, basis.base, d, transposeA: false, quadratic, d, transposeB: false, beta: 0, product.base, d)
      Double.multiply(
        n, n, d, product.base, d, transposeA: false, basis.base, d, transposeB: true, beta: 0, matrix.base, n)
      for k in 0..<n { linear[k] = unit * Double.dot(d, product.base + k * d, origin.base) }
      Double.scale(n * n, unit * unit, matrix.base)
    }
    return Quadratic(matrix: matrix, linear: linear)
  }

  /// The minimum of 1/2 z'Qz + cost'z.
  func minimize(_ quadratic: Quadratic, cost: UnsafePointer<Double>) throws -> ProgramSolution {
    let (program, scale) = try makeProgram(quadratic, cost, multiple: 1)
    if let point = try program.solve() { return try solution(program, point, scale, multiple: 1) }
    // Where most constraints are far closer to the origin than some, these may need the larger unit.
    let multiple = largestEntry(values)
    if multiple > 1e3 {
      let (program, scale) = try makeProgram(quadratic, cost, multiple: multiple)
      if let point = try program.solve() { return try solution(program, point, scale, multiple: multiple) }
    }
    throw try program.failure()
  }

  /// The program in t, with t in a multiple of the unit, and what its objective was divided by.
  private func makeProgram(
    _ quadratic: Quadratic, _ cost: UnsafePointer<Double>, multiple: Double
  ) throws -> (ConvexProgram, scale: Double) {
    let n = freedom
    let linear = try Buffer(copying: quadratic.linear.base, count: n)
    for k in 0..<n {
      linear[k] = multiple * (linear[k] + unit * Double.dot(variables, basis.base + k * variables, cost))
    }
    let matrix = try Buffer(copying: quadratic.matrix.base, count: n * n)
    for k in 0..<(n * n) { matrix[k] *= multiple * multiple }
    let size = max(largestEntry(linear), largestEntry(matrix))
    let scale = size > 0 ? size : 1
    // The inverse of a scale may overflow.
    for k in 0..<n { linear[k] /= scale }
    for k in 0..<(n * n) { matrix[k] /= scale }
    var values = values
    if multiple != 1 {
      values = try Buffer(copying: values.base, count: inequalities)
      for i in 0..<inequalities { values[i] /= multiple }
    }
    let program = ConvexProgram(
      variables: n, constraints: inequalities, quadratic: matrix, linear: linear, rows: rows, values: values)
    return (program, scale)
  }

  private func solution(
    _ program: ConvexProgram, _ point: ConvexProgram.Point, _ scale: Double, multiple: Double
  ) throws -> ProgramSolution {
    let decision = try Buffer(copying: origin.base, count: variables)
    for k in 0..<freedom {
      Double.axpy(variables, multiple * unit * point.t[k], basis.base + k * variables, decision.base)
    }
    return ProgramSolution(
      set: self, program: program, point: point, scale: scale, multiple: multiple, decision: decision)
  }

  /// out = multiple unit N slope
  fileprivate func reduce(slope: UnsafePointer<Double>, multiple: Double, into out: UnsafeMutablePointer<Double>) {
    for k in 0..<freedom { out[k] = multiple * unit * Double.dot(variables, basis.base + k * variables, slope) }
  }

  /// out = multiple unit N't
  fileprivate func expand(_ t: UnsafePointer<Double>, multiple: Double, into out: UnsafeMutablePointer<Double>) {
    out.update(repeating: 0, count: variables)
    for k in 0..<freedom { Double.axpy(variables, multiple * unit * t[k], basis.base + k * variables, out) }
  }
}

/// A program's optimal decision, and how it depends on the cost.
struct ProgramSolution {
  fileprivate let set: FeasibleSet
  fileprivate let program: ConvexProgram
  fileprivate let point: ConvexProgram.Point
  fileprivate let scale: Double
  /// Of the set's unit.
  fileprivate let multiple: Double
  let decision: Buffer<Double>

  /// The slope of a loss in the cost from its slope in the decision, by the implicit function theorem on the active constraints.
  /// A constraint that is active without a multiplier counts, which makes the derivative smaller.
  func pullback(_ slope: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) throws {
    let slack = try Buffer<Double>(count: program.constraints)
    program.findSlack(point.t.base, into: slack.base)
    let rounding = 1e-9 * (1 + largestEntry(point.t))
    let face = try ActiveFace(program) { slack[$0] <= rounding }
    let reduced = try Buffer<Double>(count: set.freedom)
    let derivative = try Buffer<Double>(repeating: 0, count: set.freedom)
    set.reduce(slope: slope, multiple: multiple, into: reduced.base)
    try face.descend(reduced.base, to: derivative.base)
    set.expand(derivative.base, multiple: multiple, into: out)
    Double.scale(set.variables, 1 / scale, out)
  }
}
