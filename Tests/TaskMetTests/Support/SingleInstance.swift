// One decision problem in plain arrays: what a decision task makes of it.

import Testing

@testable import TaskMetSwift

struct SingleInstance {
  let rows: Int
  let outputs: Int
  var targets: [Double]

  private func batch(_ predictions: [Double], _ phase: TaskBatch.Phase) throws -> TaskBatch {
    let y = DenseMatrix(rows, outputs, targets)
    let dataset = try Dataset(DenseMatrix(zeros: rows, 1), y)
    try dataset.setInstances([0, rows])
    let all = try TaskBatch(dataset, phase: phase)
    return all.with(predictions: try Buffer(predictions), phase: phase)
  }

  func loss(_ task: Task, _ predictions: [Double], _ phase: TaskBatch.Phase = .training) throws -> Double {
    try task.evaluate(try batch(predictions, phase), gradient: nil)
  }

  func gradient(_ task: Task, _ predictions: [Double]) throws -> [Double] {
    let room = try Buffer<Double>(repeating: .nan, count: rows * outputs)
    _ = try task.evaluate(try batch(predictions, .training), gradient: room.base)
    return room.array
  }

  func decision(_ task: Task, _ predictions: [Double]) throws -> [Double] {
    let room = try Buffer<Double>(repeating: .nan, count: task.decisionCount(rows: rows, outputs: outputs))
    try task.decide(try batch(predictions, .validation), into: room.base)
    return room.array
  }

  /// By differences, entry by entry.
  func differences(_ task: Task, _ predictions: [Double], step: Double) throws -> [Double] {
    try predictions.indices.map { k in
      try derivative(step: step) { try loss(task, predictions .+ $0 * .unit(predictions.count, k)) }
    }
  }
}

extension Dataset {
  /// Where each instance begins, and the number of rows.
  func setInstances(_ offsets: [Int]) throws {
    let numbers = try Buffer(offsets.map(Int64.init))
    try setOffsets(numbers.base, count: numbers.count)
    withExtendedLifetime(numbers) {}
  }
}
