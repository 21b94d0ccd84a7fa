// Limited-memory BFGS with a line search for the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5, 3.6 and 7.5).

/// f(x), with its gradient written to the second argument.
typealias Objective = (UnsafePointer<Double>, UnsafeMutablePointer<Double>) throws -> Double

/// How a minimisation ended.
struct MinimizationReport {
  var value = 0.0
  var gradientNorm = 0.0
  var iterations = 0
  var evaluations = 0
  var converged = false
}

/// Minimises an objective over `count` variables.
struct LBFGS {
  let count: Int
  let memory: Int
  let maximumIterations: Int
  let gradientTolerance: Double
  /// Values whose relative difference is no larger are the same.
  var rounding = Precision.float64.rounding

  /// After so many accepted steps that lower nothing, the rest is rounding.
  private static let idleSteps = 20

  /// Moves x to a minimiser, as far as it gets.
  func minimize(_ x: UnsafeMutablePointer<Double>, _ objective: @escaping Objective) throws -> MinimizationReport {
    let gradient = try Buffer<Double>(count: count)
    let value = try objective(x, gradient.base)
    let size = norm(count, gradient.base)
    guard size.isFinite, size > 0x1p300 else {
      return try descend(x, from: value, gradient, tolerance: gradientTolerance, objective)
    }
    // The squares of gradients would overflow. A multiple of the objective has the same minimiser.
    let scale = Double(sign: .plus, exponent: -size.exponent, significand: 1)
    Double.scale(count, scale, gradient.base)
    var report = try descend(x, from: scale * value, gradient, tolerance: scale * gradientTolerance) { x, gradient in
      let value = try objective(x, gradient)
      Double.scale(count, scale, gradient)
      return scale * value
    }
    report.value /= scale
    report.gradientNorm /= scale
    return report
  }

  /// The same from a point whose value and gradient are known.
  private func descend(
    _ x: UnsafeMutablePointer<Double>, from value: Double, _ gradient: Buffer<Double>, tolerance: Double,
    _ objective: @escaping Objective
  ) throws -> MinimizationReport {
    var report = MinimizationReport(value: value, evaluations: 1)
    var pairs: [Pair] = []
    let direction = try Buffer<Double>(count: count)
    var point = try Point(count: count)
    // Steps in a row that have lowered neither the value nor the smallest gradient so far.
    var (idle, lowest) = (0, Double.infinity)
    while true {
      report.gradientNorm = norm(count, gradient.base)
      report.converged = report.gradientNorm <= tolerance
      if report.converged || report.iterations >= maximumIterations { return report }
      if report.gradientNorm < lowest { (lowest, idle) = (report.gradientNorm, 0) }
      if idle >= Self.idleSteps { return report }
      direction.base.update(from: gradient.base, count: count)
      applyInverseHessian(pairs, direction.base)
      Double.scale(count, -1, direction.base)
      var slope = Double.dot(count, direction.base, gradient.base)
      if !(slope < 0) {
        pairs = []
        direction.base.update(from: gradient.base, count: count)
        Double.scale(count, -1, direction.base)
        slope = -report.gradientNorm * report.gradientNorm
      }
      let first = pairs.isEmpty ? firstStep(report) : 1
      var search = LineSearch(
        count: count, origin: x, direction: direction.base, value: report.value, slope: slope,
        rounding: rounding * abs(report.value),
        objective: objective)
      let found = try search.run(first: first, into: &point)
      report.evaluations += search.evaluations
      guard found else {
        // No descent along a quasi-Newton direction: try once more along the gradient, then it is rounding.
        if pairs.isEmpty { return report }
        pairs = []
        continue
      }
      let pair = try Pair(from: x, gradient.base, to: point, count: count)
      if pair.isUsable { pairs = Array((pairs + [pair]).suffix(memory)) }
      x.update(from: point.x.base, count: count)
      gradient.base.update(from: point.gradient.base, count: count)
      idle = point.value < report.value ? 0 : idle + 1
      report.value = point.value
      report.iterations += 1
    }
  }

  /// Along the gradient: no longer than 1, but where the value is so large that such a step would be lost in its rounding.
  private func firstStep(_ report: MinimizationReport) -> Double {
    let norm = report.gradientNorm
    return norm > 1 ? max(1 / norm, 1e-8 * abs(report.value) / norm / norm) : 1
  }

  /// s = x' - x and y = g' - g.
  private struct Pair {
    let s: Buffer<Double>
    let y: Buffer<Double>
    let sy: Double
    let yy: Double

    init(from x: UnsafePointer<Double>, _ gradient: UnsafePointer<Double>, to point: Point, count: Int) throws {
      s = try Buffer(copying: point.x.base, count: count)
      y = try Buffer(copying: point.gradient.base, count: count)
      Double.axpy(count, -1, x, s.base)
      Double.axpy(count, -1, gradient, y.base)
      sy = Double.dot(count, s.base, y.base)
      yy = Double.dot(count, y.base, y.base)
    }

    var isUsable: Bool { sy > 1e-300 && yy > 0 && sy > 1e-16 * yy.squareRoot() * norm(s.count, s.base) }
  }

