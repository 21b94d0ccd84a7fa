// The user's interrupt callback, asked now and then during long computations; and the clock.

import Glibc

func secondsNow() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
}

/// Asks the user's interrupt callback now and then.
final class Interruption {
  private static let interval = 0.05

  /// True to stop.
  private let ask: () -> Bool
  private var next = 0.0

  init(_ ask: @escaping () -> Bool) { self.ask = ask }

  /// Throws `StopTraining` where the user wants to stop. Called often: asks at most every 50 ms.
  func poll() throws {
    let now = secondsNow()
    if now < next { return }
    next = now + Self.interval
    if ask() { throw StopTraining(reason: .interrupt) }
  }
}
