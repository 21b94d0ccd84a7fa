// The one error type of the library: a status and a message that names the argument and its value.

/// A failure that a caller of the library sees. `message` names the argument and the value, without the function's name,
/// which the C API adds.
struct TaskMetError: Error, Equatable {
  /// The numbers of `taskmet_status` in the C header.
  enum Code: Int32, CaseIterable {
    case invalidArgument = 1
    case shape, state, busy, callback, rejected, numerical, outOfMemory, io, format, version, unsupported
  }

  let code: Code
  let message: String

  static func invalidArgument(_ message: String) -> Self { Self(code: .invalidArgument, message: message) }
  static func shape(_ message: String) -> Self { Self(code: .shape, message: message) }
  static func state(_ message: String) -> Self { Self(code: .state, message: message) }
  static func numerical(_ message: String) -> Self { Self(code: .numerical, message: message) }
  static func unsupported(_ message: String) -> Self { Self(code: .unsupported, message: message) }
  static func io(_ message: String) -> Self { Self(code: .io, message: message) }
  static func format(_ message: String) -> Self { Self(code: .format, message: message) }
}
