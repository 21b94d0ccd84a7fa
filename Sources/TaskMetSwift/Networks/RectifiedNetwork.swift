// The passes of a network with one rectified hidden layer and one output, as most metrics and many predictors have: what
// needs several passes over its activations in general (DenseNetwork.swift) is one here (Sources/CKernels/rectified.inc).
//
// With slope_ij that of hidden unit j in row i, u the output's weights and c the cotangent of its pre-activation:
//   output    z2_i = sum_j u_j a_ij + const;     zdot2_i = sum_j (u_j slope_ij zdot_ij + udot_j a_ij) + constdot
//   gradient  Wbar_j = u_j sum_i c_i slope_ij (x_i, 1);    ubar_j = sum_i c_i a_ij;    constbar = sum_i c_i
//   second    the rectifier has no curvature: what a kept c adds along a direction is linear in the block
//             M_j = sum_i c_i slope_ij (x_i, 1), so that Wbardot_j += udot_j M_j and ubardot_j += M_j . Wdot_j

import CKernels

extension DenseNetwork {
  /// One hidden layer, rectified, of not too many inputs, and one output.
  var isRectifiedWithOneOutput: Bool {
    // With more inputs the kernels' memory would not be in the first cache, and M larger than a tile's activations.
    layers.count == 2 && layers[0].activation.slopeBelow != nil && outputs == 1 && inputs <= RECTIFIED_INPUTS
  }

  /// Numbers of the block M, which has the layout of the hidden layer's parameters.
  var curvatureBlockCount: Int { isRectifiedWithOneOutput ? layers[1].weightOffset : 0 }

  /// out = z2 (rows).
  func rectifiedOutput<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, rows: Int, _ x: (base: UnsafePointer<Scalar>, stride: Int),
    _ out: UnsafeMutablePointer<Scalar>
  ) {
    out.update(repeating: layers[1].biasOffset.map { parameters[$0] } ?? 0, count: rows)
    var pass = rectifiedOutputs(parameters, parameters, rows: rows, x)
    pass.out = UnsafeMutableRawPointer(out)
    Scalar.addRectifiedOutputs(&pass)
  }

  /// out = zdot2 (rows).
  func rectifiedTangent<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, direction: UnsafePointer<Scalar>,
    _ out: UnsafeMutablePointer<Scalar>
  ) {
    out.update(repeating: layers[1].biasOffset.map { direction[$0] } ?? 0, count: state.rows)
    var pass = rectifiedOutputs(parameters, direction, rows: state.rows, state.inputs!)
    pass.activations = UnsafeRawPointer(state.activations[0])
    pass.output_direction = UnsafeRawPointer(direction + layers[1].weightOffset)
    pass.out = UnsafeMutableRawPointer(out)
    Scalar.addRectifiedOutputs(&pass)
  }

  /// The hidden layer's weights are those in `vector`, parameters or a direction.
  private func rectifiedOutputs<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ vector: UnsafePointer<Scalar>, rows: Int,
    _ x: (base: UnsafePointer<Scalar>, stride: Int)
  ) -> rectified_outputs {
    let hidden = layers[0]
    var pass = rectified_outputs()
    (pass.rows, pass.inputs, pass.units) = (Int64(rows), Int64(hidden.inputs), Int64(hidden.outputs))
    (pass.x, pass.x_stride) = (UnsafeRawPointer(x.base), Int64(x.stride))
    pass.weights = UnsafeRawPointer(vector + hidden.weightOffset)
    pass.biases = hidden.biasOffset.map { UnsafeRawPointer(vector + $0) }
    pass.output_weights = UnsafeRawPointer(parameters + layers[1].weightOffset)
    pass.below = hidden.activation.slopeBelow!
    return pass
  }

  /// gradient += that of sum_i c_i z2_i.
  func rectifiedPullback<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, cotangent: UnsafePointer<Scalar>,
    gradient: UnsafeMutablePointer<Scalar>
  ) {
    var pass = rectifiedGradient(state, cotangent, gradient)
    pass.output_weights = UnsafeRawPointer(parameters + layers[1].weightOffset)
    pass.output_gradient = UnsafeMutableRawPointer(gradient + layers[1].weightOffset)
    Scalar.addRectifiedGradient(&pass)
    if let offset = layers[1].biasOffset { Scalar.addColumnSums(state.rows, 1, cotangent, to: gradient + offset) }
  }

  /// block = M of the cotangents.
  func fillCurvatureBlock<Scalar: BLASScalar>(
    _ block: UnsafeMutablePointer<Scalar>, _ state: NetworkState<Scalar>, cotangent: UnsafePointer<Scalar>
  ) {
    block.update(repeating: 0, count: curvatureBlockCount)
    var pass = rectifiedGradient(state, cotangent, block)
    Scalar.addRectifiedGradient(&pass)
  }

  /// `gradient` begins with the hidden layer's.
  private func rectifiedGradient<Scalar: BLASScalar>(
    _ state: NetworkState<Scalar>, _ cotangent: UnsafePointer<Scalar>, _ gradient: UnsafeMutablePointer<Scalar>
  ) -> rectified_gradient {
    let (hidden, x) = (layers[0], state.inputs!)
    var pass = rectified_gradient()
    (pass.rows, pass.inputs, pass.units) = (Int64(state.rows), Int64(hidden.inputs), Int64(hidden.outputs))
    (pass.x, pass.x_stride) = (UnsafeRawPointer(x.base), Int64(x.stride))
    pass.activations = UnsafeRawPointer(state.activations[0])
    pass.cotangent = UnsafeRawPointer(cotangent)
    pass.below = hidden.activation.slopeBelow!
    pass.weight_gradient = UnsafeMutableRawPointer(gradient + hidden.weightOffset)
    pass.bias_gradient = hidden.biasOffset.map { UnsafeMutableRawPointer(gradient + $0) }
    return pass
  }

  /// gradient += what the kept cotangents add along a direction.
  func addCurvatureBlock<Scalar: BLASScalar>(
    _ block: UnsafePointer<Scalar>, direction: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
  ) {
    let (hidden, output) = (layers[0], layers[1].weightOffset)
    var pass = curvature_block()
    (pass.inputs, pass.units) = (Int64(hidden.inputs), Int64(hidden.outputs))
    pass.block = UnsafeRawPointer(block + hidden.weightOffset)
    pass.weights = UnsafeRawPointer(direction + hidden.weightOffset)
    pass.output = UnsafeRawPointer(direction + output)
    pass.weight_gradient = UnsafeMutableRawPointer(gradient + hidden.weightOffset)
    pass.output_gradient = UnsafeMutableRawPointer(gradient + output)
    if let bias = hidden.biasOffset {
      pass.block_bias = UnsafeRawPointer(block + bias)
      pass.biases = UnsafeRawPointer(direction + bias)
      pass.bias_gradient = UnsafeMutableRawPointer(gradient + bias)
    }
    Scalar.addCurvatureBlock(&pass)
  }
}
