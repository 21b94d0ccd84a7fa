// The task's gradient in prediction space: how L_task(omega*(f, r)) changes with the predictions f and r that the Q function
// omega* = argmin L_Q(.; f, r) was learned from.
//
//   g   = grad_omega L_task,   (H + damping I) z = g,   H = d2 L_Q / d omega2
//   c   = -d/d(f, r) <grad_omega L_Q(omega; f, r), z>
//
// With y_i = r_i + gamma d_i V(f_i) and qDot_i = sum_j <dQj(s_i, a_i)/domega, z>:
//   dL/dr_i = qDot_i / B,   dL/df_i = gamma d_i dV/ds(f_i) qDot_i / B

/// c for the next states (rows x observationCount) and the rewards (rows).
struct TaskCotangents {
  var nextStates: [Double] = []
  var rewards: [Double] = []
}

/// How H^-1 g is approximated.
public enum InverseHessian: Equatable, Sendable {
  /// By g: the paper's.
  case identity
  /// By conjugate gradients with a damping, which stop at a direction of negative curvature.
  case conjugateGradients(iterations: Int, damping: Double)
}

/// The gradient's computation, with its memory.
final class ImplicitQGradient {
  private let q: QFunction
  private let inverse: InverseHessian
  private(set) var cotangents = TaskCotangents()
  /// L_task at the last `update`.
  private(set) var taskLoss = 0.0
  private var g: [[Double]]
  private var z: [[Double]]
  private var modelGradient: [[Double]]
  private var y: [Double] = []
  private var qDot: [Double] = []

  init(_ q: QFunction, _ inverse: InverseHessian) {
    self.q = q
    self.inverse = inverse
    g = q.networks.map { [Double](repeating: 0, count: $0.parameterCount) }
    z = g
    modelGradient = g
  }

  /// Computes `cotangents` at the Q function's present parameters, for predictions of the batch's next states and rewards.
  func update(_ batch: Batch, nextStates: [Double], rewards: [Double]) throws {
    if qDot.count != batch.rows {
      y = [Double](repeating: 0, count: batch.rows)
      qDot = y
      cotangents.rewards = y
      cotangents.nextStates = [Double](repeating: 0, count: batch.rows * batch.observationCount)
    }
    try q.linearize(batch)
    try q.regressionTargets(batch, nextStates: batch.nextStates, rewards: batch.rewards, into: &y)
    taskLoss = q.loss(batch, y)
    try q.gradient(batch, y, into: &g)
    try q.regressionTargets(batch, nextStates: nextStates, rewards: rewards, into: &y)
    switch inverse {
    case .identity:
      try q.pushforward(batch, g, into: &qDot)
    case .conjugateGradients(let iterations, let damping):
      // Leaves L_Q's residuals for the Hessian.
      try q.gradient(batch, y, into: &modelGradient)
      for j in z.indices { try solve(j, batch, iterations, damping) }
      try q.pushforward(batch, z, into: &qDot)
    }
    try pullBack(batch)
  }

  /// From qDot to the cotangents of the predictions; V is linearised at the predicted next states.
  private func pullBack(_ batch: Batch) throws {
    for row in 0..<batch.rows {
      let share = qDot[row] / Double(batch.rows)
      cotangents.rewards[row] = share
      qDot[row] = share * q.settings.discount * batch.continuations[row]
    }
    try q.value.gradient(weights: qDot, into: &cotangents.nextStates)
  }

  /// z_j by conjugate gradients on (H + damping I) z = g.
  private func solve(_ j: Int, _ batch: Batch, _ iterations: Int, _ damping: Double) throws {
    var residual = g[j]
    var direction = residual
    var product = residual
    z[j] = [Double](repeating: 0, count: residual.count)
    var rr = dot(residual, residual)
    let end = 1e-24 * rr
    for _ in 0..<iterations where rr > end {
      try q.hessianProduct(j, batch, direction, into: &product)
      for k in product.indices { product[k] += damping * direction[k] }
      let curvature = dot(direction, product)
      // The Hessian is indefinite along here; in the first direction, the step of the identity.
      guard curvature > 0 else { break }
      let alpha = rr / curvature
      for k in product.indices {
        z[j][k] += alpha * direction[k]
        residual[k] -= alpha * product[k]
      }
      let next = dot(residual, residual)
      for k in product.indices { direction[k] = residual[k] + next / rr * direction[k] }
      rr = next
    }
    if z[j].allSatisfy({ $0 == 0 }) { z[j] = g[j] }
  }
}
