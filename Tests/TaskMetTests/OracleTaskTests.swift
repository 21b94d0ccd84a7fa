// Tasks around the caller's program: SPO+, perturbed and blackbox losses of a decision oracle, differences and the score function
// of a loss without a gradient, each against its formula, differences, or a closed form.

import CTaskMet
import Glibc
import Testing

@testable import TaskMetSwift

/// The caller's program: answers queries, and remembers what it was asked.
private final class Program {
  let answer: (_ values: [Double], _ target: [Double]?) -> [Double]
  /// The values of each query, and the queries of each call.
  var asked: [[Double]] = []
  var calls: [Int] = []
  var instances: [Int64] = []

  init(_ answer: @escaping ([Double], [Double]?) -> [Double]) { self.answer = answer }

  /// Keeps the program alive as long as a task has it.
  var user: CallbackUser {
    CallbackUser(Unmanaged.passRetained(self).toOpaque()) { Unmanaged<Program>.fromOpaque($0!).release() }
  }

  static func of(_ user: UnsafeMutableRawPointer?) -> Program {
    Unmanaged<Program>.fromOpaque(user!).takeUnretainedValue()
  }

  func note(_ values: [Double], instance: Int64) {
    asked.append(values)
    instances.append(instance)
  }
}

private func numbers(_ base: UnsafePointer<Double>, _ range: Range<Int64>) -> [Double] {
  range.map { base[Int($0)] }
}

private let askOracle: taskmet_oracle_fn = { user, batch, decisions in
  let (program, batch) = (Program.of(user), batch!.pointee)
  program.calls.append(Int(batch.count))
  for k in 0..<Int(batch.count) {
    let costs = numbers(batch.costs, batch.offsets[k]..<batch.offsets[k + 1])
    program.note(costs, instance: batch.instances[k])
    for (j, z) in program.answer(costs, nil).enumerated() { decisions![Int(batch.offsets[k]) + j] = z }
  }
  return 0
}

private let askLosses: taskmet_losses_fn = { user, batch, losses in
  let (program, batch) = (Program.of(user), batch!.pointee)
  program.calls.append(Int(batch.instance_count))
  for k in 0..<Int(batch.instance_count) {
    let entries = (batch.offsets[k] * batch.outputs)..<(batch.offsets[k + 1] * batch.outputs)
    let values = numbers(batch.predictions, entries)
    program.note(values, instance: batch.instances[k])
    losses![k] = program.answer(values, numbers(batch.targets, entries))[0]
  }
  return 0
}

/// The caller's best choice of 2 of the entries.
private func chooser(_ sense: Sense) -> Program {
  Program { c, _ in Decisions.choices(2, of: c.count).best(sense.sign * c) }
}

private func dataset(_ targets: [[Double]], outputs: Int = 1) throws -> Dataset {
  let rows = targets.flatMap { $0 }.count / outputs
  let y = DenseMatrix(rows, outputs, targets.flatMap { $0 })
  let dataset = try Dataset(DenseMatrix(zeros: rows, 1), y)
  var offsets: [Int64] = [0]
  for instance in targets { offsets.append(offsets.last! + Int64(instance.count / outputs)) }
  try dataset.setOffsets(offsets, count: offsets.count)
  return dataset
}

extension Task {
  fileprivate func loss(_ predictions: [Double], _ dataset: Dataset) throws -> Double {
    try evaluation(predictions, dataset, gradient: false).loss
  }

  fileprivate func evaluation(
    _ predictions: [Double], _ dataset: Dataset, phase: TaskBatch.Phase = .training, gradient: Bool = true
  ) throws -> (loss: Double, gradient: [Double]) {
    let batch = try TaskBatch(dataset, phase: phase)
    for (j, prediction) in predictions.enumerated() { batch.predictions[j] = prediction }
    let slope = try Buffer<Double>(repeating: .nan, count: gradient ? predictions.count : 0)
    let loss = try evaluate(batch, gradient: gradient ? slope.base : nil)
    return (loss, slope.array)
  }
}

private let senses: [Sense] = [.minimize, .maximize]

@Suite("Tasks around the caller's solver")
struct OracleTaskTests {
  private let y = [[1.0, 4, 2.5, -3], [0.5, -1, 3, 2, 6]]
  private let yhat = [2.0, 1, -1, 0.5, 3, 1.5, -2, 0.25, 1]

