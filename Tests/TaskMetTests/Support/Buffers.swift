// Buffers as arrays, which tests compare.

@testable import TaskMetSwift

extension Buffer {
  var array: [Element] { Array(UnsafeBufferPointer(start: base, count: count)) }
}
