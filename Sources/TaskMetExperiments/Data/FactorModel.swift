// Stock prices for those who have no file: a market, sectors, and each stock's own noise.

import Glibc

/// Daily log returns: drift + beta * market + loading * sector + own noise + a pull back from the last days' own moves. Volatility
/// of the market comes in waves (an autoregression of its logarithm), so that some weeks are calm and some are not.
struct FactorModel {
  var days = 1259
  var symbols = 200
  var sectors = 10

  private struct Stock {
    var sector: Int
    var drift, beta, loading, noise, reversal: Double
    var price, ownMove: Double
  }

  /// Parameters are those of a typical large stock: 1 to 2 % a day, about half of it shared.
  func prices(seed: Int) -> PriceTable {
    var random = RandomNumbers("factor model", seed)
    var stocks = (0..<symbols).map { index in
      Stock(
        sector: index % sectors, drift: 3e-4 * random.normal(), beta: random.uniform(0.5, 1.5),
        loading: random.uniform(0.5, 1.5), noise: random.uniform(0.006, 0.018), reversal: random.uniform(0, 0.1),
        price: exp(random.uniform(log(10), log(500))), ownMove: 0)
    }
    var volatility = 0.0
    var table: [Double] = []
    for _ in 0..<days {
      volatility = 0.97 * volatility + 0.1 * random.normal()
      let market = 3e-4 + 0.009 * exp(volatility) * random.normal()
      let sector = (0..<sectors).map { _ in 0.006 * random.normal() }
      for index in stocks.indices {
        let stock = stocks[index]
        let own = stock.noise * random.normal() - stock.reversal * stock.ownMove
        stocks[index].ownMove = own
        stocks[index].price *= exp(stock.drift + stock.beta * market + stock.loading * sector[stock.sector] + own)
        table.append(stocks[index].price)
      }
    }
    return PriceTable(
      symbols: (0..<symbols).map { "S\($0)" }, dates: (0..<days).map { Self.label($0) }, prices: table)
  }

  /// Made-up days of 28-day months, so that dates increase as text.
  private static func label(_ day: Int) -> String {
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(2000 + day / 336)-\(two(day / 28 % 12 + 1))-\(two(day % 28 + 1))"
  }
}
