// The learned metric Lambda_phi(x) = kappa (L L' + eps I), eps = exp(s) + floor: its parameters and settings.

import Glibc

/// How A = L L' + eps I becomes Lambda. Raw values are those of `taskmet_normalization`.
enum MetricNormalization: Int32, CaseIterable {
  case none, frobenius, trace, batchTrace

  /// The name in model files.
  var name: String { self == .batchTrace ? "batch_trace" : String(describing: self) }
}

/// A metric, constant or conditional on the features. phi is the factor's entries or its network's layers, then s.
final class Metric: SharedObject {
  override var kind: StaticString { "metric" }

  /// d; 0 for a constant metric.
  let inputs: Int
  /// n.
  let outputs: Int
  let structure: MetricStructure
  /// Columns of L for lowrank and full, else 1.
  let rank: Int
  /// The network whose output is L; nil for a constant metric.
  let network: DenseNetwork?
  let parameterCount: Int
  /// Of phi, and of the arithmetic in a loss.
  let precision: Precision
  private let parameterBuffer: Buffer<Double>
  private(set) var floor = 0.0
  private(set) var normalization = MetricNormalization.none
  /// Whether the caller has chosen these two: a trainer's defaults respect that.
  private(set) var floorWasSet = false
  private(set) var normalizationWasSet = false
  private(set) var standardization: Standardization?
  /// m of batch_trace.
  private(set) var normalizationScale = 1.0
  /// Grows with each change of what Lambda depends on: what caches are valid for.
  private(set) var version = 0
  /// What m was computed from; nil before the first update.
  private var normalizationSource: NormalizationSource?

  private struct NormalizationSource: Equatable {
    let version: Int
    let rows: Int
    let fingerprint: UInt64
  }

  var parameters: UnsafePointer<Double> { UnsafePointer(parameterBuffer.base) }

  /// Numbers in one row's factor.
  var entryCount: Int { Self.entryCount(structure, outputs, rank) }

  private static func entryCount(_ structure: MetricStructure, _ outputs: Int, _ rank: Int) -> Int {
    switch structure {
    case .scalar: 1
    case .diagonal: outputs
    case .lowrank, .full: outputs * rank
    }
  }

  /// eps, floor included.
  var epsilon: Double { Glibc.exp(parameters[parameterCount - 1]) + floor }

  /// A constant metric (`hidden` nil) or a conditional one; `rank` counts for lowrank only.
  init(
    inputs: Int, outputs: Int, structure: MetricStructure, rank: Int, hidden: [Int]?, activation: Activation,
    seed: UInt64
  ) throws {
    precision = .float64
    let rank = structure == .lowrank ? rank : structure == .full ? outputs : 1
    let entries = structure == .lowrank || structure == .full ? try checkedProduct(outputs, rank) : outputs
    guard entries <= Int(Int32.max) - 1 else {
      throw TaskMetError(code: .outOfMemory, message: "a factor of \(entries) entries")
    }
    self.inputs = hidden == nil ? 0 : inputs
    self.outputs = outputs
    self.structure = structure
    self.rank = rank
    let entryCount = Self.entryCount(structure, outputs, rank)
    network = try hidden.map {
      try DenseNetwork(
        inputs: inputs, hidden: $0, outputs: entryCount, activation: activation, outputActivation: .identity, bias: true
      )
    }
    parameterCount = (network?.parameterCount ?? entryCount) + 1
    parameterBuffer = try Buffer(count: parameterCount)
    super.init()
    initialize(seed: seed)
  }

  /// A copy, in another precision where one is given.
  init(copying other: Metric, in precision: Precision? = nil) throws {
    self.precision = precision ?? other.precision
    inputs = other.inputs
    outputs = other.outputs
    structure = other.structure
    rank = other.rank
    network = other.network
    parameterCount = other.parameterCount
    parameterBuffer = try Buffer(count: other.parameterCount)
    super.init()
    try self.precision.round(parameterCount, other.parameters, into: parameterBuffer.base, "phi")
    takeSettings(of: other)
  }

  /// Takes over phi and all settings of a metric of the same shape and precision.
  func become(_ other: Metric) {
    parameterBuffer.base.update(from: other.parameters, count: parameterCount)
    takeSettings(of: other)
  }

  private func takeSettings(of other: Metric) {
    floor = other.floor
    normalization = other.normalization
    floorWasSet = other.floorWasSet
    normalizationWasSet = other.normalizationWasSet
    standardization = other.standardization
    normalizationScale = other.normalizationScale
    normalizationSource = nil
    version += 1
    // m of rounded phi, or of rounded rows, is another number.
    if precision == other.precision, let source = other.normalizationSource, source.version == other.version {
      normalizationSource = NormalizationSource(version: version, rows: source.rows, fingerprint: source.fingerprint)
    }
  }
}

// MARK: - Initialisation

extension Metric {
  /// eps = 0.1 and Lambda close to I, but for the small weights of a conditional metric's last layer.
  private func initialize(seed: UInt64) {
    var random = RandomGenerator(seed: seed)
    let phi = parameterBuffer.base
    if let network {
      network.initialize(phi, &random)
      let last = network.layers[network.layers.count - 1]
      for index in 0..<(last.inputs * last.outputs) { phi[last.weightOffset + index] = 0.01 * random.normal() }
      initializeFactor(phi + last.biasOffset!, &random)
    } else {
      initializeFactor(phi, &random)
    }
    phi[parameterCount - 1] = Glibc.log(0.1)
  }

