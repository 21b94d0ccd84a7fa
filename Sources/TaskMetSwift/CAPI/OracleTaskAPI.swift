// taskmet_task_create_*: tasks around the caller's own solver, and around a loss without a gradient.

import CTaskMet

/// An oracle with what every task around one is made of; `surrogate` is called with nothing but checked arguments left.
private func makeOracleTask(
  _ sense: taskmet_sense, _ oracle: taskmet_oracle_fn?, _ user: UnsafeMutableRawPointer?,
  _ freeUser: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?, _ task: UnsafeMutablePointer<OpaquePointer?>?,
  _ surrogate: () throws -> any QueryLoss
) throws {
  let sense: Sense = try requireCase(sense, "sense")
  guard let oracle else { throw TaskMetError.invalidArgument("oracle must not be NULL") }
  let loss = try surrogate()
  let out = try requirePointer(task, "task")
  let owner = CallbackUser(user, free: freeUser)
  out.pointee = try makeHandle(OracleTask(loss, sense, oracle, owner), owning: owner)
}

private func makeLossesTask(
  _ losses: taskmet_losses_fn?, _ user: UnsafeMutableRawPointer?,
  _ freeUser: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?, _ task: UnsafeMutablePointer<OpaquePointer?>?,
  _ surrogate: () throws -> any QueryLoss
) throws {
  guard let losses else { throw TaskMetError.invalidArgument("losses must not be NULL") }
  let loss = try surrogate()
  let out = try requirePointer(task, "task")
  let owner = CallbackUser(user, free: freeUser)
  out.pointee = try makeHandle(LossesTask(loss, losses, owner), owning: owner)
}

private func requireSamples(_ samples: Int64) throws -> Int {
  try requireInteger(samples, "samples", atLeast: 1, atMost: 1_000_000)
}

@_cdecl("taskmet_task_create_spo_plus") @implementation
public func taskmet_task_create_spo_plus(
  _ sense: taskmet_sense, _ oracle: taskmet_oracle_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_spo_plus") {
    try makeOracleTask(sense, oracle, user, free_user, task) { SPOPlusLoss() }
  }
}

@_cdecl("taskmet_task_create_perturbed") @implementation
public func taskmet_task_create_perturbed(
  _ sense: taskmet_sense, _ oracle: taskmet_oracle_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ loss: taskmet_perturbed_loss, _ samples: Int64,
  _ sigma: Double, _ seed: UInt64, _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_perturbed") {
    try makeOracleTask(sense, oracle, user, free_user, task) {
      PerturbedLoss(
        try requireCase(loss, "loss"), samples: try requireSamples(samples), sigma: try requirePositive(sigma, "sigma"),
        seed: seed)
    }
  }
}

@_cdecl("taskmet_task_create_blackbox") @implementation
public func taskmet_task_create_blackbox(
  _ sense: taskmet_sense, _ oracle: taskmet_oracle_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ lambda: Double,
  _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_blackbox") {
    try makeOracleTask(sense, oracle, user, free_user, task) {
      BlackboxLoss(lambda: try requirePositive(lambda, "lambda"))
    }
  }
}

@_cdecl("taskmet_task_create_finite_difference") @implementation
public func taskmet_task_create_finite_difference(
  _ losses: taskmet_losses_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ step: Double,
  _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_finite_difference") {
    try makeLossesTask(losses, user, free_user, task) {
      CentralDifferenceLoss(step: try requirePositive(step, "step"))
    }
  }
}

@_cdecl("taskmet_task_create_score_function") @implementation
public func taskmet_task_create_score_function(
  _ losses: taskmet_losses_fn!, _ user: UnsafeMutableRawPointer!,
  _ free_user: (@convention(c) (UnsafeMutableRawPointer?) -> Void)!, _ samples: Int64, _ sigma: Double, _ seed: UInt64,
  _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_score_function") {
    try makeLossesTask(losses, user, free_user, task) {
      ScoreFunctionLoss(
        pairs: try requireSamples(samples), sigma: try requirePositive(sigma, "sigma"), seed: seed)
    }
  }
}
