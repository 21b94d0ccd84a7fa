// Model files: the JSON header, the safetensors container, predictors and metrics. Whatever is in a file, reading
// it gives a model or an error.

import Glibc
import Testing

@testable import TaskMetSwift

/// A file of this header and data.
private func container(_ header: String, data: [UInt8] = [], length: UInt64? = nil) -> [UInt8] {
  let count = length ?? UInt64(header.utf8.count)
  return (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * UInt64($0))) } + Array(header.utf8) + data
}

private func parse(_ text: String) throws -> JSONValue { try parse(Array(text.utf8)) }
private func parse(_ bytes: [UInt8]) throws -> JSONValue {
  try bytes.withUnsafeBufferPointer { try JSONValue(parsing: $0) }
}

@Suite("JSON headers")
struct JSONTests {
  @Test("what is valid is read")
  func valid() throws {
    let value = try parse(" {\"a\" : [1, 23,\n456 ], \"b\":{}, \"c\": \"x\", \"\":[] }\t\r\n")
    #expect(value["a"]?.array?.map(\.integer) == [1, 23, 456])
    #expect(value["b"]?["x"] == nil && value["b"]?.string == nil)
    #expect(value["c"]?.string == "x" && value[""]?.array?.isEmpty == true)
    #expect(try parse("9223372036854775807").integer == .max && parse("0").integer == 0)
  }

