// What all callbacks of the caller share: the user pointer, and the checks of what comes back.

import CTaskMet

/// The caller's pointer, given back once.
final class CallbackUser {
  let pointer: UnsafeMutableRawPointer?
  private var free: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?

  init(_ pointer: UnsafeMutableRawPointer?, free: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?) {
    self.pointer = pointer
    self.free = free
  }

  /// Leaves the pointer with the caller: the call that would have taken it has failed.
  func giveUp() { free = nil }

  deinit { free?(pointer) }
}

/// The error that a callback's answer stands for, if it is one. `what` names the callback.
func checkCallback(_ status: Int32, _ what: String) throws {
  switch Int(status) {
  case TASKMET_CALLBACK_OK: return
  case TASKMET_CALLBACK_REJECT:
    throw TaskMetError(code: .rejected, message: "\(what) returned \(status), TASKMET_CALLBACK_REJECT")
  case TASKMET_CALLBACK_STOP:
    throw TaskMetError(
      code: .callback, message: "\(what) returned \(status), TASKMET_CALLBACK_STOP, and there is nothing to stop")
  case TASKMET_CALLBACK_ERROR:
    throw TaskMetError(code: .callback, message: "\(what) returned \(status), TASKMET_CALLBACK_ERROR")
  default:
    throw TaskMetError(code: .callback, message: "\(what) returned \(status), which is not one of TASKMET_CALLBACK_*")
  }
}

/// The same for a callback that a task is made of: during training it may ask to stop, which is no error.
func checkTaskCallback(_ status: Int32, _ what: String) throws {
  if Int(status) == TASKMET_CALLBACK_STOP { throw StopTraining(reason: .task) }
  try checkCallback(status, what)
}

/// An error where a callback left a value that is not finite. Outputs arrive filled with NaN, so this finds one it forgot.
func checkCallbackOutput(_ count: Int, _ values: UnsafePointer<Double>, _ what: String) throws {
  if let index = firstNonFinite(count, values) {
    throw TaskMetError(code: .callback, message: "\(what)[\(index)] must be finite, got \(values[index])")
  }
}

/// Raised through the computation when somebody asked to stop: no failure. Raw values are those of `taskmet_stop_reason`.
struct StopTraining: Error {
  enum Reason: Int32 {
    case none, iterations, patience, requested, task, progress, interrupt, stalled
  }

  let reason: Reason
  /// Steps that had been tried and undone.
  var undone = 0
}
