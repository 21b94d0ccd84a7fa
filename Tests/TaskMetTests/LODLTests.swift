// Locally optimised decision losses: their gradients, their fit, and what they refuse.

import Testing

@testable import TaskMetSwift

/// Instances of two rows and two outputs: four entries each.
private func makeData(instances: Int = 3, seed: UInt64 = 61) throws -> Dataset {
  var random = RandomGenerator(seed: seed)
  let dataset = try Dataset(
    DenseMatrix(2 * instances, 1, .normal(2 * instances, &random)),
    DenseMatrix(2 * instances, 2, .normal(4 * instances, &random)))
  let offsets = try Buffer((0...instances).map { Int64(2 * $0) })
  try dataset.setOffsets(offsets.base, count: offsets.count)
  return dataset
}

private func options(_ form: LODLForm, samples: Int = 300, iterations: Int = 40) -> LODLOptions {
  var options = LODLOptions()
  options.form = form
  options.samples = samples
  options.deviation = 0.7
  (options.iterations, options.patience) = (iterations, iterations)
  return options
}

/// A batch of some of the data's instances, with predictions away from the targets.
private func makeBatch(_ data: Dataset, _ instances: [Int], phase: TaskBatch.Phase = .training) throws -> TaskBatch {
  let batch = try TaskBatch(data, instances: Buffer(instances), phase: phase)
  var random = RandomGenerator(seed: 62)
  for k in 0..<batch.predictions.count {
    let noise = random.normal()
    batch.predictions[k] = batch.targets[k] + noise + (noise < 0 ? -0.1 : 0.1)
  }
  return batch
}

extension LODLTask {
  /// The parameters fitted to an instance of the data.
  fileprivate func parameters(_ data: Dataset, _ instance: Int) throws -> PlainLODL {
    let batch = try TaskBatch(data, phase: .training)
    return try withExtendedLifetime((self, batch)) { PlainLODL(try loss(batch.problem(instance))) }
  }
}

/// The loss at other predictions, and its derivative by differences, against the gradient.
private func expectGradient(_ task: Task, _ batch: TaskBatch, _ what: String) throws {
  let gradient = try Buffer<Double>(count: batch.predictions.count)
  let value = try task.evaluate(batch, gradient: gradient.base)
  #expect(try task.evaluate(batch, gradient: nil) == value)
  let start = batch.predictions.array
  for k in start.indices {
    let numeric = try derivative { t in
      batch.predictions[k] = start[k] + t
      return try task.evaluate(batch, gradient: nil)
    }
    batch.predictions[k] = start[k]
    expectEqual(gradient[k], numeric, to: 1e-8, "\(what), entry \(k)")
  }
}

@Suite("LODL")
struct LODLTests {
  @Test("gradient = differences, value = the formula", arguments: LODLForm.allCases)
  func gradient(_ form: LODLForm) throws {
    let data = try makeData()
    let fitted = try LODLTask(InstanceTask { dot($0.errors, $0.errors) }, data, options(form, iterations: 3))
    let batch = try makeBatch(data, [2, 0, 2])
    try expectGradient(fitted, batch, "\(form)")
    let expected = try (0..<3).map { k in
      try fitted.parameters(data, [2, 0, 2][k]).loss(batch.problem(k).errors)
    }
    let losses = try Buffer<Double>(count: 3)
    try fitted.losses(batch, into: losses.base)
    expectEqual(losses.array, expected, to: 1e-13)
    expectEqual(try fitted.evaluate(batch, gradient: nil), expected.reduce(0, +) / 3, to: 1e-13)
  }

