// The solvers of (H + ridge I) v = g: what they report, where they stop, and what they do with a system that isn't
// theirs. Their accuracy is check 8 of IndependentChecks.swift.

import Testing

@testable import TaskMetSwift

private let iterativeSolvers: [LinearSolver] = [.cg, .normalCG, .minres, .neumann, .gaussNewtonCG]

private let definite = LinearProblem("definite", eigenvalues: [1, 0.8, 0.5, 0.4, 0.2])
private let indefinite = LinearProblem("indefinite", eigenvalues: [1, 0.8, -0.5, 0.4, -0.2])

@Suite("Linear solvers")
struct LinearSolverTests {
  @Test("the report says what was done", arguments: LinearSolver.allCases, [1e-3, 1e-12])
  func report(_ solver: LinearSolver, _ tolerance: Double) throws {
    for problem in [definite, indefinite] {
      let result = try solve(
        problem.dense, problem.g, SolverOptions(solver: solver, tolerance: tolerance, ridge: 0.05))
      let report = result.report
      let matrix = problem.dense + 0.05 * .identity(5)
      expectEqual(report.residual, relativeResidual(matrix, problem.g, result.v), to: 1e-10, scale: 1e-4)
      #expect(report.converged == (report.residual <= tolerance))
      expectEqual(report.gradientNorm, norm(problem.g), to: 1e-14)
      expectEqual(report.solutionNorm, norm(result.v), to: 1e-14)
      #expect(report.operatorProducts == result.products)
      #expect(report.negativeCurvature == false || problem.kind == .indefinite)
    }
  }

  @Test("no product is taken for A 0 at a cold start", arguments: [(LinearSolver.cg, 3), (.minres, 3), (.normalCG, 5)])
  func coldStart(_ solver: LinearSolver, _ products: Int) throws {
    var options = SolverOptions(solver: solver, tolerance: 1e-14)
    options.maximumIterations = 2
    let cold = try solve(definite.dense, definite.g, options)
    #expect(cold.products == products && cold.report.iterations == 2)
    // A start that is as good as zero gives the same solution, for one product more.
    let warm = try solve(definite.dense, definite.g, from: [Double](repeating: 1e-300, count: 5), options)
    #expect(warm.products == products + 1)
    expectEqual(warm.v, cold.v, to: 1e-13)
  }

  @Test(
    "conjugate gradients meet negative curvature and go on with MINRES", arguments: [LinearSolver.cg, .gaussNewtonCG])
  func negativeCurvature(_ solver: LinearSolver) throws {
    let result = try solve(indefinite.dense, indefinite.g, SolverOptions(solver: solver, tolerance: 1e-12))
    #expect(result.report.solver == .minres && result.report.negativeCurvature && result.report.converged)
    expectEqual(result.v, indefinite.dense.solve(indefinite.g), to: 1e-10)
    let positive = try solve(definite.dense, definite.g, SolverOptions(solver: solver, tolerance: 1e-12))
    #expect(positive.report.solver == solver && !positive.report.negativeCurvature && positive.report.converged)
  }

  @Test("curvature of exactly zero with A p not zero is an indefinite A", arguments: [LinearSolver.cg, .minres])
  func zeroCurvature(_ solver: LinearSolver) throws {
    let result = try solve(.diagonal([1, -1]), [1, 1], SolverOptions(solver: solver, tolerance: 1e-14))
    #expect(result.report.solver == .minres && result.report.negativeCurvature && result.report.converged)
    expectEqual(result.v, [1, -1], to: 1e-14)
  }

  @Test(
    "negative curvature is reported by each solver that can see it",
    arguments: [LinearSolver.cg, .normalCG, .minres, .dense, .gaussNewtonCG])
  func reportsNegativeCurvature(_ solver: LinearSolver) throws {
    for eigenvalues in [[-1, -2.0], [3, -1e-3, 1], [1, 1, -1]] {
      let problem = LinearProblem("", eigenvalues: eigenvalues)
      let report = try solve(problem.dense, problem.g, SolverOptions(solver: solver, tolerance: 1e-13)).report
      #expect(report.negativeCurvature, "\(eigenvalues)")
    }
    let report = try solve(definite.dense, definite.g, SolverOptions(solver: solver, tolerance: 1e-13)).report
    #expect(!report.negativeCurvature)
  }

  @Test(
    "a singular system with a solution gets its least-norm one",
    arguments: [LinearSolver.cg, .normalCG, .minres, .dense])
  func singularConsistent(_ solver: LinearSolver) throws {
    let problem = LinearProblem("", eigenvalues: [1, 0.5, 0.2, 0, 0])
    let expected = problem.dense * [1, -2, 0.5, 3, 1]
    let result = try solve(
      problem.dense, problem.dense * expected, SolverOptions(solver: solver, tolerance: 1e-13))
    #expect(result.report.converged && !result.report.negativeCurvature && result.report.solver == solver)
    expectEqual(result.v, expected, to: 1e-11)
  }

