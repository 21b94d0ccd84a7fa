// The dense network that predictors and conditional metrics share: forward, J'c, Jv, and the second-order pull-back.
//
// Layer l maps a_(l-1) to z_l = W_l a_(l-1) + b_l and a_l = sigma_l(z_l); a_0 = x. Rows are handled a tile at a time.
// Derivatives, with zbar the cotangent of z, a dot for a tangent along a parameter direction (Pearlmutter's R operator):
//   reverse   zbar_l = abar_l o sigma'_l;  Wbar_l += zbar_l' a_(l-1);  bbar_l += sum zbar_l;  abar_(l-1) = zbar_l W_l
//   forward   zdot_l = Wdot_l a_(l-1) + bdot_l + W_l adot_(l-1);       adot_l = sigma'_l o zdot_l
//   second    zbardot_l = abardot_l o sigma'_l + abar_l o sigma''_l o zdot_l
//             Wbardot_l += zbardot_l' a_(l-1) + zbar_l' adot_(l-1);    abardot_(l-1) = zbardot_l W_l + zbar_l Wdot_l

/// Shape and activations of a network; parameters are a flat vector in PyTorch's layout.
struct DenseNetwork: Equatable {
  struct Layer: Equatable {
    let inputs: Int
    let outputs: Int
    let weightOffset: Int
    /// nil for a layer without bias.
    let biasOffset: Int?
    let activation: Activation
  }

  let layers: [Layer]
  let parameterCount: Int

  var inputs: Int { layers[0].inputs }
  var outputs: Int { layers[layers.count - 1].outputs }
  /// An affine map of its parameters.
  var isLinear: Bool { layers.count == 1 && layers[0].activation == .identity }
  /// The Hessian in the parameters has no second-order term: one layer, piecewise linear.
  var isPiecewiseLinearMap: Bool { layers.count == 1 && layers[0].activation.isPiecewiseLinear }

  init(inputs: Int, hidden: [Int], outputs: Int, activation: Activation, outputActivation: Activation, bias: Bool)
    throws
  {
    var layers: [Layer] = []
    var offset = 0
    var width = inputs
    for (index, next) in (hidden + [outputs]).enumerated() {
      let weights = try checkedProduct(width, next)
      let (end, overflow) = offset.addingReportingOverflow(weights)
      if overflow || end > Int(Int32.max) - next {
        throw TaskMetError(code: .outOfMemory, message: "a network of more than \(Int32.max) parameters")
      }
      layers.append(
        Layer(
          inputs: width, outputs: next, weightOffset: offset, biasOffset: bias ? end : nil,
          activation: index == hidden.count ? outputActivation : activation))
      offset = bias ? end + next : end
      width = next
    }
    self.layers = layers
    parameterCount = offset
  }

  /// PyTorch's nn.Linear: weights and biases uniform in +-1/sqrt(inputs).
  func initialize(_ parameters: UnsafeMutablePointer<Double>, _ random: inout RandomGenerator) {
    for layer in layers {
      let bound = 1 / Double(layer.inputs).squareRoot()
      let count = layer.inputs * layer.outputs + (layer.biasOffset == nil ? 0 : layer.outputs)
      for index in 0..<count { parameters[layer.weightOffset + index] = bound * (2 * random.uniform() - 1) }
    }
  }

  /// The widest layer.
  var width: Int { layers.reduce(0) { max($0, $1.outputs) } }

  /// Elements for each row that a state and a scratch hold.
  var activationsPerRow: Int { layers.reduce(0) { $0 + 4 * $1.outputs } }
}

/// The activations of one tile of rows at one parameter vector.
final class NetworkState<Scalar: BLASScalar> {
  private let memory: Buffer<Scalar>
  /// For each layer: a_l; sigma'_l (nil for the identity); abar_l o sigma''_l (nil where it is zero); zbar_l.
  let activations: [UnsafeMutablePointer<Scalar>]
  let slopes: [UnsafeMutablePointer<Scalar>?]
  let curvatures: [UnsafeMutablePointer<Scalar>?]
  let cotangents: [UnsafeMutablePointer<Scalar>]
  /// The tile's inputs, which belong to the caller and must outlive the state's use.
  fileprivate(set) var inputs: (base: UnsafePointer<Scalar>, stride: Int)?
  fileprivate(set) var rows = 0

