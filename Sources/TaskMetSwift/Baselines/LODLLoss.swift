// The locally optimised decision loss of one instance, e = yhat - y:
//
//   weighted MSE   sum_j w_j e_j^2        quadratic   |L'e|^2, L: M x rank
//
// Directed forms have two weights, or two rows of L, for each entry: the first where e_j >= 0, the second where it is below.

/// Parameters, which somebody else owns: M or 2 M weights, or rows of L.
struct LODLLoss {
  let form: LODLForm
  let entries: Int
  /// Of L; 1 for weights.
  let rank: Int
  let parameters: UnsafePointer<Double>

  init(_ form: LODLForm, entries: Int, rank: Int, _ parameters: UnsafePointer<Double>) {
    (self.form, self.entries, self.parameters) = (form, entries, parameters)
    self.rank = Self.rank(form, entries: entries, atMost: rank)
  }

  /// Weights, or rows of L.
  static func width(_ form: LODLForm, entries: Int) -> Int { form.isDirected ? 2 * entries : entries }
  static func rank(_ form: LODLForm, entries: Int, atMost rank: Int) -> Int {
    form.isQuadratic ? min(rank, entries) : 1
  }

  static func parameterCount(_ form: LODLForm, entries: Int, rank: Int) throws -> Int {
    try checkedProduct(width(form, entries: entries), Self.rank(form, entries: entries, atMost: rank))
  }

  private func row(_ j: Int, _ error: Double) -> Int { form.isDirected && error < 0 ? entries + j : j }

  /// The loss, and its gradient (overwritten) where there is room for it. `scratch`: rank numbers.
  func evaluate(
    _ predictions: UnsafePointer<Double>, _ targets: UnsafePointer<Double>, gradient: UnsafeMutablePointer<Double>?,
    scratch z: UnsafeMutablePointer<Double>
  ) -> Double {
    form.isQuadratic
      ? quadratic(predictions, targets, gradient, z) : weighted(predictions, targets, gradient)
  }

  private func weighted(
    _ predictions: UnsafePointer<Double>, _ targets: UnsafePointer<Double>, _ gradient: UnsafeMutablePointer<Double>?
  ) -> Double {
    var sum = 0.0
    for j in 0..<entries {
      let error = predictions[j] - targets[j]
      let weight = parameters[row(j, error)]
      sum += weight * error * error
      gradient?[j] = 2 * weight * error
    }
    return sum
  }

  private func quadratic(
    _ predictions: UnsafePointer<Double>, _ targets: UnsafePointer<Double>, _ gradient: UnsafeMutablePointer<Double>?,
    _ z: UnsafeMutablePointer<Double>
  ) -> Double {
    z.update(repeating: 0, count: rank)
    for j in 0..<entries {
      let error = predictions[j] - targets[j]
      shortAxpy(rank, error, parameters + row(j, error) * rank, z)
    }
    if let gradient {
      for j in 0..<entries {
        gradient[j] = 2 * shortDot(rank, parameters + row(j, predictions[j] - targets[j]) * rank, z)
      }
    }
    return shortDot(rank, z, z)
  }
}