  @Test(
    "a singular system without a solution is not converged, and v stays bounded",
    arguments: [LinearSolver.cg, .normalCG, .minres, .dense],
    [[1, 0], [1, 0.5, 0.2, 0, 0], [1, 0.7, 0.6, 0.1, 1e-3, 0]])
  func singularInconsistent(_ solver: LinearSolver, _ eigenvalues: [Double]) throws {
    let problem = LinearProblem("", eigenvalues: eigenvalues)
    let result = try solve(problem.dense, problem.g, SolverOptions(solver: solver))
    #expect(!result.report.converged && !result.report.negativeCurvature)
    #expect(result.report.residual < 1 && result.report.solutionNorm < 1e5 * norm(problem.g))
    // All of g is out of reach: nothing happens.
    let lost = try solve(.diagonal([1, 0]), [0, 1], SolverOptions(solver: solver))
    #expect(!lost.report.converged && lost.report.residual == 1 && lost.v == [0, 0])
  }

  @Test("MINRES and dense leave the smallest residual there is", arguments: [LinearSolver.minres, .dense])
  func leastResidual(_ solver: LinearSolver) throws {
    for eigenvalues in [[1, 0.5, 0.2, 0, 0], [1, -0.5, 0.2, 0]] {
      let problem = LinearProblem("", eigenvalues: eigenvalues)
      let report = try solve(problem.dense, problem.g, SolverOptions(solver: solver)).report
      // (c A A + I)^-1 g is the part of g outside of A's range, for a large c.
      let shifted = (1e9 * problem.dense * problem.dense + .identity(problem.order)).solve(problem.g)
      expectEqual(report.residual, norm(shifted) / norm(problem.g), to: 1e-6)
    }
  }

  @Test("Neumann's series converges or says that it did not")
  func neumann() throws {
    let options = SolverOptions(solver: .neumann, maximumIterations: 5000, tolerance: 1e-12)
    let result = try solve(definite.dense, definite.g, options)
    #expect(result.report.converged)
    expectEqual(result.v, definite.dense.solve(definite.g), to: 1e-10)
    for step in [1.5, 2.1, 10, 1e6] {
      var tooLong = options
      tooLong.neumannStep = step
      let other = try solve(definite.dense, definite.g, tooLong)
      #expect(other.report.converged == (step < 2))
      #expect(other.report.residual <= 1 && other.v.allSatisfy(\.isFinite), "the best v is kept")
    }
    let report = try solve(indefinite.dense, indefinite.g, options).report
    #expect(!report.converged && report.residual <= 1)
  }

  @Test("identity gives g, and knows how wrong that is")
  func identity() throws {
    let result = try solve(definite.dense, definite.g, SolverOptions(solver: .identity))
    #expect(result.v == definite.g && !result.report.converged)
    expectEqual(result.report.residual, relativeResidual(definite.dense, definite.g, definite.g), to: 1e-13)
    #expect(try solve(.identity(3), [1, 2, 3], SolverOptions(solver: .identity)).report.converged)
  }

  @Test("normal_ridge is added to A A", arguments: [definite, indefinite])
  func normalRidge(_ problem: LinearProblem) throws {
    let options = SolverOptions(
      solver: .normalCG, maximumIterations: 1000, tolerance: 0, ridge: 0.03, normalRidge: 0.02)
    let result = try solve(problem.dense, problem.g, options)
    let a = problem.dense + 0.03 * .identity(5)
    expectEqual(result.v, (a * a + 0.02 * .identity(5)).solve(a * problem.g), to: 1e-10)
    #expect(!result.report.converged)
    expectEqual(result.report.residual, relativeResidual(a, problem.g, result.v), to: 1e-10)
  }

  @Test("gauss_newton_cg solves with G, and reports the residual with H")
  func gaussNewton() throws {
    let options = SolverOptions(solver: .gaussNewtonCG, tolerance: 1e-12, ridge: 0.1)
    let result = try solve(indefinite.dense, gaussNewton: definite.dense, indefinite.g, options)
    expectEqual(result.v, (definite.dense + 0.1 * .identity(5)).solve(indefinite.g), to: 1e-10)
    #expect(result.report.converged, "in its own system")
    expectEqual(
      result.report.residual, relativeResidual(indefinite.dense + 0.1 * .identity(5), indefinite.g, result.v), to: 1e-12
    )
  }

  @Test("from the solution no step is taken", arguments: iterativeSolvers)
  func warmStart(_ solver: LinearSolver) throws {
    let options = SolverOptions(solver: solver, tolerance: 1e-10)
    let solution = definite.dense.solve(definite.g)
    let result = try solve(definite.dense, definite.g, from: solution, options)
    #expect(result.report.iterations == 0 && result.report.converged && result.v == solution)
    let cold = try solve(definite.dense, definite.g, options).report
    let near = try solve(definite.dense, definite.g, from: solution .+ 1e-9 * definite.g, options)
    #expect(near.report.converged && near.report.iterations < cold.iterations)
    let far = try solve(definite.dense, definite.g, from: 1e3 * definite.g, options)
    #expect(far.report.converged)
    expectEqual(far.v, solution, to: 1e-8)
  }

