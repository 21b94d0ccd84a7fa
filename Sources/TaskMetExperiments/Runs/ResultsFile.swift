// The results: JSON Lines, one record for each run, appended and flushed as runs end. A process that is killed leaves whole lines
// and at most a part of one at the end, which the next one removes.

import Glibc

/// What is kept of a run.
public protocol ResultRecord: Sendable {
  var json: JSON { get }
  /// A record read again; nil where it is not one.
  init?(_ json: JSON)
}

/// Writes from any number of threads, but from one process at a time.
final class ResultsFile<Record: ResultRecord>: @unchecked Sendable {
  let path: String
  private let descriptor: Int32
  private let lock = Lock()

  /// Opens or creates the file, repairs its last line, and reads the records in it.
  init(path: String) throws {
    self.path = path
    descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o666)
    if descriptor < 0 { throw ExperimentError("cannot open \(path): \(systemError())") }
    do {
      if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
        throw ExperimentError("\(path) is in use by another process")
      }
      try repairEnd(try readFile(path))
    } catch {
      close(descriptor)
      throw error
    }
  }

  deinit { close(descriptor) }

  /// Ends a whole last line, and takes a part of one away.
  private func repairEnd(_ bytes: [UInt8]) throws {
    guard let last = bytes.last, last != UInt8(ascii: "\n") else { return }
    let start = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let line = String(decoding: bytes[start...], as: UTF8.self)
    if let json = try? JSON(parsing: line), Record(json) != nil {
      try append("\n")
    } else if ftruncate(descriptor, off_t(start)) != 0 {
      throw ExperimentError("cannot shorten \(path): \(systemError())")
    }
  }

  func records() throws -> [Record] { try readRecords(path) }

  func append(_ record: Record) throws { try append(record.json.text + "\n") }

  private func append(_ text: String) throws {
    try lock.withLock {
      var rest = Array(text.utf8)[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        if count <= 0 { throw ExperimentError("cannot write to \(path): \(systemError())") }
        rest = rest.dropFirst(count)
      }
      if fdatasync(descriptor) != 0 && errno != EINVAL && errno != EROFS {
        throw ExperimentError("cannot write to \(path): \(systemError())")
      }
    }
  }
}

/// The records of a results file. A line without an end is not read.
public func readRecords<Record: ResultRecord>(_ path: String, as: Record.Type = Record.self) throws -> [Record] {
  let bytes = try readFile(path)
  guard let end = bytes.lastIndex(of: UInt8(ascii: "\n")) else { return [] }
  var records: [Record] = []
  for (index, line) in try textLines(Array(bytes[...end]), path).enumerated() where !line.trimmingSpaces().isEmpty {
    let json: JSON
    do { json = try JSON(parsing: line) } catch { throw ExperimentError("\(path):\(index + 1): \(error)") }
    guard let record = Record(json) else { throw ExperimentError("\(path):\(index + 1): not a record of a run") }
    records.append(record)
  }
  return records
}
