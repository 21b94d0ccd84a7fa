// Lengths of vectors whose squares are no numbers, and what is solved with them.

import Testing

@testable import TaskMetSwift

/// The library's norm.
private func length(_ x: [Double]) -> Double { norm(x.count, x) }

@Suite("Numbers whose squares overflow or vanish")
struct NormTests {
  @Test("norms", arguments: [1e-300, 1e-170, 1e-100, 1, 1e100, 1e170, 1e300, 3e307])
  func norms(_ size: Double) throws {
    expectEqual(length([3 * size, 0, -4 * size]) / size, 5, to: 1e-15)
    expectEqual(rootMeanSquare(2) { [3 * size, -3 * size][$0] } / size, 3, to: 1e-15)
    // What is next to nothing beside the rest does not count, and does no harm.
    expectEqual(length([size, 1e-200 * size]) / size, 1, to: 1e-15)
    let single = Float(max(min(size, 3e37), 1e-37))
    let x = try Buffer<Float>([3 * single, 0, -4 * single])
    expectEqual(Double(norm(3, x.base) / single), 5, to: 1e-6)
  }

  @Test("norms of zeros, denormal numbers, infinities and NaN")
  func specialNorms() {
    #expect(length([]) == 0 && length([0, -0.0]) == 0)
    let least = Double.leastNonzeroMagnitude
    #expect(length([least]) == least && length([-least, 0]) == least)
    expectEqual(length([6072 * least, 8096 * least]) / least, 10120, to: 1e-3)
    #expect(
      length([1, -.infinity]) == .infinity && length([.greatestFiniteMagnitude, .greatestFiniteMagnitude]) == .infinity)
    #expect(length([1e300, .nan]).isNaN && length([.infinity, .nan]).isNaN)
    expectEqual(rootMeanSquare(3) { _ in 1.7e308 } / 1.7e308, 1, to: 1e-15)
    #expect(rootMeanSquare(2) { [0, .infinity][$0] } == .infinity)
  }

  /// A v = g is linear in g: a power of two goes through every solver without changing a bit of the rest.
  @Test("systems with right sides of any size", arguments: LinearSolver.allCases, [-1000, -500, 500, 1000])
  func systems(_ solver: LinearSolver, _ power: Int) throws {
    let scale = Double(sign: .plus, exponent: power, significand: 1)
    let problem = LinearProblem("", eigenvalues: [1, 0.8, 0.5, 0.4, 0.2])
    let unit = (1 / norm(problem.g)) * problem.g
    // Both are worked on at a size from 1 to 2.
    let expected = try solve(problem.dense, unit, SolverOptions(solver: solver, tolerance: 1e-12))
    let result = try solve(problem.dense, scale * unit, SolverOptions(solver: solver, tolerance: 1e-12))
    expectEqual((1 / scale) * result.v, expected.v, to: 1e-12)
    #expect(result.report.converged == expected.report.converged)
    expectEqual(result.report.gradientNorm / scale, 1, to: 1e-14)
    expectEqual(result.report.solutionNorm / scale, norm(expected.v), to: 1e-12)
    expectEqual(result.report.residual, expected.report.residual, to: 1e-2, scale: 1e-12)
  }

  /// The minimiser of a multiple of a function is the function's.
  @Test("L-BFGS on objectives of any size", arguments: [1e90, 1e100, 1e160, 1e290])
  func objectives(_ size: Double) throws {
    let problem = LinearProblem("", eigenvalues: [1, 0.3, 0.1, 0.03])
    let center = [1, -2, 0.5, 3.0]
    var x = [Double](repeating: 0, count: 4)
    let minimizer = LBFGS(count: 4, memory: 5, maximumIterations: 200, gradientTolerance: 1e-10 * size)
    let report = try minimizer.minimize(&x) { x, gradient in
      let distance = Array(UnsafeBufferPointer(start: x, count: 4)) .- center
      let slope = problem.dense * distance
      for k in 0..<4 { gradient[k] = size * slope[k] }
      return size * (1 + dot(distance, slope) / 2)
    }
    #expect(report.converged && report.iterations < 50)
    expectEqual(x, center, to: 1e-8)
    expectEqual(report.value / size, 1, to: 1e-14)
    #expect(report.gradientNorm <= 1e-10 * size)
  }
}

@Suite("Figures of decisions and metrics")
struct FigureTests {
  @Test("the quality of decisions is not defined where chance is as good as perfect, to what numbers can tell")
  func quality() {
    #expect(DecisionSummary(loss: 1, optimalLoss: 1, randomLoss: 3).quality == 1)
    #expect(DecisionSummary(loss: 3, optimalLoss: 1, randomLoss: 3).quality == 0)
    #expect(DecisionSummary(loss: 2, optimalLoss: 3, randomLoss: 3).quality.isNaN)
    #expect(DecisionSummary(loss: 3, optimalLoss: 3, randomLoss: 3).quality.isNaN)
    #expect(DecisionSummary(loss: 1e308, optimalLoss: 0, randomLoss: .leastNonzeroMagnitude).quality.isNaN)
  }

  @Test("the heaviest outputs, as a sort has them", arguments: [1, 2, 6, 7, 20])
  func heaviest(_ outputs: Int) throws {
    var random = RandomGenerator(seed: 91)
    let metric = try Metric(
      inputs: 0, outputs: outputs, structure: .diagonal, rank: 1, hidden: nil, activation: .identity, seed: 0)
    // Some are equal: the earlier ones are named first.
    try metric.setParameters((0..<outputs).map { _ in Double(random.next() % 5) } + [0])
    let sample = try MetricSample(metric, try Dataset(DenseMatrix(zeros: 2, 1), DenseMatrix(zeros: 2, outputs)))
    let values = sample.byOutput.array
    let sorted = (0..<outputs).sorted { values[$0] > values[$1] || (values[$0] == values[$1] && $0 < $1) }
    #expect(sample.heaviestOutputs(6) == Array(sorted.prefix(6)))
  }

  @Test("every array of a network's state begins on a cache line", arguments: [1, 3, 7])
  func alignment(_ width: Int) throws {
    let network = try DenseNetwork(
      inputs: 2, hidden: [width, width + 2], outputs: 1, activation: .tanh, outputActivation: .sigmoid, bias: true)
    func check<Scalar: BLASScalar>(_: Scalar.Type) throws {
      let state = try NetworkState<Scalar>(network, capacity: 5, order: .curvature)
      for array in state.activations + (state.slopes + state.curvatures + state.cotangents).compactMap({ $0 }) {
        #expect(Int(bitPattern: array) % 64 == 0)
      }
    }
    try check(Double.self)
    try check(Float.self)
  }
}
