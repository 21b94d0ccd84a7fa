// The C API as Swift: handles that release what they own, and errors with the library's own message. Nothing else in this
// module calls the library.

import CTaskMet

/// A call that the library refused.
public struct LibraryError: Error, CustomStringConvertible {
  public let status: taskmet_status
  public let description: String
}

func check(_ status: taskmet_status) throws {
  guard status != TASKMET_OK else { return }
  throw LibraryError(status: status, description: String(cString: taskmet_last_error()))
}

/// Calls a constructor, which writes a handle.
func make(_ constructor: (inout OpaquePointer?) -> taskmet_status) throws -> OpaquePointer {
  var handle: OpaquePointer?
  try check(constructor(&handle))
  return handle!
}

public func libraryVersion() -> String { String(cString: taskmet_version()) }

// MARK: - Data

/// Rows, and their grouping into instances. Any number of threads may read it.
final class Dataset: @unchecked Sendable {
  let handle: OpaquePointer
  let table: Table

  init(_ table: Table) throws {
    self.table = table
    let (features, targets) = (Int64(table.features), Int64(table.targets))
    handle = try make {
      taskmet_dataset_create(Int64(table.rows), features, table.x, features, targets, table.y, targets, &$0)
    }
    do {
      try check(taskmet_dataset_set_instances(handle, Int64(table.instances), table.offsets))
      guard !table.context.isEmpty else { return }
      try check(
        taskmet_dataset_set_context(handle, table.context, Int64(table.instances), table.contextOffsets))
    } catch {
      taskmet_dataset_destroy(handle)
      throw error
    }
  }

  deinit { taskmet_dataset_destroy(handle) }
}

// MARK: - Models

/// What follows a predictor's last layer.
enum Activation {
  case identity, relu, tanh

  var code: taskmet_activation {
    switch self {
    case .identity: taskmet_activation(TASKMET_ACTIVATION_IDENTITY)
    case .relu: taskmet_activation(TASKMET_ACTIVATION_RELU)
    case .tanh: taskmet_activation(TASKMET_ACTIVATION_TANH)
    }
  }
}

/// Of a metric's factor.
enum Structure {
  case scalar, diagonal, full

  var code: taskmet_structure {
    switch self {
    case .scalar: taskmet_structure(TASKMET_STRUCTURE_SCALAR)
    case .diagonal: taskmet_structure(TASKMET_STRUCTURE_DIAGONAL)
    case .full: taskmet_structure(TASKMET_STRUCTURE_FULL)
    }
  }
}

final class Predictor {
  let handle: OpaquePointer

  init(owning handle: OpaquePointer) { self.handle = handle }

  static func linear(inputs: Int, outputs: Int) throws -> Predictor {
    Predictor(owning: try make { taskmet_predictor_create_linear(Int64(inputs), Int64(outputs), 1, &$0) })
  }

  /// Hidden layers of ReLU units.
  static func multilayer(inputs: Int, outputs: Int, hidden: [Int], output: Activation, seed: UInt64) throws
    -> Predictor
  {
    Predictor(
      owning: try make {
        taskmet_predictor_create_mlp(
          Int64(inputs), Int64(outputs), Int64(hidden.count), hidden.map(Int64.init), Activation.relu.code, output.code,
          seed, &$0)
      })
  }

  deinit { taskmet_predictor_destroy(handle) }

  func parameters() throws -> [Double] {
    var count: Int64 = 0
    try check(taskmet_predictor_parameter_count(handle, &count))
    var values = [Double](repeating: 0, count: Int(count))
    try check(taskmet_predictor_get_parameters(handle, &values, count))
    return values
  }

  func setParameters(_ values: [Double]) throws {
    try check(taskmet_predictor_set_parameters(handle, values, Int64(values.count)))
  }

  /// Whether the regularisation counts the biases.
  func setPenalizeBias(_ penalize: Bool) throws {
    try check(taskmet_predictor_set_penalize_bias(handle, penalize ? 1 : 0))
  }

  func predict(_ table: Table) throws -> [Double] {
    var out = [Double](repeating: 0, count: table.rows * table.targets)
    try check(
      taskmet_predictor_predict(
        handle, Int64(table.rows), table.x, Int64(table.features), &out, Int64(table.targets)))
    return out
  }
}

final class Metric {
  let handle: OpaquePointer
  let outputs: Int

  init(owning handle: OpaquePointer, outputs: Int) {
    self.handle = handle
    self.outputs = outputs
  }

  /// The same for every row; begins as the identity.
  static func constant(outputs: Int, structure: Structure) throws -> Metric {
    let handle = try make { taskmet_metric_create_constant(Int64(outputs), structure.code, 1, 0, &$0) }
    return Metric(owning: handle, outputs: outputs)
  }

  static func identity(outputs: Int) throws -> Metric { try constant(outputs: outputs, structure: .scalar) }

