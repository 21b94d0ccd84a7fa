// The activation functions with their first and second derivatives, by PyTorch's definitions.

/// How many derivatives a forward pass prepares.
enum DerivativeOrder: Int, Comparable {
  case value, gradient, curvature

  static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Raw values are those of `taskmet_activation`.
enum Activation: Int32, CaseIterable {
  case identity, relu, leakyRelu, tanh, sigmoid, softplus, elu, gelu, silu

  /// The name in model files.
  var name: String {
    switch self {
    case .leakyRelu: "leaky_relu"
    default: String(describing: self)
    }
  }

  init?(name: String) {
    guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = match
  }

  /// The second derivative is zero wherever it exists.
  var isPiecewiseLinear: Bool { self == .identity || self == .relu || self == .leakyRelu }

  /// The slope for z <= 0 of an activation that is z for z > 0 and linear elsewhere; nil for the others.
  var slopeBelow: Double? {
    switch self {
    case .relu: 0
    case .leakyRelu: 0.01
    default: nil
    }
  }
}

/// The value and the first two derivatives at one point.
private typealias Jet<Scalar> = (value: Scalar, slope: Scalar, curvature: Scalar)

/// Replaces the pre-activations z by activations; writes sigma'(z) and sigma''(z) where there is room for them.
@_specialize(where Scalar == Double)
@_specialize(where Scalar == Float)
func activate<Scalar: BLASScalar>(
  _ activation: Activation, _ count: Int, _ z: UnsafeMutablePointer<Scalar>, slope: UnsafeMutablePointer<Scalar>?,
  curvature: UnsafeMutablePointer<Scalar>?
) {
  switch activation {
  case .identity: break
  case .relu, .leakyRelu: piecewiseLinear(count, z, slope, below: Scalar(activation.slopeBelow!))
  case .tanh: smooth(count, z, slope, curvature, tanhJet)
  case .sigmoid: smooth(count, z, slope, curvature, sigmoidJet)
  case .softplus: smooth(count, z, slope, curvature, softplusJet)
  case .elu: smooth(count, z, slope, curvature, eluJet)
  case .gelu: smooth(count, z, slope, curvature, geluJet)
  case .silu: smooth(count, z, slope, curvature, siluJet)
  }
}

/// z for z > 0, `below` z elsewhere; the slope at 0 is `below`.
@inline(__always)
private func piecewiseLinear<Scalar: BLASScalar>(
  _ count: Int, _ z: UnsafeMutablePointer<Scalar>, _ slope: UnsafeMutablePointer<Scalar>?, below: Scalar
) {
  if let slope {
    for index in 0..<count { slope[index] = z[index] > 0 ? 1 : below }
    multiplyElements(count, z, by: slope)
  } else {
    for index in 0..<count { z[index] *= z[index] > 0 ? 1 : below }
  }
}

@inline(__always)
private func smooth<Scalar: BLASScalar>(
  _ count: Int, _ z: UnsafeMutablePointer<Scalar>, _ slope: UnsafeMutablePointer<Scalar>?,
  _ curvature: UnsafeMutablePointer<Scalar>?, _ jet: (Scalar) -> Jet<Scalar>
) {
  for index in 0..<count {
    let result = jet(z[index])
    z[index] = result.value
    if let slope { slope[index] = result.slope }
    if let curvature { curvature[index] = result.curvature }
  }
}

@inline(__always)
private func tanhJet<Scalar: BLASScalar>(_ z: Scalar) -> Jet<Scalar> {
  let a = Scalar.hyperbolicTangent(z)
  let slope = 1 - a * a
  return (a, slope, -2 * a * slope)
}

/// 1 / (1 + exp(-z)) with no overflow on either side.
@inline(__always)
private func logistic<Scalar: BLASScalar>(_ z: Scalar) -> Scalar {
  let decay = Scalar.exponential(-abs(z))
  return (z >= 0 ? 1 : decay) / (1 + decay)
}

@inline(__always)
private func sigmoidJet<Scalar: BLASScalar>(_ z: Scalar) -> Jet<Scalar> {
  let a = logistic(z)
  let slope = a * logistic(-z)
  return (a, slope, slope * (1 - 2 * a))
}

@inline(__always)
private func softplusJet<Scalar: BLASScalar>(_ z: Scalar) -> Jet<Scalar> {
  let value = max(z, 0) + Scalar.logarithmOnePlus(Scalar.exponential(-abs(z)))
  let a = logistic(z)
  return (value, a, a * logistic(-z))
}

@inline(__always)
private func eluJet<Scalar: BLASScalar>(_ z: Scalar) -> Jet<Scalar> {
  if z > 0 { return (z, 1, 0) }
  let value = Scalar.exponentialMinusOne(z)
  return (value, value + 1, value + 1)
}

@inline(__always)
private func geluJet<Scalar: BLASScalar>(_ z: Scalar) -> Jet<Scalar> {
  let cumulative = Scalar.complementaryErrorFunction(-z * 0.70710678118654752440) / 2
  let density = Scalar.exponential(-z * z / 2) * 0.39894228040143267794
  return (z * cumulative, cumulative + z * density, density * (2 - z * z))
}

@inline(__always)
private func siluJet<Scalar: BLASScalar>(_ z: Scalar) -> Jet<Scalar> {
  let a = logistic(z)
  let complement = logistic(-z)
  return (z * a, a * (1 + z * complement), a * complement * (2 + z * (complement - a)))
}
