// One run from data to record: train, choose by validation data, judge by test data, once.

/// Training was asked to stop: there is nothing to record.
struct Interrupted: Error {}

/// A trained run: what figure 4 draws.
struct TrainedModel {
  let predictor: Predictor
  let metric: Metric
  let report: FitReport
}

extension RunSpecification {
  /// `threads` are for what runs share. `core` is OpenBLAS's own name for its kernels.
  func execute(_ shared: SharedData, threads: Int, core: String) throws -> RunRecord {
    let data = try shared.data(problem, dataset)
    if method == .predictZero { return try record(data, [Double](repeating: 0, count: data.test.table.y.count), core) }
    let lodl = try self.lodl.map {
      try shared.lodl($0, data, problem.name, dataset: dataset, threads: threads)
    }
    if Interruption.isRequested { throw Interrupted() }
    let start = now()
    let model = try train(data, lodl?.task ?? data.task)
    var record = try record(data, try testPredictions(model.predictor, data), core)
    record.seconds = now() - start
    record.lodlSeconds = lodl?.seconds
    record.lodlFitQuality = lodl?.fitQuality
    record.iterations = model.report.iterations
    record.bestIteration = model.report.bestIteration
    record.stopReason = model.report.reason
    record.validationLoss = model.report.validationLoss
    record.columns = try problem.columns(model.predictor)
    return record
  }

  func train(_ data: ProblemData, _ task: Task) throws -> TrainedModel {
    let metric = method == .taskmet ? try problem.makeMetric(data, seed: runSeed) : try .identity(outputs: data.outputs)
    let trainer = try Trainer(try problem.makePredictor(data, seed: runSeed), metric, data.training)
    for (name, value) in options { try trainer.set(name, value) }
    try trainer.add(task)
    try trainer.setValidation(data.validation)
    try trainer.setInterrupt { _ in Interruption.isRequested ? 1 : 0 }
    if real("warmup_iterations") == 0 { return try fitFromScratch(trainer, metric) }
    let report = try trainer.fit()
    if report.reason == "interrupt" { throw Interrupted() }
    return TrainedModel(
      predictor: try trainer.bestPredictor(), metric: try trainer.bestMetric(outputs: data.outputs), report: report)
  }

  /// The trainer counts the model that it begins with among those to choose from. Without a warm-up that one is random, and where
  /// it happens to decide well nothing learned would ever be chosen: here the choice is among trained models.
  private func fitFromScratch(_ trainer: Trainer, _ metric: Metric) throws -> TrainedModel {
    let iterations = Int(real("outer_iterations"))
    let patience = Int(real("patience"))
    var best: (predictor: Predictor, iteration: Int, loss: Double)?
    var done = 0
    var reason = "iterations"
    while done < iterations {
      let step = try trainer.step()
      if Interruption.isRequested { throw Interrupted() }
      // A step that did not get further will not the next time.
      guard step.iteration > done else {
        reason = "stalled"
        break
      }
      done = step.iteration
      if step.validationLoss.isFinite, step.validationLoss < best?.loss ?? .infinity {
        best = (try trainer.lastPredictor(), done, step.validationLoss)
      }
      if patience > 0, let best, done - best.iteration >= patience {
        reason = "patience"
        break
      }
    }
    let chosen = try best ?? (trainer.lastPredictor(), done, .nan)
    return TrainedModel(
      predictor: chosen.predictor, metric: metric,
      report: FitReport(
        reason: reason, iterations: done, bestIteration: chosen.iteration, validationLoss: chosen.loss))
  }

  private func testPredictions(_ predictor: Predictor, _ data: ProblemData) throws -> [Double] {
    let predictions = try predictor.predict(data.test.table)
    guard method == .hourlyShift else { return predictions }
    let shift = try HourlyShift(
      data, validationPredictions: try predictor.predict(data.validation.table),
      cap: real("max_prediction_loss_ratio"))
    return shift.apply(to: predictions)
  }

  private func record(_ data: ProblemData, _ predictions: [Double], _ core: String) throws -> RunRecord {
    // The same random decisions and the same resampling for every method and seed of a data set.
    var random = RandomNumbers("quality \(problem.name.rawValue)", dataset)
    let report = try data.task.decisionQuality(data.test, predictions: predictions, seed: random.next())
    var record = RunRecord(self, report)
    record.core = core
    return record
  }
}
