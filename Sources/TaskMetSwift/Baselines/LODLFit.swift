// The regression behind a LODL: its parameters such that, over the samples of one instance, it is close to the task's loss in
// the mean square; full-batch Adam, which ends when the held-out samples no longer gain, and keeps what was best on them.
//
// A task's losses can be of any size, 1e-4 or 1e4, and so can the noise. So that one learning rate serves all, everything is
// brought to the size of 1: the noise counts in units of its deviation, the losses in units of their root mean square tau, and
// the unknowns in units of what explains losses of size 1 if all do alike. Parameters are scaled back at the end: weights by
// tau / deviation^2, L by sqrt(tau) / deviation.

struct LODLFit {
  let options: LODLOptions
  let samples: LODLSamples
  let deviation: Double
  private var form: LODLForm { options.form }

  /// Fits the parameters of an instance's loss; returns R^2 on the held-out samples, nil where their losses do not vary.
  func run(into parameters: UnsafeMutablePointer<Double>, _ random: inout RandomGenerator) throws -> Double? {
    let count = try LODLLoss.parameterCount(form, entries: samples.entries, rank: options.rank)
    let training = samples.count - options.heldOut
    let tau = (Double.dot(training, samples.losses.base, samples.losses.base) / Double(training)).squareRoot()
    guard tau.isFinite else { throw TaskMetError.numerical("the sampled task losses are too large to be fitted") }
    guard tau > 0 else {
      parameters.update(repeating: 0, count: count)
      return nil
    }
    let losses = try Buffer(copying: samples.losses.base, count: samples.count)
    Double.scale(samples.count, 1 / tau, losses.base)
    let data = LODLRegressionData(
      form: form, noise: samples.noise, losses: losses, entries: samples.entries, training: training,
      moved: options.sampling.moved(of: samples.entries))
    let error: Double
    if form.isQuadratic {
      error = try fit(try FactorRegression(data, rank: options.rank, &random), into: parameters)
      Double.scale(count, tau.squareRoot() / deviation, parameters)
    } else {
      error = try fit(try WeightRegression(data), into: parameters)
      Double.scale(count, tau / (deviation * deviation), parameters)
    }
    let variance = data.heldOutVariance
    return variance > 0 ? 1 - error / variance : nil
  }

  /// Writes the best unknowns in the regression's own unit, and returns their error on the held-out samples.
  private func fit(_ regression: some LODLRegression, into best: UnsafeMutablePointer<Double>) throws -> Double {
    let count = regression.unknowns.count
    let adam = Optimizer.Method.adam(beta1: 0.9, beta2: 0.999, epsilon: 1e-8)
    let optimizer = try Optimizer(adam, count: count, learningRate: options.learningRate)
    let unknowns = regression.unknowns
    let gradient = try Buffer<Double>(count: count)
    best.update(from: unknowns.base, count: count)
    var (bestError, since) = (regression.heldOutError(), 0)
    for _ in 0..<options.iterations where since < options.patience {
      regression.differentiate(into: gradient.base)
      do {
        try optimizer.step(gradient: gradient.base, parameters: unknowns.base)
      } catch let error as TaskMetError {
        throw TaskMetError.numerical("learning_rate \(options.learningRate) is too large for the fit: \(error.message)")
      }
      regression.project()
      let error = regression.heldOutError()
      since += 1
      if error < bestError {
        best.update(from: unknowns.base, count: count)
        (bestError, since) = (error, 0)
      }
    }
    Double.scale(count, regression.unit, best)
    return bestError
  }
}

/// Samples in units of their size: the first `training` of them are fitted to, the others held out.
struct LODLRegressionData {
  let form: LODLForm
  let noise: Buffer<Double>
  let losses: Buffer<Double>
  let entries: Int
  let training: Int
  /// Entries that noise moves at once.
  let moved: Int

  /// Samples that are worked on at once: they stay in the cache.
  static let block = 256

  var trainingRange: Range<Int> { 0..<training }
  var heldOutRange: Range<Int> { training..<losses.count }
  var width: Int { LODLLoss.width(form, entries: entries) }

  var heldOutVariance: Double {
    let count = Double(heldOutRange.count)
    let average = heldOutRange.reduce(0) { $0 + losses[$1] } / count
    return heldOutRange.reduce(0) { $0 + (losses[$1] - average) * (losses[$1] - average) } / count
  }

  /// Room for the features of a block.
  func makeFeatures() throws -> Buffer<Double> { try Buffer(count: try checkedProduct(Self.block, width)) }

  /// The errors of some samples, count x width; in directed forms positive and negative ones in columns of their own.
  func features(_ start: Int, _ count: Int, _ room: Buffer<Double>) -> UnsafePointer<Double> {
    let source = noise.base + start * entries
    if !form.isDirected { return UnsafePointer(source) }
    for s in 0..<count {
      let (from, to) = (source + s * entries, room.base + s * width)
      for j in 0..<entries {
        to[j] = max(from[j], 0)
        to[entries + j] = min(from[j], 0)
      }
    }
    return UnsafePointer(room.base)
  }

  /// Calls body with the start and the length of each block of a range.
  func forEachBlock(_ range: Range<Int>, _ body: (Int, Int) -> Void) {
    for start in stride(from: range.lowerBound, to: range.upperBound, by: Self.block) {
      body(start, min(Self.block, range.upperBound - start))
    }
  }
}

