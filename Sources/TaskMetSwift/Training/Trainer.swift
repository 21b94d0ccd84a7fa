// Algorithm 1: warm-up; then, again and again: the hypergradient, a step of phi, K inner steps on theta, the task's verdict.
//
// Each iteration is a proposal. What comes of it is judged - by the task, by the numbers, by the prediction error - and
// accepted as the new state, or undone and tried again with half the rate.

/// What the user wants to hear of.
struct TrainerCallbacks {
  enum Level: Int32 { case info, warning }

  /// False to stop; throws where the callback failed.
  var progress: ((Record) throws -> Bool)?
  var log: ((Level, String) -> Void)?
  var interruption: Interruption?
}

final class Trainer: SharedObject {
  override var kind: StaticString { "trainer" }

  /// Working copies, which hold the present model between iterations.
  let predictor: Predictor
  let metric: Metric
  let dataset: Dataset
  /// Where training begins.
  private let initialTheta: Buffer<Double>
  private let initialMetric: Metric
  private(set) var validation: Dataset?
  private(set) var objective = OuterObjective()
  var options = TrainerOptions()
  var callbacks = TrainerCallbacks()
  /// Whether somebody has asked to stop.
  var stopRequested: () -> Bool = { false }
  /// nil before the warm-up.
  var state: TrainerState?
  var history: [Record] = []
  /// A callback has asked to stop after the iteration that is now whole.
  var pendingStop: StopTraining.Reason?
  private var innerTraining: InnerTraining?
  /// Root mean square of the targets, where that is known.
  var knownTargetSize: Double?
  /// Lambda = I, for the methods that learn no metric.
  private var identityMetric: Metric?
  private var metricOptimizer: Optimizer?
  /// Of the method "weighted_mse", and the inner training that it was made for.
  var weighting: (lender: InnerTraining, steps: RegretWeighting)?
  /// Of the method "lodl": the fitted losses, and what they were fitted with.
  var lodl: (options: LODLOptions, losses: OuterObjective)?

  /// For copies of the two, on data that must not change for as long as the trainer lives.
  init(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset) throws {
    try MetricisedLoss.checkShapes(predictor, metric, dataset)
    try MetricisedLoss.checkPrecisions(predictor, metric, dataset)
    self.predictor = try predictor.copy()
    self.metric = try Metric(copying: metric)
    self.dataset = dataset
    initialTheta = try Buffer(copying: predictor.parameters, count: predictor.parameterCount)
    initialMetric = try Metric(copying: metric)
    super.init()
    options[.penalizeBias] = .integer(predictor.penalizesBias ? 1 : 0)
    dataset.hold()
  }

  deinit {
    dataset.letGo()
    validation?.letGo()
  }

  func setValidation(_ data: Dataset) throws {
    try requireNotStarted("validation data")
    guard data.features == dataset.features, data.targets == dataset.targets else {
      throw TaskMetError.shape(
        "dataset: the training data are \(dataset.features) -> \(dataset.targets), these are \(data.features) -> "
          + "\(data.targets)")
    }
    guard data.precision == dataset.precision else {
      throw TaskMetError.invalidArgument(
        "dataset: its precision must be the training data's, \(dataset.precision.name), is \(data.precision.name)")
    }
    data.hold()
    validation?.letGo()
    validation = data
  }

  func addTask(_ task: Task, weight: Double) throws {
    try requireNotStarted("a task")
    objective.tasks.append((task, weight))
  }

  private func requireNotStarted(_ what: String) throws {
    if state != nil { throw TaskMetError.state("\(what) must be given before the first step") }
  }

  func setOption(_ descriptor: OptionDescriptor, _ value: OptionValue) throws {
    if state != nil, descriptor.fixedAfterStart {
      throw TaskMetError.state("\(descriptor.name) must be set before the first step")
    }
    var changed = options
    try changed.set(descriptor, value)
    if descriptor.key == .penalizeBias {
      try predictor.setPenalizesBias(value != .integer(0))
    }
    if state != nil {
      // A preset must not change what is fixed.
      for option in trainerOptions where option.fixedAfterStart { changed[option.key] = options[option.key] }
    }
    options = changed
  }

