// One run: a problem's data set, a method, a seed and all settings; and the key by which its record is found again.

/// What the user asks for beside the protocol.
public struct RunSettings: Sendable {
  public var preset = Preset.paper
  /// Trainer options that are set last, by name.
  public var overrides: [(name: String, value: OptionValue)] = []

  public init() {}
}

/// What makes a run the same as another one.
struct RunKey: Hashable {
  let problem, method: String
  let dataset, seed: Int
  let settingsHash: String
}

struct RunSpecification: Sendable {
  let problem: any Problem
  let method: Method
  let dataset, seed: Int
  let preset: Preset
  let options: [(name: String, value: OptionValue)]
  let lodl: LODLSettings?
  /// Everything that shapes the result, every trainer option included.
  let settings: JSON

  init(_ problem: any Problem, _ method: Method, dataset: Int, seed: Int, _ settings: RunSettings) throws {
    guard method.applies(to: problem.name) else {
      throw ExperimentError("\(method.rawValue) does not apply to \(problem.name.rawValue)")
    }
    self.problem = problem
    self.method = method
    self.dataset = dataset
    self.seed = seed
    preset = problem.name == .gridScheduling ? .default : settings.preset
    let runSeed = RunProtocol.seed(problem.name, dataset: dataset, seed: seed)
    options =
      RunProtocol.options(problem.name, method, preset, seed: runSeed).map { (name: $0.0, value: $0.1) }
      + settings.overrides
    let all = try Self.allOptions(options)
    lodl = method.usesLODL ? LODLSettings(options: all) : nil
    self.settings = .dictionary([("preset", .string(preset.rawValue))] + problem.settings + [("options", all)])
  }

  /// The value of every trainer option once these are set, from a trainer that is made for nothing else: so a name or a value that
  /// the library refuses is known before any run begins.
  private static func allOptions(_ options: [(name: String, value: OptionValue)]) throws -> JSON {
    var table = Table(features: 1, targets: 1)
    table.append(x: [0], y: [0])
    let trainer = try Trainer(
      try Predictor.linear(inputs: 1, outputs: 1), try Metric.identity(outputs: 1), try Dataset(table))
    for (name, value) in options { try trainer.set(name, value) }
    return .dictionary(try trainer.options().map { ($0.name, JSON($0.value)) })
  }

  /// The seed of models and batches.
  var runSeed: UInt64 { RunProtocol.seed(problem.name, dataset: dataset, seed: seed) }

  var key: RunKey {
    RunKey(
      problem: problem.name.rawValue, method: method.rawValue, dataset: dataset, seed: seed,
      settingsHash: settingsHash)
  }

  /// Of everything but the option `seed`, which follows from data set and seed: runs with the same hash belong into one mean.
  private var settingsHash: String {
    let members = settings.members.map { member in
      guard member.key == "options" else { return member }
      let others = member.value.members.filter { $0.key != "seed" }
      return JSON.Member(key: member.key, value: .object(others))
    }
    return String(fingerprint(JSON.object(members).text), radix: 16)
  }

  /// A number of the options, as the run will have it.
  func real(_ option: String) -> Double { settings["options"]?[option]?.real ?? 0 }
}

extension JSON {
  init(_ value: OptionValue) {
    switch value {
    case .integer(let value): self = .integer(value)
    case .real(let value): self = .real(value)
    case .text(let value): self = .string(value)
    }
  }
}

/// `name=value`, the value of the type that the option has.
public func parseOption(_ text: String) throws -> (name: String, value: OptionValue) {
  guard let equals = text.firstIndex(of: "=") else {
    throw ExperimentError("\"\(text)\" is not of the form option=value")
  }
  let name = String(text[..<equals])
  let value = String(text[text.index(after: equals)...])
  guard let option = try trainerOptions().first(where: { $0.name == name }) else {
    throw ExperimentError("the trainer has no option \"\(name)\"; taskmet list names them")
  }
  switch option.standard {
  case .integer:
    guard let integer = Int64(value) else { throw ExperimentError("\(name) must be an integer, got \"\(value)\"") }
    return (name, .integer(integer))
  case .real:
    guard let real = Double(value) else { throw ExperimentError("\(name) must be a number, got \"\(value)\"") }
    return (name, .real(real))
  case .text: return (name, .text(value))
  }
}
