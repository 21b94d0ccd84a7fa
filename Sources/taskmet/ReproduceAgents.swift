// taskmet reproduce figure6 | figure7 | figure8

import ArgumentParser
import TaskMetExperiments

struct AgentArguments: ParsableArguments {
  @Option(help: "Agents, apart by commas: mle, omd, vep, taskmet. Default: the figure's.")
  var agents: String?

  @Option(help: "Numbers of distracting coordinates, apart by commas. Default: the figure's.")
  var distractors: String?

  @Option(help: "How many seeds.")
  var seeds = 10

  @Option(help: "The first seed.")
  var firstSeed = 0

  @Option(help: "Steps in the environment. Longer runs than the file's are made from their start.")
  var steps = 200_000

  @Option(help: "Units of the model's hidden layers, apart by commas. Default: the figure's.")
  var hidden: String?

  @Option(help: "The Q function's Adam: kept, or fresh at each step.")
  var qOptimizer = QOptimizer.kept

  @Option(help: "The Q function's minibatch: separate, or shared with the model's.")
  var qBatch = QBatch.separate

  @Option(help: "The inverse Hessian of the Q function's loss: identity, or cg:iterations:damping.")
  var inverseHessian = "identity"

  @Option(help: "The model's linear system: normal-cg, minres, gauss-newton-cg or identity.")
  var solver = ModelSolver.normalCG

  @Option(help: "The solver's iterations.")
  var solverIterations = 10

  @Option(help: "The metric: diagonal or full-conditional. Default: the figure's.")
  var metric: MetricShape?

  @Flag(help: "A metric whose scale is free.")
  var unnormalized = false

  @Option(help: "The coefficient of the metric's sum of absolute values.")
  var l1 = 0.0

  @Option(help: "The metric's learning rate.")
  var metricRate = 1e-3

  @Option(help: "The step from which the metric is learned.")
  var metricStart = 5000

  @Option(name: .shortAndLong, help: "Where records are kept, one line for each run. Runs in it are not repeated.")
  var output = "cartpole.jsonl"

  @OptionGroup var jobs: JobArguments

  func validate() throws {
    for (name, value, least) in [
      ("seeds", seeds, 1), ("first-seed", firstSeed, 0), ("steps", steps, 1000),
      ("solver-iterations", solverIterations, 1), ("metric-start", metricStart, 0),
    ] where value < least {
      throw ValidationError("--\(name) must be >= \(least), got \(value)")
    }
    if !(l1 >= 0 && l1.isFinite) { throw ValidationError("--l1 must be >= 0, got \(l1)") }
    if !(metricRate > 0 && metricRate.isFinite) {
      throw ValidationError("--metric-rate must be > 0, got \(metricRate)")
    }
    _ = try plan(.figure6)
  }

  func plan(_ figure: AgentFigure) throws -> AgentPlan {
    var plan = AgentPlan(figure, seeds: Array(firstSeed..<(firstSeed + seeds)))
    if let agents { plan.agents = try parseNames(agents, "known agent") }
    if let distractors { plan.distractors = try parseNumbers(distractors, "distractors", least: 0) }
    if let hidden { plan.settings.hidden = try parseNumbers(hidden, "hidden", least: 1) }
    plan.length.steps = steps
    plan.settings.qOptimizer = qOptimizer
    plan.settings.qBatch = qBatch
    guard let inverse = InverseHessian(name: inverseHessian) else {
      throw ValidationError("--inverse-hessian must be identity or cg:iterations:damping, got \"\(inverseHessian)\"")
    }
    plan.settings.inverseHessian = inverse
    plan.settings.solver = solver
    plan.settings.solverIterations = solverIterations
    plan.settings.metricStart = metricStart
    plan.settings.metric.shape = metric ?? plan.settings.metric.shape
    plan.settings.metric.isNormalized = !unnormalized
    plan.settings.metric.l1 = l1
    plan.settings.metric.rate = metricRate
    return plan
  }

  /// Does the runs that are missing, and prints their means.
  func run(_ figure: AgentFigure) throws {
    let plan = try plan(figure)
    let outcome = try reproduce(plan, output: output, jobs: jobs.count, core: coreName())
    try outcome.conclude(output) { render(plan.select(try readRecords(output)), .text) }
  }
}

/// Whole numbers apart by commas.
private func parseNumbers(_ text: String, _ option: String, least: Int) throws -> [Int] {
  try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
    guard let number = Int(part), number >= least, number <= 10_000 else {
      throw ValidationError("--\(option) must be whole numbers from \(least) to 10000, got \"\(part)\"")
    }
    return number
  }
}

struct DrawFigure6: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "figure6", abstract: "Model-based reinforcement learning: CartPole beside distractors.")
  @OptionGroup var arguments: AgentArguments
  func run() throws { try arguments.run(.figure6) }
}

struct DrawFigure7: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "figure7", abstract: "The metric that is learned beside distractors, by coordinate of the state.")
  @OptionGroup var arguments: AgentArguments
  func run() throws { try arguments.run(.figure7) }
}

struct DrawFigure8: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "figure8", abstract: "CartPole with a model of 3 hidden units.")
  @OptionGroup var arguments: AgentArguments
  func run() throws { try arguments.run(.figure8) }
}
