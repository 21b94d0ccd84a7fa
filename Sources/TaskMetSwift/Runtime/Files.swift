// Files: read in pieces whose sizes are known to be there, and replaced in one step, so that a reader finds the old
// contents or the new ones.

import Glibc
import Synchronization

private func ioError(_ action: String, _ path: String, _ name: String = "path") -> TaskMetError {
  TaskMetError.io("\(name): cannot \(action) \(path): \(String(cString: strerror(errno)))")
}

// MARK: - Reading

/// A regular file that is open for reading at any place, by any number of threads. `name` is the argument that names it.
/// Reads, and does not map: a file that is cut short under a mapping kills the reader.
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

// MARK: - Replacing

/// Writes the parts, one after the other, to a file beside `path`, and renames that to `path`.
func replaceFile(_ path: String, with parts: [UnsafeRawBufferPointer]) throws {
  try checkSizeLimit(path, parts.reduce(0) { $0 + $1.count })
  if let descriptor = openUnnamed(beside: path) {
    defer { close(descriptor) }
    try writeAll(descriptor, parts, path)
    if let temporary = try linkTemporary(descriptor, beside: path) { return try rename(temporary, to: path) }
  }
  let (temporary, descriptor) = try createTemporary(beside: path)
  do {
    defer { close(descriptor) }
    try writeAll(descriptor, parts, temporary)
  } catch {
    unlink(temporary)
    throw error
  }
  try rename(temporary, to: path)
}

/// Beyond the process's own limit a write raises SIGXFSZ, which ends a host that does not expect it.
private func checkSizeLimit(_ path: String, _ size: Int) throws {
  var limit = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0, limit.rlim_cur < UInt64(size) else {
    return
  }
  errno = EFBIG
  throw ioError("write \(size) bytes to", path)
}

private func directory(of path: String) -> String {
  guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
  return String(path[...slash])
}

/// A file without a name in the directory of `path`, which a process that is killed does not leave behind; nil where the
/// file system has none.
private func openUnnamed(beside path: String) -> Int32? {
  let unnamed = 0o20000000 | O_DIRECTORY  // O_TMPFILE, which Glibc's module does not show
  let descriptor = open(directory(of: path), O_WRONLY | O_CLOEXEC | unnamed, 0o666)
  return descriptor >= 0 ? descriptor : nil
}

private let temporaryFiles = Atomic<Int>(0)

/// Names beside `path`, by process and number: one may still be left of a process that was killed.
private func temporaryName(beside path: String) -> String {
  "\(path).\(getpid()).\(temporaryFiles.add(1, ordering: .relaxed).newValue).tmp"
}

/// Gives an unnamed file a name; nil where that is not possible (no /proc).
private func linkTemporary(_ descriptor: Int32, beside path: String) throws -> String? {
  while true {
    let temporary = temporaryName(beside: path)
    if linkat(AT_FDCWD, "/proc/self/fd/\(descriptor)", AT_FDCWD, temporary, AT_SYMLINK_FOLLOW) == 0 { return temporary }
    if errno != EEXIST { return nil }
  }
}

private func createTemporary(beside path: String) throws -> (path: String, descriptor: Int32) {
  while true {
    let temporary = temporaryName(beside: path)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    if descriptor >= 0 { return (temporary, descriptor) }
    if errno != EEXIST { throw ioError("create", temporary) }
  }
}

private func rename(_ temporary: String, to path: String) throws {
  if Glibc.rename(temporary, path) != 0 {
    let error = ioError("replace", path)
    unlink(temporary)
    throw error
  }
  // So that the new file outlives a loss of power too. Some file systems cannot; then it is the old one or the new one.
  let descriptor = open(directory(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  if descriptor < 0 { return }
  fsync(descriptor)
  close(descriptor)
}

private func writeAll(_ descriptor: Int32, _ parts: [UnsafeRawBufferPointer], _ path: String) throws {
  for part in parts {
    var done = 0
    while done < part.count {
      let count = write(descriptor, part.baseAddress! + done, part.count - done)
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { throw ioError("write", path) }
      done += count
    }
  }
  if fsync(descriptor) != 0 { throw ioError("write", path) }
}
