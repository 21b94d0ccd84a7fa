// Arrays in NumPy's .npy format (versions 1 to 3): little-endian float32 or float64 in C order.

struct NumPyArray {
  let shape: [Int]
  let values: [Double]

  init(reading path: String) throws { try self.init(try readFile(path), path: path) }

  init(_ bytes: [UInt8], path: String) throws {
    func refuse(_ what: String) -> ExperimentError { ExperimentError("\(path): \(what)") }
    guard bytes.count >= 10, bytes[0] == 0x93, bytes[1..<6].elementsEqual("NUMPY".utf8) else {
      throw refuse("not a .npy file")
    }
    guard (1...3).contains(bytes[6]) else { throw refuse("version \(bytes[6]) of the .npy format is not known") }
    // The header's length has two bytes in version 1, and four since.
    let lengthBytes = bytes[6] == 1 ? 2 : 4
    guard bytes.count >= 8 + lengthBytes else { throw refuse("the header ends early") }
    let length = (0..<lengthBytes).reduce(0) { $0 + Int(bytes[8 + $1]) << (8 * $1) }
    let start = 8 + lengthBytes + length
    guard start <= bytes.count else { throw refuse("the header ends early") }
    let header = String(decoding: bytes[(8 + lengthBytes)..<start], as: UTF8.self)

    let type = Self.entry("descr", header).map { $0.filter { $0 != "'" && $0 != "\"" } } ?? "?"
    guard ["<f4", "<f8"].contains(type) else { throw refuse("the type must be <f4 or <f8, got \(type)") }
    guard Self.entry("fortran_order", header) == "False" else { throw refuse("the array must be in C order") }
    guard let shape = Self.shape(header) else { throw refuse("no shape in the header") }
    let width = type == "<f4" ? 4 : 8
    var count = 1
    for length in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: length)
      guard length > 0, !overflow, product <= bytes.count else {
        throw refuse("the shape \(shape) does not fit the data")
      }
      count = product
    }
    guard bytes.count - start == count * width else {
      throw refuse("\(bytes.count - start) bytes of data, \(count * width) for the shape \(shape)")
    }
    self.shape = shape
    values = Self.decode(bytes, from: start, count: count, width: width)
    if let bad = values.firstIndex(where: { !$0.isFinite }) { throw refuse("entry \(bad) is \(values[bad])") }
  }

  private static func decode(_ bytes: [UInt8], from start: Int, count: Int, width: Int) -> [Double] {
    bytes.withUnsafeBytes { raw in
      (0..<count).map { index in
        let offset = start + index * width
        return width == 4
          ? Double(Float(bitPattern: UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self))))
          : Double(bitPattern: UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      }
    }
  }

  /// The text of a key's value up to the next comma.
  private static func entry(_ key: String, _ header: String) -> String? {
    value(key, header).map { String($0.prefix { $0 != "," && $0 != "}" }).trimmingSpaces() }
  }

  private static func shape(_ header: String) -> [Int]? {
    guard let text = value("shape", header)?.trimmingSpaces(), text.first == "(" else { return nil }
    let inside = text.dropFirst().prefix { $0 != ")" }
    let lengths = inside.split(separator: ",").map { $0.trimmingSpaces() }.filter { !$0.isEmpty }
    let numbers = lengths.compactMap { Int($0) }
    return numbers.count == lengths.count ? numbers : nil
  }

  /// What follows a key of the header, which is a Python dictionary.
  private static func value(_ key: String, _ header: String) -> Substring? {
    for quote in ["'", "\""] {
      var rest = header[...]
      while let start = rest.firstIndex(of: Character(quote)) {
        rest = rest[rest.index(after: start)...]
        if rest.hasPrefix(key + quote) {
          let after = rest.dropFirst(key.count + 1).drop { $0 == " " }
          if after.first == ":" { return after.dropFirst() }
        }
      }
    }
    return nil
  }
}