  init(_ network: DenseNetwork, capacity: Int, order: DerivativeOrder) throws {
    var size = 0
    func place(_ width: Int, _ needed: Bool) throws -> Int? {
      guard needed else { return nil }
      let offset = size
      // Each array starts on a cache line of its own.
      size = (try checkedProduct(width, capacity) + size + 15) & ~15
      return offset
    }
    var offsets: [(Int?, Int?, Int?, Int?)] = []
    for layer in network.layers {
      let activation = layer.activation
      offsets.append(
        (
          try place(layer.outputs, true),
          try place(layer.outputs, order >= .gradient && activation != .identity),
          try place(layer.outputs, order >= .curvature && !activation.isPiecewiseLinear),
          try place(layer.outputs, order >= .curvature)
        ))
    }
    let memory = try Buffer<Scalar>(count: size)
    self.memory = memory
    activations = offsets.map { memory.base + $0.0! }
    slopes = offsets.map { $0.1.map { memory.base + $0 } }
    curvatures = offsets.map { $0.2.map { memory.base + $0 } }
    cotangents = offsets.map { memory.base + ($0.3 ?? 0) }
  }

  /// The network's outputs after `forward`, rows x outputs.
  var outputs: UnsafeMutablePointer<Scalar> { activations[activations.count - 1] }
}

/// Memory that a pass over one tile needs and nobody reads afterwards; shared by the tiles that one thread works on.
final class NetworkScratch<Scalar: BLASScalar> {
  private let memory: Buffer<Scalar>
  /// For each layer: adot_l and zdot_l.
  fileprivate let tangents: [UnsafeMutablePointer<Scalar>]
  fileprivate let preTangents: [UnsafeMutablePointer<Scalar>]
  /// Two arrays that a reverse pass takes turns with.
  fileprivate let cotangents: (UnsafeMutablePointer<Scalar>, UnsafeMutablePointer<Scalar>)

  init(_ network: DenseNetwork, capacity: Int) throws {
    var size = 0
    func place(_ width: Int) throws -> Int {
      let offset = size
      size = (try checkedProduct(width, capacity) + size + 15) & ~15
      return offset
    }
    let tangents = try network.layers.map { try place($0.outputs) }
    let preTangents = try network.layers.map { try place($0.outputs) }
    let pair = (try place(network.width), try place(network.width))
    let memory = try Buffer<Scalar>(count: size)
    self.memory = memory
    self.tangents = tangents.map { memory.base + $0 }
    self.preTangents = preTangents.map { memory.base + $0 }
    cotangents = (memory.base + pair.0, memory.base + pair.1)
  }

  /// The outputs' tangents after `pushforward`, rows x outputs.
  var outputTangents: UnsafeMutablePointer<Scalar> { tangents[tangents.count - 1] }
}

extension DenseNetwork {
  /// The inputs of layer l.
  private func layerInputs<Scalar>(
    _ index: Int, _ state: NetworkState<Scalar>
  ) -> (base: UnsafePointer<Scalar>, stride: Int) {
    index == 0 ? state.inputs! : (UnsafePointer(state.activations[index - 1]), layers[index].inputs)
  }

  /// z (rows x outputs) = bias, or 0 where there is none: what the products are then added to.
  private func fillBias<Scalar: BLASScalar>(
    _ layer: Layer, _ parameters: UnsafePointer<Scalar>, _ rows: Int, _ z: UnsafeMutablePointer<Scalar>
  ) {
    guard let offset = layer.biasOffset else { return }
    for row in 0..<rows { (z + row * layer.outputs).update(from: parameters + offset, count: layer.outputs) }
  }

