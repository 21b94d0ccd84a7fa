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

  /// Elements for each row that the state of a whole tile holds.
  func numbersPerRow(_ order: DerivativeOrder) -> Int {
    let block = order >= .curvature ? (curvatureBlockCount + networkTileRows - 1) / networkTileRows : 0
    return layers.indices.reduce(block) { sum, index in
      let kept = keptArrays(index, order)
      return sum + layers[index].outputs * [true, kept.slope, kept.curvature, kept.cotangent].filter { $0 }.count
    }
  }

  /// What a state keeps of a layer beside its activations. The slope of a rectifier is the sign of its activation, and
  /// the first layer's cotangent meets nothing but a curvature.
  fileprivate func keptArrays(_ index: Int, _ order: DerivativeOrder) -> (slope: Bool, curvature: Bool, cotangent: Bool)
  {
    let activation = layers[index].activation
    let isCurved = order >= .curvature && !activation.isPiecewiseLinear
    return (
      slope: order >= .gradient && activation != .identity && activation.slopeBelow == nil, curvature: isCurved,
      cotangent: isCurved || (order >= .curvature && index > 0)
    )
  }
}

/// The activations of one tile of rows at one parameter vector.
final class NetworkState<Scalar: BLASScalar> {
  fileprivate let order: DerivativeOrder
  private let memory: Buffer<Scalar>
  /// For each layer: a_l; sigma'_l (nil where `slopeFactor` needs none); abar_l o sigma''_l (nil where it is zero);
  /// zbar_l (nil where nothing needs it).
  let activations: [UnsafeMutablePointer<Scalar>]
  let slopes: [UnsafeMutablePointer<Scalar>?]
  let curvatures: [UnsafeMutablePointer<Scalar>?]
  let cotangents: [UnsafeMutablePointer<Scalar>?]
  /// What the kept cotangents add to second-order products, where a network has it (RectifiedNetwork.swift).
  fileprivate let curvatureBlock: UnsafeMutablePointer<Scalar>?
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
    for (index, layer) in network.layers.enumerated() {
      let kept = network.keptArrays(index, order)
      offsets.append(
        (
          try place(layer.outputs, true), try place(layer.outputs, kept.slope),
          try place(layer.outputs, kept.curvature), try place(layer.outputs, kept.cotangent)
        ))
    }
    let hasBlock = order >= .curvature && network.curvatureBlockCount > 0
    let block = size
    let memory = try Buffer<Scalar>(count: size + (hasBlock ? network.curvatureBlockCount : 0))
    self.order = order
    self.memory = memory
    curvatureBlock = hasBlock ? memory.base + block : nil
    activations = offsets.map { memory.base + $0.0! }
    slopes = offsets.map { $0.1.map { memory.base + $0 } }
    curvatures = offsets.map { $0.2.map { memory.base + $0 } }
    cotangents = offsets.map { $0.3.map { memory.base + $0 } }
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

  /// out (rows x outputs) = start + a W', then the end; W are the layer's weights in `vector`, parameters or a direction.
  private func multiplyByTransposedWeights<Scalar: BLASScalar>(
    _ layer: Layer, _ vector: UnsafePointer<Scalar>, _ rows: Int, _ a: (base: UnsafePointer<Scalar>, stride: Int),
    _ out: UnsafeMutablePointer<Scalar>, start: ProductStart<Scalar>, end: ProductEnd<Scalar>
  ) {
    Scalar.multiply(
      LayerProduct(
        m: rows, n: layer.outputs, k: layer.inputs, a: a.base, aRow: a.stride, aColumn: 1,
        b: vector + layer.weightOffset, bStride: layer.inputs, transposeB: true, c: out, start: start, end: end))
  }

  /// The layer's bias in `vector`, where it has one.
  private func bias<Scalar: BLASScalar>(_ layer: Layer, _ vector: UnsafePointer<Scalar>) -> ProductStart<Scalar> {
    layer.biasOffset.map { .bias(vector + $0) } ?? .zero
  }

