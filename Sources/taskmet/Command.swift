// The command line: taskmet reproduce | run | summarize | list.

import ArgumentParser
import COpenBLAS
import Glibc
import TaskMetExperiments

@main
struct TaskMetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "taskmet",
    abstract: "The experiments of the TaskMet paper, by the library libtaskmet.",
    version: libraryVersion(),
    subcommands: [Reproduce.self, Run.self, Summarize.self, List.self])

  static func main() {
    // Runs are spread over threads of this program; OpenBLAS's own would get in their way.
    openblas_set_num_threads(1)
    Interruption.watchSignals()
    main(nil)
  }
}

/// The kernels that OpenBLAS chose for this processor.
func coreName() -> String { String(cString: openblas_get_corename()) }

func processorCount() -> Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

/// On standard error.
func complain(_ text: String) {
  let bytes = Array((text + "\n").utf8)
  _ = write(2, bytes, bytes.count)
}

/// What an interrupted program exits with.
let interruptedExit = ExitCode(130)
