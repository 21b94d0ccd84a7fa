// taskmet reproduce table2 | table3 | figure4; its other figures are in ReproduceAgents.swift.

import ArgumentParser
import TaskMetExperiments

struct Reproduce: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The paper's tables and figures.",
    subcommands: [Table2.self, Table3.self, DrawFigure4.self, DrawFigure6.self, DrawFigure7.self, DrawFigure8.self])
}

struct TableArguments: ParsableArguments {
  @Option(help: "Problems, apart by commas (cubic,budget,portfolio,grid-scheduling).")
  var problems: String = ProblemName.ofTheTables.map(\.rawValue).joined(separator: ",")

  @Option(help: "Methods, apart by commas; taskmet list names them. Default: all that apply.")
  var methods: String?

  @Option(help: "Data sets of each problem.")
  var datasets = 10

  @Option(help: "Seeds for each data set.")
  var seeds = 5

  @Option(name: .shortAndLong, help: "Where records are kept, one line for each run. Runs in it are not repeated.")
  var output = "results.jsonl"

  @OptionGroup var jobs: JobArguments
  @OptionGroup var training: TrainingArguments
  @OptionGroup var data: DataArguments

  func validate() throws {
    if datasets < 1 { throw ValidationError("--datasets must be >= 1, got \(datasets)") }
    if seeds < 1 { throw ValidationError("--seeds must be >= 1, got \(seeds)") }
    let _: [ProblemName] = try parseNames(problems, "problem")
    if let methods { let _: [Method] = try parseNames(methods, "method") }
  }

  func plan() throws -> ReproductionPlan {
    var plan = ReproductionPlan()
    plan.problems = try parseNames(problems, "problem")
    plan.methods = try methods.map { try parseNames($0, "method") }
    plan.datasets = datasets
    plan.seeds = seeds
    plan.settings = try training.settings()
    plan.sources = data.sources
    return plan
  }

  /// Does the runs that are missing, and prints the table.
  func run(_ kind: TableKind) throws {
    let plan = try plan()
    let outcome = try reproduce(plan, output: output, jobs: jobs.count, core: coreName())
    try outcome.conclude(output) { render(outcome.select(try readRecords(output)), kind, .text) }
  }
}

extension RunnerOutcome {
  /// Prints the summary of the runs, unless they were interrupted; a command whose runs failed fails too.
  func conclude(_ output: String, summary: () throws -> String) throws {
    if interrupted {
      complain("interrupted after \(done) runs; the same command goes on from \(output)")
      throw interruptedExit
    }
    print(try summary())
    if !failures.isEmpty {
      complain("\(failures.count) runs failed")
      throw ExitCode.failure
    }
  }
}

struct Table2: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "table2", abstract: "Decision quality of all methods on cubic, budget and portfolio.")
  @OptionGroup var arguments: TableArguments
  func run() throws { try arguments.run(.quality) }
}

struct Table3: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "table3", abstract: "Mean squared errors of the same runs.")
  @OptionGroup var arguments: TableArguments
  func run() throws { try arguments.run(.error) }
}

struct DrawFigure4: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "figure4", abstract: "Predictions and the learned metric on the cubic problem: .csv and .svg.")

  @Option(help: "The data set.")
  var dataset = 0

  @Option(help: "The seed.")
  var seed = 0

  @Option(name: .shortAndLong, help: "Path of the files, without .csv and .svg.")
  var output = "figure4"

  @OptionGroup var training: TrainingArguments

  func run() throws {
    let figure = try Figure4(dataset: dataset, seed: seed, try training.settings())
    try writeFile(output + ".csv", figure.csv)
    try writeFile(output + ".svg", figure.svg)
    print("wrote \(output).csv and \(output).svg")
  }
}
