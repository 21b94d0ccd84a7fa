// Records of agents' runs: what is written is read again, and which runs a record stands for.

import Testing

@testable import TaskMetExperiments

@Suite("Agents' records")
struct AgentRecordTests {
  static func specification(_ change: (inout AgentSettings) -> Void = { _ in }, seed: Int = 4, steps: Int = 60)
    -> AgentRunSpecification
  {
    var settings = AgentTests.settings(.taskmet)
    change(&settings)
    var length = RunLength()
    length.steps = steps
    length.evaluationInterval = 20
    length.evaluationEpisodes = 2
    return AgentRunSpecification(settings: settings, seed: seed, length: length)
  }

  @Test("a record is the same when it is read again")
  func roundTrip() throws {
    let record = try Self.specification().execute(core: "Test")
    let again = try #require(AgentRecord(JSON(parsing: record.json.text)))
    #expect(again.json == record.json && again.evaluations == record.evaluations)
    #expect(again.evaluations.map(\.step) == [20, 40, 60] && again.evaluations[0].metricDiagonal.count == 6)
    #expect(AgentRecord(.dictionary([("experiment", .string("cartpole"))])) == nil)
  }

  @Test("a record covers runs of its settings and seed that are no longer")
  func covers() {
    let record = AgentRecord(Self.specification(), core: "Test")
    #expect(record.covers(Self.specification()) && record.covers(Self.specification(steps: 40)))
    #expect(!record.covers(Self.specification(steps: 80)) && !record.covers(Self.specification(seed: 5)))
    #expect(!record.covers(Self.specification { $0.metric.l1 = 0.5 }))
    #expect(!record.covers(Self.specification { $0.qOptimizer = .fresh }))
    // MLE has no metric: its settings make no other run.
    let mle = AgentRecord(Self.specification { $0.kind = .mle }, core: "Test")
    #expect(mle.covers(Self.specification { ($0.kind, $0.metric.l1) = (.mle, 0.5) }))
  }

  @Test("a plan's runs are done once; a longer plan does them again, and the table counts the longer ones")
  func resume() throws {
    var plan = AgentPlan(.figure6, seeds: [0, 1])
    (plan.agents, plan.distractors, plan.settings) = ([.mle, .taskmet], [2], AgentTests.settings(.mle))
    (plan.length.steps, plan.length.evaluationInterval, plan.length.evaluationEpisodes) = (40, 20, 2)
    let records = try withTemporaryFile { path in
      let first = try reproduce(plan, output: path, jobs: 2, core: "Test")
      #expect(first.done == 4 && first.skipped == 0 && first.failures.isEmpty)
      let second = try reproduce(plan, output: path, jobs: 2, core: "Test")
      #expect(second.done == 0 && second.skipped == 4)
      plan.length.steps = 60
      let third = try reproduce(plan, output: path, jobs: 1, core: "Test")
      #expect(third.done == 4 && third.skipped == 0)
      return try readRecords(path, as: AgentRecord.self)
    }
    #expect(records.count == 8 && plan.select(records).count == 4)
    for seed in 0..<2 {
      let runs = records.filter { $0.seed == seed && $0.agent == "mle" }.map { $0.evaluations.map(\.meanReturn) }
      #expect(runs.count == 2 && runs[0] == Array(runs[1].prefix(2)))
    }
    let table = render(records, .csv).split(separator: "\n").map {
      $0.split(separator: ",", omittingEmptySubsequences: false)
    }
    #expect(table.count == 3 && table[1].prefix(3) == ["mle 2 distractors", "2", "60"])
  }

  @Test("the inverse Hessian by its name")
  func names() {
    #expect(InverseHessian(name: "cg:10:0.1") == .conjugateGradients(iterations: 10, damping: 0.1))
    for inverse in [InverseHessian.identity, .conjugateGradients(iterations: 3, damping: 0)] {
      #expect(InverseHessian(name: inverse.name) == inverse)
    }
    for name in ["", "cg", "cg:0:1", "cg:1:-1", "cg:1:inf", "cg:1:1:1", "identity:"] {
      #expect(InverseHessian(name: name) == nil)
    }
  }
}
