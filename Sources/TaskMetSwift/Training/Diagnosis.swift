// Can this hypergradient be trusted, can this set-up learn at all, and what has the metric learned?

import Glibc

// MARK: - Trust

extension Trainer {
  /// How much an untrusted hypergradient may enlarge the work.
  static let largestFactor = 64

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
    if step.report.negativeCurvature {
      complaints.append("the Hessian has negative curvature: the predictor is not at a minimum of its loss")
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
    guard options.flag(.adapt), state[keyPath: factor] < Self.largestFactor else { return }
    state[keyPath: factor] *= 2
    log(.info, "\(name) is now \(base.multipliedReportingOverflow(by: state[keyPath: factor]).partialValue)")
  }
}

// MARK: - Set-ups that cannot learn

extension Trainer {
  func degenerateSetups(_ state: TrainerState) throws -> [String] {
    var warnings: [String] = []
    let rho = options.real(.rho)
    let scaleless = rho == 0 || metric.normalization == .batchTrace
    if !options.method.isBaseline, metric.network == nil, scaleless {
      if metric.outputs == 1 || metric.structure == .scalar {
        warnings.append(
          "a constant metric of one number scales the prediction loss, and the best predictor does not depend on that: "
            + "use a conditional metric")
      } else if predictor.isLinear, rho == 0 {
        warnings.append(
          "a constant metric has no effect on an unregularised linear predictor (generalised least squares equals "
            + "ordinary least squares): use a conditional metric, rho > 0, or another predictor")
      }
    }
    if !options.method.isBaseline, state.verdict.rmse <= 1e-10 * (try targetSize()) {
      warnings.append(
        "the residuals are zero: the predictor fits its data exactly, and then no metric changes it; use a smaller "
          + "predictor, rho > 0 or more data")
    }
    let count = state.verdict.cotangent.count
    if options.method.usesTaskGradient, norm(count, state.verdict.cotangent.base) == 0 {
      warnings.append("the task's gradient is zero everywhere: the task does not react to predictions here")
    }
    return warnings
  }

  /// Root mean square of the training targets.
  func targetSize() throws -> Double {
    if let known = knownTargetSize { return known }
    let total = Double(dataset.rows * dataset.targets)
    var size = 0.0
    try dataset.targetRows.forEachBlock { _, y in
      let count = y.rows * y.columns
      let part = rootMeanSquare(count) { y[$0 / y.columns, $0 % y.columns] }
      size = hypotenuse(size, part * (Double(count) / total).squareRoot())
    }
    knownTargetSize = size
    return size
  }
}

// MARK: - The metric

/// Lambda at some fixed rows of the training data, by what is cheap to know of it: no n x n matrix is formed.
struct MetricSample {
  private(set) var rows: [Int]
  /// Mean over the rows of Lambda_kk, output by output.
  let byOutput: Buffer<Double>
  /// tr Lambda / n of each row.
  private(set) var traces: [Double] = []
  /// Smallest and largest eigenvalue of each row's Lambda.
  private(set) var eigenvalues: [(smallest: Double, largest: Double)] = []

  /// At most 256 rows, evenly spaced; fewer where an eigenvalue costs much.
  init(_ metric: Metric, _ dataset: Dataset) throws {
    let (n, rank) = (Double(metric.outputs), Double(metric.rank))
    let affordable = Int(max(8, min(256, 2e6 / (rank * rank * (rank + n)))))
    let wanted = metric.network == nil ? 1 : min(affordable, dataset.rows)
    rows = (0..<wanted).map { $0 * dataset.rows / wanted }
    byOutput = try Buffer(repeating: 0, count: metric.outputs)
    let x = try Buffer<Double>(count: try checkedProduct(wanted, dataset.features))
    let room = RowBlock()
    for (index, row) in rows.enumerated() {
      // As a range of its own: the rows after it are not wanted.
      let line = try dataset.featureRows.rows(row..<(row + 1)).block(0..<1, in: room)
      line.copy(to: x.base + index * dataset.features)
    }
    let view = BlockedMatrix(MatrixView(x.base, rows: wanted, columns: dataset.features))
    let scratch = try Buffer<Double>(count: try checkedProduct(metric.rank, metric.rank))
    try MetricEvaluation<Double>(metric, rows: wanted).forEachBlock(rows: wanted, view) { _, count, factors in
      for row in 0..<count { try add(factors, row, scratch.base) }
    }
    if let k = firstNonFinite(byOutput.count, byOutput.base) {
      throw TaskMetError.numerical("an entry of Lambda is \(byOutput[k])")
    }
  }