  /// Fills the state's activations, and slopes and curvatures where it has room for them.
  func forward<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, rows: Int, _ x: UnsafePointer<Scalar>, stride: Int,
    _ state: NetworkState<Scalar>
  ) {
    state.inputs = (x, stride)
    state.rows = rows
    for (index, layer) in layers.enumerated() {
      let input = layerInputs(index, state)
      let z = state.activations[index]
      fillBias(layer, parameters, rows, z)
      Scalar.multiply(
        rows, layer.outputs, layer.inputs, input.base, input.stride, transposeA: false,
        parameters + layer.weightOffset, layer.inputs, transposeB: true, beta: layer.biasOffset == nil ? 0 : 1, z,
        layer.outputs)
      activate(
        layer.activation, rows * layer.outputs, z, slope: state.slopes[index], curvature: state.curvatures[index])
    }
  }

  /// gradient += J'c. With a nil gradient the cotangents are kept in the state for `secondOrderPullback` instead; that
  /// turns the state's curvatures into abar o sigma'', so it is done once after each `forward`.
  func pullback<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, _ scratch: NetworkScratch<Scalar>,
    cotangent: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>?
  ) {
    let rows = state.rows
    var (current, next) = scratch.cotangents
    current.update(from: cotangent, count: rows * outputs)
    for (index, layer) in layers.enumerated().reversed() {
      let count = rows * layer.outputs
      if gradient == nil, let curvature = state.curvatures[index] {
        multiplyElements(count, curvature, by: current)
      }
      if let slope = state.slopes[index] { multiplyElements(count, current, by: slope) }
      if let gradient {
        addWeightGradient(index, current, state, gradient)
      } else {
        state.cotangents[index].update(from: current, count: count)
      }
      if index > 0 {
        multiplyByWeights(layer, parameters, rows, current, beta: 0, next)
        swap(&current, &next)
      }
    }
  }

  /// out (rows x inputs) = (df/dx)' c, row by row.
  func pullbackToInputs<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, _ scratch: NetworkScratch<Scalar>,
    cotangent: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>
  ) {
    var (current, next) = scratch.cotangents
    current.update(from: cotangent, count: state.rows * outputs)
    for (index, layer) in layers.enumerated().reversed() {
      if let slope = state.slopes[index] { multiplyElements(state.rows * layer.outputs, current, by: slope) }
      multiplyByWeights(layer, parameters, state.rows, current, beta: 0, index > 0 ? next : out)
      swap(&current, &next)
    }
  }

  /// Wbar += zbar' a, bbar += sum of zbar over rows.
  private func addWeightGradient<Scalar: BLASScalar>(
    _ index: Int, _ cotangent: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>,
    _ gradient: UnsafeMutablePointer<Scalar>
  ) {
    let layer = layers[index]
    let input = layerInputs(index, state)
    Scalar.multiply(
      layer.outputs, layer.inputs, state.rows, cotangent, layer.outputs, transposeA: true, input.base, input.stride,
      transposeB: false, beta: 1, gradient + layer.weightOffset, layer.inputs)
    if let offset = layer.biasOffset { addColumnSums(state.rows, layer.outputs, cotangent, to: gradient + offset) }
  }

  /// out (rows x inputs) = cotangent W + beta out.
  private func multiplyByWeights<Scalar: BLASScalar>(
    _ layer: Layer, _ parameters: UnsafePointer<Scalar>, _ rows: Int, _ cotangent: UnsafePointer<Scalar>, beta: Scalar,
    _ out: UnsafeMutablePointer<Scalar>
  ) {
    Scalar.multiply(
      rows, layer.inputs, layer.outputs, cotangent, layer.outputs, transposeA: false, parameters + layer.weightOffset,
      layer.inputs, transposeB: false, beta: beta, out, layer.inputs)
  }

  /// The tangents of all layers along a parameter direction, in the scratch; `scratch.outputTangents` is J w.
  func pushforward<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, _ scratch: NetworkScratch<Scalar>,
    direction: UnsafePointer<Scalar>
  ) {
    let rows = state.rows
    for (index, layer) in layers.enumerated() {
      let input = layerInputs(index, state)
      let count = rows * layer.outputs
      let tangent = scratch.tangents[index]
      fillBias(layer, direction, rows, tangent)
      Scalar.multiply(
        rows, layer.outputs, layer.inputs, input.base, input.stride, transposeA: false,
        direction + layer.weightOffset, layer.inputs, transposeB: true, beta: layer.biasOffset == nil ? 0 : 1, tangent,
        layer.outputs)
      if index > 0 {
        Scalar.multiply(
          rows, layer.outputs, layer.inputs, scratch.tangents[index - 1], layer.inputs, transposeA: false,
          parameters + layer.weightOffset, layer.inputs, transposeB: true, beta: 1, tangent, layer.outputs)
      }
      if state.curvatures[index] != nil { scratch.preTangents[index].update(from: tangent, count: count) }
      if let slope = state.slopes[index] { multiplyElements(count, tangent, by: slope) }
    }
  }

  /// gradient += J' cdot + sum over rows and outputs of c d2f w, where c is the cotangent of the last `pullback` with no
  /// gradient, w the direction of the last `pushforward`, and cdot the given cotangent.
  func secondOrderPullback<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, _ scratch: NetworkScratch<Scalar>,
    direction: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
  ) {
    let rows = state.rows
    var (current, next) = scratch.cotangents
    current.update(from: cotangent, count: rows * outputs)
    for (index, layer) in layers.enumerated().reversed() {
      let count = rows * layer.outputs
      if let slope = state.slopes[index] { multiplyElements(count, current, by: slope) }
      if let curvature = state.curvatures[index] {
        addProductOfElements(count, current, curvature, scratch.preTangents[index])
      }
      addWeightGradient(index, current, state, gradient)
      if index > 0 {
        let kept = state.cotangents[index]
        Scalar.multiply(
          layer.outputs, layer.inputs, rows, kept, layer.outputs, transposeA: true, scratch.tangents[index - 1],
          layer.inputs, transposeB: false, beta: 1, gradient + layer.weightOffset, layer.inputs)
        multiplyByWeights(layer, parameters, rows, current, beta: 0, next)
        multiplyByWeights(layer, direction, rows, kept, beta: 1, next)
        swap(&current, &next)
      }
    }
  }
}
