// taskmet list: what there is to choose from.

import ArgumentParser
import TaskMetExperiments

struct List: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Problems, methods, and the trainer's options.")

  func run() throws {
    print("Problems (--problems, --problem)")
    for problem in ProblemName.allCases { print("  \(pad(problem.rawValue)) \(problem.summary)") }
    print("\nMethods (--methods, --method)")
    for method in Method.allCases { print("  \(pad(method.rawValue)) \(method.summary)") }
    print("\nTrainer options (--set option=value)")
    for option in try trainerOptions() {
      print("  \(pad(option.name)) \(option.help) [\(text(option.standard)); \(option.range)]")
    }
  }

  private func pad(_ name: String) -> String {
    name + String(repeating: " ", count: max(0, 26 - name.count))
  }

  private func text(_ value: OptionValue) -> String {
    switch value {
    case .integer(let value): "\(value)"
    case .real(let value): "\(value)"
    case .text(let value): value
    }
  }
}