  // MARK: SPO+

  @Test("SPO+ is its formula, to the bit", arguments: senses)
  fileprivate func spoPlus(_ sense: Sense) throws {
    let data = try dataset(y)
    let program = chooser(sense)
    let (loss, gradient) = try OracleTask(SPOPlusLoss(), sense, askOracle, program.user).evaluation(yhat, data)
    var expected = 0.0
    var slope: [Double] = []
    for (target, predicted) in zip(y, [Array(yhat[0..<4]), Array(yhat[4...])]) {
      // What is maximised is, negated, minimised.
      let (c, chat) = (sense.sign * target, sense.sign * predicted)
      let choices = Decisions.choices(2, of: c.count)
      let shifted = 2 * chat .- c
      expected += -choices.value(shifted) + 2 * dot(chat, choices.best(c)) - choices.value(c)
      slope += sense.sign * (choices.best(c) .- choices.best(shifted))
    }
    #expect(loss == expected / 2 && gradient == slope)
    #expect(slope.contains { $0 != 0 } && program.calls == [4])
  }

  @Test("regret is between zero and SPO+, both zero at the truth", arguments: senses)
  fileprivate func regretBound(_ sense: Sense) throws {
    let data = try dataset(y)
    let task = OracleTask(SPOPlusLoss(), sense, askOracle, chooser(sense).user)
    var random = RandomGenerator(seed: 4)
    var gaps = 0
    let truth = y.flatMap { $0 }
    let optimal = try task.evaluation(truth, data, phase: .validation, gradient: false).loss
    for _ in 0..<50 {
      let predictions = [Double].normal(yhat.count, &random)
      let regret = try task.evaluation(predictions, data, phase: .validation, gradient: false).loss - optimal
      let surrogate = try task.loss(predictions, data)
      #expect(regret >= 0 && surrogate >= regret - 1e-12)
      if surrogate > regret + 0.1, regret > 0.1 { gaps += 1 }
    }
    #expect(gaps > 10)
    let (loss, gradient) = try task.evaluation(truth, data)
    #expect(loss == 0 && gradient.allSatisfy { $0 == 0 })
  }

  @Test("SPO+ of a task trained otherwise", arguments: senses)
  fileprivate func spoPlusOfOthers(_ sense: Sense) throws {
    let data = try dataset(y)
    let user = chooser(sense)
    let blackbox = OracleTask(BlackboxLoss(lambda: 3), sense, askOracle, user.user)
    let batch = try TaskBatch(data, phase: .training)
    for (j, prediction) in yhat.enumerated() { batch.predictions[j] = prediction }
    let gradient = try Buffer<Double>(count: yhat.count)
    let loss = try blackbox.evaluateSPOPlus(batch, gradient: gradient.base)
    let (expected, slope) = try OracleTask(SPOPlusLoss(), sense, askOracle, user.user).evaluation(yhat, data)
    #expect(loss == expected && gradient.array == slope)
  }

  @Test("decisions and the loss of validation", arguments: senses)
  fileprivate func decisions(_ sense: Sense) throws {
    let data = try dataset(y)
    let program = chooser(sense)
    let task = OracleTask(BlackboxLoss(lambda: 3), sense, askOracle, program.user)
    let batch = try TaskBatch(data, phase: .validation)
    for (j, prediction) in yhat.enumerated() { batch.predictions[j] = prediction }
    let decisions = try Buffer<Double>(repeating: .nan, count: task.decisionCount(batch))
    try task.decide(batch, into: decisions.base)
    let parts = [Array(yhat[0..<4]), Array(yhat[4...])]
    let expected = parts.map { Decisions.choices(2, of: $0.count).best(sense.sign * $0) }
    #expect(decisions.array == expected.flatMap { $0 })
    let losses = try Buffer<Double>(count: 2)
    try task.losses(batch, into: losses.base)
    #expect(losses.array == [sense.sign * dot(y[0], expected[0]), sense.sign * dot(y[1], expected[1])])
    #expect(program.calls == [2, 2] && program.instances == [0, 1, 0, 1])
    let slope = try Buffer<Double>(count: yhat.count)
    #expect(throws: TaskMetError.self) { try task.evaluate(batch, gradient: slope.base) }
  }