  /// From a network of the row's features with hidden layers of ReLU units.
  static func conditional(inputs: Int, outputs: Int, structure: Structure, hidden: [Int], seed: UInt64) throws
    -> Metric
  {
    let handle = try make {
      taskmet_metric_create_conditional(
        Int64(inputs), Int64(outputs), structure.code, 1, Int64(hidden.count), hidden.map(Int64.init),
        Activation.relu.code, seed, &$0)
    }
    return Metric(owning: handle, outputs: outputs)
  }

  deinit { taskmet_metric_destroy(handle) }

  /// Lambda at each row of features.
  func evaluate(_ x: [Double], features: Int) throws -> [Double] {
    let rows = x.count / features
    var out = [Double](repeating: 0, count: rows * outputs * outputs)
    try check(taskmet_metric_evaluate(handle, Int64(rows), x, Int64(features), &out, Int64(out.count)))
    return out
  }
}

// MARK: - Tasks

extension LODLSettings.Loss {
  fileprivate var code: taskmet_lodl_loss {
    switch self {
    case .weightedMSE: taskmet_lodl_loss(TASKMET_LODL_WEIGHTED_MSE)
    case .directedWeightedMSE: taskmet_lodl_loss(TASKMET_LODL_DIRECTED_WEIGHTED_MSE)
    case .quadratic: taskmet_lodl_loss(TASKMET_LODL_QUADRATIC)
    case .directedQuadratic: taskmet_lodl_loss(TASKMET_LODL_DIRECTED_QUADRATIC)
    }
  }
}

extension LODLSettings.Sampling {
  fileprivate var code: taskmet_lodl_sampling {
    switch self {
    case .all: taskmet_lodl_sampling(TASKMET_LODL_ALL)
    case .one: taskmet_lodl_sampling(TASKMET_LODL_ONE)
    case .two: taskmet_lodl_sampling(TASKMET_LODL_TWO)
    }
  }
}

/// How a task judges predictions on held-out data.
struct DecisionReport {
  var objective, optimalObjective, randomObjective: Double
  var regret, regretLower, regretUpper: Double
  var quality, qualityLower, qualityUpper: Double
  var meanSquaredError: Double
}

/// Any number of threads may use a task at once.
final class Task: @unchecked Sendable {
  let handle: OpaquePointer

  private init(_ constructor: (inout OpaquePointer?) -> taskmet_status) throws { handle = try make(constructor) }

  deinit { taskmet_task_destroy(handle) }

  static func topK(_ k: Int, temperature: Double, legacy: Bool) throws -> Task {
    try Task { taskmet_task_create_topk(Int64(k), temperature, legacy ? 1 : 0, &$0) }
  }

  static func budgetAllocation(_ budget: Int, gamma: Double, legacy: Bool) throws -> Task {
    try Task { taskmet_task_create_budget_allocation(Int64(budget), gamma, legacy ? 1 : 0, &$0) }
  }

  static func portfolio(riskAversion: Double, legacy: Bool) throws -> Task {
    try Task { taskmet_task_create_portfolio(riskAversion, 0, 1, legacy ? 1 : 0, &$0) }
  }

  /// A loss and its gradient from a function without state.
  static func callback(_ function: taskmet_task_fn) throws -> Task {
    try Task { taskmet_task_create_callback(function, nil, nil, &$0) }
  }

  /// Learned decision losses, one for each of the dataset's instances.
  static func lodl(_ task: Task, _ dataset: Dataset, _ settings: LODLSettings, threads: Int, seed: UInt64) throws
    -> Task
  {
    var options = taskmet_lodl_options()
    taskmet_lodl_options_init(&options)
    options.loss = settings.loss.code
    options.sampling = settings.sampling.code
    options.samples = Int64(settings.samples)
    options.deviation = settings.deviation
    options.rank = Int64(settings.rank)
    options.learning_rate = settings.rate
    options.threads = Int64(threads)
    options.seed = seed
    return try Task { taskmet_task_create_lodl(task.handle, dataset.handle, &options, &$0) }
  }

  /// How much of the sampled losses' variance the learned ones explain.
  func lodlFitQuality() throws -> Double {
    var quality = 0.0
    try check(taskmet_task_lodl_fit_quality(handle, &quality))
    return quality
  }

  /// The loss of the real decisions.
  func loss(_ dataset: Dataset, predictions: [Double]) throws -> Double {
    var loss = 0.0
    let stride = Int64(dataset.table.targets)
    try check(
      taskmet_task_gradient(
        handle, dataset.handle, taskmet_phase(TASKMET_PHASE_VALIDATION), predictions, stride, &loss, nil, stride))
    return loss
  }

  func decisionQuality(_ dataset: Dataset, predictions: [Double], seed: UInt64) throws -> DecisionReport {
    var report = taskmet_decision_report()
    report.struct_size = MemoryLayout<taskmet_decision_report>.size
    try check(
      taskmet_task_decision_quality(
        handle, dataset.handle, predictions, Int64(dataset.table.targets), 0, 0, 0, seed, &report))
    return DecisionReport(
      objective: report.objective, optimalObjective: report.optimal_objective,
      randomObjective: report.random_objective, regret: report.regret, regretLower: report.regret_lower,
      regretUpper: report.regret_upper, quality: report.decision_quality,
      qualityLower: report.decision_quality_lower, qualityUpper: report.decision_quality_upper,
      meanSquaredError: report.mean_squared_error)
  }
}

