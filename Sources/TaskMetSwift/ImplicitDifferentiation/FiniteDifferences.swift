// Derivatives from differences of a function, with an honest error bar: what gradient checks compare with.

/// A directional derivative, and how well it is known.
struct NumericalDerivative {
  let value: Double
  /// How far the two best neighbouring estimates are apart.
  let noise: Double
  let step: Double
}

/// d/dt f(t) at 0 by central differences over a sweep of steps h, neighbours extrapolated (Richardson): (4 D(h/2) - D(h))/3
/// cancels the h^2 term. Truncation shrinks with h and rounding grows as 1/h; the estimate whose neighbours agree best, given
/// what the smallest steps say of the rounding, is believed.
func numericalDerivative(
  from largest: Double = 0.1, halvings: Int = 22, _ f: (Double) throws -> Double
) throws -> NumericalDerivative {
  let steps = (0...halvings).map { largest * power(0.5, Double($0)) }
  let differences = try steps.map { h in (try f(h) - f(-h)) / (2 * h) }
  let estimates = zip(differences.dropFirst(), differences).map { fine, coarse in (4 * fine - coarse) / 3 }
  let jumps = zip(estimates.dropFirst(), estimates).map { abs($0 - $1) }
  // At the smallest steps neighbours differ by rounding alone, which is then known for every step.
  let rounding = zip(jumps, steps.dropFirst()).suffix(7).map { $0 * $1 }.sorted()[3]
  var best = NumericalDerivative(value: .nan, noise: .infinity, step: 0)
  for k in 1..<(estimates.count - 1) {
    let noise = max(jumps[k - 1], jumps[k], 3 * rounding / steps[k + 1])
    if noise < best.noise { best = NumericalDerivative(value: estimates[k], noise: noise, step: steps[k]) }
  }
  return best
}

/// Raw values are those of `taskmet_verdict`.
enum Verdict: Int32 {
  case correct, wrong, undecided
}

/// The direction that agreed least, and the verdict on all of them.
struct GradientCheckReport {
  var verdict = Verdict.correct
  var worstError = 0.0
  var noise = 0.0
  var analytic = 0.0
  var numeric = 0.0
  var step = 0.0
  var scale = 0.0
  /// The entry that was moved; nil for a random direction.
  var entry: Int?
  var directions = 0
}

/// Collects comparisons along directions into a report.
struct GradientCheck {
  let tolerance: Double
  private(set) var report = GradientCheckReport()
  private var sawNoise = false
  private var sawError = false

  init(tolerance: Double, gradientNorm: Double) {
    self.tolerance = tolerance
    report.scale = 1e-3 * gradientNorm
  }

  /// A direction whose error is beyond the tolerance and several times its noise is wrong; one whose noise is beyond the
  /// tolerance proves nothing.
  mutating func compare(analytic: Double, _ numeric: NumericalDerivative, entry: Int? = nil) {
    let unit = max(abs(analytic), abs(numeric.value), report.scale, .leastNormalMagnitude)
    let error = abs(analytic - numeric.value) / unit
    let noise = numeric.noise / unit
    if (error > tolerance && error > 5 * noise) || !analytic.isFinite { sawError = true }
    if !(noise <= tolerance) && !(error > 5 * noise) { sawNoise = true }
    if report.directions == 0 || error > report.worstError || !error.isFinite {
      report.worstError = error
      report.noise = noise
      report.analytic = analytic
      report.numeric = numeric.value
      report.step = numeric.step
      report.entry = entry
    }
    report.directions += 1
    report.verdict = sawError ? .wrong : sawNoise || report.worstError > tolerance ? .undecided : .correct
  }
}
