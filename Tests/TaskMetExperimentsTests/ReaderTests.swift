// The readers: comma-separated values, prices, NumPy arrays, hourly loads.

import Glibc
import Testing

@testable import TaskMetExperiments

private func csv(_ text: String) throws -> CSV { try CSV(Array(text.utf8), path: "f.csv") }

private func prices(_ text: String) throws -> PriceTable { try PriceTable(csv(text)) }

@Suite struct CSVTests {
  @Test func fieldsOfQuotesAndLineEnds() throws {
    let file = try csv("a,\"b,\"\"c\"\"\",\r\n\r\n1,,\"\"\n")
    #expect(file.lines.map(\.number) == [1, 3])
    #expect(file.lines.map(\.fields) == [["a", "b,\"c\"", ""], ["1", "", ""]])
  }

  @Test func numbers() throws {
    let table = try csv("1, 2.5 ,-3e-2\r\n4,5,6").numbers()
    #expect(table.rows == 2 && table.columns == 3)
    #expect(table.values == [1, 2.5, -0.03, 4, 5, 6])
  }

  @Test(arguments: [
    ("a,\"b\n", "f.csv:1: a quote is not closed"), ("x\n\"a\"b,c\n", "f.csv:2: text after a closing quote"),
  ])
  func refusesQuotes(_ text: String, _ expected: String) { #expect(message { _ = try csv(text) } == expected) }

  @Test(arguments: [
    ("1,2\n\n3\n", "f.csv:3: 1 fields, 2 in the first line"),
    ("1,2\n3,x\n", "f.csv:2: field 2 must be a number, got \"x\""),
    ("1,inf\n", "f.csv:1: field 2 must be a number, got \"inf\""), ("\n", "f.csv is empty"),
  ])
  func refusesNumbers(_ text: String, _ expected: String) {
    #expect(message { _ = try csv(text).numbers() } == expected)
  }

  @Test func refusesWhatIsNoText() {
    #expect(message { _ = try CSV([0x61, 0xFF, 0x0A], path: "f.csv") } == "f.csv is not UTF-8 text")
    #expect(message { _ = try CSV(reading: "/nonexistent/f") }?.hasPrefix("cannot open /nonexistent/f") == true)
  }
}

@Suite struct PriceTableTests {
  @Test func dropsSymbolsWithGaps() throws {
    let table = try prices("date,A,B,C,D\r\n2020-01-02,1,2,,4\r\n2020-01-03,5,NA,7,8\r\n")
    #expect(table.symbols == ["A", "D"])
    #expect(table.dropped == ["B", "C"])
    #expect(table.dates == ["2020-01-02", "2020-01-03"])
    #expect(table.prices == [1, 4, 5, 8])
    #expect(table.price(1, 0) == 5)
  }

  @Test(arguments: [
    ("date,A\n2020-01-02,0\n", "f.csv:2: the price of A must be a number > 0, got \"0\""),
    ("date,A\n2020-01-02,1\n2020-01-02,1\n", "f.csv:3: 2020-01-02 does not come after 2020-01-02"),
    ("date,A\n02.01.2020,1\n", "f.csv:2: \"02.01.2020\" is not a date such as 2020-01-31"),
    ("date,A\n2020-01-02,1,2\n", "f.csv:2: 3 fields, the first line has 2"),
    ("date,A,A\n", "f.csv: the symbol \"A\" is empty or there twice"),
    ("date\n", "f.csv: the first line must be \"date\" and the symbols"),
  ])
  func refuses(_ text: String, _ expected: String) { #expect(message { _ = try prices(text) } == expected) }
}

/// A .npy file of version 1.
private func npy(_ header: String, _ data: [UInt8]) -> [UInt8] {
  let length = header.utf8.count
  return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(length & 255), UInt8(length >> 8)] + Array(header.utf8) + data
}

private func bytes(_ values: [Double]) -> [UInt8] {
  values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
}

private func bytes(_ values: [Float]) -> [UInt8] {
  values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
}

@Suite struct NumPyTests {
  static func header(_ type: String, order: String = "False", shape: String) -> String {
    "{'descr': '\(type)', 'fortran_order': \(order), 'shape': \(shape), }          \n"
  }

