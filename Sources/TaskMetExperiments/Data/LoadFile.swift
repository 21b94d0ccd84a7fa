// Hourly load and temperature from a text file, made into days. A line is an hour: unix time, load in 10^5 MW, temperature in
// degrees Fahrenheit, apart by white space.

import Glibc

struct LoadFile: Sendable {
  static let hoursOfDay = 24
  /// Yesterday's loads and temperatures, today's temperatures and their squares, weekend, cosine and sine of the day of the year.
  static let features = 4 * hoursOfDay + 3

  struct Day: Sendable {
    var load = [Double?](repeating: nil, count: hoursOfDay)
    var temperature = [Double?](repeating: nil, count: hoursOfDay)
    var isEmpty: Bool { load.allSatisfy { $0 == nil } }
  }

  /// Every day from the first to the last, those without an hour included.
  let days: [Day]
  private let firstDay: Int

  init(reading path: String) throws { try self.init(try readFile(path), path: path) }

  init(_ bytes: [UInt8], path: String) throws {
    var hours: [(day: Int, hour: Int, load: Double, temperature: Double)] = []
    for (index, line) in try textLines(bytes, path).enumerated() where !line.trimmingSpaces().isEmpty {
      let (time, load, temperature) = try Self.parse(line, "\(path):\(index + 1)")
      let local = time + Calendar.newYorkOffset(time)
      hours.append(
        (local / Calendar.secondsPerDay, local % Calendar.secondsPerDay / Calendar.secondsPerHour, load, temperature))
    }
    guard let first = hours.map(\.day).min(), let last = hours.map(\.day).max() else {
      throw ExperimentError("\(path) holds no hours")
    }
    var days = [Day](repeating: Day(), count: last - first + 1)
    // The hour that is there twice in November counts once.
    for hour in hours where days[hour.day - first].load[hour.hour] == nil {
      days[hour.day - first].load[hour.hour] = hour.load
      days[hour.day - first].temperature[hour.hour] = hour.temperature
    }
    firstDay = first
    self.days = days.map {
      Day(load: Self.withoutGaps($0.load), temperature: Self.withoutGaps($0.temperature))
    }
  }

  private static func parse(_ line: Substring, _ place: String) throws -> (Int, Double, Double) {
    let numbers = line.split { $0 == " " || $0 == "\t" }.map { number($0) }
    guard numbers.count == 3, let time = numbers[0], let load = numbers[1], let temperature = numbers[2],
      load.isFinite, temperature.isFinite
    else { throw ExperimentError("\(place): expected three numbers: unix time, load, temperature") }
    // The daylight saving rule does not hold before 2007, and what is after 2200 was not measured.
    let known = [2007, 2200].map { Double(Calendar.day(year: $0, month: 1, day: 1) * Calendar.secondsPerDay) }
    guard time >= known[0], time < known[1] else {
      throw ExperimentError("\(place): \(time) is not a unix time from 2007 on")
    }
    return (Int(time), load, temperature)
  }

  /// Missing hours get the next one's value; those at the end of the day the one before.
  private static func withoutGaps(_ values: [Double?]) -> [Double?] {
    var filled = values
    for hour in filled.indices.dropLast().reversed() where filled[hour] == nil { filled[hour] = filled[hour + 1] }
    for hour in filled.indices.dropFirst() where filled[hour] == nil { filled[hour] = filled[hour - 1] }
    return filled
  }

  /// Features and loads of every day whose day before is there too.
  var rows: [(x: [Double], y: [Double])] {
    days.indices.dropFirst().filter { !days[$0].isEmpty && !days[$0 - 1].isEmpty }.map { index in
      let (yesterday, today, number) = (days[index - 1], days[index], firstDay + index)
      let temperature = today.temperature.compactMap(\.self)
      let angle = 2 * Double.pi * Double(Calendar.dayOfYear(number)) / 365
      let x = yesterday.load.compactMap(\.self) + yesterday.temperature.compactMap(\.self) + temperature
      let weekend = Calendar.weekday(number) >= 5 ? 1.0 : 0
      return (x + temperature.map { $0 * $0 } + [weekend, cos(angle), sin(angle)], today.load.compactMap(\.self))
    }
  }

  var contentFingerprint: UInt64 {
    rows.reduce(fingerprint("loads")) { mark, row in
      (row.x + row.y).reduce(mark) { ($0 ^ $1.bitPattern) &* 0x100_0000_01B3 }
    }
  }
}
