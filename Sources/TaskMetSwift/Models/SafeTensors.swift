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
    let pairs = metadata.map { "\(jsonLiteral($0.key)):\(jsonLiteral($0.value))" }
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
    let file = try readFile(path)
    guard file.count >= 8 else { throw TaskMetError.format("too short for a safetensors file") }
    let length = UnsafeRawPointer(file.base).loadUnaligned(as: UInt64.self).littleEndian
    guard length <= UInt64(file.count - 8) else {
      throw TaskMetError.format("the header's length \(length) is beyond the end of the file")
    }
    guard length <= Self.longestHeader else {
      throw TaskMetError.format("the header's length \(length) is more than \(Self.longestHeader)")
    }
    let header = try JSONValue(parsing: UnsafeBufferPointer(start: file.base + 8, count: Int(length)))
    guard case .object(let members) = header else { throw TaskMetError.format("the header is not a JSON object") }
    let data = UnsafeRawBufferPointer(
      start: file.base + 8 + Int(length), count: file.count - 8 - Int(length))
    var ranges: [Range<Int>] = []
    for (name, value) in members {
      if name == "__metadata__" {
        metadata = try Self.parseMetadata(value)
      } else {
        let range = try Self.parseRange(name, value, data.count)
        ranges.append(range)
        tensors.append(try Self.parseTensor(name, value, UnsafeRawBufferPointer(rebasing: data[range])))
      }
    }
    // Every byte belongs to one tensor.
    var end = 0
    for range in ranges.sorted(by: { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }) {
      guard range.lowerBound == end else { throw TaskMetError.format("tensors overlap or leave a gap at byte \(end)") }
      end = range.upperBound
    }
    guard end == data.count else { throw TaskMetError.format("\(data.count - end) bytes after the last tensor") }
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

  private static func parseTensor(
    _ name: String, _ value: JSONValue, _ bytes: UnsafeRawBufferPointer
  ) throws -> Tensor {
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
    guard bytes.count % precision.size == 0, bytes.count / precision.size == count else {
      throw TaskMetError.format("the tensor \(name) of shape \(shape) has \(bytes.count) bytes")
    }
    let values = try Buffer<Double>(count: count)
    guard count > 0 else { return Tensor(name: name, shape: shape, values: values, precision: precision) }
    switch precision {
    case .float64: UnsafeMutableRawPointer(values.base).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
    case .float32:
      let narrow = try Buffer<Float>(count: count)
      UnsafeMutableRawPointer(narrow.base).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
      convert(count, UnsafePointer(narrow.base), to: values.base)
    }
    return Tensor(name: name, shape: shape, values: values, precision: precision)
  }
}

extension Precision {
  /// The name of the type in a file.
  fileprivate var dtype: String { self == .float64 ? "F64" : "F32" }
}
