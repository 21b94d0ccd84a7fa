// Independent iterations on several threads. Which thread runs an iteration is left to chance, so an iteration must write to
// places of its own; results are then combined in a fixed order and have the same bits for any number of threads.

import Glibc
import Synchronization

/// What the threads of one loop share.
private final class LoopState {
  let next = Atomic<Int>(0)
  let count: Int
  /// Whether to go on.
  let body: (Int) -> Bool

  init(count: Int, body: @escaping (Int) -> Bool) {
    self.count = count
    self.body = body
  }

  func run() {
    while true {
      let index = next.add(1, ordering: .relaxed).oldValue
      if index >= count { return }
      if !body(index) { next.store(count, ordering: .relaxed) }
    }
  }
}

/// Calls body(0) ..< body(count), on the calling thread and up to `threads - 1` others, which end with the loop: nothing
/// survives it that a fork could lose. Where a thread can't be created, the others do its work.
/// After an error no iteration is begun; that of the lowest index is thrown, after those that were begun have ended.
func parallelLoop(_ count: Int, threads: Int, _ body: (Int) throws -> Void) throws {
  if threads <= 1 || count <= 1 {
    for index in 0..<count { try body(index) }
    return
  }
  let failure = Lock<(index: Int, error: any Error)?>(nil)
  withoutActuallyEscaping(body) { body in
    let state = LoopState(count: count) { index in
      do {
        try body(index)
        return true
      } catch {
        failure.withLock { if $0 == nil || index < $0!.index { $0 = (index, error) } }
        return false
      }
    }
    let helpers = (1..<min(threads, count)).compactMap { _ in startThread(state) }
    state.run()
    for helper in helpers { pthread_join(helper, nil) }
  }
  if let error = failure.withLock({ $0?.error }) { throw error }
}

private func startThread(_ state: LoopState) -> pthread_t? {
  var thread = pthread_t()
  let context = Unmanaged.passRetained(state)
  let status = pthread_create(
    &thread, nil,
    { argument in
      Unmanaged<LoopState>.fromOpaque(argument!).takeRetainedValue().run()
      return nil
    }, context.toOpaque())
  if status == 0 { return thread }
  context.release()
  return nil
}
