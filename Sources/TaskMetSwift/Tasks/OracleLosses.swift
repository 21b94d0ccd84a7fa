// Losses with a gradient, made of an oracle's decisions w(c) = argmin c'z: SPO+, the perturbed optimiser, and the interpolation
// of a blackbox solver.

/// (2 yhat - y)'w(y) - (2 yhat - y)'w(2 yhat - y), with the subgradient 2 (w(y) - w(2 yhat - y)).
struct SPOPlusLoss: QueryLoss {
  func queries(_ problem: DecisionProblem, gradient: Bool) -> Int { 2 }

  func setValues(_ values: UnsafeMutablePointer<Double>, _ problem: DecisionProblem, _ index: Int) {
    if index == 0 {
      values.update(from: problem.targets, count: problem.entries)
    } else {
      for j in 0..<problem.entries { values[j] = shifted(problem, j) }
    }
  }

  func add(_ answer: QueryAnswer, _ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) -> Double {
    let sign = answer.index == 0 ? 1.0 : -1.0
    // Summed in the same way for both, so that equal decisions have a loss of exactly zero.
    var value = 0.0
    for j in 0..<problem.entries { value += shifted(problem, j) * answer.result[j] }
    if let gradient { shortAxpy(problem.entries, 2 * sign, answer.result, gradient) }
    return sign * value
  }

  private func shifted(_ problem: DecisionProblem, _ j: Int) -> Double {
    2 * problem.predictions[j] - problem.targets[j]
  }
}

/// The mean decision under noise, w_s = w(yhat + sigma U_s). The first query is what the samples are compared with, the decision
/// for y (Fenchel-Young) or for yhat (the true objective).
struct PerturbedLoss: QueryLoss {
  /// Raw values are those of `taskmet_perturbed_loss`.
  enum Kind: Int32, CaseIterable { case fenchelYoung, objective }

  let kind: Kind
  let samples: Int
  let sigma: Double
  let noise: InstanceNoise
  /// y'w(yhat) of the instance that answers come for: without it the estimate has the same mean and a larger variance.
  private var baseline = 0.0

  init(_ kind: Kind, samples: Int, sigma: Double, seed: UInt64) {
    (self.kind, self.samples, self.sigma) = (kind, samples, sigma)
    noise = InstanceNoise(seed: seed)
  }

  func queries(_ problem: DecisionProblem, gradient: Bool) -> Int { 1 + samples }

  func setValues(_ values: UnsafeMutablePointer<Double>, _ problem: DecisionProblem, _ index: Int) {
    guard index > 0 else {
      return values.update(from: kind == .objective ? problem.predictions : problem.targets, count: problem.entries)
    }
    var (random, scale) = draw(problem, index)
    scale *= sigma
    for j in 0..<problem.entries { values[j] = problem.predictions[j] + scale * random.normal() }
  }

  mutating func add(_ answer: QueryAnswer, _ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?)
    -> Double
  {
    switch kind {
    case .fenchelYoung: addFenchelYoung(answer, problem, gradient)
    case .objective: addObjective(answer, problem, gradient)
    }
  }

  /// yhat'w(y) - mean_s (yhat + sigma U_s)'w_s, whose gradient is w(y) - mean_s w_s.
  private func addFenchelYoung(
    _ answer: QueryAnswer, _ problem: DecisionProblem, _ gradient: UnsafeMutablePointer<Double>?
  ) -> Double {
    let weight = answer.index == 0 ? 1 : -1 / Double(samples)
    if let gradient { shortAxpy(problem.entries, weight, answer.result, gradient) }
    return weight * shortDot(problem.entries, answer.index == 0 ? problem.predictions : answer.values, answer.result)
  }

  /// mean_s y'w_s; its gradient is estimated as mean_s (y'w_s - y'w(yhat)) U_s / sigma.
  private mutating func addObjective(
    _ answer: QueryAnswer, _ problem: DecisionProblem, _ gradient: UnsafeMutablePointer<Double>?
  ) -> Double {
    let value = shortDot(problem.entries, problem.targets, answer.result)
    if answer.index == 0 {
      baseline = value
      return 0
    }
    if let gradient, value != baseline {
      var (random, scale) = draw(problem, answer.index)
      scale *= (value - baseline) / (Double(samples) * sigma)
      for j in 0..<problem.entries { gradient[j] += scale * random.normal() }
    }
    return value / Double(samples)
  }

  /// The noise of a sample up to its sign: an even number of samples is made of pairs U, -U.
  private func draw(_ problem: DecisionProblem, _ index: Int) -> (RandomGenerator, Double) {
    let sample = index - 1
    let paired = samples % 2 == 0
    let random = noise.generator(instance: problem.instance, draw: paired ? sample / 2 : sample)
    return (random, paired && sample % 2 == 1 ? -1 : 1)
  }
}

/// y'w(yhat); the gradient is that of a piecewise linear interpolation, (w(yhat + lambda y) - w(yhat)) / lambda.
struct BlackboxLoss: QueryLoss {
  let lambda: Double

  func queries(_ problem: DecisionProblem, gradient: Bool) -> Int { gradient ? 2 : 1 }

  func setValues(_ values: UnsafeMutablePointer<Double>, _ problem: DecisionProblem, _ index: Int) {
    values.update(from: problem.predictions, count: problem.entries)
    if index == 1 { shortAxpy(problem.entries, lambda, problem.targets, values) }
  }

  func add(_ answer: QueryAnswer, _ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) -> Double {
    let sign = answer.index == 0 ? -1.0 : 1.0
    if let gradient { shortAxpy(problem.entries, sign / lambda, answer.result, gradient) }
    return answer.index == 0 ? shortDot(problem.entries, problem.targets, answer.result) : 0
  }
}
