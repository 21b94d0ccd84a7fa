// The algebra of one row's metric Lambda = kappa A, A = L L' + eps I: products, norms, and the pull-back to L's entries.
// A is not formed, but where a dense Lambda is what was asked for.

/// The structure of L. Raw values are those of `taskmet_structure`.
enum MetricStructure: Int32, CaseIterable {
  case scalar, diagonal, lowrank, full

  var name: String { String(describing: self) }
}

/// A cotangent C_i of Lambda_i for each row of a tile.
enum MetricCotangent<Scalar: BLASScalar> {
  /// C_i = alpha_i (u_i e_i' + e_i u_i'); lambdaE is Lambda_i e_i. Each rows x n but alpha.
  case rankTwo(
    alpha: UnsafePointer<Scalar>, u: UnsafePointer<Scalar>, e: UnsafePointer<Scalar>, lambdaE: UnsafePointer<Scalar>)
  /// Any C_i, rows x n x n.
  case dense(UnsafePointer<Scalar>)
}

extension MetricCotangent {
  /// <C, A> of a row where that follows from the cotangent alone: Lambda e tells what A does. `scale` is kappa.
  func innerProduct(_ row: Int, outputs n: Int, scale: Scalar) -> Scalar? {
    guard case .rankTwo(let alpha, let u, _, let lambdaE) = self else { return nil }
    return 2 * alpha[row] * shortDot(n, u + row * n, lambdaE + row * n) / scale
  }

  /// The sum of that over rows of one kappa.
  func sumOfInnerProducts(rows: Int, outputs n: Int, scale: Scalar) -> Double? {
    var sum = 0.0
    for row in 0..<rows {
      guard let product = innerProduct(row, outputs: n, scale: scale) else { return nil }
      sum += Double(product)
    }
    return sum
  }
}

/// What of C reaches A, through the normalisation: C' = kappa C + a A + i I.
struct NormalizedCotangent<Scalar: BLASScalar> {
  var kappa: Scalar
  var a: Scalar = 0
  var i: Scalar = 0
}

/// The factors of a tile of rows, in somebody else's memory.
struct MetricFactors<Scalar: BLASScalar> {
  let structure: MetricStructure
  /// n.
  let outputs: Int
  /// Columns of L.
  let rank: Int
  let entries: UnsafePointer<Scalar>
  /// Entries from one row's factor to the next: 0 where all rows share one.
  let entryStride: Int
  /// kappa_i, and 0 or 1 as the step from one to the next.
  let scales: UnsafePointer<Scalar>
  let scaleStride: Int
  let epsilon: Scalar

  func factor(_ row: Int) -> UnsafePointer<Scalar> { entries + row * entryStride }
  func scale(_ row: Int) -> Scalar { scales[row * scaleStride] }

  /// The factors from a row on.
  func advanced(by rows: Int) -> MetricFactors {
    MetricFactors(
      structure: structure, outputs: outputs, rank: rank, entries: entries + rows * entryStride,
      entryStride: entryStride, scales: scales + rows * scaleStride, scaleStride: scaleStride, epsilon: epsilon)
  }
}

// MARK: - Products and norms

extension MetricFactors {
  /// out_i = Lambda_i e_i for contiguous rows x n. `scratch` holds rows x rank elements.
  func apply(
    rows: Int, _ e: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>, scratch: UnsafeMutablePointer<Scalar>
  ) {
    let n = outputs
    switch structure {
    case .scalar where n == 1 && entryStride == 1 && scaleStride == 0:
      let kappa = scale(0)
      for row in 0..<rows { out[row] = kappa * (entries[row] * entries[row] + epsilon) * e[row] }
    case .scalar:
      for row in 0..<rows {
        let l = factor(row)[0]
        let weight = scale(row) * (l * l + epsilon)
        for k in 0..<n { out[row * n + k] = weight * e[row * n + k] }
      }
    case .diagonal:
      for row in 0..<rows {
        let (l, kappa, start) = (factor(row), scale(row), row * n)
        for k in 0..<n { out[start + k] = kappa * (l[k] * l[k] + epsilon) * e[start + k] }
      }
    case .lowrank, .full:
      if entryStride == 0 {
        applyShared(rows: rows, e, out, scratch)
      } else {
        for row in 0..<rows { applyFactor(row, e + row * n, out + row * n, scratch) }
      }
    }
  }

