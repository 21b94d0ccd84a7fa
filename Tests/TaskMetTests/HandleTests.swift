// Places for handles, and what becomes of a caller's pointer where there is none.

import Testing

@testable import TaskMetSwift

@Suite("Handles")
struct HandleTests {
  private final class Thing: SharedObject {}

  @Test("a pool is full at its end; a place that is free again has a new generation")
  func pool() throws {
    var pool = HandlePool(10..<12)
    let things = (0..<3).map { _ in Shared(object: Thing()) }
    let (first, second) = (try pool.insert(things[0]), try pool.insert(things[1]))
    #expect(first.index == 10 && second.index == 11)
    expectError(.outOfMemory, "2 handles") { _ = try pool.insert(things[2]) }
    #expect(pool.remove(first.index, first.generation)?.object === things[0].object)
    #expect(pool.object(first.index, first.generation) == nil && pool.remove(first.index, first.generation) == nil)
    let third = try pool.insert(things[2])
    #expect(third.index == 10 && third.generation > first.generation)
    #expect(pool.object(10, first.generation) == nil && pool.object(10, third.generation)?.object === things[2].object)
    #expect(pool.object(11, second.generation)?.object === things[1].object && pool.object(12, 1) == nil)
  }

  @Test("a pointer that is given up stays the caller's", arguments: [false, true])
  func callbackUser(_ givesUp: Bool) {
    let freed = UnsafeMutablePointer<Int>.allocate(capacity: 1)
    defer { freed.deallocate() }
    freed.initialize(to: 0)
    do {
      let user = CallbackUser(freed) { $0!.assumingMemoryBound(to: Int.self).pointee += 1 }
      if givesUp { user.giveUp() }
    }
    #expect(freed.pointee == (givesUp ? 0 : 1))
  }
}
