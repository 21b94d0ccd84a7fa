// Threads, a lock, and Ctrl-C, on Glibc alone.

import Glibc
import Synchronization

/// A mutual exclusion lock.
final class Lock: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>

  init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  func withLock<Result>(_ body: () throws -> Result) rethrows -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }
}

private final class ThreadBody: Sendable {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Calls the body on so many threads at once, and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable () -> Void) throws {
  var threads: [pthread_t] = []
  defer { for thread in threads { pthread_join(thread, nil) } }
  for _ in 0..<count {
    let argument = Unmanaged.passRetained(ThreadBody(body))
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<ThreadBody>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, argument.toOpaque())
    guard status == 0 else {
      argument.release()
      throw ExperimentError("cannot start a thread: \(String(cString: strerror(status)))")
    }
    threads.append(thread)
  }
}

/// Whether the user has asked to stop.
public enum Interruption {
  private static let requested = Atomic<Bool>(false)

  public static var isRequested: Bool { requested.load(ordering: .relaxed) }

  static func request() { requested.store(true, ordering: .relaxed) }

  /// The first Ctrl-C (or SIGTERM) asks; the second one ends the process as usual.
  public static func watchSignals() {
    // Made now: a handler must not be the first to touch it.
    _ = isRequested
    for number in [SIGINT, SIGTERM] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { _ in Interruption.request() }
      action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
      sigaction(number, &action, nil)
    }
  }
}

/// Seconds of a clock that only goes forward.
func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