  /// A directed quadratic form is not convex in L: with two entries and rank 1, and from this seed, the fit finds its way.
  @Test("a task of the very form is recovered", arguments: LODLForm.allCases)
  func recovery(_ form: LODLForm) throws {
    let data = try makeData(instances: 2)
    let entries = form == .directedQuadratic ? 2 : 4
    if entries == 2 {
      let rows = try Buffer<Int64>([0, 1, 2, 3, 4])
      try data.setOffsets(rows.base, count: rows.count)
    }
    let rank = form == .directedQuadratic ? 1 : 2
    let truth = PlainLODL(form, entries: entries, rank: rank)
    // What the task says of the truth itself drops out.
    let task = InstanceTask { truth.loss($0.errors) + Double($0.instance) }
    var settings = options(form, samples: form.isQuadratic ? 300 : 400, iterations: form.isQuadratic ? 2000 : 3000)
    settings.learningRate = 0.02
    settings.rank = rank
    let fitted = try LODLTask(task, data, settings)
    for k in 0..<2 {
      let found = try fitted.parameters(data, k)
      expectEqual(found.identified, truth.identified, to: 1e-4, "\(form), instance \(k)")
    }
    #expect(fitted.rSquared > 1 - 1e-6)
  }

  @Test("weights are recovered from samples that move an entry or two", arguments: [LODLSampling.one, .two])
  func fewMoved(_ sampling: LODLSampling) throws {
    let data = try makeData(instances: 1)
    let truth = PlainLODL(.directedWeightedMSE, entries: 4, rank: 1)
    var settings = options(.directedWeightedMSE, samples: 400, iterations: 3000)
    (settings.learningRate, settings.sampling) = (0.02, sampling)
    let fitted = try LODLTask(InstanceTask { truth.loss($0.errors) }, data, settings)
    expectEqual(try fitted.parameters(data, 0).identified, truth.identified, to: 1e-4)
  }

  @Test("a fit that runs away says so")
  func runaway() throws {
    var settings = options(.quadratic)
    settings.learningRate = 1e200
    expectError(.numerical) { _ = try LODLTask(InstanceTask { $0.errors[0] }, makeData(), settings) }
  }

  @Test("the unit of the losses is the unit of the fit", arguments: LODLForm.allCases)
  func scale(_ form: LODLForm) throws {
    let data = try makeData()
    func parameters(_ unit: Double) throws -> [Double] {
      let task = InstanceTask { problem in unit * problem.errors.reduce(0) { $0 + abs($1) } }
      return try LODLTask(task, data, options(form)).parameters(data, 1).identified
    }
    expectEqual(try parameters(1e-4), 1e-4 * (try parameters(1)), to: 1e-6, scale: 1e-12)
  }

  @Test("the smallest weight: a thousandth of what explains the losses if all entries do alike")
  func floor() throws {
    let data = try makeData(instances: 1)
    let task = InstanceTask { $0.errors[0] * $0.errors[0] - 0.5 * $0.errors[1] * $0.errors[1] }
    let settings = options(.weightedMSE, iterations: 400)
    let fitted = try LODLTask(task, data, settings)
    let weights = try fitted.parameters(data, 0).identified
    var random = InstanceNoise(seed: 0).generator(instance: 0, draw: 0)
    let samples = try LODLSamples(task, data, instance: 0, deviation: 0.7, settings, &random)
    let training = samples.losses.array.prefix(210)
    let tau = (training.reduce(0) { $0 + $1 * $1 } / 210).squareRoot()
    expectEqual(weights[1], 1e-3 * tau / (4 * 0.7 * 0.7), to: 1e-12, scale: 1e-9)
    #expect(weights[0] > 100 * weights[1])
  }

  @Test("samples move as many entries as they should", arguments: LODLSampling.allCases)
  func sampling(_ sampling: LODLSampling) throws {
    let data = try makeData()
    var settings = options(.weightedMSE, samples: 1000)
    settings.sampling = sampling
    var random = RandomGenerator(seed: 63)
    let task = InstanceTask { 3 + $0.errors[0] + 10 * $0.errors[3] }
    let samples = try LODLSamples(task, data, instance: 1, deviation: 0.5, settings, &random)
    var moved = [Int](repeating: 0, count: 4)
    for s in 0..<1000 {
      let noise = (0..<4).map { samples.noise[4 * s + $0] }
      #expect(noise.filter { $0 != 0 }.count == sampling.moved(of: 4))
      for j in 0..<4 where noise[j] != 0 { moved[j] += 1 }
      expectEqual(samples.losses[s], 0.5 * (noise[0] + 10 * noise[3]), to: 1e-12)
    }
    let share = 1000 * sampling.moved(of: 4) / 4
    #expect(moved.allSatisfy { abs($0 - share) < 90 }, "\(moved)")
    expectEqual(dot(samples.noise.array, samples.noise.array) / Double(moved.reduce(0, +)), 1, to: 0.15)
  }