  private func initializeFactor(_ l: UnsafeMutablePointer<Double>, _ random: inout RandomGenerator) {
    let root = 0.9.squareRoot()
    switch structure {
    case .scalar, .diagonal:
      l.update(repeating: root, count: entryCount)
    case .full:
      l.update(repeating: 0, count: entryCount)
      for k in 0..<outputs { l[k * (outputs + 1)] = root }
    case .lowrank:
      // tr Lambda = |L|_F^2 + 0.1 n = n.
      orthonormalColumns(l, scale: (0.9 * Double(outputs) / Double(rank)).squareRoot(), &random)
    }
  }

  /// l (n x rank) = scale times orthonormal columns: modified Gram and Schmidt, run twice, on random normals.
  private func orthonormalColumns(_ l: UnsafeMutablePointer<Double>, scale: Double, _ random: inout RandomGenerator) {
    for index in 0..<entryCount { l[index] = random.normal() }
    func dot(_ a: Int, _ b: Int) -> Double { (0..<outputs).reduce(0) { $0 + l[$1 * rank + a] * l[$1 * rank + b] } }
    for column in 0..<rank {
      for _ in 0..<2 {
        for earlier in 0..<column {
          let overlap = dot(column, earlier)
          for k in 0..<outputs { l[k * rank + column] -= overlap * l[k * rank + earlier] }
        }
        let norm = dot(column, column).squareRoot()
        for k in 0..<outputs { l[k * rank + column] /= norm }
      }
    }
    for index in 0..<entryCount { l[index] *= scale }
  }
}

// MARK: - Settings

extension Metric {
  /// The values must be finite; they are rounded to the precision, which must have room for them.
  func setParameters(_ values: UnsafePointer<Double>) throws {
    try precision.round(parameterCount, values, into: parameterBuffer.base, "phi")
    version += 1
  }

  func setFloor(_ value: Double) {
    floor = value
    floorWasSet = true
    version += 1
  }

  /// Whether the caller has chosen these two, for a metric from a file.
  func restoreChoices(floorWasSet: Bool, normalizationWasSet: Bool) {
    self.floorWasSet = floorWasSet
    self.normalizationWasSet = normalizationWasSet
  }

  /// Sets the floor and moves s so that eps stays as it is (or, with a floor above it, comes close to the floor).
  func setFloorKeepingEpsilon(_ value: Double) {
    let rest = max(epsilon - value, 0.1 * epsilon, .leastNormalMagnitude)
    setFloor(value)
    parameterBuffer[parameterCount - 1] = precision.rounded(Glibc.log(rest))
  }

  /// Of a conditional metric's features.
  func setStandardization(_ value: Standardization?) {
    standardization = value
    version += 1
  }

  func setNormalization(_ value: MetricNormalization) throws {
    if value == .frobenius || value == .trace, outputs == 1 || structure == .scalar {
      let advice = network == nil ? "none, or batch_trace with a conditional metric" : "batch_trace"
      throw TaskMetError.unsupported(
        "normalization \(value.name) fixes each row's scale and leaves a metric of structure \(structure.name) with "
          + "\(outputs) outputs no freedom; use \(advice)")
    }
    normalization = value
    normalizationWasSet = true
    version += 1
  }

  /// Sets m = mean of tr(A_i)/n over the rows (x is nil for a constant metric); `meanTrace` computes it.
  func updateNormalization(rows: Int, _ x: BlockedMatrix?, meanTrace: (() throws -> Double)? = nil) throws {
    guard normalization == .batchTrace else {
      throw TaskMetError.state("normalization must be batch_trace, is \(normalization.name)")
    }
    let scale = try meanTrace?() ?? MetricWorkers<Double>(self, rows: rows).meanTrace(x)
    guard scale.isFinite, scale > 0 else {
      throw TaskMetError.numerical("the mean trace of the metric must be positive and finite, is \(scale)")
    }
    restoreNormalization(scale: scale)
    normalizationSource = try source(rows: rows, x)
  }

  /// Sets m to a stored value, which no rows are known for.
  func restoreNormalization(scale: Double) {
    normalizationScale = scale
    version += 1
    normalizationSource = nil
  }

  /// What m was computed from, where that is still current, as text for files; "" where it is not.
  var normalizationSourceText: String {
    guard let source = normalizationSource, source.version == version else { return "" }
    return "\(source.rows) \(source.fingerprint)"
  }

  /// Restores m and what it was computed from.
  func restoreNormalization(scale: Double, sourceText: String) {
    restoreNormalization(scale: scale)
    let parts = sourceText.split(separator: " ")
    if parts.count == 2, let rows = Int(parts[0]), let fingerprint = UInt64(parts[1]) {
      normalizationSource = NormalizationSource(version: version, rows: rows, fingerprint: fingerprint)
    }
  }

  /// m is a function of phi on these rows, so that a derivative in phi must include it.
  func differentiatesNormalization(rows: Int, _ x: BlockedMatrix?) throws -> Bool {
    try normalization == .batchTrace && normalizationSource != nil
      && normalizationSource == source(rows: rows, network == nil ? nil : x)
  }

  /// m does not depend on the rows of a constant metric.
  private func source(rows: Int, _ x: BlockedMatrix?) throws -> NormalizationSource {
    guard network != nil, let x else { return NormalizationSource(version: version, rows: 0, fingerprint: 0) }
    // As a dataset of the metric's precision has them.
    let fingerprint = try x.fingerprint(roundedTo: precision == .float32 ? precision : nil)
    return NormalizationSource(version: version, rows: rows, fingerprint: fingerprint)
  }
}
