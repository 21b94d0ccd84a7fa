// Files in the safetensors format: eight bytes with the header's length (little-endian), a JSON header that names each
// tensor's type, shape and place, and the tensors' bytes. https://github.com/huggingface/safetensors

/// Named float64 tensors and string metadata. Sizes in the file are checked against the file before anything is read.
struct SafeTensors {
  struct Tensor {
    let name: String
    let shape: [Int]
    let values: Buffer<Double>
  }

  private(set) var tensors: [Tensor] = []
  /// In the order in which it is written.
  private(set) var metadata: [(key: String, value: String)] = []

  init() {}

  mutating func add(_ name: String, shape: [Int], _ values: UnsafePointer<Double>) throws {
    let count = shape.reduce(1, *)
    tensors.append(Tensor(name: name, shape: shape, values: try Buffer(copying: values, count: count)))
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
    let entries = tensors.map { tensor in
      let end = offset + 8 * tensor.values.count
      defer { offset = end }
      return "\(jsonLiteral(tensor.name)):{\"dtype\":\"F64\",\"shape\":["
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
    try withUnsafeBytes(of: &length) { length in
      try text.withUnsafeBytes { text in
        let data = tensors.map { UnsafeRawBufferPointer(start: $0.values.base, count: 8 * $0.values.count) }
        try replaceFile(path, with: [length, text] + data)
      }
    }
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
    guard value["dtype"]?.string == "F64" else { throw TaskMetError.format("the tensor \(name) is not of dtype F64") }
    guard let dimensions = value["shape"]?.array else { throw TaskMetError.format("the tensor \(name) has no shape") }
    var count = 1
    let shape = try dimensions.map { dimension in
      guard let size = dimension.integer, let product = try? checkedProduct(count, size) else {
        throw TaskMetError.format("the tensor \(name) has a bad shape")
      }
      count = product
      return size
    }
    guard bytes.count % 8 == 0, bytes.count / 8 == count else {
      throw TaskMetError.format("the tensor \(name) of shape \(shape) has \(bytes.count) bytes")
    }
    let values = try Buffer<Double>(count: count)
    if count > 0 { UnsafeMutableRawPointer(values.base).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count) }
    return Tensor(name: name, shape: shape, values: values)
  }
}
