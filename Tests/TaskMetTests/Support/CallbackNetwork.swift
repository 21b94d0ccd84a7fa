// Predictors of the caller's behind C function pointers: W2 tanh(W1 x + c1) + c2 with its derivatives by hand, and a
// linear one.

import CTaskMet
import Glibc

@testable import TaskMetSwift

/// Parameters: W1 (hidden x inputs), c1, W2 (outputs x hidden), c2.
final class CallbackNetwork {
  let inputs: Int
  let hidden: Int
  let outputs: Int

  init(inputs: Int, hidden: Int, outputs: Int) {
    (self.inputs, self.hidden, self.outputs) = (inputs, hidden, outputs)
  }

  var parameterCount: Int { (inputs + 1) * hidden + (hidden + 1) * outputs }

  /// A parameter vector, or a direction in that space, taken apart.
  private struct Parts {
    let w1: DenseMatrix
    let c1: [Double]
    let w2: DenseMatrix
    let c2: [Double]

    init(_ network: CallbackNetwork, _ theta: UnsafePointer<Double>) {
      let (d, h, n) = (network.inputs, network.hidden, network.outputs)
      func part(_ offset: Int, _ count: Int) -> [Double] {
        Array(UnsafeBufferPointer(start: theta + offset, count: count))
      }
      w1 = DenseMatrix(h, d, part(0, h * d))
      c1 = part(h * d, h)
      w2 = DenseMatrix(n, h, part(h * d + h, n * h))
      c2 = part(h * d + h + n * h, n)
    }
  }

  private func hiddenLayer(_ parts: Parts, _ x: [Double]) -> [Double] { (parts.w1 * x .+ parts.c1).map { tanh($0) } }

  private func slopes(_ a: [Double]) -> [Double] { a.map { 1 - $0 * $0 } }

  func forward(_ theta: UnsafePointer<Double>, _ x: [Double]) -> [Double] {
    let parts = Parts(self, theta)
    return parts.w2 * hiddenLayer(parts, x) .+ parts.c2
  }

  func pushforward(_ theta: UnsafePointer<Double>, _ x: [Double], _ w: UnsafePointer<Double>) -> [Double] {
    let (parts, dot) = (Parts(self, theta), Parts(self, w))
    let a = hiddenLayer(parts, x)
    let tangent = zip(slopes(a), dot.w1 * x .+ dot.c1).map { $0 * $1 }
    return dot.w2 * a .+ parts.w2 * tangent .+ dot.c2
  }

  func pullback(_ theta: UnsafePointer<Double>, _ x: [Double], _ c: [Double]) -> [Double] {
    let parts = Parts(self, theta)
    let a = hiddenLayer(parts, x)
    let z = zip(slopes(a), parts.w2.transposed * c).map { $0 * $1 }
    return join(z, x, c, a, c)
  }

  /// The derivative of `pullback` along w, c fixed.
  func secondOrder(
    _ theta: UnsafePointer<Double>, _ x: [Double], _ c: [Double], _ w: UnsafePointer<Double>
  ) -> [Double] {
    let (parts, dot) = (Parts(self, theta), Parts(self, w))
    let a = hiddenLayer(parts, x)
    let zdot = dot.w1 * x .+ dot.c1
    let abar = parts.w2.transposed * c
    let abardot = dot.w2.transposed * c
    let zbardot = (0..<hidden).map { k in
      let slope = 1 - a[k] * a[k]
      return abardot[k] * slope - 2 * abar[k] * a[k] * slope * zdot[k]
    }
    let adot = (0..<hidden).map { (1 - a[$0] * a[$0]) * zdot[$0] }
    return join(zbardot, x, c, adot, [Double](repeating: 0, count: outputs))
  }

  /// (z x', z, c a', b) as one vector.
  private func join(_ z: [Double], _ x: [Double], _ c: [Double], _ a: [Double], _ b: [Double]) -> [Double] {
    z.flatMap { $0 * x } + z + c.flatMap { $0 * a } + b
  }
}

// MARK: - The C side

