// Whole files, read and written by name.

import Glibc

/// The last call's reason for failing.
func systemError() -> String { String(cString: strerror(errno)) }

func readFile(_ path: String) throws -> [UInt8] {
  guard let file = fopen(path, "rb") else { throw ExperimentError("cannot open \(path): \(systemError())") }
  defer { fclose(file) }
  var bytes: [UInt8] = []
  var block = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = fread(&block, 1, block.count, file)
    if count == 0 { break }
    bytes += block[..<count]
  }
  if ferror(file) != 0 { throw ExperimentError("cannot read \(path): \(systemError())") }
  return bytes
}

public func writeFile(_ path: String, _ text: String) throws {
  guard let file = fopen(path, "wb") else { throw ExperimentError("cannot create \(path): \(systemError())") }
  let bytes = Array(text.utf8)
  let written = fwrite(bytes, 1, bytes.count, file)
  guard fclose(file) == 0, written == bytes.count else {
    throw ExperimentError("cannot write \(path): \(systemError())")
  }
}

/// The lines of a text file, without their ends (LF or CRLF); an empty last line is none.
func textLines(_ bytes: [UInt8], _ path: String) throws -> [Substring] {
  guard let text = String(validating: bytes, as: UTF8.self) else {
    throw ExperimentError("\(path) is not UTF-8 text")
  }
  // Swift counts CR LF as one character, which is a newline too.
  var lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
  if lines.last?.isEmpty == true { lines.removeLast() }
  return lines
}

/// The number that the whole of a text is, if it is one.
func number(_ text: some StringProtocol) -> Double? { Double(text.trimmingSpaces()) }

extension StringProtocol {
  func trimmingSpaces() -> String {
    let trimmed = drop { $0 == " " || $0 == "\t" }
    guard let end = trimmed.lastIndex(where: { $0 != " " && $0 != "\t" }) else { return "" }
    return String(trimmed[...end])
  }
}
