// The linear system A v = g, A = H + ridge I symmetric: what every solver is given and what each reports.

/// out = A w.
typealias LinearOperator = (UnsafePointer<Double>, UnsafeMutablePointer<Double>) throws -> Void

/// Raw values are those of `taskmet_solver`.
enum LinearSolver: Int32, CaseIterable {
  case cg, normalCG, minres, neumann, dense, gaussNewtonCG, identity
}

struct SolverOptions {
  var solver = LinearSolver.cg
  /// nil for the solver's own.
  var maximumIterations: Int?
  var tolerance = 1e-8
  var ridge = 0.0
  var normalRidge = 0.0
  /// nil for 1 / |A|, estimated.
  var neumannStep: Double?

  var iterationLimit: Int { maximumIterations ?? (solver == .neumann ? 1000 : 100) }
}

struct SolverReport {
  /// |g - A v| / |g|.
  var residual = 0.0
  var iterations = 0
  var operatorProducts = 0
  var converged = false
  var negativeCurvature = false
  var solver: LinearSolver
  var gradientNorm = 0.0
  var solutionNorm = 0.0
}

/// A system with the vectors that solvers share, counting products with A. A solver moves `v` from where it is towards the
/// solution and stops when `residual` is small enough.
final class LinearSystem {
  let count: Int
  let g: UnsafePointer<Double>
  let v: UnsafeMutablePointer<Double>
  let tolerance: Double
  let gradientNorm: Double
  /// The error of A w beside |A| |w|.
  let rounding: Double
  private let operation: LinearOperator
  private(set) var products = 0
  var iterations = 0
  var negativeCurvature = false
  /// The largest |A w| / |w| that a solver has met: what is rounding is small beside it, also after a restart.
  var operatorNorm = 0.0
  /// The solver met a direction that it can't go on from.
  var brokeDown = false
  /// |g - A v| / |g| by a product at the solver's result.
  private var checkedResidual: Double?
  private let memory: Buffer<Double>
  private let count64: Int

  /// `vectors` is how many work vectors the solver needs, besides the residual.
  init(
    count: Int, g: UnsafePointer<Double>, v: UnsafeMutablePointer<Double>, tolerance: Double, rounding: Double,
    vectors: Int, _ operation: @escaping LinearOperator
  ) throws {
    self.count = count
    self.g = g
    self.v = v
    self.tolerance = tolerance
    self.rounding = rounding
    self.operation = operation
    gradientNorm = norm(count, g)
    // Vectors start on cache lines of their own.
    count64 = (count + 7) & ~7
    memory = try Buffer(repeating: 0, count: try checkedProduct(count64, vectors + 1))
  }

  func vector(_ index: Int) -> UnsafeMutablePointer<Double> { memory.base + (index + 1) * count64 }

  /// g - A v, as `computeResidual` left it or as the solver has updated it since.
  var residual: UnsafeMutablePointer<Double> { memory.base }

  func apply(_ w: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) throws {
    products += 1
    try operation(w, out)
  }

  /// The residual from its definition; returns |g - A v| / |g|. At v = 0 no product is taken.
  @discardableResult
  func computeResidual() throws -> Double {
    if (0..<count).allSatisfy({ v[$0] == 0 }) {
      residual.update(from: g, count: count)
      return relativeResidual
    }
    return try takeResidual()
  }

  private func takeResidual() throws -> Double {
    try apply(v, into: residual)
    for k in 0..<count { residual[k] = g[k] - residual[k] }
    return relativeResidual
  }

  /// The same for a solver's result. The product is taken at v = 0 too, since whether A is finite shows in it; not where the
  /// solver has just taken it to see whether it is done.
  func finalResidual() throws -> Double { try checkedResidual ?? takeResidual() }

  /// Notes p'Ap < 0, where that is more than rounding.
  func noteCurvature(_ p: UnsafePointer<Double>, _ ap: UnsafePointer<Double>) {
    let length = norm(count, p)
    let least = length * max(rounding * norm(count, ap), smallestCurvature * operatorNorm * length)
    if Double.dot(count, p, ap) < -least { negativeCurvature = true }
  }

  /// What of p'Ap is more than rounding, beside |A| |p|^2.
  var smallestCurvature: Double { max(1e-12, 10 * rounding) }

  /// A pivot that is not zero, beside |A|. A smaller one that is coupled to its neighbour by more than the root of this
  /// makes a block with an eigenvalue of each sign.
  var smallestPivot: Double { max(1e-10, rounding) }

  var relativeResidual: Double { norm(count, residual) / gradientNorm }
}

extension LinearSystem {
  /// Runs an iterative solver until the true residual is small enough: where the one the solver updates has drifted from it,
  /// the solver starts again from its v. `body` runs from the present v and residual, with iterations left.
  func solveWithRestarts(limit: Int, _ body: (LinearSystem, Int) throws -> Void) throws {
    brokeDown = false
    var residual = try checkedResidual ?? computeResidual()
    while residual > tolerance, iterations < limit {
      let before = (residual: residual, iterations: iterations)
      checkedResidual = nil
      try body(self, limit)
      residual = try takeResidual()
      checkedResidual = residual
      // The solver can do no more: no step, or hardly any progress.
      if brokeDown { return }
      if iterations == before.iterations || !(residual < 0.5 * before.residual) { return }
    }
  }
}
