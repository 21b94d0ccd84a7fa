// The cubic problem (section 4.2 of the paper): 50 items, x ~ U[-1, 1], worth y = 10 x^3 - 6.5 x; a straight line predicts y, and
// the item with the highest prediction is taken.

struct CubicProblem: Problem {
  let name = ProblemName.cubic
  static let items = 50
  static let trainingInstances = 200
  static let validationInstances = 200
  static let testInstances = 400

  /// The published regularisation 0.01 at the costs of scores from 0 to 1: half of 0.01 times 1. Up to 0.05 TaskMet turns the line on
  /// the validation data; beyond, the softened choice hardly sees its end.
  static let temperature = 0.005

  /// As wide as the paper's.
  static let metricHidden = 200

  static func worth(_ x: Double) -> Double { 10 * x * x * x - 6.5 * x }

  var settings: [(String, JSON)] {
    [("temperature", .number(Self.temperature)), ("metric_hidden", .integer(Int64(Self.metricHidden)))]
  }

  func makeData(_ dataset: Int) throws -> ProblemData {
    var random = RandomNumbers("cubic", dataset)
    return try ProblemData(
      training: Self.draw(Self.trainingInstances, &random), validation: Self.draw(Self.validationInstances, &random),
      test: Self.draw(Self.testInstances, &random),
      task: try .topK(1, temperature: Self.temperature, legacy: false))
  }

  static func draw(_ instances: Int, _ random: inout RandomNumbers) -> Table {
    var table = Table(features: 1, targets: 1)
    for _ in 0..<instances {
      let x = (0..<items).map { _ in random.uniform(-1, 1) }
      table.append(x: x, y: x.map(worth))
    }
    return table
  }

  /// Slope and intercept start as PyTorch's linear layer does: the sign that decision-focused learning ends with depends on
  /// where it begins.
  func makePredictor(_ data: ProblemData, seed: UInt64) throws -> Predictor {
    let predictor = try Predictor.linear(inputs: 1, outputs: 1)
    var random = RandomNumbers(seed: seed)
    try predictor.setParameters([random.uniform(-1, 1), random.uniform(-1, 1)])
    return predictor
  }

  func makeMetric(_ data: ProblemData, seed: UInt64) throws -> Metric {
    try .conditional(
      inputs: 1, outputs: 1, structure: .scalar, hidden: [Self.metricHidden], seed: seed)
  }

  func columns(_ predictor: Predictor) throws -> [(String, Double)] {
    [("slope", try predictor.parameters()[0])]
  }
}
