// Can this hypergradient be trusted, can this set-up learn at all, and what has the metric learned?

import Glibc

/// How much an untrusted hypergradient may enlarge the work.
private let largestFactor = 64

// MARK: - Trust

extension Trainer {
  /// Judges the hypergradient that led to the state, and enlarges what was too small.
  func assessTrust(_ state: inout TrainerState, _ record: inout Record, _ step: HypergradientResult?) {
    record[.trusted] = 1
    guard let step else { return }
    let reference = state.referenceGradientNorm
    let innerLimit = max(options.real(.trustGradient) * reference, options.real(.innerTolerance))
    // The inner gradient at which the hypergradient was taken is the one of the record before.
    let innerNorm = history.last.map { $0[.innerGradientNorm] } ?? 0
    var complaints: [String] = []
    if step.report.residual > options.real(.trustResidual) {
      complaints.append("the linear system's residual is \(rounded(step.report.residual))")
      enlarge(\.solverFactor, &state, "solver_iterations", options.integer(.solverIterations))
    }
    if innerNorm > innerLimit {
      complaints.append("the inner gradient's norm is \(rounded(innerNorm)), \(rounded(reference)) before the warm-up")
      enlarge(\.innerFactor, &state, "inner_iterations", options.integer(.innerIterations))
    }
    if let agreement = step.agreement, agreement < options.real(.trustAgreement) {
      complaints.append("two halves of the data agree with cosine \(rounded(agreement))")
      let batch = options.integer(.hypergradientBatch)
      if batch > 0, batch * state.batchFactor < dataset.instanceCount {
        enlarge(\.batchFactor, &state, "hypergradient_batch", batch)
      } else {
        enlarge(\.innerFactor, &state, "inner_iterations", options.integer(.innerIterations))
      }
    }
    if complaints.isEmpty { return }
    record[.trusted] = 0
    state.untrusted += 1
    // The first, second, fourth, ... are told: a run that is untrusted throughout must not drown its log.
    if state.untrusted & (state.untrusted - 1) == 0 {
      log(
        .warning,
        "iteration \(state.iteration): the hypergradient is not trusted (\(state.untrusted) so far): "
          + complaints.joined(separator: "; "))
    }
  }

  private func enlarge(
    _ factor: WritableKeyPath<TrainerState, Int>, _ state: inout TrainerState, _ name: String, _ base: Int
  ) {
    guard options.flag(.adapt), state[keyPath: factor] < largestFactor else { return }
    state[keyPath: factor] *= 2
    log(.info, "\(name) is now \(base.multipliedReportingOverflow(by: state[keyPath: factor]).partialValue)")
  }
}

// MARK: - Set-ups that cannot learn

extension Trainer {
  func degenerateSetups(_ state: TrainerState, _ inner: InnerResult) -> [String] {
    var warnings: [String] = []
    let rho = options.real(.rho)
    if metric.network == nil, rho == 0 {
      if metric.outputs == 1 || metric.structure == .scalar {
        warnings.append(
          "a constant metric of one number scales the prediction loss, and the best predictor does not depend on that: "
            + "use a conditional metric")
      } else if predictor.isLinear {
        warnings.append(
          "a constant metric has no effect on an unregularised linear predictor (generalised least squares equals "
            + "ordinary least squares): use a conditional metric, rho > 0, or another predictor")
      }
    }
    if state.verdict.rmse <= 1e-10 * targetSize {
      warnings.append(
        "the residuals are zero: the predictor fits its data exactly, and then no metric changes it; use a smaller "
          + "predictor, rho > 0 or more data")
    }
    let count = state.verdict.cotangent.count
    if norm(count, state.verdict.cotangent.base) == 0 {
      warnings.append("the task's gradient is zero everywhere: the task does not react to predictions here")
    }
    return warnings
  }

  /// Root mean square of the targets.
  private var targetSize: Double {
    var sum = 0.0
    for row in 0..<dataset.rows { sum += shortDot(dataset.targets, dataset.y.row(row), dataset.y.row(row)) }
    return (sum / Double(dataset.rows * dataset.targets)).squareRoot()
  }
}

// MARK: - The metric

/// Extremes of Lambda's eigenvalues over some fixed rows, and its mean trace / n there.
struct MetricSpectrum {
  var smallest = Double.infinity
  var largest = 0.0
  var meanTrace = 0.0
}

/// At most 256 rows, evenly spaced; fewer where an eigenvalue costs much.
private func sampledRows(_ metric: Metric, _ dataset: Dataset) -> [Int] {
  let n = metric.outputs
  let affordable = metric.structure == .lowrank || metric.structure == .full ? max(8, 2_000_000 / (n * n * n)) : 256
  let wanted = metric.network == nil ? 1 : min(256, affordable, dataset.rows)
  return (0..<wanted).map { $0 * dataset.rows / wanted }
}

private func lambdas(_ metric: Metric, _ dataset: Dataset, _ rows: [Int]) throws -> Buffer<Double> {
  let x = try Buffer<Double>(count: try checkedProduct(rows.count, dataset.features))
  for (index, row) in rows.enumerated() {
    (x.base + index * dataset.features).update(from: dataset.x.row(row), count: dataset.features)
  }
  let result = try Buffer<Double>(count: try checkedProduct(rows.count, metric.outputs, metric.outputs))
  try metric.evaluate(
    rows: rows.count, MatrixView(x.base, rows: rows.count, columns: dataset.features), into: result.base)
  return result
}

/// The largest and smallest eigenvalue of one Lambda (which is overwritten).
private func extremes(_ metric: Metric, _ lambda: UnsafeMutablePointer<Double>) throws -> (
  smallest: Double, largest: Double
) {
  let n = metric.outputs
  if metric.structure == .lowrank || metric.structure == .full { return try extremeEigenvalues(lambda, order: n) }
  let diagonal = (0..<n).map { lambda[$0 * (n + 1)] }
  return (diagonal.min()!, diagonal.max()!)
}

