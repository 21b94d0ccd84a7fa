// Adam and gradient descent against their formulas; L-BFGS on functions whose minimisers are known.

import Glibc
import Testing

@testable import TaskMetSwift

@Suite("First-order optimisers")
struct FirstOrderTests {
  private static let gradients: [[Double]] = [
    [1, -2, 0.3], [0.5, 4, 0], [-3, 1e-3, 0], [2, 2, 1e-12], [0, 0, -7], [1e5, -1e-5, 1],
  ]

  private func run(_ optimizer: Optimizer, _ gradients: [[Double]], from start: [Double]) throws -> [[Double]] {
    var p = start
    return try gradients.map { gradient in
      try optimizer.step(gradient: gradient, parameters: &p)
      return p
    }
  }

  @Test("Adam", arguments: [(0.9, 0.999, 1e-8), (0, 0, 1e-3), (0.5, 0.9, 1e-2)])
  func adam(_ beta1: Double, _ beta2: Double, _ epsilon: Double) throws {
    let optimizer = try Optimizer(
      .adam(beta1: beta1, beta2: beta2, epsilon: epsilon), count: 3, learningRate: 0.1)
    let path = try run(optimizer, Self.gradients, from: [1, 2, 3])
    var (p, m, v) = ([1.0, 2, 3], [0.0, 0, 0], [0.0, 0, 0])
    for (step, g) in Self.gradients.enumerated() {
      for k in 0..<3 {
        m[k] = beta1 * m[k] + (1 - beta1) * g[k]
        v[k] = beta2 * v[k] + (1 - beta2) * g[k] * g[k]
        let mhat = m[k] / (1 - pow(beta1, Double(step + 1)))
        let vhat = v[k] / (1 - pow(beta2, Double(step + 1)))
        p[k] -= 0.1 * mhat / (vhat.squareRoot() + epsilon)
      }
      expectEqual(path[step], p, to: 1e-14, "step \(step)")
    }
  }

  @Test("Adam's first step is the rate, whatever the gradient's size")
  func firstStep() throws {
    let optimizer = try Optimizer(.adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-30), count: 3, learningRate: 0.1)
    expectEqual(try run(optimizer, [[1e-9, -1, 1e9]], from: [0, 0, 0])[0], [-0.1, 0.1, -0.1], to: 1e-13)
  }

  @Test("gradient descent with momentum", arguments: [0, 0.9])
  func sgd(_ momentum: Double) throws {
    let path = try run(
      Optimizer(.sgd(momentum: momentum), count: 3, learningRate: 0.1), Self.gradients, from: [1, 2, 3])
    var (p, b) = ([1.0, 2, 3], [0.0, 0, 0])
    for (step, g) in Self.gradients.enumerated() {
      b = momentum * b .+ g
      p = p .- 0.1 * b
      expectEqual(path[step], p, to: 1e-14, "step \(step)")
    }
  }

  private static let methods: [Optimizer.Method] = [
    .adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8), .sgd(momentum: 0.9),
  ]

  @Test("a reset optimiser is a new one with its learning rate", arguments: 0..<2)
  func reset(_ index: Int) throws {
    let method = Self.methods[index]
    let used = try Optimizer(method, count: 3, learningRate: 0.1)
    used.setLearningRate(0.02)
    _ = try run(used, Self.gradients, from: [1, 2, 3])
    used.reset()
    let fresh = try Optimizer(method, count: 3, learningRate: 0.02)
    #expect(try run(used, Self.gradients, from: [1, 2, 3]) == run(fresh, Self.gradients, from: [1, 2, 3]))
  }

  @Test("an optimiser goes on from a state, or from the start", arguments: 0..<2)
  func states(_ index: Int) throws {
    let optimizer = try Optimizer(Self.methods[index], count: 3, learningRate: 0.1)
    let middle = try run(optimizer, Array(Self.gradients.prefix(3)), from: [1, 2, 3])
    let state = try optimizer.state()
    let end = try run(optimizer, Array(Self.gradients.dropFirst(3)), from: middle.last!)
    optimizer.restore(state)
    #expect(try run(optimizer, Array(Self.gradients.dropFirst(3)), from: middle.last!) == end)
    optimizer.restore(nil)
    #expect(try run(optimizer, Array(Self.gradients.prefix(3)), from: [1, 2, 3]) == middle)
  }

  @Test("a step that isn't finite is refused, and nothing has happened", arguments: 0..<2)
  func refusal(_ index: Int) throws {
    let method = Self.methods[index]
    let (optimizer, twin) = (
      try Optimizer(method, count: 3, learningRate: 0.1), try Optimizer(method, count: 3, learningRate: 0.1)
    )
    var p = try run(optimizer, Self.gradients, from: [1, 2, 3]).last!
    let before = p
    _ = try run(twin, Self.gradients, from: [1, 2, 3])
    for bad in [[0, .nan, 0], [.infinity, 0, 0], [0, 0, 1e308 * 10]] as [[Double]] {
      expectError(.numerical) { try optimizer.step(gradient: bad, parameters: &p) }
      #expect(p == before)
    }
    // The moments are as they were too.
    #expect(try run(optimizer, Self.gradients, from: p) == run(twin, Self.gradients, from: p))
    var far = [-1.7e308, 0, 0]
    optimizer.setLearningRate(1e308)
    expectError(.numerical, "parameters overflow") { try optimizer.step(gradient: [1e5, 0, 0], parameters: &far) }
    #expect(far == [-1.7e308, 0, 0])
  }
}

