// Files in the safetensors format: eight bytes with the header's length (little-endian), a JSON header that names each
// tensor's type, shape and place, and the tensors' bytes. https://github.com/huggingface/safetensors

/// Named tensors, float64 in memory, float64 or float32 in the file, and string metadata. Sizes in the file are checked against
/// the file before anything is read.
struct SafeTensors {
  struct Tensor {
    let name: String
    let shape: [Int]
    let values: Buffer<Double>
    /// In the file.
    var precision = Precision.float64

    fileprivate var bytes: Int { values.count * precision.size }
  }

  private(set) var tensors: [Tensor] = []
  /// In the order in which it is written.
  private(set) var metadata: [(key: String, value: String)] = []

  init() {}

  /// The values must be those of the precision.
  mutating func add(
    _ name: String, shape: [Int], _ values: UnsafePointer<Double>, in precision: Precision = .float64
  ) throws {
    let count = shape.reduce(1, *)
    tensors.append(
      Tensor(name: name, shape: shape, values: try Buffer(copying: values, count: count), precision: precision))
  }

  /// A vector, which must stay as it is until the file is written.
  mutating func add(_ name: String, _ values: Buffer<Double>) {
    tensors.append(Tensor(name: name, shape: [values.count], values: values))
  }

  mutating func add(_ key: String, _ value: String) { metadata.append((key, value)) }

  /// The tensor of that name and shape, all of it finite unless said otherwise.
  func tensor(_ name: String, shape: [Int], finite: Bool = true) throws -> Buffer<Double> {
    guard let tensor = tensors.first(where: { $0.name == name }) else {
      throw TaskMetError.format("the tensor \(name) is missing")
    }
    guard tensor.shape == shape else {
      throw TaskMetError.format("the tensor \(name) must have shape \(shape), has \(tensor.shape)")
    }
    if finite, let index = firstNonFinite(tensor.values.count, tensor.values.base) {
      throw TaskMetError.format("the tensor \(name) holds \(tensor.values[index]) at \(index)")
    }
    return tensor.values
  }

  /// The one precision of these tensors, where they are there.
  func precision(of names: [String]) throws -> Precision {
    let found = tensors.filter { names.contains($0.name) }
    guard let first = found.first else { return .float64 }
    if let other = found.first(where: { $0.precision != first.precision }) {
      throw TaskMetError.format(
        "the tensor \(first.name) is of dtype \(first.precision.dtype), \(other.name) of \(other.precision.dtype)")
    }
    return first.precision
  }

  /// The length of a vector.
  func length(_ name: String) throws -> Int {
    guard let tensor = tensors.first(where: { $0.name == name }), tensor.shape.count == 1 else {
      throw TaskMetError.format("the tensor \(name) is missing, or no vector")
    }
    return tensor.values.count
  }

  func contains(_ name: String) -> Bool { tensors.contains { $0.name == name } }

  /// Whether the metadata have the key.
  func has(_ key: String) -> Bool { metadata.contains { $0.key == key } }

  func string(_ key: String) throws -> String {
    guard let value = metadata.first(where: { $0.key == key })?.value else {
      throw TaskMetError.format("the metadata \(key) is missing")
    }
    return value
  }
}

// MARK: - Writing

