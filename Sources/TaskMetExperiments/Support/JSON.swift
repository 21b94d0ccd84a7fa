// JSON, one value to a line, as the results are kept: writing, and reading strictly.

/// A JSON value; an object keeps its order.
public enum JSON: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([Member])

  public struct Member: Equatable, Sendable {
    public let key: String
    public let value: JSON
  }

  public static func dictionary(_ members: [(String, JSON)]) -> JSON {
    .object(members.map { Member(key: $0.0, value: $0.1) })
  }

  /// A real; JSON has no NaN and no infinities.
  public static func real(_ value: Double) -> JSON { value.isFinite ? .number(value) : .null }

  public subscript(key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }

  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var integer: Int? { if case .integer(let value) = self { Int(value) } else { nil } }
  public var members: [Member] { if case .object(let members) = self { members } else { [] } }

  public var array: [JSON]? { if case .array(let values) = self { values } else { nil } }

  /// Any number.
  public var real: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }
}

// MARK: - Writing

extension JSON {
  /// On one line.
  public var text: String {
    switch self {
    case .null: "null"
    case .bool(let value): value ? "true" : "false"
    case .integer(let value): "\(value)"
    // A whole real stays a real when it is read again.
    case .number(let value): value.isFinite ? "\(value)" : "null"
    case .string(let value): Self.literal(value)
    case .array(let values): "[" + values.map(\.text).joined(separator: ",") + "]"
    case .object(let members):
      "{" + members.map { Self.literal($0.key) + ":" + $0.value.text }.joined(separator: ",") + "}"
    }
  }

  private static func literal(_ string: String) -> String {
    var literal = "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": literal += "\\\""
      case "\\": literal += "\\\\"
      case "\n": literal += "\\n"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        literal += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: literal.unicodeScalars.append(scalar)
      }
    }
    return literal + "\""
  }
}

// MARK: - Reading

extension JSON {
  public init(parsing text: some StringProtocol) throws {
    var parser = Parser(text: Array(text.utf8))
    self = try parser.value(depth: 0)
    guard parser.peek() == nil else { throw parser.error("text after the end") }
  }

  private struct Parser {
    let text: [UInt8]
    var position = 0

    func error(_ what: String) -> ExperimentError { ExperimentError("\(what) at byte \(position)") }

    /// The next character that is not white space.
    mutating func peek() -> UInt8? {
      while position < text.count, [0x20, 0x09, 0x0A, 0x0D].contains(text[position]) { position += 1 }
      return position < text.count ? text[position] : nil
    }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
      guard peek() == UInt8(ascii: character) else { return false }
      position += 1
      return true
    }

    mutating func expect(_ character: Unicode.Scalar) throws {
      if !take(character) { throw error("expected '\(character)'") }
    }

    mutating func value(depth: Int) throws -> JSON {
      if depth > 32 { throw error("nesting too deep") }
      switch peek() {
      case UInt8(ascii: "{"): return .object(try object(depth))
      case UInt8(ascii: "["): return .array(try array(depth))
      case UInt8(ascii: "\""): return .string(try string())
      default: return try word()
      }
    }

    mutating func object(_ depth: Int) throws -> [Member] {
      try expect("{")
      var members: [Member] = []
      if take("}") { return members }
      repeat {
        _ = peek()
        let key = try string()
        try expect(":")
        members.append(Member(key: key, value: try value(depth: depth + 1)))
      } while take(",")
      try expect("}")
      return members
    }

    mutating func array(_ depth: Int) throws -> [JSON] {
      try expect("[")
      var values: [JSON] = []
      if take("]") { return values }
      repeat { values.append(try value(depth: depth + 1)) } while take(",")
      try expect("]")
      return values
    }

    /// null, true, false or a number.
    mutating func word() throws -> JSON {
      let start = position
      while position < text.count, !",]} \t\r\n".utf8.contains(text[position]) { position += 1 }
      let word = String(decoding: text[start..<position], as: UTF8.self)
      switch word {
      case "null": return .null
      case "true": return .bool(true)
      case "false": return .bool(false)
      default: break
      }
      if let integer = Int64(word) { return .integer(integer) }
      // Double's own reading is wider than JSON: no inf, nan or hexadecimal.
      guard word.utf8.allSatisfy({ "+-.0123456789eE".utf8.contains($0) }), let real = Double(word), real.isFinite
      else {
        position = start
        throw error("expected a value")
      }
      return .number(real)
    }

    mutating func string() throws -> String {
      try expect("\"")
      var bytes: [UInt8] = []
      while position < text.count {
        let byte = text[position]
        position += 1
        switch byte {
        case UInt8(ascii: "\""):
          guard let string = String(validating: bytes, as: UTF8.self) else {
            throw error("a string that is not UTF-8")
          }
          return string
        case UInt8(ascii: "\\"): bytes += try escape()
        case 0..<0x20: throw error("a control character in a string")
        default: bytes.append(byte)
        }
      }
      throw error("a string without an end")
    }

    mutating func escape() throws -> [UInt8] {
      guard position < text.count else { throw error("a string without an end") }
      let byte = text[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
      case UInt8(ascii: "n"): return [0x0A]
      case UInt8(ascii: "r"): return [0x0D]
      case UInt8(ascii: "t"): return [0x09]
      case UInt8(ascii: "b"): return [0x08]
      case UInt8(ascii: "f"): return [0x0C]
      case UInt8(ascii: "u"):
        let digits = String(decoding: text[position..<min(position + 4, text.count)], as: UTF8.self)
        guard digits.utf8.count == 4, let code = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(code) else {
          throw error("a bad \\u escape")
        }
        position += 4
        return Array(String(Character(scalar)).utf8)
      default: throw error("an unknown escape")
      }
    }
  }
}
