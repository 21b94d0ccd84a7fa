// taskmet_task_create_portfolio, _quadratic_program, _linear_program: tasks whose decisions are mathematical programs.

import CTaskMet

@_cdecl("taskmet_task_create_portfolio") @implementation
public func taskmet_task_create_portfolio(
  _ risk_aversion: Double, _ lower: Double, _ upper: Double, _ legacy: Int32,
  _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_portfolio") {
    let riskAversion = try requirePositive(risk_aversion, "risk_aversion")
    let lower = try requireReal(lower, "lower")
    let upper = try requireReal(upper, "upper", atLeast: lower)
    let legacy = try requireFlag(legacy, "legacy")
    let out = try requirePointer(task, "task")
    out.pointee = try makeHandle(
      PortfolioTask(riskAversion: riskAversion, lower: lower, upper: upper, legacy: legacy))
  }
}