  // MARK: Blackbox

  @Test("the blackbox gradient by hand", arguments: senses)
  fileprivate func blackbox(_ sense: Sense) throws {
    let data = try dataset(y)
    let program = chooser(sense)
    let (loss, gradient) = try OracleTask(BlackboxLoss(lambda: 4), sense, askOracle, program.user)
      .evaluation(yhat, data)
    var expected = 0.0
    var slope: [Double] = []
    for (target, predicted) in zip(y, [Array(yhat[0..<4]), Array(yhat[4...])]) {
      let choices = Decisions.choices(2, of: target.count)
      let taken = choices.best(sense.sign * predicted)
      let other = choices.best(sense.sign * (predicted .+ 4 * target))
      expected += sense.sign * dot(target, taken)
      slope += (sense.sign / 4 / 2) * (other .- taken)
    }
    #expect(loss == expected / 2 && gradient == slope && slope.contains { $0 != 0 })
    // The same choice of the best, the other way round.
    #expect(program.asked.count == 4)
  }

  // MARK: Perturbed

  private struct PerturbedCase: CustomTestStringConvertible {
    let sense: Sense
    let kind: PerturbedLoss.Kind
    let samples: Int
    var testDescription: String { "\(sense) \(kind) \(samples)" }
    static let all = senses.flatMap { sense in
      PerturbedLoss.Kind.allCases.flatMap { kind in
        [1, 5, 6].map { PerturbedCase(sense: sense, kind: kind, samples: $0) }
      }
    }
  }

  @Test("perturbed losses by their formulas, from the costs that the oracle saw", arguments: PerturbedCase.all)
  private func perturbed(_ example: PerturbedCase) throws {
    let (sense, samples, sigma) = (example.sense, example.samples, 1.5)
    let program = chooser(sense)
    let task = OracleTask(
      PerturbedLoss(example.kind, samples: samples, sigma: sigma, seed: 9), sense, askOracle, program.user)
    let (loss, gradient) = try task.evaluation(yhat, try dataset(y))
    var expected = 0.0
    var slope: [Double] = []
    for (k, part) in [Array(yhat[0..<4]), Array(yhat[4...])].enumerated() {
      let choices = Decisions.choices(2, of: part.count)
      func w(_ c: [Double]) -> [Double] { choices.best(sense.sign * c) }
      let costs = program.asked[(k * (samples + 1))..<((k + 1) * (samples + 1))]
      #expect(costs.first == (example.kind == .objective ? part : y[k]))
      var sum = [Double](repeating: 0, count: part.count)
      for c in costs.dropFirst() {
        let noise = (1 / sigma) * (c .- part)
        switch example.kind {
        case .fenchelYoung:
          expected += (dot(part, w(y[k])) - dot(c, w(c))) / Double(samples)
          sum = sum .+ (w(y[k]) .- w(c))
        case .objective:
          expected += dot(y[k], w(c)) / Double(samples)
          sum = sum .+ ((dot(y[k], w(c)) - dot(y[k], w(part))) / sigma) * noise
        }
      }
      slope += (sense.sign / Double(2 * samples)) * sum
    }
    expectEqual(loss, sense.sign * expected / 2, to: 1e-13)
    expectEqual(gradient, slope, to: 1e-13)
    #expect(program.calls == [2 * (samples + 1)])
  }

  @Test("the Fenchel-Young gradient is that of its loss", arguments: senses, [1, 7, 8])
  fileprivate func fenchelYoung(_ sense: Sense, _ samples: Int) throws {
    let data = try dataset(y)
    let task = OracleTask(
      PerturbedLoss(.fenchelYoung, samples: samples, sigma: 0.7, seed: 3), sense, askOracle, chooser(sense).user)
    let (loss, gradient) = try task.evaluation(yhat, data)
    // Decisions don't change in steps of 1e-4 here, so the loss is linear there.
    let differences = try (0..<yhat.count).map { entry in
      try derivative(step: 1e-5) { try task.loss(yhat .+ $0 * .unit(yhat.count, entry), data) }
    }
    expectEqual(gradient, differences, to: 1e-8)
    #expect(norm(gradient) > 0.1 && (samples % 2 == 1 || loss >= 0))
  }

