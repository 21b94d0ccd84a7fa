// Matrices in NumPy's .npy files (format versions 1.0 and 2.0), read by blocks. A file is not mapped: one that shrinks under a
// mapping kills the process, where a read reports it; and what the system keeps of a file is shared by both ways.

import Glibc

/// A matrix of float64 or float32 in an open file. `name` is the argument that names the file.
final class NumPyFile {
  let rows: Int
  let columns: Int
  let precision: Precision
  private let file: OpenFile
  private let dataOffset: Int

  /// `vector`: whether a file of one dimension is taken, as one column.
  init(_ path: String, _ name: String, vector: Bool) throws {
    file = try OpenFile(path, name)
    let header = try NumPyHeader(file)
    let wanted = vector ? "one or two dimensions" : "two dimensions"
    guard header.shape.count == 2 || (vector && header.shape.count == 1) else {
      throw header.fault("has shape \(header.shapeText), and must have \(wanted)")
    }
    rows = header.shape[0]
    columns = header.shape.count == 1 ? 1 : header.shape[1]
    precision = header.precision
    dataOffset = header.length
    guard rows >= 1, columns >= 1, rows <= Int(Int32.max), columns <= Int(Int32.max) else {
      throw header.fault("has shape \(header.shapeText): every size must be 1 to \(Int32.max)")
    }
    // Two sizes of 31 bits, times 8: no overflow but for the largest.
    let (bytes, overflow) = (rows * columns).multipliedReportingOverflow(by: precision.size)
    guard !overflow, bytes == file.size - dataOffset else {
      throw header.fault(
        "holds \(file.size - dataOffset) bytes of data, and its shape \(header.shapeText) is "
          + "\(overflow ? "larger than any file" : "\(bytes)")")
    }
  }

  /// Fills contiguous rows of the file's precision, which must be finite.
  func read(_ range: Range<Int>, into out: UnsafeMutableRawPointer) throws {
    let rowBytes = precision.size * columns
    let bytes = UnsafeMutableRawBufferPointer(start: out, count: range.count * rowBytes)
    try file.read(bytes, at: dataOffset + range.lowerBound * rowBytes)
    let view = MatrixView(out, precision, rows: range.count, columns: columns)
    if let (row, column) = view.firstNonFinite {
      throw TaskMetError.format(
        "\(file.name): \(file.path): entry [\(range.lowerBound + row),\(column)] must be finite, is "
          + "\(view[row, column])")
    }
  }

  /// The file and what it holds, in messages.
  var description: String {
    "\(file.name): \(file.path) holds \(precision.name) ('\(precision.numPyType)')"
  }
}

extension Precision {
  /// The little-endian type's name in a file's header.
  fileprivate var numPyType: String { self == .float64 ? "<f8" : "<f4" }
}

/// Features and targets in two files of one precision.
final class FileRows: RowSource {
  private let x: NumPyFile
  private let y: NumPyFile

  init(x: NumPyFile, y: NumPyFile) throws {
    guard x.precision == y.precision else {
      throw TaskMetError.format("\(x.description), \(y.description); both must hold the same")
    }
    guard x.rows == y.rows else {
      throw TaskMetError.shape("y_path: the file has \(y.rows) rows, that of x_path has \(x.rows)")
    }
    (self.x, self.y) = (x, y)
    super.init(rows: x.rows, features: x.columns, targets: y.columns, x.precision)
  }

  override var sidesAreSeparate: Bool { true }

  override func read(
    _ range: Range<Int>, x xRoom: UnsafeMutableRawPointer?, y yRoom: UnsafeMutableRawPointer?
  ) throws {
    if let xRoom { try x.read(range, into: xRoom) }
    if let yRoom { try y.read(range, into: yRoom) }
  }
}

/// What stands before the data: a magic number, a version, a length, and a Python dictionary of three entries.
private struct NumPyHeader {
  /// Bytes before the data.
  let length: Int
  private(set) var shape: [Int] = []
  private(set) var precision = Precision.float64
  private let file: OpenFile