  func log(_ level: TrainerCallbacks.Level, _ message: String) { callbacks.log?(level, message) }

  var poll: (() throws -> Void)? { callbacks.interruption.map { interruption in { try interruption.poll() } } }

  /// The data that the task's gradient comes from.
  func outerData() throws -> Dataset {
    guard options.chose(.outerData, "validation") else { return dataset }
    guard let validation else { throw TaskMetError.state("outer_data is validation, and there is no validation data") }
    return validation
  }
}

// MARK: - One iteration

extension Trainer {
  /// The warm-up where that has not been done, else an outer iteration; returns the new record. On any error, a stop
  /// included, the trainer is as it was before.
  func advance() throws -> Record {
    let before = (state: state, history: history.count)
    do {
      let inner = try prepare()
      let steps = try innerSteps(inner)
      let (newState, record) = try state.map { try iterate($0, inner, steps) } ?? warmUp(inner)
      state = newState
      history.append(record)
      if let progress = callbacks.progress, try !progress(record) { pendingStop = .progress }
      return record
    } catch {
      state = before.state
      history.removeLast(history.count - before.history)
      if let stop = error as? StopTraining { state?.rollbacks += stop.undone }
      if let state { try? restore(state.model) }
      throw error
    }
  }

  /// Checks that depend on options; returns what fits the predictor.
  private func prepare() throws -> InnerTraining {
    if objective.tasks.isEmpty {
      throw TaskMetError.state("the trainer has no task: add one before the first step")
    }
    objective.worstCase = options.chose(.taskCombination, "worst_case")
    _ = try outerData()
    let (threads, cache) = (options.integer(.threads), options.integer(.metricCacheBytes))
    let metric = options.method.learnsMetric ? metric : try identityMetric ?? makeIdentityMetric()
    if let inner = innerTraining, inner.metric === metric, inner.fullWorkspace.threads == threads,
      inner.fullWorkspace.metricCacheBytes == cache
    {
      return inner
    }
    let inner = InnerTraining(predictor, metric, dataset, threads: threads, metricCacheBytes: cache)
    innerTraining = inner
    return inner
  }

  private func makeIdentityMetric() throws -> Metric {
    let metric = try Metric(
      inputs: 0, outputs: dataset.targets, structure: .scalar, rank: 1, hidden: nil, activation: .identity, seed: 0)
    let own = try Metric(copying: metric, in: dataset.precision)
    identityMetric = own
    return own
  }

  /// The metric's floor and normalisation, where its owner has not chosen them.
  private func applyMetricDefaults() throws {
    if !metric.floorWasSet { metric.setFloorKeepingEpsilon(options.real(.metricFloor)) }
    switch "\(options.choice(.normalization))" {
    case "none": try metric.setNormalization(.none)
    case "frobenius": try metric.setNormalization(.frobenius)
    case "trace": try metric.setNormalization(.trace)
    case "batch_trace": try metric.setNormalization(.batchTrace)
    default: if !metric.normalizationWasSet { try metric.setNormalization(.batchTrace) }
    }
  }

  /// The two-stage model: inner steps under the initial metric.
  private func warmUp(_ inner: InnerTraining) throws -> (TrainerState, Record) {
    let start = secondsNow()
    metric.become(initialMetric)
    try applyMetricDefaults()
    try updateNormalization()
    let theta = try Buffer(copying: initialTheta.base, count: initialTheta.count)
    let gradient = try Buffer<Double>(count: theta.count)
    let loss = try inner.fullLoss(options, poll: poll).evaluate(theta.base, gradient: gradient.base)
    var record = Record()
    record[.iteration] = 0
    var random = RandomGenerator(seed: UInt64(options.integer(.seed)))
    var moments: Optimizer.State?
    let steps = options.integer(.warmupIterations)
    if steps == 0, options.method.isBaseline, InnerTraining.solver(options, predictor) == .exact {
      record.add(InnerResult(loss: loss, gradientNorm: norm(theta.count, gradient.base)))
    } else {
      try run(inner, theta, steps: steps, options, &moments, &random, &record)
    }
    // The metric's own, since its defaults have moved them.
    let phi = try Buffer(copying: metric.parameters, count: metric.parameterCount)
    let (verdict, model) = try judge(theta, phi, &random, &record)
    var state = TrainerState(model: model, best: model, verdict: verdict, random: random)
    // Moments of the prediction loss would mislead the first steps on another one.
    state.innerOptimizer = options.method.isDirect ? nil : moments
    state.referenceGradientNorm = norm(theta.count, gradient.base)
    state.firstTrainingRMSE = verdict.rmse
    state.warnings = try degenerateSetups(state)
    for warning in state.warnings { log(.warning, warning) }
    record[.trusted] = 1
    record[.metricRate] = options.real(steppedRate ?? .metricRate)
    try validate(&state, &record)
    record[.secondsTotal] = secondsNow() - start
    return (state, record)
  }

