// Daily adjusted closing prices: one row for each trading day, one column for each symbol.

/// Prices without gaps.
struct PriceTable: Sendable {
  let symbols: [String]
  /// ISO dates, increasing.
  let dates: [String]
  /// days x symbols.
  var prices: [Double]
  /// Symbols of the file that were left out, because a price is missing.
  let dropped: [String]

  var days: Int { dates.count }

  func price(_ day: Int, _ symbol: Int) -> Double { prices[day * symbols.count + symbol] }

  init(symbols: [String], dates: [String], prices: [Double], dropped: [String] = []) {
    self.symbols = symbols
    self.dates = dates
    self.prices = prices
    self.dropped = dropped
  }

  /// A file whose first line is `date` and the symbols, and whose other lines are a date and the prices. A symbol with a
  /// missing price (an empty field, NA or NaN) is dropped.
  init(reading path: String) throws { try self.init(try CSV(reading: path)) }

  init(_ file: CSV) throws {
    guard let header = file.lines.first, header.fields.count > 1 else {
      throw ExperimentError("\(file.path): the first line must be \"date\" and the symbols")
    }
    let all = header.fields.dropFirst().map { $0.trimmingSpaces() }
    try Self.requireSymbols(all, file.path)
    var dates: [String] = []
    var rows: [[Double?]] = []
    for (line, fields) in file.lines.dropFirst() {
      let place = "\(file.path):\(line)"
      dates.append(try Self.date(fields[0], after: dates.last, place))
      guard fields.count == header.fields.count else {
        throw ExperimentError("\(place): \(fields.count) fields, the first line has \(header.fields.count)")
      }
      rows.append(try zip(fields.dropFirst(), all).map { try Self.price($0, $1, place) })
    }
    let kept = all.indices.filter { column in rows.allSatisfy { $0[column] != nil } }
    self.init(
      symbols: kept.map { all[$0] }, dates: dates, prices: rows.flatMap { row in kept.map { row[$0]! } },
      dropped: all.indices.filter { !kept.contains($0) }.map { all[$0] })
  }

  private static func requireSymbols(_ symbols: [String], _ path: String) throws {
    var seen: Set<String> = []
    for symbol in symbols where symbol.isEmpty || !seen.insert(symbol).inserted {
      throw ExperimentError("\(path): the symbol \"\(symbol)\" is empty or there twice")
    }
  }

  private static func date(_ text: String, after last: String?, _ place: String) throws -> String {
    let date = text.trimmingSpaces()
    let digits = Array(date.utf8)
    let isDate =
      digits.count >= 10
      && digits[..<10].enumerated().allSatisfy { index, byte in
        index == 4 || index == 7 ? byte == UInt8(ascii: "-") : (0x30...0x39).contains(byte)
      }
    guard isDate else { throw ExperimentError("\(place): \"\(date)\" is not a date such as 2020-01-31") }
    if let last, date <= last { throw ExperimentError("\(place): \(date) does not come after \(last)") }
    return date
  }

  /// nil where it is missing.
  private static func price(_ text: String, _ symbol: String, _ place: String) throws -> Double? {
    let field = text.trimmingSpaces()
    if ["", "na", "nan", "null"].contains(field.lowercased()) { return nil }
    guard let value = number(field), value.isFinite, value > 0 else {
      throw ExperimentError("\(place): the price of \(symbol) must be a number > 0, got \"\(field)\"")
    }
    return value
  }

  /// Of all names, dates and prices.
  var contentFingerprint: UInt64 {
    let names = fingerprint((symbols + dates).joined(separator: ","))
    return prices.reduce(names) { ($0 ^ $1.bitPattern) &* 0x100_0000_01B3 }
  }
}
