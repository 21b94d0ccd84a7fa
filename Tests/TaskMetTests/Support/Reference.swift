// The formulas of the header written down as plainly as possible, row by row: what values are compared with.

import Glibc

@testable import TaskMetSwift

/// PyTorch's definitions.
func referenceActivation(_ activation: Activation, _ z: Double) -> Double {
  switch activation {
  case .identity: z
  case .relu: max(z, 0)
  case .leakyRelu: z > 0 ? z : 0.01 * z
  case .tanh: tanh(z)
  case .sigmoid: 1 / (1 + exp(-z))
  case .softplus: log(1 + exp(z))
  case .elu: z > 0 ? z : exp(z) - 1
  case .gelu: z * (1 + erf(z / 2.0.squareRoot())) / 2
  case .silu: z / (1 + exp(-z))
  }
}

/// A dense network with PyTorch's layout of parameters.
struct ReferenceNetwork {
  let inputs: Int
  let hidden: [Int]
  let outputs: Int
  let bias: Bool
  let activation: Activation
  let outputActivation: Activation

  /// Outputs, and the pre-activation that is closest to zero (where a kink may be).
  func evaluate(_ parameters: [Double], _ x: [Double]) -> (outputs: [Double], closestToKink: Double) {
    var (a, offset, closest) = (x, 0, Double.infinity)
    for (index, width) in (hidden + [outputs]).enumerated() {
      let biasOffset = offset + width * a.count
      let z = (0..<width).map { unit in
        dot(Array(parameters[(offset + unit * a.count)..<(offset + (unit + 1) * a.count)]), a)
          + (bias ? parameters[biasOffset + unit] : 0)
      }
      offset = biasOffset + (bias ? width : 0)
      closest = z.reduce(closest) { min($0, abs($1)) }
      a = z.map { referenceActivation(index == hidden.count ? outputActivation : activation, $0) }
    }
    return (a, closest)
  }

  /// The places of all biases.
  var biasRanges: [Range<Int>] {
    var (offset, width) = (0, inputs)
    return (hidden + [outputs]).map { next in
      let start = offset + width * next
      (offset, width) = (start + next, next)
      return start..<offset
    }
  }
}

/// Lambda of one row from the factor's entries.
func referenceLambda(
  _ structure: MetricStructure, outputs n: Int, rank: Int, entries: [Double], epsilon: Double,
  _ normalization: MetricNormalization, m: Double
) -> DenseMatrix {
  let factor: DenseMatrix =
    switch structure {
    case .scalar: entries[0] * .identity(n)
    case .diagonal: .diagonal(entries)
    case .lowrank: DenseMatrix(n, rank, entries)
    case .full: DenseMatrix(n, n, entries)
    }
  let a = factor * factor.transposed + epsilon * .identity(n)
  let trace = (0..<n).reduce(0) { $0 + a[$1, $1] }
  switch normalization {
  case .none: return a
  case .batchTrace: return (1 / m) * a
  case .trace: return (Double(n) / trace) * a
  case .frobenius: return (Double(n).squareRoot() / norm(a.values)) * a
  }
}

/// (1/N) sum_i s_i e_i' Lambda_i e_i; predictions and targets are rows x n.
func referenceLoss(_ predictions: DenseMatrix, _ targets: DenseMatrix, _ lambda: [DenseMatrix], weights: [Double])
  -> Double
{
  let sum = (0..<targets.rows).reduce(0.0) { sum, i in
    let e = predictions.row(i) .- targets.row(i)
    return sum + weights[i] * dot(e, lambda[i] * e)
  }
  return sum / Double(targets.rows)
}
