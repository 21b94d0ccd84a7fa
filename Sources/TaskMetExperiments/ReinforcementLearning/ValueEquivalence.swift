// The value equivalence loss (Grimm et al. 2020): a model is right where its predictions give the Bellman targets that the
// real transitions give,
//
//   L_VEP = mean_i delta_i^2,   delta_i = [r_theta + gamma d V(f_theta)]_i - [r + gamma d V(s')]_i
//
// and its gradient in prediction space: dL/dr_i = 2 delta_i / B,  dL/df_i = 2 gamma d_i delta_i dV/ds(f_i) / B.

/// The gradient's computation, with its memory.
final class ValueEquivalence {
  private let q: QFunction
  private(set) var cotangents = TaskCotangents()
  /// L_VEP at the last `update`.
  private(set) var loss = 0.0
  private var real: [Double] = []
  private var predicted: [Double] = []
  private var weights: [Double] = []

  init(_ q: QFunction) { self.q = q }

  /// Computes `loss` and `cotangents` for predictions of the batch's next states and rewards.
  func update(_ batch: Batch, nextStates: [Double], rewards: [Double]) throws {
    if weights.count != batch.rows {
      weights = [Double](repeating: 0, count: batch.rows)
      (real, predicted, cotangents.rewards) = (weights, weights, weights)
      cotangents.nextStates = [Double](repeating: 0, count: batch.rows * batch.observationCount)
    }
    try q.regressionTargets(batch, nextStates: batch.nextStates, rewards: batch.rewards, into: &real)
    try q.regressionTargets(batch, nextStates: nextStates, rewards: rewards, into: &predicted)
    loss = 0
    for row in 0..<batch.rows {
      let difference = predicted[row] - real[row]
      loss += difference * difference / Double(batch.rows)
      cotangents.rewards[row] = 2 * difference / Double(batch.rows)
      weights[row] = cotangents.rewards[row] * q.settings.discount * batch.continuations[row]
    }
    try q.value.gradient(weights: weights, into: &cotangents.nextStates)
  }
}
