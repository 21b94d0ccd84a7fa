// The trainer's other methods: what they minimise, from where, and that they do.

import Testing

@testable import TaskMetSwift

private typealias Setting = (key: OptionKey, value: OptionValue)

/// Twelve rows in instances of one to three, weighted; two features and two targets.
private func makeData(weighted: Bool = true, seed: UInt64 = 71) throws -> Dataset {
  let data = try TestData(rows: 12, outputs: 2, weighted: weighted, seed: seed)
  let offsets = try Buffer<Int64>([0, 3, 4, 6, 9, 10, 12])
  try data.dataset.setOffsets(offsets.base, count: offsets.count)
  return data.dataset
}

private func makePredictor(hidden: [Int] = [3]) throws -> Predictor {
  if hidden.isEmpty { return try NetworkPredictor(linearInputs: 2, outputs: 2, bias: true) }
  return try NetworkPredictor(
    inputs: 2, hidden: hidden, outputs: 2, activation: .tanh, outputActivation: .identity, seed: 4)
}

private func makeTrainer(
  _ method: TrainingMethod, _ settings: [Setting] = [], predictor: Predictor? = nil, dataset: Dataset? = nil,
  tasks: [Task] = [BoxTask()]
) throws -> Trainer {
  let metric = try Metric(
    inputs: 2, outputs: 2, structure: .diagonal, rank: 2, hidden: [2], activation: .tanh, seed: 2)
  let trainer = try Trainer(predictor ?? makePredictor(), metric, dataset ?? makeData())
  for (index, task) in tasks.enumerated() { try trainer.addTask(task, weight: index == 0 ? 1 : 0.3) }
  let choice = try TrainerOptions.parseChoice(TrainerOptions.descriptor(.method), method.rawValue)
  try trainer.set([(.method, choice), (.innerIterations, .integer(5)), (.lodlSamples, .integer(60))] + settings)
  return trainer
}

extension Trainer {
  fileprivate func set(_ settings: [Setting]) throws {
    for (key, value) in settings { try setOption(TrainerOptions.descriptor(key), value) }
  }

  /// Everything that is not a time.
  fileprivate var facts: [[UInt64]] {
    let seconds: [Record.Field] = [
      .secondsInner, .secondsTask, .secondsHypergradient, .secondsValidation, .secondsTotal,
    ]
    return history.map { record in
      Record.Field.allCases.filter { !seconds.contains($0) }.map { record[$0].bitPattern }
    } + [(state?.model.theta.array ?? []).map(\.bitPattern), (state?.best.theta.array ?? []).map(\.bitPattern)]
  }
}

private let sgd: Setting = (.innerSolver, .choice(2))
private let adam: Setting = (.innerSolver, .choice(1))
private let noWarmUp: Setting = (.warmupIterations, .integer(0))
private let baselines: [TrainingMethod] = [.decisionFocused, .spoPlus, .lodl, .weightedMSE]
private let direct: [TrainingMethod] = [.decisionFocused, .spoPlus, .lodl]

/// The objective of a method at theta, and its gradient: what one step of gradient descent at rate 1 takes off.
private func objective(_ trainer: Trainer, _ theta: [Double]) throws -> (value: Double, gradient: [Double]) {
  let inner = InnerTraining(
    trainer.predictor, try Metric(identity: 2), trainer.dataset, threads: 1, metricCacheBytes: 1 << 20)
  let steps = try trainer.innerSteps(inner)
  func run(_ count: Int) throws -> (InnerResult, [Double]) {
    let moved = try Buffer(theta)
    var (moments, random) = (Optimizer.State?.none, RandomGenerator(seed: 1))
    let result = try steps.run(
      moved.base, steps: count, trainer.options, moments: &moments, &random, poll: nil)
    return (result, moved.array)
  }
  let (result, after) = (try run(0).0, try run(1).1)
  let gradient = theta .- after
  expectEqual(result.gradientNorm, norm(gradient), to: 1e-12)
  return (result.loss, gradient)
}

extension Metric {
  /// Lambda = I.
  fileprivate convenience init(identity outputs: Int) throws {
    try self.init(
      inputs: 0, outputs: outputs, structure: .scalar, rank: 1, hidden: nil, activation: .identity, seed: 0)
  }
}

@Suite("Baselines")
struct BaselineTests {
  // MARK: Objectives

