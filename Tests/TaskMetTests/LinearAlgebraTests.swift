// The ground floor: buffers, kernels, random numbers, rows cut into tiles and lanes, threads, factorisations, access.

import Glibc
import Testing

@testable import TaskMetSwift

@Suite("Random numbers")
struct RandomGeneratorTests {
  /// xoshiro256++ seeded by SplitMix64: what other implementations of the two give (rand_xoshiro's for seed 0,
  /// among them).
  @Test(
    "are xoshiro256++'s",
    arguments: [
      (0, [0x5317_5D61_490B_23DF, 0x61DA_6F3D_C380_D507, 0x5C0F_DF91_EC9A_7BFC, 0x02EE_BF8C_3BBE_5E1A]),
      (1, [0xCFC5_D07F_6F03_C29B, 0xBF42_4132_963F_E08D, 0x19A3_7D57_57AA_F520, 0xBF08_119F_05CD_56D6]),
      (.max, [0x56CC_F8CE_948E_27B2, 0xE685_8843_2E5A_5B90, 0xE3E9_B5A4_8119_CA8B, 0x460F_1949_5532_AE73]),
    ] as [(UInt64, [UInt64])])
  func reference(_ seed: UInt64, _ expected: [UInt64]) {
    var random = RandomGenerator(seed: seed)
    #expect(expected.map { _ in random.next() } == expected)
  }

  @Test("uniform and normal numbers are made from them as expected")
  func derived() {
    var random = RandomGenerator(seed: 42)
    #expect((0..<3).map { _ in random.uniform() } == [0.8143051451229099, 0.3188210400616611, 0.9838941681774888])
    random = RandomGenerator(seed: 42)
    expectEqual(
      (0..<4).map { _ in random.normal() },
      [-0.7689930538210061, 1.6661184587142, -0.8684461074702454, -2.7391511556643047], to: 1e-14)
  }

  @Test(
    "samples are different numbers, all of them equally often", arguments: [(3, 10), (9, 10), (1, 1), (20, 7), (0, 5)])
  func samples(_ wanted: Int, _ count: Int) throws {
    var random = RandomGenerator(seed: 4)
    var hits = [Int](repeating: 0, count: count)
    for _ in 0..<2000 {
      let sample = try random.sample(wanted, of: count)?.array ?? Array(0..<count)
      #expect(Set(sample).count == min(wanted, count) && sample.count == min(wanted, count))
      for k in sample { hits[k] += 1 }
    }
    let expected = 2000.0 * Double(min(wanted, count)) / Double(count)
    #expect(hits.allSatisfy { abs(Double($0) - expected) < 5 * expected.squareRoot() + 1e-9 })
  }

  @Test("permutations, each place equally often")
  func permutations() throws {
    var random = RandomGenerator(seed: 5)
    var first = [Int](repeating: 0, count: 6)
    for _ in 0..<3000 {
      let order = try random.permutation(of: 6).array
      #expect(order.sorted() == Array(0..<6))
      first[order[0]] += 1
    }
    #expect(first.allSatisfy { abs($0 - 500) < 110 })
    #expect(try random.permutation(of: 0).array == [] && random.permutation(of: 1).array == [0])
  }

  @Test("samples and permutations are the same numbers in every version: checkpoints go on with them")
  func sameNumbers() throws {
    var random = RandomGenerator(seed: 6)
    #expect(try random.sample(4, of: 10)?.array == [2, 7, 8, 5])
    #expect(try random.sample(5, of: 1_000_000)?.array == [879349, 846610, 810302, 77349, 523257])
    #expect(try random.permutation(of: 8).array == [3, 1, 6, 7, 0, 5, 4, 2])
    #expect(try random.sample(10, of: 10) == nil && random.sample(0, of: 0) == nil)
  }

  @Test("a generator goes on from its words")
  func words() {
    var random = RandomGenerator(seed: 6)
    _ = (0..<5).map { _ in random.next() }
    var other = RandomGenerator(seed: 0)
    other.words = random.words
    #expect((0..<5).map { _ in other.next() } == (0..<5).map { _ in random.next() })
  }

