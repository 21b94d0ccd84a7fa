// Iterations until there is a reason to stop.

struct FitReport {
  var reason = StopTraining.Reason.none
  var iterations = 0
  var bestIteration = 0
  var bestLoss = Double.nan
  var firstLoss = Double.nan
  var bestRMSERatio = Double.nan
  var rollbacks = 0
  var rejections = 0
  var untrusted = 0
  var seconds = 0.0
}

extension Trainer {
  /// Why training should not go on, if it should not.
  private var reasonToStop: StopTraining.Reason {
    if stopRequested() { return .requested }
    guard let state else { return .none }
    if state.iteration >= options.integer(.outerIterations) { return .iterations }
    let patience = options.integer(.patience)
    if patience > 0, state.iteration - state.bestIteration >= patience { return .patience }
    return .none
  }

  /// One iteration for a caller who counts them; nil where a stop prevented it or undid it.
  func stepUnlessStopped() throws -> Record? {
    if stopRequested() { return nil }
    do {
      let record = try step()
      pendingStop = nil
      return record
    } catch let stop as StopTraining {
      log(.info, "stopped: \(stop.reason)")
      return nil
    }
  }

  func fit() throws -> FitReport {
    pendingStop = nil
    var reason = reasonToStop
    while reason == .none {
      do {
        _ = try step()
        reason = pendingStop ?? reasonToStop
      } catch let stop as StopTraining {
        reason = stop.reason
      }
    }
    pendingStop = nil
    return report(reason)
  }

  private func report(_ reason: StopTraining.Reason) -> FitReport {
    var report = FitReport(reason: reason)
    guard let state else { return report }
    report.iterations = state.iteration
    report.bestIteration = state.bestIteration
    report.bestLoss = state.bestLoss
    report.firstLoss = state.firstLoss
    report.bestRMSERatio = state.firstRMSE > 0 ? state.bestRMSE / state.firstRMSE : 1
    report.rollbacks = state.rollbacks
    report.rejections = state.rejections
    report.untrusted = state.untrusted
    report.seconds = state.seconds
    return report
  }
}