  @Test("the objective's gradient = differences", arguments: direct, [false, true])
  func gradient(_ method: TrainingMethod, _ worstCase: Bool) throws {
    let combination: Setting = (.taskCombination, .choice(worstCase ? 1 : 0))
    let trainer = try makeTrainer(
      method, [sgd, (.innerRate, .real(1)), (.alpha, .real(0.7)), (.rho, .real(0.2)), combination],
      tasks: [BoxTask(), BoxTask()])
    let theta = trainer.predictor.theta
    let gradient = try objective(trainer, theta).gradient
    for k in theta.indices {
      let numeric = try derivative(step: 1e-3) { t in
        try objective(trainer, theta .+ t * .unit(theta.count, k)).value
      }
      expectEqual(gradient[k], numeric, to: 1e-8, "\(method), parameter \(k)")
    }
  }

  /// By rows: the box's SPO+ is sum_j c_j [y_j < 0] + max(-c_j, 0) with c = 2 yhat - y.
  @Test("the objectives by the plain formulas", arguments: [TrainingMethod.decisionFocused, .spoPlus])
  func formulas(_ method: TrainingMethod) throws {
    let dataset = try makeData()
    let trainer = try makeTrainer(
      method, [sgd, (.innerRate, .real(1)), (.alpha, .real(0.7)), (.rho, .real(0.2))],
      dataset: dataset)
    let theta = trainer.predictor.theta
    let predictions = try trainer.predictor.predictions(theta, dataset.x)
    var (decision, errors) = (0.0, 0.0)
    for row in 0..<12 {
      for column in 0..<2 {
        let (f, y) = (predictions[2 * row + column], dataset.y[row, column])
        let c = 2 * f - y
        decision +=
          method == .spoPlus ? (y < 0 ? c : 0) + max(-c, 0) : y / (1 + Double.exponential(f))
        errors += (dataset.weights?[row] ?? 1) * (f - y) * (f - y)
      }
    }
    let expected = decision / 6 + 0.7 * errors / 24 + 0.1 * dot(theta, theta)
    expectEqual(try objective(trainer, theta).value, expected, to: 1e-12)
  }

  @Test("lodl's objective is its fitted losses' mean")
  func fittedObjective() throws {
    let dataset = try makeData()
    let trainer = try makeTrainer(.lodl, [sgd, (.innerRate, .real(1)), (.lodlLoss, .choice(2))], dataset: dataset)
    var settings = LODLOptions()
    (settings.form, settings.samples) = (.quadratic, 60)
    let fitted = try LODLTask(BoxTask(), dataset, settings)
    let batch = try TaskBatch(dataset, phase: .training)
    try batch.predict(trainer.predictor, trainer.predictor.parameters)
    let expected = try fitted.evaluate(batch, gradient: nil)
    #expect(try objective(trainer, trainer.predictor.theta).value == expected)
  }

