// Numbers as text, without a locale.

import Glibc

/// So many digits after the point; a dash for what is not finite.
public func fixed(_ value: Double, _ digits: Int) -> String {
  guard value.isFinite else { return "-" }
  let scale = pow(10.0, Double(digits))
  let scaled = (abs(value) * scale).rounded()
  guard scaled < 9e15 else { return "\(value)" }
  let whole = Int64(scaled)
  let sign = value < 0 && whole > 0 ? "-" : ""
  guard digits > 0 else { return sign + "\(whole)" }
  let unit = Int64(scale)
  let fraction = String(whole % unit)
  return "\(sign)\(whole / unit).\(String(repeating: "0", count: digits - fraction.count))\(fraction)"
}

/// So many significant digits, with an exponent where the number is small or large.
public func significant(_ value: Double, _ digits: Int) -> String {
  guard value.isFinite else { return "-" }
  guard value != 0 else { return "0" }
  let exponent = Int(floor(log10(abs(value))))
  if (-3..<6).contains(exponent) { return fixed(value, max(0, digits - 1 - exponent)) }
  return "\(fixed(value / pow(10.0, Double(exponent)), digits - 1))e\(exponent)"
}

/// 8 s, 12 min, 3 h 20 min.
func duration(_ seconds: Double) -> String {
  let whole = Int(seconds.rounded(.up))
  if whole < 90 { return "\(whole) s" }
  let minutes = (whole + 30) / 60
  return minutes < 90 ? "\(minutes) min" : "\(minutes / 60) h \(minutes % 60) min"
}

extension String {
  /// Filled with spaces on the left, or on the right.
  func padded(_ width: Int, left: Bool = true) -> String {
    let fill = String(repeating: " ", count: max(0, width - count))
    return left ? fill + self : self + fill
  }
}
