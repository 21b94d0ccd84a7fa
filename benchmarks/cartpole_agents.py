"""Steps per second of the CartPole agents (docs/reproduction.md), beside the same agents in JAX, in one run.

    python benchmarks/cartpole_agents.py --taskmet .build/release/taskmet-cli [--distractors 0,16] [--steps 3000]

Three ways of the same arithmetic, float64, one thread, in turns:

    taskmet   the command line `taskmet reproduce figure6`
    jitted    JAX, all compiled: 1000 steps of environment, replay, updates in one lax.scan; compilation is not counted
    stepwise  JAX as research code has it: environment and replay in Python, a compiled update at each step

A step is one of the environment and one update of every network (and of the metric) on 256 stored transitions.
Evaluations, 10 episodes every 1000 steps, are in our time, and in no rival's. The floor is the floating-point
operations of the networks' matrix products over the rate of a large product (NumPy's dgemm, in this run).
"""

import argparse
import functools
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
import typing

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

GAMMA, ALPHA, TAU, EPSILON, BATCH, RANDOM_STEPS, EPISODE = 0.99, 0.01, 0.01, 0.1, 256, 1000, 500
RATES = {"model": 1e-3, "q": 3e-4, "metric": 1e-3}
HIDDEN = (32, 32)
CHUNK = 1000


# --- Networks and Adam ------------------------------------------------------------------------------------------------


def init_network(key, inputs, outputs):
    sizes = (inputs, *HIDDEN, outputs)
    layers = []
    for index, (width, following) in enumerate(itertools.pairwise(sizes)):
        key, part = jax.random.split(key)
        gain = 0.01 if index == len(sizes) - 2 else math.sqrt(2)
        layers.append((jax.nn.initializers.orthogonal(gain)(part, (width, following)), jnp.zeros(following)))
    return layers


def apply_network(layers, x):
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def adam_init(parameters):
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return zeros, zeros, jnp.zeros(())


def adam(parameters, state, gradient, rate):
    first, second, count = state
    count = count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    a, b = 1 - 0.9**count, 1 - 0.999**count
    parameters = jax.tree.map(lambda p, m, v: p - rate * (m / a) / (jnp.sqrt(v / b) + 1e-8), parameters, first, second)
    return parameters, (first, second, count)


# --- Losses -----------------------------------------------------------------------------------------------------------


class Batch(typing.NamedTuple):
    state: jax.Array
    inputs: jax.Array
    action: jax.Array
    following: jax.Array
    reward: jax.Array
    continuation: jax.Array


def value(targets, states):
    smaller = jnp.minimum(apply_network(targets[0], states), apply_network(targets[1], states))
    return ALPHA * jax.nn.logsumexp(smaller / ALPHA, axis=1)


def temporal_difference(q, targets, batch, following, reward):
    y = reward + GAMMA * batch.continuation * value(targets, following)
    total = 0.0
    for network in q:
        chosen = jnp.take_along_axis(apply_network(network, batch.state), batch.action[:, None], 1)[:, 0]
        total += jnp.mean((chosen - y) ** 2)
    return total / 2


def dynamics_loss(dynamics, weights, batch):
    error = apply_network(dynamics, batch.inputs) - batch.following
    return jnp.mean(jnp.sum(error**2 * weights, 1))


def prediction_loss(model, weights, batch):
    reward_error = apply_network(model["reward"], batch.inputs)[:, 0] - batch.reward
    return dynamics_loss(model["dynamics"], weights, batch) + jnp.mean(reward_error**2)


def model_temporal_difference(q, targets, model, batch):
    following = apply_network(model["dynamics"], batch.inputs)
    reward = apply_network(model["reward"], batch.inputs)[:, 0]
    return temporal_difference(q, targets, batch, following, reward)


def task_gradient(q, targets, model, batch):
    """-d/dtheta <grad_omega L_Q, grad_omega L_task>."""
    g = jax.grad(temporal_difference)(q, targets, batch, batch.following, batch.reward)

    def inner(model):
        along = jax.jvp(lambda q: model_temporal_difference(q, targets, model, batch), (q,), (g,))[1]
        return -along

    return jax.grad(inner)(model)


