// Statuses, the thread's last error, and the library's version.

import CTaskMet
import Glibc

/// This thread's last message, in memory that the key's destructor frees; nil where the process has no key left.
private let lastErrorKey: pthread_key_t? = {
  var key = pthread_key_t()
  return pthread_key_create(&key) { free($0) } == 0 ? key : nil
}()

private func setLastError(_ message: String) {
  guard let key = lastErrorKey else { return }
  free(pthread_getspecific(key))
  pthread_setspecific(key, strdup(message))
}

/// Runs a function of the API: an error becomes its status, and its message this thread's last error.
/// `name` is the function's name without the prefix.
func call(_ name: StaticString, _ body: () throws -> Void) -> taskmet_status {
  do {
    try body()
    return taskmet_status(TASKMET_OK)
  } catch let error as TaskMetError {
    setLastError("\(name): \(error.message)")
    return error.code.rawValue
  } catch is StopTraining {
    setLastError(
      "\(name): the task callback returned \(TASKMET_CALLBACK_STOP), TASKMET_CALLBACK_STOP, and there is nothing to stop"
    )
    return taskmet_status(TASKMET_ERROR_CALLBACK)
  } catch {
    setLastError("\(name): \(error)")
    return taskmet_status(TASKMET_ERROR_STATE)
  }
}

/// A string that lives as long as the process.
func constant(_ string: StaticString) -> UnsafePointer<CChar> {
  UnsafeRawPointer(string.utf8Start).assumingMemoryBound(to: CChar.self)
}

@_cdecl("taskmet_last_error") @implementation
public func taskmet_last_error() -> UnsafePointer<CChar>! {
  guard let key = lastErrorKey, let message = pthread_getspecific(key) else { return constant("") }
  return UnsafePointer(message.assumingMemoryBound(to: CChar.self))
}

private nonisolated(unsafe) let version = strdup(
  "\(TASKMET_VERSION_MAJOR).\(TASKMET_VERSION_MINOR).\(TASKMET_VERSION_PATCH)")

@_cdecl("taskmet_version") @implementation
public func taskmet_version() -> UnsafePointer<CChar>! { UnsafePointer(version) }

@_cdecl("taskmet_abi_version") @implementation
public func taskmet_abi_version() -> Int32 { TASKMET_ABI_VERSION }

@_cdecl("taskmet_status_name") @implementation
public func taskmet_status_name(_ status: taskmet_status) -> UnsafePointer<CChar>! {
  switch TaskMetError.Code(rawValue: status) {
  case nil: constant(status == TASKMET_OK ? "TASKMET_OK" : "unknown status")
  case .invalidArgument: constant("TASKMET_ERROR_INVALID_ARGUMENT")
  case .shape: constant("TASKMET_ERROR_SHAPE")
  case .state: constant("TASKMET_ERROR_STATE")
  case .busy: constant("TASKMET_ERROR_BUSY")
  case .callback: constant("TASKMET_ERROR_CALLBACK")
  case .rejected: constant("TASKMET_ERROR_REJECTED")
  case .numerical: constant("TASKMET_ERROR_NUMERICAL")
  case .outOfMemory: constant("TASKMET_ERROR_OUT_OF_MEMORY")
  case .io: constant("TASKMET_ERROR_IO")
  case .format: constant("TASKMET_ERROR_FORMAT")
  case .version: constant("TASKMET_ERROR_VERSION")
  case .unsupported: constant("TASKMET_ERROR_UNSUPPORTED")
  }
}
