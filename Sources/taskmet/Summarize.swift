// taskmet summarize: tables of a results file.

import ArgumentParser
import TaskMetExperiments

struct Summarize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Means of a results file, beside the paper's numbers.")

  @Argument(help: "The results.")
  var results: String

  @Option(help: "text, markdown or csv.")
  var format = TableFormat.text

  func run() throws {
    // A file holds runs of one kind: of the tables' problems, or of agents.
    if let agents = try? readRecords(results, as: AgentRecord.self), !agents.isEmpty {
      print(render(agents, format))
    } else {
      print(render(try readRecords(results), .everything, format))
    }
  }
}
