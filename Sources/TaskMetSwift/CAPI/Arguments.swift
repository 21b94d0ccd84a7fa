// Checks of what callers hand in: each names the argument and its value.

import CTaskMet

/// More bytes than a process can address: no array of the caller's has them.
private let addressableBytes = 1 << 47

func requireInteger(_ value: Int64, _ name: String, atLeast minimum: Int64 = 1, atMost maximum: Int64 = .max) throws
  -> Int
{
  guard value >= minimum else { throw TaskMetError.invalidArgument("\(name) must be >= \(minimum), got \(value)") }
  guard value <= maximum else { throw TaskMetError.invalidArgument("\(name) must be <= \(maximum), got \(value)") }
  return Int(value)
}

/// A number of features, outputs or units: what BLAS can count.
func requireWidth(_ value: Int64, _ name: String) throws -> Int {
  try requireInteger(value, name, atLeast: 1, atMost: Int64(Int32.max))
}

func requireReal(_ value: Double, _ name: String) throws -> Double {
  guard value.isFinite else { throw TaskMetError.invalidArgument("\(name) must be finite, got \(value)") }
  return value
}

func requireReal(_ value: Double, _ name: String, atLeast minimum: Double) throws -> Double {
  guard try requireReal(value, name) >= minimum else {
    throw TaskMetError.invalidArgument("\(name) must be >= \(minimum), got \(value)")
  }
  return value
}

func requirePositive(_ value: Double, _ name: String) throws -> Double {
  guard try requireReal(value, name) > 0 else {
    throw TaskMetError.invalidArgument("\(name) must be > 0, got \(value)")
  }
  return value
}

/// 0 <= value < 1.
func requireDecay(_ value: Double, _ name: String) throws -> Double {
  guard try requireReal(value, name, atLeast: 0) < 1 else {
    throw TaskMetError.invalidArgument("\(name) must be < 1, got \(value)")
  }
  return value
}

func requireFlag(_ value: Int32, _ name: String) throws -> Bool {
  guard value == 0 || value == 1 else { throw TaskMetError.invalidArgument("\(name) must be 0 or 1, got \(value)") }
  return value == 1
}

func requireCase<Value: RawRepresentable & CaseIterable>(_ value: Int32, _ name: String) throws -> Value
where Value.RawValue == Int32 {
  guard let match = Value(rawValue: value) else {
    throw TaskMetError.invalidArgument("\(name) must be 0 to \(Value.allCases.count - 1), got \(value)")
  }
  return match
}

func requirePointer<Element>(_ pointer: UnsafePointer<Element>?, _ name: String) throws -> UnsafePointer<Element> {
  guard let pointer else { throw TaskMetError.invalidArgument("\(name) must not be NULL") }
  return pointer
}

func requirePointer<Element>(
  _ pointer: UnsafeMutablePointer<Element>?, _ name: String
) throws -> UnsafeMutablePointer<Element> {
  guard let pointer else { throw TaskMetError.invalidArgument("\(name) must not be NULL") }
  return pointer
}

/// A count that must be what the objects say.
func requireCount(_ count: Int64, _ expected: Int, _ name: String) throws {
  if count < 0 { throw TaskMetError.invalidArgument("\(name) must be >= 0, got \(count)") }
  guard count == Int64(expected) else { throw TaskMetError.shape("\(name) must be \(expected), got \(count)") }
}

/// A number of rows: BLAS counts them too.
func requireRowCount(_ value: Int64, _ name: String = "rows") throws -> Int { try requireWidth(value, name) }

/// rows x columns reals with a row stride, by their bounds alone.
private func checkBounds(_ rows: Int, _ columns: Int, _ stride: Int64, _ name: String, _ strideName: String) throws {
  guard stride >= Int64(columns) else {
    throw TaskMetError.invalidArgument("\(strideName) must be >= \(columns), the row's length, got \(stride)")
  }
  let (elements, overflow) = rows.multipliedReportingOverflow(by: Int(stride))
  if overflow || elements > addressableBytes / 8 {
    throw TaskMetError.invalidArgument("\(name) of \(rows) rows with stride \(stride) is larger than any memory")
  }
}

/// A matrix that the caller hands in, finite throughout, in its own precision and in the one that it will be converted to.
func requireMatrix<Scalar: BLASScalar>(
  _ base: UnsafePointer<Scalar>?, rows: Int, columns: Int, stride: Int64, _ name: String,
  in precision: Precision = .float64
) throws -> MatrixView {
  let base = try requirePointer(base, name)
  try checkBounds(rows, columns, stride, name, name + "_stride")
  let view = MatrixView(base, rows: rows, columns: columns, stride: Int(stride))
  try requireFinite(view, name)
  if let (row, column) = view.firstOverflow(in: precision) {
    throw tooLarge(view[row, column], "\(name)[\(row),\(column)]", precision)
  }
  return view
}

/// A matrix that the library fills.
func requireOutput(
  _ base: UnsafeMutablePointer<Double>?, rows: Int, columns: Int, stride: Int64, _ name: String
) throws -> UnsafeMutablePointer<Double> {
  let base = try requirePointer(base, name)
  try checkBounds(rows, columns, stride, name, name + "_stride")
  return base
}

func requireFinite(_ view: MatrixView, _ name: String) throws {
  if let (row, column) = view.firstNonFinite {
    throw TaskMetError.invalidArgument("\(name)[\(row),\(column)] must be finite, got \(view[row, column])")
  }
}

/// For a finite number that is not finite in a precision.
private func tooLarge(_ value: Double, _ name: String, _ precision: Precision) -> TaskMetError {
  .invalidArgument(
    "\(name) must be at most \(Double(Float.greatestFiniteMagnitude)) in size for \(precision.name), got \(value)")
}

