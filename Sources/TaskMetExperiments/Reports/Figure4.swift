// Figure 4 of the paper: the cubic's predictions by three methods over x, and the metric that TaskMet learned.

/// Columns over x.
public struct Figure4: Sendable {
  public struct Curve: Sendable {
    public let name: String
    public let values: [Double]
  }

  static let points = 201
  public let x: [Double]
  /// What the items are worth, then each method's prediction.
  public let predictions: [Curve]
  public let metric: [Double]

  /// Trains on one data set.
  public init(dataset: Int, seed: Int, _ settings: RunSettings) throws {
    let problem = CubicProblem()
    let data = try problem.makeData(dataset)
    let x = (0..<Self.points).map { -1 + 2 * Double($0) / Double(Self.points - 1) }
    var grid = Table(features: 1, targets: 1)
    grid.append(x: x, y: x.map(CubicProblem.worth))
    var curves = [Curve(name: "true", values: grid.y)]
    var metric: [Double] = []
    for method in [Method.mse, .dfl, .taskmet] {
      let run = try RunSpecification(problem, method, dataset: dataset, seed: seed, settings)
      let model = try run.train(data, data.task)
      curves.append(Curve(name: method.rawValue, values: try model.predictor.predict(grid)))
      if method == .taskmet { metric = try model.metric.evaluate(x, features: 1) }
    }
    self.x = x
    predictions = curves
    self.metric = metric
  }

  public var csv: String {
    let head = (["x"] + predictions.map(\.name) + ["metric"]).joined(separator: ",")
    let lines = x.indices.map { index in
      ([x[index]] + predictions.map { $0.values[index] } + [metric[index]]).map { "\($0)" }.joined(separator: ",")
    }
    return ([head] + lines).joined(separator: "\n") + "\n"
  }

  public var svg: String {
    let left = Plot(title: "Predictions", xLabel: "x", yLabel: "worth", x: x, curves: predictions)
    let right = Plot(
      title: "Learned metric", xLabel: "x", yLabel: "Λ(x)", x: x, curves: [Curve(name: "taskmet", values: metric)],
      startsAtZero: true)
    return drawing([left, right])
  }
}
