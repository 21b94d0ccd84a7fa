// Predictors and metrics as files.

/// 1: float64 alone; 2: tensors of dtype F32, too.
private let formatVersion = 2

extension SafeTensors {
  /// Starts a file of this library's, for the oldest version that reads the precision.
  init(kind: String, _ precision: Precision = .float64) {
    self.init()
    add("format", "taskmet")
    add("kind", kind)
    add("version", precision == .float64 ? "1" : "2")
  }

  /// Refuses a file of another kind, from a newer version, or damaged.
  func check(kind: String) throws {
    guard try string("format") == "taskmet", try string("kind") == kind else {
      throw TaskMetError.format("not a file of a taskmet \(kind)")
    }
    let version = try integer("version", 0...Int.max)
    guard version <= formatVersion else {
      throw TaskMetError(
        code: .version, message: "the file has format version \(version), this library reads up to \(formatVersion)")
    }
    try checkChecksum()
  }

  func integer(_ key: String, _ range: ClosedRange<Int>) throws -> Int {
    let text = try string(key)
    guard let value = Int(text), range.contains(value) else {
      throw TaskMetError.format("the metadata \(key) is \(jsonLiteral(text))")
    }
    return value
  }

  fileprivate func flag(_ key: String) throws -> Bool { try integer(key, 0...1) == 1 }

  /// A flag that older files do not have.
  fileprivate func flag(_ key: String, default standard: Bool) throws -> Bool { has(key) ? try flag(key) : standard }

  fileprivate func size(_ key: String) throws -> Int { try integer(key, 1...Int(Int32.max)) }

  func value<T>(_ key: String, _ make: (String) -> T?) throws -> T {
    let text = try string(key)
    guard let value = make(text) else { throw TaskMetError.format("the metadata \(key) is \(jsonLiteral(text))") }
    return value
  }

  // MARK: Networks

  fileprivate mutating func add(
    _ network: DenseNetwork, _ parameters: UnsafePointer<Double>, in precision: Precision
  ) throws {
    add("hidden", network.layers.dropLast().map { String($0.outputs) }.joined(separator: ","))
    add("activation", network.layers[0].activation.name)
    add("output_activation", network.layers[network.layers.count - 1].activation.name)
    add("bias", network.layers[0].biasOffset == nil ? "0" : "1")
    for (index, layer) in network.layers.enumerated() {
      try add(
        "layers.\(index).weight", shape: [layer.outputs, layer.inputs], parameters + layer.weightOffset, in: precision)
      if let offset = layer.biasOffset {
        try add("layers.\(index).bias", shape: [layer.outputs], parameters + offset, in: precision)
      }
    }
  }

  /// Widths of the hidden layers. No network is larger than its file.
  fileprivate func hidden() throws -> [Int] {
    try value("hidden") { text in
      let parts = text.split(separator: ",", omittingEmptySubsequences: false)
      let widths = text.isEmpty ? [] : parts.map { Int($0) ?? 0 }
      return widths.allSatisfy { $0 >= 1 && $0 <= Int(Int32.max) } && widths.count <= 1000 ? widths : nil
    }
  }

  fileprivate func checkTensors(_ network: DenseNetwork) throws {
    for (index, layer) in network.layers.enumerated() {
      _ = try tensor("layers.\(index).weight", shape: [layer.outputs, layer.inputs])
      if layer.biasOffset != nil { _ = try tensor("layers.\(index).bias", shape: [layer.outputs]) }
    }
  }

  /// Names of a network's tensors.
  fileprivate func names(_ network: DenseNetwork) -> [String] {
    network.layers.indices.flatMap { ["layers.\($0).weight", "layers.\($0).bias"] }
  }

  fileprivate func read(_ network: DenseNetwork, into parameters: UnsafeMutablePointer<Double>) throws {
    for (index, layer) in network.layers.enumerated() {
      let weight = try tensor("layers.\(index).weight", shape: [layer.outputs, layer.inputs])
      (parameters + layer.weightOffset).update(from: weight.base, count: weight.count)
      if let offset = layer.biasOffset {
        let bias = try tensor("layers.\(index).bias", shape: [layer.outputs])
        (parameters + offset).update(from: bias.base, count: bias.count)
      }
    }
  }

  // MARK: Standardisation

  fileprivate mutating func add(_ name: String, _ standardization: Standardization?) {
    guard let standardization else { return }
    add(name + ".mean", standardization.mean)
    add(name + ".scale", standardization.scale)
  }

  fileprivate func standardization(_ name: String, columns: Int) throws -> Standardization? {
    guard contains(name + ".mean") else { return nil }
    let scale = try tensor(name + ".scale", shape: [columns])
    guard (0..<columns).allSatisfy({ scale[$0] > 0 }) else {
      throw TaskMetError.format("the tensor \(name).scale holds a number that is not positive")
    }
    return Standardization(mean: try tensor(name + ".mean", shape: [columns]), scale: scale)
  }
}

// MARK: - Predictors

extension NetworkPredictor {
  func save(to path: String) throws {
    var file = SafeTensors(kind: "predictor", precision)
    file.add("inputs", String(inputs))
    file.add("outputs", String(outputs))
    file.add("penalize_bias", penalizesBias ? "1" : "0")
    try file.add(network, parameters, in: precision)
    file.add("input_standardization", inputStandardization)
    file.add("target_standardization", targetStandardization)
    try file.write(to: path)
  }

