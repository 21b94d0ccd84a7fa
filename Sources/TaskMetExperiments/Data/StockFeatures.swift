// What a predictor of stock returns sees, and what it predicts: from prices, by trading days.

import Glibc

/// The stocks of one data set, day by day. A feature of day t is made from prices up to t; the target is the return of t + 1,
/// and the covariance comes from days t + 2 to t + 10.
struct StockFeatures {
  /// Prices of these columns of the table.
  let prices: PriceTable
  let columns: [Int]

  static let returnsBack = 10
  static let changeWindows = [365, 120, 30, 7]
  static let returnWindow = 7
  static let priceWindows = [365, 120, 30, 7, 3]
  static let count = 1 + returnsBack + changeWindows.count + 2 + 2 * priceWindows.count + 1
  static let daysAhead = 10
  /// Added to the correlation's diagonal.
  static let ridge = 0.1

  /// Days whose windows are full, both ways.
  var usableDays: Range<Int> {
    let first = Self.changeWindows.max()!
    return first..<max(first, prices.days - Self.daysAhead)
  }

  private func price(_ day: Int, _ stock: Int) -> Double { prices.price(day, columns[stock]) }

  /// The relative change from the day before.
  func dailyReturn(_ day: Int, _ stock: Int) -> Double { change(day, 1, stock) }

  /// The relative change over so many days.
  private func change(_ day: Int, _ days: Int, _ stock: Int) -> Double {
    price(day, stock) / price(day - days, stock) - 1
  }

  func features(_ day: Int, _ stock: Int) -> [Double] {
    var features = (0...Self.returnsBack).map { dailyReturn(day - $0, stock) }
    features += Self.changeWindows.map { change(day, $0, stock) }
    features += moments((0..<Self.returnWindow).map { dailyReturn(day - $0, stock) })
    for window in Self.priceWindows { features += moments((0..<window).map { price(day - $0, stock) }) }
    return features + [price(day, stock)]
  }

  /// Mean and (population) variance.
  private func moments(_ values: [Double]) -> [Double] {
    let mean = values.reduce(0, +) / Double(values.count)
    return [mean, values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)]
  }

  func target(_ day: Int, _ stock: Int) -> Double { dailyReturn(day + 1, stock) }

  /// Q of a day: the correlation of the returns 2 to 10 days ahead, and the ridge. Row-major. A stock whose price stands still
  /// is correlated with none.
  func riskMatrix(_ day: Int) -> [Double] {
    let ahead = (2...Self.daysAhead).map { day + $0 }
    let rows = columns.indices.map { stock in unitDeviations(ahead.map { dailyReturn($0, stock) }) }
    let size = rows.count
    var matrix = [Double](repeating: 0, count: size * size)
    for i in 0..<size {
      matrix[i * size + i] = 1 + Self.ridge
      for j in 0..<i {
        var sum = 0.0
        for (a, b) in zip(rows[i], rows[j]) { sum += a * b }
        matrix[i * size + j] = sum
        matrix[j * size + i] = sum
      }
    }
    return matrix
  }

  /// Deviations from the mean, scaled to the length 1; zero where there are none.
  private func unitDeviations(_ values: [Double]) -> [Double] {
    let mean = values.reduce(0, +) / Double(values.count)
    let deviations = values.map { $0 - mean }
    let length = deviations.reduce(0) { $0 + $1 * $1 }.squareRoot()
    // Rounding leaves a little of a constant return.
    return length > 1e-13 ? deviations.map { $0 / length } : deviations.map { _ in 0 }
  }
}