  @Test("moments")
  func moments() {
    var random = RandomGenerator(seed: 3)
    let count = 50_000
    func moment(_ order: Double, _ x: [Double]) -> Double { x.reduce(0) { $0 + pow($1, order) } / Double(count) }
    let normals = (0..<count).map { _ in random.normal() }
    for (order, expected, deviation) in [(1.0, 0.0, 1.0), (2, 1, 1.5), (3, 0, 3.9), (4, 3, 9.8)] {
      #expect(abs(moment(order, normals) - expected) < 5 * deviation / Double(count).squareRoot(), "order \(order)")
    }
    let uniforms = (0..<count).map { _ in random.uniform() }
    #expect(uniforms.allSatisfy { $0 >= 0 && $0 < 1 })
    for order in [1.0, 2, 5] {
      #expect(abs(moment(order, uniforms) - 1 / (order + 1)) < 5 * 0.3 / Double(count).squareRoot(), "order \(order)")
    }
  }
}

@Suite("Standardisation")
struct StandardizationTests {
  private let rows: [[Double]] = [[1, 5, -1e9, 1], [2, 5, 2e9, 1 + 1e-15], [6, 5, 5e9, 1], [7, 5, 3e9, 1 - 1e-15]]

  @Test("population mean and deviation; 1 for a column that does not vary beyond rounding")
  func measuring() throws {
    let padded = try Buffer(rows.flatMap { $0 + [.nan] })
    let measured = try Standardization(
      measuring: BlockedMatrix(MatrixView(padded.base, rows: 4, columns: 4, stride: 5)))
    expectEqual(measured.mean.array, [4, 5, 2.25e9, 1], to: 1e-15)
    let deviation = (rows.reduce(0) { $0 + pow($1[2] - 2.25e9, 2) } / 4).squareRoot()
    expectEqual(measured.scale.array, [Double(6.5).squareRoot(), 1, deviation, 1], to: 1e-14)
  }

  @Test("apply, invert and the derivative of invert")
  func application() throws {
    let standardization = Standardization(mean: try Buffer([1, -2]), scale: try Buffer([2, 0.5]))
    let x = try Buffer([3, 4, .nan, -1, 0, .nan] as [Double])
    var out = [Double](repeating: .nan, count: 4)
    standardization.apply(MatrixView(x.base, rows: 2, columns: 2, stride: 3), to: &out)
    #expect(out == [1, 12, -1, 4])
    standardization.invert(rows: 2, &out)
    #expect(out == [3, 4, -1, 0])
    let c = try Buffer([1.0, 1, 10, 10])
    standardization.multiplyByScale(rows: 2, c.base, to: c.base)
    #expect(c.array == [2, 0.5, 20, 5])
  }

  @Test("a deviation that overflows is an error")
  func overflow() throws {
    let x = try Buffer([1e300, -1e300])
    expectError(.numerical) {
      _ = try Standardization(measuring: BlockedMatrix(MatrixView(x.base, rows: 2, columns: 1)))
    }
  }
}