private func network(_ user: UnsafeMutableRawPointer?) -> CallbackNetwork {
  Unmanaged<CallbackNetwork>.fromOpaque(user!).takeUnretainedValue()
}

private func slice(_ base: UnsafePointer<Double>?, _ count: Int) -> [Double] {
  Array(UnsafeBufferPointer(start: base, count: count))
}

private func write(_ values: [Double], to out: UnsafeMutablePointer<Double>?, adding: Bool = false) {
  for (k, value) in values.enumerated() { out![k] = adding ? out![k] + value : value }
}

private func makeCallbacks(secondOrder: Bool) -> taskmet_predictor_callbacks {
  var callbacks = taskmet_predictor_callbacks()
  callbacks.struct_size = MemoryLayout<taskmet_predictor_callbacks>.size
  callbacks.forward = { user, rows, x, stride, theta, out in
    let f = network(user)
    for i in 0..<Int(rows) {
      write(f.forward(theta!, slice(x! + i * Int(stride), f.inputs)), to: out! + i * f.outputs)
    }
    return 0
  }
  callbacks.vjp = { user, rows, x, stride, theta, c, out in
    let f = network(user)
    for i in 0..<Int(rows) {
      let part = f.pullback(theta!, slice(x! + i * Int(stride), f.inputs), slice(c! + i * f.outputs, f.outputs))
      write(part, to: out, adding: i > 0)
    }
    return 0
  }
  callbacks.jvp = { user, rows, x, stride, theta, w, out in
    let f = network(user)
    for i in 0..<Int(rows) {
      write(f.pushforward(theta!, slice(x! + i * Int(stride), f.inputs), w!), to: out! + i * f.outputs)
    }
    return 0
  }
  if secondOrder {
    callbacks.hvp = { user, rows, x, stride, theta, c, w, out in
      let f = network(user)
      for i in 0..<Int(rows) {
        let (xi, ci) = (slice(x! + i * Int(stride), f.inputs), slice(c! + i * f.outputs, f.outputs))
        write(f.secondOrder(theta!, xi, ci, w!), to: out, adding: i > 0)
      }
      return 0
    }
  }
  return callbacks
}

extension CallbackPredictor {
  /// The network behind callbacks, at zero.
  convenience init(_ network: CallbackNetwork, secondOrder: Bool) throws {
    let user = CallbackUser(Unmanaged.passRetained(network).toOpaque()) { pointer in
      Unmanaged<CallbackNetwork>.fromOpaque(pointer!).release()
    }
    self.init(
      inputs: network.inputs, outputs: network.outputs,
      parameters: try Buffer(repeating: 0, count: network.parameterCount),
      callbacks: makeCallbacks(secondOrder: secondOrder), user: user)
  }
}

// MARK: - A linear one

extension CallbackPredictor {
  /// theta'x over the first `features` of `inputs` features.
  convenience init(linearIn features: Int, of inputs: Int) throws {
    var callbacks = taskmet_predictor_callbacks()
    callbacks.struct_size = MemoryLayout<taskmet_predictor_callbacks>.size
    callbacks.forward = { user, rows, x, stride, theta, out in
      let features = user!.load(as: Int.self)
      for i in 0..<Int(rows) { out![i] = dot(slice(x! + i * Int(stride), features), slice(theta, features)) }
      return 0
    }
    callbacks.vjp = { user, rows, x, stride, _, c, out in
      let features = user!.load(as: Int.self)
      for i in 0..<Int(rows) { write(c![i] * slice(x! + i * Int(stride), features), to: out, adding: i > 0) }
      return 0
    }
    callbacks.jvp = { user, rows, x, stride, _, w, out in
      let features = user!.load(as: Int.self)
      for i in 0..<Int(rows) { out![i] = dot(slice(x! + i * Int(stride), features), slice(w, features)) }
      return 0
    }
    let user = UnsafeMutableRawPointer.allocate(byteCount: 8, alignment: 8)
    user.storeBytes(of: features, as: Int.self)
    self.init(
      inputs: inputs, outputs: 1, parameters: try Buffer(repeating: 0, count: features), callbacks: callbacks,
      user: CallbackUser(user) { $0?.deallocate() })
  }
}
