// Tables 2 and 3 of the paper: mean and standard deviation over 10 data sets and 5 seeds. Its portfolio prices and click-through
// rates were others than those here.

struct PaperNumber {
  let mean, deviation: Double
}

enum PaperNumbers {
  /// Normalised decision quality on test data.
  static func quality(_ problem: String, _ method: String) -> PaperNumber? { table2[problem]?[method] }

  /// Mean squared error on test data.
  static func error(_ problem: String, _ method: String) -> PaperNumber? { table3[problem]?[method] }

  private static func number(_ mean: Double, _ deviation: Double) -> PaperNumber {
    PaperNumber(mean: mean, deviation: deviation)
  }

  private static let table2: [String: [String: PaperNumber]] = [
    "cubic": [
      "mse": number(-0.96, 0.02), "dfl": number(0.61, 0.74), "dfl-10": number(0.62, 0.74), "lodl": number(0.96, 0.005),
      "lodl-10": number(-0.95, 0.005), "taskmet": number(0.96, 0.005),
    ],
    "budget": [
      "mse": number(0.54, 0.17), "dfl": number(0.91, 0.06), "dfl-10": number(0.81, 0.11), "lodl": number(0.84, 0.105),
      "lodl-10": number(0.58, 0.14), "taskmet": number(0.83, 0.12),
    ],
    "portfolio": [
      "mse": number(0.33, 0.03), "dfl": number(0.25, 0.02), "dfl-10": number(0.34, 0.03), "lodl": number(0.17, 0.05),
      "lodl-10": number(0.30, 0.03), "taskmet": number(0.33, 0.03),
    ],
  ]

  private static let table3: [String: [String: PaperNumber]] = [
    "cubic": [
      "mse": number(2.30, 0.03), "dfl": number(2.89, 0.32), "dfl-10": number(2.41, 0.05), "lodl": number(2.88, 0.03),
      "lodl-10": number(2.29, 0.19), "taskmet": number(2.89, 0.03),
    ],
    "budget": [
      "mse": number(4.32e-4, 2.35e-4), "dfl": number(71.7e-4, 58.3e-4), "dfl-10": number(8.09e-4, 12.1e-4),
      "lodl": number(35.9e-4, 12.9e-4), "lodl-10": number(5.05e-4, 1.88e-4), "taskmet": number(9.74e-4, 13.79e-4),
    ],
    "portfolio": [
      "mse": number(4.03e-4, 0.24e-4), "dfl": number(0.80, 0.08), "dfl-10": number(5.18e-4, 0.46e-4),
      "lodl": number(55.6e-4, 9.95e-4), "lodl-10": number(4.31e-4, 0.31e-4), "taskmet": number(4.69e-4, 0.56e-4),
    ],
  ]
}
