// The expected number of users reached, F(z, y) = sum_j [1 - prod_i (1 - z_i y_ij)], and its derivatives: the multilinear
// extension of the budget allocation's objective. Products that leave a factor out are made of those before and after it, never
// by division, so that factors may be zero.

/// F for given rates, at the z that it was prepared for last.
struct Coverage {
  private typealias Lanes = SIMD4<Double>
  typealias Vector = UnsafeMutablePointer<Double>

  let rows: Int
  private let users: Int
  /// The users, filled up to whole blocks of lanes by users whom nothing reaches.
  private let width: Int
  private let z: UnsafePointer<Double>
  /// y: rows x width.
  private let rates: Vector
  /// before[i] = prod_{k < i} (1 - z_k y_k), after[i] = prod_{k >= i}: rows + 1 vectors over the users each.
  private let before: Vector
  private let after: Vector
  /// Derivatives of `after`, rows + 1 vectors.
  private let tangents: Vector
  private let chance: Vector

  private static func width(_ users: Int) -> Int {
    (users + Lanes.scalarCount - 1) / Lanes.scalarCount * Lanes.scalarCount
  }

  /// The numbers of scratch memory that one coverage needs.
  static func scratchCount(rows: Int, users: Int) throws -> Int { try checkedProduct(4, rows + 1, width(users)) }

  /// Copies the rates (rows x users), each brought into [0, 1]; z (rows) is read when it is prepared for.
  init(
    rows: Int, users: Int, rates source: UnsafePointer<Double>, z: UnsafePointer<Double>, scratch: Vector
  ) {
    (self.rows, self.users, self.z) = (rows, users, z)
    width = Self.width(users)
    rates = scratch
    before = rates + rows * width
    after = before + (rows + 1) * width
    tangents = after + (rows + 1) * width
    chance = tangents + (rows + 1) * width
    rates.update(repeating: 0, count: rows * width)
    for i in 0..<rows {
      for j in 0..<users { rates[i * width + j] = min(max(source[i * users + j], 0), 1) }
    }
  }

  @inline(__always)
  private func load(_ values: Vector, _ row: Int, _ block: Int) -> Lanes {
    UnsafeRawPointer(values + row * width + block).load(as: Lanes.self)
  }

  @inline(__always)
  private func store(_ lanes: Lanes, _ values: Vector, _ row: Int, _ block: Int) {
    UnsafeMutableRawPointer(values + row * width + block).storeBytes(of: lanes, as: Lanes.self)
  }

  @inline(__always)
  private func forEachBlock(_ body: (Int) -> Void) {
    var block = 0
    while block < width {
      body(block)
      block += Lanes.scalarCount
    }
  }

  /// Takes z as it now is.
  func prepare() {
    forEachBlock { block in
      var product = Lanes(repeating: 1)
      store(product, before, 0, block)
      for i in 0..<rows {
        product *= 1 - z[i] * load(rates, i, block)
        store(product, before, i + 1, block)
      }
      product = Lanes(repeating: 1)
      store(product, after, rows, block)
      for i in (0..<rows).reversed() {
        product *= 1 - z[i] * load(rates, i, block)
        store(product, after, i, block)
      }
    }
  }

  var value: Double {
    var sum = Lanes()
    forEachBlock { sum += 1 - load(after, 0, $0) }
    return sum.sum()
  }

  /// dF/dz_i.
  func gradient(into slope: Vector) {
    for i in 0..<rows {
      var sum = Lanes()
      forEachBlock { sum += load(rates, i, $0) * load(before, i, $0) * load(after, i + 1, $0) }
      slope[i] = sum.sum()
    }
  }

  /// d2F/dz_i dz_k: rows x rows, all of it; its diagonal is zero and nothing in it is positive.
  func hessian(into matrix: Vector) {
    for i in 0..<rows {
      matrix[i * rows + i] = 0
      forEachBlock { store(load(before, i, $0) * load(rates, i, $0), chance, 0, $0) }
      for k in (i + 1)..<max(rows, i + 1) {
        var sum = Lanes()
        forEachBlock { block in
          let (passed, rate) = (load(chance, 0, block), load(rates, k, block))
          sum -= passed * rate * load(after, k + 1, block)
          store(passed * (1 - z[k] * rate), chance, 0, block)
        }
        (matrix[i * rows + k], matrix[k * rows + i]) = (sum.sum(), sum.sum())
      }
    }
  }

  /// A bound on |d2F/dz2| for all z in [0, 1]: the largest sum of a row of sum_j y_ij y_kj, k other than i.
  var curvatureBound: Double {
    forEachBlock { block in
      var sum = Lanes()
      for i in 0..<rows { sum += load(rates, i, block) }
      store(sum, chance, 0, block)
    }
    var largest = 0.0
    for i in 0..<rows {
      var sum = Lanes()
      forEachBlock { sum += load(rates, i, $0) * (load(chance, 0, $0) - load(rates, i, $0)) }
      largest = max(largest, sum.sum())
    }
    return largest
  }

  /// slopes (rows x users) <- d/dy of the derivative of F along `direction` in z, d/dy sum_k direction_k dF/dz_k. With the
  /// product that leaves row i out, Q_i, dF/dy_i = z_i Q_i: this is direction_i Q_i + z_i (the derivative of Q_i).
  func pullBack(_ direction: UnsafePointer<Double>, into slopes: Vector) {
    forEachBlock { block in
      var tangent = Lanes()
      store(tangent, tangents, rows, block)
      for i in (0..<rows).reversed() {
        let rate = load(rates, i, block)
        tangent = tangent * (1 - z[i] * rate) - load(after, i + 1, block) * (direction[i] * rate)
        store(tangent, tangents, i, block)
      }
      tangent = Lanes()
      for i in 0..<rows {
        let (earlier, later) = (load(before, i, block), load(after, i + 1, block))
        let change = tangent * later + earlier * load(tangents, i + 1, block)
        let slope = direction[i] * (earlier * later) + z[i] * change
        for lane in 0..<min(Lanes.scalarCount, users - block) { slopes[i * users + block + lane] = slope[lane] }
        let rate = load(rates, i, block)
        tangent = tangent * (1 - z[i] * rate) - earlier * (direction[i] * rate)
      }
    }
  }
}
