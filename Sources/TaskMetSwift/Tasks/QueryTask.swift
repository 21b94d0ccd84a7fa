// Tasks that ask the caller's program several times about each instance: many questions in one call, and a loss made of the
// answers.

/// What is asked of each instance, and what is made of the answers. A query is values in place of the instance's predictions
/// (as many as it has entries). Answers come back in order, instance after instance, and each adds its part.
/// Written for losses that are minimised: the task changes the sign where its objective is maximised.
protocol QueryLoss {
  /// The number of queries about an instance.
  func queries(_ problem: DecisionProblem, gradient: Bool) -> Int

  /// The values of query number `index`.
  func setValues(_ values: UnsafeMutablePointer<Double>, _ problem: DecisionProblem, _ index: Int) throws

  /// The part of an answer in the loss; its part in the gradient is added to `gradient` (zeros before the first answer).
  mutating func add(_ answer: QueryAnswer, _ problem: DecisionProblem, gradient: UnsafeMutablePointer<Double>?) throws
    -> Double
}

/// The answer to query number `index` about an instance.
struct QueryAnswer {
  let index: Int
  let values: UnsafePointer<Double>
  let result: UnsafePointer<Double>
}

/// Queries that are put to the caller in one call.
struct QueryPiece {
  /// Of each: its instance's position in the batch, and its id in the dataset.
  let positions: Buffer<Int64>
  let instances: Buffer<Int64>
  /// queries + 1: where each one's values begin.
  let offsets: Buffer<Int64>
  let values: Buffer<Double>

  var count: Int { instances.count }
}

class QueryTask: Task {
  /// Of training.
  private let surrogate: any QueryLoss
  /// The numbers in one call, at most; one query goes out whole.
  private let largestPiece: Int

  init(_ surrogate: any QueryLoss, largestPiece: Int = 1 << 22) {
    (self.surrogate, self.largestPiece) = (surrogate, largestPiece)
  }

  /// Of validation: what is really done.
  var realLoss: any QueryLoss { surrogate }

  /// The length of the answer about an instance with that many entries.
  func answerCount(entries: Int) -> Int { 1 }

  /// The numbers that a query about an instance hands to the caller.
  func querySize(_ problem: DecisionProblem) -> Int { problem.entries }

  /// Calls the caller's program; the results arrive filled with NaN, and are checked here.
  func ask(_ piece: QueryPiece, _ batch: TaskBatch, into results: Buffer<Double>) throws {
    throw TaskMetError.unsupported("an abstract task")
  }

  override func evaluate(_ batch: TaskBatch, gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    if batch.phase == .validation, gradient != nil { throw DecisionTask.noGradient }
    return try average(loss(batch.phase), batch, gradient)
  }

  override func losses(_ batch: TaskBatch, into losses: UnsafeMutablePointer<Double>) throws {
    try assemble(loss(batch.phase), batch, into: losses, gradient: nil)
  }

  private func loss(_ phase: TaskBatch.Phase) -> any QueryLoss { phase == .training ? surrogate : realLoss }

  /// The mean of a loss over the batch's instances, and its gradient.
  func average(_ loss: any QueryLoss, _ batch: TaskBatch, _ gradient: UnsafeMutablePointer<Double>?) throws -> Double {
    let losses = try Buffer<Double>(count: batch.instances.count)
    try assemble(loss, batch, into: losses.base, gradient: gradient)
    if let gradient {
      let count = batch.rows * batch.outputs
      Double.scale(count, sense.sign / Double(losses.count), gradient)
      if let index = firstNonFinite(count, gradient) {
        throw TaskMetError.numerical("the task gradient's entry \(index) is \(gradient[index])")
      }
    }
    return mean(losses)
  }

  /// Each instance's loss, and its gradient for minimisation.
  private func assemble(
    _ loss: any QueryLoss, _ batch: TaskBatch, into losses: UnsafeMutablePointer<Double>,
    gradient: UnsafeMutablePointer<Double>?
  ) throws {
    let count = batch.instances.count
    losses.update(repeating: 0, count: count)
    gradient?.update(repeating: 0, count: batch.rows * batch.outputs)
    var loss = loss
    try forEachAnswer(batch, loss, gradient: gradient != nil) { position, answer in
      let slope = gradient.map { $0 + Int(batch.offsets[position]) * batch.outputs }
      losses[position] += sense.sign * (try loss.add(answer, batch.problem(position), gradient: slope))
    }
    for k in 0..<count where !losses[k].isFinite { throw DecisionTask.notFinite(losses[k], batch.problem(k)) }
  }

