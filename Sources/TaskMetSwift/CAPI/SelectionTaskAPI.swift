// taskmet_task_create_topk and _budget_allocation: the tasks that choose.

import CTaskMet

@_cdecl("taskmet_task_create_topk") @implementation
public func taskmet_task_create_topk(
  _ k: Int64, _ temperature: Double, _ legacy: Int32, _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_topk") {
    let object = TopKTask(
      choosing: try requireInteger(k, "k"), temperature: try requirePositive(temperature, "temperature"),
      isLegacy: try requireFlag(legacy, "legacy"))
    try requirePointer(task, "task").pointee = try makeHandle(object)
  }
}

@_cdecl("taskmet_task_create_budget_allocation") @implementation
public func taskmet_task_create_budget_allocation(
  _ budget: Int64, _ gamma: Double, _ legacy: Int32, _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_budget_allocation") {
    let budget = try requireInteger(budget, "budget")
    let gamma = try requireReal(gamma, "gamma", atLeast: 0)
    let isLegacy = try requireFlag(legacy, "legacy")
    guard !isLegacy || gamma == 0 else {
      throw TaskMetError.invalidArgument("gamma must be 0 where legacy is 1, got \(gamma)")
    }
    let relaxation: BudgetAllocationTask.Relaxation =
      isLegacy ? .published : .entropic(gamma: gamma == 0 ? BudgetAllocationTask.defaultGamma : gamma)
    try requirePointer(task, "task").pointee = try makeHandle(BudgetAllocationTask(budget: budget, relaxation))
  }
}
