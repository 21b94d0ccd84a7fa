// Datasets and the batches that tasks are given: the right rows, targets and weights in the right places.

import Testing

@testable import TaskMetSwift

@Suite("Datasets and batches")
struct DatasetTests {
  /// x_i = (i, 10 i), y_i = -i.
  private static func make(rows: Int = 6, weighted: Bool = true) throws -> Dataset {
    let x = DenseMatrix((0..<rows).map { [Double($0), 10 * Double($0)] })
    let dataset = try Dataset(borrowing: x, DenseMatrix((0..<rows).map { [-Double($0)] }))
    if weighted { try dataset.setWeights((0..<rows).map { 0.5 + Double($0) }) }
    return dataset
  }

  private func column(_ view: MatrixView, _ column: Int = 0) -> [Double] {
    (0..<view.rows).map { view[$0, column] }
  }

  @Test("rows of another dataset", arguments: [true, false])
  func gathering(_ weighted: Bool) throws {
    let source = try Self.make(weighted: weighted)
    let dataset = try Dataset(Buffer([5, 0, 5, 2]), of: source)
    #expect(column(dataset.x) == [5, 0, 5, 2] && column(dataset.x, 1) == [50, 0, 50, 20])
    #expect(column(dataset.y) == [-5, 0, -5, -2] && dataset.instanceCount == 4)
    #expect(dataset.weights?.array == (weighted ? [5.5, 0.5, 5.5, 2.5] : nil))
    let version = dataset.version
    try dataset.gather(Buffer([1, 2]), of: source)
    #expect(column(dataset.x) == [1, 2] && dataset.weights?.array == (weighted ? [1.5, 2.5] : nil))
    #expect(dataset.version > version)
    try dataset.gather(Buffer([0, 1, 2, 3, 4, 5, 0]), of: source)
    #expect(column(dataset.x) == [0, 1, 2, 3, 4, 5, 0])
  }

  @Test("instances")
  func instances() throws {
    let dataset = try Self.make()
    #expect(dataset.instanceCount == 6 && dataset.rowRange(ofInstance: 3) == 3..<4)
    try dataset.setOffsets([0, 2, 3, 6], count: 4)
    #expect(dataset.instanceCount == 3 && dataset.rowRange(ofInstance: 2) == 3..<6)
    #expect(try dataset.rows(ofInstances: Buffer([2, 0])).array == [3, 4, 5, 0, 1])
  }

  @Test("a batch of some instances, in their order")
  func batches() throws {
    let dataset = try Self.make()
    try dataset.setOffsets([0, 2, 3, 6], count: 4)
    let batch = try TaskBatch(dataset, instances: Buffer([2, 0]), phase: .validation)
    #expect(batch.instances.array == [2, 0] && batch.offsets.array == [0, 3, 5] && batch.rows == 5)
    #expect(batch.targets.array == [-3, -4, -5, 0, -1])
    #expect(batch.inputs?.array == [3, 30, 4, 40, 5, 50, 0, 0, 1, 10] && batch.phase == .validation)
    let predictor = try NetworkPredictor(linearInputs: 2, outputs: 1, bias: false)
    try batch.predict(predictor, [1, 0.1])
    #expect(batch.predictions.array == [6, 8, 10, 0, 2])
    expectEqual(batch.rmse, ((81.0 + 144 + 225 + 0 + 9) / 5).squareRoot(), to: 1e-14)
    let whole = try TaskBatch(dataset, phase: .training)
    #expect(whole.instances.array == [0, 1, 2] && whole.offsets.array == [0, 2, 3, 6])
  }

  @Test("new rows in place of the old ones")
  func refilling() throws {
    let dataset = try Dataset(DenseMatrix([[1, 2], [3, 4]]), DenseMatrix([[5], [6]]))
    try dataset.setWeights([1, 2])
    try dataset.setOffsets([0, 2], count: 2)
    let other = try Self.make(rows: 4)
    try dataset.refill(other.x, other.y, weights: nil)
    #expect(column(dataset.x) == [0, 1, 2, 3] && dataset.weights == nil && dataset.instanceCount == 4)
    expectError(.state, "borrowed") { try other.refill(dataset.x, dataset.y, weights: nil) }
    dataset.hold()
    expectError(.state, "held") { try dataset.refill(other.x, other.y, weights: nil) }
    expectError(.state, "held") { try dataset.setWeights([1, 1, 1, 1]) }
    dataset.letGo()
    try dataset.setWeights([1, 1, 1, 1])
  }
}
