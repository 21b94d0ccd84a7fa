// The iterative solvers of A v = g. Each is a function of a LinearSystem: it moves v, counts iterations, and stops when the
// residual it keeps is within the tolerance, the limit is reached, or it can do no more.

/// Conjugate gradients (Hestenes and Stiefel). Invariants: r = g - A v, p is A-conjugate to the earlier ones.
/// A direction with p'Ap <= 0 ends it, with the v of the smallest residual so far: with Ap = 0 A is singular, else indefinite.
/// Work vectors: 0, 1, 2.
func conjugateGradients(_ system: LinearSystem, limit: Int) throws {
  let (count, r) = (system.count, system.residual)
  let (p, ap, best) = (system.vector(0), system.vector(1), system.vector(2))
  p.update(from: r, count: count)
  best.update(from: system.v, count: count)
  var rr = Double.dot(count, r, r)
  var smallest = rr
  while system.iterations < limit, rr.squareRoot() > system.tolerance * system.gradientNorm {
    try system.apply(p, into: ap)
    let curvature = Double.dot(count, p, ap)
    let lengths = (p: norm(count, p), ap: norm(count, ap))
    system.operatorNorm = max(system.operatorNorm, lengths.ap / lengths.p)
    let largest = system.operatorNorm * lengths.p * lengths.p
    if !(curvature > system.rounding * largest) {
      system.brokeDown = true
      if smallest < rr { system.v.update(from: best, count: count) }
      // p'Ap = 0 with Ap far from 0 takes eigenvalues of both signs.
      let coupled = lengths.ap > system.smallestPivot.squareRoot() * system.operatorNorm * lengths.p
      system.negativeCurvature = coupled || curvature < -system.smallestCurvature * largest
      return
    }
    let alpha = rr / curvature
    Double.axpy(count, alpha, p, system.v)
    Double.axpy(count, -alpha, ap, r)
    let next = Double.dot(count, r, r)
    let beta = next / rr
    for k in 0..<count { p[k] = r[k] + beta * p[k] }
    rr = next
    system.iterations += 1
    if rr <= smallest {
      smallest = rr
      best.update(from: system.v, count: count)
    }
  }
}

/// Conjugate gradients on (A A + normalRidge I) v = A g, started again from the true residual for as long as that shrinks: the
/// condition number is squared, and so is what rounding leaves. Invariants: r = g - A v, s = A r - normalRidge v.
/// Work vectors: 0, 1, 2.
func normalConjugateGradients(_ system: LinearSystem, limit: Int, normalRidge: Double) throws {
  let (count, r, v) = (system.count, system.residual, system.v)
  let (s, p, ap) = (system.vector(0), system.vector(1), system.vector(2))
  func computeNormalResidual() throws -> Double {
    try system.apply(r, into: s)
    // What is rounding is known when the size of A is.
    if system.operatorNorm > 0 { system.noteCurvature(r, s) }
    if normalRidge > 0 { Double.axpy(count, -normalRidge, v, s) }
    return Double.dot(count, s, s)
  }
  var smallest: Double?
  var previous = Double.infinity
  while try system.computeResidual() > system.tolerance {
    var ss = try computeNormalResidual()
    // Nothing but rounding is left where |s| is this small beside the first one.
    let end = smallest ?? 1e-4 * system.rounding * system.rounding * ss
    smallest = end
    guard ss > end, ss < previous / 4 else { return }
    previous = ss
    p.update(from: s, count: count)
    while system.iterations < limit, ss > end, system.relativeResidual > system.tolerance {
      try system.apply(p, into: ap)
      let (pp, apap) = (Double.dot(count, p, p), Double.dot(count, ap, ap))
      system.operatorNorm = max(system.operatorNorm, (apap / pp).squareRoot())
      system.noteCurvature(p, ap)
      // A least-squares solution: what is left of A r is rounding, and following it would only lead v away.
      if ss.squareRoot() <= system.rounding * system.operatorNorm * norm(count, r) { return }
      let curvature = apap + normalRidge * pp
      if !(curvature > 0) { return }
      let alpha = ss / curvature
      Double.axpy(count, alpha, p, v)
      Double.axpy(count, -alpha, ap, r)
      system.iterations += 1
      if system.iterations >= limit { return }
      let next = try computeNormalResidual()
      let beta = next / ss
      for k in 0..<count { p[k] = s[k] + beta * p[k] }
      ss = next
    }
  }
}

