// taskmet_optimizer_*.

import CTaskMet

@_cdecl("taskmet_optimizer_create_adam") @implementation
public func taskmet_optimizer_create_adam(
  _ count: Int64, _ learning_rate: Double, _ beta1: Double, _ beta2: Double, _ epsilon: Double,
  _ optimizer: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("optimizer_create_adam") {
    let out = try requirePointer(optimizer, "optimizer")
    let method = Optimizer.Method.adam(
      beta1: try requireDecay(beta1, "beta1"), beta2: try requireDecay(beta2, "beta2"),
      epsilon: try requirePositive(epsilon, "epsilon"))
    out.pointee = try makeHandle(
      try Optimizer(
        method, count: try requireWidth(count, "count"),
        learningRate: try requirePositive(learning_rate, "learning_rate")))
  }
}

@_cdecl("taskmet_optimizer_create_sgd") @implementation
public func taskmet_optimizer_create_sgd(
  _ count: Int64, _ learning_rate: Double, _ momentum: Double, _ optimizer: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("optimizer_create_sgd") {
    let out = try requirePointer(optimizer, "optimizer")
    let method = Optimizer.Method.sgd(momentum: try requireDecay(momentum, "momentum"))
    out.pointee = try makeHandle(
      try Optimizer(
        method, count: try requireWidth(count, "count"),
        learningRate: try requirePositive(learning_rate, "learning_rate")))
  }
}

@_cdecl("taskmet_optimizer_destroy") @implementation
public func taskmet_optimizer_destroy(_ optimizer: OpaquePointer!) { destroyHandle(optimizer, as: Optimizer.self) }

@_cdecl("taskmet_optimizer_step") @implementation
public func taskmet_optimizer_step(
  _ optimizer: OpaquePointer!, _ gradient: UnsafePointer<Double>!, _ gradient_count: Int64,
  _ parameters: UnsafeMutablePointer<Double>!, _ count: Int64
) -> taskmet_status {
  call("optimizer_step") {
    let object: Optimizer = try resolve(optimizer, "optimizer")
    let gradient = try requireVector(gradient, gradient_count, object.count, "gradient", "gradient_count")
    let parameters = try requirePointer(parameters, "parameters")
    _ = try requireVector(UnsafePointer(parameters), count, object.count, "parameters", "count")
    try withAccess(writing: [object]) { try object.step(gradient: gradient, parameters: parameters) }
  }
}

@_cdecl("taskmet_optimizer_reset") @implementation
public func taskmet_optimizer_reset(_ optimizer: OpaquePointer!) -> taskmet_status {
  call("optimizer_reset") {
    let object: Optimizer = try resolve(optimizer, "optimizer")
    try withAccess(writing: [object]) { object.reset() }
  }
}

@_cdecl("taskmet_optimizer_set_learning_rate") @implementation
public func taskmet_optimizer_set_learning_rate(_ optimizer: OpaquePointer!, _ learning_rate: Double) -> taskmet_status
{
  call("optimizer_set_learning_rate") {
    let object: Optimizer = try resolve(optimizer, "optimizer")
    let rate = try requirePositive(learning_rate, "learning_rate")
    try withAccess(writing: [object]) { object.setLearningRate(rate) }
  }
}
