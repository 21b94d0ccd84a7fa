// The three levels, linear throughout: metric -> model -> Q function -> task, with the library's hypergradient at the end.

import CTaskMet
import Testing

@testable import TaskMetExperiments

@Suite("Tri-level chain")
struct TriLevelTests {
  private static let rho = 0.1

  /// A task of the library: the loss of the Q function that is learned from the predictions, and its gradient.
  private static let task: taskmet_task_fn = { user, batch, loss, gradient in
    let chain = Unmanaged<LinearQ>.fromOpaque(user!).takeUnretainedValue()
    let count = Int(batch!.pointee.rows * batch!.pointee.outputs)
    let nextStates = Array(UnsafeBufferPointer(start: batch!.pointee.predictions, count: count))
    let predictions = ImplicitGradientTests.Predictions(
      values: nextStates + chain.batch.rewards, rows: chain.batch.rows)
    do {
      loss!.pointee = try chain.taskLoss(predictions)
      guard let gradient else { return Int32(TASKMET_CALLBACK_OK) }
      for (k, value) in try chain.gradient(predictions).prefix(count).enumerated() { gradient[k] = value }
      return Int32(TASKMET_CALLBACK_OK)
    } catch { return Int32(TASKMET_CALLBACK_ERROR) }
  }

  /// The library's objects over the chain.
  private final class Fixture {
    let chain: LinearQ
    let model: SteppedNetwork
    let metric: Metric
    let dataset, task: OpaquePointer

    init() throws {
      var random = RandomNumbers(seed: 31)
      chain = try LinearQ(observationCount: 2, rows: 14, &random)
      model = try SteppedNetwork(inputs: 4, hidden: [], outputs: 2)
      metric = try Metric.conditional(inputs: 4, outputs: 2, structure: .full, hidden: [3], seed: 1)
      try metric.setParameters([Double].normal(try metric.parameters().count, &random).map { 0.5 * $0 })
      let (batch, user) = (chain.batch, Unmanaged.passUnretained(chain).toOpaque())
      dataset = try make {
        taskmet_dataset_create(14, 4, batch.modelInputs, 4, 2, batch.nextStates, 2, &$0)
      }
      let offsets: [Int64] = [0, 14]
      try check(taskmet_dataset_set_instances(dataset, 1, offsets))
      task = try make { taskmet_task_create_callback(TriLevelTests.task, user, nil, &$0) }
    }

    deinit {
      taskmet_dataset_destroy(dataset)
      taskmet_task_destroy(task)
    }

    /// theta <- theta*(phi).
    func solveInner() throws {
      var options = taskmet_inner_options()
      taskmet_inner_options_init(&options)
      options.solver = taskmet_inner_solver(TASKMET_INNER_EXACT)
      try check(
        taskmet_loss_minimize(
          model.predictor.handle, metric.handle, dataset, TriLevelTests.rho, &options, nil, nil))
      model.parameters = try model.predictor.parameters()
    }

    func predictions() throws -> ImplicitGradientTests.Predictions {
      var nextStates = chain.batch.nextStates
      try model.linearize(rows: 14, chain.batch.modelInputs, into: &nextStates)
      return .init(values: nextStates + chain.batch.rewards, rows: 14)
    }

    func lossGradient() throws -> [Double] {
      var out = [Double](repeating: 0, count: model.parameterCount)
      try check(
        taskmet_loss_gradient(
          model.predictor.handle, metric.handle, dataset, TriLevelTests.rho, &out, Int64(out.count)))
      return out
    }

    func hypergradient() throws -> [Double] {
      try solveInner()
      let c = Array(try chain.gradient(try predictions()).dropLast(14))
      var options = taskmet_solver_options()
      taskmet_solver_options_init(&options)
      options.solver = taskmet_solver(TASKMET_SOLVER_DENSE)
      var out = [Double](repeating: 0, count: try metric.parameters().count)
      try check(
        taskmet_hypergradient(
          model.predictor.handle, metric.handle, dataset, TriLevelTests.rho, c, 2, &options, &out, Int64(out.count),
          nil))
      return out
    }
  }

  @Test("the hypergradient = differences of the whole chain")
  func differences() throws {
    let fixture = try Fixture()
    let gradient = try fixture.hypergradient()
    let phi = try fixture.metric.parameters()
    var random = RandomNumbers(seed: 32)
    for _ in 0..<4 {
      let direction = [Double].normal(phi.count, &random)
      let expected = try derivative(step: 1e-3) { t in
        try fixture.metric.setParameters(phi.moved(t, along: direction))
        try fixture.solveInner()
        return try fixture.chain.taskLoss(try fixture.predictions())
      }
      try fixture.metric.setParameters(phi)
      expectEqual([dot(gradient, direction)], [expected], to: 1e-7)
    }
  }