  /// Nobody's header is longer; NumPy refuses those above 10 000 characters.
  private static let longest = 1 << 16
  private static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)

  init(_ file: OpenFile) throws {
    self.file = file
    let start = try file.bytes(0..<min(12, file.size))
    guard start.count == 12, Array(start[..<6]) == Self.magic else { throw Self.fault(file, "is no .npy file") }
    guard start[6] == 1 || start[6] == 2, start[7] == 0 else {
      throw Self.fault(file, "is a .npy file of version \(start[6]).\(start[7]); 1.0 and 2.0 can be read")
    }
    let size = start[6] == 1 ? 2 : 4
    let text = (0..<size).reduce(0) { $0 | Int(start[8 + $1]) << (8 * $1) }
    length = 8 + size + text
    guard text <= Self.longest, length <= file.size else {
      throw Self.fault(file, "has a header of \(text) bytes, and \(file.size) bytes in all")
    }
    var dictionary = PythonText(bytes: try file.bytes((8 + size)..<length))
    try read(&dictionary)
  }

  private mutating func read(_ text: inout PythonText) throws {
    var seen: Set<String> = []
    guard text.take("{") else { throw fault("has a header that is no dictionary") }
    while !text.take("}") {
      guard let key = text.string(), text.take(":"), seen.insert(key).inserted else {
        throw fault("has a header in which entry \(seen.count + 1) is no new \"'key':\"")
      }
      switch key {
      case "descr":
        let type = text.string()
        guard let known = Precision.allCases.first(where: { $0.numPyType == type }) else {
          throw fault(
            "must hold little-endian float64 ('<f8') or float32 ('<f4'), has descr \(type ?? "of another kind")")
        }
        precision = known
      case "fortran_order":
        guard text.take("False") else { throw fault("must have fortran_order False: rows one after the other") }
      case "shape":
        guard let sizes = text.tuple() else { throw fault("has a shape that is no tuple of sizes") }
        shape = sizes
      default: throw fault("has an unknown entry '\(key)' in its header")
      }
      guard text.take(",") || text.isAt("}") else { throw fault("has a header that does not go on after '\(key)'") }
    }
    for key in ["descr", "fortran_order", "shape"] where !seen.contains(key) {
      throw fault("has no '\(key)' in its header")
    }
    guard text.isAtEnd else { throw fault("has a header that goes on after its dictionary") }
  }

  /// As Python writes it.
  var shapeText: String {
    "(" + shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? ",)" : ")")
  }

  func fault(_ what: String) -> TaskMetError { Self.fault(file, what) }

  private static func fault(_ file: OpenFile, _ what: String) -> TaskMetError {
    .format("\(file.name): \(file.path) \(what)")
  }
}

/// The few Python literals of a header, read from the left. What takes a token passes over the spaces before it.
private struct PythonText {
  let bytes: [UInt8]
  private var position = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  private mutating func skipSpaces() {
    while position < bytes.count, [0x20, 0x09, 0x0A].contains(bytes[position]) { position += 1 }
  }

  var isAtEnd: Bool {
    mutating get {
      skipSpaces()
      return position == bytes.count
    }
  }

  mutating func isAt(_ token: String) -> Bool {
    skipSpaces()
    return bytes[position...].starts(with: token.utf8)
  }

  mutating func take(_ token: String) -> Bool {
    guard isAt(token) else { return false }
    position += token.utf8.count
    return true
  }

  /// Printable ASCII between quotes, without escapes.
  mutating func string() -> String? {
    skipSpaces()
    guard position < bytes.count, bytes[position] == 0x27 || bytes[position] == 0x22 else { return nil }
    let quote = bytes[position]
    guard let end = bytes[(position + 1)...].firstIndex(of: quote) else { return nil }
    let content = bytes[(position + 1)..<end]
    guard content.allSatisfy({ (0x20..<0x7F).contains($0) && $0 != 0x5C }) else { return nil }
    position = end + 1
    return String(decoding: content, as: UTF8.self)
  }

  /// (), (3,), (3, 4), ...: sizes of at most 18 digits.
  mutating func tuple() -> [Int]? {
    guard take("(") else { return nil }
    var sizes: [Int] = []
    while !take(")") {
      skipSpaces()
      let digits = bytes[position...].prefix { (0x30..<0x3A).contains($0) }
      guard (1...18).contains(digits.count), sizes.count < 32 else { return nil }
      sizes.append(digits.reduce(0) { 10 * $0 + Int($1 - 0x30) })
      position += digits.count
      // One size without a comma is a number, not a tuple.
      guard take(",") || (sizes.count > 1 && isAt(")")) else { return nil }
    }
    return sizes
  }
}
