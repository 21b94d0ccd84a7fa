// Rows of features and targets in instances, as a dataset of the library takes them.

/// Row-major; every instance is a run of rows.
public struct Table: Sendable {
  public let features: Int
  public let targets: Int
  public internal(set) var x: [Double] = []
  public internal(set) var y: [Double] = []
  /// Instance k owns the rows offsets[k] ..< offsets[k + 1].
  public private(set) var offsets: [Int64] = [0]
  /// What the task alone knows of each instance; empty where it knows nothing.
  public private(set) var context: [Double] = []
  public private(set) var contextOffsets: [Int64] = [0]

  init(features: Int, targets: Int) {
    self.features = features
    self.targets = targets
  }

  public var rows: Int { x.count / features }
  public var instances: Int { offsets.count - 1 }

  mutating func append(x: [Double], y: [Double], context: [Double] = []) {
    self.x += x
    self.y += y
    self.context += context
    offsets.append(Int64(rows))
    contextOffsets.append(Int64(self.context.count))
  }
}

/// Mean and (population) standard deviation of each column; one that does not vary has scale 1.
struct Standardization: Equatable {
  private(set) var mean: [Double]
  private(set) var scale: [Double]

  init(fitting values: [Double], columns: Int) {
    let rows = Double(values.count / columns)
    mean = [Double](repeating: 0, count: columns)
    scale = mean
    for (index, value) in values.enumerated() { mean[index % columns] += value / rows }
    for (index, value) in values.enumerated() {
      let deviation = value - mean[index % columns]
      scale[index % columns] += deviation * deviation / rows
    }
    scale = scale.map { $0 > 0 ? $0.squareRoot() : 1 }
  }

  func apply(to values: inout [Double]) {
    let columns = mean.count
    for index in values.indices {
      values[index] = (values[index] - mean[index % columns]) / scale[index % columns]
    }
  }
}