  /// One factor for all rows: two matrix products.
  private func applyShared(
    rows: Int, _ e: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>, _ scratch: UnsafeMutablePointer<Scalar>
  ) {
    let n = outputs
    Scalar.multiply(
      LayerProduct(
        m: rows, n: rank, k: n, a: e, aRow: n, aColumn: 1, b: entries, bStride: rank, transposeB: false, c: scratch))
    Scalar.multiply(
      LayerProduct(
        m: rows, n: n, k: rank, a: scratch, aRow: rank, aColumn: 1, b: entries, bStride: rank, transposeB: true,
        c: out))
    for row in 0..<rows {
      let (kappa, start) = (scale(row), row * n)
      for k in 0..<n { out[start + k] = kappa * (out[start + k] + epsilon * e[start + k]) }
    }
  }

  private func applyFactor(
    _ row: Int, _ e: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>, _ scratch: UnsafeMutablePointer<Scalar>
  ) {
    let (l, kappa) = (factor(row), scale(row))
    multiplyTransposed(l, e, scratch)
    for k in 0..<outputs { out[k] = kappa * (shortDot(rank, l + k * rank, scratch) + epsilon * e[k]) }
  }

  /// out (rank) = L' x.
  private func multiplyTransposed(
    _ l: UnsafePointer<Scalar>, _ x: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>
  ) {
    out.update(repeating: 0, count: rank)
    for k in 0..<outputs { shortAxpy(rank, x[k], l + k * rank, out) }
  }

  /// tr A.
  func trace(_ row: Int) -> Scalar {
    let l = factor(row)
    let n = Scalar(outputs)
    switch structure {
    case .scalar: return n * (l[0] * l[0] + epsilon)
    case .diagonal: return shortDot(outputs, l, l) + n * epsilon
    case .lowrank, .full: return shortDot(outputs * rank, l, l) + n * epsilon
    }
  }

  /// |A|_F^2 = |L'L|_F^2 + 2 eps |L|_F^2 + n eps^2. `scratch` holds rank x rank elements.
  func squaredFrobeniusNorm(_ row: Int, scratch: UnsafeMutablePointer<Scalar>) -> Scalar {
    let l = factor(row)
    let n = Scalar(outputs)
    switch structure {
    case .scalar:
      let a = l[0] * l[0] + epsilon
      return n * a * a
    case .diagonal:
      return (0..<outputs).reduce(Scalar(0)) { sum, k in
        let a = l[k] * l[k] + epsilon
        return sum + a * a
      }
    case .lowrank, .full:
      gram(l, scratch)
      return shortDot(rank * rank, scratch, scratch) + 2 * epsilon * shortDot(outputs * rank, l, l) + n * epsilon
        * epsilon
    }
  }

  /// out (rank x rank) = L'L.
  fileprivate func gram(_ l: UnsafePointer<Scalar>, _ out: UnsafeMutablePointer<Scalar>) {
    Scalar.multiply(
      LayerProduct(
        m: rank, n: rank, k: outputs, a: l, aRow: 1, aColumn: rank, b: l, bStride: rank, transposeB: false, c: out))
  }

  /// Lambda_kk.
  func diagonalEntry(_ row: Int, _ k: Int) -> Scalar {
    let l = factor(row)
    switch structure {
    case .scalar: return scale(row) * (l[0] * l[0] + epsilon)
    case .diagonal: return scale(row) * (l[k] * l[k] + epsilon)
    case .lowrank, .full: return scale(row) * (shortDot(rank, l + k * rank, l + k * rank) + epsilon)
    }
  }

