// One outer iteration, as the history keeps it.

/// Numbers of an iteration; NaN stands for what was not measured. Stored in checkpoints in this order: only append.
struct Record {
  enum Field: Int, CaseIterable {
    case iteration, taskLoss, predictionLoss, predictionRMSE, innerGradientNorm, innerSteps
    case hypergradientNorm, solverResidual, solverIterations, solverConverged, negativeCurvature, agreement
    case trusted, isBest, metricRate, rollbacks, rejections, hypergradientInstances
    case smallestEigenvalue, largestEigenvalue, meanTrace
    case validationTaskLoss, validationRMSE
    case secondsInner, secondsTask, secondsHypergradient, secondsValidation, secondsTotal
  }

  private(set) var values = [Double](repeating: .nan, count: Field.allCases.count)

  init() {}
  init(values: [Double]) { self.values = values }

  subscript(field: Field) -> Double {
    get { values[field.rawValue] }
    set { values[field.rawValue] = newValue }
  }

  /// A counted field; 0 where it was not measured.
  func count(_ field: Field) -> Int { Int(exactly: self[field]) ?? 0 }

  /// A field that is 1 for yes.
  func flag(_ field: Field) -> Int32 { self[field] == 1 ? 1 : 0 }

  mutating func add(_ inner: InnerResult) {
    self[.predictionLoss] = inner.loss
    self[.innerGradientNorm] = inner.gradientNorm
    self[.innerSteps] = Double(inner.steps)
  }

  mutating func add(_ seconds: Double, to field: Field) {
    self[field] = (self[field].isNaN ? 0 : self[field]) + seconds
  }
}
