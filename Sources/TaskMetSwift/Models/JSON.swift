// The JSON of a safetensors header, and no more than that needs: reading it strictly, writing strings.
// (FoundationEssentials would double the library's size and brings Dispatch's symbols into its exports.)

/// A JSON value. Numbers are the non-negative integers that sizes and offsets are.
enum JSONValue {
  case string(String)
  case integer(Int)
  case array([JSONValue])
  case object([(key: String, value: JSONValue)])

  var string: String? { if case .string(let value) = self { value } else { nil } }
  var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }

  /// The value of a key, where this is an object.
  subscript(key: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }

  init(parsing text: UnsafeBufferPointer<UInt8>) throws {
    var parser = JSONParser(text: text)
    self = try parser.value(depth: 0)
    parser.skipSpace()
    if parser.position != text.count { throw parser.error("text after the end") }
  }
}

/// A string as a JSON literal.
func jsonLiteral(_ string: String) -> String {
  var literal = "\""
  for scalar in string.unicodeScalars {
    switch scalar {
    case "\"": literal += "\\\""
    case "\\": literal += "\\\\"
    case _ where scalar.value < 0x20:
      let digits = String(scalar.value, radix: 16)
      literal += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    default: literal.unicodeScalars.append(scalar)
    }
  }
  return literal + "\""
}

private struct JSONParser {
  let text: UnsafeBufferPointer<UInt8>
  var position = 0

  func error(_ what: String) -> TaskMetError { .format("header: \(what) at byte \(position)") }

  private var next: UInt8? { position < text.count ? text[position] : nil }

  mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
  }

  private mutating func expect(_ character: Unicode.Scalar) throws {
    skipSpace()
    guard next == UInt8(ascii: character) else { throw error("expected '\(character)'") }
    position += 1
  }

  /// Consumes the character if it comes next.
  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard next == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  mutating func value(depth: Int) throws -> JSONValue {
    if depth > 8 { throw error("nesting too deep") }
    skipSpace()
    switch next {
    case UInt8(ascii: "{"): return try object(depth)
    case UInt8(ascii: "["): return try array(depth)
    case UInt8(ascii: "\""): return .string(try string())
    default: return .integer(try integer())
    }
  }

  private mutating func object(_ depth: Int) throws -> JSONValue {
    try expect("{")
    var members: [(key: String, value: JSONValue)] = []
    if take("}") { return .object(members) }
    repeat {
      skipSpace()
      let key = try string()
      if members.contains(where: { $0.key == key }) { throw error("the key \(jsonLiteral(key)) twice") }
      try expect(":")
      members.append((key, try value(depth: depth + 1)))
      if members.count > 4096 { throw error("too many members") }
    } while take(",")
    try expect("}")
    return .object(members)
  }

  private mutating func array(_ depth: Int) throws -> JSONValue {
    try expect("[")
    var elements: [JSONValue] = []
    if take("]") { return .array(elements) }
    repeat {
      elements.append(try value(depth: depth + 1))
      if elements.count > 4096 { throw error("too many elements") }
    } while take(",")
    try expect("]")
    return .array(elements)
  }

  private mutating func integer() throws -> Int {
    var result = 0
    let start = position
    while let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
      let (scaled, overflow) = result.multipliedReportingOverflow(by: 10)
      let (sum, overflow2) = scaled.addingReportingOverflow(Int(byte - UInt8(ascii: "0")))
      if overflow || overflow2 { throw error("a number too large") }
      result = sum
      position += 1
    }
    if position == start { throw error("expected a value") }
    if position > start + 1, text[start] == UInt8(ascii: "0") { throw error("a number with a leading zero") }
    return result
  }

  private mutating func string() throws -> String {
    guard next == UInt8(ascii: "\"") else { throw error("expected a string") }
    position += 1
    var bytes: [UInt8] = []
    while let byte = next {
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: bytes, as: UTF8.self) else { throw error("a string that is not UTF-8") }
        return string
      case UInt8(ascii: "\\"): bytes += try escape()
      case 0..<0x20: throw error("a control character in a string")
      default: bytes.append(byte)
      }
    }
    throw error("a string without an end")
  }

  private mutating func escape() throws -> [UInt8] {
    guard let byte = next else { throw error("a string without an end") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "f"): return [0x0C]
    case UInt8(ascii: "n"): return [0x0A]
    case UInt8(ascii: "r"): return [0x0D]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "u"):
      var code = try hexadecimal()
      if (0xD800..<0xDC00).contains(code), next == UInt8(ascii: "\\") {
        position += 1
        guard next == UInt8(ascii: "u") else { throw error("half a surrogate pair") }
        position += 1
        let low = try hexadecimal()
        guard (0xDC00..<0xE000).contains(low) else { throw error("half a surrogate pair") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw error("half a surrogate pair") }
      return Array(String(Character(scalar)).utf8)
    default: throw error("an unknown escape")
    }
  }

  private mutating func hexadecimal() throws -> UInt32 {
    guard position + 4 <= text.count else { throw error("a string without an end") }
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = Character(Unicode.Scalar(text[position])).hexDigitValue else { throw error("a bad \\u escape") }
      code = code << 4 | UInt32(digit)
      position += 1
    }
    return code
  }
}