/// A least-squares problem on the way to its solution.
protocol LODLRegression {
  /// In units of `unit`.
  var unknowns: Buffer<Double> { get }
  var unit: Double { get }
  /// The mean squared error on the held-out samples, at the unknowns.
  func heldOutError() -> Double
  /// The gradient of the mean squared error on the training samples.
  func differentiate(into gradient: UnsafeMutablePointer<Double>)
  /// Brings the unknowns back to where they may be.
  func project()
}

// MARK: - Weights

/// Weights enter linearly: sums over the samples are taken once, and an iteration costs no more than a small matrix times a
/// vector.
private struct WeightRegression: LODLRegression {
  private static let smallestWeight = 1e-3

  let unknowns: Buffer<Double>
  let unit: Double
  private let training: NormalEquations
  private let heldOut: NormalEquations

  init(_ data: LODLRegressionData) throws {
    unknowns = try Buffer(repeating: 1, count: data.width)
    unit = 1 / Double(data.moved)
    training = try NormalEquations(data, data.trainingRange, unit: unit)
    heldOut = try NormalEquations(data, data.heldOutRange, unit: unit)
  }

  func heldOutError() -> Double { heldOut.error(unknowns, gradient: nil) }
  func differentiate(into gradient: UnsafeMutablePointer<Double>) { _ = training.error(unknowns, gradient: gradient) }
  func project() {
    for j in 0..<unknowns.count { unknowns[j] = max(unknowns[j], Self.smallestWeight) }
  }
}

/// mean_s (sum_j unit e_sj^2 w_j - t_s)^2 = w'Gw - 2 b'w + c, over some samples.
private struct NormalEquations {
  private let gram: Buffer<Double>
  private let moments: Buffer<Double>
  private let square: Double

  init(_ data: LODLRegressionData, _ range: Range<Int>, unit: Double) throws {
    let width = data.width
    let (gram, moments) = (
      try Buffer<Double>(repeating: 0, count: try checkedProduct(width, width)),
      try Buffer<Double>(repeating: 0, count: width)
    )
    let (room, squares) = (try data.makeFeatures(), try data.makeFeatures())
    let losses = data.losses
    data.forEachBlock(range) { start, count in
      let features = data.features(start, count, room)
      for k in 0..<(count * width) { squares[k] = unit * features[k] * features[k] }
      Double.multiply(
        width, width, count, squares.base, width, transposeA: true, squares.base, width, transposeB: false, beta: 1,
        gram.base, width)
      for s in 0..<count { shortAxpy(width, losses[start + s], squares.base + s * width, moments.base) }
    }
    let share = 1 / Double(range.count)
    Double.scale(gram.count, share, gram.base)
    Double.scale(width, share, moments.base)
    square = share * Double.dot(range.count, losses.base + range.lowerBound, losses.base + range.lowerBound)
    (self.gram, self.moments) = (gram, moments)
  }

  func error(_ weights: Buffer<Double>, gradient: UnsafeMutablePointer<Double>?) -> Double {
    let width = weights.count
    var sum = square
    for j in 0..<width {
      let product = shortDot(width, gram.base + j * width, weights.base)
      sum += weights[j] * (product - 2 * moments[j])
      gradient?[j] = 2 * (product - moments[j])
    }
    return max(sum, 0)
  }
}

// MARK: - Factors

/// |L'e|^2 with L unrestricted: a triangular one has the same values, and local minima on the way to them. Each evaluation passes over the samples, by two products with L for each block.
private struct FactorRegression: LODLRegression {
  /// width x rank.
  let unknowns: Buffer<Double>
  let unit: Double
  private let data: LODLRegressionData
  private let rank: Int
  private let room: Buffer<Double>
  /// block x rank: L'e.
  private let products: Buffer<Double>

  init(_ data: LODLRegressionData, rank: Int, _ random: inout RandomGenerator) throws {
    self.data = data
    self.rank = LODLLoss.rank(data.form, entries: data.entries, atMost: rank)
    unknowns = try Buffer(count: try checkedProduct(data.width, self.rank))
    room = try data.makeFeatures()
    products = try Buffer(count: try checkedProduct(LODLRegressionData.block, self.rank))
    for k in 0..<unknowns.count { unknowns[k] = random.normal() }
    // The mean of |L'e|^2 is the sum of the squares of those of L's entries that noise meets.
    unit = (1 / Double(data.moved * self.rank)).squareRoot()
  }

  func heldOutError() -> Double { error(data.heldOutRange, gradient: nil) }
  func differentiate(into gradient: UnsafeMutablePointer<Double>) {
    _ = error(data.trainingRange, gradient: gradient)
  }
  func project() {}

  private func error(_ range: Range<Int>, gradient: UnsafeMutablePointer<Double>?) -> Double {
    let (width, z) = (data.width, products.base)
    let share = 4 * unit * unit / Double(range.count)
    var sum = 0.0
    gradient?.update(repeating: 0, count: unknowns.count)
    data.forEachBlock(range) { start, count in
      let features = data.features(start, count, room)
      Double.multiply(
        count, rank, width, features, width, transposeA: false, unknowns.base, rank, transposeB: false, beta: 0, z, rank
      )
      for s in 0..<count {
        let line = z + s * rank
        let residual = unit * unit * shortDot(rank, line, line) - data.losses[start + s]
        sum += residual * residual
        for column in 0..<rank { line[column] *= share * residual }
      }
      guard let gradient else { return }
      Double.multiply(
        width, rank, count, features, width, transposeA: true, z, rank, transposeB: false, beta: 1, gradient, rank)
    }
    return sum / Double(range.count)
  }
}
