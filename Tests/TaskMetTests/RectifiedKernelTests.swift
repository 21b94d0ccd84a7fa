// The kernels of a rectified hidden layer under one output, of every instruction set that this machine has, against loops
// that say what they mean.

import CKernels
import Testing

@testable import TaskMetSwift

private typealias OutputsKernel = @convention(c) (UnsafePointer<rectified_outputs>?) -> Void
private typealias GradientKernel = @convention(c) (UnsafePointer<rectified_gradient>?) -> Void
private typealias BlockKernel = @convention(c) (UnsafePointer<curvature_block>?) -> Void

/// Operands of random numbers; strided inputs, and some activations that are exactly zero.
private struct Layer<Scalar: BLASScalar> {
  let (rows, inputs, units): (Int, Int, Int)
  let below = 0.25
  let (x, weights, biases, activations): (Buffer<Scalar>, Buffer<Scalar>, Buffer<Scalar>, Buffer<Scalar>)
  let (u, udot, c): (Buffer<Scalar>, Buffer<Scalar>, Buffer<Scalar>)
  let present: [Scalar]
  var stride: Int { inputs + 3 }
  /// Of a sum of so many products of numbers around 1.
  var tolerance: Double { Scalar.self == Double.self ? 1e-11 : 2e-3 }

  init(_ rows: Int, _ inputs: Int, _ units: Int, _ random: inout RandomGenerator) throws {
    (self.rows, self.inputs, self.units) = (rows, inputs, units)
    func numbers(_ count: Int) -> [Scalar] { (0..<count).map { _ in Scalar(2 * random.uniform() - 1) } }
    // Each ends where its last number does: a kernel that reads on is found by the sanitizers.
    x = try Buffer(numbers(max(0, rows * (inputs + 3) - 3)))
    (weights, biases) = (try Buffer(numbers(units * inputs)), try Buffer(numbers(units)))
    activations = try Buffer(numbers(rows * units).enumerated().map { $0 % 7 == 6 ? 0 : $1 })
    (u, udot, c) = (try Buffer(numbers(units)), try Buffer(numbers(units)), try Buffer(numbers(rows)))
    present = numbers(max(rows, units * inputs))
  }

  private func z(_ i: Int, _ j: Int, biased: Bool) -> Double {
    (0..<inputs).reduce(biased ? Double(biases[j]) : 0) {
      $0 + Double(x[i * stride + $1]) * Double(weights[j * inputs + $1])
    }
  }

  private func slope(_ value: Double) -> Double { value > 0 ? 1 : below }

  /// The mistake in the outputs, or in their tangents.
  func mistakeInOutputs(_ kernel: OutputsKernel, tangents: Bool, biased: Bool) throws -> String? {
    let out = try Buffer<Scalar>(Array(present[..<rows]) + [77])
    var pass = rectified_outputs()
    (pass.rows, pass.inputs, pass.units) = (Int64(rows), Int64(inputs), Int64(units))
    (pass.x, pass.x_stride) = (UnsafeRawPointer(x.base), Int64(stride))
    pass.weights = UnsafeRawPointer(weights.base)
    pass.biases = biased ? UnsafeRawPointer(biases.base) : nil
    pass.output_weights = UnsafeRawPointer(u.base)
    if tangents {
      pass.activations = UnsafeRawPointer(activations.base)
      pass.output_direction = UnsafeRawPointer(udot.base)
    }
    (pass.below, pass.out) = (below, UnsafeMutableRawPointer(out.base))
    kernel(&pass)
    for i in 0..<rows {
      let expected = (0..<units).reduce(Double(present[i])) { sum, j in
        let (value, a) = (z(i, j, biased: biased), Double(activations[i * units + j]))
        let term = Double(u[j]) * value * slope(tangents ? a : value)
        return sum + term + (tangents ? Double(udot[j]) * a : 0)
      }
      if !(abs(Double(out[i]) - expected) <= tolerance) { return "output \(i) is \(out[i]), not \(expected)" }
    }
    return out[rows] == 77 ? nil : "memory after the outputs was written"
  }

  /// The mistake in the gradients; without the output's weights those of a curvature block.
  func mistakeInGradient(_ kernel: GradientKernel, whole: Bool) throws -> String? {
    let start = Array(present[..<(units * inputs)])
    let gradient = try Buffer<Scalar>(start + [77])
    let (bias, output) = (
      try Buffer<Scalar>(repeating: 1, count: units + 1), try Buffer<Scalar>(repeating: 2, count: units + 1)
    )
    var pass = rectified_gradient()
    (pass.rows, pass.inputs, pass.units) = (Int64(rows), Int64(inputs), Int64(units))
    (pass.x, pass.x_stride) = (UnsafeRawPointer(x.base), Int64(stride))
    (pass.activations, pass.cotangent) = (UnsafeRawPointer(activations.base), UnsafeRawPointer(c.base))
    (pass.below, pass.weight_gradient) = (below, UnsafeMutableRawPointer(gradient.base))
    if whole {
      pass.output_weights = UnsafeRawPointer(u.base)
      pass.bias_gradient = UnsafeMutableRawPointer(bias.base)
      pass.output_gradient = UnsafeMutableRawPointer(output.base)
    }
    kernel(&pass)
    func isNear(_ value: Scalar, _ expected: Double) -> Bool { abs(Double(value) - expected) <= tolerance }
    for j in 0..<units {
      let a = (0..<rows).map { Double(activations[$0 * units + j]) }
      let zbar = (0..<rows).map { Double(c[$0]) * (whole ? Double(u[j]) : 1) * slope(a[$0]) }
      for k in 0..<inputs {
        let expected = (0..<rows).reduce(Double(start[j * inputs + k])) { $0 + zbar[$1] * Double(x[$1 * stride + k]) }
        if !isNear(gradient[j * inputs + k], expected) {
          return "weight \(j), \(k): \(gradient[j * inputs + k]), not \(expected)"
        }
      }
      let expectedBias = whole ? zbar.reduce(1, +) : 1
      let expectedOutput = whole ? (0..<rows).reduce(2) { $0 + Double(c[$1]) * a[$1] } : 2
      if !isNear(bias[j], expectedBias) { return "bias \(j): \(bias[j]), not \(expectedBias)" }
      if !isNear(output[j], expectedOutput) { return "output \(j): \(output[j]), not \(expectedOutput)" }
    }
    let intact = gradient[units * inputs] == 77 && bias[units] == 1 && output[units] == 2
    return intact ? nil : "memory after a gradient was written"
  }

