// Comma-separated values (RFC 4180): quoted fields with doubled quotes, CRLF or LF; a field does not span lines.

struct CSV {
  let path: String
  /// The fields of each line that is not blank, with the line's number in the file.
  let lines: [(number: Int, fields: [String])]

  init(reading path: String) throws { try self.init(try readFile(path), path: path) }

  init(_ bytes: [UInt8], path: String) throws {
    self.path = path
    var lines: [(number: Int, fields: [String])] = []
    for (index, line) in try textLines(bytes, path).enumerated() where !line.trimmingSpaces().isEmpty {
      lines.append((index + 1, try Self.fields(line, "\(path):\(index + 1)")))
    }
    self.lines = lines
  }

  private static func fields(_ line: Substring, _ place: String) throws -> [String] {
    // Most files have no quotes at all.
    guard line.contains("\"") else {
      return line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }
    var fields: [String] = []
    var rest = line
    while true {
      let (field, after) = try rest.first == "\"" ? quoted(rest.dropFirst(), place) : plain(rest)
      fields.append(field)
      guard after.first == "," else {
        if !after.isEmpty { throw ExperimentError("\(place): text after a closing quote") }
        return fields
      }
      rest = after.dropFirst()
    }
  }

  private static func plain(_ text: Substring) -> (String, Substring) {
    let end = text.firstIndex(of: ",") ?? text.endIndex
    return (String(text[..<end]), text[end...])
  }

  /// What comes before the closing quote, and the text after it.
  private static func quoted(_ text: Substring, _ place: String) throws -> (String, Substring) {
    var field = ""
    var rest = text
    while let quote = rest.firstIndex(of: "\"") {
      field += rest[..<quote]
      rest = rest[rest.index(after: quote)...]
      guard rest.first == "\"" else { return (field, rest) }
      field += "\""
      rest = rest.dropFirst()
    }
    throw ExperimentError("\(place): a quote is not closed")
  }

  /// Lines of numbers alone, all of the same length.
  func numbers() throws -> (rows: Int, columns: Int, values: [Double]) {
    guard let columns = lines.first?.fields.count else { throw ExperimentError("\(path) is empty") }
    var values: [Double] = []
    for (line, fields) in lines {
      guard fields.count == columns else {
        throw ExperimentError("\(path):\(line): \(fields.count) fields, \(columns) in the first line")
      }
      for (column, field) in fields.enumerated() {
        guard let value = number(field), value.isFinite else {
          throw ExperimentError("\(path):\(line): field \(column + 1) must be a number, got \"\(field)\"")
        }
        values.append(value)
      }
    }
    return (lines.count, columns, values)
  }
}