def normalized(phi):
    """Lambda's diagonal: L L' + eps I with L diagonal, of Frobenius norm sqrt(n)."""
    weights = phi**2 + 1e-6
    return weights * math.sqrt(phi.size) / jnp.linalg.norm(weights)


def hypergradient(dynamics, phi, batch, v):
    gradient = jax.grad(dynamics_loss)

    def hessian(w):
        return jax.jvp(lambda d: gradient(d, normalized(phi), batch), (dynamics,), (w,))[1]

    u, _ = jax.scipy.sparse.linalg.cg(lambda w: hessian(hessian(w)), hessian(v), tol=1e-5, maxiter=10)

    def along(phi):
        return jax.jvp(lambda d: dynamics_loss(d, normalized(phi), batch), (dynamics,), (u,))[1]

    return -jax.grad(along)(phi)


# --- An agent's update ------------------------------------------------------------------------------------------------


def init_learner(kind, key, n):
    keys = jax.random.split(key, 4)
    q = [init_network(keys[0], n, 2), init_network(keys[1], n, 2)]
    model = {"dynamics": init_network(keys[2], n + 2, n), "reward": init_network(keys[3], n + 2, 1)}
    phi = jnp.full(n, math.sqrt(1 - 1e-6))
    return {
        **{"q": q, "targets": q, "q_adam": adam_init(q), "model": model, "model_adam": adam_init(model)},
        **({"phi": phi, "phi_adam": adam_init(phi)} if kind == "taskmet" else {}),
    }


def update(kind, learner, first, second):
    """The updates of one step, as docs/reproduction.md orders them."""
    learner = dict(learner)
    n = first.state.shape[1]
    weights = normalized(learner["phi"]) if kind == "taskmet" else jnp.ones(n)
    if kind != "omd":
        gradient = jax.grad(prediction_loss)(learner["model"], weights, first)
        learner["model"], learner["model_adam"] = adam(
            learner["model"], learner["model_adam"], gradient, RATES["model"]
        )
    gradient = jax.grad(model_temporal_difference)(learner["q"], learner["targets"], learner["model"], second)
    learner["q"], learner["q_adam"] = adam(learner["q"], learner["q_adam"], gradient, RATES["q"])
    learner["targets"] = jax.tree.map(lambda t, q: t + TAU * (q - t), learner["targets"], learner["q"])
    if kind == "mle":
        return learner
    v = task_gradient(learner["q"], learner["targets"], learner["model"], first)
    if kind == "omd":
        learner["model"], learner["model_adam"] = adam(learner["model"], learner["model_adam"], v, RATES["model"])
    else:
        gradient = hypergradient(learner["model"]["dynamics"], learner["phi"], first, v["dynamics"])
        learner["phi"], learner["phi_adam"] = adam(learner["phi"], learner["phi_adam"], gradient, RATES["metric"])
    return learner


def probability(q, state):
    logits = (apply_network(q[0], state) + apply_network(q[1], state)) / (2 * ALPHA)
    return jax.nn.sigmoid(logits[1] - logits[0])


def make_batch(state, action, following, reward, continuation):
    inputs = jnp.concatenate([state, jax.nn.one_hot(action, 2, dtype=state.dtype)], 1)
    return Batch(state, inputs, action, following, reward, continuation)


def physics(xp, state, action):
    """One Euler step of CartPole-v1, and whether it failed."""
    x, dx, angle, turn = state
    force = xp.where(action == 1, 10.0, -10.0)
    push = (force + 0.05 * turn * turn * xp.sin(angle)) / 1.1
    turning = (9.8 * xp.sin(angle) - xp.cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * xp.cos(angle) ** 2 / 1.1))
    moving = push - 0.05 * turning * xp.cos(angle) / 1.1
    state = xp.stack([x + 0.02 * dx, dx + 0.02 * moving, angle + 0.02 * turn, turn + 0.02 * turning])
    failed = (xp.abs(state[0]) > 2.4) | (xp.abs(state[2]) > 12 * 2 * math.pi / 360)
    return state, failed


# --- Everything compiled ----------------------------------------------------------------------------------------------


