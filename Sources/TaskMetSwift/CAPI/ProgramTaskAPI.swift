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

@_cdecl("taskmet_task_create_quadratic_program") @implementation
public func taskmet_task_create_quadratic_program(
  _ program: UnsafePointer<taskmet_quadratic_program>!, _ sense: taskmet_sense,
  _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_quadratic_program") {
    let given = try readStruct(
      try requirePointer(program, "program"), defaults: taskmet_quadratic_program(), minimum: 40, "program")
    let sense: Sense = try requireCase(sense, "sense")
    let out = try requirePointer(task, "task")
    let variables = try requireWidth(given.variables, "variables")
    let parts = try requireObjective(given, variables)
    let equalities = try requireConstraints(
      given.equalities, variables, given.equality_matrix, given.equality_values,
      ("equalities", "equality_matrix", "equality_values"))
    let inequalities = try requireConstraints(
      given.inequalities, variables, given.inequality_matrix, given.inequality_values,
      ("inequalities", "inequality_matrix", "inequality_values"))
    let set = try FeasibleSet(variables: variables, equalities: equalities, inequalities: inequalities)
    out.pointee = try makeHandle(try QuadraticProgramTask(parts, over: set, sense: sense))
  }
}

@_cdecl("taskmet_task_create_linear_program") @implementation
public func taskmet_task_create_linear_program(
  _ constraints: Int64, _ variables: Int64, _ matrix: UnsafePointer<Double>!, _ values: UnsafePointer<Double>!,
  _ sense: taskmet_sense, _ smoothing: Double, _ task: UnsafeMutablePointer<OpaquePointer?>!
) -> taskmet_status {
  call("task_create_linear_program") {
    _ = try requireWidth(constraints, "constraints")
    let variables = try requireWidth(variables, "variables")
    let inequalities = try requireConstraints(
      constraints, variables, matrix, values, ("constraints", "matrix", "values"))
    let sense: Sense = try requireCase(sense, "sense")
    let smoothing = try requirePositive(smoothing, "smoothing")
    let out = try requirePointer(task, "task")
    let set = try FeasibleSet(variables: variables, equalities: .none, inequalities: inequalities)
    out.pointee = try makeHandle(try LinearProgramTask(over: set, sense: sense, smoothing: smoothing))
  }
}

private func requireObjective(
  _ given: taskmet_quadratic_program, _ variables: Int
) throws -> QuadraticProgramTask.Objective {
  let entries = try requireWidth(given.entries, "entries")
  if given.prediction == nil, entries != variables {
    throw TaskMetError.shape("entries must be \(variables), the variables, where prediction is NULL, got \(entries)")
  }
  func copy(_ base: UnsafePointer<Double>?, rows: Int, columns: Int, _ name: String) throws -> Buffer<Double>? {
    guard let base else { return nil }
    _ = try requireMatrix(base, rows: rows, columns: columns, stride: Int64(columns), name)
    return try Buffer(copying: base, count: try checkedProduct(rows, columns))
  }
  let quadratic = try copy(given.quadratic, rows: variables, columns: variables, "quadratic")
  if let quadratic { try requireSemidefinite(quadratic, order: variables) }
  let linear = try given.linear.map {
    try Buffer(copying: try requireVector($0, given.variables, variables, "linear", "variables"), count: variables)
  }
  return QuadraticProgramTask.Objective(
    entries: entries, quadratic: quadratic, linear: linear,
    prediction: try copy(given.prediction, rows: variables, columns: entries, "prediction"))
}

private func requireSemidefinite(_ matrix: Buffer<Double>, order: Int) throws {
  if let (row, column) = firstAsymmetry(matrix.base, order: order) {
    throw TaskMetError.invalidArgument(
      "quadratic must be symmetric, got \(matrix[row * order + column]) at [\(row),\(column)] and "
        + "\(matrix[column * order + row]) at [\(column),\(row)]")
  }
  if let eigenvalue = try negativeEigenvalue(matrix.base, order: order) {
    throw TaskMetError.invalidArgument("quadratic must be positive semidefinite, got the eigenvalue \(eigenvalue)")
  }
}

private func requireConstraints(
  _ count: Int64, _ variables: Int, _ matrix: UnsafePointer<Double>?, _ values: UnsafePointer<Double>?,
  _ names: (count: String, matrix: String, values: String)
) throws -> Constraints {
  let rows = try requireInteger(count, names.count, atLeast: 0, atMost: Int64(Int32.max))
  if rows == 0 { return .none }
  let matrix = try requirePointer(matrix, names.matrix)
  _ = try requireMatrix(matrix, rows: rows, columns: variables, stride: Int64(variables), names.matrix)
  return Constraints(
    count: rows, matrix: matrix, values: try requireVector(values, count, rows, names.values, names.count))
}
