// Who may touch an object now: any number of readers, or one writer. Nobody waits; a conflict is an error.

import Synchronization

private let serials = Atomic<Int>(0)

/// An object that callers share between threads.
class SharedObject {
  /// A number that no other object of this process has, ever: what a cache remembers an object by.
  let serial = serials.add(1, ordering: .relaxed).newValue
  /// What the caller knows the object as.
  var kind: StaticString { "object" }

  /// The number of readers, or -1 while somebody writes.
  private let users = Atomic<Int>(0)

  fileprivate func begin(writing: Bool) -> Bool {
    var current = users.load(ordering: .relaxed)
    while true {
      if writing ? current != 0 : current < 0 { return false }
      let (exchanged, original) = users.weakCompareExchange(
        expected: current, desired: writing ? -1 : current + 1, ordering: .acquiringAndReleasing)
      if exchanged { return true }
      current = original
    }
  }

  fileprivate func end(writing: Bool) {
    if writing {
      users.store(0, ordering: .releasing)
    } else {
      users.subtract(1, ordering: .releasing)
    }
  }
}

/// Runs `body` while `readers` are held for reading and `writers` for writing; `TaskMetError.Code.busy` if one can't be had.
func withAccess<Result>(
  reading readers: [SharedObject?] = [], writing writers: [SharedObject?] = [], _ body: () throws -> Result
) throws -> Result {
  var held: [(object: SharedObject, writing: Bool)] = []
  held.reserveCapacity(readers.count + writers.count)
  defer { for entry in held { entry.object.end(writing: entry.writing) } }
  func hold(_ objects: [SharedObject?], writing: Bool) throws {
    for case let object? in objects {
      guard object.begin(writing: writing) else {
        throw TaskMetError(code: .busy, message: "the \(object.kind) is in use by another call")
      }
      held.append((object, writing))
    }
  }
  try hold(writers, writing: true)
  try hold(readers, writing: false)
  return try body()
}
