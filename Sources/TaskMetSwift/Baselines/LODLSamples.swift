// What a LODL is fitted to: predictions around an instance's true targets, and what the task says of them.

struct LODLSamples {
  let count: Int
  let entries: Int
  /// count x entries: the noise in units of its deviation, zero where an entry was not moved.
  let noise: Buffer<Double>
  /// The task's loss in phase validation, minus that of the true targets.
  let losses: Buffer<Double>

  init(
    _ task: Task, _ dataset: Dataset, instance: Int, deviation: Double, _ options: LODLOptions,
    _ random: inout RandomGenerator
  ) throws {
    count = options.samples
    entries = try checkedProduct(dataset.rowRange(ofInstance: instance).count, dataset.targets)
    noise = try Buffer(repeating: 0, count: try checkedProduct(count, entries))
    losses = try Buffer(count: count)
    draw(options.sampling, &random)
    try judge(task, dataset, instance, deviation)
    try subtractLossAtTruth(task, dataset, instance)
  }

  private func draw(_ sampling: LODLSampling, _ random: inout RandomGenerator) {
    if sampling == .all {
      for k in 0..<noise.count { noise[k] = random.normal() }
      return
    }
    let moved = sampling.moved(of: entries)
    for s in 0..<count {
      let first = Int(random.next() % UInt64(entries))
      noise[s * entries + first] = random.normal()
      if moved < 2 { continue }
      let other = Int(random.next() % UInt64(entries - 1))
      noise[s * entries + (other < first ? other : other + 1)] = random.normal()
    }
  }

  /// Asks the task in blocks: batches that repeat the instance.
  private func judge(_ task: Task, _ dataset: Dataset, _ instance: Int, _ deviation: Double) throws {
    let rows = dataset.rowRange(ofInstance: instance).count
    let size = max(1, min(256, (1 << 17) / (rows * (dataset.features + 2 * dataset.targets))))
    var batch: TaskBatch?
    for start in stride(from: 0, to: count, by: size) {
      let length = min(size, count - start)
      let block =
        try batch.flatMap { $0.instances.count == length ? $0 : nil }
        ?? TaskBatch(dataset, instances: Buffer(repeating: instance, count: length), phase: .validation)
      batch = block
      let part = noise.base + start * entries
      for k in 0..<(length * entries) { block.predictions[k] = block.targets[k] + deviation * part[k] }
      try task.losses(block, into: losses.base + start)
    }
  }

  private func subtractLossAtTruth(_ task: Task, _ dataset: Dataset, _ instance: Int) throws {
    let truth = try TaskBatch(dataset, instances: Buffer([instance]), phase: .validation)
    truth.predictions.base.update(from: truth.targets.base, count: truth.targets.count)
    var optimal = Double.nan
    try task.losses(truth, into: &optimal)
    for s in 0..<count { losses[s] -= optimal }
    if let s = firstNonFinite(count, losses.base) {
      throw TaskMetError.numerical("the task loss of instance \(instance) near its targets is \(losses[s])")
    }
  }
}
