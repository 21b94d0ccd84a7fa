// Summaries as text for a terminal, as Markdown, and as comma-separated values.

public enum TableFormat: String, CaseIterable, Sendable {
  case text, markdown, csv
}

public enum TableKind: Sendable {
  /// Decision quality: the paper's table 2.
  case quality
  /// Mean squared errors: the paper's table 3.
  case error
  /// Both, and what else there is to know of the runs.
  case everything
}

/// A head and lines of cells.
struct Grid {
  let title: String
  let head: [String]
  var lines: [[String]] = []

  var text: String {
    let all = [head] + lines
    let widths = head.indices.map { column in all.map { $0[column].count }.max()! }
    let aligned = all.map { line in
      line.indices.map { line[$0].padded(widths[$0], left: $0 > 0) }.joined(separator: "  ")
    }
    return ([title] + aligned).map { $0.trimmingTrailingSpaces() }.joined(separator: "\n") + "\n"
  }

  var markdown: String {
    func row(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
    let rule = row(["---"] + head.dropFirst().map { _ in "---:" })
    return "**\(title)**\n\n" + ([row(head), rule] + lines.map(row)).joined(separator: "\n") + "\n"
  }
}

extension String {
  fileprivate func trimmingTrailingSpaces() -> String {
    lastIndex { $0 != " " }.map { String(self[...$0]) } ?? ""
  }
}

/// The tables of all problems in the records.
public func render(_ records: [RunRecord], _ kind: TableKind, _ format: TableFormat) -> String {
  let rows = summarize(records)
  if format == .csv { return csv(rows) }
  var problems: [String] = []
  for row in rows where !problems.contains(row.problem) { problems.append(row.problem) }
  let grids = problems.flatMap { problem in
    let own = rows.filter { $0.problem == problem }
    return kind == .everything ? [marks(problem, own, kind), details(problem, own)] : [marks(problem, own, kind)]
  }
  let note = "mean ± standard deviation over runs (standard error of the mean, from the data sets' means)"
  let tables = grids.map { format == .markdown ? $0.markdown : $0.text }
  return (tables + [note + "\n"]).joined(separator: "\n")
}

/// Quality and error, beside the paper's.
private func marks(_ problem: String, _ rows: [SummaryRow], _ kind: TableKind) -> Grid {
  let scale = errorScale(problem)
  let unit = scale == 1 ? "" : " (1e-4)"
  var head = ["method", "runs"]
  if kind != .error { head += ["decision quality", "paper"] }
  if kind != .quality { head += ["test MSE\(unit)", "paper"] }
  var grid = Grid(title: problem, head: head)
  for row in rows {
    var line = [row.label, "\(row.runs)"]
    if kind != .error {
      line += [cell(row.quality, 1, digits: 3), cell(PaperNumbers.quality(problem, row.method), 1)]
    }
    if kind != .quality {
      line += [cell(row.error, scale, digits: 2), cell(PaperNumbers.error(problem, row.method), scale)]
    }
    grid.lines.append(line)
  }
  return grid
}

private func details(_ problem: String, _ rows: [SummaryRow]) -> Grid {
  let hasSlope = rows.contains { $0.slope != nil }
  var grid = Grid(
    title: "\(problem): further",
    head: ["method", "regret"] + (hasSlope ? ["slope"] : []) + ["best iteration", "seconds", "preset", "settings"])
  for row in rows {
    let regret = "\(significant(row.regret.mean, 3)) ± \(significant(row.regret.deviation, 2))"
    let slope = hasSlope ? [row.slope.map { cell($0, 1, digits: 3) } ?? "-"] : []
    grid.lines.append(
      [row.label, regret] + slope
        + [fixed(row.bestIteration.mean, 0), fixed(row.seconds.mean, 1), row.preset, row.settingsHash])
  }
  return grid
}

/// The paper gives small errors in units of 1e-4.
private func errorScale(_ problem: String) -> Double { problem == "cubic" ? 1 : 1e4 }

private func cell(_ estimate: Estimate, _ scale: Double, digits: Int) -> String {
  func text(_ value: Double) -> String { fixed(scale * value, digits) }
  return "\(text(estimate.mean)) ± \(text(estimate.deviation)) (\(text(estimate.error)))"
}

private func cell(_ number: PaperNumber?, _ scale: Double) -> String {
  guard let number else { return "-" }
  func text(_ value: Double) -> String { significant(scale * value, 3) }
  return "\(text(number.mean)) ± \(text(number.deviation))"
}

private func csv(_ rows: [SummaryRow]) -> String {
  var lines = [
    "problem,method,preset,settings_hash,runs,datasets,decision_quality_mean,decision_quality_sd,decision_quality_se,"
      + "paper_decision_quality,paper_decision_quality_sd,test_mse_mean,test_mse_sd,test_mse_se,paper_test_mse,"
      + "paper_test_mse_sd,regret_mean,regret_sd,regret_se,"
      + "slope_mean,best_iteration_mean,seconds_mean"
  ]
  func text(_ value: Double?) -> String { value.map { $0.isFinite ? "\($0)" : "" } ?? "" }
  func three(_ estimate: Estimate) -> [String] { [estimate.mean, estimate.deviation, estimate.error].map(text) }
  func two(_ number: PaperNumber?) -> [String] { [number?.mean, number?.deviation].map(text) }
  for row in rows {
    let cells =
      [row.problem, row.method, row.preset, row.settingsHash, "\(row.runs)", "\(row.datasets)"]
      + three(row.quality) + two(PaperNumbers.quality(row.problem, row.method))
      + three(row.error) + two(PaperNumbers.error(row.problem, row.method))
      + three(row.regret) + [row.slope?.mean, row.bestIteration.mean, row.seconds.mean].map(text)
    lines.append(cells.joined(separator: ","))
  }
  return lines.joined(separator: "\n") + "\n"
}