  /// The outputs with the largest entries, largest first; among equals the earlier ones.
  func heaviestOutputs(_ count: Int) -> [Int] {
    var heaviest: [Int] = []
    for k in 0..<byOutput.count {
      let place = heaviest.firstIndex { byOutput[k] > byOutput[$0] } ?? heaviest.count
      if place < count { heaviest.insert(k, at: place) }
      if heaviest.count > count { heaviest.removeLast() }
    }
    return heaviest
  }

  private mutating func add(
    _ factors: MetricFactors<Double>, _ row: Int, _ scratch: UnsafeMutablePointer<Double>
  ) throws {
    var trace = 0.0
    for k in 0..<factors.outputs {
      let entry = factors.diagonalEntry(row, k)
      byOutput[k] += entry / Double(rows.count)
      trace += entry
    }
    traces.append(trace / Double(factors.outputs))
    eigenvalues.append(try factors.extremeEigenvalues(row, scratch: scratch))
  }

  var smallestEigenvalue: Double { eigenvalues.map(\.smallest).min() ?? .nan }
  var largestEigenvalue: Double { eigenvalues.map(\.largest).max() ?? .nan }
  var meanTrace: Double { traces.reduce(0, +) / Double(traces.count) }
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
    if !options.method.isBaseline { lines += try emphasis(try metric(of: state.best)) }
    lines += trust(state)
    lines += state.warnings.map { "warning: " + $0 }
    return lines.joined(separator: "\n") + "\n"
  }

  private func outcome(_ state: TrainerState) -> [String] {
    let data = validation == nil ? "training" : "validation"
    return [
      "result: \(data) task loss \(rounded(state.firstLoss)) (two-stage) -> \(rounded(state.bestLoss)), iteration "
        + "\(state.bestIteration) of \(state.iteration); its root mean squared error is "
        + "\(rounded(state.bestRMSERatio)) times the two-stage model's"
    ]
  }

  private func emphasis(_ metric: Metric) throws -> [String] {
    let sample = try MetricSample(metric, dataset)
    let n = metric.outputs
    var lines: [String] = []
    if n > 1 {
      let shown = sample.heaviestOutputs(6).map { "output \($0): \(rounded(sample.byOutput[$0]))" }.joined(
        separator: ", ")
      lines.append("metric by output (mean of Lambda_kk, heaviest first): \(shown)" + (n > 6 ? ", ..." : ""))
    }
    if sample.rows.count > 1 {
      let bySample = zip(sample.rows, sample.traces).sorted { $0.1 > $1.1 }
      let median = bySample[bySample.count / 2].1
      let heavy = bySample.prefix(3).map { "row \($0.0): \(rounded($0.1))" }.joined(separator: ", ")
      lines.append(
        "metric by sample (tr Lambda / n over \(sample.rows.count) rows): median \(rounded(median)), smallest "
          + "\(rounded(bySample[bySample.count - 1].1)), heaviest \(heavy)")
    }
    let conditions = sample.eigenvalues.map { $0.largest / max($0.smallest, .leastNormalMagnitude) }.sorted()
    lines.append(
      "condition number of Lambda: median \(rounded(conditions[conditions.count / 2])), largest "
        + "\(rounded(conditions[conditions.count - 1]))")
    return lines
  }

  private func trust(_ state: TrainerState) -> [String] {
    let steps = history.dropFirst()
    guard !steps.isEmpty, options.method.learnsMetric else { return ["no hypergradient was taken"] }
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