  @Test("the perturbed objective and its gradient converge to the normal distribution's", arguments: senses)
  fileprivate func perturbedObjective(_ sense: Sense) throws {
    let (target, predicted, sigma, samples) = ([1.0, 3], [0.4, -0.3], 0.8, 20_000)
    let program = Program { c, _ in sense.sign * (c[0] - c[1]) <= 0 ? [1, 0] : [0, 1] }
    let task = OracleTask(
      PerturbedLoss(.objective, samples: samples, sigma: sigma, seed: 1), sense, askOracle, program.user)
    let (loss, gradient) = try task.evaluation(predicted, try dataset([target]))
    // The first is taken with probability Phi(t), t = (yhat_2 - yhat_1) / (sigma sqrt 2), where the lower cost is.
    let scale = sense.sign / (sigma * 2.0.squareRoot())
    let t = scale * (predicted[1] - predicted[0])
    let probability = erfc(-t / 2.0.squareRoot()) / 2
    let density = exp(-t * t / 2) / (2 * Double.pi).squareRoot()
    // Five standard deviations of the estimates: at most |y_1 - y_2| (1 and sqrt(2) / sigma of it) in a sample.
    let error = 5 * 2 / Double(samples).squareRoot()
    let slope = sense.sign * (target[0] - target[1]) * density * scale
    #expect(abs(loss - sense.sign * (target[1] + (target[0] - target[1]) * probability)) < error)
    #expect(abs(gradient[0] + slope) < error / sigma && abs(gradient[1] - slope) < error / sigma)
    #expect(abs(slope) > 4 * error / sigma)
  }

  @Test("an even number of samples is antithetic pairs, an odd one is not")
  func antitheticPairs() throws {
    for samples in [4, 5] {
      let program = chooser(.minimize)
      let task = OracleTask(
        PerturbedLoss(.objective, samples: samples, sigma: 2, seed: 5), .minimize, askOracle, program.user)
      _ = try task.loss(Array(yhat[0..<4]), try dataset([y[0]]))
      let noise = program.asked.dropFirst().map { $0 .- Array(yhat[0..<4]) }
      let mirrored = zip(noise, noise.dropFirst()).map { norm($0 .+ $1) < 1e-12 }
      #expect(mirrored == (samples == 4 ? [true, false, true] : [false, false, false, false]))
      #expect(noise.allSatisfy { norm($0) > 0.1 })
    }
  }
}

@Suite("Losses without a gradient")
struct LossesTaskTests {
  /// A quadratic and a linear loss of three entries.
  private let q = DenseMatrix([[2.0, 0.5, -1], [0.5, 1, 0.25], [-1, 0.25, 3]])
  private let g = [1.5, -2, 0.5]
  private let y = [[0.5, 1, -1], [2.0, 0, 1]]
  private let yhat = [1.0, 2, -0.5, 0.25, -1, 0.75]

  private func quadratic(_ values: [Double], _ target: [Double]) -> Double {
    let e = values .- target
    return 0.5 * dot(e, q * e) + dot(g, e)
  }

  private func quadraticSlope(_ k: Int) -> [Double] { g .+ q * (Array(yhat[(3 * k)..<(3 * k + 3)]) .- y[k]) }

  @Test("central differences are exact for a quadratic loss, at any step", arguments: [1e-3, 0.5, 8])
  func centralDifferences(_ step: Double) throws {
    let program = Program { [quadratic($0, $1!)] }
    let task = LossesTask(CentralDifferenceLoss(step: step), askLosses, program.user)
    let (loss, gradient) = try task.evaluation(yhat, try dataset(y, outputs: 3))
    let expected = try task.evaluation(yhat, try dataset(y, outputs: 3), gradient: false).loss
    #expect(loss == expected)
    expectEqual(loss, (quadratic(Array(yhat[0..<3]), y[0]) + quadratic(Array(yhat[3...]), y[1])) / 2, to: 1e-15)
    expectEqual(gradient, 0.5 * (quadraticSlope(0) + quadraticSlope(1)), to: 1e-11)
    #expect(program.calls == [14, 2])
  }

  @Test("a step that rounding swallows is refused")
  func lostStep() throws {
    let program = Program { [quadratic($0, $1!)] }
    let task = LossesTask(CentralDifferenceLoss(step: 1e-20), askLosses, program.user)
    #expect(throws: TaskMetError.self) { try task.evaluation(yhat, try dataset(y, outputs: 3)) }
    #expect(program.calls.isEmpty)
  }