/// A vector that the caller hands in, of the expected length and finite, in float64 and in the precision that it will be
/// converted to.
func requireVector(
  _ base: UnsafePointer<Double>?, _ count: Int64, _ expected: Int, _ name: String, _ countName: String,
  in precision: Precision = .float64
) throws -> UnsafePointer<Double> {
  let base = try requirePointer(base, name)
  try requireCount(count, expected, countName)
  if let index = firstNonFinite(expected, base) {
    throw TaskMetError.invalidArgument("\(name)[\(index)] must be finite, got \(base[index])")
  }
  if let index = precision.firstOverflow(expected, base) {
    throw tooLarge(base[index], "\(name)[\(index)]", precision)
  }
  return base
}

/// A vector that the library fills.
func requireOutput(
  _ base: UnsafeMutablePointer<Double>?, _ count: Int64, _ expected: Int, _ name: String, _ countName: String = "count"
) throws -> UnsafeMutablePointer<Double> {
  let base = try requirePointer(base, name)
  try requireCount(count, expected, countName)
  return base
}

func requirePath(_ path: UnsafePointer<CChar>?, _ name: String = "path") throws -> String {
  // A repaired string would name another file.
  guard let path = String(validatingCString: try requirePointer(path, name)) else {
    throw TaskMetError.invalidArgument("\(name) must be UTF-8")
  }
  if path.isEmpty { throw TaskMetError.invalidArgument("\(name) must not be empty") }
  return path
}

/// The widths of hidden layers.
func requireHidden(_ count: Int64, _ hidden: UnsafePointer<Int64>?) throws -> [Int] {
  let count = try requireInteger(count, "hidden_count", atLeast: 0, atMost: 1000)
  if count == 0 { return [] }
  let hidden = try requirePointer(hidden, "hidden")
  return try (0..<count).map { try requireWidth(hidden[$0], "hidden[\($0)]") }
}

/// Means and scales; nil where both are NULL.
func requireStandardization(
  _ mean: UnsafePointer<Double>?, _ scale: UnsafePointer<Double>?, _ count: Int64, _ expected: Int,
  _ names: (mean: String, scale: String, count: String)
) throws -> Standardization? {
  if mean == nil, scale == nil {
    try requireCount(count, 0, names.count)
    return nil
  }
  let mean = try requireVector(mean, count, expected, names.mean, names.count)
  let scale = try requireVector(scale, count, expected, names.scale, names.count)
  if let index = (0..<expected).first(where: { !(scale[$0] > 0) }) {
    throw TaskMetError.invalidArgument("\(names.scale)[\(index)] must be > 0, got \(scale[index])")
  }
  return Standardization(
    mean: try Buffer(copying: mean, count: expected), scale: try Buffer(copying: scale, count: expected))
}

/// Copies results out: they are computed elsewhere, so that a failure leaves the caller's memory alone.
func deliver(_ values: Buffer<Double>, to out: UnsafeMutablePointer<Double>, _ name: String) throws {
  if let index = firstNonFinite(values.count, values.base) {
    throw TaskMetError.numerical(
      "\(name)[\(index)] is \(values[index]); standardise the data or scale the parameters down")
  }
  out.update(from: values.base, count: values.count)
}

func deliver(
  _ values: Buffer<Double>, rows: Int, columns: Int, to out: UnsafeMutablePointer<Double>, stride: Int64, _ name: String
) throws {
  let view = MatrixView(values.base, rows: rows, columns: columns)
  if let (row, column) = view.firstNonFinite {
    throw TaskMetError.numerical(
      "\(name)[\(row),\(column)] is \(view[row, column]); standardise the data or scale the parameters down")
  }
  for row in 0..<rows { (out + row * Int(stride)).update(from: values.base + row * columns, count: columns) }
}

// MARK: - Structs

/// A struct that begins with its struct_size, as the caller's version knows it, over the defaults of this one.
/// `minimum` is the size that every version has.
func readStruct<Value: BitwiseCopyable>(
  _ pointer: UnsafePointer<Value>?, defaults: Value, minimum: Int, _ name: String
) throws -> Value {
  guard let pointer else { return defaults }
  let size = try structSize(pointer, minimum: minimum, name)
  var value = defaults
  withUnsafeMutableBytes(of: &value) { $0.baseAddress!.copyMemory(from: pointer, byteCount: min(size, $0.count)) }
  return value
}

/// The struct_size that the caller has set.
@discardableResult
func structSize<Value>(_ pointer: UnsafePointer<Value>, minimum: Int, _ name: String) throws -> Int {
  let size = UnsafeRawPointer(pointer).load(as: Int.self)
  guard size >= minimum else {
    throw TaskMetError.invalidArgument("\(name).struct_size must be >= \(minimum), got \(UInt(bitPattern: size))")
  }
  // No version's struct has another: part of a field would be read, or written.
  guard size % 8 == 0 else {
    throw TaskMetError.invalidArgument("\(name).struct_size must be a multiple of 8, got \(size)")
  }
  return size
}

/// Writes the part of a struct that the caller's version knows; its struct_size stays as it is.
func writeStruct<Value: BitwiseCopyable>(_ value: Value, to pointer: UnsafeMutablePointer<Value>?) {
  guard let pointer else { return }
  let header = MemoryLayout<Int>.size
  let size = UnsafeRawPointer(pointer).load(as: Int.self)
  withUnsafeBytes(of: value) { bytes in
    // A callback may have overwritten it since it was checked.
    let count = min(size, bytes.count) - header
    guard count > 0 else { return }
    (UnsafeMutableRawPointer(pointer) + header).copyMemory(from: bytes.baseAddress! + header, byteCount: count)
  }
}
