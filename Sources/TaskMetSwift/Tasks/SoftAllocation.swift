// Soft decisions of the budget allocation: how z comes about from predicted rates, and the way back for derivatives.

/// A soft allocation of one instance. A subclass finds z, and solves with the derivative of the conditions that z fulfils.
class SoftAllocation {
  let rows: Int
  let users: Int
  let budget: Int
  /// F under the predicted rates.
  let predicted: Coverage
  /// rows numbers; lives as long as this object.
  let z: UnsafeMutablePointer<Double>
  /// F's gradient (rows) and Hessian (rows x rows) in z.
  let slope: UnsafeMutablePointer<Double>
  let hessian: UnsafeMutablePointer<Double>
  /// Room for three vectors of `rows` numbers.
  let vectors: UnsafeMutablePointer<Double>
  private let memory: Buffer<Double>

  /// z is kept where the subclass says (elsewhere: nil).
  init(_ problem: DecisionProblem, budget: Int, z: UnsafeMutablePointer<Double>? = nil) throws {
    (rows, users, self.budget) = (problem.rows, problem.outputs, budget)
    let scratch = try Coverage.scratchCount(rows: rows, users: users)
    memory = try Buffer(count: scratch + (try checkedProduct(rows, rows + 5)))
    let own = memory.base + scratch
    self.z = z ?? own
    slope = own + rows
    vectors = own + 2 * rows
    hessian = own + 5 * rows
    predicted = Coverage(
      rows: rows, users: users, rates: problem.predictions, z: self.z, scratch: memory.base)
  }

  /// Finds z.
  func solve() throws { throw TaskMetError.unsupported("an abstract allocation") }

  /// weight <- the adjoint: what d2F/dz dy is to be multiplied by from the left, for weight' dz/dy.
  func adjoint(_ weight: UnsafeMutablePointer<Double>) throws {
    throw TaskMetError.unsupported("an abstract allocation")
  }

  /// The loss -F(z, y), and its gradient in the predictions, which is zero where these were clipped.
  func loss(_ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    let room = try Buffer<Double>(count: try Coverage.scratchCount(rows: rows, users: users))
    let value = withExtendedLifetime(room) {
      let truth = Coverage(rows: rows, users: users, rates: problem.targets, z: z, scratch: room.base)
      truth.prepare()
      if gradient != nil { truth.gradient(into: vectors) }
      return truth.value
    }
    guard let gradient else { return -value }
    for i in 0..<rows { vectors[i] = -vectors[i] }
    try adjoint(vectors)
    predicted.prepare()
    predicted.pullBack(vectors, into: gradient)
    for j in 0..<problem.entries where !(0...1).contains(problem.predictions[j]) { gradient[j] = 0 }
    return -value
  }
}
