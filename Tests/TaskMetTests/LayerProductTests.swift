// The kernels of every instruction set that this machine has, against loops that say what they mean.

import CKernels
import Testing

@testable import TaskMetSwift

/// One scalar type's kernels, of a set that need not be the machine's best.
private protocol KernelScalar: BLASScalar {
  /// How far a sum of a few hundred products of numbers around 1 may be off.
  static var rounding: Double { get }
  static func compute(_ product: LayerProduct<Self>, _ kernels: kernel_table)
  static func addColumnSums(
    _ kernels: kernel_table, _ rows: Int, _ columns: Int, _ x: UnsafePointer<Self>, _ y: UnsafeMutablePointer<Self>)
  static func areFinite(_ kernels: kernel_table, _ count: Int, _ x: UnsafePointer<Self>) -> Bool
}

extension Double: KernelScalar {
  fileprivate static var rounding: Double { 1e-12 }
  fileprivate static func compute(_ product: LayerProduct<Double>, _ kernels: kernel_table) { product.compute(kernels) }
  fileprivate static func addColumnSums(
    _ kernels: kernel_table, _ rows: Int, _ columns: Int, _ x: UnsafePointer<Double>, _ y: UnsafeMutablePointer<Double>
  ) { kernels.add_column_sums_f64(Int64(rows), Int64(columns), x, y) }
  fileprivate static func areFinite(_ kernels: kernel_table, _ count: Int, _ x: UnsafePointer<Double>) -> Bool {
    kernels.are_finite_f64(Int64(count), x) != 0
  }
}

extension Float: KernelScalar {
  fileprivate static var rounding: Double { 1e-3 }
  fileprivate static func compute(_ product: LayerProduct<Float>, _ kernels: kernel_table) { product.compute(kernels) }
  fileprivate static func addColumnSums(
    _ kernels: kernel_table, _ rows: Int, _ columns: Int, _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>
  ) { kernels.add_column_sums_f32(Int64(rows), Int64(columns), x, y) }
  fileprivate static func areFinite(_ kernels: kernel_table, _ count: Int, _ x: UnsafePointer<Float>) -> Bool {
    kernels.are_finite_f32(Int64(count), x) != 0
  }
}

private enum Variant: CaseIterable {
  case plain, accumulated, biased, biasedAndRectified, accumulatedAndScaled, gated, twice, twiceAccumulatedAndGated

  var isAccumulated: Bool { self == .accumulated || self == .accumulatedAndScaled || self == .twiceAccumulatedAndGated }
  var isBiased: Bool { self == .biased || self == .biasedAndRectified }
  var isGated: Bool { self == .gated || self == .twiceAccumulatedAndGated }
  var isTwice: Bool { self == .twice || self == .twiceAccumulatedAndGated }
}

/// A product with operands of random numbers, each row of an operand a little longer than it need be, and guards after
/// the results.
private struct Case<Scalar: KernelScalar> {
  static var guards: Int { 40 }
  static var guardValue: Scalar { 77 }
  static var below: Scalar { 0.25 }

  let (m, n, k): (Int, Int, Int)
  let (transposeA, transposeB): (Bool, Bool)
  let variant: Variant
  let (a, b, bias, present, factor): (Buffer<Scalar>, Buffer<Scalar>, Buffer<Scalar>, [Scalar], Buffer<Scalar>)
  let (a2, b2, c): (Buffer<Scalar>, Buffer<Scalar>, Buffer<Scalar>)
  var aStride: Int { (transposeA ? m : k) + 3 }
  var bStride: Int { (transposeB ? k : n) + 2 }

