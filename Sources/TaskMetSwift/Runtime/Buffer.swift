// Memory whose size scales with the input: allocated where a failure can be reported, unlike Swift's Array, which aborts.

import Glibc

/// The product of sizes, or an out-of-memory error where it overflows: no machine holds that many elements.
func checkedProduct(_ factors: Int...) throws -> Int {
  var product = 1
  for factor in factors {
    let (value, overflow) = product.multipliedReportingOverflow(by: factor)
    if overflow { throw outOfMemory("\(factors.map(String.init).joined(separator: " x ")) elements") }
    product = value
  }
  return product
}

private func outOfMemory(_ what: String) -> TaskMetError {
  TaskMetError(code: .outOfMemory, message: "no memory for \(what)")
}

/// A fixed number of elements, aligned to a cache line, freed with the object.
final class Buffer<Element: BitwiseCopyable> {
  let base: UnsafeMutablePointer<Element>
  let count: Int

  /// Uninitialised elements.
  init(count: Int) throws {
    let stride = MemoryLayout<Element>.stride
    let (bytes, overflow) = max(count, 1).multipliedReportingOverflow(by: stride)
    var raw: UnsafeMutableRawPointer?
    if overflow || bytes > Int.max / 2 || posix_memalign(&raw, 64, bytes) != 0 { raw = nil }
    guard let raw else { throw outOfMemory("\(count) elements of \(stride) bytes") }
    base = raw.assumingMemoryBound(to: Element.self)
    self.count = count
  }

  convenience init(repeating value: Element, count: Int) throws {
    try self.init(count: count)
    base.update(repeating: value, count: count)
  }

  convenience init(copying source: UnsafePointer<Element>, count: Int) throws {
    try self.init(count: count)
    base.update(from: source, count: count)
  }

  convenience init(_ values: [Element]) throws {
    try self.init(count: values.count)
    for (index, value) in values.enumerated() { base[index] = value }
  }

  deinit { free(base) }

  subscript(index: Int) -> Element {
    get { base[index] }
    set { base[index] = newValue }
  }
}

/// A buffer that grows when asked for more and otherwise keeps its memory: contents are lost when it grows.
struct GrowingBuffer<Element: BitwiseCopyable> {
  private var buffer: Buffer<Element>?

  init() {}

  mutating func reserve(_ count: Int) throws -> UnsafeMutablePointer<Element> {
    if let buffer, buffer.count >= count { return buffer.base }
    buffer = nil
    let fresh = try Buffer<Element>(count: count)
    buffer = fresh
    return fresh.base
  }
}