/// MINRES (Paige and Saunders 1975) for the correction d in A d = r, v <- v + d. Lanczos vectors q; the QR factorisation of
/// the tridiagonal matrix T by Givens rotations is updated as it grows; |residual| = |eta|. A negative pivot of T = L D L' is a
/// negative eigenvalue.
/// Work vectors: 0 to 5.
func minimumResidual(_ system: LinearSystem, limit: Int) throws {
  let (count, v) = (system.count, system.v)
  var (previous, current, next) = (system.vector(0), system.vector(1), system.vector(2))
  var (w2, w1, w) = (system.vector(3), system.vector(4), system.vector(5))
  var beta = norm(count, system.residual)
  if beta == 0 { return }
  for k in 0..<count {
    (current[k], previous[k], w1[k], w2[k]) = (system.residual[k] / beta, 0, 0, 0)
  }
  var eta = beta
  var (c1, s1, c2, s2) = (1.0, 0.0, 1.0, 0.0)  // rotations of the last step and of the one before
  beta = 0
  var pivot: Double? = .infinity
  while system.iterations < limit, abs(eta) > system.tolerance * system.gradientNorm {
    try system.apply(current, into: next)
    let alpha = Double.dot(count, current, next)
    Double.axpy(count, -alpha, current, next)
    Double.axpy(count, -beta, previous, next)
    let nextBeta = norm(count, next)
    system.operatorNorm = max(system.operatorNorm, (alpha * alpha + beta * beta + nextBeta * nextBeta).squareRoot())
    if let previousPivot = pivot {
      let nextPivot = alpha - beta * beta / previousPivot
      // A pivot that is zero to rounding says nothing, nor does any after it; but coupled to what follows it is a block with
      // an eigenvalue of each sign.
      let isZero = abs(nextPivot) < system.smallestPivot * system.operatorNorm
      let coupled = nextBeta > system.smallestPivot.squareRoot() * system.operatorNorm
      if isZero ? coupled : nextPivot < 0 { system.negativeCurvature = true }
      pivot = isZero ? nil : nextPivot
    }
    let epsilon = s2 * beta
    let diagonal = c1 * alpha - s1 * c2 * beta
    let offDiagonal = s1 * alpha + c1 * c2 * beta
    let rho = (diagonal * diagonal + nextBeta * nextBeta).squareRoot()
    // A is singular, and v is a least-squares solution already.
    if rho <= system.smallestPivot * system.operatorNorm { return }
    let (c, s) = (diagonal / rho, nextBeta / rho)
    for k in 0..<count { w[k] = (current[k] - offDiagonal * w1[k] - epsilon * w2[k]) / rho }
    Double.axpy(count, c * eta, w, v)
    eta *= -s
    system.iterations += 1
    if nextBeta <= 1e-30 * system.operatorNorm { return }
    Double.scale(count, 1 / nextBeta, next)
    (previous, current, next) = (current, next, previous)
    (w2, w1, w) = (w1, w, w2)
    (c2, s2, c1, s1) = (c1, s1, c, s)
    beta = nextBeta
  }
}

/// The Neumann series as the iteration v <- v + step (g - A v), which converges where |I - step A| < 1. Stops as soon as the
/// residual grows.
/// Work vectors: 0, 1, 2.
func neumann(_ system: LinearSystem, limit: Int, step: Double?) throws {
  let (count, r, v, best) = (system.count, system.residual, system.v, system.vector(0))
  let step = try step ?? 1 / estimateNorm(system)
  guard step.isFinite else { return }
  var residual = system.relativeResidual
  while system.iterations < limit, residual > system.tolerance {
    best.update(from: v, count: count)
    try system.apply(r, into: system.vector(2))
    system.noteCurvature(r, system.vector(2))
    Double.axpy(count, step, r, v)
    system.iterations += 1
    Double.axpy(count, -step, system.vector(2), r)
    let next = system.relativeResidual
    if !(next < residual) {
      v.update(from: best, count: count)
      return
    }
    residual = next
  }
}

/// |A|_2 by power iterations from g, a little more than what they give. Work vectors: 0, 1.
private func estimateNorm(_ system: LinearSystem) throws -> Double {
  let (count, q, aq) = (system.count, system.vector(0), system.vector(1))
  q.update(from: system.g, count: count)
  var estimate = 0.0
  for _ in 0..<20 {
    let length = norm(count, q)
    if length == 0 { break }
    Double.scale(count, 1 / length, q)
    try system.apply(q, into: aq)
    estimate = norm(count, aq)
    q.update(from: aq, count: count)
  }
  return 1.05 * estimate
}
