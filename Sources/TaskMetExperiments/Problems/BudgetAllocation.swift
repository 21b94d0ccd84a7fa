// Budget allocation: choose 2 of 5 websites so that as many of 10 users as possible are expected to click. A row is a website, its
// targets are the users' click-through rates.

struct BudgetProblem: Problem {
  let name = ProblemName.budget
  let source: ClickThroughSource
  static let websites = 5
  static let users = 10
  static let budget = 2
  static let trainingInstances = 80
  static let validationInstances = 20
  static let testInstances = 500
  static let hidden = 500
  static let metricHidden = 200

  var settings: [(String, JSON)] {
    [
      ("click_through", .string(source.description)), ("predictor_hidden", .integer(Int64(Self.hidden))),
      ("metric_hidden", .integer(Int64(Self.metricHidden))),
    ]
  }

  func makeData(_ dataset: Int) throws -> ProblemData {
    var random = RandomNumbers("budget", dataset)
    let sizes = [Self.trainingInstances, Self.validationInstances, Self.testInstances]
    let rates = try source.draw(sizes.reduce(0, +), websites: Self.websites, users: Self.users, &random)
    let layer = FeatureLayer(size: Self.users, &random)
    let standardization = Standardization(fitting: rates[..<sizes[0]].flatMap { $0 }, columns: 1)
    var next = 0
    let tables = sizes.map { size in
      var table = Table(features: Self.users, targets: Self.users)
      for instance in rates[next..<next + size] {
        var standardized = instance
        standardization.apply(to: &standardized)
        table.append(x: layer.apply(to: standardized), y: instance)
      }
      next += size
      return table
    }
    return try ProblemData(
      training: tables[0], validation: tables[1], test: tables[2],
      task: try .budgetAllocation(Self.budget, gamma: 0, legacy: false))
  }

  func makePredictor(_ data: ProblemData, seed: UInt64) throws -> Predictor {
    try .multilayer(
      inputs: data.inputs, outputs: data.outputs, hidden: [Self.hidden], output: .relu, seed: seed)
  }

  func makeMetric(_ data: ProblemData, seed: UInt64) throws -> Metric {
    try .conditional(
      inputs: data.inputs, outputs: data.outputs, structure: .full, hidden: [Self.metricHidden],
      seed: seed)
  }
}

/// The features are the standardised rates, through one random linear layer that starts as PyTorch's do.
private struct FeatureLayer {
  private let size: Int
  private let weight, bias: [Double]

  init(size: Int, _ random: inout RandomNumbers) {
    self.size = size
    let bound = 1 / Double(size).squareRoot()
    weight = (0..<size * size).map { _ in random.uniform(-bound, bound) }
    bias = (0..<size).map { _ in random.uniform(-bound, bound) }
  }

  /// Row by row.
  func apply(to rows: [Double]) -> [Double] {
    var out: [Double] = []
    for start in stride(from: 0, to: rows.count, by: size) {
      for i in 0..<size {
        out.append((0..<size).reduce(bias[i]) { $0 + weight[i * size + $1] * rows[start + $1] })
      }
    }
    return out
  }
}
