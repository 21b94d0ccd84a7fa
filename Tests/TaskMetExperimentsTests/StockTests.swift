// Features of stocks: against a direct computation, and that none of them looks ahead.

import Testing

@testable import TaskMetExperiments

private func close(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-12 * max(1, abs(a), abs(b)) }

@Suite struct StockTests {
  private let table = wanderingPrices(days: 400, symbols: 6)

  private func variance(_ values: [Double]) -> Double {
    // By sums of pairs, which the code under test does not use.
    var sum = 0.0
    for a in values { for b in values { sum += (a - b) * (a - b) } }
    return sum / Double(2 * values.count * values.count)
  }

  @Test func featuresAreWhatTheySay() {
    let stocks = StockFeatures(prices: table, columns: [4, 1])
    let day = 380
    // Stock 1 of the data set is column 1 of the table.
    func price(_ day: Int) -> Double { table.prices[day * 6 + 1] }
    func change(_ from: Int, _ to: Int) -> Double { (price(to) - price(from)) / price(from) }
    var expected = (0...10).map { change(day - $0 - 1, day - $0) }
    expected += [365, 120, 30, 7].map { change(day - $0, day) }
    let week = (0..<7).map { change(day - $0 - 1, day - $0) }
    expected += [week.reduce(0, +) / 7, variance(week)]
    for window in [365, 120, 30, 7, 3] {
      let values = (day - window + 1...day).map(price)
      expected += [values.reduce(0, +) / Double(window), variance(values)]
    }
    expected.append(price(day))
    let found = stocks.features(day, 1)
    #expect(found.count == 28 && found.count == StockFeatures.count && expected.count == 28)
    for (a, b) in zip(found, expected) { #expect(abs(a - b) <= 1e-9 * max(1, abs(b))) }
    #expect(close(stocks.target(day, 1), change(day, day + 1)))
  }

  @Test func usableDaysHaveFullWindows() {
    let days = StockFeatures(prices: table, columns: [0]).usableDays
    #expect(days == 365..<390)
    // As many as there are in five years of prices.
    #expect(StockFeatures(prices: wanderingPrices(days: 1259, symbols: 1), columns: [0]).usableDays.count == 884)
    #expect(StockFeatures(prices: wanderingPrices(days: 300, symbols: 1), columns: [0]).usableDays.isEmpty)
  }

  @Test func laterPricesChangeNoFeature() {
    let day = 370
    var later = table
    for index in (day + 1) * 6..<later.prices.count { later.prices[index] *= 1.5 + 0.1 * Double(index % 7) }
    let (before, after) = (
      StockFeatures(prices: table, columns: [0, 3]), StockFeatures(prices: later, columns: [0, 3])
    )
    for stock in 0..<2 { #expect(before.features(day, stock) == after.features(day, stock)) }
    #expect(before.target(day, 0) != after.target(day, 0))
    // The price of the day itself does count.
    #expect(before.features(day + 1, 0) != after.features(day + 1, 0))
  }

  @Test func riskIsTheCorrelationOfDaysTwoToTen() {
    let stocks = StockFeatures(prices: table, columns: [2, 0, 5])
    let day = 366
    let matrix = stocks.riskMatrix(day)
    func returns(_ column: Int) -> [Double] {
      (day + 2...day + 10).map { table.prices[$0 * 6 + column] / table.prices[($0 - 1) * 6 + column] - 1 }
    }
    func covariance(_ a: [Double], _ b: [Double]) -> Double {
      let (ma, mb) = (a.reduce(0, +) / 9, b.reduce(0, +) / 9)
      return zip(a, b).reduce(0) { $0 + ($1.0 - ma) * ($1.1 - mb) }
    }
    for (i, a) in [2, 0, 5].enumerated() {
      for (j, b) in [2, 0, 5].enumerated() {
        let (x, y) = (returns(a), returns(b))
        let correlation = covariance(x, y) / (covariance(x, x) * covariance(y, y)).squareRoot()
        #expect(close(matrix[i * 3 + j], correlation + (i == j ? 0.1 : 0)))
      }
    }
  }

  @Test func aPriceThatStandsStillHasNoCorrelation() {
    var still = table
    for day in 0..<still.days { still.prices[day * 6] = 7 }
    let matrix = StockFeatures(prices: still, columns: [0, 1]).riskMatrix(370)
    #expect(matrix[1] == 0 && matrix[2] == 0 && matrix[0] == 1.1)
  }

  @Test func standardisationKnowsTrainingDaysOnly() {
    var later = table
    let firstOther = 365 + 10
    for index in (firstOther + 1) * 6..<later.prices.count { later.prices[index] *= 3 }
    let sizes = [10, 5, 5]
    let before = PortfolioProblem.tables(StockFeatures(prices: table, columns: [0, 1, 2]), sizes)
    let after = PortfolioProblem.tables(StockFeatures(prices: later, columns: [0, 1, 2]), sizes)
    #expect(before[0].x == after[0].x)
    #expect(before[2].x != after[2].x)
    // Training features have mean 0 and deviation 1.
    for column in 0..<StockFeatures.count {
      let values = stride(from: column, to: before[0].x.count, by: StockFeatures.count).map { before[0].x[$0] }
      #expect(abs(values.reduce(0, +) / Double(values.count)) < 1e-9)
      #expect(abs(variance(values) - 1) < 1e-9)
    }
    #expect(before.map(\.instances) == sizes)
  }

  @Test func refusesFewPrices() {
    #expect(
      message { _ = try PortfolioProblem(prices: wanderingPrices(days: 1300, symbols: 40), legacy: false) }
        == "prices: 50 symbols without gaps are needed, got 40")
    #expect(
      message { _ = try PortfolioProblem(prices: wanderingPrices(days: 900, symbols: 50), legacy: false) }
        == "prices: 800 days with full windows are needed, got 525 of 900")
  }
}
