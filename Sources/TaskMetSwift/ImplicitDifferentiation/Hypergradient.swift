// The hypergradient by the implicit function theorem:
//   (H + ridge I) v = g,   dL_task/dphi = -d/dphi [ (2/N) sum_i s_i (J_i v)' Lambda_phi(x_i) e_i ].
// H and the cross term are taken on the same rows.

extension MetricisedLoss {
  /// The hypergradient at the present point of `linearize`.
  /// - Parameters:
  ///   - g: dL_task/dtheta.
  ///   - v: where the solver starts; afterwards its solution.
  ///   - out: phi's length.
  func hypergradient(
    g: UnsafePointer<Double>, v: UnsafeMutablePointer<Double>, _ options: SolverOptions,
    into out: UnsafeMutablePointer<Double>
  ) throws -> SolverReport {
    var options = options
    options.tolerance = max(options.tolerance, memory.arithmetic.attainableResidual)
    let matrices = SystemMatrices(
      hessian: { try self.hessianProduct($0, into: $1) },
      gaussNewton: { try self.hessianProduct($0, into: $1, gaussNewton: true) },
      dense: { try DenseHessian(self, ridge: $0) }, rounding: memory.arithmetic.rounding)
    let report = try solveLinearSystem(count: parameterCount, matrices, g: g, v: v, options)
    try crossProduct(v, into: out)
    if let index = firstNonFinite(metric.parameterCount, out) {
      throw TaskMetError.numerical("the hypergradient's entry \(index) is \(out[index])")
    }
    return report
  }
}
