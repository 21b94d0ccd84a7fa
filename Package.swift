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
    .library(name: "taskmet", type: .dynamic, targets: ["TaskMetSwift"])
  ],
  targets: [
    .systemLibrary(name: "CTaskMet", path: "Sources/CTaskMet"),
    .systemLibrary(name: "COpenBLAS", path: "Sources/COpenBLAS"),
    .target(
      name: "TaskMetSwift",
      dependencies: ["CTaskMet", "COpenBLAS"],
      swiftSettings: [.unsafeFlags(["-Xcc", "-fno-math-errno"])],
      linkerSettings: linker),
    .testTarget(
      name: "TaskMetTests",
      dependencies: ["TaskMetSwift"],
      path: "Tests/TaskMetTests"),
  ]
)
