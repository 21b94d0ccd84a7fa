// Optimisers that take one gradient and make one step: Adam and gradient descent with momentum, in PyTorch's form.

import CKernels

/// A stepper over one flat parameter vector.
final class Optimizer: SharedObject {
  override var kind: StaticString { "optimizer" }

  enum Method: Equatable {
    /// m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; p <- p - rate m^ / (sqrt(v^) + epsilon)
    case adam(beta1: Double, beta2: Double, epsilon: Double)
    /// b <- momentum b + g; p <- p - rate b
    case sgd(momentum: Double)

    /// Moment vectors.
    var vectors: Int { if case .adam = self { 2 } else { 1 } }
  }

  let count: Int
  let method: Method
  private(set) var learningRate: Double
  private var steps = 0
  /// Adam's m and v, or SGD's b, and as much room for a step that is not yet accepted.
  private let moments: Buffer<Double>
  private let trial: Buffer<Double>

  init(_ method: Method, count: Int, learningRate: Double) throws {
    self.method = method
    self.count = count
    self.learningRate = learningRate
    moments = try Buffer(repeating: 0, count: try checkedProduct(count, method.vectors))
    trial = try Buffer(count: try checkedProduct(count, method.vectors + 1))
  }

  func setLearningRate(_ value: Double) { learningRate = value }

  /// The moments and the step count, apart from the optimiser.
  struct State {
    let moments: Buffer<Double>
    let steps: Int
  }

  func state() throws -> State { State(moments: try Buffer(copying: moments.base, count: moments.count), steps: steps) }

  /// Goes back to a state of an optimiser of the same shape; nil is a fresh one.
  func restore(_ state: State?) {
    guard let state else { return reset() }
    moments.base.update(from: state.moments.base, count: moments.count)
    steps = state.steps
  }

  /// Numbers that `State.moments` holds.
  var momentCount: Int { moments.count }

  func reset() {
    moments.base.update(repeating: 0, count: moments.count)
    steps = 0
  }

  /// Moves the parameters, or throws and leaves everything as it was.
  func step(gradient: UnsafePointer<Double>, parameters: UnsafeMutablePointer<Double>) throws {
    let (moved, next, present) = (trial.base, trial.base + count, moments.base)
    switch method {
    case .adam(let beta1, let beta2, let epsilon):
      adam(beta1, beta2, epsilon, gradient, parameters)
    case .sgd(let momentum):
      for k in 0..<count {
        next[k] = momentum * present[k] + gradient[k]
        moved[k] = parameters[k] - learningRate * next[k]
      }
    }
    if let index = firstNonFinite(trial.count, moved) {
      throw TaskMetError.numerical(
        index < count
          ? "parameters[\(index)] would become \(moved[index])" : "the optimiser's moments overflow")
    }
    parameters.update(from: moved, count: count)
    moments.base.update(from: next, count: moments.count)
    steps += 1
  }

  /// Fills the trial.
  private func adam(
    _ beta1: Double, _ beta2: Double, _ epsilon: Double, _ gradient: UnsafePointer<Double>,
    _ parameters: UnsafePointer<Double>
  ) {
    let time = Double(steps + 1)
    var step = adam_step(
      count: Int64(count), gradient: gradient, parameters: parameters, moments: moments.base, moved: trial.base,
      new_moments: trial.base + count, beta1: beta1, beta2: beta2, rate: learningRate / (1 - power(beta1, time)),
      correction: (1 - power(beta2, time)).squareRoot(), epsilon: epsilon)
    machineKernels.step_adam(&step)
  }
}
