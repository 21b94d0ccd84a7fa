// Symmetric systems with known eigenvalues, and the library's solvers on them.

import Testing

@testable import TaskMetSwift

/// A = Q diag(eigenvalues) Q', or a matrix that is given.
struct LinearProblem: Sendable, CustomTestStringConvertible {
  enum Kind: Sendable { case definite, indefinite }

  let name: String
  let kind: Kind
  let matrix: [[Double]]
  /// Of A + ridge I.
  let condition: Double
  var ridge = 0.0

  var testDescription: String { name }
  var order: Int { matrix.count }
  var dense: DenseMatrix { DenseMatrix(matrix) }
  /// A + ridge I.
  var shifted: DenseMatrix { dense + ridge * .identity(order) }

  /// A right-hand side with all eigenvectors in it.
  var g: [Double] {
    var random = RandomGenerator(seed: 81)
    return .normal(order, &random)
  }

  /// What the table of checks allows.
  func tolerance(_ solver: LinearSolver) -> Double {
    if condition <= 1e3 { return 1e-10 }
    return (solver == .normalCG ? condition * condition : condition) * 1e-13
  }
}

extension LinearProblem {
  init(_ name: String, eigenvalues: [Double], ridge: Double = 0) {
    var random = RandomGenerator(seed: UInt64(80 + eigenvalues.count))
    let q = orthogonal(eigenvalues.count, &random)
    let a = q * .diagonal(eigenvalues) * q.transposed
    let shifted = eigenvalues.map { abs($0 + ridge) }
    self.init(
      name: name, kind: eigenvalues.allSatisfy { $0 + ridge > 0 } ? .definite : .indefinite,
      matrix: (0..<a.rows).map { (0.5 * (a + a.transposed)).row($0) }, condition: shifted.max()! / shifted.min()!,
      ridge: ridge)
  }

  /// 1 to 1 / condition, evenly in the logarithm.
  private static func spectrum(_ order: Int, _ condition: Double) -> [Double] {
    (0..<order).map { power(condition, -Double($0) / Double(order - 1)) }
  }

  static let conditions = [1e1, 1e2, 1e3, 1e4, 1e5, 1e6]

  static let all: [LinearProblem] =
    conditions.map { LinearProblem("definite, condition \($0)", eigenvalues: spectrum(20, $0)) }
    + conditions.map { condition in
      LinearProblem(
        "indefinite, condition \(condition)",
        eigenvalues: spectrum(20, condition).enumerated().map { $0.offset % 3 == 1 ? -$0.element : $0.element })
    }
    + [1e-1, 1e-3, 1e-5].map { ridge in
      LinearProblem(
        "singular + ridge \(ridge)", eigenvalues: spectrum(12, 100).map { $0 < 0.1 ? 0 : $0 }, ridge: ridge)
    }
    + [0.3, -2, 1e-8, -1e8].map { LinearProblem("1-d, \($0)", eigenvalues: [$0]) }
    + [
      LinearProblem("indefinite + ridge", eigenvalues: [-1, -0.2, 0, 0.5, 2], ridge: 0.1),
      LinearProblem("negative definite", eigenvalues: [-1, -3, -0.1]),
      weightAndBias,
    ]

  /// The Hessian of a linear fit with an intercept whose inputs are far from zero: a solver that keeps only the
  /// diagonal blocks is wrong by a factor.
  private static var weightAndBias: LinearProblem {
    var random = RandomGenerator(seed: 82)
    let x = DenseMatrix((0..<40).map { _ in [random.normal() + 3, random.normal() - 2, 1] })
    let h = 2 / 40 * (x.transposed * x)
    return LinearProblem(name: "coupled blocks", kind: .definite, matrix: (0..<3).map(h.row), condition: 1e3)
  }
}

func orthogonal(_ order: Int, _ random: inout RandomGenerator) -> DenseMatrix {
  var rows: [[Double]] = []
  for _ in 0..<order {
    var row = [Double].normal(order, &random)
    for _ in 0..<2 { for other in rows { row = row .- dot(row, other) * other } }
    rows.append((1 / norm(row)) * row)
  }
  return DenseMatrix(rows)
}

// MARK: - Solving

/// The library's factorisation, as a solver wants it.
struct DenseFactors: DenseSolve {
  let system: SymmetricSystem
  var isIndefinite: Bool { system.isIndefinite }

  init(_ matrix: DenseMatrix) throws {
    system = try SymmetricSystem(consuming: try Buffer(matrix.values), order: matrix.rows)
  }

  func solve(_ g: UnsafePointer<Double>, into v: UnsafeMutablePointer<Double>) throws {
    v.update(from: g, count: system.order)
    try system.solve(v)
  }
}

struct Solution {
  let v: [Double]
  let report: SolverReport
  /// Products with H and G that were asked for.
  let products: Int
}

/// Solves (A + ridge I) v = g; G, where it is given, in place of A for the solver that wants it.
func solve(
  _ matrix: DenseMatrix, gaussNewton: DenseMatrix? = nil, _ g: [Double], from start: [Double]? = nil,
  _ options: SolverOptions
) throws -> Solution {
  var products = 0
  func product(_ matrix: DenseMatrix) -> LinearOperator {
    { w, out in
      products += 1
      let result = matrix * Array(UnsafeBufferPointer(start: w, count: matrix.columns))
      for (k, value) in result.enumerated() { out[k] = value }
    }
  }
  let matrices = SystemMatrices(
    hessian: product(matrix), gaussNewton: product(gaussNewton ?? matrix),
    dense: { try DenseFactors(matrix + $0 * .identity(matrix.rows)) })
  var v = start ?? [Double](repeating: 0, count: g.count)
  let report = try solveLinearSystem(count: g.count, matrices, g: g, v: &v, options)
  return Solution(v: v, report: report, products: products)
}

/// |g - A v| / |g|.
func relativeResidual(_ matrix: DenseMatrix, _ g: [Double], _ v: [Double]) -> Double {
  norm(g .- matrix * v) / norm(g)
}
