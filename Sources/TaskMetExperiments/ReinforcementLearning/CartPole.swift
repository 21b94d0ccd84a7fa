// The environment: CartPole-v1's physics (Barto, Sutton and Anderson 1983), its limits, and coordinates of noise beside its state.

import Glibc

/// A pole on a cart that is pushed left or right: the state alone.
struct CartPole: Equatable {
  static let stateCount = 4
  static let actionCount = 2

  private static let gravity = 9.8
  private static let cartMass = 1.0
  private static let poleMass = 0.1
  private static let halfLength = 0.5
  private static let force = 10.0
  private static let timeStep = 0.02
  private static let largestAngle = 12 * 2 * Double.pi / 360
  private static let largestPosition = 2.4

  var position = 0.0
  var velocity = 0.0
  var angle = 0.0
  var angularVelocity = 0.0

  var state: [Double] { [position, velocity, angle, angularVelocity] }

  init(_ state: [Double]) {
    (position, velocity, angle, angularVelocity) = (state[0], state[1], state[2], state[3])
  }

  /// Where an episode starts: every coordinate uniform in +-0.05.
  init(_ random: inout RandomNumbers) {
    self.init((0..<Self.stateCount).map { _ in random.uniform(-0.05, 0.05) })
  }

  /// One Euler step; action 1 pushes to the right, 0 to the left.
  mutating func step(_ action: Int) {
    let force = action == 1 ? Self.force : -Self.force
    let (cosine, sine) = (cos(angle), sin(angle))
    let mass = Self.cartMass + Self.poleMass
    let moment = Self.poleMass * Self.halfLength
    let push = (force + moment * angularVelocity * angularVelocity * sine) / mass
    let angularAcceleration =
      (Self.gravity * sine - cosine * push)
      / (Self.halfLength * (4.0 / 3 - Self.poleMass * cosine * cosine / mass))
    let acceleration = push - moment * angularAcceleration * cosine / mass
    position += Self.timeStep * velocity
    velocity += Self.timeStep * acceleration
    angle += Self.timeStep * angularVelocity
    angularVelocity += Self.timeStep * angularAcceleration
  }

  /// The pole has fallen, or the cart has left the track.
  var hasFailed: Bool { abs(position) > Self.largestPosition || abs(angle) > Self.largestAngle }
}

/// Episodes of CartPole as an agent sees them: the state, then `distractors` coordinates that are drawn from N(0, 1) for each
/// observation anew.
struct CartPoleEnvironment {
  static let episodeLimit = 500

  let distractors: Int
  private var system = CartPole([0, 0, 0, 0])
  private var stepCount = 0
  private var random: RandomNumbers
  private(set) var observation: [Double] = []

  init(distractors: Int, random: RandomNumbers) {
    self.distractors = distractors
    self.random = random
    reset()
  }

  var observationCount: Int { CartPole.stateCount + distractors }

  mutating func reset() {
    system = CartPole(&random)
    stepCount = 0
    observe()
  }

  private mutating func observe() {
    observation = system.state
    for _ in 0..<distractors { observation.append(random.normal()) }
  }

  /// What follows an action: the reward is 1 whatever happens.
  struct Outcome {
    /// The state has no value after it. The cap on the episode's length is no termination.
    let terminated: Bool
    /// Terminated, or at the cap: `reset` comes next.
    let ended: Bool
    let reward = 1.0
  }

  mutating func step(_ action: Int) -> Outcome {
    system.step(action)
    stepCount += 1
    observe()
    let failed = system.hasFailed
    return Outcome(terminated: failed, ended: failed || stepCount >= Self.episodeLimit)
  }
}
