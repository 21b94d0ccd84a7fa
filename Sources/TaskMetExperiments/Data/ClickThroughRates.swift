// Click-through rates of users on websites: generated, or drawn from the user's own matrix.

import Glibc

/// Where the rates come from.
enum ClickThroughSource: Sendable {
  /// Every rate is Bernoulli(0.1) * Beta(1, 15) * U(0.5, 1.5), at most 1: about nine in ten are zero.
  case generated
  /// Websites x users: an instance gets some of the rows and some of the columns, drawn anew.
  case matrix(rows: Int, columns: Int, rates: [Double])
  /// Instances x websites x users, taken in order.
  case instances(count: Int, websites: Int, users: Int, rates: [Double])

  /// A matrix as .csv (numbers alone) or .npy; .npy may have three dimensions.
  init(reading path: String) throws {
    let (shape, rates): ([Int], [Double])
    if path.hasSuffix(".npy") {
      let array = try NumPyArray(reading: path)
      (shape, rates) = (array.shape, array.values)
    } else {
      let table = try CSV(reading: path).numbers()
      (shape, rates) = ([table.rows, table.columns], table.values)
    }
    if let bad = rates.firstIndex(where: { !(0...1).contains($0) }) {
      throw ExperimentError("\(path): rates must be 0 to 1, entry \(bad) is \(rates[bad])")
    }
    switch shape.count {
    case 2: self = .matrix(rows: shape[0], columns: shape[1], rates: rates)
    case 3: self = .instances(count: shape[0], websites: shape[1], users: shape[2], rates: rates)
    default: throw ExperimentError("\(path): the array must have 2 or 3 dimensions, got \(shape.count)")
    }
  }

  /// The rates of so many instances, each websites x users.
  func draw(_ instances: Int, websites: Int, users: Int, _ random: inout RandomNumbers) throws -> [[Double]] {
    switch self {
    case .generated:
      return (0..<instances).map { _ in (0..<websites * users).map { _ in Self.rate(&random) } }
    case .matrix(let rows, let columns, let rates):
      guard rows >= websites, columns >= users else {
        throw ExperimentError("click-through: \(websites) x \(users) are needed, the matrix is \(rows) x \(columns)")
      }
      return (0..<instances).map { _ in
        let chosen = random.sample(users, of: columns)
        return random.sample(websites, of: rows).flatMap { row in chosen.map { rates[row * columns + $0] } }
      }
    case .instances(let count, let ownWebsites, let ownUsers, let rates):
      guard count >= instances, ownWebsites == websites, ownUsers == users else {
        throw ExperimentError(
          "click-through: \(instances) x \(websites) x \(users) are needed, the array is "
            + "\(count) x \(ownWebsites) x \(ownUsers)")
      }
      // Another data set is another choice of instances.
      let size = websites * users
      return random.sample(instances, of: count).map { Array(rates[$0 * size..<($0 + 1) * size]) }
    }
  }

  private static func rate(_ random: inout RandomNumbers) -> Double {
    // All three are drawn each time: one rate is as many numbers as another.
    let clicks = random.uniform() < 0.1
    let beta = 1 - pow(1 - random.uniform(), 1.0 / 15)
    let factor = random.uniform(0.5, 1.5)
    return clicks ? min(beta * factor, 1) : 0
  }

  /// What the settings of a run say of it.
  var description: String {
    switch self {
    case .generated: "generated"
    case .matrix(let rows, let columns, let rates): "\(rows)x\(columns) \(Self.mark(rates))"
    case .instances(let count, let websites, let users, let rates):
      "\(count)x\(websites)x\(users) \(Self.mark(rates))"
    }
  }

  private static func mark(_ rates: [Double]) -> String {
    String(rates.reduce(fingerprint("rates")) { ($0 ^ $1.bitPattern) &* 0x100_0000_01B3 }, radix: 16)
  }
}
