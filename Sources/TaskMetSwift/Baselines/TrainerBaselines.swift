// Where the trainer and its baselines meet: which of them moves theta, and at what rate.

extension Trainer {
  /// What moves theta after the warm-up.
  func innerSteps(_ inner: InnerTraining) throws -> any InnerSteps {
    let alpha = options.real(.alpha)
    switch options.method {
    case .taskmet, .twoStage: return inner
    case .decisionFocused:
      return DirectTraining(inner, predictor, dataset, PredictionObjective(objective, alpha: alpha))
    case .spoPlus:
      let surrogate = SPOPlusObjective(objective, alpha: alpha)
      if state == nil { try surrogate.checkSupport(dataset) }
      return DirectTraining(inner, predictor, dataset, surrogate)
    case .lodl:
      return DirectTraining(inner, predictor, dataset, PredictionObjective(try fittedLosses(), alpha: alpha))
    case .weightedMSE:
      if let weighting, weighting.lender === inner { return weighting.steps }
      let steps = try RegretWeighting(predictor, inner.metric, dataset, objective, options)
      weighting = (inner, steps)
      return steps
    }
  }

  /// The rate that is halved where a step is undone; nil where the same step would come of it.
  var steppedRate: OptionKey? {
    switch options.method {
    case .taskmet: .metricRate
    case .twoStage: nil
    case .decisionFocused, .spoPlus, .lodl: .innerRate
    case .weightedMSE: [.adam, .sgd].contains(InnerTraining.solver(options, predictor)) ? .innerRate : nil
    }
  }

  /// The options under which theta is moved in an iteration whose rate, after all halvings, is this one.
  func innerOptions(rate: Double) -> TrainerOptions {
    var result = options
    if steppedRate == .innerRate { result[.innerRate] = .real(max(rate, .leastNonzeroMagnitude)) }
    return result
  }

  /// The tasks' LODLs on the training data: fitted once, and again by a trainer that goes on from a file.
  private func fittedLosses() throws -> OuterObjective {
    let settings = LODLOptions(options)
    if let lodl, lodl.options == settings, lodl.losses.tasks.count == objective.tasks.count {
      var losses = lodl.losses
      losses.worstCase = objective.worstCase
      return losses
    }
    var losses = OuterObjective(worstCase: objective.worstCase)
    for (task, weight) in objective.tasks {
      // The caller's own functions run on the thread that called fit or step.
      let threads = task is DecisionTask ? options.integer(.threads) : 1
      let fitted = try LODLTask(task, dataset, settings, threads: threads, poll: poll)
      log(.info, "lodl: the fitted losses explain \(rounded(fitted.rSquared)) of the held-out variance (R^2)")
      losses.tasks.append((fitted, weight))
    }
    lodl = (settings, losses)
    return losses
  }
}