  @Test("each lowers its own objective, and is judged by the task", arguments: direct)
  func improvement(_ method: TrainingMethod) throws {
    let trainer = try makeTrainer(method, [(.warmupIterations, .integer(20)), (.innerIterations, .integer(20))])
    for _ in 0...6 { _ = try trainer.advance() }
    let losses = trainer.history.map { $0[.predictionLoss] }
    // Record 0 is the warm-up's.
    for k in 2...6 { #expect(losses[k] < losses[k - 1], "\(losses)") }
    let batch = try TaskBatch(trainer.dataset, phase: .training)
    try batch.predict(trainer.predictor, trainer.predictor.parameters)
    #expect(try BoxTask().evaluate(batch, gradient: nil) == trainer.history[6][.taskLoss])
    #expect(trainer.history[6][.hypergradientNorm].isNaN && trainer.history[6][.trusted] == 1)
  }

  // MARK: Relatives

  /// alpha = n makes the mean over entries the mean over rows of |e|^2.
  @Test("dfl of nothing but alpha is two-stage training", arguments: [0, 2])
  func squaredErrors(_ batch: Int) throws {
    let settings: [Setting] = [adam, noWarmUp, (.rho, .real(0.1)), (.innerBatch, .integer(batch))]
    let focused = try makeTrainer(.decisionFocused, settings + [(.alpha, .real(2))], tasks: [ZeroTask()])
    let plain = try makeTrainer(.twoStage, settings, tasks: [ZeroTask()])
    for _ in 0...4 { _ = (try focused.advance(), try plain.advance()) }
    expectEqual(focused.predictor.theta, plain.predictor.theta, to: 1e-11)
    expectEqual(focused.history[4][.predictionLoss], plain.history[4][.predictionLoss], to: 1e-11)
  }

  @Test("the warm-up is the two-stage model's; 0 iterations are none", arguments: baselines, [[], [3]])
  func warmUp(_ method: TrainingMethod, _ hidden: [Int]) throws {
    let predictor = try makePredictor(hidden: hidden)
    let trainer = try makeTrainer(method, predictor: predictor)
    let plain = try makeTrainer(.twoStage, predictor: predictor)
    _ = (try trainer.advance(), try plain.advance())
    #expect(trainer.predictor.theta == plain.predictor.theta)
    #expect(trainer.history[0][.validationTaskLoss].isNaN && trainer.history[0][.isBest] == 1)
    let cold = try makeTrainer(method, [noWarmUp], predictor: predictor)
    let record = try cold.advance()
    #expect(cold.predictor.theta == predictor.theta && record[.innerSteps] == 0)
    #expect(record[.predictionLoss] > trainer.history[0][.predictionLoss])
  }

  // MARK: Weighted MSE

  @Test("weights are half the regret's share and half everybody's")
  func weights() throws {
    let dataset = try makeData()
    let costs = [3.0, 0, -2, 1, 0, 8]
    // Costs come on top of what the truth costs; the third instance's regret is negative and counts as none.
    let task = InstanceTask { problem in
      5 + (problem.errors.contains { $0 != 0 } ? costs[problem.instance] : 0)
    }
    let trainer = try makeTrainer(.weightedMSE, dataset: dataset, tasks: [task])
    let steps = try RegretWeighting(
      trainer.predictor, Metric(identity: 2), dataset, trainer.objective, trainer.options)
    let weights = try steps.instanceWeights(trainer.predictor.parameters).array
    let regrets = costs.map { max($0, 0) }
    expectEqual(weights, regrets.map { 0.5 + 0.5 * $0 / 2 }, to: 1e-14)
  }

  @Test("several tasks: weights follow the sum, or the worst", arguments: [false, true])
  func combinedWeights(_ worstCase: Bool) throws {
    let dataset = try makeData()
    func task(_ costs: [Double]) -> Task {
      InstanceTask { problem in problem.errors.contains { $0 != 0 } ? costs[problem.instance] : 0 }
    }
    // Weights 1 and 0.3: means 3 and 3.6.
    let (first, second) = ([0.0, 6, 0, 6, 0, 6], [12.0, 12, 12, 12, 12, 12])
    let trainer = try makeTrainer(
      .weightedMSE, [(.taskCombination, .choice(worstCase ? 1 : 0))], dataset: dataset,
      tasks: [task(first), task(second)])
    var tasks = trainer.objective
    tasks.worstCase = worstCase
    let steps = try RegretWeighting(trainer.predictor, Metric(identity: 2), dataset, tasks, trainer.options)
    let weights = try steps.instanceWeights(trainer.predictor.parameters).array
    let regrets = worstCase ? second : first .+ 0.3 * second
    let average = regrets.reduce(0, +) / 6
    expectEqual(weights, regrets.map { 0.5 + 0.5 * $0 / average }, to: 1e-14)
  }

  @Test("equal regrets make it two-stage training", arguments: [[], [3]], [0, 2])
  func equalRegrets(_ hidden: [Int], _ batch: Int) throws {
    for regret in [0.0, 0.7] {
      let task = InstanceTask { $0.errors.contains { $0 != 0 } ? regret : 0 }
      let settings: [Setting] = [(.warmupIterations, .integer(10)), (.innerBatch, .integer(batch))]
      let predictor = try makePredictor(hidden: hidden)
      let weighted = try makeTrainer(.weightedMSE, settings, predictor: predictor, tasks: [task])
      let plain = try makeTrainer(.twoStage, settings, predictor: predictor, tasks: [ZeroTask()])
      for _ in 0...3 { _ = (try weighted.advance(), try plain.advance()) }
      expectEqual(weighted.predictor.theta, plain.predictor.theta, to: 1e-11)
    }
  }

  @Test("a linear predictor's solution is weighted least squares")
  func weightedLeastSquares() throws {
    let dataset = try makeData()
    let costs = [3.0, 0, 2, 1, 0, 6]
    let task = InstanceTask { problem in problem.errors.contains { $0 != 0 } ? costs[problem.instance] : 0 }
    let trainer = try makeTrainer(.weightedMSE, predictor: makePredictor(hidden: []), dataset: dataset, tasks: [task])
    for _ in 0...1 { _ = try trainer.advance() }
    let offsets = [0, 3, 4, 6, 9, 10, 12]
    var normal = DenseMatrix(zeros: 3, 3)
    var right = DenseMatrix(zeros: 3, 2)
    for k in 0..<6 {
      for row in offsets[k]..<offsets[k + 1] {
        let weight = (0.5 + 0.5 * costs[k] / 2) * (dataset.weights?[row] ?? 1)
        let x = [dataset.x[row, 0], dataset.x[row, 1], 1]
        for i in 0..<3 {
          for j in 0..<3 { normal[i, j] += weight * x[i] * x[j] }
          for j in 0..<2 { right[i, j] += weight * x[i] * dataset.y[row, j] }
        }
      }
    }
    let columns = (0..<2).map { j in normal.solve((0..<3).map { right[$0, j] }) }
    let expected = columns.flatMap { $0.prefix(2) } + columns.map { $0[2] }
    expectEqual(trainer.predictor.theta, expected, to: 1e-10)
  }

  // MARK: The trainer

  @Test("going on from a file: bit for bit", arguments: baselines, [0, 2])
  func resume(_ method: TrainingMethod, _ batch: Int) throws {
    let settings: [Setting] = [
      adam, (.innerBatch, .integer(batch)), (.warmupIterations, .integer(4)), (.alpha, .real(0.5)),
      (.seed, .integer(3)), (.lodlLoss, .choice(3)),
    ]
    let directory = try TemporaryDirectory()
    let trainer = try makeTrainer(method, settings)
    for _ in 0...2 { _ = try trainer.advance() }
    try trainer.save(to: directory.file("trainer"))
    let other = try makeTrainer(.taskmet)
    try other.load(from: directory.file("trainer"))
    #expect(other.options.method == method && other.options.integer(.seed) == 3)
    for _ in 0...2 { _ = (try trainer.advance(), try other.advance()) }
    #expect(trainer.facts == other.facts)
  }

  @Test("any number of threads gives the same bits", arguments: baselines)
  func threads(_ method: TrainingMethod) throws {
    func facts(_ threads: Int) throws -> [[UInt64]] {
      let trainer = try makeTrainer(method, [(.threads, .integer(threads)), (.lodlLoss, .choice(2))])
      for _ in 0...2 { _ = try trainer.advance() }
      return trainer.facts
    }
    #expect(try facts(1) == facts(3))
  }

  @Test("a task without SPO+ says so before the first step")
  func unsupported() throws {
    let trainer = try makeTrainer(.spoPlus, tasks: [BoxTask(), ZeroTask()])
    expectError(.unsupported) { _ = try trainer.advance() }
    #expect(trainer.state == nil && trainer.history.isEmpty)
  }

  @Test("lodl and weighted_mse need no gradient of the task", arguments: [TrainingMethod.lodl, .weightedMSE])
  func withoutGradient(_ method: TrainingMethod) throws {
    let task = InstanceTask { problem in problem.errors.reduce(0) { $0 + abs($1) } }
    let trainer = try makeTrainer(method, tasks: [task])
    for _ in 0...2 { _ = try trainer.advance() }
    #expect(trainer.state?.warnings == [])
    expectError(.unsupported) { _ = try makeTrainer(.decisionFocused, tasks: [task]).advance() }
  }

  @Test("a step that explodes is tried again with half the inner rate")
  func rollBack() throws {
    let settings: [Setting] = [adam, noWarmUp, (.alpha, .real(1))]
    let trainer = try makeTrainer(
      .decisionFocused, settings + [(.innerRate, .real(4)), (.explosionFactor, .real(1.5))])
    _ = try trainer.advance()
    let record = try trainer.advance()
    let halvings = record.count(.rollbacks)
    #expect(halvings > 0 && record[.metricRate] == 4 * power(0.5, Double(halvings)))
    // As if that rate had been asked for.
    let careful = try makeTrainer(.decisionFocused, settings + [(.innerRate, .real(record[.metricRate]))])
    for _ in 0...1 { _ = try careful.advance() }
    #expect(careful.predictor.theta == trainer.predictor.theta)
  }
}