  /// Fills the state's outputs and, for derivatives, its activations, and slopes and curvatures where it has room for them.
  func forward<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, rows: Int, _ x: UnsafePointer<Scalar>, stride: Int,
    _ state: NetworkState<Scalar>, derivatives: Bool = true
  ) {
    state.inputs = (x, stride)
    state.rows = rows
    if !derivatives || state.order == .value, isRectifiedWithOneOutput {
      rectifiedOutput(parameters, rows: rows, (x, stride), state.outputs)
      return activate(layers[1].activation, rows, state.outputs, slope: nil, curvature: nil)
    }
    for index in layers.indices {
      let layer = layers[index]
      let (z, slope) = (state.activations[index], state.slopes[index])
      let below = layer.activation.slopeBelow
      multiplyByTransposedWeights(
        layer, parameters, rows, layerInputs(index, state), z, start: bias(layer, parameters),
        end: below.map { .rectify(below: Scalar($0)) } ?? .none)
      if below == nil {
        activate(layer.activation, rows * layer.outputs, z, slope: slope, curvature: state.curvatures[index])
      }
    }
  }

  /// gradient += J'c.
  func pullback<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, _ scratch: NetworkScratch<Scalar>,
    cotangent: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
  ) {
    let last = layers.count - 1
    var (next, spare) = scratch.cotangents
    var current = cotangent
    if layers[last].activation != .identity {
      multiplyBySlope(last, state, cotangent, into: spare)
      current = UnsafePointer(spare)
    }
    if isRectifiedWithOneOutput {
      return rectifiedPullback(parameters, state, cotangent: current, gradient: gradient)
    }
    for index in layers.indices.reversed() {
      addWeightGradient(index, current, state, gradient)
      if index == 0 { return }
      multiplyByWeights(
        layers[index], parameters, state.rows, current, start: .zero, next, end: slopeFactor(index - 1, state))
      current = UnsafePointer(next)
      swap(&next, &spare)
    }
  }

  /// Keeps the cotangents of c in the state for `secondOrderPullback`, and turns the state's curvatures into
  /// abar o sigma'': once after each `forward`.
  func keepCotangents<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, cotangent: UnsafePointer<Scalar>
  ) {
    let last = layers.count - 1
    state.cotangents[last]?.update(from: cotangent, count: state.rows * outputs)
    for index in layers.indices.reversed() {
      // None is missing but the first layer's.
      guard let current = state.cotangents[index] else { break }
      if index < last {
        multiplyByWeights(
          layers[index + 1], parameters, state.rows, state.cotangents[index + 1]!, start: .zero, current)
      }
      if let curvature = state.curvatures[index] {
        multiplyElements(state.rows * layers[index].outputs, curvature, by: current)
      }
      if layers[index].activation != .identity { multiplyBySlope(index, state, current, into: current) }
    }
    if let block = state.curvatureBlock { fillCurvatureBlock(block, state, cotangent: state.cotangents[last]!) }
  }

  /// What the chain rule multiplies a layer's cotangent or tangent by.
  private func slopeFactor<Scalar>(_ index: Int, _ state: NetworkState<Scalar>) -> ProductEnd<Scalar> {
    if let slope = state.slopes[index] { return .scale(by: UnsafePointer(slope)) }
    guard let below = layers[index].activation.slopeBelow else { return .none }
    return .gate(by: UnsafePointer(state.activations[index]), below: Scalar(below))
  }

  /// out = a o sigma'_l, element by element; out may be a.
  private func multiplyBySlope<Scalar: BLASScalar>(
    _ index: Int, _ state: NetworkState<Scalar>, _ a: UnsafePointer<Scalar>, into out: UnsafeMutablePointer<Scalar>
  ) {
    let count = state.rows * layers[index].outputs
    switch slopeFactor(index, state) {
    case .scale(let slope): setProductOfElements(count, out, a, slope)
    case .gate(let activation, let below): setGatedElements(count, out, a, activation, below: below)
    case .none, .rectify: if out != a { out.update(from: a, count: count) }
    }
  }

  /// out (rows x inputs) = (df/dx)' c, row by row.
  func pullbackToInputs<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, _ scratch: NetworkScratch<Scalar>,
    cotangent: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>
  ) {
    let last = layers.count - 1
    var (next, spare) = scratch.cotangents
    var current = cotangent
    if layers[last].activation != .identity {
      multiplyBySlope(last, state, cotangent, into: spare)
      current = UnsafePointer(spare)
    }
    for index in layers.indices.reversed() {
      multiplyByWeights(
        layers[index], parameters, state.rows, current, start: .zero, index > 0 ? next : out,
        end: index > 0 ? slopeFactor(index - 1, state) : .none)
      current = UnsafePointer(next)
      swap(&next, &spare)
    }
  }

  /// Wbar += zbar' a.
  private func addWeightProduct<Scalar: BLASScalar>(
    _ layer: Layer, _ rows: Int, _ cotangent: UnsafePointer<Scalar>, _ a: (base: UnsafePointer<Scalar>, stride: Int),
    _ gradient: UnsafeMutablePointer<Scalar>
  ) {
    Scalar.multiply(
      LayerProduct(
        m: layer.outputs, n: layer.inputs, k: rows, a: cotangent, aRow: 1, aColumn: layer.outputs, b: a.base,
        bStride: a.stride, transposeB: false, c: gradient + layer.weightOffset, start: .present))
  }

  /// Wbar += zbar' a, bbar += sum of zbar over rows.
  private func addWeightGradient<Scalar: BLASScalar>(
    _ index: Int, _ cotangent: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>,
    _ gradient: UnsafeMutablePointer<Scalar>
  ) {
    let layer = layers[index]
    addWeightProduct(layer, state.rows, cotangent, layerInputs(index, state), gradient)
    if let offset = layer.biasOffset {
      Scalar.addColumnSums(state.rows, layer.outputs, cotangent, to: gradient + offset)
    }
  }

  /// out (rows x inputs) = start + cotangent W, then the end; W are the layer's weights in `vector`. A second such product
  /// is added in the same pass.
  private func multiplyByWeights<Scalar: BLASScalar>(
    _ layer: Layer, _ vector: UnsafePointer<Scalar>, _ rows: Int, _ cotangent: UnsafePointer<Scalar>,
    start: ProductStart<Scalar>, _ out: UnsafeMutablePointer<Scalar>, end: ProductEnd<Scalar> = .none,
    second: (cotangent: UnsafePointer<Scalar>, vector: UnsafePointer<Scalar>)? = nil
  ) {
    Scalar.multiply(
      LayerProduct(
        m: rows, n: layer.inputs, k: layer.outputs, a: cotangent, aRow: layer.outputs, aColumn: 1,
        b: vector + layer.weightOffset, bStride: layer.inputs, transposeB: false,
        second: second.map { ($0.cotangent, $0.vector + layer.weightOffset) }, c: out, start: start, end: end))
  }

  /// The tangents of all layers along a parameter direction, in the scratch; `scratch.outputTangents` is J w.
  func pushforward<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, _ scratch: NetworkScratch<Scalar>,
    direction: UnsafePointer<Scalar>
  ) {
    let (rows, last) = (state.rows, layers.count - 1)
    if isRectifiedWithOneOutput {
      let target = state.curvatures[last] == nil ? scratch.tangents[last] : scratch.preTangents[last]
      rectifiedTangent(parameters, state, direction: direction, target)
      return multiplyBySlope(last, state, target, into: scratch.tangents[last])
    }
    for index in layers.indices {
      let layer = layers[index]
      let tangent = scratch.tangents[index]
      // Where sigma'' is not zero, zdot is kept.
      let keepsPreTangent = state.curvatures[index] != nil
      let target = keepsPreTangent ? scratch.preTangents[index] : tangent
      let end = keepsPreTangent ? .none : slopeFactor(index, state)
      multiplyByTransposedWeights(
        layer, direction, rows, layerInputs(index, state), target, start: bias(layer, direction),
        end: index > 0 ? .none : end)
      if index > 0 {
        multiplyByTransposedWeights(
          layer, parameters, rows, (UnsafePointer(scratch.tangents[index - 1]), layer.inputs), target, start: .present,
          end: end)
      }
      if keepsPreTangent { multiplyBySlope(index, state, target, into: tangent) }
    }
  }

  /// gradient += J' cdot + sum over rows and outputs of c d2f w, where c is the cotangent of the last `keepCotangents`,
  /// w the direction of the last `pushforward`, and cdot the given cotangent.
  func secondOrderPullback<Scalar: BLASScalar>(
    _ parameters: UnsafePointer<Scalar>, _ state: NetworkState<Scalar>, _ scratch: NetworkScratch<Scalar>,
    direction: UnsafePointer<Scalar>, cotangent: UnsafePointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>
  ) {
    let (rows, last) = (state.rows, layers.count - 1)
    var (current, next) = scratch.cotangents
    multiplyBySlope(last, state, cotangent, into: current)
    for index in layers.indices.reversed() {
      let layer = layers[index]
      if let curvature = state.curvatures[index] {
        addProductOfElements(rows * layer.outputs, current, curvature, scratch.preTangents[index])
      }
      if let block = state.curvatureBlock {
        rectifiedPullback(parameters, state, cotangent: current, gradient: gradient)
        return addCurvatureBlock(block, direction: direction, gradient: gradient)
      }
      addWeightGradient(index, current, state, gradient)
      if index == 0 { return }
      let kept = UnsafePointer(state.cotangents[index]!)
      addWeightProduct(layer, rows, kept, (UnsafePointer(scratch.tangents[index - 1]), layer.inputs), gradient)
      multiplyByWeights(
        layer, parameters, rows, current, start: .zero, next, end: slopeFactor(index - 1, state),
        second: (kept, direction))
      swap(&current, &next)
    }
  }
}
