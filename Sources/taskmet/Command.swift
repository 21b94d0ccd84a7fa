import ArgumentParser
import TaskMetExperiments
@main struct TaskMet: ParsableCommand {
  mutating func run() throws { print(libraryVersion()) }
}
