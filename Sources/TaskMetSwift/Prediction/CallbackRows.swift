// Rows that a function of the caller's writes when they are asked for.

import CTaskMet

final class CallbackRows: RowSource {
  private let function: taskmet_read_fn
  private let user: CallbackUser

  init(rows: Int, features: Int, targets: Int, _ function: @escaping taskmet_read_fn, _ user: CallbackUser) {
    self.function = function
    self.user = user
    super.init(rows: rows, features: features, targets: targets)
  }

  override func read(
    _ range: Range<Int>, x: UnsafeMutablePointer<Double>?, y: UnsafeMutablePointer<Double>?
  ) throws {
    guard let x, let y else { throw TaskMetError.unsupported("the read callback writes both sides") }
    let count = range.count
    x.update(repeating: .nan, count: count * features)
    y.update(repeating: .nan, count: count * targets)
    let status = function(user.pointer, Int64(range.lowerBound), Int64(count), x, y)
    do {
      try checkCallback(status, "the read callback, asked for rows \(range.lowerBound) to \(range.upperBound - 1),")
    } catch let error as TaskMetError where error.code == .rejected {
      // There is no step that could be shortened.
      throw TaskMetError(code: .callback, message: error.message)
    }
    for (name, base, columns) in [("x", x, features), ("y", y, targets)] {
      if let (row, column) = MatrixView(base, rows: count, columns: columns).firstNonFinite {
        throw TaskMetError(
          code: .callback,
          message: "the read callback's \(name)[\(range.lowerBound + row),\(column)] must be finite, got "
            + "\(base[row * columns + column])")
      }
    }
  }
}