  /// Puts all queries of a loss to the caller; `body` gets the answers in order, each with its instance's position.
  func forEachAnswer(
    _ batch: TaskBatch, _ loss: any QueryLoss, gradient: Bool, _ body: (Int, QueryAnswer) throws -> Void
  ) throws {
    try forEachPiece(batch, loss, gradient: gradient) { queries in
      let piece = try makePiece(queries, batch, loss)
      let starts = try Buffer<Int64>(count: piece.count + 1)
      starts[0] = 0
      for k in 0..<piece.count {
        starts[k + 1] = starts[k] + Int64(answerCount(entries: Int(piece.offsets[k + 1] - piece.offsets[k])))
      }
      let results = try Buffer(repeating: Double.nan, count: Int(starts[piece.count]))
      try ask(piece, batch, into: results)
      for (k, query) in queries.enumerated() {
        try body(
          query.position,
          QueryAnswer(
            index: query.index, values: piece.values.base + Int(piece.offsets[k]),
            result: results.base + Int(starts[k])))
      }
    }
  }

  private struct Query {
    let position: Int
    let index: Int
  }

  /// Cuts the queries about a batch into pieces.
  private func forEachPiece(
    _ batch: TaskBatch, _ loss: any QueryLoss, gradient: Bool, _ body: (UnsafeBufferPointer<Query>) throws -> Void
  ) throws {
    let counts = try Buffer<Int>(count: batch.instances.count)
    var total = 0
    for k in 0..<counts.count {
      counts[k] = loss.queries(batch.problem(k), gradient: gradient)
      total += min(counts[k], largestPiece)
    }
    let room = try Buffer<Query>(count: min(total, largestPiece))
    var (held, size) = (0, 0)
    func flush() throws {
      if held > 0 { try body(UnsafeBufferPointer(start: room.base, count: held)) }
      (held, size) = (0, 0)
    }
    for k in 0..<counts.count {
      let querySize = querySize(batch.problem(k))
      for index in 0..<counts[k] {
        if size + querySize > largestPiece { try flush() }
        room[held] = Query(position: k, index: index)
        held += 1
        size += querySize
      }
    }
    try flush()
  }

  private func makePiece(_ queries: UnsafeBufferPointer<Query>, _ batch: TaskBatch, _ loss: any QueryLoss) throws
    -> QueryPiece
  {
    let (positions, instances) = (try Buffer<Int64>(count: queries.count), try Buffer<Int64>(count: queries.count))
    let offsets = try Buffer<Int64>(count: queries.count + 1)
    offsets[0] = 0
    for (k, query) in queries.enumerated() {
      positions[k] = Int64(query.position)
      instances[k] = batch.instances[query.position]
      offsets[k + 1] = offsets[k] + Int64(batch.problem(query.position).entries)
    }
    let values = try Buffer<Double>(count: Int(offsets[queries.count]))
    for (k, query) in queries.enumerated() {
      let problem = batch.problem(query.position)
      let own = values.base + Int(offsets[k])
      try loss.setValues(own, problem, query.index)
      if let entry = firstNonFinite(problem.entries, own) {
        throw TaskMetError.numerical(
          "entry \(entry) of instance \(problem.instance) would be \(own[entry]) in a question to the callback")
      }
    }
    return QueryPiece(positions: positions, instances: instances, offsets: offsets, values: values)
  }
}

/// Standard normal noise of a query: the same numbers for the same seed, instance and draw, whatever else is asked.
struct InstanceNoise {
  let seed: UInt64

  /// Its `normal()` gives the entries in order.
  func generator(instance: Int, draw: Int) -> RandomGenerator {
    var mixed = Fingerprint()
    for word in [seed, UInt64(instance), UInt64(draw)] { mixed.add(word) }
    return RandomGenerator(seed: mixed.value)
  }
}