  static func load(from path: String) throws -> NetworkPredictor {
    let file = try SafeTensors(reading: path)
    try file.check(kind: "predictor")
    let (inputs, outputs, hidden) = (try file.size("inputs"), try file.size("outputs"), try file.hidden())
    let bias = try file.flag("bias")
    let activation = try file.value("activation", Activation.init(name:))
    let outputActivation = try file.value("output_activation", Activation.init(name:))
    let shape = try DenseNetwork(
      inputs: inputs, hidden: hidden, outputs: outputs, activation: activation, outputActivation: outputActivation,
      bias: bias)
    try file.checkTensors(shape)
    let predictor =
      bias
      ? try NetworkPredictor(
        inputs: inputs, hidden: hidden, outputs: outputs, activation: activation, outputActivation: outputActivation,
        seed: 0)
      : try NetworkPredictor(linearInputs: inputs, outputs: outputs, bias: false)
    guard predictor.network == shape else { throw TaskMetError.format("a network without biases must be linear") }
    let values = try Buffer<Double>(count: predictor.parameterCount)
    try file.read(shape, into: values.base)
    try predictor.setParameters(values.base)
    predictor.setStandardization(
      inputs: try file.standardization("input_standardization", columns: inputs),
      targets: try file.standardization("target_standardization", columns: outputs))
    try predictor.setPenalizesBias(try file.flag("penalize_bias"))
    return try predictor.converted(to: try file.precision(of: file.names(shape)))
  }
}

// MARK: - Metrics

extension Metric {
  private var factorShape: [Int] {
    switch structure {
    case .scalar: [1]
    case .diagonal: [outputs]
    case .lowrank, .full: [outputs, rank]
    }
  }

  func save(to path: String) throws {
    var file = SafeTensors(kind: "metric", precision)
    file.add("inputs", String(inputs))
    file.add("outputs", String(outputs))
    file.add("structure", structure.name)
    file.add("rank", String(rank))
    file.add("normalization", normalization.name)
    file.add("normalization_source", normalizationSourceText)
    file.add("normalization_was_set", normalizationWasSet ? "1" : "0")
    file.add("floor_was_set", floorWasSet ? "1" : "0")
    if let network {
      try file.add(network, parameters, in: precision)
    } else {
      try file.add("factor", shape: factorShape, parameters, in: precision)
    }
    try file.add("s", shape: [1], parameters + (parameterCount - 1), in: precision)
    try withUnsafePointer(to: floor) { try file.add("floor", shape: [1], $0) }
    try withUnsafePointer(to: normalizationScale) { try file.add("normalization_scale", shape: [1], $0) }
    file.add("input_standardization", standardization)
    try file.write(to: path)
  }

  static func load(from path: String) throws -> Metric {
    let file = try SafeTensors(reading: path)
    try file.check(kind: "metric")
    let outputs = try file.size("outputs")
    let structure = try file.value("structure") { name in MetricStructure.allCases.first { $0.name == name } }
    let normalization = try file.value("normalization") { name in
      MetricNormalization.allCases.first { $0.name == name }
    }
    let rank = try file.integer("rank", 1...outputs)
    let constant = file.contains("factor")
    let hidden = constant ? nil : try file.hidden()
    let activation = constant ? .identity : try file.value("activation", Activation.init(name:))
    let inputs = constant ? 0 : try file.size("inputs")
    try checkSize(file, inputs, outputs, structure, rank, hidden)
    let metric = try Metric(
      inputs: inputs, outputs: outputs, structure: structure, rank: rank, hidden: hidden, activation: activation,
      seed: 0)
    let values = try Buffer<Double>(count: metric.parameterCount)
    if let network = metric.network {
      try file.read(network, into: values.base)
    } else {
      let factor = try file.tensor("factor", shape: metric.factorShape)
      values.base.update(from: factor.base, count: factor.count)
    }
    values[values.count - 1] = try file.tensor("s", shape: [1])[0]
    try metric.setParameters(values.base)
    let precision = try file.precision(of: ["factor", "s"] + (metric.network.map(file.names) ?? []))
    let result = precision == .float64 ? metric : try Metric(copying: metric, in: precision)
    try result.restoreSettings(file, normalization)
    return result
  }

  /// Refuses a file whose tensors do not match what its metadata promises, before memory is made for that.
  private static func checkSize(
    _ file: SafeTensors, _ inputs: Int, _ outputs: Int, _ structure: MetricStructure, _ rank: Int, _ hidden: [Int]?
  ) throws {
    let largest = file.tensors.reduce(0) { max($0, $1.values.count) }
    let entries =
      switch structure {
      case .scalar: 1
      case .diagonal: outputs
      case .lowrank: try checkedProduct(outputs, rank)
      case .full: try checkedProduct(outputs, outputs)
      }
    let widest = max(entries, hidden?.first ?? 0, inputs)
    if widest > largest { throw TaskMetError.format("the tensors are smaller than the metadata says") }
    guard let hidden else { return }
    try file.checkTensors(
      try DenseNetwork(
        inputs: inputs, hidden: hidden, outputs: entries, activation: .identity, outputActivation: .identity,
        bias: true))
  }

  private func restoreSettings(_ file: SafeTensors, _ normalization: MetricNormalization) throws {
    let floor = try file.tensor("floor", shape: [1])[0]
    let scale = try file.tensor("normalization_scale", shape: [1])[0]
    guard floor >= 0, scale > 0 else { throw TaskMetError.format("floor is \(floor), normalization_scale \(scale)") }
    setFloor(floor)
    do {
      try setNormalization(normalization)
    } catch let error as TaskMetError {
      throw TaskMetError.format(error.message)
    }
    if network != nil { setStandardization(try file.standardization("input_standardization", columns: inputs)) }
    // A file that does not say counts as its owner's choice.
    restoreChoices(
      floorWasSet: try file.flag("floor_was_set", default: true),
      normalizationWasSet: try file.flag("normalization_was_set", default: true))
    restoreNormalization(scale: scale, sourceText: try file.string("normalization_source"))
  }
}
