// Rows that a function of the caller's writes when they are asked for.

import CTaskMet

final class CallbackRows: RowSource {
  /// The caller's function, by the precision that it writes.
  enum Function {
    case float64(taskmet_read_fn)
    case float32(taskmet_read_f32_fn)

    fileprivate var precision: Precision {
      switch self {
      case .float64: .float64
      case .float32: .float32
      }
    }
  }

  private let function: Function
  private let user: CallbackUser

  init(rows: Int, features: Int, targets: Int, _ function: Function, _ user: CallbackUser) {
    self.function = function
    self.user = user
    super.init(rows: rows, features: features, targets: targets, function.precision)
  }

  override func read(_ range: Range<Int>, x: UnsafeMutableRawPointer?, y: UnsafeMutableRawPointer?) throws {
    guard let x, let y else { throw TaskMetError.unsupported("the read callback writes both sides") }
    let status =
      switch function {
      case .float64(let function): ask(function, range, x.assumingMemoryBound(to: Double.self), y)
      case .float32(let function): ask(function, range, x.assumingMemoryBound(to: Float.self), y)
      }
    do {
      try checkCallback(status, "the read callback, asked for rows \(range.lowerBound) to \(range.upperBound - 1),")
    } catch let error as TaskMetError where error.code == .rejected {
      // There is no step that could be shortened.
      throw TaskMetError(code: .callback, message: error.message)
    }
    for (name, base, columns) in [("x", x, features), ("y", y, targets)] {
      let view = MatrixView(base, precision, rows: range.count, columns: columns)
      if let (row, column) = view.firstNonFinite {
        throw TaskMetError(
          code: .callback,
          message: "the read callback's \(name)[\(range.lowerBound + row),\(column)] must be finite, got "
            + "\(view[row, column])")
      }
    }
  }

  /// The function's answer, to room that is all NaN.
  @inline(__always)
  private func ask<Scalar: BLASScalar>(
    _ function: (
      UnsafeMutableRawPointer?, Int64, Int64, UnsafeMutablePointer<Scalar>?, UnsafeMutablePointer<Scalar>?
    ) -> Int32,
    _ range: Range<Int>, _ x: UnsafeMutablePointer<Scalar>, _ rawY: UnsafeMutableRawPointer
  ) -> Int32 {
    let y = rawY.assumingMemoryBound(to: Scalar.self)
    x.update(repeating: .nan, count: range.count * features)
    y.update(repeating: .nan, count: range.count * targets)
    return function(user.pointer, Int64(range.lowerBound), Int64(range.count), x, y)
  }
}