  private func iterate(
    _ state: TrainerState, _ inner: InnerTraining, _ steps: any InnerSteps
  ) throws -> (TrainerState, Record) {
    let start = secondsNow()
    var record = Record()
    record[.iteration] = Double(state.iteration + 1)
    var random = state.random
    let step = options.method.learnsMetric ? try hypergradient(state, inner, &random, &record) : nil
    var next = try propose(state, steps, step, random, &record)
    next.iteration += 1
    next.v = step?.v
    assessTrust(&next, &record, step)
    try validate(&next, &record)
    record[.secondsTotal] = secondsNow() - start
    next.seconds += record[.secondsTotal]
    return (next, record)
  }

  private func hypergradient(
    _ state: TrainerState, _ inner: InnerTraining, _ random: inout RandomGenerator, _ record: inout Record
  ) throws -> HypergradientResult {
    let start = secondsNow()
    let step = HypergradientStep(
      predictor: predictor, metric: metric, dataset: dataset, outerData: try outerData(), inner: inner,
      options: options, state: state, poll: poll)
    let result: HypergradientResult
    do {
      result = try step.run(&random)
    } catch let error as TaskMetError where error.code == .numerical {
      // The state is good and its hypergradient is not: a smaller step can't mend that.
      throw stalled(error, undone: 0)
    }
    record[.hypergradientNorm] = norm(result.gradient.count, result.gradient.base)
    record[.solverResidual] = result.report.residual
    record[.solverIterations] = Double(result.report.iterations)
    record[.solverConverged] = result.report.converged ? 1 : 0
    record[.negativeCurvature] = result.report.negativeCurvature ? 1 : 0
    record[.agreement] = result.agreement ?? .nan
    record[.hypergradientInstances] = Double(result.instances)
    record[.secondsHypergradient] = secondsNow() - start
    let clip = options.real(.metricClip)
    if clip > 0, record[.hypergradientNorm] > clip {
      Double.scale(result.gradient.count, clip / record[.hypergradientNorm], result.gradient.base)
    }
    return result
  }

  /// Steps of phi, each followed by the inner steps and the task's verdict, with half the rate each time until one is good. A
  /// baseline has the inner steps alone, and halves their rate.
  private func propose(
    _ state: TrainerState, _ inner: any InnerSteps, _ step: HypergradientResult?, _ random: RandomGenerator,
    _ record: inout Record
  ) throws -> TrainerState {
    var next = state
    var (rejected, broken) = (0, 0)
    while true {
      record[.metricRate] = options.real(steppedRate ?? .metricRate) * next.rateFactor
      do {
        next.random = random
        try take(step, inner, from: state, to: &next, &record)
        next.rollbacks += rejected + broken
        next.rejections += rejected
        noteOutcome(undone: rejected + broken, &next)
        record[.rollbacks] = Double(rejected + broken)
        record[.rejections] = Double(rejected)
        return next
      } catch let error as TaskMetError where error.code == .rejected {
        rejected += 1
        if steppedRate == nil || rejected > options.integer(.maxRejections) { throw error }
        logUndone(state, error)
      } catch let error as TaskMetError where error.code == .numerical {
        broken += 1
        if steppedRate == nil || broken > options.integer(.maxRollbacks) {
          throw stalled(error, undone: rejected + broken)
        }
        logUndone(state, error)
      }
      try restore(state.model)
      next = state
      next.rateFactor = max(state.rateFactor * power(0.5, Double(rejected + broken)), Self.smallestRateFactor)
    }
  }

