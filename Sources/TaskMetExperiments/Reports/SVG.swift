// Line plots as SVG.

import Glibc

/// Curves over x, with axes and a legend.
struct Plot {
  var title, xLabel, yLabel: String
  var x: [Double]
  var curves: [Figure4.Curve]
  var startsAtZero = false

  static let width = 420.0
  static let height = 320.0
  private static let inside = (left: 60.0, right: 405.0, top: 35.0, bottom: 270.0)
  private static let colours = [
    "true": "#555555", "mse": "#0072b2", "dfl": "#d55e00", "taskmet": "#009e73",
  ]

  private var xRange: (Double, Double) { (x.min()!, x.max()!) }

  private var yRange: (Double, Double) {
    let values = curves.flatMap(\.values)
    let (low, high) = (startsAtZero ? 0 : values.min()!, values.max()!)
    let margin = high > low ? 0.05 * (high - low) : 1
    return (startsAtZero ? 0 : low - margin, high + margin)
  }

  private func horizontal(_ x: Double) -> Double {
    let (low, high) = xRange
    return Self.inside.left + (x - low) / (high - low) * (Self.inside.right - Self.inside.left)
  }

  private func vertical(_ y: Double) -> Double {
    let (low, high) = yRange
    return Self.inside.bottom - (y - low) / (high - low) * (Self.inside.bottom - Self.inside.top)
  }

  /// About five round numbers within a range.
  static func ticks(_ range: (Double, Double)) -> [Double] {
    let raw = (range.1 - range.0) / 5
    let power = pow(10, floor(log10(raw)))
    let step = [1, 2, 5, 10].first { $0 * power >= raw }! * power
    let first = Int(ceil(range.0 / step - 1e-9))
    let last = Int(floor(range.1 / step + 1e-9))
    return (first...max(first, last)).map { Double($0) * step }
  }

  /// The elements of the plot, moved to the right by `offset`.
  func elements(offset: Double) -> [String] {
    let box = Self.inside
    var parts = ["<g transform=\"translate(\(offset),0)\">"]
    parts.append(text(title, (box.left + box.right) / 2, 22, size: 14))
    parts.append(
      "<rect x=\"\(box.left)\" y=\"\(box.top)\" width=\"\(box.right - box.left)\" height=\"\(box.bottom - box.top)\" "
        + "fill=\"none\" stroke=\"#999999\"/>")
    for tick in Self.ticks(xRange) { parts.append(text(significant(tick, 2), horizontal(tick), box.bottom + 16)) }
    for tick in Self.ticks(yRange) {
      parts.append(text(significant(tick, 2), box.left - 6, vertical(tick) + 4, anchor: "end"))
    }
    parts.append(text(xLabel, (box.left + box.right) / 2, box.bottom + 36))
    parts.append(text(yLabel, 16, box.top - 10, anchor: "start"))
    for (index, curve) in curves.enumerated() { parts += [line(curve), legend(curve, index)].joined() }
    return parts + ["</g>"]
  }

  private func text(_ content: String, _ x: Double, _ y: Double, size: Int = 11, anchor: String = "middle") -> String {
    "<text x=\"\(fixed(x, 1))\" y=\"\(fixed(y, 1))\" font-size=\"\(size)\" text-anchor=\"\(anchor)\">\(content)</text>"
  }

  private func line(_ curve: Figure4.Curve) -> [String] {
    let points = zip(x, curve.values).map { "\(fixed(horizontal($0), 2)),\(fixed(vertical($1), 2))" }
    return [
      "<polyline fill=\"none\" stroke=\"\(Self.colours[curve.name] ?? "#000000")\" stroke-width=\"2\" "
        + "points=\"\(points.joined(separator: " "))\"/>"
    ]
  }

  private func legend(_ curve: Figure4.Curve, _ index: Int) -> [String] {
    let y = Self.inside.top + 14 + 16 * Double(index)
    let x = Self.inside.left + 90
    return [
      "<line x1=\"\(x)\" y1=\"\(y)\" x2=\"\(x + 20)\" y2=\"\(y)\" stroke=\"\(Self.colours[curve.name] ?? "#000000")\" "
        + "stroke-width=\"2\"/>",
      text(curve.name, x + 26, y + 4, anchor: "start"),
    ]
  }
}

/// Plots side by side.
func drawing(_ plots: [Plot]) -> String {
  let width = Plot.width * Double(plots.count)
  var parts = [
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(width) \(Plot.height)\" font-family=\"sans-serif\">",
    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
  ]
  for (index, plot) in plots.enumerated() { parts += plot.elements(offset: Plot.width * Double(index)) }
  return (parts + ["</svg>"]).joined(separator: "\n") + "\n"
}
