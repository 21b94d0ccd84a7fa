// swift-tools-version: 6.0
import PackageDescription

// The ABI's major number (TASKMET_ABI_VERSION in include/taskmet.h) is part of the SONAME.
let linker: [LinkerSetting] = [
  .unsafeFlags([
    "-Xlinker", "--version-script=\(Context.packageDirectory)/packaging/taskmet.map",
    "-Xlinker", "-soname=libtaskmet.so.0",
    "-Xlinker", "-Bsymbolic",
    // A Swift thread-local destructor that runs after dlclose would crash the host: the library stays resident.
    "-Xlinker", "-z", "-Xlinker", "nodelete",
  ])
]

let package = Package(
  name: "TaskMet",
  products: [
    .library(name: "taskmet", type: .dynamic, targets: ["TaskMetLibrary"]),
    // Installed as bin/taskmet. (Of two products of the same name SwiftPM would drop one.)
    .executable(name: "taskmet-cli", targets: ["TaskMetCommand"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0")
  ],
  targets: [
    .systemLibrary(name: "CTaskMet", path: "Sources/CTaskMet"),
    .systemLibrary(name: "COpenBLAS", path: "Sources/COpenBLAS"),
    // Matrix products for several instruction sets, one of which is chosen when the library runs.
    .target(
      name: "CKernels",
      exclude: ["kernels.inc", "rectified.inc", "scalar.inc"],
      // Optimised in debug builds too; debug information that valgrind 3.19 can read.
      cSettings: [.unsafeFlags(["-O2", "-fno-math-errno", "-gdwarf-4"])]),
    .target(
      name: "TaskMetSwift",
      dependencies: ["CTaskMet", "COpenBLAS", "CKernels"],
      swiftSettings: [.unsafeFlags(["-Xcc", "-fno-math-errno"])]),
    // The shared library's linker flags alone: programs and tests that link TaskMetSwift itself must not get them.
    .target(name: "TaskMetLibrary", dependencies: ["TaskMetSwift"], linkerSettings: linker),
    // The paper's experiments, a client of the C API.
    .target(
      name: "TaskMetExperiments",
      dependencies: ["CTaskMet", "TaskMetSwift"],
      // The agents' vectors live in objects: checking every access to them at run time takes 5 % of a step.
      swiftSettings: [.unsafeFlags(["-enforce-exclusivity=unchecked"])]),
    .executableTarget(
      name: "TaskMetCommand",
      dependencies: [
        "TaskMetExperiments", "COpenBLAS", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources/taskmet"),
    .testTarget(
      name: "TaskMetTests",
      dependencies: ["TaskMetSwift", "CKernels"],
      path: "Tests/TaskMetTests"),
    .testTarget(
      name: "TaskMetExperimentsTests",
      dependencies: ["TaskMetExperiments"],
      path: "Tests/TaskMetExperimentsTests",
      exclude: ["ReinforcementLearning/Recorded"]),
  ]
)