// MARK: - Training

/// The value of a trainer's option.
public enum OptionValue: Equatable, Sendable {
  case integer(Int64)
  case real(Double)
  case text(String)
}

/// What there is to know of a trainer's option.
public struct OptionDescription: Sendable {
  public let name, help, range: String
  public let standard: OptionValue
}

/// All options of the library's trainer, in its order.
public func trainerOptions() throws -> [OptionDescription] {
  try (0..<taskmet_option_count()).map { index in
    var info = taskmet_option_description()
    info.struct_size = MemoryLayout<taskmet_option_description>.size
    try check(taskmet_option_info(index, &info))
    let (standard, range): (OptionValue, String) =
      switch Int(info.type) {
      case TASKMET_OPTION_INT: (.integer(info.int_default), "\(info.int_minimum)...\(info.int_maximum)")
      case TASKMET_OPTION_DOUBLE: (.real(info.double_default), "\(info.double_minimum)...\(info.double_maximum)")
      default: (.text(String(cString: info.string_default)), String(cString: info.choices))
      }
    return OptionDescription(
      name: String(cString: info.name), help: String(cString: info.help), range: range, standard: standard)
  }
}

struct FitReport {
  var reason: String
  var iterations, bestIteration: Int
  /// The task's loss on the validation data, of the best model.
  var validationLoss: Double
}

final class Trainer {
  private let handle: OpaquePointer

  init(_ predictor: Predictor, _ metric: Metric, _ dataset: Dataset) throws {
    handle = try make { taskmet_trainer_create(predictor.handle, metric.handle, dataset.handle, &$0) }
  }

  deinit { taskmet_trainer_destroy(handle) }

  func add(_ task: Task) throws { try check(taskmet_trainer_add_task(handle, task.handle, 1)) }

  func setValidation(_ dataset: Dataset) throws { try check(taskmet_trainer_set_validation(handle, dataset.handle)) }

  func set(_ name: String, _ value: OptionValue) throws {
    switch value {
    case .integer(let value): try check(taskmet_trainer_set_int(handle, name, value))
    case .real(let value): try check(taskmet_trainer_set_double(handle, name, value))
    case .text(let value): try check(taskmet_trainer_set_string(handle, name, value))
    }
  }

  /// The present value of every option.
  func options() throws -> [(name: String, value: OptionValue)] {
    try trainerOptions().map { option in
      switch option.standard {
      case .integer:
        var value: Int64 = 0
        try check(taskmet_trainer_get_int(handle, option.name, &value))
        return (option.name, .integer(value))
      case .real:
        var value = 0.0
        try check(taskmet_trainer_get_double(handle, option.name, &value))
        return (option.name, .real(value))
      case .text:
        var value: UnsafePointer<CChar>?
        try check(taskmet_trainer_get_string(handle, option.name, &value))
        return (option.name, .text(String(cString: value!)))
      }
    }
  }

  /// Asked now and then while training; an answer other than 0 stops it.
  func setInterrupt(_ poll: taskmet_interrupt_fn) throws {
    try check(taskmet_trainer_set_interrupt(handle, poll, nil))
  }

  func fit() throws -> FitReport {
    var report = taskmet_fit_report()
    report.struct_size = MemoryLayout<taskmet_fit_report>.size
    try check(taskmet_trainer_fit(handle, &report))
    return FitReport(
      reason: stopName(report.reason), iterations: Int(report.iterations), bestIteration: Int(report.best_iteration),
      validationLoss: report.best_task_loss)
  }

  /// One outer iteration; the iteration and the validation loss of the last whole one, NaN where it was not measured.
  func step() throws -> (iteration: Int, validationLoss: Double) {
    var record = taskmet_record()
    record.struct_size = MemoryLayout<taskmet_record>.size
    try check(taskmet_trainer_step(handle, &record))
    return (Int(record.iteration), record.validation_task_loss)
  }

  func bestPredictor() throws -> Predictor { try predictor(taskmet_model(TASKMET_MODEL_BEST)) }
  func lastPredictor() throws -> Predictor { try predictor(taskmet_model(TASKMET_MODEL_LAST)) }

  private func predictor(_ model: taskmet_model) throws -> Predictor {
    Predictor(owning: try make { taskmet_trainer_copy_predictor(handle, model, &$0) })
  }

  func bestMetric(outputs: Int) throws -> Metric {
    Metric(
      owning: try make { taskmet_trainer_copy_metric(handle, taskmet_model(TASKMET_MODEL_BEST), &$0) },
      outputs: outputs)
  }
}

private func stopName(_ reason: taskmet_stop_reason) -> String {
  switch Int(reason) {
  case TASKMET_STOP_ITERATIONS: "iterations"
  case TASKMET_STOP_PATIENCE: "patience"
  case TASKMET_STOP_STALLED: "stalled"
  case TASKMET_STOP_INTERRUPT: "interrupt"
  default: "requested"
  }
}
