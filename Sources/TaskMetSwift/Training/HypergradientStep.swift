// The hypergradient of the outer objective inside the trainer: data, solver, regularisation, agreement of two halves.

struct HypergradientResult {
  /// phi's length, regularisation included.
  let gradient: Buffer<Double>
  let v: Buffer<Double>
  let report: SolverReport
  /// Cosine of the hypergradients of two halves of the data; nil where it was not measured.
  let agreement: Double?
  /// Instances in the linear system.
  let instances: Int
}

/// Everything that the computation needs; the predictor and the metric hold the present model.
struct HypergradientStep {
  let predictor: Predictor
  let metric: Metric
  let dataset: Dataset
  /// The data that the verdict's instances are of.
  let outerData: Dataset
  let inner: InnerTraining
  let options: TrainerOptions
  let state: TrainerState
  let poll: (() throws -> Void)?

  func run(_ random: inout RandomGenerator) throws -> HypergradientResult {
    let instances = try systemInstances(&random)
    let loss = try systemLoss(instances)
    let theta = state.model.theta
    try loss.linearize(theta.base)
    let g = try outerGradient(on: loss, instances)
    let v =
      options.flag(.solverWarmStart)
      ? try state.v.map { try Buffer(copying: $0.base, count: $0.count) } ?? Buffer(repeating: 0, count: theta.count)
      : try Buffer(repeating: 0, count: theta.count)
    let gradient = try Buffer<Double>(count: metric.parameterCount)
    let report = try loss.hypergradient(g: g.base, v: v.base, solverOptions, into: gradient.base)
    try addRegularization(to: gradient)
    return HypergradientResult(
      gradient: gradient, v: v, report: report, agreement: try measureAgreement(instances, &random),
      instances: instances?.count ?? dataset.instanceCount)
  }

  private var solverOptions: SolverOptions {
    var result = SolverOptions()
    result.solver =
      switch "\(options.choice(.solver))" {
      case "cg": .cg
      case "normal_cg": .normalCG
      case "minres": .minres
      case "neumann": .neumann
      case "dense": .dense
      case "gauss_newton_cg": .gaussNewtonCG
      case "identity": .identity
      default: predictor.isLinear && predictor.parameterCount <= DenseHessian.maximumOrder ? .dense : .cg
      }
    result.maximumIterations = options.integer(.solverIterations) * state.solverFactor
    result.tolerance = options.real(.solverTolerance)
    // The Hessian of a linear predictor is exact and semidefinite: damping would only bias the hypergradient.
    let undamped = result.solver == .dense && options.chose(.solver, "auto")
    result.ridge = undamped ? 0 : options.real(.solverRidge)
    result.normalRidge = options.real(.solverNormalRidge)
    return result
  }

  /// The instances of H and the cross term; nil for all of them.
  private func systemInstances(_ random: inout RandomGenerator) throws -> Buffer<Int>? {
    let size = options.integer(.hypergradientBatch)
    guard size > 0, size * state.batchFactor < dataset.instanceCount else { return nil }
    // Equal sizes mean one shared batch: then H, the cross term and g see the same rows.
    if state.batchFactor == 1, size == options.integer(.outerBatch), outerData === dataset {
      return state.verdict.instances
    }
    return try random.sample(size * state.batchFactor, of: dataset.instanceCount)
  }

  private func systemLoss(_ instances: Buffer<Int>?) throws -> MetricisedLoss {
    guard let instances else { return try inner.fullLoss(options, poll: poll) }
    let batch = try Dataset(try dataset.rows(ofInstances: instances), of: dataset)
    let loss = try MetricisedLoss(
      predictor, metric, batch, rho: options.real(.rho), Workspace(threads: options.integer(.threads)))
    loss.poll = poll
    return loss
  }

  /// g over all of the verdict's instances; where these are the system's rows, on the loss that is linearised there.
  private func outerGradient(on loss: MetricisedLoss, _ instances: Buffer<Int>?) throws -> Buffer<Double> {
    let verdict = state.verdict
    guard outerData === dataset, areSame(instances, verdict.instances) else { return try outerGradient(of: nil) }
    let g = try Buffer<Double>(count: predictor.parameterCount)
    try loss.pullback(
      MatrixView(verdict.cotangent.base, rows: loss.dataset.rows, columns: dataset.targets), into: g.base)
    return g
  }