  init(
    _ shape: (Int, Int, Int), transposeA: Bool, transposeB: Bool, _ variant: Variant, _ random: inout RandomGenerator
  ) throws {
    (m, n, k) = shape
    (self.transposeA, self.transposeB, self.variant) = (transposeA, transposeB, variant)
    func numbers(_ count: Int) -> [Scalar] { (0..<count).map { _ in Scalar(2 * random.uniform() - 1) } }
    let (aRows, aStride) = transposeA ? (k, m + 3) : (m, k + 3)
    // The last row ends where the matrix does: a kernel that reads on is found by the sanitizers.
    a = try Buffer(numbers(max(0, aRows * aStride - 3)))
    b = try Buffer(numbers(max(0, transposeB ? n * (k + 2) - 2 : k * (n + 2) - 2)))
    (a2, b2) = (try Buffer(numbers(a.count)), try Buffer(numbers(b.count)))
    bias = try Buffer(numbers(n))
    // Some are zero, where a gate is closed.
    factor = try Buffer(numbers(m * n).enumerated().map { $0 % 5 == 4 ? 0 : $1 })
    present = numbers(m * n)
    c = try Buffer(present + [Scalar](repeating: Self.guardValue, count: Self.guards))
  }

  func compute(_ kernels: kernel_table) {
    var product = LayerProduct(
      m: m, n: n, k: k, a: UnsafePointer(a.base), aRow: transposeA ? 1 : aStride, aColumn: transposeA ? aStride : 1,
      b: UnsafePointer(b.base), bStride: bStride, transposeB: transposeB, c: c.base)
    if variant.isAccumulated { product.start = .present }
    if variant.isBiased { product.start = .bias(bias.base) }
    if variant.isTwice { product.second = (UnsafePointer(a2.base), UnsafePointer(b2.base)) }
    if variant.isGated { product.end = .gate(by: factor.base, below: Self.below) }
    if variant == .biasedAndRectified { product.end = .rectify(below: Self.below) }
    if variant == .accumulatedAndScaled { product.end = .scale(by: factor.base) }
    Scalar.compute(product, kernels)
  }

  /// Element (i, j) before the end.
  private func sum(_ i: Int, _ j: Int) -> Double {
    var sum = variant.isAccumulated ? Double(present[i * n + j]) : variant.isBiased ? Double(bias[j]) : 0
    for l in 0..<k {
      let left = transposeA ? l * aStride + i : i * aStride + l
      let right = transposeB ? j * bStride + l : l * bStride + j
      sum += Double(a[left]) * Double(b[right])
      if variant.isTwice { sum += Double(a2[left]) * Double(b2[right]) }
    }
    return sum
  }

  private var name: String {
    "\(m) x \(n) x \(k), A transposed: \(transposeA), B transposed: \(transposeB), \(variant)"
  }

  /// The first element that is wrong.
  var mistake: String? {
    for index in 0..<(m * n) {
      var expected = sum(index / n, index % n)
      if variant == .biasedAndRectified, expected <= 0 { expected *= Double(Self.below) }
      if variant.isGated, factor[index] <= 0 { expected *= Double(Self.below) }
      if variant == .accumulatedAndScaled { expected *= Double(factor[index]) }
      if !(abs(Double(c[index]) - expected) <= Scalar.rounding) {
        return "\(name): element \(index) is \(c[index]), not \(expected)"
      }
    }
    let intact = (0..<Self.guards).allSatisfy { c[m * n + $0] == Self.guardValue }
    return intact ? nil : "\(name): memory after C was written"
  }
}

@Suite("Kernels of dense layers")
struct LayerProductTests {
  /// Those that this machine can run.
  static let levels = (0..<3).filter { kernels_for(Int32($0)) != nil }

  private func checkProducts<Scalar: KernelScalar>(_: Scalar.Type, _ kernels: kernel_table) throws {
    var random = RandomGenerator(seed: 104)
    let edges = [1, 2, 3, 4, 7, 8, 9, 15, 17, 33, 41]
    var shapes: [(Int, Int, Int)] = []
    for m in edges { for n in edges { shapes.append((m, n, edges[(m + n) % edges.count])) } }
    // Sums of nothing, sums in pieces, panels of the packed B in pieces, rows of C that don't fit in a flipped C.
    shapes += [(3, 5, 0), (7, 9, 1300), (5, 40, 300), (2, 3, 515), (1200, 5, 20), (13, 1, 100), (130, 4, 64)]
    // Several panels.
    shapes += [(1, 150, 21), (20, 150, 3), (13, 70, 4), (7, 133, 1)]
    for shape in shapes {
      for (transposeA, transposeB) in [(false, false), (true, false), (false, true), (true, true)] {
        for variant in Variant.allCases {
          let test = try Case<Scalar>(shape, transposeA: transposeA, transposeB: transposeB, variant, &random)
          test.compute(kernels)
          if let mistake = test.mistake {
            Issue.record("\(String(cString: kernels.name)), \(Scalar.self): \(mistake)")
            return
          }
        }
      }
    }
  }

