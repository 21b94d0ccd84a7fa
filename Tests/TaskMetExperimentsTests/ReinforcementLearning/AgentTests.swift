// The agents: what a step changes, determinism, and a metric that finds what matters.

import CTaskMet
import Testing

@testable import TaskMetExperiments

@Suite("Agents")
struct AgentTests {
  static func evaluations(_ settings: AgentSettings, seed: Int, steps: Int = 140) throws -> [Evaluation] {
    var length = RunLength()
    length.steps = steps
    length.evaluationInterval = 20
    length.evaluationEpisodes = 2
    var result: [Evaluation] = []
    try AgentRun(settings, seed: seed, length).run { evaluation in
      result.append(evaluation)
      result[result.count - 1].seconds = 0
      return true
    }
    return result
  }

  static func settings(_ kind: AgentKind) -> AgentSettings {
    var settings = AgentSettings(kind)
    settings.distractors = 2
    settings.batchRows = 16
    settings.randomSteps = 50
    settings.metricStart = 80
    return settings
  }

  @Test("a run is a function of its seed", arguments: AgentKind.allCases)
  func determinism(_ kind: AgentKind) throws {
    let settings = Self.settings(kind)
    let run = try Self.evaluations(settings, seed: 1)
    let again = try Self.evaluations(settings, seed: 1)
    let other = try Self.evaluations(settings, seed: 2)
    #expect(run.count == 7 && run == again && run != other)
    #expect(run.allSatisfy { $0.meanReturn >= 5 && $0.modelError.isFinite })
  }

  @Test("every setting changes a run, and nothing before it matters")
  func settingsMatter() throws {
    let base = try Self.evaluations(Self.settings(.taskmet), seed: 1)
    let changes: [(String, (inout AgentSettings) -> Void, Int)] = [
      ("q optimizer", { $0.qOptimizer = .fresh }, 60), ("q batch", { $0.qBatch = .shared }, 60),
      ("solver", { $0.solver = .identity }, 80), ("L1", { $0.metric.l1 = 0.1 }, 80),
      ("normalisation", { $0.metric.isNormalized = false }, 80),
      ("inverse Hessian", { $0.inverseHessian = .conjugateGradients(iterations: 3, damping: 0.1) }, 80),
      ("shape", { $0.metric.shape = .fullConditional }, 60), ("hidden", { $0.hidden = [3, 3] }, 20),
    ]
    for (name, change, start) in changes {
      var settings = Self.settings(.taskmet)
      change(&settings)
      let other = try Self.evaluations(settings, seed: 1)
      #expect(base.last != other.last, "\(name)")
      let before = { (run: [Evaluation]) in run.filter { $0.step < start }.map(\.modelError) }
      #expect(before(base) == before(other), "\(name)")
    }
  }

  @Test("the metric begins as the identity and stays normalised; the others have none")
  func metric() throws {
    let run = try Self.evaluations(Self.settings(.taskmet), seed: 3)
    for evaluation in run where evaluation.step < 80 {
      expectEqual(evaluation.metricDiagonal, [1, 1, 1, 1, 1, 1], to: 1e-12)
    }
    let last = try #require(run.last).metricDiagonal
    expectEqual([dot(last, last)], [6], to: 1e-12)
    #expect(last.contains { abs($0 - 1) > 1e-3 } && last.allSatisfy { $0 > 0 })
    for kind in [AgentKind.mle, .omd, .vep] {
      #expect(try Self.evaluations(Self.settings(kind), seed: 3).allSatisfy { $0.metricDiagonal.isEmpty })
    }
  }

  /// A model of two units cannot predict four coordinates of a linear system; the task looks at one of them.
  @Test("the diagonal rises on the coordinate that the task needs")
  func informativeDimension() throws {
    var random = RandomNumbers(seed: 41)
    let informative = 2
    var batch = Batch.random(rows: 64, observationCount: 4, &random)
    let system = [Double].normal(16, &random)
    for row in 0..<64 {
      for k in 0..<4 {
        batch.nextStates[row * 4 + k] = (0..<4).reduce(0) { $0 + system[k * 4 + $1] * batch.states[row * 4 + $1] }
      }
    }
    var settings = MetricSettings()
    settings.rate = 1e-2
    settings.l1 = 0
    let metric = try StateMetric(observationCount: 4, settings, seed: 1)
    let model = try DynamicsModel(observationCount: 4, hidden: [2], rate: 1e-2, metric: metric.metric, &random)
    var options = taskmet_solver_options()
    taskmet_solver_options_init(&options)
    options.solver = taskmet_solver(TASKMET_SOLVER_GAUSS_NEWTON_CG)
    options.max_iterations = 10
    options.ridge = 1e-3
    func taskLoss() throws -> Double {
      try model.predict(batch)
      return (0..<64).reduce(0) { sum, row in
        let error = model.nextStates[row * 4 + informative] - batch.nextStates[row * 4 + informative]
        return sum + error * error / 64
      }
    }
    for _ in 0..<300 { try model.fit(batch) }
    let start = try taskLoss()
    for _ in 0..<150 {
      for _ in 0..<10 { try model.fit(batch) }
      _ = try taskLoss()
      var c = [Double](repeating: 0, count: 256)
      for row in 0..<64 {
        let index = row * 4 + informative
        c[index] = 2 * (model.nextStates[index] - batch.nextStates[index]) / 64
      }
      var g = [Double](repeating: 0, count: model.dynamics.parameterCount)
      try model.dynamics.pullback(c, into: &g)
      try metric.step(model.dynamicsLoss, batch, g, options)
    }
    let diagonal = try metric.diagonal(batch)
    #expect(diagonal[informative] > 1.3, "\(diagonal)")
    for k in 0..<4 where k != informative { #expect(diagonal[k] < diagonal[informative] / 2, "\(diagonal)") }
    #expect(try taskLoss() < start / 2)
  }
}