  /// g = sum_i J_i' c_i over some of the verdict's instances (positions among them; nil: all), as a mean over those.
  private func outerGradient(of chosen: Buffer<Int>?) throws -> Buffer<Double> {
    let verdict = state.verdict
    let batch = try TaskBatch(outerData, instances: verdict.instances, phase: .training)
    let n = batch.outputs
    let g = try Buffer<Double>(count: predictor.parameterCount)
    guard let chosen else {
      let c = MatrixView(verdict.cotangent.base, rows: batch.rows, columns: n)
      try predictor.pullback(state.model.theta.base, try batch.inputRows(), c, into: g.base)
      return g
    }
    // The cotangent of the others is zero, and each of these counts for more.
    let c = try Buffer<Double>(repeating: 0, count: batch.rows * n)
    let share = Double(batch.instances.count) / Double(chosen.count)
    for index in 0..<chosen.count {
      let k = chosen[index]
      let rows = Int(batch.offsets[k])..<Int(batch.offsets[k + 1])
      Double.axpy(rows.count * n, share, verdict.cotangent.base + rows.lowerBound * n, c.base + rows.lowerBound * n)
    }
    try predictor.pullback(
      state.model.theta.base, try batch.inputRows(), MatrixView(c.base, rows: batch.rows, columns: n), into: g.base)
    return g
  }

  /// gradient += that of the regularisation on all training rows.
  private func addRegularization(to gradient: Buffer<Double>) throws {
    let (b1, b2) = (options.real(.metricL1), options.real(.metricIdentity))
    if b1 == 0 && b2 == 0 { return }
    let part = try Buffer<Double>(count: gradient.count)
    _ = try metric.regularizer(rows: dataset.rows, dataset.featureRows, l1: b1, identity: b2, gradient: part.base)
    Double.axpy(gradient.count, 1, part.base, gradient.base)
  }

  /// Both halves get a gradient of the task, a Hessian and a cross term of their own.
  private func measureAgreement(_ instances: Buffer<Int>?, _ random: inout RandomGenerator) throws -> Double? {
    let interval = options.integer(.agreementInterval)
    guard interval > 0, state.iteration % interval == 0 else { return nil }
    let system = instances?.count ?? dataset.instanceCount
    let outer = state.verdict.instances?.count ?? outerData.instanceCount
    guard system > 1, outer > 1 else { return nil }
    let systemOrder = try random.permutation(of: system)
    // One set of instances is split once, so that a half's task and its system see the same.
    let split = outerData === dataset && areSame(instances, state.verdict.instances)
    let outerOrder = split ? systemOrder : try random.permutation(of: outer)
    var halves: [Buffer<Double>] = []
    for half in 0..<2 {
      let part = try sortedHalf(half, of: systemOrder)
      let loss = try systemLoss(try instances.map { try elements(of: $0, at: part) } ?? part)
      try loss.linearize(state.model.theta.base)
      let g = try outerGradient(of: try sortedHalf(half, of: outerOrder))
      let v = try Buffer<Double>(repeating: 0, count: g.count)
      let gradient = try Buffer<Double>(count: metric.parameterCount)
      _ = try loss.hypergradient(g: g.base, v: v.base, solverOptions, into: gradient.base)
      halves.append(gradient)
    }
    let (a, b, count) = (halves[0], halves[1], halves[0].count)
    let lengths = norm(count, a.base) * norm(count, b.base)
    return lengths > 0 ? Double.dot(count, a.base, b.base) / lengths : 0
  }
}

/// Whether two lists of instances are the same; nil stands for all of them.
private func areSame(_ a: Buffer<Int>?, _ b: Buffer<Int>?) -> Bool {
  guard let a, let b else { return a == nil && b == nil }
  return a === b || (a.count == b.count && (0..<a.count).allSatisfy { a[$0] == b[$0] })
}

/// The first or the second half of an order of 0 ..< count, sorted (by marks: a sort would want memory of its own).
private func sortedHalf(_ half: Int, of order: Buffer<Int>) throws -> Buffer<Int> {
  let middle = order.count / 2
  let positions = half == 0 ? 0..<middle : middle..<order.count
  let isChosen = try Buffer(repeating: false, count: order.count)
  for position in positions { isChosen[order[position]] = true }
  let result = try Buffer<Int>(count: positions.count)
  var next = 0
  for k in 0..<order.count where isChosen[k] {
    result[next] = k
    next += 1
  }
  return result
}

private func elements(of list: Buffer<Int>, at positions: Buffer<Int>) throws -> Buffer<Int> {
  let result = try Buffer<Int>(count: positions.count)
  for k in 0..<positions.count { result[k] = list[positions[k]] }
  return result
}