  @Test("the score function of a linear loss is the mean of U U' times its slope", arguments: [1, 3, 8])
  func scoreFunctionOfLinear(_ pairs: Int) throws {
    let sigma = 0.6
    let program = Program { values, _ in [dot(g, values)] }
    let task = LossesTask(ScoreFunctionLoss(pairs: pairs, sigma: sigma, seed: 2), askLosses, program.user)
    let (loss, gradient) = try task.evaluation(yhat, try dataset(y, outputs: 3))
    var expected: [Double] = []
    for (k, center) in [Array(yhat[0..<3]), Array(yhat[3...])].enumerated() {
      let asked = Array(program.asked[(2 * pairs * k)..<(2 * pairs * (k + 1))])
      var sum = [0.0, 0, 0]
      for s in 0..<pairs {
        let noise = (1 / sigma) * (asked[2 * s] .- center)
        expectEqual(asked[2 * s + 1], center .- sigma * noise, to: 1e-14)
        sum = sum .+ dot(noise, g) * noise
      }
      expected += (1 / Double(2 * pairs)) * sum
    }
    expectEqual(gradient, expected, to: 1e-12)
    // Pairs leave the mean of a linear loss alone.
    expectEqual(loss, (dot(g, Array(yhat[0..<3])) + dot(g, Array(yhat[3...]))) / 2, to: 1e-13)
    #expect(program.calls == [4 * pairs])
  }

  @Test("the score function of a quadratic loss is unbiased")
  func scoreFunctionOfQuadratic() throws {
    let (pairs, sigma) = (10_000, 0.5)
    let program = Program { [quadratic($0, $1!)] }
    let task = LossesTask(ScoreFunctionLoss(pairs: pairs, sigma: sigma, seed: 7), askLosses, program.user)
    let (loss, gradient) = try task.evaluation(Array(yhat[0..<3]), try dataset([y[0]], outputs: 3))
    let slope = quadraticSlope(0)
    // An entry of U U'g has variance |g|^2 + g_j^2 at most.
    let error = 5 * (2.0 / Double(pairs)).squareRoot() * norm(slope)
    #expect(largest(gradient .- slope) < error && error < 0.3 * largest(slope))
    // Smoothing adds sigma^2 tr Q / 2, whose estimate varies by sigma^2 |Q| / sqrt(2 pairs).
    let smoothed = quadratic(Array(yhat[0..<3]), y[0]) + sigma * sigma * 6 / 2
    #expect(abs(loss - smoothed) < 5 * sigma * sigma * 4.2 / Double(2 * pairs).squareRoot())
  }

  @Test("validation is one evaluation of each instance, without a gradient")
  func validation() throws {
    let program = Program { [quadratic($0, $1!)] }
    let task = LossesTask(ScoreFunctionLoss(pairs: 5, sigma: 1, seed: 7), askLosses, program.user)
    let data = try dataset(y, outputs: 3)
    let loss = try task.evaluation(yhat, data, phase: .validation, gradient: false).loss
    expectEqual(loss, (quadratic(Array(yhat[0..<3]), y[0]) + quadratic(Array(yhat[3...]), y[1])) / 2, to: 1e-15)
    #expect(program.calls == [2] && task.decisionCount(rows: 3, outputs: 1) == 0)
    #expect(throws: TaskMetError.self) { try task.evaluation(yhat, data, phase: .validation) }
  }
}

@Suite("Queries in batches")
struct QueryTaskTests {
  private struct Example: CustomTestStringConvertible, Sendable {
    let name: String
    let make: @Sendable (Program, Int) -> QueryTask
    var testDescription: String { name }

    static let all: [Example] =
      [
        oracle("SPO+") { SPOPlusLoss() }, oracle("blackbox") { BlackboxLoss(lambda: 2) },
        oracle("Fenchel-Young") { PerturbedLoss(.fenchelYoung, samples: 3, sigma: 0.5, seed: 1) },
        oracle("objective") { PerturbedLoss(.objective, samples: 4, sigma: 0.5, seed: 1) },
        losses("differences") { CentralDifferenceLoss(step: 0.1) },
        losses("score function") { ScoreFunctionLoss(pairs: 2, sigma: 0.5, seed: 1) },
      ]

