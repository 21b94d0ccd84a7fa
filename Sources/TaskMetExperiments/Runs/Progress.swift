// What a user sees on standard error while runs go on: a line for each run that ended, and how long the rest will take.

import Glibc

/// Runs belong to groups, such as a problem and a method, whose runs take about as long as each other.
final class Progress: @unchecked Sendable {
  private let lock = Lock()
  private let total: Int
  private let jobs: Int
  private let isTerminal = isatty(2) == 1
  private var ended = 0
  /// Runs left, and seconds of those that ended (earlier ones included), by group.
  private var left: [String: Int] = [:]
  private var spent: [String: (seconds: Double, runs: Int)] = [:]
  /// What runs that go on last said, by their title.
  private var states: [String: String] = [:]

  /// - Parameter groups: each run's.
  init(_ groups: [String], earlier: [(group: String, seconds: Double)], jobs: Int) {
    total = groups.count
    self.jobs = jobs
    for group in groups { left[group, default: 0] += 1 }
    for run in earlier { add(run.group, run.seconds) }
  }

  func note(_ text: String) { lock.withLock { write(text + "\n") } }

  func finished(_ run: some QueuedRun, _ line: String, seconds: Double) {
    lock.withLock {
      add(run.group, seconds)
      end(run)
      write("\(head) \(line), \(fixed(seconds, 1)) s\(timeLeft)\n")
      showStatus()
    }
  }

  func failed(_ run: some QueuedRun, _ message: String) {
    lock.withLock {
      end(run)
      write("\(head) FAILED: \(message)\n")
      showStatus()
    }
  }

  /// How far a run is; on a terminal only.
  func going(_ run: some QueuedRun, _ state: String) {
    guard isTerminal else { return }
    lock.withLock {
      states[run.title] = state
      write("")
      showStatus()
    }
  }

  func end() { lock.withLock { write("") } }

  private var head: String { "[\(ended)/\(total)]" }

  private func add(_ group: String, _ seconds: Double) {
    var sum = spent[group, default: (0, 0)]
    sum.seconds += seconds.isFinite ? seconds : 0
    sum.runs += 1
    spent[group] = sum
  }

  private func end(_ run: some QueuedRun) {
    ended += 1
    left[run.group]! -= 1
    states[run.title] = nil
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
    guard isTerminal, ended < total else { return }
    let going = states.sorted { $0.key < $1.key }.map { "  \($0.key): \($0.value)" }.joined()
    put("\(head)\(timeLeft)\(going)")
  }

  private func write(_ text: String) { put((isTerminal ? "\r\u{1B}[K" : "") + text) }

  private func put(_ text: String) {
    let bytes = Array(text.utf8)
    // Progress that cannot be shown is no reason to end.
    _ = Glibc.write(2, bytes, bytes.count)
  }
}