  @Test func readsBothWidths() throws {
    let doubles: [Double] = [0.1, -2, 3e300, 4, 5, 6]
    let wide = try NumPyArray(npy(Self.header("<f8", shape: "(2, 3)"), bytes(doubles)), path: "a.npy")
    #expect(wide.shape == [2, 3])
    #expect(wide.values == doubles)
    let floats: [Float] = [0.1, -2, 3e30]
    let narrow = try NumPyArray(npy(Self.header("<f4", shape: "(1, 3, 1)"), bytes(floats)), path: "a.npy")
    #expect(narrow.shape == [1, 3, 1])
    #expect(narrow.values == floats.map(Double.init))
  }

  @Test(arguments: [
    (npy(header(">f8", shape: "(1,)"), bytes([1.0])), "a.npy: the type must be <f4 or <f8, got >f8"),
    (npy(header("<f8", order: "True", shape: "(1,)"), bytes([1.0])), "a.npy: the array must be in C order"),
    (npy(header("<f8", shape: "(2,)"), bytes([1.0])), "a.npy: 8 bytes of data, 16 for the shape [2]"),
    (npy(header("<f8", shape: "(2,)"), bytes([1.0, .nan])), "a.npy: entry 1 is nan"),
    (
      npy(header("<f8", shape: "(9223372036854775807, 2)"), []),
      "a.npy: the shape [9223372036854775807, 2] does not fit the data"
    ),
    (npy("{'descr': '<f8', 'fortran_order': False}", []), "a.npy: no shape in the header"),
    (Array("hello, world".utf8), "a.npy: not a .npy file"), ([], "a.npy: not a .npy file"),
    (Array(npy(header("<f8", shape: "(1,)"), [])[..<20]), "a.npy: the header ends early"),
  ])
  func refuses(_ file: [UInt8], _ expected: String) {
    #expect(message { _ = try NumPyArray(file, path: "a.npy") } == expected)
  }
}

@Suite struct LoadFileTests {
  /// Hours from midnight of 2010-01-01 in New York, 5 hours behind UTC.
  private func hours(_ count: Int, without missing: Set<Int> = []) -> String {
    let start = Calendar.day(year: 2010, month: 1, day: 1) * Calendar.secondsPerDay + 5 * Calendar.secondsPerHour
    return (0..<count).filter { !missing.contains($0) }
      .map { "\(start + $0 * Calendar.secondsPerHour)  \($0).5\t\(30 + $0)\n" }.joined()
  }

  @Test func makesDaysOfHours() throws {
    let file = try LoadFile(Array(hours(48, without: [30, 47]).utf8), path: "l.txt")
    #expect(file.days.count == 2)
    let (x, y) = try #require(file.rows.first)
    #expect(file.rows.count == 1 && x.count == LoadFile.features)
    #expect(y[5] == 29.5)
    #expect(y[6] == 31.5)  // the next hour's
    #expect(y[23] == 46.5)  // the hour before
    #expect(x[0] == 0.5 && x[24] == 30 && x[48] == 54 && x[72] == 54 * 54)
    #expect(x[96] == 1)  // a Saturday
    #expect(abs(x[97] - cos(2 * Double.pi * 2 / 365)) < 1e-12)
  }

  @Test func knowsDaylightSaving() {
    let day = Calendar.day(year: 2010, month: 3, day: 14) * Calendar.secondsPerDay  // the second Sunday of March
    #expect(Calendar.newYorkOffset(day + 7 * 3600 - 1) == -5 * 3600)
    #expect(Calendar.newYorkOffset(day + 7 * 3600) == -4 * 3600)
    #expect(Calendar.dayOfYear(Calendar.day(year: 2012, month: 12, day: 31)) == 366)
    #expect(Calendar.weekday(Calendar.day(year: 2026, month: 1, day: 5)) == 0)
  }

  @Test(arguments: [
    ("1262322000 1\n", "l.txt:1: expected three numbers: unix time, load, temperature"),
    ("1262322000 1 2\n1262325600 nan 1\n", "l.txt:2: expected three numbers: unix time, load, temperature"),
    ("5 1 2\n", "l.txt:1: 5.0 is not a unix time from 2007 on"), ("", "l.txt holds no hours"),
  ])
  func refuses(_ text: String, _ expected: String) {
    #expect(message { _ = try LoadFile(Array(text.utf8), path: "l.txt") } == expected)
  }
}
