// Files: read at once or in parts, and replaced in one step, so that a reader finds the old contents or the new ones.

import Glibc
import Synchronization

private func ioError(_ action: String, _ path: String, _ name: String = "path") -> TaskMetError {
  TaskMetError.io("\(name): cannot \(action) \(path): \(String(cString: strerror(errno)))")
}

/// A regular file that is open for reading at any place, by any number of threads. `name` is the argument that names it.
final class OpenFile {
  let path: String
  let name: String
  /// When it was opened.
  let size: Int
  private let descriptor: Int32

  init(_ path: String, _ name: String = "path") throws {
    (self.path, self.name) = (path, name)
    // O_NONBLOCK: a FIFO is to be refused below, not waited for.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    if descriptor < 0 { throw ioError("open", path, name) }
    do {
      size = try regularSize(descriptor, path, name)
    } catch {
      close(descriptor)
      throw error
    }
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// Fills `out` with the bytes from `offset` on.
  func read(_ out: UnsafeMutableRawBufferPointer, at offset: Int) throws {
    var done = 0
    while done < out.count {
      let count = pread(descriptor, out.baseAddress! + done, out.count - done, offset + done)
      if count < 0 && errno == EINTR { continue }
      if count < 0 { throw ioError("read", path, name) }
      if count == 0 { throw TaskMetError.io("\(name): \(path) became shorter while it was read") }
      done += count
    }
  }

  /// A few bytes.
  func bytes(_ range: Range<Int>) throws -> [UInt8] {
    var result = [UInt8](repeating: 0, count: range.count)
    try result.withUnsafeMutableBytes { try read($0, at: range.lowerBound) }
    return result
  }
}

private func regularSize(_ descriptor: Int32, _ path: String, _ name: String) throws -> Int {
  var information = stat()
  if fstat(descriptor, &information) != 0 { throw ioError("inspect", path, name) }
  guard information.st_mode & S_IFMT == S_IFREG else { throw TaskMetError.io("\(name): \(path) is not a regular file") }
  return Int(information.st_size)
}

func readFile(_ path: String) throws -> Buffer<UInt8> {
  let file = try OpenFile(path)
  let bytes = try Buffer<UInt8>(count: file.size)
  try file.read(UnsafeMutableRawBufferPointer(start: bytes.base, count: bytes.count), at: 0)
  return bytes
}

private let temporaryFiles = Atomic<Int>(0)

/// A new file beside `path`, under a name that nothing has: one may be left of a process that was killed.
private func createTemporary(beside path: String) throws -> (path: String, descriptor: Int32) {
  while true {
    let temporary = "\(path).\(getpid()).\(temporaryFiles.add(1, ordering: .relaxed).newValue).tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    if descriptor >= 0 { return (temporary, descriptor) }
    if errno != EEXIST { throw ioError("create", temporary) }
  }
}

/// Writes the parts, one after the other, to a file beside `path`, and renames that to `path`.
func replaceFile(_ path: String, with parts: [UnsafeRawBufferPointer]) throws {
  let (temporary, descriptor) = try createTemporary(beside: path)
  var closed = false
  do {
    for part in parts { try writeAll(descriptor, part, temporary) }
    if fsync(descriptor) != 0 { throw ioError("write", temporary) }
    closed = true
    if close(descriptor) != 0 { throw ioError("write", temporary) }
    if rename(temporary, path) != 0 { throw ioError("replace", path) }
  } catch {
    if !closed { close(descriptor) }
    unlink(temporary)
    throw error
  }
}

private func writeAll(_ descriptor: Int32, _ part: UnsafeRawBufferPointer, _ path: String) throws {
  var done = 0
  while done < part.count {
    let count = write(descriptor, part.baseAddress! + done, part.count - done)
    if count < 0 && errno == EINTR { continue }
    if count <= 0 { throw ioError("write", path) }
    done += count
  }
}
