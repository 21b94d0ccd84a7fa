// Why a convex program over a set that is not empty has no solution.

extension ConvexProgram {
  /// The error for a program that `solve` gives up on.
  func failure() throws -> TaskMetError {
    if try isUnbounded() {
      return TaskMetError.numerical(
        "the program is unbounded: its objective improves without end inside the feasible set; add constraints")
    }
    return TaskMetError.numerical(
      "the program could not be solved to the tolerance: rescale its variables or remove constraints that nearly repeat others"
    )
  }

  /// Whether there is a direction d with K d = 0, G d <= 0 and c'd < 0. d = V'e, V's rows a basis of K's null space, |e| <= 1 in
  /// every coordinate: a program that always has a solution.
  private func isUnbounded() throws -> Bool {
    let copy = try Buffer(copying: quadratic.base, count: variables * variables)
    let null = try SingularValues(
      consuming: copy, rows: variables, columns: variables, negligible: 1e-12 * largestEntry(quadratic))
    let (n, m) = (null.nullity, constraints)
    if n == 0 { return false }
    let linear = try Buffer<Double>(count: n)
    for k in 0..<n { linear[k] = Double.dot(variables, null.nullSpace + k * variables, self.linear.base) }
    let size = largestEntry(linear)
    if size <= 1e-10 * largestEntry(self.linear) { return false }
    for k in 0..<n { linear[k] /= size }
    let rows = try Buffer<Double>(repeating: 0, count: try checkedProduct(m + 2 * n, n))
    let values = try Buffer<Double>(repeating: 1, count: m + 2 * n)
    for i in 0..<m {
      values[i] = 0
      for k in 0..<n {
        rows[i * n + k] = Double.dot(variables, self.rows.base + i * variables, null.nullSpace + k * variables)
      }
    }
    for k in 0..<n {
      rows[(m + k) * n + k] = 1
      rows[(m + n + k) * n + k] = -1
    }
    let recession = ConvexProgram(
      variables: n, constraints: m + 2 * n, quadratic: try Buffer(repeating: 0, count: n * n), linear: linear,
      rows: rows, values: values)
    guard let point = try recession.solve() else { return false }
    return Double.dot(n, linear.base, point.t.base) < -1e-8
  }
}