  /// The mistake in what a block (here the weights, with the first activations as its biases) adds along a direction.
  func mistakeInBlock(_ kernel: BlockKernel, biased: Bool) throws -> String? {
    var random = RandomGenerator(seed: 108)
    let direction = try Buffer((0..<(units * inputs)).map { _ in Scalar(random.normal()) })
    let gradient = try Buffer<Scalar>(repeating: 1, count: units * inputs + 1)
    let bias = try Buffer<Scalar>(repeating: 2, count: units + 1)
    let output = try Buffer<Scalar>(repeating: 3, count: units + 1)
    var pass = curvature_block()
    (pass.inputs, pass.units) = (Int64(inputs), Int64(units))
    (pass.block, pass.weights) = (UnsafeRawPointer(weights.base), UnsafeRawPointer(direction.base))
    pass.output = UnsafeRawPointer(udot.base)
    pass.weight_gradient = UnsafeMutableRawPointer(gradient.base)
    pass.output_gradient = UnsafeMutableRawPointer(output.base)
    if biased {
      (pass.block_bias, pass.biases) = (UnsafeRawPointer(biases.base), UnsafeRawPointer(u.base))
      pass.bias_gradient = UnsafeMutableRawPointer(bias.base)
    }
    kernel(&pass)
    func isNear(_ value: Scalar, _ expected: Double) -> Bool { abs(Double(value) - expected) <= tolerance }
    for j in 0..<units {
      let (line, factor) = (j * inputs, Double(udot[j]))
      for k in line..<(line + inputs) where !isNear(gradient[k], 1 + factor * Double(weights[k])) {
        return "weight \(k) of a block: \(gradient[k])"
      }
      let product = (line..<(line + inputs)).reduce(3) { $0 + Double(weights[$1]) * Double(direction[$1]) }
      let expected = product + (biased ? Double(biases[j]) * Double(u[j]) : 0)
      if !isNear(output[j], expected) { return "output \(j) of a block: \(output[j]), not \(expected)" }
      if !isNear(bias[j], 2 + (biased ? factor * Double(biases[j]) : 0)) { return "bias \(j) of a block: \(bias[j])" }
    }
    let intact = gradient[units * inputs] == 1 && bias[units] == 2 && output[units] == 3
    return intact ? nil : "memory after what a block adds to was written"
  }
}

@Suite("Kernels of a rectified layer under one output")
struct RectifiedKernelTests {
  // Ragged edges; several strips of every width; several pieces of rows; the widest rows.
  private static let shapes = [
    (0, 2, 3), (1, 1, 1), (5, 3, 7), (8, 28, 16), (13, 1, 130), (17, 9, 33), (129, 6, 48), (300, 2, 65), (50, 40, 200),
    (3, RECTIFIED_INPUTS, 70),
  ]

  private func check<Scalar: BLASScalar>(
    _: Scalar.Type, _ name: String, _ outputs: OutputsKernel, _ gradient: GradientKernel, _ block: BlockKernel
  ) throws {
    var random = RandomGenerator(seed: 107)
    for (rows, inputs, units) in Self.shapes {
      let layer = try Layer<Scalar>(rows, inputs, units, &random)
      for flag in [false, true] {
        let mistakes = [
          try layer.mistakeInOutputs(outputs, tangents: false, biased: flag),
          try layer.mistakeInOutputs(outputs, tangents: true, biased: flag),
          try layer.mistakeInGradient(gradient, whole: flag),
          try layer.mistakeInBlock(block, biased: flag),
        ]
        for mistake in mistakes.compactMap({ $0 }) {
          Issue.record("\(name), \(Scalar.self), \(rows) rows, \(inputs) inputs, \(units) units: \(mistake)")
        }
      }
    }
  }

  @Test("outputs, tangents and gradients of every shape", arguments: LayerProductTests.levels)
  func passes(_ level: Int) throws {
    let kernels = kernels_for(Int32(level))!.pointee
    let name = String(cString: kernels.name)
    try check(
      Double.self, name, kernels.add_rectified_outputs_f64, kernels.add_rectified_gradient_f64,
      kernels.add_curvature_block_f64)
    try check(
      Float.self, name, kernels.add_rectified_outputs_f32, kernels.add_rectified_gradient_f32,
      kernels.add_curvature_block_f32)
  }
}