  /// Far below what changes phi at all, and far above underflow.
  private static let smallestRateFactor = 0x1p-100

  /// So many steps in a row with nothing undone, and half of what the rate has lost comes back.
  private static let stepsToRecover = 5

  /// Counts the steps since one was undone, and doubles the rate again where there are enough of them.
  private func noteOutcome(undone: Int, _ state: inout TrainerState) {
    state.goodSteps = undone == 0 ? state.goodSteps + 1 : 0
    guard state.goodSteps >= Self.stepsToRecover, state.rateFactor < 1 else { return }
    state.rateFactor = min(1, 2 * state.rateFactor)
    state.goodSteps = 0
  }

  private func logUndone(_ state: TrainerState, _ error: TaskMetError) {
    let rate = TrainerOptions.descriptor(steppedRate ?? .metricRate).name
    log(.warning, "iteration \(state.iteration + 1) undone, \(rate) halved: \(error.message)")
  }

  private func stalled(_ error: TaskMetError, undone: Int) -> StopTraining {
    log(.warning, "training has stalled: \(error.message)")
    return StopTraining(reason: .stalled, undone: undone)
  }

  /// One proposal: phi, then theta, then the verdict.
  private func take(
    _ step: HypergradientResult?, _ inner: any InnerSteps, from state: TrainerState, to next: inout TrainerState,
    _ record: inout Record
  ) throws {
    var phi = state.model.phi
    if let step {
      phi = try Buffer(copying: phi.base, count: phi.count)
      let optimizer = try makeMetricOptimizer()
      optimizer.restore(state.metricOptimizer?.moments.count == optimizer.momentCount ? state.metricOptimizer : nil)
      optimizer.setLearningRate(max(record[.metricRate], .leastNonzeroMagnitude))
      try optimizer.step(gradient: step.gradient.base, parameters: phi.base)
      next.metricOptimizer = try optimizer.state()
      try metric.setParameters(phi.base)
      guard metric.epsilon.isFinite else {
        throw TaskMetError.numerical("eps of the metric would be \(metric.epsilon)")
      }
      try updateNormalization()
    }
    let theta = try Buffer(copying: state.model.theta.base, count: state.model.theta.count)
    try run(
      inner, theta, steps: options.integer(.innerIterations) * state.innerFactor,
      innerOptions(rate: record[.metricRate]), &next.innerOptimizer, &next.random, &record)
    let (verdict, model) = try judge(theta, phi, &next.random, &record)
    guard !(verdict.rmse > options.real(.explosionFactor) * max(state.firstTrainingRMSE, 1e-8 * (try targetSize())))
    else {
      throw TaskMetError.numerical(
        "the prediction error is \(verdict.rmse), the two-stage model's \(state.firstTrainingRMSE)")
    }
    next.verdict = verdict
    next.model = model
  }