@Suite("Rows in tiles and lanes")
struct RowReductionTests {
  @Test(
    "every row belongs to one tile of one lane", arguments: [1, 2, 127, 128, 129, 384, 385, 1000, 5000], [1, 128, nil])
  func cut(_ rows: Int, _ tileRows: Int?) {
    let plan = RowReduction(rows: rows, tileRows: tileRows, vectorCount: 10, threads: 1)
    var seen: [Int] = []
    for lane in 0..<plan.laneCount {
      let laneRows = plan.tiles(ofLane: lane).flatMap { Array(plan.rows(ofTile: $0)) }
      #expect(laneRows == Array(plan.rows(ofLane: lane)))
      #expect(plan.tiles(ofLane: lane).allSatisfy { plan.rows(ofTile: $0).count <= plan.tileRows })
      seen += laneRows
    }
    #expect(seen == Array(0..<rows))
    #expect(plan.laneCount >= 1 && plan.laneCount <= 8)
    if tileRows == nil { #expect(plan.tileCount == 1 && plan.threads == 1) }
  }

  @Test("long vectors get fewer lanes")
  func memory() {
    func lanes(_ vector: Int) -> Int {
      RowReduction(rows: 100_000, tileRows: 128, vectorCount: vector, threads: 1).laneCount
    }
    #expect(lanes(10) == 8 && lanes(1 << 22) == 2 && lanes(1 << 30) == 1 && lanes(0) == 8)
  }

  @Test("sums have the same bits for any number of threads", arguments: [1, 2, 3, 8, 64])
  func bits(_ threads: Int) throws {
    var random = RandomGenerator(seed: 101)
    let values = [Double].normal(3000 * 3, &random)
    func sum(_ threads: Int) throws -> (Double, [Double]) {
      let plan = RowReduction(rows: 3000, tileRows: 128, vectorCount: 3, threads: threads)
      var partials = GrowingBuffer<Double>()
      // What was there before doesn't matter.
      var out = [Double](repeating: .nan, count: 3)
      let total = try plan.sum(into: &out, count: 3, partials: &partials) { lane, partial in
        var sum = 0.0
        for row in plan.rows(ofLane: lane) {
          for k in 0..<3 { partial[k] += values[3 * row + k] }
          sum += values[3 * row] * values[3 * row + 1]
        }
        return sum
      }
      return (total, out)
    }
    let (total, out) = try sum(threads)
    #expect(try sum(1) == (total, out))
    expectEqual(total, (0..<3000).reduce(0) { $0 + values[3 * $1] * values[3 * $1 + 1] }, to: 1e-12)
    for k in 0..<3 { expectEqual(out[k], (0..<3000).reduce(0) { $0 + values[3 * $1 + k] }, to: 1e-12) }
  }

  @Test("an error in a lane is the sum's error", arguments: [1, 4])
  func failure(_ threads: Int) throws {
    let plan = RowReduction(rows: 3000, tileRows: 128, vectorCount: 1, threads: threads)
    var partials = GrowingBuffer<Double>()
    expectError(.state) {
      _ = try plan.sum(partials: &partials) { lane, _ in
        if lane == 3 { throw TaskMetError.state("lane 3") }
        return 1
      }
    }
    #expect(try plan.sum(partials: &partials) { _, _ in 1 } == Double(plan.laneCount))
  }
}

@Suite("Parallel loops")
struct ParallelLoopTests {
  @Test("every index once", arguments: [0, 1, 2, 100], [0, 1, 2, 16])
  func indices(_ count: Int, _ threads: Int) throws {
    let visits = try Buffer<Int32>(repeating: 0, count: max(count, 1))
    try parallelLoop(count, threads: threads) { visits[$0] += 1 }
    #expect(visits.array.prefix(count).allSatisfy { $0 == 1 })
  }

  @Test("the error of the lowest index is thrown, and no iteration before it is left out", arguments: [1, 2, 8])
  func errors(_ threads: Int) throws {
    struct Failure: Error { let index: Int }
    for _ in 0..<20 {
      let visits = try Buffer<Int32>(repeating: 0, count: 50)
      do {
        try parallelLoop(50, threads: threads) { index in
          visits[index] += 1
          if index % 10 == 7 { throw Failure(index: index) }
        }
        Issue.record("no error")
      } catch let failure as Failure {
        #expect(failure.index == 7)
      }
      #expect(visits.array.prefix(8).allSatisfy { $0 == 1 })
      #expect(visits.array.allSatisfy { $0 <= 1 }, "each at most once")
    }
  }
}

@Suite("Factorised symmetric systems")
struct SymmetricSystemTests {
  private func solve(_ a: DenseMatrix, _ b: [Double]) throws -> (x: [Double], indefinite: Bool) {
    let system = try SymmetricSystem(consuming: try Buffer(a.values), order: a.rows)
    var x = b
    try system.solve(&x)
    return (x, system.isIndefinite)
  }

  @Test("definite and indefinite", arguments: LinearProblem.all)
  func regular(_ problem: LinearProblem) throws {
    let (x, indefinite) = try solve(problem.shifted, problem.g)
    expectEqual(x, problem.shifted.solve(problem.g), to: max(1e-12, 1e-14 * problem.condition), scale: 1e-300)
    #expect(indefinite == (problem.kind == .indefinite))
  }

