// Means over seeds of the agents' runs.

extension AgentRecord {
  /// Evaluations that make the end of a run.
  private static let finalEvaluations = 5

  /// The mean over all evaluations: the area under the curve.
  var meanReturn: Double { mean(evaluations.map(\.meanReturn)) }
  /// The mean of the last evaluations.
  var finalReturn: Double { mean(evaluations.suffix(Self.finalEvaluations).map(\.meanReturn)) }
  var finalModelError: Double { mean(evaluations.suffix(Self.finalEvaluations).map(\.stateModelError)) }

  /// Some evaluations in a row had a mean of at least that.
  func reaches(_ bound: Double) -> Bool {
    evaluations.indices.dropLast(Self.finalEvaluations - 1).contains { start in
      mean(evaluations[start..<(start + Self.finalEvaluations)].map(\.meanReturn)) >= bound
    }
  }

  /// Of the last evaluations' mean diagonal: the smallest of cart and pole's, and the largest of the distractors'.
  var metricExtremes: (smallestState: Double, largestDistractor: Double)? {
    let diagonals = evaluations.suffix(Self.finalEvaluations).map(\.metricDiagonal)
    guard let first = diagonals.first, !first.isEmpty else { return nil }
    let means = first.indices.map { k in mean(diagonals.map { $0[k] }) }
    return (means.prefix(CartPole.stateCount).min()!, means.dropFirst(CartPole.stateCount).max() ?? .nan)
  }
}

private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

/// A row for each agent, task and settings; records of a shorter run with the same seed are left out.
public func render(_ records: [AgentRecord], _ format: TableFormat) -> String {
  let head = [
    "agent", "seeds", "steps", "return at the end", "mean return", "reached 400", "model error",
    "least state weight", "largest distractor's", "steps/s",
  ]
  let rows = groups(records).map { [$0.label] + $0.cells }
  if format == .csv { return ([head] + rows).map { $0.joined(separator: ",") }.joined(separator: "\n") + "\n" }
  let grid = Grid(title: "CartPole", head: head, lines: rows)
  let note =
    "mean ± standard error over seeds; the end: the last 5 evaluations; reached 400: seeds with 5 evaluations in a row whose mean is"
    + " at least 400; model error: mean squared, of cart and pole, at the end\n"
  return (format == .markdown ? grid.markdown : grid.text) + "\n" + note
}

private struct AgentGroup {
  let label: String
  let records: [AgentRecord]

  var cells: [String] {
    func estimate(_ digits: Int, _ value: (AgentRecord) -> Double) -> String {
      let estimate = Estimate([0: records.map(value)])
      return "\(fixed(estimate.mean, digits)) ± \(fixed(estimate.error, digits))"
    }
    let extremes = records.compactMap(\.metricExtremes)
    return [
      "\(records.count)", "\(records.map(\.steps).min() ?? 0)", estimate(1, \.finalReturn), estimate(1, \.meanReturn),
      "\(records.filter { $0.reaches(400) }.count)/\(records.count)",
      significant(mean(records.map(\.finalModelError)), 2),
      extremes.isEmpty ? "" : fixed(mean(extremes.map(\.smallestState)), 2),
      extremes.isEmpty ? "" : fixed(mean(extremes.map(\.largestDistractor)), 2),
      fixed(mean(records.map { Double($0.steps) / $0.seconds }), 0),
    ]
  }
}

/// In the order of the file's tasks and agents; variants of one label are told apart by their settings.
private func groups(_ records: [AgentRecord]) -> [AgentGroup] {
  var longest: [String: AgentRecord] = [:]
  for record in records {
    let key = "\(record.settingsHash) \(record.seed)"
    if record.steps > longest[key]?.steps ?? 0 { longest[key] = record }
  }
  let byHash = Dictionary(grouping: longest.values, by: \.settingsHash)
  let variants = Dictionary(grouping: byHash.values, by: { $0[0].label })
  return byHash.values.sorted {
    ($0[0].distractors, $0[0].label, $0[0].settingsHash) < ($1[0].distractors, $1[0].label, $1[0].settingsHash)
  }.map { records in
    let first = records[0]
    let suffix = variants[first.label]!.count > 1 ? " [\(first.settingsHash.prefix(4))]" : ""
    return AgentGroup(label: first.label + suffix, records: records.sorted { $0.seed < $1.seed })
  }
}