  @Test("products of every shape, start and end", arguments: levels)
  func products(_ level: Int) throws {
    let kernels = kernels_for(Int32(level))!.pointee
    try checkProducts(Double.self, kernels)
    try checkProducts(Float.self, kernels)
  }

  private func checkSums<Scalar: KernelScalar>(_: Scalar.Type, _ kernels: kernel_table) throws {
    var random = RandomGenerator(seed: 105)
    for (rows, columns) in [(0, 3), (1, 1), (2, 8), (5, 17), (64, 33), (7, 2)] {
      let x = try Buffer((0..<(rows * columns)).map { _ in Scalar(random.normal()) })
      let y = try Buffer<Scalar>((0...columns).map { Scalar($0) })
      Scalar.addColumnSums(kernels, rows, columns, x.base, y.base)
      let expected = (0..<columns).map { j in (0..<rows).reduce(Double(j)) { $0 + Double(x[$1 * columns + j]) } }
      expectEqual((0..<columns).map { Double(y[$0]) }, expected, to: Scalar.rounding, scale: 1)
      #expect(y[columns] == Scalar(columns), "nothing after the sums is written")
    }
  }

  private func checkFiniteness<Scalar: KernelScalar>(_: Scalar.Type, _ kernels: kernel_table) throws {
    for count in [0, 1, 2, 7, 8, 33, 64, 131] {
      let x = try Buffer<Scalar>(repeating: .greatestFiniteMagnitude, count: count + 1)
      x[count] = .nan
      #expect(Scalar.areFinite(kernels, count, x.base), "large is finite, and what follows is not looked at")
      for index in 0..<count {
        x[index] = [.nan, .infinity, -.infinity][index % 3]
        #expect(!Scalar.areFinite(kernels, count, x.base))
        x[index] = 0
      }
    }
  }

  @Test("sums of columns, and numbers that aren't finite", arguments: levels)
  func vectors(_ level: Int) throws {
    let kernels = kernels_for(Int32(level))!.pointee
    try checkSums(Double.self, kernels)
    try checkSums(Float.self, kernels)
    try checkFiniteness(Double.self, kernels)
    try checkFiniteness(Float.self, kernels)
  }

  @Test("a step of Adam", arguments: levels, [1, 7, 16, 37])
  func adam(_ level: Int, _ count: Int) throws {
    var random = RandomGenerator(seed: 106)
    let (g, p) = (try Buffer([Double].normal(count, &random)), try Buffer([Double].normal(count, &random)))
    let moments = try Buffer((0..<(2 * count)).map { _ in random.uniform() })
    let (moved, next) = (try Buffer<Double>(count: count), try Buffer<Double>(count: 2 * count))
    var step = adam_step(
      count: Int64(count), gradient: g.base, parameters: p.base, moments: moments.base, moved: moved.base,
      new_moments: next.base, beta1: 0.9, beta2: 0.99, rate: 0.1, correction: 0.5, epsilon: 1e-3)
    kernels_for(Int32(level))!.pointee.step_adam(&step)
    for k in 0..<count {
      let m = 0.9 * moments[k] + 0.1 * g[k]
      let v = 0.99 * moments[count + k] + 0.01 * g[k] * g[k]
      let expected = [m, v, p[k] - 0.1 * m / (v.squareRoot() / 0.5 + 1e-3)]
      expectEqual([next[k], next[count + k], moved[k]], expected, to: 1e-14, scale: 1)
    }
  }
}
