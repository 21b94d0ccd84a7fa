// Records, the file that keeps them, the keys by which runs are not repeated, and their means.

import Glibc
import Testing

@testable import TaskMetExperiments

@Suite struct JSONTests {
  @Test func writesWhatItReads() throws {
    let value = JSON.dictionary([
      ("a\"\n\u{1}é", .array([.null, .bool(true), .integer(-3), .number(0.1), .number(2), .string("x")])),
      ("b", .dictionary([])), ("c", .number(1e-300)),
    ])
    #expect(try JSON(parsing: value.text) == value)
    #expect(!value.text.contains("\n"))
    #expect(JSON.real(.nan) == .null)
    #expect(
      try JSON(parsing: " {\"k\" : [1, 2.5e1 ,\"\\u00e9\"]}\t")["k"]
        == .array([.integer(1), .number(25), .string("é")]))
  }

  @Test(arguments: ["", "{", "{\"a\":1", "[1,]", "nan", "0x10", "{\"a\" 1}", "\"a", "1 2", "{a:1}", "[1}", "\"\\u12\""])
  func refuses(_ text: String) { #expect(message { _ = try JSON(parsing: text) } != nil) }
}

@Suite struct ResultsFileTests {
  private let records = (0..<3).map { record(dataset: $0, quality: 0.5 + Double($0)) }

  @Test func appendsAndReads() throws {
    try withTemporaryFile { path in
      do {
        let file = try ResultsFile<RunRecord>(path: path)
        for record in records { try file.append(record) }
        #expect(message { _ = try ResultsFile<RunRecord>(path: path) } == "\(path) is in use by another process")
      }
      let again = try ResultsFile<RunRecord>(path: path).records()
      #expect(again.map(\.key) == records.map(\.key))
      #expect(again.map(\.quality) == [0.5, 1.5, 2.5])
    }
  }

  /// Wherever a write is cut off, the whole records before it stay, and the next record is whole.
  @Test func repairsATruncatedEnd() throws {
    let whole = records[0].json.text + "\n"
    let last = records[1].json.text
    for kept in [1, last.utf8.count / 2, last.utf8.count - 1, last.utf8.count] {
      try withTemporaryFile { path in
        try writeFile(path, whole + String(decoding: Array(last.utf8)[..<kept], as: UTF8.self))
        let file = try ResultsFile<RunRecord>(path: path)
        try file.append(records[2])
        let expected = kept == last.utf8.count ? [0, 1, 2] : [0, 2]
        #expect(try file.records().map(\.key.dataset) == expected)
      }
    }
  }

  @Test func namesABadLine() throws {
    try withTemporaryFile { path in
      try writeFile(path, records[0].json.text + "\n{\"a\":1}\n" + records[1].json.text + "\n")
      #expect(message { _ = try readRecords(path, as: RunRecord.self) } == "\(path):2: not a record of a run")
      try writeFile(path, records[0].json.text + "\n\nrubbish\n")
      #expect(message { _ = try readRecords(path, as: RunRecord.self) }?.hasPrefix("\(path):3: ") == true)
    }
  }

  @Test func keepsAllOfARecord() throws {
    var full = records[0]
    full.seconds = 1.5
    full.lodlSeconds = 2.5
    full.columns = [("slope", 0.25)]
    full.stopReason = "patience"
    let again = try #require(RunRecord(JSON(parsing: full.json.text)))
    #expect(again.json == full.json)
  }
}

@Suite struct RunSpecificationTests {
  private func run(_ method: Method, dataset: Int = 0, seed: Int = 0, _ settings: RunSettings = RunSettings()) throws
    -> RunSpecification
  { try RunSpecification(CubicProblem(), method, dataset: dataset, seed: seed, settings) }

  @Test func keysTellRunsApart() throws {
    var changed = RunSettings()
    changed.overrides = [("metric_rate", .real(0.5))]
    var preset = RunSettings()
    preset.preset = .default
    let runs = try [
      run(.taskmet), run(.mse), run(.taskmet, dataset: 1), run(.taskmet, seed: 1), run(.taskmet, changed),
      run(.taskmet, preset),
    ]
    #expect(Set(runs.map(\.key)).count == runs.count)
    #expect(try run(.taskmet).key == run(.taskmet).key)
  }

  /// Runs that differ by data set and seed alone belong into one mean.
  @Test func seedsShareTheirSettings() throws {
    let (a, b) = try (run(.taskmet), run(.taskmet, dataset: 3, seed: 4))
    #expect(a.key.settingsHash == b.key.settingsHash)
    #expect(a.runSeed != b.runSeed)
    #expect(a.settings["options"]?["seed"] != b.settings["options"]?["seed"])
  }

  @Test func lodlSettingsCount() throws {
    var fewer = RunSettings()
    fewer.overrides = [("lodl_samples", .integer(10))]
    #expect(try run(.lodl).key != run(.lodl, fewer).key)
    #expect(try run(.lodl).lodl == RunProtocol.settings(.cubic).lodl)
    #expect(try run(.lodl, fewer).lodl?.samples == 10)
    #expect(try run(.mse).lodl == nil)
  }

