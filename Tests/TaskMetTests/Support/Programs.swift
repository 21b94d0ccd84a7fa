// Instances for tasks that decide by mathematical programs, and what such tasks say of them.

import Testing

@testable import TaskMetSwift

/// Instances of one row each (targets are the entries), with contexts.
struct ProgramInstances {
  let dataset: Dataset
  let targets: [[Double]]

  init(_ targets: [[Double]], contexts: [DenseMatrix]? = nil) throws {
    self.targets = targets
    let features = DenseMatrix(zeros: targets.count, 1)
    dataset = try Dataset(features, DenseMatrix(targets))
    if let contexts {
      var offsets: [Int64] = [0]
      for context in contexts { offsets.append(offsets.last! + Int64(context.values.count)) }
      try dataset.setContext(
        InstanceContext(values: try Buffer(contexts.flatMap(\.values)), offsets: try Buffer(offsets)))
    }
  }

  func batch(_ predictions: [[Double]], _ phase: TaskBatch.Phase, instances: [Int]? = nil) throws -> TaskBatch {
    let batch = try TaskBatch(dataset, instances: instances.map { try Buffer($0) }, phase: phase)
    for (k, value) in predictions.joined().enumerated() { batch.predictions[k] = value }
    return batch
  }
}

extension DecisionTask {
  /// The training loss of predictions and its gradient, row by row.
  func trainingGradient(_ instances: ProgramInstances, _ predictions: [[Double]]) throws -> (Double, [Double]) {
    let batch = try instances.batch(predictions, .training)
    let gradient = try Buffer<Double>(count: batch.rows * batch.outputs)
    let loss = try evaluate(batch, gradient: gradient.base)
    return (loss, gradient.array)
  }

  /// The gradient's largest error against differences along every coordinate, relative to the gradient.
  func gradientError(_ instances: ProgramInstances, _ predictions: [[Double]], step: Double) throws -> Double {
    let gradient = try trainingGradient(instances, predictions).1
    let columns = predictions[0].count
    let numeric = try (0..<gradient.count).map { index in
      try derivative(step: step) { t in
        var moved = predictions
        moved[index / columns][index % columns] += t
        return try evaluate(try instances.batch(moved, .training), gradient: nil)
      }
    }
    return relativeError(gradient, numeric, scale: 1e-3)
  }

  /// The decision for one instance's predictions.
  func decision(_ instances: ProgramInstances, _ instance: Int, _ predictions: [Double]) throws -> [Double] {
    let batch = try instances.batch([predictions], .validation, instances: [instance])
    let decision = try Buffer<Double>(count: decisionCount(batch))
    try decide(batch, into: decision.base)
    return decision.array
  }

  /// The loss of each instance in validation.
  func validationLosses(_ instances: ProgramInstances, _ predictions: [[Double]]) throws -> [Double] {
    let losses = try Buffer<Double>(count: instances.targets.count)
    try self.losses(try instances.batch(predictions, .validation), into: losses.base)
    return losses.array
  }
}

/// The correlation matrix of that many days of random returns, and `floor` I: what portfolios are made with.
func correlationMatrix(_ count: Int, days: Int, floor: Double, _ random: inout RandomGenerator) -> DenseMatrix {
  let common = [Double].normal(days, &random)
  var returns = DenseMatrix(zeros: count, days)
  for i in 0..<count {
    let own = 0.6 * common .+ [Double].normal(days, &random)
    let centred = own .- [Double](repeating: own.reduce(0, +) / Double(days), count: days)
    for (day, value) in ((1 / norm(centred)) * centred).enumerated() { returns[i, day] = value }
  }
  return returns * returns.transposed + floor * DenseMatrix.identity(count)
}

/// A quadratic program in plain matrices.
struct ProgramDescription {
  var quadratic: DenseMatrix?
  var linear: [Double]? = nil
  var prediction: DenseMatrix? = nil
  var equalities: [([Double], Double)] = []
  var inequalities: [([Double], Double)] = []
  var variables: Int

  func feasibleSet() throws -> FeasibleSet {
    try Self.withConstraints(equalities) { equalities in
      try Self.withConstraints(inequalities) { inequalities in
        try FeasibleSet(variables: variables, equalities: equalities, inequalities: inequalities)
      }
    }
  }

  private static func withConstraints<Result>(
    _ rows: [([Double], Double)], _ body: (Constraints) throws -> Result
  ) throws -> Result {
    let (matrix, values) = (try Buffer(rows.flatMap(\.0)), try Buffer(rows.map(\.1)))
    return try withExtendedLifetime((matrix, values)) {
      try body(Constraints(count: rows.count, matrix: matrix.base, values: values.base))
    }
  }

  func task(_ sense: Sense = .minimize) throws -> QuadraticProgramTask {
    let parts = QuadraticProgramTask.Objective(
      entries: prediction?.columns ?? variables, quadratic: try quadratic.map { try Buffer($0.values) },
      linear: try linear.map { try Buffer($0) }, prediction: try prediction.map { try Buffer($0.values) })
    return try QuadraticProgramTask(parts, over: try feasibleSet(), sense: sense)
  }

  /// The solution for a cost, with a positive definite Q: every set of inequalities is tried as the active one.
  func enumerate(_ cost: [Double]) -> [Double] {
    for mask in 0..<(1 << inequalities.count) {
      let active = equalities + inequalities.indices.filter { mask >> $0 & 1 == 1 }.map { inequalities[$0] }
      if active.count > variables { continue }
      let size = variables + active.count
      var system = DenseMatrix(zeros: size, size)
      for i in 0..<variables { for j in 0..<variables { system[i, j] = quadratic![i, j] } }
      for (k, row) in active.enumerated() {
        for j in 0..<variables {
          system[variables + k, j] = row.0[j]
          system[j, variables + k] = row.0[j]
        }
      }
      let solution = system.solve((-1.0) * cost + active.map(\.1))
      let z = Array(solution[0..<variables])
      let multipliers = solution[(variables + equalities.count)...]
      if multipliers.allSatisfy({ $0 >= 0 }), inequalities.allSatisfy({ dot($0.0, z) <= $0.1 + 1e-9 }) { return z }
    }
    return [Double](repeating: .nan, count: variables)
  }

  /// lower <= z <= upper, as inequalities.
  mutating func bound(_ lower: Double, _ upper: Double) {
    for j in 0..<variables {
      inequalities.append((-1 * [Double].unit(variables, j), -lower))
      inequalities.append((.unit(variables, j), upper))
    }
  }
}
