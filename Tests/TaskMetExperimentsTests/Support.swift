// What the tests of the experiments share.

import Glibc
import Testing

@testable import TaskMetExperiments

/// The message of the error that the body throws; nil if it throws none.
func message(_ body: () throws -> Void) -> String? {
  do {
    try body()
    return nil
  } catch { return "\(error)" }
}

/// Calls the body with the path of a file that does not exist yet, and removes it afterwards.
func withTemporaryFile<Result>(_ body: (String) throws -> Result) throws -> Result {
  var template = Array("/tmp/taskmet-test-XXXXXX".utf8CString)
  let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
  let path = directory + "/file"
  defer {
    unlink(path)
    rmdir(directory)
  }
  return try body(path)
}

/// Prices of made-up symbols that wander.
func wanderingPrices(days: Int, symbols: Int, seed: UInt64 = 1) -> PriceTable {
  var random = RandomNumbers(seed: seed)
  var prices = (0..<symbols).map { _ in random.uniform(10, 100) }
  var table: [Double] = []
  for _ in 0..<days {
    for index in prices.indices { prices[index] *= exp(0.02 * random.normal()) }
    table += prices
  }
  return PriceTable(
    symbols: (0..<symbols).map { "S\($0)" }, dates: (0..<days).map { "\(10_000 + $0)" }, prices: table)
}

/// A record of a run that never was.
func record(
  problem: String = "cubic", method: String = "mse", dataset: Int = 0, seed: Int = 0, hash: String = "a",
  quality: Double = 0, error: Double = 0
) -> RunRecord {
  let json = JSON.dictionary([
    ("problem", .string(problem)), ("method", .string(method)), ("dataset", .integer(Int64(dataset))),
    ("seed", .integer(Int64(seed))), ("settings_hash", .string(hash)), ("preset", .string("paper")),
    ("settings", .dictionary([])), ("decision_quality", .number(quality)), ("test_mse", .number(error)),
  ])
  return RunRecord(json)!
}
