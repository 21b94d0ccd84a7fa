// A number that tells whether two sets of numbers are the same, bit for bit.

/// FNV-1a over 64-bit words.
struct Fingerprint {
  private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func add(_ word: UInt64) {
    value = (value ^ word) &* 0x0000_0100_0000_01B3
    // The product carries upwards only: without this, two sign changes would cancel.
    value ^= value >> 32
  }

  mutating func add(_ text: String) {
    add(UInt64(text.utf8.count))
    for byte in text.utf8 { add(UInt64(byte)) }
  }

  /// The elements as a precision holds them (nil: their own).
  mutating func add(_ matrix: MatrixView, roundedTo precision: Precision? = nil) {
    let precision = precision ?? matrix.precision
    for row in 0..<matrix.rows {
      for column in 0..<matrix.columns { add(precision.rounded(matrix[row, column]).bitPattern) }
    }
  }
}