  @Test(
    "strings and their escapes",
    arguments: [
      (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"), (#""\u0041\u00e9\u20AC""#, "Aé€"),
      (#""\ud83d\ude00 ü""#, "😀 ü"),
      (#""\u0000""#, "\0"), (#""""#, ""),
    ])
  func strings(_ literal: String, _ expected: String) throws {
    #expect(try parse(literal).string == expected)
    #expect(try parse(jsonLiteral(expected)).string == expected, "and back")
  }

  @Test(
    "what is not valid is an error",
    arguments: [
      "", " ", "{", "}", "[", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
      "{\"a\":1 \"b\":2}",
      "{1:2}", "nul", "true", "-1", "1.5", "1e3", "+1", "01", "00", "0x1", "9223372036854775808", "1 2", "\"", "\"a",
      "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", #""\ud800""#, #""\udc00""#, #""\ud800A""#, #""\ud800\n""#,
      "\"a\u{1}\"", "\"line\nbreak\"", "{\"a\":1,\"a\":2}", "'a'", "[[[[[[[[[[1]]]]]]]]]]",
    ])
  func invalid(_ text: String) {
    expectError(.format, text) { _ = try parse(text) }
  }

  @Test(
    "bytes that are not UTF-8 are an error",
    arguments: [
      [0x22, 0xFF, 0x22], [0x22, 0xC3, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22], [0x22, 0xC0, 0xAF, 0x22],
      [0xEF, 0xBB, 0xBF, 0x30],
    ] as [[UInt8]])
  func encoding(_ bytes: [UInt8]) {
    expectError(.format) { _ = try parse(bytes) }
  }
}

@Suite("Safetensors files")
struct SafeTensorsTests {
  private static let entry = "\"t\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}"
  private static let data = [UInt8](repeating: 0, count: 16)

  private func read(_ bytes: [UInt8]) throws -> SafeTensors {
    let directory = try TemporaryDirectory()
    return try SafeTensors(reading: try directory.write(bytes))
  }

  @Test("what is written is read")
  func roundTrip() throws {
    let directory = try TemporaryDirectory()
    var file = SafeTensors()
    file.add("key \"quoted\"", "value\n😀")
    file.add("empty", "")
    try file.add("a.weight", shape: [2, 3], [1, -2, 3.5, 1e-300, 5, 6])
    try file.add("none", shape: [0, 4], [])
    try file.add("scalar", shape: [], [42])
    try file.write(to: directory.file("x"))
    #expect(directory.entries == ["x"], "no temporary file is left")
    let back = try SafeTensors(reading: directory.file("x"))
    #expect(try back.string("key \"quoted\"") == "value\n😀" && back.string("empty") == "")
    #expect(try back.tensor("a.weight", shape: [2, 3]).array == [1, -2, 3.5, 1e-300, 5, 6])
    #expect(try back.tensor("none", shape: [0, 4]).count == 0 && back.tensor("scalar", shape: []).array == [42])
    expectError(.format) { _ = try back.tensor("a.weight", shape: [3, 2]) }
    expectError(.format) { _ = try back.tensor("b", shape: [1]) }
    expectError(.format) { _ = try back.string("b") }
    let bytes = try readFile(directory.file("x")).array
    #expect(bytes[0] % 8 == 0, "tensors are aligned")
  }

  @Test("a number that isn't finite is refused when it is asked for")
  func nonFinite() throws {
    let directory = try TemporaryDirectory()
    var file = SafeTensors()
    try file.add("t", shape: [3], [1, .infinity, 2])
    try file.write(to: directory.file("x"))
    expectError(.format) { _ = try SafeTensors(reading: directory.file("x")).tensor("t", shape: [3]) }
  }

  @Test("the smallest files")
  func small() throws {
    #expect(try read(container("{}")).tensors.isEmpty)
    #expect(try read(container("{\(Self.entry)}", data: Self.data)).tensor("t", shape: [2]).array == [0, 0])
    #expect(try read(container("{\(Self.entry)}      ", data: Self.data)).tensors.count == 1)
  }

  @Test(
    "malformed headers",
    arguments: [
      "", "[]", "1", "{\"t\":1}", "{\"t\":{}}", "{\"__metadata__\":[]}", "{\"__metadata__\":{\"a\":1}}",
      "{\"t\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,16]}}",
      "{\"t\":{\"dtype\":\"F64\",\"data_offsets\":[0,16]}}", "{\"t\":{\"dtype\":\"F64\",\"shape\":[2]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":2,\"data_offsets\":[0,16]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[\"2\"],\"data_offsets\":[0,16]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[3],\"data_offsets\":[0,16]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,17]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[16,0]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16,32]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,16]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[9223372036854775807],\"data_offsets\":[0,16]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}",
      "{\"a\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]},"
        + "\"b\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]}}",
      "{\"t\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[0,0]}}",
    ])
  func malformed(_ header: String) {
    expectError(.format, header) { _ = try read(container(header, data: Self.data)) }
  }

  @Test("lengths that lie", arguments: [0, 1, 1000, 1 << 32, 1 << 63, .max] as [UInt64])
  func lengths(_ length: UInt64) {
    expectError(.format) { _ = try read(container("{\(Self.entry)}", data: Self.data, length: length)) }
  }

  @Test("files that end early")
  func truncated() throws {
    let whole = container("{\"__metadata__\":{\"a\":\"b\"},\(Self.entry)}", data: Self.data)
    _ = try read(whole)
    for count in 0..<whole.count { expectError(.format, "\(count) bytes") { _ = try read(Array(whole.prefix(count))) } }
    expectError(.format) { _ = try read(whole + [0]) }
  }

  /// A flipped bit anywhere; a file of the same contents in another order; one without a checksum.
  @Test("the checksum finds every changed number, and no other order")
  func checksum() throws {
    let directory = try TemporaryDirectory()
    var file = SafeTensors()
    file.add("a", "1")
    file.add("b", "2")
    try file.add("t", shape: [2], [1, -2])
    try file.add("u", shape: [1], [3])
    try file.write(to: directory.file("x"))
    var other = SafeTensors()
    other.add("b", "2")
    try other.add("u", shape: [1], [3])
    try other.add("t", shape: [2], [1, -2])
    other.add("a", "1")
    try other.write(to: directory.file("y"))
    let written = try SafeTensors(reading: directory.file("x"))
    try written.checkChecksum()
    #expect(try SafeTensors(reading: directory.file("y")).string("checksum") == written.string("checksum"))
    let bytes = try readFile(directory.file("x")).array
    for bit in 0..<(8 * 24) {
      var changed = bytes
      changed[bytes.count - 24 + bit / 8] ^= 1 << UInt8(bit % 8)
      let read = try SafeTensors(reading: directory.write(changed))
      expectError(.format, "bit \(bit)") { try read.checkChecksum() }
    }
    try read(container("{\(Self.entry)}", data: Self.data)).checkChecksum()
  }

  @Test("paths that can't be read")
  func paths() throws {
    let directory = try TemporaryDirectory()
    expectError(.io) { _ = try SafeTensors(reading: directory.file("missing")) }
    expectError(.io) { _ = try SafeTensors(reading: directory.path) }
    expectError(.io) { try SafeTensors().write(to: directory.file("missing/x")) }
    expectError(.io) { try SafeTensors().write(to: directory.path) }
    #expect(directory.entries.isEmpty)
  }
}

@Suite("Model files")
struct ModelFileTests {
  private static let networks = Registry.predictors.filter { if case .callback = $0.kind { false } else { true } }

  @Test("a predictor comes back the same", arguments: networks)
  func predictor(_ spec: PredictorSpec) throws {
    let directory = try TemporaryDirectory()
    let data = try TestData(outputs: spec.outputs)
    let predictor = try spec.make(data.x) as! NetworkPredictor
    try predictor.save(to: directory.file("p"))
    let back = try NetworkPredictor.load(from: directory.file("p"))
    #expect(back.theta == predictor.theta && back.network == predictor.network)
    #expect(back.penalizesBias == predictor.penalizesBias && back.unpenalizedRanges == predictor.unpenalizedRanges)
    let expected = try predictor.predictions(predictor.theta, data.dataset.x)
    #expect(try back.predictions(back.theta, data.dataset.x) == expected)
  }

  @Test("a metric comes back the same", arguments: Registry.factors)
  func metric(_ factor: FactorSpec) throws {
    let directory = try TemporaryDirectory()
    for spec in Registry.metrics(factor, outputs: 3) {
      let data = try TestData(outputs: 3)
      let metric = try spec.make(outputs: 3, data.x, rows: data.dataset.x)
      try metric.save(to: directory.file("m"))
      let back = try Metric.load(from: directory.file("m"))
      #expect(back.phi == metric.phi && back.floor == metric.floor && back.normalization == metric.normalization)
      #expect(back.normalizationScale == metric.normalizationScale && back.rank == metric.rank)
      #expect(try back.lambda(data.dataset.x) == metric.lambda(data.dataset.x), "\(spec.testDescription)")
      #expect(
        try back.differentiatesNormalization(rows: 5, data.dataset.x)
          == metric.differentiatesNormalization(rows: 5, data.dataset.x), "what m was made from is kept")
    }
  }

  @Test("a file of the other kind is refused, and one of a newer version")
  func kinds() throws {
    let directory = try TemporaryDirectory()
    try NetworkPredictor(linearInputs: 1, outputs: 1, bias: true).save(to: directory.file("p"))
    expectError(.format) { _ = try Metric.load(from: directory.file("p")) }
    let bytes = try readFile(directory.file("p")).array
    let text = Array("\"version\":\"1\"".utf8)
    let place = (0..<bytes.count).first { Array(bytes[$0...].prefix(text.count)) == text }!
    var newer = bytes
    newer[place + text.count - 2] = UInt8(ascii: "3")
    expectError(.version) { _ = try NetworkPredictor.load(from: directory.write(newer)) }
    newer[place + text.count - 2] = UInt8(ascii: "x")
    expectError(.format) { _ = try NetworkPredictor.load(from: directory.write(newer)) }
  }

  /// Every byte of the header, and some of the numbers, changed in several ways.
  @Test("a damaged file gives a model or an error, never a trap", arguments: [true, false])
  func damaged(_ isPredictor: Bool) throws {
    let directory = try TemporaryDirectory()
    let data = try TestData(outputs: 3)
    let original = directory.file("original")
    if isPredictor {
      let spec = PredictorSpec(kind: .perceptron(hidden: [3, 2], .tanh), standardizesInputs: true)
      try (try spec.make(data.x) as! NetworkPredictor).save(to: original)
    } else {
      let factor = FactorSpec(structure: .lowrank, conditioning: .standardized)
      try MetricSpec(factor: factor, scaling: .trace).make(outputs: 3, data.x, rows: data.dataset.x).save(to: original)
    }
    var bytes = try readFile(original).array
    // Renamed, so that the checksum does not hide what else would be found out.
    let key = Array("\"checksum\"".utf8)
    bytes[(0..<bytes.count).first { Array(bytes[$0...].prefix(key.count)) == key }! + 1] = UInt8(ascii: "C")
    var random = RandomGenerator(seed: 131)
    var outcomes = (loaded: 0, refused: 0)
    for index in 0..<min(bytes.count, 1200) {
      for _ in 0..<2 {
        var changed = bytes
        changed[index] =
          [UInt8(ascii: "9"), UInt8(ascii: "0"), UInt8(truncatingIfNeeded: random.next())][Int(random.next() % 3)]
        let path = try directory.write(changed)
        do {
          if isPredictor { _ = try NetworkPredictor.load(from: path) } else { _ = try Metric.load(from: path) }
          outcomes.loaded += 1
        } catch let error as TaskMetError {
          #expect([.format, .version, .outOfMemory].contains(error.code), "\(error)")
          outcomes.refused += 1
        }
      }
    }
    #expect(outcomes.refused > 500, "\(outcomes)")
  }
}