  @Test(
    "singular: the least-norm solution",
    arguments: [[2, 1, 0], [3, -1, 0, 0], [1, 0.5, 0.1, 0, 0, 0], [0, 0], [-1, 0]])
  func singular(_ eigenvalues: [Double]) throws {
    let problem = LinearProblem("", eigenvalues: eigenvalues)
    let expected = problem.dense * problem.g
    let (x, indefinite) = try solve(problem.dense, problem.dense * expected)
    expectEqual(x, expected, to: 1e-11)
    #expect(indefinite == eigenvalues.contains { $0 < 0 })
    // What is out of reach is left alone.
    let (y, _) = try solve(problem.dense, problem.g)
    expectEqual(problem.dense * (problem.dense * y), problem.dense * problem.g, to: 1e-11, scale: 1e-3)
    #expect(norm(y) < 100 * norm(problem.g))
  }

  @Test("a zero diagonal needs pivots of two")
  func zeroDiagonal() throws {
    let a = DenseMatrix([[0, 2, 1], [2, 0, -1], [1, -1, 0]])
    let (x, indefinite) = try solve(a, [1, 2, 3])
    expectEqual(x, a.solve([1, 2, 3]), to: 1e-13)
    #expect(indefinite)
  }

  @Test("a pivot of two that is zero but for rounding is singular")
  func smallPivotOfTwo() throws {
    let (x, _) = try solve(DenseMatrix([[1, 0, 0], [0, 0, 1e-30], [0, 1e-30, 0]]), [2, 1e-20, 1])
    expectEqual(x, [2, 0, 0], to: 1e-12)
  }

  @Test("extreme eigenvalues", arguments: [[3, -1, 0.5], [2], [1e-8, 1, 1, 4], [-5, -7]])
  func eigenvalues(_ eigenvalues: [Double]) throws {
    let matrix = try Buffer(LinearProblem("", eigenvalues: eigenvalues).dense.values)
    let (smallest, largest) = try extremeEigenvalues(matrix.base, order: eigenvalues.count)
    expectEqual([smallest, largest], [eigenvalues.min()!, eigenvalues.max()!], to: 1e-14, scale: 1)
  }

  @Test("several systems of one order are as many alone")
  func several() throws {
    let matrices = [[1, 0.5, 0.2], [3, -1, 0.5], [2, 1, 0], [4, 1, 1]].map { LinearProblem("", eigenvalues: $0).dense }
    let together = try SymmetricSystem(consuming: try Buffer(matrices.flatMap(\.values)), order: 3, count: 4)
    #expect(together.isIndefinite)
    for (k, matrix) in matrices.enumerated() {
      var x = [1, -2, 0.5]
      try together.solve(&x, of: k)
      #expect(x == (try solve(matrix, [1, -2, 0.5]).x))
    }
    let definite = [matrices[0], matrices[3]]
    #expect(!(try SymmetricSystem(consuming: Buffer(definite.flatMap(\.values)), order: 3, count: 2).isIndefinite))
  }

  @Test("a definite matrix of very different scales is not singular")
  func scaled() throws {
    let (x, indefinite) = try solve(.diagonal([1e20, 1, 1e-20]), [1, 1, 1])
    expectEqual([1e20 * x[0], x[1], 1e-20 * x[2]], [1, 1, 1], to: 1e-14)
    #expect(!indefinite)
  }
}

@Suite("Kernels and memory")
struct KernelTests {
  private func product<Scalar: BLASScalar>(_: Scalar.Type, _ transposeA: Bool, _ transposeB: Bool, beta: Scalar) throws
    -> ([Scalar], [Double])
  {
    var random = RandomGenerator(seed: 102)
    let (a, b) = (DenseMatrix(3, 4, .normal(12, &random)), DenseMatrix(4, 2, .normal(8, &random)))
    let storedA = try Buffer((transposeA ? a.transposed : a).values.map { Scalar($0) })
    let storedB = try Buffer((transposeB ? b.transposed : b).values.map { Scalar($0) })
    let c = try Buffer<Scalar>(repeating: 10, count: 6)
    Scalar.multiply(
      3, 2, 4, storedA.base, transposeA ? 3 : 4, transposeA: transposeA, storedB.base, transposeB ? 4 : 2,
      transposeB: transposeB, beta: beta, c.base, 2)
    return (c.array, (a * b).values.map { $0 + 10 * Double(beta) })
  }

