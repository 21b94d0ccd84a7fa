// Tasks whose loss the caller computes and whose gradient nobody knows: it is estimated from losses at other predictions.

import CTaskMet

final class LossesTask: QueryTask {
  private let function: taskmet_losses_fn
  private let user: CallbackUser

  init(
    _ surrogate: any QueryLoss, _ function: @escaping taskmet_losses_fn, _ user: CallbackUser,
    largestPiece: Int = 1 << 22
  ) {
    (self.function, self.user) = (function, user)
    super.init(surrogate, largestPiece: largestPiece)
  }

  override var realLoss: any QueryLoss { PlainLoss() }

  /// Predictions, with copies of the instance's targets and inputs.
  override func querySize(_ problem: DecisionProblem) -> Int { problem.rows * (2 * problem.outputs + problem.features) }

  override func ask(_ piece: QueryPiece, _ batch: TaskBatch, into results: Buffer<Double>) throws {
    let instances = try batch.taking(piece.positions)
    let asked = instances.with(predictions: piece.values, phase: batch.phase)
    let status = try asked.withView { function(user.pointer, $0, results.base) }
    try checkTaskCallback(status, "the losses callback")
    try checkCallbackOutput(results.count, results.base, "the losses callback's losses")
  }
}

/// The caller's loss itself.
struct PlainLoss: QueryLoss {
  func queries(_ problem: DecisionProblem, gradient: Bool) -> Int { 1 }

  func setValues(_ values: UnsafeMutablePointer<Double>, _ problem: DecisionProblem, _ index: Int) {
    values.update(from: problem.predictions, count: problem.entries)
  }

  func add(_ answer: QueryAnswer, _ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) -> Double {
    answer.result[0]
  }
}

/// The loss, and central differences of it. Queries: the predictions; then for each entry one step up, and one down.
struct CentralDifferenceLoss: QueryLoss {
  let step: Double
  /// The loss one step up.
  private var above = 0.0

  init(step: Double) { self.step = step }

  func queries(_ problem: DecisionProblem, gradient: Bool) -> Int { gradient ? 1 + 2 * problem.entries : 1 }

  func setValues(_ values: UnsafeMutablePointer<Double>, _ problem: DecisionProblem, _ index: Int) throws {
    values.update(from: problem.predictions, count: problem.entries)
    guard index > 0 else { return }
    let entry = (index - 1) / 2
    values[entry] += index % 2 == 1 ? step : -step
    if values[entry] == problem.predictions[entry] {
      throw TaskMetError.numerical("a step of \(step) is lost in the rounding of the prediction \(values[entry])")
    }
  }

  mutating func add(_ answer: QueryAnswer, _ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?)
    -> Double
  {
    let loss = answer.result[0]
    if answer.index == 0 { return loss }
    if answer.index % 2 == 1 {
      above = loss
    } else if let gradient {
      let entry = (answer.index - 1) / 2
      // The way between the two as it was rounded.
      gradient[entry] = (above - loss) / (problem.predictions[entry] + step - answer.values[entry])
    }
    return 0
  }
}

/// The mean loss under noise, l(yhat + sigma U_s) and l(yhat - sigma U_s), and its gradient by the score function.
struct ScoreFunctionLoss: QueryLoss {
  let pairs: Int
  let sigma: Double
  let noise: InstanceNoise
  /// The loss at yhat + sigma U_s.
  private var above = 0.0

  init(pairs: Int, sigma: Double, seed: UInt64) {
    (self.pairs, self.sigma) = (pairs, sigma)
    noise = InstanceNoise(seed: seed)
  }

  func queries(_ problem: DecisionProblem, gradient: Bool) -> Int { 2 * pairs }

  func setValues(_ values: UnsafeMutablePointer<Double>, _ problem: DecisionProblem, _ index: Int) {
    var random = noise.generator(instance: problem.instance, draw: index / 2)
    let scale = index % 2 == 0 ? sigma : -sigma
    for j in 0..<problem.entries { values[j] = problem.predictions[j] + scale * random.normal() }
  }

  mutating func add(_ answer: QueryAnswer, _ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?)
    -> Double
  {
    let loss = answer.result[0]
    if answer.index % 2 == 0 {
      above = loss
    } else if let gradient {
      var random = noise.generator(instance: problem.instance, draw: answer.index / 2)
      let scale = (above - loss) / (2 * sigma * Double(pairs))
      for j in 0..<problem.entries { gradient[j] += scale * random.normal() }
    }
    return loss / Double(2 * pairs)
  }
}
