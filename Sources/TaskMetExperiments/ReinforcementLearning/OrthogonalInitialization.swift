// How the networks of this part start: orthogonal weights (Saxe, McClelland and Ganguli 2014), biases 0.

/// Parameters of a multilayer perceptron in the library's layout: each layer's weight (outputs x inputs, row-major), orthogonal
/// times sqrt(2), or times 0.01 for the last layer, then its bias.
func orthogonalParameters(inputs: Int, hidden: [Int], outputs: Int, _ random: inout RandomNumbers) -> [Double] {
  var parameters: [Double] = []
  var width = inputs
  for (index, next) in (hidden + [outputs]).enumerated() {
    let gain = index == hidden.count ? 0.01 : 2.0.squareRoot()
    parameters += orthogonalMatrix(rows: next, columns: width, &random).map { gain * $0 }
    parameters += [Double](repeating: 0, count: next)
    width = next
  }
  return parameters
}

/// A uniformly distributed matrix with orthonormal rows, or columns where there are fewer of them: normal numbers,
/// orthonormalised by the modified Gram-Schmidt process, twice.
func orthogonalMatrix(rows: Int, columns: Int, _ random: inout RandomNumbers) -> [Double] {
  let (count, length) = (min(rows, columns), max(rows, columns))
  var vectors: [[Double]] = []
  for _ in 0..<count {
    var vector = (0..<length).map { _ in random.normal() }
    for _ in 0..<2 {
      for other in vectors {
        let projection = dot(vector, other)
        for k in 0..<length { vector[k] -= projection * other[k] }
      }
    }
    let norm = dot(vector, vector).squareRoot()
    vectors.append(vector.map { $0 / norm })
  }
  if rows <= columns { return vectors.flatMap { $0 } }
  return (0..<rows).flatMap { row in (0..<columns).map { vectors[$0][row] } }
}

func dot(_ a: [Double], _ b: [Double]) -> Double {
  var sum = 0.0
  for k in 0..<a.count { sum += a[k] * b[k] }
  return sum
}