  /// out (n x n) = Lambda.
  func form(_ row: Int, _ out: UnsafeMutablePointer<Scalar>) {
    let (l, kappa, n) = (factor(row), scale(row), outputs)
    switch structure {
    case .scalar, .diagonal:
      out.update(repeating: 0, count: n * n)
      for j in 0..<n {
        let entry = structure == .scalar ? l[0] : l[j]
        out[j * n + j] = kappa * (entry * entry + epsilon)
      }
    case .lowrank, .full:
      Scalar.multiply(
        LayerProduct(
          m: n, n: n, k: rank, a: l, aRow: rank, aColumn: 1, b: l, bStride: rank, transposeB: true, c: out))
      for j in 0..<n { out[j * n + j] += epsilon }
      if kappa != 1 { for index in 0..<(n * n) { out[index] *= kappa } }
    }
  }
}

/// Rows of a dense cotangent that a product takes at once.
let cotangentRows = 24

extension MetricFactors<Double> {
  /// The smallest and the largest eigenvalue of Lambda: those of L'L, or 0 where L has fewer columns than rows, plus eps.
  /// `scratch` holds rank x rank elements.
  func extremeEigenvalues(
    _ row: Int, scratch: UnsafeMutablePointer<Scalar>
  ) throws -> (smallest: Double, largest: Double) {
    switch structure {
    case .scalar, .diagonal:
      var (smallest, largest) = (Double.infinity, -Double.infinity)
      for k in 0..<outputs {
        let entry = diagonalEntry(row, k)
        (smallest, largest) = (min(smallest, entry), max(largest, entry))
      }
      return (smallest, largest)
    case .lowrank, .full:
      gram(factor(row), scratch)
      if let index = firstNonFinite(rank * rank, scratch) {
        throw TaskMetError.numerical("an entry of L'L is \(scratch[index])")
      }
      let (smallest, largest) = try TaskMetSwift.extremeEigenvalues(scratch, order: rank)
      return (scale(row) * ((rank < outputs ? 0 : max(smallest, 0)) + epsilon), scale(row) * (largest + epsilon))
    }
  }
}

// MARK: - Pull-back

extension MetricFactors {
  /// <C, A> of a row. `scratch` holds `cotangentRows` x rank elements.
  func innerProduct(_ row: Int, _ cotangent: MetricCotangent<Scalar>, scratch: UnsafeMutablePointer<Scalar>) -> Scalar {
    let (l, n) = (factor(row), outputs)
    guard case .dense(let c) = cotangent.advanced(by: row, outputs: n) else {
      return cotangent.innerProduct(row, outputs: n, scale: scale(row)) ?? .nan
    }
    switch structure {
    case .scalar: return (0..<n).reduce(0) { $0 + c[$1 * n + $1] * (l[0] * l[0] + epsilon) }
    case .diagonal: return (0..<n).reduce(0) { $0 + c[$1 * n + $1] * (l[$1] * l[$1] + epsilon) }
    case .lowrank, .full:
      var sum = epsilon * (0..<n).reduce(Scalar(0)) { $0 + c[$1 * n + $1] }
      // Rows of C L, times rows of L.
      for start in stride(from: 0, to: n, by: cotangentRows) {
        let count = min(cotangentRows, n - start)
        Scalar.multiply(
          LayerProduct(
            m: count, n: rank, k: n, a: c + start * n, aRow: n, aColumn: 1, b: l, bStride: rank, transposeB: false,
            c: scratch))
        sum += shortDot(count * rank, scratch, l + start * rank)
      }
      return sum
    }
  }