/// A function with its gradient.
private struct Function: Sendable {
  let value: @Sendable ([Double]) -> Double
  let gradient: @Sendable ([Double]) -> [Double]

  /// (1 - x)^2 + 100 (y - x^2)^2, chained over the variables.
  static let rosenbrock = Function(
    value: { x in
      (0..<(x.count - 1)).reduce(0.0) { (sum: Double, k: Int) in
        let (distance, valley) = (1 - x[k], x[k + 1] - x[k] * x[k])
        return sum + distance * distance + 100 * valley * valley
      }
    },
    gradient: { x in
      var g = [Double](repeating: 0, count: x.count)
      for k in 0..<(x.count - 1) {
        let valley = x[k + 1] - x[k] * x[k]
        g[k] += -2 * (1 - x[k]) - 400 * x[k] * valley
        g[k + 1] += 200 * valley
      }
      return g
    })

  /// (x - c)'A(x - c) / 2, which loses no digits near its minimum.
  static func quadratic(_ a: DenseMatrix, around c: [Double]) -> Function {
    Function(value: { dot($0 .- c, a * ($0 .- c)) / 2 }, gradient: { a * ($0 .- c) })
  }

  func minimize(
    from start: [Double], memory: Int = 10, limit: Int = 1000, tolerance: Double = 1e-8
  ) throws -> (x: [Double], report: MinimizationReport, evaluations: Int) {
    var (x, evaluations) = (start, 0)
    let solver = LBFGS(count: x.count, memory: memory, maximumIterations: limit, gradientTolerance: tolerance)
    let report = try solver.minimize(&x) { point, out in
      evaluations += 1
      let point = Array(UnsafeBufferPointer(start: point, count: start.count))
      for (k, entry) in gradient(point).enumerated() { out[k] = entry }
      return value(point)
    }
    return (x, report, evaluations)
  }
}

@Suite("L-BFGS")
struct LBFGSTests {
  @Test("Rosenbrock's valley", arguments: [2, 6], [1, 5, 20])
  func rosenbrock(_ count: Int, _ memory: Int) throws {
    let start = (0..<count).map { $0 % 2 == 0 ? -1.2 : 1.0 }
    let (x, report, evaluations) = try Function.rosenbrock.minimize(from: start, memory: memory)
    #expect(report.converged && report.gradientNorm <= 1e-8 && report.evaluations == evaluations)
    #expect(report.iterations < (memory == 1 ? 600 : 150))
    // Six variables have a second, local minimum near (-1, 1, 1, ...).
    if count == 2 { expectEqual(x, [1, 1], to: 1e-7) }
    expectEqual(report.value, Function.rosenbrock.value(x), to: 1e-14, scale: 1e-300)
    expectEqual(report.gradientNorm, norm(Function.rosenbrock.gradient(x)), to: 1e-14, scale: 1e-300)
  }

  @Test("quadratics", arguments: [1.0, 1e2, 1e4])
  func quadratic(_ condition: Double) throws {
    let eigenvalues = (0..<15).map { power(condition, -Double($0) / 14) }
    let problem = LinearProblem("", eigenvalues: eigenvalues)
    let function = Function.quadratic(problem.dense, around: problem.g)
    let (x, report, _) = try function.minimize(from: [Double](repeating: 0, count: 15), tolerance: 1e-10)
    #expect(report.converged && report.iterations < 500)
    expectEqual(x, problem.g, to: 1e-9 * condition)
    #expect(report.evaluations <= 2 * report.iterations + 5, "most first trials are accepted")
  }