  @Test("no deviation stands for that of the targets")
  func deviation() throws {
    let data = try makeData()
    let task = InstanceTask { dot($0.errors, $0.errors) }
    let batch = try TaskBatch(data, phase: .training)
    let y = batch.targets.array
    let average = y.reduce(0, +) / Double(y.count)
    var settings = options(.weightedMSE)
    settings.deviation = (y.reduce(0) { $0 + ($1 - average) * ($1 - average) } / Double(y.count)).squareRoot()
    let given = try LODLTask(task, data, settings)
    settings.deviation = 0
    let own = try LODLTask(task, data, settings)
    for k in 0..<3 {
      expectEqual(try own.parameters(data, k).identified, try given.parameters(data, k).identified, to: 1e-12)
    }
    let flat = try Dataset(DenseMatrix(2, 1, [1, 2]), DenseMatrix(2, 1, [5, 5]))
    expectError(.invalidArgument) { _ = try LODLTask(task, flat, settings) }
  }

  @Test("R^2 says how much of the held-out losses is explained")
  func quality() throws {
    let data = try makeData()
    // Half of the variance is independent noise.
    let noisy = InstanceTask { problem in
      var hash = Fingerprint()
      for error in problem.errors { hash.add(error.bitPattern) }
      var noise = RandomGenerator(seed: hash.value)
      let e = problem.errors
      return e == [0, 0, 0, 0] ? 0 : e[0] * e[0] + 2.0.squareRoot() * 0.49 * noise.normal()
    }
    let fitted = try LODLTask(noisy, data, options(.weightedMSE, samples: 4000, iterations: 200))
    expectEqual(fitted.rSquared, 0.5, to: 0.1)
    let silent = try LODLTask(InstanceTask { _ in 2 }, data, options(.quadratic))
    #expect(silent.rSquared.isNaN)
    #expect(try silent.evaluate(makeBatch(data, [0, 1]), gradient: nil) == 0)
  }

  @Test("any number of threads gives the same bits; another seed does not", arguments: LODLForm.allCases)
  func threads(_ form: LODLForm) throws {
    let data = try makeData(instances: 7)
    let task = InstanceTask { problem in problem.errors.reduce(0) { $0 + abs($1) } }
    let batch = try makeBatch(data, Array(0..<7))
    func loss(_ threads: Int, seed: UInt64 = 0) throws -> Double {
      var settings = options(form)
      settings.seed = seed
      let fitted = try LODLTask(task, data, settings, threads: threads)
      return try fitted.evaluate(batch, gradient: nil) + fitted.rSquared
    }
    let alone = try loss(1)
    #expect(try loss(3) == alone && loss(1) == alone)
    #expect(try loss(1, seed: 1) != alone)
  }

  @Test("validation is the task itself; another dataset is refused")
  func otherData() throws {
    let data = try makeData()
    let box = BoxTask()
    let fitted = try LODLTask(box, data, options(.quadratic))
    let validation = try makeBatch(data, [0, 2], phase: .validation)
    #expect(try fitted.evaluate(validation, gradient: nil) == box.evaluate(validation, gradient: nil))
    #expect(fitted.decisionCount(validation) == 8)
    let gradient = try Buffer<Double>(count: 12)
    expectError(.state) { _ = try fitted.evaluate(makeBatch(makeData(seed: 7), [0]), gradient: gradient.base) }
    expectError(.shape) { _ = try fitted.evaluate(makeBatch(makeData(instances: 4), [3]), gradient: gradient.base) }
    let rows = try Dataset(DenseMatrix(3, 1, [1, 2, 3]), DenseMatrix(3, 2, [1, 2, 3, 4, 5, 6]))
    expectError(.shape) { _ = try fitted.evaluate(makeBatch(rows, [0]), gradient: gradient.base) }
  }
}
