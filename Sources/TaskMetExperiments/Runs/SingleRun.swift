// One run by itself, for `taskmet run`.

/// Trains and judges; the record is the caller's to keep.
public func runOnce(
  _ problem: ProblemName, _ method: Method, dataset: Int, seed: Int, _ settings: RunSettings, _ sources: DataSources,
  jobs: Int, core: String
) throws -> RunRecord? {
  let run = try RunSpecification(
    try makeProblem(problem, sources), method, dataset: dataset, seed: seed, settings)
  let cache = DataCache([run])
  do { return try run.execute(cache.data(run), threads: jobs, core: core) } catch is Interrupted { return nil }
}
