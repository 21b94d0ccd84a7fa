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
    let report = try trainer.fit()
    if report.reason == "interrupt" { throw Interrupted() }
    return TrainedModel(
      predictor: try trainer.bestPredictor(), metric: try trainer.bestMetric(outputs: data.outputs), report: report)
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
