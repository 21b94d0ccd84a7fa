// The calendar and New York's clocks, without the host's time zone or locale. Days are counted from 1970-01-01.

enum Calendar {
  static let secondsPerHour = 3600
  static let secondsPerDay = 86400

  /// Counts years from March, so that the leap day is a year's last.
  static func day(year: Int, month: Int, day: Int) -> Int {
    let y = month > 2 ? year : year - 1
    let sinceMarch = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
    return 365 * y + y / 4 - y / 100 + y / 400 + sinceMarch - 719468
  }

  static func year(ofDay day: Int) -> Int {
    var year = 1970 + day / 366  // never too late, and for some centuries at most one too early
    while Calendar.day(year: year + 1, month: 1, day: 1) <= day { year += 1 }
    return year
  }

  /// 1...366
  static func dayOfYear(_ day: Int) -> Int { day - Calendar.day(year: year(ofDay: day), month: 1, day: 1) + 1 }

  /// 0 is Monday.
  static func weekday(_ day: Int) -> Int { (day + 3) % 7 }

  private static func sundayOnOrAfter(_ day: Int) -> Int { day + 6 - weekday(day) }

  /// Seconds to add to a unix time from 2007 on: daylight saving time runs from 2:00 on the second Sunday of March (7:00 UTC) to
  /// 2:00 on the first Sunday of November (6:00 UTC).
  static func newYorkOffset(_ time: Int) -> Int {
    let year = year(ofDay: time / secondsPerDay)
    let begin = sundayOnOrAfter(day(year: year, month: 3, day: 8)) * secondsPerDay + 7 * secondsPerHour
    let end = sundayOnOrAfter(day(year: year, month: 11, day: 1)) * secondsPerDay + 6 * secondsPerHour
    return (time >= begin && time < end ? -4 : -5) * secondsPerHour
  }
}
