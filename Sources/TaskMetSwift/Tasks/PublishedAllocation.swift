// The budget allocation's soft decision as published (Shah et al. 2022, after Wilder et al. 2019): projected gradient ascent on F
// without a regularisation, and a KKT matrix with 0.01 I added to it.

final class PublishedAllocation: SoftAllocation {
  private static let rate = 0.1
  private static let momentum = 0.9
  private static let steps = 100
  private static let ridge = 0.01
  /// What counts as being on a bound.
  private static let margin = 1e-6

  /// Accelerated ascent from z = budget / rows (the published start is random: here the same inputs give the same decision).
  override func solve() throws {
    let (current, previous) = (vectors, vectors + rows)
    current.update(repeating: Double(budget) / Double(rows), count: rows)
    previous.update(from: current, count: rows)
    for _ in 0..<Self.steps {
      for i in 0..<rows { z[i] = current[i] + Self.momentum * (current[i] - previous[i]) }
      predicted.prepare()
      predicted.gradient(into: slope)
      previous.update(from: current, count: rows)
      for i in 0..<rows { current[i] = z[i] + Self.rate * slope[i] }
      project(current)
    }
    z.update(from: current, count: rows)
  }

  /// The nearest point with 0 <= x <= 1, sum x = budget: x_i - shift, clipped. The sum is piecewise linear in the shift, which
  /// Newton's method within a bracket finds after few steps.
  private func project(_ x: UnsafeMutablePointer<Double>) {
    var (lower, upper) = (Double.infinity, -Double.infinity)
    for i in 0..<rows {
      lower = min(lower, x[i] - 1)
      upper = max(upper, x[i])
    }
    var shift = (lower + upper) / 2
    for _ in 0..<100 {
      var (excess, between) = (-Double(budget), 0.0)
      for i in 0..<rows {
        let rest = x[i] - shift
        excess += min(max(rest, 0), 1)
        if rest > 0 && rest < 1 { between += 1 }
      }
      if excess > 0 { lower = shift } else { upper = shift }
      var next = between > 0 ? shift + excess / between : lower - 1
      if !(next >= lower && next <= upper) { next = (lower + upper) / 2 }
      let step = abs(next - shift)
      shift = next
      if step <= 1e-15 { break }
    }
    for i in 0..<rows { x[i] = min(max(x[i] - shift, 0), 1) }
  }

  /// The published system has the derivatives of F's stationarity, of nu (sum z - budget) = 0, upper_i (z_i - 1) = 0 and
  /// lower_i (-z_i) = 0 in its rows, all in the signs of a minimisation although F is maximised, plus the ridge. The multipliers'
  /// rows are diagonal and are eliminated here; its right side is +d2F/dz dy.
  override func adjoint(_ weight: UnsafeMutablePointer<Double>) throws {
    predicted.prepare()
    predicted.gradient(into: slope)
    predicted.hessian(into: hessian)
    let matrix = try Buffer(copying: hessian, count: rows * rows)
    let nu = sumMultiplier()
    for k in 0..<(rows * rows) { matrix[k] -= nu / Self.ridge }
    for i in 0..<rows {
      var diagonal = Self.ridge
      if z[i] > 1 - Self.margin { diagonal -= (slope[i] - nu) / (z[i] - 1 + Self.ridge) }
      if z[i] < Self.margin { diagonal -= (slope[i] - nu) / (Self.ridge - z[i]) }
      matrix[i * (rows + 1)] += diagonal
    }
    let system = try SymmetricSystem(consuming: matrix, order: rows)
    try system.solve(weight)
  }

  /// The mean of dF/dz over the rows between the bounds; 0 where there is none.
  private func sumMultiplier() -> Double {
    var (sum, count) = (0.0, 0)
    for i in 0..<rows where z[i] > Self.margin && z[i] < 1 - Self.margin {
      sum += slope[i]
      count += 1
    }
    return count == 0 ? 0 : sum / Double(count)
  }
}
