// All that an outer iteration changes. A state is a value: vectors are never written once they are part of one, so that a
// step can be undone by going back to the state before it.

/// A trained pair.
struct Model {
  let theta: Buffer<Double>
  let phi: Buffer<Double>
  /// m of batch_trace.
  let normalizationScale: Double
}

/// What the task said of the present model.
struct TaskVerdict {
  let loss: Double
  /// Root mean squared error of the predictions that it judged.
  let rmse: Double
  /// The batch's instances in the outer data (nil: all of them), and d loss / d predictions for their rows.
  let instances: Buffer<Int>?
  let cotangent: Buffer<Double>
}

struct TrainerState {
  var model: Model
  var best: Model
  var bestIteration = 0
  /// The loss that chose the best model, and its RMSE; the same of the two-stage model.
  var bestLoss = Double.infinity
  var bestRMSE = Double.nan
  var firstLoss = Double.nan
  var firstRMSE = Double.nan
  /// Training RMSE of the two-stage model on the batch that its task saw.
  var firstTrainingRMSE = Double.nan
  /// |grad_theta L_pred| before the warm-up.
  var referenceGradientNorm = Double.nan
  var iteration = 0
  var verdict: TaskVerdict
  var innerOptimizer: Optimizer.State?
  var metricOptimizer: Optimizer.State?
  /// The linear system's last solution.
  var v: Buffer<Double>?
  var random: RandomGenerator
  /// What undone steps have left of the metric's rate (or a baseline's inner rate), and how many steps since the last one, or
  /// since the rate was doubled again.
  var rateFactor = 1.0
  var goodSteps = 0
  /// By how much an untrusted hypergradient has enlarged each.
  var innerFactor = 1
  var solverFactor = 1
  var batchFactor = 1
  var rollbacks = 0
  var rejections = 0
  var untrusted = 0
  var seconds = 0.0
  /// The set-up cannot learn, or hardly: sentences.
  var warnings: [String] = []

  /// The best model's RMSE over the two-stage model's; 1 where they are the same or the latter is 0.
  var bestRMSERatio: Double {
    bestRMSE == firstRMSE || firstRMSE == 0 ? 1 : min(bestRMSE / firstRMSE, .greatestFiniteMagnitude)
  }
}
