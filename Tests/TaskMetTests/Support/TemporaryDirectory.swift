// Where tests write files.

import Glibc

@testable import TaskMetSwift

/// All of a file.
func readFile(_ path: String) throws -> Buffer<UInt8> {
  let file = try OpenFile(path)
  let bytes = try Buffer<UInt8>(count: file.size)
  try file.read(UnsafeMutableRawBufferPointer(start: bytes.base, count: bytes.count), at: 0)
  return bytes
}

/// A directory that goes when the test does.
final class TemporaryDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/taskmet-tests-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TaskMetError.io("mkdtemp") }
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func write(_ bytes: [UInt8], _ name: String = "model.safetensors") throws -> String {
    try bytes.withUnsafeBytes { try replaceFile(file(name), with: [$0]) }
    return file(name)
  }

  var entries: [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }

  deinit {
    for name in entries { unlink(file(name)) }
    rmdir(path)
  }
}
