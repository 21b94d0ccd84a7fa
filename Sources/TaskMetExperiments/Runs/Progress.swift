// What a user sees on standard error while runs go on: a line for each run that ended, and how long the rest will take.

import Glibc

final class Progress: @unchecked Sendable {
  private struct Group: Hashable {
    let problem, method: String
  }

  private let lock = Lock()
  private let total: Int
  private let jobs: Int
  private let isTerminal = isatty(2) == 1
  private var ended = 0
  /// Runs left, and seconds of those that ended (earlier ones included), by problem and method.
  private var left: [Group: Int] = [:]
  private var spent: [Group: (seconds: Double, runs: Int)] = [:]

  init(_ runs: [RunSpecification], earlier: [RunRecord], jobs: Int) {
    total = runs.count
    self.jobs = jobs
    for run in runs { left[Group(problem: run.key.problem, method: run.key.method), default: 0] += 1 }
    for record in earlier { add(record) }
  }

  func note(_ text: String) { lock.withLock { write(text + "\n") } }

  func finished(_ record: RunRecord) {
    lock.withLock {
      add(record)
      end(Group(problem: record.problem, method: record.method))
      var text = "\(head) \(record.problem) \(record.method) data \(record.key.dataset) seed \(record.key.seed): "
      text += "DQ \(fixed(record.quality, 3)), MSE \(significant(record.meanSquaredError, 3))"
      for (name, value) in record.columns { text += ", \(name) \(fixed(value, 3))" }
      write("\(text), \(fixed(record.seconds, 1)) s\(timeLeft)\n")
      showStatus()
    }
  }

  func failed(_ run: RunSpecification, _ message: String) {
    lock.withLock {
      end(Group(problem: run.key.problem, method: run.key.method))
      write("\(head) FAILED: \(message)\n")
      showStatus()
    }
  }

  func end() { lock.withLock { write("") } }

  private var head: String { "[\(ended)/\(total)]" }

  private func add(_ record: RunRecord) {
    var sum = spent[Group(problem: record.problem, method: record.method), default: (0, 0)]
    sum.seconds += record.seconds.isFinite ? record.seconds : 0
    sum.runs += 1
    spent[Group(problem: record.problem, method: record.method)] = sum
  }

  private func end(_ group: Group) {
    ended += 1
    left[group]! -= 1
  }

  /// Of the runs that are left, as long as their like took; those without a like count as the mean of all.
  private var secondsLeft: Double? {
    let all = spent.values.reduce((0.0, 0)) { ($0.0 + $1.seconds, $0.1 + $1.runs) }
    guard all.1 > 0 else { return nil }
    let sum = left.reduce(0.0) { sum, entry in
      let own = spent[entry.key] ?? (seconds: all.0, runs: all.1)
      return sum + Double(entry.value) * own.seconds / Double(own.runs)
    }
    return sum / Double(jobs)
  }

  private var timeLeft: String {
    guard ended < total, let seconds = secondsLeft else { return "" }
    return "; \(duration(seconds)) left"
  }

  /// On a terminal the last line says how far it is; plain output has it in every line already.
  private func showStatus() {
    if isTerminal && ended < total { put("\(head)\(timeLeft)") }
  }

  private func write(_ text: String) { put((isTerminal ? "\r\u{1B}[K" : "") + text) }

  private func put(_ text: String) {
    let bytes = Array(text.utf8)
    // Progress that cannot be shown is no reason to end.
    _ = Glibc.write(2, bytes, bytes.count)
  }
}