  @Test("matrix products, in both precisions", arguments: [false, true], [false, true])
  func products(_ transposeA: Bool, _ transposeB: Bool) throws {
    for beta in [0, 1] {
      let (double, expected) = try product(Double.self, transposeA, transposeB, beta: Double(beta))
      expectEqual(double, expected, to: 1e-14)
      let (float, _) = try product(Float.self, transposeA, transposeB, beta: Float(beta))
      expectEqual(float.map(Double.init), expected, to: 1e-6)
    }
  }

  @Test("short dot products and sums of columns", arguments: [0, 1, 7, 8, 9, 40])
  func sums(_ count: Int) {
    var random = RandomGenerator(seed: 103)
    let (x, y) = ([Double].normal(count, &random), [Double].normal(count, &random))
    expectEqual(shortDot(count, x, y), dot(x, y), to: 1e-14, scale: 1)
    var sums = [1.0, 2]
    Double.addColumnSums(count / 2, 2, x, to: &sums)
    expectEqual(sums[1], 2 + (0..<(count / 2)).reduce(0) { $0 + x[2 * $1 + 1] }, to: 1e-14, scale: 1)
  }

  @Test("the first element that isn't finite is found wherever it is")
  func nonFinite() {
    for count in [0, 1, 8, 21] {
      var x = [Double](repeating: 1e308, count: count)
      #expect(firstNonFinite(count, x) == nil, "large is finite")
      for index in (0..<count).reversed() {
        x[index] = [.nan, .infinity, -.infinity][index % 3]
        #expect(firstNonFinite(count, x) == index)
      }
    }
  }

  @Test("matrix views")
  func views() throws {
    let memory = try Buffer((0..<12).map(Double.init))
    let view = MatrixView(memory.base, rows: 3, columns: 2, stride: 4)
    var copy = [Double](repeating: 0, count: 6)
    view.copy(to: &copy)
    #expect(copy == [0, 1, 4, 5, 8, 9])
    view.rows(1..<3).copy(to: &copy)
    #expect(copy[0..<4] == [4, 5, 8, 9])
    memory[2] = .nan
    #expect(view.firstNonFinite == nil, "padding doesn't count")
    memory[9] = .infinity
    #expect(view.firstNonFinite! == (2, 1))
  }

  @Test("sizes that no machine has are reported, not trapped on")
  func memory() throws {
    expectError(.outOfMemory) { _ = try Buffer<Double>(count: .max) }
    expectError(.outOfMemory) { _ = try Buffer<Double>(count: 1 << 59) }
    expectError(.outOfMemory) { _ = try checkedProduct(1 << 40, 1 << 40) }
    #expect(try checkedProduct(3, 4, 5) == 60)
    #expect(Int(bitPattern: try Buffer<Int8>(count: 3).base) % 64 == 0)
    var growing = GrowingBuffer<Double>()
    let first = try growing.reserve(10)
    #expect(try growing.reserve(5) == first, "it keeps what it has")
    expectError(.outOfMemory) {
      _ = try DenseNetwork(
        inputs: 1 << 20, hidden: [1 << 20], outputs: 1, activation: .tanh, outputActivation: .identity, bias: true)
    }
  }

  @Test("a state keeps what derivatives need: no slopes of rectifiers, no cotangent of a first layer without curvature")
  func keptArrays() throws {
    func check(
      _ activation: Activation, _ order: DerivativeOrder, perRow: Int, slopes: [Bool], cotangents: [Bool]
    ) throws {
      let network = try DenseNetwork(
        inputs: 3, hidden: [5, 4], outputs: 2, activation: activation, outputActivation: .identity, bias: true)
      #expect(network.numbersPerRow(order) == perRow)
      let state = try NetworkState<Double>(network, capacity: 7, order: order)
      #expect(state.slopes.map { $0 != nil } == slopes)
      #expect(state.cotangents.map { $0 != nil } == cotangents)
    }
    let (none, last, all) = ([false, false, false], [false, true, true], [true, true, true])
    try check(.relu, .curvature, perRow: 11 + 6, slopes: none, cotangents: last)
    try check(.leakyRelu, .gradient, perRow: 11, slopes: none, cotangents: none)
    try check(.tanh, .gradient, perRow: 11 + 9, slopes: [true, true, false], cotangents: none)
    try check(.tanh, .curvature, perRow: 11 + 9 + 9 + 11, slopes: [true, true, false], cotangents: all)
  }

