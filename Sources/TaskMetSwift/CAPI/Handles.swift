// Handles: what a caller's opaque pointer stands for. A handle is a number that no other handle of the process ever has,
// not an address: a destroyed one, or one of another kind, is recognised, and never read from.

import Glibc
import Synchronization

/// An object on its way between threads; `withAccess` is what makes its use safe.
struct Shared: @unchecked Sendable {
  let object: SharedObject
}

/// Handles with neighbouring numbers: places for them, of which destroyed ones are used again.
struct HandlePool {
  private struct Slot {
    var generation: UInt
    var object: Shared?
  }

  private let range: Range<Int>
  private var slots: [Slot] = []
  private var free: [Int] = []

  /// `range`: the places' numbers in the whole table.
  init(_ range: Range<Int>) { self.range = range }

  private mutating func freeSlot() throws -> Int {
    if let reused = free.popLast() { return reused }
    guard slots.count < range.count else {
      throw TaskMetError(code: .outOfMemory, message: "\(slots.count) handles are alive")
    }
    slots.append(Slot(generation: 0, object: nil))
    return slots.count - 1
  }

  /// The place, and a generation that it never had before.
  mutating func insert(_ object: Shared) throws -> (index: Int, generation: UInt) {
    let slot = try freeSlot()
    slots[slot].generation += 1
    slots[slot].object = object
    return (range.lowerBound + slot, slots[slot].generation)
  }

  func object(_ index: Int, _ generation: UInt) -> Shared? {
    let slot = index - range.lowerBound
    guard slot < slots.count, slots[slot].generation == generation else { return nil }
    return slots[slot].object
  }

  mutating func remove(_ index: Int, _ generation: UInt) -> Shared? {
    guard let object = object(index, generation) else { return nil }
    slots[index - range.lowerBound].object = nil
    free.append(index - range.lowerBound)
    return object
  }
}

/// The live handles. Trainers have places of their own, which are few enough to have stop requests.
private struct HandleTable {
  static let trainerPlaces = 1 << 16
  private static let indexBits: UInt = 28

  private var trainers = HandlePool(0..<trainerPlaces)
  private var others = HandlePool(trainerPlaces..<(1 << (indexBits - 4)))

  static func decode(_ bits: UInt) -> (index: Int, generation: UInt) {
    (Int(bits & (1 << indexBits - 1)) >> 4, bits >> indexBits)
  }

  mutating func insert(_ object: Shared) throws -> UInt {
    let (index, generation) = object.object is Trainer ? try trainers.insert(object) : try others.insert(object)
    return generation << Self.indexBits | UInt(index) << 4 | 8
  }

  func object(_ bits: UInt) -> Shared? {
    let (index, generation) = Self.decode(bits)
    return index < Self.trainerPlaces ? trainers.object(index, generation) : others.object(index, generation)
  }

  mutating func remove(_ bits: UInt) -> Shared? {
    let (index, generation) = Self.decode(bits)
    return index < Self.trainerPlaces ? trainers.remove(index, generation) : others.remove(index, generation)
  }
}

/// Held while the process forks: the child must not find the table as another thread had left it, in the middle of a change
/// and locked by nobody.
private let handles: Lock<HandleTable> = {
  let table = Lock(HandleTable())
  pthread_atfork({ handles.acquire() }, { handles.release() }, { handles.release() })
  return table
}()

/// A new handle for an object.
func makeHandle(_ object: SharedObject) throws -> OpaquePointer {
  let shared = Shared(object: object)
  let bits = try handles.withLock { try $0.insert(shared) }
  return OpaquePointer(bitPattern: bits)!
}

/// The same for an object with a pointer of the caller's, which stays the caller's where there is no handle.
func makeHandle(_ object: SharedObject, owning user: CallbackUser) throws -> OpaquePointer {
  do {
    return try makeHandle(object)
  } catch {
    user.giveUp()
    throw error
  }
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

/// For each trainer's place the generation of its handle, times 2, plus 1 where that was asked to stop: asking is one
/// compare-and-exchange, without the table's lock, since a signal handler may do it; a handle that is gone changes nothing.
/// nil where there was no memory for them.
private nonisolated(unsafe) let stopRequests: UnsafeMutablePointer<Atomic<UInt>>? = {
  let memory = malloc(HandleTable.trainerPlaces * MemoryLayout<Atomic<UInt>>.stride)
  guard let places = memory?.assumingMemoryBound(to: Atomic<UInt>.self) else { return nil }
  for index in 0..<HandleTable.trainerPlaces { (places + index).initialize(to: Atomic(0)) }
  return places
}()

/// A new handle for a trainer, whose `stopRequested` then looks at the handle's place.
func makeTrainerHandle(_ trainer: Trainer) throws -> OpaquePointer {
  guard let stopRequests else { throw TaskMetError(code: .outOfMemory, message: "no memory for stop requests") }
  let handle = try makeHandle(trainer)
  let (index, generation) = HandleTable.decode(UInt(bitPattern: handle))
  let place = stopRequests + index
  place.pointee.store(2 * generation, ordering: .relaxed)
  trainer.stopRequested = { place.pointee.load(ordering: .relaxed) == 2 * generation + 1 }
  return handle
}

func setStopRequest(_ pointer: OpaquePointer?, _ requested: Bool) {
  guard let pointer else { return }
  let (index, generation) = HandleTable.decode(UInt(bitPattern: pointer))
  guard index < HandleTable.trainerPlaces, let stopRequests else { return }
  let (without, with) = (2 * generation, 2 * generation + 1)
  _ = stopRequests[index].compareExchange(
    expected: requested ? without : with, desired: requested ? with : without, ordering: .relaxed)
}
