// What is made up: the same by the same seed, with the statistics that it is said to have.

import Glibc
import Testing

@testable import TaskMetExperiments

private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

@Suite struct GeneratorTests {
  @Test func randomNumbers() {
    var random = RandomNumbers("test", 1, 2)
    let uniform = (0..<20_000).map { _ in random.uniform() }
    let normal = (0..<20_000).map { _ in random.normal() }
    #expect(abs(mean(uniform) - 0.5) < 0.01 && uniform.allSatisfy { (0..<1).contains($0) })
    #expect(abs(mean(normal)) < 0.03 && abs(mean(normal.map { $0 * $0 }) - 1) < 0.04)
    var (same, other) = (RandomNumbers("test", 1, 2), RandomNumbers("test", 12))
    #expect(same.uniform() == uniform[0])
    #expect(other.uniform() != uniform[0])
    let sample = random.sample(5, of: 8)
    #expect(Set(sample).count == 5 && sample.allSatisfy { (0..<8).contains($0) })
    // The first outputs of SplitMix64 from the seed 1234567, as its authors' program prints them.
    var reference = RandomNumbers(seed: 1_234_567)
    #expect([reference.next(), reference.next()] == [6_457_827_717_110_365_317, 3_203_168_211_198_807_973])
  }

  @Test func cubicItems() {
    var random = RandomNumbers("cubic", 0)
    let table = CubicProblem.draw(100, &random)
    #expect(table.instances == 100 && table.rows == 5000 && table.offsets[1] == 50)
    #expect(zip(table.x, table.y).allSatisfy { abs($1 - (10 * $0 * $0 * $0 - 6.5 * $0)) < 1e-12 })
    #expect(table.x.allSatisfy { abs($0) <= 1 } && abs(mean(table.x)) < 0.03)
    // By least squares the line has the slope 3/5 of 10, less 6.5.
    let slope = zip(table.x, table.y).reduce(0) { $0 + $1.0 * $1.1 } / table.x.reduce(0) { $0 + $1 * $1 }
    #expect(abs(slope + 0.5) < 0.15)
  }

  @Test func clickThroughRates() throws {
    var random = RandomNumbers("rates")
    let rates = try ClickThroughSource.generated.draw(2000, websites: 5, users: 10, &random).flatMap { $0 }
    #expect(rates.count == 100_000 && rates.allSatisfy { (0...1).contains($0) })
    #expect(abs(Double(rates.filter { $0 == 0 }.count) / 100_000 - 0.9) < 0.005)
    let clicks = rates.filter { $0 > 0 }
    // Beta(1, 15) has the mean 1/16 and the second moment 2/(16 * 17); U(0.5, 1.5) has 1 and 13/12.
    #expect(abs(mean(clicks) - 1.0 / 16) < 0.003)
    #expect(abs(mean(clicks.map { $0 * $0 }) - 2.0 / 272 * 13 / 12) < 0.0006)
  }

  @Test func clickThroughFromAMatrix() throws {
    // Entry (i, j) is (10 i + j) / 100, so that an entry tells its row and column.
    let rates = (0..<7).flatMap { row in (0..<10).map { Double(10 * row + $0) / 100 } }
    let source = ClickThroughSource.matrix(rows: 7, columns: 10, rates: rates)
    var random = RandomNumbers("matrix")
    for instance in try source.draw(20, websites: 3, users: 4, &random) {
      let entries = instance.map { Int(($0 * 100).rounded()) }
      let (rows, columns) = (entries.map { $0 / 10 }, entries.map { $0 % 10 })
      for index in entries.indices {
        #expect(rows[index] == rows[index / 4 * 4] && columns[index] == columns[index % 4])
      }
      #expect(Set(rows).count == 3 && Set(columns).count == 4)
    }
    #expect(
      message { _ = try source.draw(1, websites: 8, users: 4, &random) }
        == "click-through: 8 x 4 are needed, the matrix is 7 x 10")
  }

  @Test func clickThroughFromAFile() throws {
    try withTemporaryFile { path in
      try writeFile(path, "0,0.5\n0.25,1\n")
      guard case .matrix(2, 2, [0, 0.5, 0.25, 1]) = try ClickThroughSource(reading: path) else {
        Issue.record("not the matrix of the file")
        return
      }
      try writeFile(path, "0,1.5\n")
      #expect(message { _ = try ClickThroughSource(reading: path) } == "\(path): rates must be 0 to 1, entry 1 is 1.5")
    }
  }

  @Test func factorModelPrices() {
    let prices = FactorModel().prices(seed: 3)
    #expect(prices.days == 1259 && prices.symbols.count == 200 && prices.prices.allSatisfy { $0 > 0 })
    #expect(zip(prices.dates, prices.dates.dropFirst()).allSatisfy { $0 < $1 })
    #expect(FactorModel().prices(seed: 3).prices == prices.prices)
    #expect(FactorModel().prices(seed: 4).prices != prices.prices)
    let stocks = StockFeatures(prices: prices, columns: Array(0..<30))
    let returns = (1..<1258).map { day in (0..<30).map { stocks.dailyReturn(day, $0) } }
    let volatility = mean(returns.flatMap { $0.map { $0 * $0 } }).squareRoot()
    #expect((0.01...0.04).contains(volatility))
    // Stocks move together: the mean of 30 varies far more than independent ones would let it.
    let together = mean(returns.map { day in mean(day) * mean(day) }).squareRoot()
    #expect(together > 0.4 * volatility)
  }

  @Test func dataSetsAreTheSameBySeed() throws {
    let budget = BudgetProblem(source: .generated)
    for problem in [CubicProblem() as any Problem, budget] {
      let (first, again, other) = try (problem.makeData(1), problem.makeData(1), problem.makeData(2))
      #expect(first.training.table.x == again.training.table.x && first.test.table.y == again.test.table.y)
      #expect(first.training.table.x != other.training.table.x)
      #expect(first.training.table.x[0] != first.test.table.x[0])
    }
    let data = try budget.makeData(0)
    #expect([data.training, data.validation, data.test].map(\.table.instances) == [80, 20, 500])
    #expect(data.inputs == 10 && data.outputs == 10 && data.training.table.rows == 400)
    let (a, b, c) = try (
      budget.makePredictor(data, seed: 5).parameters(), budget.makePredictor(data, seed: 5).parameters(),
      budget.makePredictor(data, seed: 6).parameters()
    )
    #expect(a == b && a != c)
  }
}
