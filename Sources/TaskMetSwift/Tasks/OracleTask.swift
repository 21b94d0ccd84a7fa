// Tasks around the caller's own solver, the decision oracle: F = y'z with z its decision for predicted costs or values.

import CTaskMet

final class OracleTask: QueryTask {
  private let oracle: taskmet_oracle_fn
  private let user: CallbackUser
  private let objectiveSense: Sense

  /// - Parameter surrogate: made of the oracle's decisions z for costs c, written for the minimisation of c'z. Maximisation is
  ///   the same with all costs negated, twice: before the oracle, which is why that gets what is to be maximised, and after
  ///   it, in the sign of loss and gradient.
  init(
    _ surrogate: any QueryLoss, _ sense: Sense, _ oracle: @escaping taskmet_oracle_fn, _ user: CallbackUser,
    largestPiece: Int = 1 << 22
  ) {
    (self.oracle, self.user, objectiveSense) = (oracle, user, sense)
    super.init(surrogate, largestPiece: largestPiece)
  }

  override var sense: Sense { objectiveSense }
  override var realLoss: any QueryLoss { DecisionLoss() }
  override func answerCount(entries: Int) -> Int { entries }
  override func decisionCount(rows: Int, outputs: Int) -> Int { rows * outputs }

  override func decide(_ batch: TaskBatch, into decisions: UnsafeMutablePointer<Double>) throws {
    try forEachAnswer(batch, DecisionLoss(), gradient: false) { position, answer in
      let own = decisions + Int(batch.offsets[position]) * batch.outputs
      own.update(from: answer.result, count: batch.problem(position).entries)
    }
  }

  override func evaluateSPOPlus(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    try average(SPOPlusLoss(), batch, gradient)
  }

  override func ask(_ piece: QueryPiece, _ batch: TaskBatch, into results: Buffer<Double>) throws {
    let context = try batch.contextPointers(of: piece.instances)
    var view = taskmet_oracle_batch()
    view.struct_size = MemoryLayout<taskmet_oracle_batch>.size
    view.count = Int64(piece.count)
    view.instances = UnsafePointer(piece.instances.base)
    view.offsets = UnsafePointer(piece.offsets.base)
    view.costs = UnsafePointer(piece.values.base)
    view.phase = batch.phase.rawValue
    if let context {
      view.context = UnsafePointer(context.pointers.base)
      view.context_counts = UnsafePointer(context.counts.base)
    }
    let status = withExtendedLifetime((context, piece, batch)) { oracle(user.pointer, &view, results.base) }
    try checkTaskCallback(status, "the oracle")
    try checkCallbackOutput(results.count, results.base, "the oracle's decisions")
  }
}

/// The real decision: y'w(yhat).
struct DecisionLoss: QueryLoss {
  func queries(_ problem: DecisionProblem, gradient: Bool) -> Int { 1 }

  func setValues(_ values: UnsafeMutablePointer<Double>, _ problem: DecisionProblem, _ index: Int) {
    values.update(from: problem.predictions, count: problem.entries)
  }

  func add(_ answer: QueryAnswer, _ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) -> Double {
    shortDot(problem.entries, problem.targets, answer.result)
  }
}
