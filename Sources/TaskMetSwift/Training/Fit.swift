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
    // Between validations nothing could have become better.
    if patience > 0, isValidated(state.iteration), state.iteration - state.bestIteration >= patience {
      return .patience
    }
    return .none
  }

  /// One iteration, preceded by the warm-up where that has not been done, for a caller who counts them; returns the last
  /// whole record, which a stop may have made an earlier one.
  func step() throws -> Record? {
    pendingStop = nil
    defer { pendingStop = nil }
    // A failure in the iteration undoes the warm-up of the same call.
    let before = (state: state, history: history.count)
    do {
      if state == nil, !stopRequested() { _ = try advance() }
      if pendingStop == nil, !stopRequested() { _ = try advance() }
    } catch let stop as StopTraining {
      log(.info, "stopped: \(stop.reason)")
    } catch {
      state = before.state
      history.removeLast(history.count - before.history)
      throw error
    }
    return history.last
  }

  func fit() throws -> FitReport {
    pendingStop = nil
    defer { pendingStop = nil }
    var reason = reasonToStop
    while reason == .none {
      do {
        _ = try advance()
        reason = pendingStop ?? reasonToStop
      } catch let stop as StopTraining {
        reason = stop.reason
      }
    }
    return report(reason)
  }

  private func report(_ reason: StopTraining.Reason) -> FitReport {
    var report = FitReport(reason: reason)
    guard let state else { return report }
    report.iterations = state.iteration
    report.bestIteration = state.bestIteration
    report.bestLoss = state.bestLoss
    report.firstLoss = state.firstLoss
    report.bestRMSERatio = state.bestRMSERatio
    report.rollbacks = state.rollbacks
    report.rejections = state.rejections
    report.untrusted = state.untrusted
    report.seconds = state.seconds
    return report
  }
}
