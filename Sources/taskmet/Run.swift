// taskmet run: one run, its record on standard output.

import ArgumentParser
import TaskMetExperiments

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "One run; prints its record as one line of JSON.")

  @Option(help: "The problem.")
  var problem: ProblemName

  @Option(help: "The method.")
  var method: Method

  @Option(help: "The data set.")
  var dataset = 0

  @Option(help: "The seed.")
  var seed = 0

  @OptionGroup var jobs: JobArguments
  @OptionGroup var training: TrainingArguments
  @OptionGroup var data: DataArguments

  func run() throws {
    let record = try runOnce(
      problem, method, dataset: dataset, seed: seed, try training.settings(), data.sources, jobs: jobs.count,
      core: coreName())
    guard let record else { throw interruptedExit }
    print(record.json.text)
  }
}