  /// entryGradient += 2 C' L for L's entries, C' = weights applied to the row's C; returns tr C', which eps gets.
  /// `scratch` holds max(rank x rank, `cotangentRows` x n) elements.
  func pullback(
    _ row: Int, _ cotangent: MetricCotangent<Scalar>, _ weights: NormalizedCotangent<Scalar>,
    entryGradient: UnsafeMutablePointer<Scalar>, scratch: UnsafeMutablePointer<Scalar>
  ) -> Scalar {
    let (l, n) = (factor(row), outputs)
    let trace: Scalar
    switch cotangent {
    case .rankTwo(let alpha, let u, let e, _):
      let weight = 2 * weights.kappa * alpha[row]
      trace = weight * shortDot(n, u + row * n, e + row * n)
      switch structure {
      case .scalar: break
      case .diagonal:
        for k in 0..<n { entryGradient[k] += 2 * weight * u[row * n + k] * e[row * n + k] * l[k] }
      case .lowrank, .full:
        pullbackRankTwo(l, weight, u + row * n, e + row * n, entryGradient, scratch)
      }
    case .dense(let c):
      let c = c + row * n * n
      trace = weights.kappa * (0..<n).reduce(Scalar(0)) { $0 + c[$1 * n + $1] }
      switch structure {
      case .scalar: break
      case .diagonal:
        for k in 0..<n { entryGradient[k] += 2 * weights.kappa * c[k * n + k] * l[k] }
      case .lowrank, .full:
        pullbackDense(l, weights.kappa, c, entryGradient, scratch)
      }
    }
    return addMultiplesOfAAndI(row, weights, trace, entryGradient, scratch)
  }

  /// entryGradient += weight (u (L'e)' + e (L'u)'), weight = 2 kappa alpha.
  private func pullbackRankTwo(
    _ l: UnsafePointer<Scalar>, _ weight: Scalar, _ u: UnsafePointer<Scalar>, _ e: UnsafePointer<Scalar>,
    _ entryGradient: UnsafeMutablePointer<Scalar>, _ scratch: UnsafeMutablePointer<Scalar>
  ) {
    multiplyTransposed(l, e, scratch)
    multiplyTransposed(l, u, scratch + rank)
    for k in 0..<outputs {
      shortAxpy(rank, weight * u[k], scratch, entryGradient + k * rank)
      shortAxpy(rank, weight * e[k], scratch + rank, entryGradient + k * rank)
    }
  }

  /// entryGradient += kappa (C + C') L.
  private func pullbackDense(
    _ l: UnsafePointer<Scalar>, _ kappa: Scalar, _ c: UnsafePointer<Scalar>,
    _ entryGradient: UnsafeMutablePointer<Scalar>, _ scratch: UnsafeMutablePointer<Scalar>
  ) {
    let n = outputs
    for start in stride(from: 0, to: n, by: cotangentRows) {
      let count = min(cotangentRows, n - start)
      for j in 0..<count {
        let (line, column, symmetric) = (c + (start + j) * n, c + start + j, scratch + j * n)
        for k in 0..<n { symmetric[k] = kappa * (line[k] + column[k * n]) }
      }
      Scalar.multiply(
        LayerProduct(
          m: count, n: rank, k: n, a: scratch, aRow: n, aColumn: 1, b: l, bStride: rank, transposeB: false,
          c: entryGradient + start * rank, start: .present))
    }
  }

  /// The part of C' that the normalisation adds: entryGradient += 2 (a A + i I) L; returns the trace of all of C'.
  /// For the scalar structure L = l I: dl = 2 l tr C'.
  private func addMultiplesOfAAndI(
    _ row: Int, _ weights: NormalizedCotangent<Scalar>, _ trace: Scalar, _ entryGradient: UnsafeMutablePointer<Scalar>,
    _ scratch: UnsafeMutablePointer<Scalar>
  ) -> Scalar {
    let (l, n) = (factor(row), outputs)
    var trace = trace + weights.i * Scalar(n)
    if weights.a != 0 { trace += weights.a * self.trace(row) }
    switch structure {
    case .scalar:
      entryGradient[0] += 2 * l[0] * trace
    case .diagonal:
      for k in 0..<n { entryGradient[k] += 2 * l[k] * (weights.a * (l[k] * l[k] + epsilon) + weights.i) }
    case .lowrank, .full:
      let multiple = 2 * (weights.a * epsilon + weights.i)
      if multiple != 0 { shortAxpy(n * rank, multiple, l, entryGradient) }
      if weights.a != 0 {
        gram(l, scratch)
        for index in 0..<(rank * rank) { scratch[index] *= 2 * weights.a }
        Scalar.multiply(
          LayerProduct(
            m: n, n: rank, k: rank, a: l, aRow: rank, aColumn: 1, b: scratch, bStride: rank, transposeB: false,
            c: entryGradient, start: .present))
      }
    }
    return trace
  }
}