  @Test("at the minimiser no step is taken")
  func atMinimizer() throws {
    let (x, report, evaluations) = try Function.rosenbrock.minimize(from: [1, 1, 1])
    #expect(x == [1, 1, 1] && report.iterations == 0 && report.converged && evaluations == 1)
  }

  @Test("the limit of iterations is kept, and f never grows", arguments: [0, 1, 5, 20])
  func limit(_ limit: Int) throws {
    var values: [Double] = []
    for iterations in 0...limit {
      let (x, report, _) = try Function.rosenbrock.minimize(from: [-1.2, 1], limit: iterations)
      #expect(report.iterations == iterations && !report.converged)
      values.append(Function.rosenbrock.value(x))
    }
    #expect(zip(values.dropFirst(), values).allSatisfy { $0 < $1 })
  }

  @Test("a tolerance out of reach ends where rounding begins")
  func rounding() throws {
    let (x, report, _) = try Function.rosenbrock.minimize(from: [-1.2, 1], limit: 100_000, tolerance: 0)
    #expect(report.iterations < 1000)
    expectEqual(x, [1, 1], to: 1e-10)
  }

  @Test("values so large that the first steps are lost in their rounding", arguments: [1e8, 1e16, 1e20, 1e40, 1e100])
  func hugeValues(_ size: Double) throws {
    // Both far from the minimiser, measured in steps of length one, and large.
    let problem = LinearProblem("", eigenvalues: (0..<6).map { power(100, -Double($0) / 5) })
    let center = size * problem.g
    let function = Function.quadratic(problem.dense, around: center)
    let (x, report, _) = try function.minimize(from: [Double](repeating: 0, count: 6), tolerance: 1e-9 * size)
    #expect(report.converged && report.iterations < 100)
    expectEqual(x, center, to: 1e-6)
  }

  @Test("a prediction loss of huge targets is minimised", arguments: [1, 1e16, 1e18, 1e30])
  func hugeTargets(_ size: Double) throws {
    let data = try TestData(rows: 12, outputs: 2)
    let dataset = try Dataset(data.x, DenseMatrix(12, 2, size * data.y.values))
    let predictor = try NetworkPredictor(linearInputs: 2, outputs: 2, bias: true)
    let metric = try Metric(
      inputs: 0, outputs: 2, structure: .full, rank: 2, hidden: nil, activation: .identity, seed: 1)
    func minimum(_ solver: InnerSolver) throws -> [Double] {
      var theta = predictor.theta
      let loss = try MetricisedLoss(predictor, metric, dataset, rho: 0, Workspace())
      _ = try loss.minimize(&theta, InnerOptions(solver: solver, gradientTolerance: 1e-9 * size))
      return theta
    }
    expectEqual(try minimum(.lbfgs), try minimum(.exact), to: 1e-7)
  }

  @Test("values that aren't finite are stepped back from")
  func barrier() throws {
    // x - log x, infinite for x <= 0; the first trial from 1e-3 goes far beyond.
    let function = Function(
      value: { $0[0] > 0 ? $0[0] - log($0[0]) : .infinity }, gradient: { [$0[0] > 0 ? 1 - 1 / $0[0] : .nan] })
    let (x, report, _) = try function.minimize(from: [30])
    #expect(report.converged)
    expectEqual(x, [1], to: 1e-8)
  }

  @Test("no minimum, no gradient and no number all come to an end")
  func hopeless() throws {
    let slope = Function(value: { -$0[0] }, gradient: { _ in [-1] })
    #expect(try !slope.minimize(from: [0], limit: 50).report.converged)
    let flat = Function(value: { _ in 3 }, gradient: { _ in [0, 0] })
    #expect(try flat.minimize(from: [1, 2]).report.converged)
    let undefined = Function(value: { _ in .nan }, gradient: { _ in [.nan] })
    #expect(try !undefined.minimize(from: [1]).report.converged)
    // A gradient of the wrong sign: no descent to be found.
    let wrong = Function(value: { $0[0] * $0[0] }, gradient: { [-2 * $0[0]] })
    let (x, report, _) = try wrong.minimize(from: [1])
    #expect(!report.converged && x == [1])
  }

  @Test("an error of the objective is passed on")
  func failure() throws {
    struct Failure: Error {}
    var x = [1.0, 2]
    let solver = LBFGS(count: 2, memory: 5, maximumIterations: 10, gradientTolerance: 1e-8)
    #expect(throws: Failure.self) { _ = try solver.minimize(&x) { _, _ in throw Failure() } }
  }
}
