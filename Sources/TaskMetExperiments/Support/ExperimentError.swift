// What goes wrong in an experiment before the library is asked: files, names, settings.

/// A message for the user of the command line.
public struct ExperimentError: Error, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}
