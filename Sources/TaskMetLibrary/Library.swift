// libtaskmet.so: TaskMetSwift, linked with the flags of a shared library (Package.swift). There is no code of its own.

@_exported import TaskMetSwift
