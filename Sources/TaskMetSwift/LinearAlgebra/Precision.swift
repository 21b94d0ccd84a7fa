// float64 and float32 side by side: which one an object is in, and vectors and sums on their way between the two.
//
// Work on a tile of rows is done in the objects' own precision: that is where the time goes. Vectors as long as theta or phi
// that live longer than a pass (the optimiser's, the Krylov solver's) and sums over tiles stay float64 throughout. They cost
// O(P) beside the O(rows P) of a pass, and it is there that float32 would lose most: a small step beside a large parameter,
// a long sum, the difference of two nearly equal vectors.

/// Raw values are those of `taskmet_precision`.
enum Precision: Int32, CaseIterable {
  case float64, float32

  /// The name in messages and files.
  var name: String { String(describing: self) }

  /// Bytes of a number.
  var size: Int { self == .float64 ? MemoryLayout<Double>.size : MemoryLayout<Float>.size }

  /// Differences of products and values this small, relative to what they are made of, are rounding: some tens of units in
  /// the last place in float64; in float32 about ten, since sums over tiles add none.
  var rounding: Double { self == .float64 ? 1e-14 : 1e-6 }

  /// The smallest relative residual of a linear system that is worth asking for: products with H are no better.
  var attainableResidual: Double { self == .float64 ? 0 : 1e-5 }

  func rounded(_ value: Double) -> Double { self == .float64 ? value : Double(Float(value)) }

  /// The index of the first of some finite numbers that is too large.
  func firstOverflow(_ count: Int, _ values: UnsafePointer<Double>) -> Int? {
    self == .float64 ? nil : (0..<count).first { !Float(values[$0]).isFinite }
  }

  /// out = the values, rounded; `out` may be where they are. The error says that `name` is too large for the precision.
  func round(
    _ count: Int, _ values: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>, _ name: String
  ) throws {
    if let index = firstOverflow(count, values) {
      throw TaskMetError.numerical("\(name)[\(index)] is \(values[index]), too large for \(self.name)")
    }
    for index in 0..<count { out[index] = rounded(values[index]) }
  }
}

/// target = source, converted.
@_specialize(where Source == Double, Target == Double)
@_specialize(where Source == Double, Target == Float)
@_specialize(where Source == Float, Target == Double)
@_specialize(where Source == Float, Target == Float)
func convert<Source: BLASScalar, Target: BLASScalar>(
  _ count: Int, _ source: UnsafePointer<Source>, to target: UnsafeMutablePointer<Target>
) {
  for index in 0..<count { target[index] = Target(source[index]) }
}

/// target += source, converted.
@_specialize(where Scalar == Double)
@_specialize(where Scalar == Float)
private func addConverted<Scalar: BLASScalar>(
  _ count: Int, _ source: UnsafePointer<Scalar>, to target: UnsafeMutablePointer<Double>
) {
  for index in 0..<count { target[index] += Double(source[index]) }
}

/// A power of two near 1/|x|, by its largest element, for linear functions of vectors that may be far from 1 in size:
/// float32 holds numbers between 1e-38 and 1e38 only. 1 in float64, which has room enough.
func scaleForRange<Scalar: BLASScalar>(_ count: Int, _ x: UnsafePointer<Double>, _: Scalar.Type) -> Double {
  if Scalar.self == Double.self { return 1 }
  let largest = abs(x[Double.indexOfLargest(count, x)])
  guard largest.isNormal else { return 1 }
  // Both the scale and its inverse are normal numbers.
  return Double(sign: .plus, exponent: -max(-1000, min(1000, Int(largest.exponent))), significand: 1)
}

/// A float64 vector as the arithmetic of a tile sees it: itself, or a copy in float32.
final class TileVector<Scalar: BLASScalar> {
  private let copy: Buffer<Scalar>?

  init(count: Int) throws { copy = Scalar.self == Double.self ? nil : try Buffer(count: count) }

  /// scale times the vector, valid until the next call. A scale other than 1 is for float32 alone.
  @inline(__always)
  func callAsFunction(_ count: Int, _ source: UnsafePointer<Double>, scale: Double = 1) -> UnsafePointer<Scalar> {
    guard let copy else { return UnsafeRawPointer(source).assumingMemoryBound(to: Scalar.self) }
    let target = copy.base
    for index in 0..<count { target[index] = Scalar(scale * source[index]) }
    return UnsafePointer(target)
  }
}

/// A sum over a tile's rows, in the arithmetic of the tile, that is added to a float64 sum over tiles.
final class TileSum<Scalar: BLASScalar> {
  private let part: Buffer<Scalar>?

  init(count: Int) throws { part = Scalar.self == Double.self ? nil : try Buffer(count: count) }

  /// total += what `body` adds to the memory it is given.
  @inline(__always)
  func add(
    _ count: Int, to total: UnsafeMutablePointer<Double>, _ body: (UnsafeMutablePointer<Scalar>) throws -> Void
  ) rethrows {
    guard let part else { return try body(UnsafeMutableRawPointer(total).assumingMemoryBound(to: Scalar.self)) }
    part.base.update(repeating: 0, count: count)
    try body(part.base)
    addConverted(count, UnsafePointer(part.base), to: total)
  }
}
