// The step level of the C API as Swift, for a training loop of one's own: networks whose products are taken one by one,
// optimisers, minibatches, and the hypergradient of one step.

import CTaskMet

/// A network with its parameters at hand, linearised where it was last evaluated.
final class SteppedNetwork {
  let predictor: Predictor
  let inputs: Int
  let outputs: Int
  /// The predictor's; `push` hands changes on.
  var parameters: [Double]
  private let linearization: OpaquePointer

  /// A multilayer perceptron of ReLU units, at the given parameters (the library's own initialisation where there are none).
  init(inputs: Int, hidden: [Int], outputs: Int, seed: UInt64 = 0) throws {
    self.inputs = inputs
    self.outputs = outputs
    predictor = try .multilayer(inputs: inputs, outputs: outputs, hidden: hidden, output: .identity, seed: seed)
    parameters = try predictor.parameters()
    linearization = try make { taskmet_linearization_create(&$0) }
  }

  deinit { taskmet_linearization_destroy(linearization) }

  var parameterCount: Int { parameters.count }

  /// Makes `parameters` the predictor's.
  func push() throws { try predictor.setParameters(parameters) }

  /// out = f(x) for rows of x, where products are then taken.
  func linearize(rows: Int, _ x: [Double], into out: inout [Double]) throws {
    try check(
      taskmet_linearization_update(
        linearization, predictor.handle, Int64(rows), x, Int64(inputs), &out, Int64(outputs)))
  }

  /// out = sum_i J_i' c_i.
  func pullback(_ c: [Double], into out: inout [Double]) throws {
    try check(taskmet_linearization_vjp(linearization, c, Int64(outputs), &out, Int64(out.count)))
  }

  /// out = (df(x_i)/dx_i)' c_i.
  func pullbackToInputs(_ c: [Double], into out: inout [Double]) throws {
    try check(taskmet_linearization_input_vjp(linearization, c, Int64(outputs), &out, Int64(inputs)))
  }

  /// out = J_i v.
  func pushforward(_ v: [Double], into out: inout [Double]) throws {
    try check(taskmet_linearization_jvp(linearization, v, Int64(v.count), &out, Int64(outputs)))
  }

  /// out = sum_i sum_k c_ik d2f_k(x_i) w.
  func secondOrderProduct(_ c: [Double], _ w: [Double], into out: inout [Double]) throws {
    try check(
      taskmet_linearization_hvp(linearization, c, Int64(outputs), w, Int64(w.count), &out, Int64(out.count)))
  }
}

/// Adam, for one vector of parameters.
final class Adam {
  private let handle: OpaquePointer

  init(count: Int, rate: Double) throws {
    handle = try make { taskmet_optimizer_create_adam(Int64(count), rate, 0.9, 0.999, 1e-8, &$0) }
  }

  deinit { taskmet_optimizer_destroy(handle) }

  func step(_ parameters: inout [Double], along gradient: [Double]) throws {
    let count = Int64(gradient.count)
    try check(taskmet_optimizer_step(handle, gradient, count, &parameters, count))
  }

  /// Forgets the moments.
  func reset() throws { try check(taskmet_optimizer_reset(handle)) }
}

/// L_pred of a network and a metric on one minibatch after the other.
final class SteppedLoss {
  let network: SteppedNetwork
  let metric: Metric
  private let workspace: OpaquePointer
  private var dataset: OpaquePointer?

  init(_ network: SteppedNetwork, _ metric: Metric) throws {
    self.network = network
    self.metric = metric
    workspace = try make { taskmet_workspace_create(1, 0, &$0) }
  }

  deinit {
    taskmet_dataset_destroy(dataset)
    taskmet_workspace_destroy(workspace)
  }

  /// The rows that the functions below are about.
  func fill(rows: Int, _ x: [Double], _ y: [Double]) throws {
    let (features, targets) = (Int64(network.inputs), Int64(network.outputs))
    if let dataset {
      try check(taskmet_dataset_refill(dataset, Int64(rows), x, features, y, targets, nil, 0))
    } else {
      dataset = try make { taskmet_dataset_create(Int64(rows), features, x, features, targets, y, targets, &$0) }
    }
  }

  /// Returns the loss; out = its gradient in the network's parameters.
  func gradient(into out: inout [Double]) throws -> Double {
    var value = 0.0
    try check(
      taskmet_loss_value_gradient(
        network.predictor.handle, metric.handle, dataset, 0, workspace, &value, &out, Int64(out.count)))
    return value
  }

  /// out = dL_task/dphi from g = dL_task/dtheta.
  func hypergradient(_ g: [Double], _ options: taskmet_solver_options, into out: inout [Double]) throws {
    var options = options
    try check(
      taskmet_hypergradient_from_gradient(
        network.predictor.handle, metric.handle, dataset, 0, g, Int64(g.count), &options, workspace, nil, 0, &out,
        Int64(out.count), nil))
  }
}

// MARK: - A metric that is learned outside of a trainer

extension Metric {
  /// Lambda = A sqrt(n) / |A|_F at each row.
  func normalize() throws {
    try check(taskmet_metric_set_normalization(handle, taskmet_normalization(TASKMET_NORMALIZATION_FROBENIUS)))
  }

  /// The network sees x / scale.
  func setScale(_ scale: [Double]) throws {
    let mean = [Double](repeating: 0, count: scale.count)
    try check(taskmet_metric_set_standardization(handle, mean, scale, Int64(scale.count)))
  }

  func parameters() throws -> [Double] {
    var count: Int64 = 0
    try check(taskmet_metric_parameter_count(handle, &count))
    var values = [Double](repeating: 0, count: Int(count))
    try check(taskmet_metric_get_parameters(handle, &values, count))
    return values
  }

  func setParameters(_ values: [Double]) throws {
    try check(taskmet_metric_set_parameters(handle, values, Int64(values.count)))
  }

  /// out = the gradient in phi of l1 mean_i sum |Lambda_i,jk|.
  func regularizerGradient(l1: Double, rows: Int, _ x: [Double], features: Int, into out: inout [Double]) throws {
    try check(
      taskmet_metric_regularizer(
        handle, Int64(rows), x, Int64(features), l1, 0, nil, &out, Int64(out.count)))
  }
}