extension SafeTensors {
  func write(to path: String) throws {
    var offset = 0
    // The larger type first: so each tensor is aligned.
    let tensors = self.tensors.filter { $0.precision == .float64 } + self.tensors.filter { $0.precision == .float32 }
    let entries = tensors.map { tensor in
      let end = offset + tensor.bytes
      defer { offset = end }
      return "\(jsonLiteral(tensor.name)):{\"dtype\":\"\(tensor.precision.dtype)\",\"shape\":["
        + tensor.shape.map(String.init).joined(separator: ",") + "],\"data_offsets\":[\(offset),\(end)]}"
    }
    let pairs = (metadata + [(Self.checksumKey, checksum)]).map { "\(jsonLiteral($0.key)):\(jsonLiteral($0.value))" }
    var header = "{\"__metadata__\":{\(pairs.joined(separator: ","))}"
    for entry in entries { header += "," + entry }
    header += "}"
    // Spaces at the end keep the tensors aligned.
    header += String(repeating: " ", count: (8 - header.utf8.count % 8) % 8)
    var length = UInt64(header.utf8.count).littleEndian
    let text = Array(header.utf8)
    let narrowed = try tensors.map { try $0.precision == .float32 ? narrow($0.values) : nil }
    try withExtendedLifetime(narrowed) {
      try withUnsafeBytes(of: &length) { length in
        try text.withUnsafeBytes { text in
          let data = zip(tensors, narrowed).map { tensor, narrowed in
            UnsafeRawBufferPointer(
              start: narrowed.map { UnsafeRawPointer($0.base) } ?? UnsafeRawPointer(tensor.values.base),
              count: tensor.bytes)
          }
          try replaceFile(path, with: [length, text] + data)
        }
      }
    }
  }

  private func narrow(_ values: Buffer<Double>) throws -> Buffer<Float> {
    let result = try Buffer<Float>(count: values.count)
    convert(values.count, UnsafePointer(values.base), to: result.base)
    return result
  }
}

// MARK: - Reading

extension SafeTensors {
  /// Runs `body`, and adds the path to what it says of the file.
  static func describing<Result>(_ path: String, _ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let error as TaskMetError where error.code == .format || error.code == .version {
      throw TaskMetError(code: error.code, message: "path: \(path): \(error.message)")
    }
  }

  /// No header of a model needs more; what is made of it is not counted against the memory there is.
  private static let longestHeader: UInt64 = 16 << 20

  init(reading path: String) throws {
    let file = try OpenFile(path)
    guard file.size >= 8 else { throw TaskMetError.format("too short for a safetensors file") }
    var word: UInt64 = 0
    try withUnsafeMutableBytes(of: &word) { try file.read($0, at: 0) }
    let length = word.littleEndian
    guard length <= UInt64(file.size - 8) else {
      throw TaskMetError.format("the header's length \(length) is beyond the end of the file")
    }
    guard length <= Self.longestHeader else {
      throw TaskMetError.format("the header's length \(length) is more than \(Self.longestHeader)")
    }
    let text = try Buffer<UInt8>(count: Int(length))
    try file.read(UnsafeMutableRawBufferPointer(start: text.base, count: text.count), at: 8)
    let header = try JSONValue(parsing: UnsafeBufferPointer(start: text.base, count: text.count))
    guard case .object(let members) = header else { throw TaskMetError.format("the header is not a JSON object") }
    let start = 8 + text.count
    var places: [Place] = []
    for (name, value) in members {
      if name == "__metadata__" {
        metadata = try Self.parseMetadata(value)
      } else {
        places.append(try Self.parsePlace(name, value, file.size - start))
      }
    }
    try Self.checkRanges(places.map(\.range), file.size - start)
    // No memory is asked for before here that the file does not fill.
    for place in places {
      let values = try Self.read(place, of: file, from: start)
      tensors.append(Tensor(name: place.name, shape: place.shape, values: values, precision: place.precision))
    }
  }

  /// What the header says of a tensor.
  private struct Place {
    let name: String
    let shape: [Int]
    let range: Range<Int>
    let precision: Precision
  }

  /// A tensor's numbers, widened.
  private static func read(_ place: Place, of file: OpenFile, from start: Int) throws -> Buffer<Double> {
    let count = place.range.count / place.precision.size
    let values = try Buffer<Double>(count: count)
    func fill(_ base: UnsafeMutableRawPointer) throws {
      try file.read(
        UnsafeMutableRawBufferPointer(start: base, count: place.range.count), at: start + place.range.lowerBound)
    }
    switch place.precision {
    case .float64: try fill(values.base)
    case .float32:
      let narrow = try Buffer<Float>(count: count)
      try fill(narrow.base)
      convert(count, UnsafePointer(narrow.base), to: values.base)
    }
    return values
  }