def jitted_steps_per_second(kind, distractors, steps, repeats):
    """Yields a rate for each repeat, after compiling."""
    n = 4 + distractors
    capacity = RANDOM_STEPS + CHUNK * (repeats * max(1, steps // CHUNK) + 1)

    def act_and_learn(carry, _, learns):
        learner, replay, count, state, noise, age, key = carry
        key, *keys = jax.random.split(key, 7)
        observation = jnp.concatenate([state, noise])
        chance = jnp.where(jax.random.uniform(keys[0]) < EPSILON, 0.5, probability(learner["q"], observation))
        action = (jax.random.uniform(keys[1]) < chance).astype(jnp.int32)
        following, failed = physics(jnp, state, action)
        noise = jax.random.normal(keys[2], (distractors,))
        row = (observation, action, jnp.concatenate([following, noise]), 1.0, 1.0 - failed)
        replay = tuple(table.at[count].set(entry) for table, entry in zip(replay, row, strict=True))
        count = count + 1
        ended = failed | (age + 1 >= EPISODE)
        state = jnp.where(ended, jax.random.uniform(keys[3], (4,), minval=-0.05, maxval=0.05), following)
        age = jnp.where(ended, 0, age + 1)
        if learns:

            def draw(key):
                return make_batch(*(table[jax.random.randint(key, (BATCH,), 0, count)] for table in replay))

            learner = update(kind, learner, draw(keys[4]), draw(keys[5]))
        return (learner, replay, count, state, noise, age, key), None

    def run(carry, length, learns):
        return jax.lax.scan(functools.partial(act_and_learn, learns=learns), carry, None, length)[0]

    compiled = jax.jit(run, static_argnums=(1, 2), donate_argnums=0)
    tables = (jnp.zeros((capacity, n)), jnp.zeros(capacity, jnp.int32), jnp.zeros((capacity, n)))
    replay = (*tables, jnp.zeros(capacity), jnp.zeros(capacity))
    learner = jax.tree.map(jnp.array, init_learner(kind, jax.random.key(0), n))
    learner["targets"] = jax.tree.map(jnp.copy, learner["targets"])
    carry = (learner, replay, 0, jnp.zeros(4), jnp.zeros(distractors), 0, jax.random.key(1))
    carry = compiled(carry, RANDOM_STEPS, False)
    carry = jax.block_until_ready(compiled(carry, CHUNK, True))
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(max(1, steps // CHUNK)):
            carry = compiled(carry, CHUNK, True)
        jax.block_until_ready(carry)
        yield max(1, steps // CHUNK) * CHUNK / (time.perf_counter() - start)


# --- A compiled update at each step -----------------------------------------------------------------------------------


def stepwise_steps_per_second(kind, distractors, steps, repeats):
    """Yields a rate for each repeat, after compiling."""
    random = np.random.default_rng(0)
    n = 4 + distractors
    learn = jax.jit(lambda learner, first, second: update(kind, learner, make_batch(*first), make_batch(*second)))
    chance = jax.jit(probability)
    learner = init_learner(kind, jax.random.key(0), n)
    capacity = RANDOM_STEPS + steps * repeats + 10
    replay = (np.zeros((capacity, n)), np.zeros(capacity, np.int32), np.zeros((capacity, n)), np.ones(capacity))
    replay += (np.zeros(capacity),)
    state, noise, age = np.zeros(4), np.zeros(distractors), 0

    def step(count, learns):
        nonlocal learner, state, noise, age
        observation = np.concatenate([state, noise])
        explores = not learns or random.uniform() < EPSILON
        action = int(random.uniform() < (0.5 if explores else float(chance(learner["q"], observation))))
        following, failed = physics(np, state, action)
        noise = random.standard_normal(distractors)
        row = (observation, action, np.concatenate([following, noise]), 1.0, 1.0 - failed)
        for table, entry in zip(replay, row, strict=True):
            table[count] = entry
        age += 1
        state = following
        if failed or age >= EPISODE:
            state, age = random.uniform(-0.05, 0.05, 4), 0
        if learns:
            first, second = (random.integers(count + 1, size=BATCH) for _ in range(2))
            learner = learn(learner, tuple(t[first] for t in replay), tuple(t[second] for t in replay))

    for count in range(RANDOM_STEPS):
        step(count, learns=False)
    count = RANDOM_STEPS
    for warm in range(10):
        step(count + warm, learns=True)
    count += 10
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(steps):
            step(count, learns=True)
            count += 1
        jax.block_until_ready(learner)
        yield steps / (time.perf_counter() - start)


# --- Ours, and the floor ----------------------------------------------------------------------------------------------


def our_steps_per_second(program, kind, distractors, steps, repeats):
    """Yields the rate of a run of its own, from step 2000 on, for each repeat."""
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as directory:
            output = pathlib.Path(directory) / "results.jsonl"
            command = [program, "reproduce", "figure6", "--agents", kind, "--distractors", str(distractors)]
            command += ["--seeds", "1", "--first-seed", str(repeat), "--steps", str(2000 + steps), "--jobs", "1"]
            command += ["--metric-start", "1000", "-o", str(output)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
            record = json.loads(output.read_text().splitlines()[-1])
        elapsed = dict(zip(record["step"], record["elapsed"], strict=True))
        yield steps / (elapsed[2000 + steps] - elapsed[2000])


def operations_per_step(kind, distractors):
    """Floating-point operations of the matrix products of a step: 2 for each weight and row, product by product."""
    n = 4 + distractors

    def sizes(inputs, outputs):
        widths = (inputs, *HIDDEN, outputs)
        weights = [a * b for a, b in itertools.pairwise(widths)]
        # All weights; those behind the first layer, which a pull-back or a tangent goes through.
        return 2 * BATCH * sum(weights), 2 * BATCH * sum(weights[1:])

    q, q_inner = (2 * size for size in sizes(n, 2))  # two networks
    dynamics, inner = sizes(n + 2, n)
    reward, reward_inner = sizes(n + 2, 1)
    predict = dynamics + reward
    fit = 2 * predict + inner + reward_inner  # values, then gradients by weights and by activations
    q_update = predict + q + (2 * q + q_inner)  # predictions, V there, values and gradients of Q
    # V at real and at predicted states (the latter with its gradient by the states), gradients and tangents of Q.
    task = q + (q + q) + (2 * q + q_inner) + (q + q_inner) + predict
    if kind == "mle":
        return fit + q_update
    if kind == "omd":
        return q_update + task + (predict + inner + reward_inner)
    # Tangents (2 products but in the first layer), then the second-order pull-back (2 and 2 products).
    product = (dynamics + inner) + (dynamics + inner) + 2 * inner
    hypergradient = dynamics + dynamics + inner + 21 * product + (dynamics + inner)
    return fit + q_update + task + hypergradient


def product_rate():
    """Floating-point operations per second of a large matrix product."""
    a = np.random.default_rng(0).standard_normal((1024, 1024))
    times = []
    for _ in range(7):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--taskmet", default=".build/release/taskmet-cli", help="the command line's program")
    parser.add_argument("--agents", default="mle,omd,taskmet")
    parser.add_argument("--distractors", default="0,16")
    parser.add_argument("--steps", type=int, default=3000, help="of each repeat; a multiple of 1000")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rate = product_rate()
    print(f"a product of 1024 x 1024: {rate / 1e9:.1f} GFLOP/s; JAX {jax.__version__}; float64, one thread; medians")
    header = ("agent", "distractors", "taskmet", "jitted", "stepwise", "/ jitted", "/ stepwise", "x floor")
    print("{:8} {:>11} {:>8} {:>8} {:>8} {:>9} {:>10} {:>8}".format(*header))
    for distractors in map(int, arguments.distractors.split(",")):
        for kind in arguments.agents.split(","):
            fast, slow = arguments.steps, max(200, arguments.steps // 10)
            contenders = (
                our_steps_per_second(arguments.taskmet, kind, distractors, fast, arguments.repeats),
                jitted_steps_per_second(kind, distractors, fast, arguments.repeats),
                stepwise_steps_per_second(kind, distractors, slow, arguments.repeats),
            )
            turns = list(zip(*contenders, strict=True))  # each contestant in its turn
            ours, jitted, stepwise = (statistics.median(rates) for rates in zip(*turns, strict=True))
            floor = operations_per_step(kind, distractors) / rate
            print(
                f"{kind:8} {distractors:11} {ours:8.0f} {jitted:8.0f} {stepwise:8.0f} {ours / jitted:9.2f}"
                f" {ours / stepwise:10.2f} {1 / ours / floor:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