  @Test("networks in single precision follow those in double")
  func singlePrecision() throws {
    let network = try DenseNetwork(
      inputs: 3, hidden: [5, 4], outputs: 2, activation: .gelu, outputActivation: .sigmoid, bias: true)
    func run<Scalar: BLASScalar>(_: Scalar.Type) throws -> [Double] {
      var random = RandomGenerator(seed: 104)
      func numbers(_ count: Int) throws -> Buffer<Scalar> {
        let buffer = try Buffer<Scalar>(count: count)
        for k in 0..<count { buffer.base[k] = Scalar(random.normal()) }
        return buffer
      }
      let (theta, w) = (try numbers(network.parameterCount), try numbers(network.parameterCount))
      let (x, c) = (try numbers(7 * 3), try numbers(7 * 2))
      let state = try NetworkState<Scalar>(network, capacity: 7, order: .curvature)
      let scratch = try NetworkScratch<Scalar>(network, capacity: 7)
      let gradient = try Buffer<Scalar>(repeating: 0, count: network.parameterCount)
      network.forward(theta.base, rows: 7, x.base, stride: 3, state)
      network.keepCotangents(theta.base, state, cotangent: c.base)
      network.pushforward(theta.base, state, scratch, direction: w.base)
      network.secondOrderPullback(
        theta.base, state, scratch, direction: w.base, cotangent: scratch.outputTangents, gradient: gradient.base)
      var results: [Double] = []
      for value in Array(UnsafeBufferPointer(start: state.outputs, count: 14)) + gradient.array {
        results.append(Double(value))
      }
      return results
    }
    expectEqual(try run(Float.self), try run(Double.self), to: 1e-5)
  }
}

@Suite("Access to shared objects")
struct AccessTests {
  private func tryAccess(reading: [SharedObject?] = [], writing: [SharedObject?] = []) -> Bool {
    (try? withAccess(reading: reading, writing: writing) { true }) ?? false
  }

  @Test("many readers or one writer; nil is nobody")
  func rules() throws {
    let (a, b) = (SharedObject(), SharedObject())
    #expect(a.serial != b.serial)
    try withAccess(reading: [a, nil, a]) {
      #expect(tryAccess(reading: [a]) && !tryAccess(writing: [a]) && tryAccess(writing: [b]))
    }
    try withAccess(writing: [a]) {
      #expect(!tryAccess(reading: [a]) && !tryAccess(writing: [a]) && tryAccess(reading: [b]))
      // What was taken before the conflict is given back.
      #expect(!tryAccess(reading: [a], writing: [b]) && tryAccess(writing: [b]))
    }
    struct Failure: Error {}
    #expect(throws: Failure.self) { try withAccess(reading: [b], writing: [a]) { throw Failure() } }
    #expect(tryAccess(writing: [a, b]))
    expectError(.busy) { try withAccess(writing: [a, a]) {} }
    #expect(tryAccess(writing: [a]))
  }
}

@Suite("Fingerprints")
struct FingerprintTests {
  private func fingerprint(_ values: [Double]) -> UInt64 {
    var hash = Fingerprint()
    for value in values { hash.add(value.bitPattern) }
    return hash.value
  }

  @Test("numbers that differ in signs alone, however many, are different numbers")
  func signs() {
    let values = (1...6).map { Double($0) }
    let all = (0..<64).map { mask in fingerprint(values.enumerated().map { mask >> $0 & 1 == 1 ? -$1 : $1 }) }
    #expect(Set(all).count == 64)
    #expect(fingerprint([0, 0]) != fingerprint([-0.0, -0.0]) && fingerprint([1, 2]) != fingerprint([2, 1]))
  }
}
