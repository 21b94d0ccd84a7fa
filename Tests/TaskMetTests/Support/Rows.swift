// Rows in memory, where the library's functions take rows that may be streamed.

@testable import TaskMetSwift

extension Dataset {
  /// x and y of a dataset that is not streamed.
  var x: MatrixView { featureRows.inMemory! }
  var y: MatrixView { targetRows.inMemory! }
}

extension Metric {
  func updateNormalization(rows: Int, _ x: MatrixView) throws { try updateNormalization(rows: rows, BlockedMatrix(x)) }

  func differentiatesNormalization(rows: Int, _ x: MatrixView) throws -> Bool {
    try differentiatesNormalization(rows: rows, BlockedMatrix(x))
  }
}
