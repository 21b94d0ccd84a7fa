// Handles: what a caller's opaque pointer stands for. A handle is a number that no other handle of the process ever has,
// not an address: a destroyed one, or one of another kind, is recognised, and never read from.

import Synchronization

/// An object on its way between threads; `withAccess` is what makes its use safe.
private struct Shared: @unchecked Sendable {
  let object: SharedObject
}

/// The live handles.
private struct HandleTable {
  private struct Slot {
    var generation: UInt
    var object: Shared?
  }

  private var slots: [Slot] = []
  private var free: [Int] = []

  private static let indexBits: UInt = 28

  static func decode(_ bits: UInt) -> (index: Int, generation: UInt) {
    (Int(bits & (1 << indexBits - 1)) >> 4, bits >> indexBits)
  }

  mutating func insert(_ object: Shared) throws -> UInt {
    let index: Int
    if let reused = free.popLast() {
      index = reused
    } else {
      guard slots.count < 1 << (Self.indexBits - 4) else {
        throw TaskMetError(code: .outOfMemory, message: "\(slots.count) handles are alive")
      }
      index = slots.count
      slots.append(Slot(generation: 0, object: nil))
    }
    slots[index].generation += 1
    slots[index].object = object
    return slots[index].generation << Self.indexBits | UInt(index) << 4 | 8
  }

  func object(_ bits: UInt) -> Shared? {
    let (index, generation) = Self.decode(bits)
    guard index < slots.count, slots[index].generation == generation else { return nil }
    return slots[index].object
  }

  mutating func remove(_ bits: UInt) -> Shared? {
    guard let object = object(bits) else { return nil }
    let index = Self.decode(bits).index
    slots[index].object = nil
    free.append(index)
    return object
  }
}

private let handles = Mutex(HandleTable())

/// A new handle for an object.
func makeHandle(_ object: SharedObject) throws -> OpaquePointer {
  let shared = Shared(object: object)
  let bits = try handles.withLock { try $0.insert(shared) }
  return OpaquePointer(bitPattern: bits)!
}

/// The object behind a handle of one kind; `name` is the argument's.
func resolve<Object: SharedObject>(_ pointer: OpaquePointer?, _ name: String, as: Object.Type = Object.self) throws
  -> Object
{
  guard let pointer else { throw TaskMetError.invalidArgument("\(name) must not be NULL") }
  guard let object = handles.withLock({ [bits = UInt(bitPattern: pointer)] in $0.object(bits) })?.object else {
    throw TaskMetError.invalidArgument("\(name) is not a live handle, got \(pointer)")
  }
  guard let typed = object as? Object else {
    throw TaskMetError.invalidArgument("\(name) is a handle of another kind, got \(pointer)")
  }
  return typed
}

/// Drops the caller's reference. NULL, a destroyed handle and one of another kind are left alone.
func destroyHandle<Object: SharedObject>(_ pointer: OpaquePointer?, as type: Object.Type) {
  guard let pointer, (try? resolve(pointer, "handle", as: type)) != nil else { return }
  // The object may end here, and its destructors call the user's code: outside the table's lock.
  let object = handles.withLock { [bits = UInt(bitPattern: pointer)] in $0.remove(bits) }
  withExtendedLifetime(object?.object) {}
}

// MARK: - Stop requests

/// Handles with a place here can be trainers'.
private let stopPlaces = 1 << 16

/// For each place in the handle table the generation of the handle that was asked to stop: asking is one store, without the
/// table's lock, since a signal handler may do it.
private nonisolated(unsafe) let stopRequests: UnsafeMutablePointer<Atomic<UInt>> = {
  let places = UnsafeMutablePointer<Atomic<UInt>>.allocate(capacity: stopPlaces)
  for index in 0..<stopPlaces { (places + index).initialize(to: Atomic(0)) }
  return places
}()

/// A new handle for a trainer, whose `stopRequested` then looks at the handle's place.
func makeTrainerHandle(_ trainer: Trainer) throws -> OpaquePointer {
  let handle = try makeHandle(trainer)
  let (index, generation) = HandleTable.decode(UInt(bitPattern: handle))
  guard index < stopPlaces else {
    destroyHandle(handle, as: Trainer.self)
    throw TaskMetError(code: .outOfMemory, message: "more than \(stopPlaces) handles are alive")
  }
  let place = stopRequests + index
  place.pointee.store(0, ordering: .relaxed)
  trainer.stopRequested = { place.pointee.load(ordering: .relaxed) == generation }
  return handle
}

func setStopRequest(_ pointer: OpaquePointer?, _ requested: Bool) {
  guard let pointer else { return }
  let (index, generation) = HandleTable.decode(UInt(bitPattern: pointer))
  guard index < stopPlaces else { return }
  stopRequests[index].store(requested ? generation : 0, ordering: .relaxed)
}
