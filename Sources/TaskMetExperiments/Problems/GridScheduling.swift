// Grid scheduling (Donti, Amos and Kolter 2017): tomorrow's 24 loads are predicted, what is predicted is scheduled, and a shortage
// costs a hundred times as much as a surplus. A task of the caller's own: the cost below.

import CTaskMet

struct GridSchedulingProblem: Problem {
  let name = ProblemName.gridScheduling
  let hours: LoadFile
  static let metricHidden = 64

  var settings: [(String, JSON)] {
    [
      ("loads", .string(String(hours.contentFingerprint, radix: 16))),
      ("metric_hidden", .integer(Int64(Self.metricHidden))),
    ]
  }

  var notice: String? { "grid-scheduling: \(hours.days.count) days; all data sets are the same" }

  /// The first 60 % of the days train, 20 % validate, 20 % test; features are standardised by the training days.
  func makeData(_ dataset: Int) throws -> ProblemData {
    let rows = hours.rows
    guard rows.count >= 10 else { throw ExperimentError("loads: \(rows.count) days that follow a day, 10 are needed") }
    let bounds = [0, rows.count * 6 / 10, rows.count * 8 / 10, rows.count]
    var tables = (0..<3).map { part in
      var table = Table(features: LoadFile.features, targets: LoadFile.hoursOfDay)
      for row in rows[bounds[part]..<bounds[part + 1]] { table.append(x: row.x, y: row.y) }
      return table
    }
    let standardization = Standardization(fitting: tables[0].x, columns: LoadFile.features)
    for index in tables.indices { standardization.apply(to: &tables[index].x) }
    return try ProblemData(
      training: tables[0], validation: tables[1], test: tables[2], task: try .callback(costOfSchedules))
  }

  func makePredictor(_ data: ProblemData, seed: UInt64) throws -> Predictor {
    let predictor = try Predictor.linear(inputs: data.inputs, outputs: data.outputs)
    try predictor.setPenalizeBias(false)
    return predictor
  }

  func makeMetric(_ data: ProblemData, seed: UInt64) throws -> Metric {
    try .conditional(
      inputs: data.inputs, outputs: data.outputs, structure: .diagonal, hidden: [Self.metricHidden],
      seed: seed)
  }
}

private let shortagePrice = 50.0
private let surplusPrice = 0.5

/// 50 max(y - f, 0) + 0.5 max(f - y, 0) + 0.5 (f - y)^2 for a prediction f of y, by the error f - y.
private func cost(_ error: Double) -> Double {
  (error < 0 ? -shortagePrice : surplusPrice) * error + 0.5 * error * error
}

/// At the kink, the middle of the subgradients.
private func costSlope(_ error: Double) -> Double {
  (error < 0 ? -shortagePrice : error > 0 ? surplusPrice : (surplusPrice - shortagePrice) / 2) + error
}

/// The mean over hours and days, as the library asks for it.
private let costOfSchedules: taskmet_task_fn = { _, batch, loss, gradient in
  let batch = batch!.pointee
  let count = Int(batch.rows * batch.outputs)
  var sum = 0.0
  for index in 0..<count {
    let error = batch.predictions[index] - batch.targets[index]
    sum += cost(error)
    if let gradient { gradient[index] = costSlope(error) / Double(count) }
  }
  loss!.pointee = sum / Double(count)
  return Int32(TASKMET_CALLBACK_OK)
}

/// Constant shifts of each output, tuned on validation data: the simplest way to lean to the cheaper side.
struct HourlyShift {
  let shifts: [Double]

  /// Each output's shift has the lowest cost on the validation data; all are scaled by the one of 100 parts that is cheapest among
  /// those whose validation error is at most `cap` times that without a shift (0: any).
  init(_ data: ProblemData, validationPredictions: [Double], cap: Double) throws {
    let table = data.validation.table
    let full = (0..<table.targets).map { Self.bestShift(table, validationPredictions, output: $0) }
    let unshifted = meanSquaredError(validationPredictions, table.y)
    var best = (cost: Double.infinity, part: 0.0)
    for part in stride(from: 0, through: 1, by: 0.01) {
      let shifted = Self.add(full.map { part * $0 }, to: validationPredictions)
      if cap > 0, part > 0, meanSquaredError(shifted, table.y) > cap * cap * unshifted { continue }
      let cost = try data.task.loss(data.validation, predictions: shifted)
      if cost < best.cost { best = (cost, part) }
    }
    shifts = full.map { best.part * $0 }
  }

  /// The root of the cost's derivative, which increases.
  private static func bestShift(_ table: Table, _ predictions: [Double], output: Int) -> Double {
    var (low, high) = (-10.0, 10.0)  // far wider than any load in 10^5 MW
    for _ in 0..<60 {
      let shift = (low + high) / 2
      let slope = stride(from: output, to: table.y.count, by: table.targets).reduce(0) {
        $0 + costSlope(predictions[$1] + shift - table.y[$1])
      }
      if slope > 0 { high = shift } else { low = shift }
    }
    return (low + high) / 2
  }

  func apply(to predictions: [Double]) -> [Double] { Self.add(shifts, to: predictions) }

  private static func add(_ shifts: [Double], to predictions: [Double]) -> [Double] {
    predictions.indices.map { predictions[$0] + shifts[$0 % shifts.count] }
  }
}

func meanSquaredError(_ a: [Double], _ b: [Double]) -> Double {
  zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(a.count)
}