  /// Every byte belongs to one tensor.
  private static func checkRanges(_ ranges: [Range<Int>], _ size: Int) throws {
    var end = 0
    for range in ranges.sorted(by: { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }) {
      guard range.lowerBound == end else { throw TaskMetError.format("tensors overlap or leave a gap at byte \(end)") }
      end = range.upperBound
    }
    guard end == size else { throw TaskMetError.format("\(size - end) bytes after the last tensor") }
  }

  private static func parseMetadata(_ value: JSONValue) throws -> [(key: String, value: String)] {
    guard case .object(let members) = value else { throw TaskMetError.format("__metadata__ is not an object") }
    return try members.map { key, value in
      guard let string = value.string else { throw TaskMetError.format("the metadata \(key) is not a string") }
      return (key, string)
    }
  }

  private static func parseRange(_ name: String, _ value: JSONValue, _ size: Int) throws -> Range<Int> {
    guard let offsets = value["data_offsets"]?.array, offsets.count == 2, let start = offsets[0].integer,
      let end = offsets[1].integer, start <= end, end <= size
    else { throw TaskMetError.format("the tensor \(name) has no data_offsets within the file") }
    return start..<end
  }

  private static func parsePlace(_ name: String, _ value: JSONValue, _ size: Int) throws -> Place {
    let range = try parseRange(name, value, size)
    guard let precision = Precision.allCases.first(where: { value["dtype"]?.string == $0.dtype }) else {
      throw TaskMetError.format("the tensor \(name) is not of dtype F64 or F32")
    }
    guard let dimensions = value["shape"]?.array else { throw TaskMetError.format("the tensor \(name) has no shape") }
    var count = 1
    let shape = try dimensions.map { dimension in
      guard let size = dimension.integer, let product = try? checkedProduct(count, size) else {
        throw TaskMetError.format("the tensor \(name) has a bad shape")
      }
      count = product
      return size
    }
    guard range.count % precision.size == 0, range.count / precision.size == count else {
      throw TaskMetError.format("the tensor \(name) of shape \(shape) has \(range.count) bytes")
    }
    return Place(name: name, shape: shape, range: range, precision: precision)
  }
}

// MARK: - Checksum

extension SafeTensors {
  private static let checksumKey = "checksum"

  /// Of all names, texts, shapes and numbers, in whatever order they are in the file.
  private var checksum: String {
    var sum: UInt64 = 0
    for (key, value) in metadata where key != Self.checksumKey {
      var hash = Fingerprint()
      hash.add(key)
      hash.add(value)
      sum &+= hash.value
    }
    for tensor in tensors {
      var hash = Fingerprint()
      hash.add(tensor.name)
      for size in [tensor.shape.count] + tensor.shape { hash.add(UInt64(size)) }
      hash.add(MatrixView(tensor.values.base, rows: 1, columns: tensor.values.count))
      sum &+= hash.value
    }
    return String(sum, radix: 16)
  }

  /// Finds out what an accident has changed. A file without a checksum (of an older version, or of the user's own making)
  /// is taken as it is; on purpose anyone can compute one, so it is no proof of origin.
  func checkChecksum() throws {
    guard has(Self.checksumKey) else { return }
    let (written, own) = (try string(Self.checksumKey), checksum)
    guard written == own else {
      throw TaskMetError.format(
        "the file is damaged: its contents have the checksum \(own), not \(jsonLiteral(written)) (who has edited them "
          + "takes away the metadata \"\(Self.checksumKey)\")")
    }
  }
}

extension Precision {
  /// The name of the type in a file.
  fileprivate var dtype: String { self == .float64 ? "F64" : "F32" }
}