    static func oracle(_ name: String, _ loss: @escaping @Sendable () -> any QueryLoss) -> Example {
      Example(name: name) { OracleTask(loss(), .maximize, askOracle, $0.user, largestPiece: $1) }
    }

    static func losses(_ name: String, _ loss: @escaping @Sendable () -> any QueryLoss) -> Example {
      Example(name: name) { LossesTask(loss(), askLosses, $0.user, largestPiece: $1) }
    }

    /// Both kinds of answers: the best of the entries as a decision, or a loss.
    func program() -> Program {
      Program { values, target in
        guard let target else { return .unit(values.count, values.indices.max { values[$0] < values[$1] }!) }
        return [zip(values, target).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) * $1.0 }]
      }
    }
  }

  /// Four instances of 2, 1, 3 and 2 rows, with two outputs: means over them are exact.
  private static let sizes = [4, 2, 6, 4]
  private static func targets() -> [[Double]] {
    var random = RandomGenerator(seed: 11)
    return sizes.map { .normal($0, &random) }
  }
  private static func predictions() -> [Double] {
    var random = RandomGenerator(seed: 12)
    return .normal(16, &random)
  }

  @Test("the same bits at each call, and in pieces", arguments: Example.all)
  private func sameBits(_ example: Example) throws {
    let data = try dataset(Self.targets(), outputs: 2)
    let program = example.program()
    let task = example.make(program, 1 << 22)
    let first = try task.evaluation(Self.predictions(), data)
    let second = try task.evaluation(Self.predictions(), data)
    #expect(first == second && norm(first.gradient) > 0 && program.calls.count == 2)
    // One query for each call, and a few.
    for largestPiece in [1, 20] {
      let other = example.program()
      let pieces = try example.make(other, largestPiece).evaluation(Self.predictions(), data)
      #expect(pieces == first && other.asked == Array(program.asked.prefix(other.asked.count)))
      #expect(largestPiece == 1 ? other.calls.allSatisfy { $0 == 1 } : other.calls.contains { $0 > 1 })
      #expect(other.calls.count > 1 && other.calls.reduce(0, +) == program.calls[0])
    }
  }

  @Test("a batch of instances is the instances alone", arguments: Example.all)
  private func instancesAlone(_ example: Example) throws {
    let data = try dataset(Self.targets(), outputs: 2)
    let task = example.make(example.program(), 1 << 22)
    let whole = try task.evaluation(Self.predictions(), data)
    let given = try Buffer(Self.predictions())
    let batch = try TaskBatch(
      data, predictions: MatrixView(given.base, rows: 8, columns: 2),
      phase: .training)
    let losses = try Buffer<Double>(count: 4)
    try task.losses(batch, into: losses.base)
    var sum = 0.0
    var start = 0
    for k in 0..<4 {
      let slope = try Buffer<Double>(count: Self.sizes[k])
      let loss = try task.evaluate(try batch.instance(k), gradient: slope.base)
      #expect(loss == losses[k])
      #expect(Array(whole.gradient[start..<(start + Self.sizes[k])]) == 0.25 * slope.array)
      start += Self.sizes[k]
      sum += loss
    }
    #expect(whole.loss == sum / 4)
  }

  @Test("an instance that is there twice gets the same noise, another one other noise")
  func noise() throws {
    let data = try dataset([[1.0, 2], [1.0, 2]])
    let program = Program { values, _ in [values[0] * values[1]] }
    let task = LossesTask(ScoreFunctionLoss(pairs: 1, sigma: 1, seed: 1), askLosses, program.user)
    let batch = try TaskBatch(data, instances: Buffer([1, 0, 1]), phase: .training)
    batch.predictions.base.update(repeating: 0, count: 6)
    let losses = try Buffer<Double>(count: 3)
    try task.losses(batch, into: losses.base)
    #expect(losses[0] == losses[2] && losses[0] != losses[1] && program.instances == [1, 1, 0, 0, 1, 1])
    let seeded = LossesTask(ScoreFunctionLoss(pairs: 1, sigma: 1, seed: 2), askLosses, program.user)
    let others = try Buffer<Double>(count: 3)
    try seeded.losses(batch, into: others.base)
    #expect(others[0] != losses[0] && others[1] != losses[1])
  }
}