  @Test("the start doesn't matter to dense and identity", arguments: [LinearSolver.dense, .identity])
  func startIsIgnored(_ solver: LinearSolver) throws {
    let options = SolverOptions(solver: solver)
    let result = try solve(definite.dense, definite.g, from: [1e9, -1e9, 3, 4, 5], options)
    #expect(try result.v == solve(definite.dense, definite.g, options).v)
  }

  @Test("g = 0 gives v = 0", arguments: LinearSolver.allCases)
  func zero(_ solver: LinearSolver) throws {
    let result = try solve(definite.dense, [0, 0, 0, 0, 0], from: [1, 2, 3, 4, 5], SolverOptions(solver: solver))
    #expect(result.v == [0, 0, 0, 0, 0] && result.report.converged && result.report.residual == 0)
    #expect(result.report.iterations == 0 && result.products == 0)
  }

  @Test("a tolerance of 0 asks for all there is, and ends", arguments: iterativeSolvers)
  func zeroTolerance(_ solver: LinearSolver) throws {
    let options = SolverOptions(solver: solver, maximumIterations: 10_000, tolerance: 0)
    let result = try solve(definite.dense, definite.g, options)
    #expect(result.report.residual < 1e-13 && result.report.converged == (result.report.residual == 0))
    #expect(result.report.iterations <= 10_000)
    expectEqual(result.v, definite.dense.solve(definite.g), to: 1e-11)
  }

  @Test("the limit of iterations is kept", arguments: iterativeSolvers, [0, 1, 3])
  func limit(_ solver: LinearSolver, _ limit: Int) throws {
    for problem in [definite, indefinite] {
      let options = SolverOptions(solver: solver, maximumIterations: limit, tolerance: 1e-14)
      let result = try solve(problem.dense, problem.g, options)
      #expect(result.report.iterations <= limit && !result.report.converged)
      if problem.kind == .definite { #expect(result.report.iterations == limit) }
      expectEqual(result.report.residual, relativeResidual(problem.dense, problem.g, result.v), to: 1e-12)
      #expect(result.report.residual <= 1 + 1e-12 || solver == .cg || solver == .gaussNewtonCG)
    }
  }

  @Test("each solver needs no more steps than there are unknowns", arguments: [LinearSolver.cg, .minres, .normalCG])
  func termination(_ solver: LinearSolver) throws {
    let report = try solve(definite.dense, definite.g, SolverOptions(solver: solver, tolerance: 1e-10)).report
    #expect(report.converged && report.iterations <= 5)
    // Two different eigenvalues: two steps.
    let double = LinearProblem("", eigenvalues: [1, 1, 1, 0.5, 0.5])
    #expect(try solve(double.dense, double.g, SolverOptions(solver: solver, tolerance: 1e-10)).report.iterations == 2)
  }

  @Test("the scale of g and of A doesn't matter", arguments: LinearSolver.allCases, [1e-60, 1e60])
  func scales(_ solver: LinearSolver, _ scale: Double) throws {
    let options = SolverOptions(solver: solver, maximumIterations: 1000, tolerance: 1e-11)
    for problem in [definite, indefinite] {
      let reference = try solve(problem.dense, problem.g, options)
      let scaled = try solve(problem.dense, scale * problem.g, options)
      expectEqual(1 / scale * scaled.v, reference.v, to: 1e-8)
      #expect(scaled.report.converged == reference.report.converged)
      if solver == .identity { continue }
      let steep = try solve(scale * problem.dense, problem.g, options)
      expectEqual(scale * steep.v, reference.v, to: 1e-8, "a steep A")
    }
  }

  @Test("an error in a product is passed on; one that is not a number is an error", arguments: LinearSolver.allCases)
  func failures(_ solver: LinearSolver) throws {
    struct Failure: Error {}
    func run(_ operation: @escaping LinearOperator, g: [Double] = [1, 2]) throws {
      let matrices = SystemMatrices(
        hessian: operation, gaussNewton: operation, dense: { _ in try DenseFactors(.identity(2)) })
      var v = [0.0, 0]
      _ = try solveLinearSystem(count: 2, matrices, g: g, v: &v, SolverOptions(solver: solver))
    }
    #expect(throws: Failure.self) { try run { _, _ in throw Failure() } }
    expectError(.numerical, "NaN from A") {
      try run { _, out in
        out[0] = .nan
        out[1] = .nan
      }
    }
    expectError(.numerical, "a g whose norm overflows") {
      try run({ w, out in out.update(from: w, count: 2) }, g: [1.5e308, 1.5e308])
    }
  }
}
