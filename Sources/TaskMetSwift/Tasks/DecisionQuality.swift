// How good decisions are on a scale from chance to perfect, with bootstrap intervals: one definition for every task.

/// Means of instances' losses, and what is made of them.
struct DecisionSummary {
  /// From the predictions, from the true targets, and from random predictions.
  var loss = 0.0
  var optimalLoss = 0.0
  var randomLoss = 0.0

  var regret: Double { loss - optimalLoss }
  /// (q - q_random) / (q_optimal - q_random), q = -loss; NaN where chance is as good as perfect, as far as numbers can tell.
  var quality: Double {
    let quality = (randomLoss - loss) / (randomLoss - optimalLoss)
    return quality.isFinite ? quality : .nan
  }
}

/// The losses of each instance under three kinds of predictions.
struct DecisionLosses {
  private let predicted: Buffer<Double>
  private let optimal: Buffer<Double>
  private let random: Buffer<Double>

  /// The batch in phase `validation`, with the predictions to be judged; random ones are uniform in [0, 1).
  init(_ task: Task, _ batch: TaskBatch, randomDraws: Int, seed: UInt64) throws {
    let count = batch.instances.count
    func losses(_ predictions: Buffer<Double>) throws -> Buffer<Double> {
      let result = try Buffer<Double>(count: count)
      try task.losses(batch.with(predictions: predictions, phase: .validation), into: result.base)
      return result
    }
    predicted = try losses(batch.predictions)
    optimal = try losses(batch.targets)
    random = try Buffer(repeating: 0, count: count)
    var generator = RandomGenerator(seed: seed)
    let draw = try Buffer<Double>(count: batch.rows * batch.outputs)
    for _ in 0..<randomDraws {
      for j in 0..<draw.count { draw[j] = generator.uniform() }
      let drawn = try losses(draw)
      for k in 0..<count { random[k] += drawn[k] / Double(randomDraws) }
    }
  }

  var summary: DecisionSummary {
    DecisionSummary(loss: mean(predicted), optimalLoss: mean(optimal), randomLoss: mean(random))
  }

  /// Percentile intervals over instances drawn with replacement; NaN where a figure is undefined.
  func bootstrap(samples: Int, confidence: Double, seed: UInt64) throws -> DecisionIntervals {
    let count = predicted.count
    let (losses, regrets, qualities) = (
      try Buffer<Double>(count: samples), try Buffer<Double>(count: samples), try Buffer<Double>(count: samples)
    )
    var generator = RandomGenerator(seed: seed)
    for sample in 0..<samples {
      var sums = DecisionSummary()
      for _ in 0..<count {
        let k = Int(generator.next() % UInt64(count))
        sums.loss += predicted[k]
        sums.optimalLoss += optimal[k]
        sums.randomLoss += random[k]
      }
      losses[sample] = sums.loss / Double(count)
      regrets[sample] = sums.regret / Double(count)
      qualities[sample] = sums.quality
    }
    let tail = (1 - confidence) / 2
    func interval(_ values: Buffer<Double>) -> DecisionIntervals.Interval {
      (quantile(values, tail), quantile(values, 1 - tail))
    }
    return DecisionIntervals(loss: interval(losses), regret: interval(regrets), quality: interval(qualities))
  }
}

struct DecisionIntervals {
  typealias Interval = (lower: Double, upper: Double)
  let loss: Interval
  let regret: Interval
  let quality: Interval
}

/// The value below which that share of the numbers lies, interpolated; sorts them. NaN where one of them is.
private func quantile(_ values: Buffer<Double>, _ share: Double) -> Double {
  var sorted = UnsafeMutableBufferPointer(start: values.base, count: values.count)
  if sorted.contains(where: \.isNaN) { return .nan }
  sorted.sort()
  let position = share * Double(values.count - 1)
  let below = Int(position)
  let above = min(below + 1, values.count - 1)
  return sorted[below] + (position - Double(below)) * (sorted[above] - sorted[below])
}
