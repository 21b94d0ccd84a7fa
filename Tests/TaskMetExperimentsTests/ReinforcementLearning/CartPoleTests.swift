// The environment, the replay buffer and the start of networks.

import Glibc
import Testing

@testable import TaskMetExperiments

@Suite("CartPole")
struct CartPoleTests {
  struct Line {
    let trajectory, step, action: Int
    let state: [Double]
    let failed: Bool
  }

  /// Written by Recorded/make_cartpole_trajectories.py.
  static func recorded() throws -> [Line] {
    let path = #filePath.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
    return try textLines(readFile(path + "/Recorded/cartpole_trajectories.csv"), path).map { line in
      let fields = line.split(separator: ",").map(String.init)
      return Line(
        trajectory: Int(fields[0])!, step: Int(fields[1])!, action: Int(fields[2])!,
        state: fields[3..<7].map { Double($0)! }, failed: fields[7] == "1")
    }
  }

  @Test("steps are those of the equations of motion")
  func trajectories() throws {
    var system = CartPole([0, 0, 0, 0])
    let lines = try Self.recorded()
    #expect(lines.count > 400 && lines.filter(\.failed).count == 9)
    for line in lines {
      if line.step == 0 { system = CartPole(line.state) } else { system.step(line.action) }
      // Falling amplifies rounding.
      expectEqual(system.state, line.state, to: 1e-11, "trajectory \(line.trajectory) step \(line.step)")
      #expect(system.hasFailed == line.failed)
    }
  }

  @Test("an episode fails beyond 2.4 and 12 degrees, on either side")
  func limits() {
    let angle = 12 * Double.pi / 180
    for sign in [-1.0, 1.0] {
      #expect(!CartPole([sign * 2.3999, 9, 0, 9]).hasFailed && CartPole([sign * 2.4001, 0, 0, 0]).hasFailed)
      #expect(!CartPole([0, 9, sign * (angle - 1e-6), 9]).hasFailed)
      #expect(CartPole([0, 0, sign * (angle + 1e-6), 0]).hasFailed)
    }
  }

  @Test("the cap ends an episode without terminating it; a fall does both")
  func cap() {
    var environment = CartPoleEnvironment(distractors: 0, random: RandomNumbers(seed: 1))
    var outcome = environment.step(0)
    for count in 2...500 {
      #expect(!outcome.ended)
      let s = environment.observation
      // Keeps the pole up and the cart in the middle.
      outcome = environment.step(20 * s[2] + 4 * s[3] + 0.3 * s[0] + 0.9 * s[1] > 0 ? 1 : 0)
      #expect(outcome.ended == (count == 500) && !outcome.terminated && outcome.reward == 1)
    }
    environment.reset()
    #expect(environment.observation.allSatisfy { abs($0) <= 0.05 })
    repeat { outcome = environment.step(1) } while !outcome.ended
    #expect(outcome.terminated && outcome.reward == 1)
  }

  @Test("distractors are standard normal, and new at every observation")
  func distractors() {
    var environment = CartPoleEnvironment(distractors: 3, random: RandomNumbers(seed: 2))
    var values: [Double] = []
    for step in 0..<4000 {
      #expect(environment.observation.count == 7)
      values += environment.observation[4...]
      if step % 5 == 4 { environment.reset() } else { _ = environment.step(step % 2) }
    }
    let mean = values.reduce(0, +) / Double(values.count)
    let variance = values.reduce(0) { $0 + $1 * $1 } / Double(values.count)
    #expect(Set(values).count == values.count && abs(mean) < 0.03 && abs(variance - 1) < 0.05)
  }
}

@Suite("Replay buffer")
struct ReplayBufferTests {
  @Test("gives back what was stored, with the action as an indicator")
  func contents() {
    var replay = ReplayBuffer(observationCount: 3, capacity: 2)
    for index in 0..<4 {
      let base = Double(10 * index)
      replay.append(
        state: [base, base + 1, base + 2], action: index % 2, nextState: [base + 3, base + 4, base + 5],
        reward: base + 6, terminated: index == 2)
    }
    var batch = Batch(rows: 2, observationCount: 3)
    replay.copy(3, to: 0, of: &batch)
    replay.copy(2, to: 1, of: &batch)
    #expect(batch.states == [30, 31, 32, 20, 21, 22] && batch.nextStates == [33, 34, 35, 23, 24, 25])
    #expect(batch.modelInputs == [30, 31, 32, 0, 1, 20, 21, 22, 1, 0])
    #expect(batch.actions == [1, 0] && batch.rewards == [36, 26] && batch.continuations == [1, 0])
  }

  @Test("draws every transition equally often")
  func sampling() {
    var replay = ReplayBuffer(observationCount: 1, capacity: 20)
    for index in 0..<20 {
      replay.append(state: [0], action: 0, nextState: [0], reward: Double(index), terminated: false)
    }
    var counts = [Int](repeating: 0, count: 20)
    var batch = Batch(rows: 100, observationCount: 1)
    var random = RandomNumbers(seed: 3)
    for _ in 0..<200 {
      replay.sample(into: &batch, &random)
      for reward in batch.rewards { counts[Int(reward)] += 1 }
    }
    // 1000 each, standard deviation 31.
    #expect(counts.allSatisfy { abs($0 - 1000) < 150 })
  }
}

@Suite("Orthogonal start")
struct OrthogonalTests {
  @Test("rows or columns are orthonormal times the gain; biases are 0", arguments: [(6, 32), (32, 6), (8, 8)])
  func orthonormal(_ shape: (inputs: Int, outputs: Int)) {
    var random = RandomNumbers(seed: 4)
    let (n, m) = (shape.inputs, shape.outputs)
    let parameters = orthogonalParameters(inputs: n, hidden: [m], outputs: 2, &random)
    let (few, many) = (min(n, m), max(n, m))
    for a in 0..<few {
      for b in 0..<few {
        let inner = (0..<many).reduce(0.0) { sum, k in
          n <= m
            ? sum + parameters[k * n + a] * parameters[k * n + b] : sum + parameters[a * n + k] * parameters[b * n + k]
        }
        #expect(abs(inner - (a == b ? 2 : 0)) < 1e-12)
      }
    }
    #expect(parameters[(n * m)..<(n * m + m)].allSatisfy { $0 == 0 })
    let last = parameters[(n * m + m)..<(n * m + m + 2 * m)]
    #expect(abs(last.reduce(0) { $0 + $1 * $1 } - 2e-4) < 1e-15 && parameters.suffix(2) == [0, 0])
  }
}