func metricSpectrum(_ metric: Metric, _ dataset: Dataset) throws -> MetricSpectrum {
  let rows = sampledRows(metric, dataset)
  let n = metric.outputs
  let values = try lambdas(metric, dataset, rows)
  if let index = firstNonFinite(values.count, values.base) {
    throw TaskMetError.numerical("an entry of Lambda is \(values[index])")
  }
  var result = MetricSpectrum()
  for index in rows.indices {
    let lambda = values.base + index * n * n
    result.meanTrace += (0..<n).reduce(0.0) { $0 + lambda[$1 * (n + 1)] } / Double(n * rows.count)
    let (smallest, largest) = try extremes(metric, lambda)
    result.smallest = min(result.smallest, smallest)
    result.largest = max(result.largest, largest)
  }
  return result
}

// MARK: - Explanation

/// Four significant digits.
func rounded(_ value: Double) -> String {
  guard value.isFinite, value != 0 else { return "\(value)" }
  let exponent = Int(Glibc.floor(Glibc.log10(abs(value))))
  let scale = power(10, Double(3 - exponent))
  return "\((value * scale).rounded() / scale)"
}

extension Trainer {
  /// What happened, what the best model's metric emphasises, and whether to believe it.
  func explain() throws -> String {
    guard let state else { throw TaskMetError.state("nothing to explain before the first step") }
    var lines = outcome(state)
    lines += try emphasis(try metric(of: state.best))
    lines += trust(state)
    lines += state.warnings.map { "warning: " + $0 }
    return lines.joined(separator: "\n") + "\n"
  }

  private func outcome(_ state: TrainerState) -> [String] {
    let data = validation == nil ? "training" : "validation"
    let ratio = state.firstRMSE > 0 ? state.bestRMSE / state.firstRMSE : 1
    return [
      "result: \(data) task loss \(rounded(state.firstLoss)) (two-stage) -> \(rounded(state.bestLoss)), iteration "
        + "\(state.bestIteration) of \(state.iteration); its root mean squared error is \(rounded(ratio)) times the "
        + "two-stage model's"
    ]
  }

  private func emphasis(_ metric: Metric) throws -> [String] {
    let rows = sampledRows(metric, dataset)
    let n = metric.outputs
    let values = try lambdas(metric, dataset, rows)
    var byOutput = [Double](repeating: 0, count: n)
    var bySample: [(row: Int, trace: Double)] = []
    var conditions: [Double] = []
    for (index, row) in rows.enumerated() {
      let lambda = values.base + index * n * n
      for k in 0..<n { byOutput[k] += lambda[k * (n + 1)] / Double(rows.count) }
      bySample.append((row, (0..<n).reduce(0.0) { $0 + lambda[$1 * (n + 1)] } / Double(n)))
      let (smallest, largest) = try extremes(metric, lambda)
      conditions.append(largest / max(smallest, .leastNormalMagnitude))
    }
    var lines: [String] = []
    if n > 1 {
      let order = byOutput.indices.sorted { byOutput[$0] > byOutput[$1] }
      let shown = order.prefix(6).map { "output \($0): \(rounded(byOutput[$0]))" }.joined(separator: ", ")
      lines.append("metric by output (mean of Lambda_kk, heaviest first): \(shown)" + (n > 6 ? ", ..." : ""))
    }
    if metric.network != nil, rows.count > 1 {
      bySample.sort { $0.trace > $1.trace }
      let median = bySample[bySample.count / 2].trace
      let heavy = bySample.prefix(3).map { "row \($0.row): \(rounded($0.trace))" }.joined(separator: ", ")
      lines.append(
        "metric by sample (tr Lambda / n over \(rows.count) rows): median \(rounded(median)), smallest "
          + "\(rounded(bySample.last!.trace)), heaviest \(heavy)")
    }
    conditions.sort()
    lines.append(
      "condition number of Lambda: median \(rounded(conditions[conditions.count / 2])), largest "
        + "\(rounded(conditions.last!))")
    return lines
  }

  private func trust(_ state: TrainerState) -> [String] {
    let steps = history.dropFirst()
    guard !steps.isEmpty, !options.chose(.method, "two_stage") else { return ["no hypergradient was taken"] }
    let total = Double(steps.count)
    let curved = steps.filter { $0[.negativeCurvature] == 1 }.count
    let residuals = steps.map { $0[.solverResidual] }.filter(\.isFinite).sorted()
    func percent(_ part: Double, of whole: Double) -> String { "\(Int((100 * part / whole).rounded())) %" }
    let attempts = total + Double(state.rollbacks)
    var lines = [
      "hypergradients: \(percent(total - Double(state.untrusted), of: total)) of \(steps.count) trusted; linear "
        + "system's residual \(residuals.isEmpty ? "not known" : rounded(residuals[residuals.count / 2])) (median); "
        + "negative curvature in \(percent(Double(curved), of: total)); \(percent(Double(state.rollbacks), of: attempts)) of steps "
        + "undone, \(percent(Double(state.rejections), of: attempts)) rejected by the task"
    ]
    let agreements = steps.map { $0[.agreement] }.filter(\.isFinite).sorted()
    if !agreements.isEmpty {
      lines.append("agreement of two halves of the data: median cosine \(rounded(agreements[agreements.count / 2]))")
    }
    if 2 * state.untrusted > steps.count {
      lines.append(
        "warning: most hypergradients could not be trusted: use larger batches, more inner steps or a better solver")
    }
    return lines
  }
}