  @Test("the hypergradient = the product of two dense inverses, with a plus")
  func dense() throws {
    let fixture = try Fixture()
    let gradient = try fixture.hypergradient()
    let (chain, model, phi) = (fixture.chain, fixture.model, try fixture.metric.parameters())
    // H_theta^-1 d(grad_theta L_pred)/dphi, column by column, and H_theta by its products.
    let thetas = model.parameterCount
    var hessian = [Double](repeating: 0, count: thetas * thetas)
    for column in 0..<thetas {
      var unit = [Double](repeating: 0, count: thetas)
      unit[column] = 1
      var product = unit
      try check(
        taskmet_loss_hvp(
          model.predictor.handle, fixture.metric.handle, fixture.dataset, Self.rho, unit, Int64(thetas), &product,
          Int64(thetas)))
      for row in 0..<thetas { hessian[row * thetas + column] = product[row] }
    }
    let predictions = try fixture.predictions()
    for index in stride(from: 0, to: phi.count, by: 5) {
      let mixed = try (0..<thetas).map { entry in
        try derivative(step: 1e-3) { t in
          var moved = phi
          moved[index] += t
          try fixture.metric.setParameters(moved)
          return try fixture.lossGradient()[entry]
        }
      }
      try fixture.metric.setParameters(phi)
      let thetaDot = solve(hessian, mixed).map { -$0 }
      var moved = chain.batch.nextStates
      try model.pushforward(thetaDot, into: &moved)
      expectEqual([gradient[index]], [try chain.denseDerivative(predictions, along: moved)], to: 1e-7)
    }
  }

  @Test("the library's own check finds the whole chain correct")
  func libraryCheck() throws {
    let fixture = try Fixture()
    var inner = taskmet_inner_options()
    taskmet_inner_options_init(&inner)
    inner.solver = taskmet_inner_solver(TASKMET_INNER_EXACT)
    var solver = taskmet_solver_options()
    taskmet_solver_options_init(&solver)
    solver.solver = taskmet_solver(TASKMET_SOLVER_DENSE)
    var report = taskmet_check_report()
    report.struct_size = MemoryLayout<taskmet_check_report>.size
    var worst = 0.0
    try check(
      taskmet_hypergradient_check(
        fixture.model.predictor.handle, fixture.metric.handle, fixture.dataset, Self.rho, fixture.task, &inner, &solver,
        4, 1, 1e-7, &worst, &report))
    #expect(report.verdict == TASKMET_VERDICT_CORRECT && worst < 1e-7, "worst \(worst)")
  }
}

extension LinearQ {
  /// dL_task along a change of the predicted next states, by omegaDot = -H^-1 d(grad_omega L_Q)/df fDot with a dense H.
  func denseDerivative(_ predictions: ImplicitGradientTests.Predictions, along fDot: [Double]) throws -> Double {
    try learn(predictions)
    try q.linearize(batch)
    var y = [Double](repeating: 0, count: batch.rows)
    var gradients = q.networks.map { [Double](repeating: 0, count: $0.parameterCount) }
    try q.regressionTargets(batch, nextStates: batch.nextStates, rewards: batch.rewards, into: &y)
    try q.gradient(batch, y, into: &gradients)
    let taskGradient = gradients
    var total = 0.0
    for j in 0..<2 {
      let count = q.networks[j].parameterCount
      let mixed = try (0..<count).map { entry in
        try derivative(step: 1e-3) { t in
          let moved = predictions.nextStates.moved(t, along: fDot)
          try q.regressionTargets(batch, nextStates: moved, rewards: predictions.rewards, into: &y)
          try q.gradient(batch, y, into: &gradients)
          return gradients[j][entry]
        }
      }
      var hessian = [Double](repeating: 0, count: count * count)
      for column in 0..<count {
        var unit = [Double](repeating: 0, count: count)
        unit[column] = 1
        var product = unit
        try q.hessianProduct(j, batch, unit, into: &product)
        for row in 0..<count { hessian[row * count + column] = product[row] + (row == column ? 0.05 : 0) }
      }
      total -= dot(taskGradient[j], solve(hessian, mixed))
    }
    return total
  }
}