  private func makeMetricOptimizer() throws -> Optimizer {
    let method: Optimizer.Method =
      options.chose(.metricOptimizer, "sgd") ? .sgd(momentum: 0) : .adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8)
    if let metricOptimizer, metricOptimizer.method == method { return metricOptimizer }
    let fresh = try Optimizer(method, count: metric.parameterCount, learningRate: options.real(.metricRate))
    metricOptimizer = fresh
    return fresh
  }

  private func run(
    _ inner: any InnerSteps, _ theta: Buffer<Double>, steps: Int, _ options: TrainerOptions,
    _ moments: inout Optimizer.State?, _ random: inout RandomGenerator, _ record: inout Record
  ) throws {
    let start = secondsNow()
    let result = try inner.run(
      theta.base, steps: steps, options, moments: &moments, &random, poll: poll)
    record.add(result)
    record.add(secondsNow() - start, to: .secondsInner)
  }

  /// Makes theta the predictor's, and asks the task. phi is what the metric holds, before that was rounded to its precision.
  private func judge(
    _ theta: Buffer<Double>, _ phi: Buffer<Double>, _ random: inout RandomGenerator, _ record: inout Record
  ) throws -> (TaskVerdict, Model) {
    let start = secondsNow()
    try predictor.setParameters(theta.base)
    let data = try outerData()
    let size = options.integer(.outerBatch)
    let instances = try random.sample(size == 0 ? data.instanceCount : size, of: data.instanceCount)
    let batch = try TaskBatch(data, instances: instances, phase: .training)
    try batch.predict(predictor, theta.base)
    let cotangent = try Buffer<Double>(repeating: 0, count: batch.rows * batch.outputs)
    let loss = try objective.evaluate(batch, gradient: options.method.usesTaskGradient ? cotangent : nil)
    let rmse = batch.rmse
    guard rmse.isFinite else { throw TaskMetError.numerical("the prediction error is \(rmse); scale the targets down") }
    record[.taskLoss] = loss
    record[.predictionRMSE] = rmse
    record.add(secondsNow() - start, to: .secondsTask)
    let sample = try MetricSample(metric, dataset)
    record[.smallestEigenvalue] = sample.smallestEigenvalue
    record[.largestEigenvalue] = sample.largestEigenvalue
    record[.meanTrace] = sample.meanTrace
    return (
      TaskVerdict(loss: loss, rmse: rmse, instances: instances, cotangent: cotangent),
      Model(theta: theta, phi: phi, normalizationScale: metric.normalizationScale)
    )
  }

  /// m of batch_trace, on all training rows.
  private func updateNormalization() throws {
    guard metric.normalization == .batchTrace else { return }
    if let inner = innerTraining, inner.metric === metric {
      try inner.updateNormalization()
    } else {
      // A method that learns no metric uses m for its records alone.
      try metric.updateNormalization(rows: dataset.rows, dataset.featureRows)
    }
  }

  /// A copy of the metric with a model's phi and m.
  func metric(of model: Model) throws -> Metric {
    let copy = try Metric(copying: metric)
    try setModel(model, of: copy)
    return copy
  }

  /// Makes a model the present one.
  func restore(_ model: Model) throws {
    try predictor.setParameters(model.theta.base)
    try setModel(model, of: metric)
  }

  /// phi and m, which is the one of these phi on the training rows.
  private func setModel(_ model: Model, of metric: Metric) throws {
    try metric.setParameters(model.phi.base)
    if metric.normalization == .batchTrace {
      try metric.updateNormalization(rows: dataset.rows, dataset.featureRows) { model.normalizationScale }
    } else {
      metric.restoreNormalization(scale: model.normalizationScale)
    }
  }
}

// MARK: - The best model

extension Trainer {
  /// Whether the model of an iteration is judged as a candidate for the best.
  func isValidated(_ iteration: Int) -> Bool {
    validation == nil || iteration % options.integer(.validationInterval) == 0
  }

  /// Evaluates the model on the validation data where it is time to, and keeps it where it is the best so far.
  private func validate(_ state: inout TrainerState, _ record: inout Record) throws {
    record[.isBest] = 0
    let chosen: (loss: Double, rmse: Double)
    if let validation {
      guard isValidated(state.iteration) else { return }
      let start = secondsNow()
      chosen = try evaluateHeldOut(objective, predictor, state.model.theta.base, validation)
      record[.validationTaskLoss] = chosen.loss
      record[.validationRMSE] = chosen.rmse
      record.add(secondsNow() - start, to: .secondsValidation)
    } else {
      chosen = (state.verdict.loss, state.verdict.rmse)
    }
    let first = state.iteration == 0
    if first { (state.firstLoss, state.firstRMSE) = chosen }
    let cap = options.real(.maxPredictionLossRatio)
    let allowed = first || cap == 0 || chosen.rmse <= cap * state.firstRMSE
    if first || (allowed && chosen.loss < state.bestLoss) {
      state.best = state.model
      state.bestIteration = state.iteration
      state.bestLoss = chosen.loss
      state.bestRMSE = chosen.rmse
      record[.isBest] = 1
    }
  }
}
