// taskmet_trainer_set_*, _get_*, taskmet_option_*: options by name.

import CTaskMet
import Glibc

/// "a|b|c", made once for each option that has choices.
private nonisolated(unsafe) let choiceLists: [UnsafePointer<CChar>?] = trainerOptions.map { option in
  guard case .choice(let choices) = option.domain else { return nil }
  return UnsafePointer(strdup(choices.map { "\($0)" }.joined(separator: "|")))
}

private func withOption(
  _ function: StaticString, _ trainer: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ body: (Trainer, OptionDescriptor) throws -> Void
) -> taskmet_status {
  call(function) {
    let object: Trainer = try resolve(trainer, "trainer")
    let descriptor = try TrainerOptions.descriptor(named: String(cString: try requirePointer(name, "name")))
    try withAccess(writing: [object]) { try body(object, descriptor) }
  }
}

@_cdecl("taskmet_trainer_set_int") @implementation
public func taskmet_trainer_set_int(
  _ trainer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ value: Int64
) -> taskmet_status {
  withOption("trainer_set_int", trainer, name) { object, descriptor in
    try object.setOption(descriptor, .integer(Int(value)))
  }
}

@_cdecl("taskmet_trainer_set_double") @implementation
public func taskmet_trainer_set_double(
  _ trainer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ value: Double
) -> taskmet_status {
  withOption("trainer_set_double", trainer, name) { object, descriptor in
    try object.setOption(descriptor, .real(value))
  }
}

@_cdecl("taskmet_trainer_set_string") @implementation
public func taskmet_trainer_set_string(
  _ trainer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ value: UnsafePointer<CChar>!
) -> taskmet_status {
  withOption("trainer_set_string", trainer, name) { object, descriptor in
    let text = String(cString: try requirePointer(value, "value"))
    try object.setOption(descriptor, try TrainerOptions.parseChoice(descriptor, text))
  }
}

@_cdecl("taskmet_trainer_get_int") @implementation
public func taskmet_trainer_get_int(
  _ trainer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ value: UnsafeMutablePointer<Int64>!
) -> taskmet_status {
  withOption("trainer_get_int", trainer, name) { object, descriptor in
    let out = try requirePointer(value, "value")
    guard case .integer(let current) = object.options[descriptor.key] else { throw descriptor.wrongType }
    out.pointee = Int64(current)
  }
}

@_cdecl("taskmet_trainer_get_double") @implementation
public func taskmet_trainer_get_double(
  _ trainer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ value: UnsafeMutablePointer<Double>!
) -> taskmet_status {
  withOption("trainer_get_double", trainer, name) { object, descriptor in
    let out = try requirePointer(value, "value")
    guard case .real(let current) = object.options[descriptor.key] else { throw descriptor.wrongType }
    out.pointee = current
  }
}

@_cdecl("taskmet_trainer_get_string") @implementation
public func taskmet_trainer_get_string(
  _ trainer: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ value: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> taskmet_status {
  withOption("trainer_get_string", trainer, name) { object, descriptor in
    let out = try requirePointer(value, "value")
    guard case .choice = object.options[descriptor.key] else { throw descriptor.wrongType }
    out.pointee = constant(object.options.choice(descriptor.key))
  }
}

@_cdecl("taskmet_option_count") @implementation
public func taskmet_option_count() -> Int64 { Int64(trainerOptions.count) }

@_cdecl("taskmet_option_info") @implementation
public func taskmet_option_info(
  _ index: Int64, _ info: UnsafeMutablePointer<taskmet_option_description>!
) -> taskmet_status {
  call("option_info") {
    let index = try requireInteger(index, "index", atLeast: 0, atMost: Int64(trainerOptions.count - 1))
    let info = try requirePointer(info, "info")
    try structSize(info, minimum: 16, "info")
    let option = trainerOptions[index]
    var result = taskmet_option_description()
    result.name = constant(option.name)
    result.help = constant(option.help)
    result.fixed_after_start = option.fixedAfterStart ? 1 : 0
    switch option.domain {
    case .integer(let value, let range):
      result.type = taskmet_option_type(TASKMET_OPTION_INT)
      (result.int_default, result.int_minimum, result.int_maximum) = (
        Int64(value), Int64(range.lowerBound), Int64(range.upperBound)
      )
    case .real(let value, let range):
      result.type = taskmet_option_type(TASKMET_OPTION_DOUBLE)
      (result.double_default, result.double_minimum, result.double_maximum) = (
        value, range.lowerBound, range.upperBound
      )
    case .choice(let choices):
      result.type = taskmet_option_type(TASKMET_OPTION_STRING)
      result.string_default = constant(choices[0])
      result.choices = choiceLists[index]
    }
    writeStruct(result, to: info)
  }
}
