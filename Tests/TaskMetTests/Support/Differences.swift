// Derivatives by differences, and the comparison that every test of a derivative ends with.

import Testing

@testable import TaskMetSwift

/// d/dt f(t) at 0 by central differences of the eighth order: truncation is h^8 f''''''''' / 630, so that a step of
/// 1e-2 loses nothing to it for smooth functions of moderate size, and rounding is only divided by 1e-2.
func derivative(step h: Double = 1e-2, _ f: (Double) throws -> [Double]) rethrows -> [Double] {
  let weights = [4.0 / 5, -1.0 / 5, 4.0 / 105, -1.0 / 280]
  var total: [Double] = []
  for (index, weight) in weights.enumerated() {
    let t = h * Double(index + 1)
    let difference = try f(t) .- f(-t)
    let term = weight / h * difference
    total = total.isEmpty ? term : total .+ term
  }
  return total
}

func derivative(step h: Double = 1e-2, _ f: (Double) throws -> Double) rethrows -> Double {
  try derivative(step: h) { [try f($0)] }[0]
}

// MARK: - Vectors

// Element by element; the bare + of arrays puts one behind the other.
infix operator .+ : AdditionPrecedence
infix operator .- : AdditionPrecedence

func .+ (a: [Double], b: [Double]) -> [Double] { add(a, 1, b) }
func .- (a: [Double], b: [Double]) -> [Double] { add(a, -1, b) }
func * (scale: Double, a: [Double]) -> [Double] { add([Double](repeating: 0, count: a.count), scale, a) }
func norm(_ a: [Double]) -> Double { dot(a, a).squareRoot() }
func largest(_ a: [Double]) -> Double { a.reduce(0) { max($0, abs($1)) } }

// Loops over pointers: without optimisation zip and map are a hundred times slower, and most of a test's time.

private func add(_ a: [Double], _ weight: Double, _ b: [Double]) -> [Double] {
  precondition(a.count == b.count)
  var result = a
  result.withUnsafeMutableBufferPointer { result in
    b.withUnsafeBufferPointer { b in
      guard let x = result.baseAddress, let y = b.baseAddress else { return }
      var k = 0
      while k < b.count {
        x[k] += weight * y[k]
        k += 1
      }
    }
  }
  return result
}

func dot(_ a: [Double], _ b: [Double]) -> Double {
  precondition(a.count == b.count)
  return a.withUnsafeBufferPointer { a in
    b.withUnsafeBufferPointer { b in
      guard let x = a.baseAddress, let y = b.baseAddress else { return 0 }
      return dot(a.count, x, 1, y, 1)
    }
  }
}

/// With strides.
func dot(_ count: Int, _ x: UnsafePointer<Double>, _ xStep: Int, _ y: UnsafePointer<Double>, _ yStep: Int) -> Double {
  var sum = 0.0
  var k = 0
  while k < count {
    sum += x[k * xStep] * y[k * yStep]
    k += 1
  }
  return sum
}

extension [Double] {
  /// Standard normal numbers.
  static func normal(_ count: Int, _ random: inout RandomGenerator) -> [Double] {
    (0..<count).map { _ in random.normal() }
  }

  /// A random direction of length 1.
  static func direction(_ count: Int, _ random: inout RandomGenerator) -> [Double] {
    let v = normal(count, &random)
    return (1 / norm(v)) * v
  }

  static func unit(_ count: Int, _ index: Int) -> [Double] {
    var e = [Double](repeating: 0, count: count)
    e[index] = 1
    return e
  }
}

// MARK: - Comparison

/// The largest difference, relative to the largest entry, or to `scale` where all entries are smaller.
func relativeError(_ a: [Double], _ b: [Double], scale: Double) -> Double {
  guard a.count == b.count, a.allSatisfy(\.isFinite) else { return .infinity }
  return largest(a .- b) / max(largest(b), scale)
}

/// Expects two vectors to be the same to a relative tolerance; numbers below `scale` are compared with that.
func expectEqual(
  _ actual: [Double], _ expected: [Double], to tolerance: Double, scale: Double = 1e-2,
  _ what: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
  try? requireEqual(actual, expected, to: tolerance, scale: scale, what(), sourceLocation: sourceLocation)
}

func expectEqual(
  _ actual: Double, _ expected: Double, to tolerance: Double, scale: Double = 1e-2,
  _ what: @autoclosure () -> String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
  try? requireEqual([actual], [expected], to: tolerance, scale: scale, what(), sourceLocation: sourceLocation)
}

/// The same, and an end to the test where they differ: of the many combinations that a mistake breaks, one is enough.
func requireEqual(
  _ actual: [Double], _ expected: [Double], to tolerance: Double, scale: Double = 1e-2,
  _ what: @autoclosure () -> String, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let error = relativeError(actual, expected, scale: scale)
  if error <= tolerance { return }
  try #require(
    error <= tolerance, "\(what()): \(actual.prefix(6)) should be \(expected.prefix(6))",
    sourceLocation: sourceLocation)
}

func requireEqual(
  _ actual: Double, _ expected: Double, to tolerance: Double, scale: Double = 1e-2,
  _ what: @autoclosure () -> String, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  try requireEqual([actual], [expected], to: tolerance, scale: scale, what(), sourceLocation: sourceLocation)
}

/// Expects an error of the library with this code and with a message that says something.
func expectError(
  _ code: TaskMetError.Code, _ what: String = "", sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) {
  do {
    try body()
    Issue.record("\(what): no error, should be \(code)", sourceLocation: sourceLocation)
  } catch let error as TaskMetError {
    #expect(error.code == code && !error.message.isEmpty, "\(what)", sourceLocation: sourceLocation)
  } catch {
    Issue.record("\(what): \(error)", sourceLocation: sourceLocation)
  }
}