  @Test func everyOptionIsRecorded() throws {
    let options = try #require(try run(.dfl10).settings["options"])
    #expect(options.members.map(\.key) == (try trainerOptions().map(\.name)))
    #expect(options["alpha"] == .number(10) && options["method"] == .string("dfl"))
    #expect(options["outer_iterations"] == .integer(155) && options["warmup_iterations"] == .integer(0))
  }

  /// As many updates of the predictor for each method.
  @Test func updatesAreTheSame() throws {
    for problem in ProblemName.ofTheTables {
      for method in Method.allCases where method.applies(to: problem) {
        let source = try makeProblem(problem, DataSources())
        let run = try RunSpecification(source, method, dataset: 0, seed: 0, RunSettings())
        #expect(run.real("warmup_iterations") + run.real("outer_iterations") * run.real("inner_iterations") == 15_500)
        #expect(run.real("inner_batch") == 10)
      }
    }
  }

  @Test func refusesWhatTheTrainerRefuses() {
    var settings = RunSettings()
    settings.overrides = [("metric_rate", .real(-1))]
    #expect(message { _ = try run(.mse, settings) }?.contains("metric_rate must be > 0") == true)
    #expect(message { _ = try parseOption("nothing=1") }?.contains("no option \"nothing\"") == true)
    #expect(message { _ = try parseOption("patience=x") } == "patience must be an integer, got \"x\"")
    #expect(message { _ = try parseOption("patience") } == "\"patience\" is not of the form option=value")
    #expect(message { _ = try run(.predictZero) } == "predict-zero does not apply to cubic")
  }
}

@Suite struct SummaryTests {
  @Test func meansAndDeviations() {
    // Two data sets with means 2 and 5; all: 1 3 4 6.
    let estimate = Estimate([0: [1, 3], 7: [4, 6]])
    #expect(estimate.mean == 3.5)
    #expect(abs(estimate.deviation - (13.0 / 3).squareRoot()) < 1e-12)
    #expect(abs(estimate.error - 1.5) < 1e-12)
    let seeds = Estimate([0: [1, 3, 5]])
    #expect(seeds.deviation == 2 && abs(seeds.error - 2 / 3.0.squareRoot()) < 1e-12)
    #expect(Estimate([0: [1]]).deviation.isNaN)
  }

  @Test func rowsAreGrouped() {
    let records = [
      record(method: "taskmet", dataset: 0, quality: 1), record(method: "mse", dataset: 0, quality: -1),
      record(method: "taskmet", dataset: 1, quality: 0), record(method: "taskmet", dataset: 1, quality: 0),
      record(method: "taskmet", dataset: 0, hash: "b", quality: 0.5), record(problem: "budget", quality: 0.25),
    ]
    let rows = summarize(records)
    #expect(rows.map(\.label) == ["mse", "taskmet [paper a]", "taskmet [paper b]", "mse"])
    #expect(rows.map(\.problem) == ["cubic", "cubic", "cubic", "budget"])
    #expect(rows.map(\.runs) == [1, 2, 1, 1])  // the run that is there twice counts once
    #expect(rows[1].quality.mean == 0.5)
  }

  @Test func formats() {
    let records = (0..<2).map { record(method: "taskmet", dataset: $0, quality: 0.9 + 0.02 * Double($0), error: 2.5) }
    let text = render(records, .everything, .text)
    #expect(text.contains("0.910 ± 0.014 (0.010)") && text.contains("0.960 ± 0.00500") && text.contains("2.50 ± 0.00"))
    let markdown = render(records, .quality, .markdown)
    #expect(markdown.contains("| taskmet | 2 | 0.910 ± 0.014 (0.010) |"))
    let csv = render(records, .everything, .csv).split(separator: "\n")
    #expect(csv.count == 2)
    #expect(
      csv[0].split(separator: ",", omittingEmptySubsequences: false).count
        == csv[1].split(separator: ",", omittingEmptySubsequences: false).count)
    #expect(csv[1].hasPrefix("cubic,taskmet,paper,a,2,2,0.91"))
  }

  @Test func numbersAsText() {
    #expect(fixed(-0.9604, 2) == "-0.96" && fixed(0.0004, 2) == "0.00" && fixed(-0.0004, 2) == "0.00")
    #expect(fixed(2.5, 0) == "3" && fixed(1.05, 3) == "1.050" && fixed(.nan, 2) == "-")
    #expect(significant(0.000432, 3) == "4.32e-4" && significant(71.7, 3) == "71.7" && significant(0, 3) == "0")
  }

  @Test func ticksAreRound() {
    #expect(Plot.ticks((-1, 1)) == [-1, -0.5, 0, 0.5, 1])
    #expect(Plot.ticks((0, 33)) == [0, 10, 20, 30])
  }
}