  /// The two-loop recursion.
  private func applyInverseHessian(_ pairs: [Pair], _ q: UnsafeMutablePointer<Double>) {
    var alphas = [Double](repeating: 0, count: pairs.count)
    for (k, pair) in pairs.enumerated().reversed() {
      alphas[k] = Double.dot(count, pair.s.base, q) / pair.sy
      Double.axpy(count, -alphas[k], pair.y.base, q)
    }
    if let last = pairs.last { Double.scale(count, last.sy / last.yy, q) }
    for (k, pair) in pairs.enumerated() {
      let beta = Double.dot(count, pair.y.base, q) / pair.sy
      Double.axpy(count, alphas[k] - beta, pair.s.base, q)
    }
  }
}

/// A point with its value and gradient.
private struct Point {
  let x: Buffer<Double>
  let gradient: Buffer<Double>
  var value = 0.0

  init(count: Int) throws {
    x = try Buffer(count: count)
    gradient = try Buffer(count: count)
  }
}

/// phi(t) = f(origin + t direction).
private struct LineSearch {
  private static let sufficientDecrease = 1e-4
  private static let curvature = 0.9
  private static let maximumEvaluations = 40

  let count: Int
  let origin: UnsafePointer<Double>
  let direction: UnsafePointer<Double>
  let value: Double
  let slope: Double
  /// Values this close to each other are the same.
  let rounding: Double
  let objective: Objective
  var evaluations = 0

  init(
    count: Int, origin: UnsafePointer<Double>, direction: UnsafePointer<Double>, value: Double, slope: Double,
    rounding: Double, objective: @escaping Objective
  ) {
    self.count = count
    self.origin = origin
    self.direction = direction
    self.value = value
    self.slope = slope
    self.rounding = rounding
    self.objective = objective
  }

  private struct Trial {
    let step: Double
    let value: Double
    let slope: Double
  }

  private mutating func evaluate(_ step: Double, _ point: inout Point) throws -> Trial {
    point.x.base.update(from: origin, count: count)
    Double.axpy(count, step, direction, point.x.base)
    point.value = try objective(point.x.base, point.gradient.base)
    evaluations += 1
    return Trial(
      step: step, value: point.value, slope: Double.dot(count, direction, point.gradient.base))
  }

  /// Near a minimiser f differs by rounding alone; a step that lowers the slope and does not raise f beyond that is good.
  private func decreases(_ trial: Trial) -> Bool {
    trial.value <= value + Self.sufficientDecrease * trial.step * slope
      || (trial.value <= value + rounding && abs(trial.slope) <= Self.curvature * abs(slope))
  }

  private func isFlat(_ trial: Trial) -> Bool { abs(trial.slope) <= -Self.curvature * slope }

  /// Leaves an acceptable point in `point`; false where there is none.
  mutating func run(first: Double, into point: inout Point) throws -> Bool {
    var previous = Trial(step: 0, value: value, slope: slope)
    var step = first
    while evaluations < Self.maximumEvaluations {
      let trial = try evaluate(step, &point)
      guard trial.value.isFinite, trial.slope.isFinite else {
        step = (previous.step + step) / 2
        if step - previous.step < 1e-12 * step { return false }
        continue
      }
      if !decreases(trial) || (trial.value > previous.value + rounding && previous.step > 0) {
        return try zoom(previous, trial, &point)
      }
      if isFlat(trial) { return true }
      if trial.slope >= 0 { return try zoom(trial, previous, &point) }
      previous = trial
      step *= 2
    }
    // Still descending: from there the next search starts with steps of a better length.
    guard previous.step > 0 else { return false }
    _ = try evaluate(previous.step, &point)
    return true
  }

  /// The interval between low and high holds acceptable steps; low has the lower value.
  private mutating func zoom(_ low: Trial, _ high: Trial, _ point: inout Point) throws -> Bool {
    var (low, high) = (low, high)
    while evaluations < Self.maximumEvaluations {
      let trial = try evaluate(interpolate(low, high), &point)
      if !decreases(trial) || (trial.value >= low.value && low.step > 0) {
        high = trial
      } else {
        if isFlat(trial) { return true }
        if trial.slope * (high.step - low.step) >= 0 { high = low }
        low = trial
      }
      if abs(high.step - low.step) <= 1e-14 * max(abs(high.step), abs(low.step)) { break }
    }
    // The interval is exhausted: its lower end is still a descent, if it is not where we began.
    guard low.step > 0 else { return false }
    _ = try evaluate(low.step, &point)
    return true
  }

  /// The cubic's minimiser, kept inside the interval; its middle where that fails.
  private func interpolate(_ low: Trial, _ high: Trial) -> Double {
    let width = high.step - low.step
    let middle = low.step + width / 2
    guard high.value.isFinite, high.slope.isFinite else { return middle }
    let d1 = low.slope + high.slope - 3 * (high.value - low.value) / width
    let square = d1 * d1 - low.slope * high.slope
    guard square >= 0 else { return middle }
    let d2 = (width < 0 ? -1 : 1) * square.squareRoot()
    let step = high.step - width * (high.slope + d2 - d1) / (high.slope - low.slope + 2 * d2)
    let fraction = (step - low.step) / width
    return fraction.isFinite && fraction > 0.05 && fraction < 0.95 ? step : middle
  }
}
