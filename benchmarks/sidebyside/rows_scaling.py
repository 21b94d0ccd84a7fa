"""Rows: how time and memory grow with rows N, outputs n, parameters P and threads; TaskMet alone.

One unit is a loss with its gradient, metric included. Memory is what the process's peak grows by during the call: data
and models are there before it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import taskmet

from sidebyside.problems import SIZES, Size, data_bytes, metric_flops, step_flops
from sidebyside.registry import OURS, Case, Contestant, row
from sidebyside.rows_learning import LARGE, TOLERANCE, problem_of

FEATURES = 28


def rows_size(rows: int) -> Size:
    """N rows of a small network under a conditional scalar metric."""
    return Size("rows", rows, (FEATURES, 64, 1), "scalar", (32,), 0)


def outputs_size(outputs: int) -> Size:
    """n outputs under a conditional full metric: n^2 entries of L for each row."""
    return Size("outputs", 512, (FEATURES, 64, outputs), "full", (64,), 0)


def parameters_size(parameters: int) -> Size:
    """About P parameters in two hidden layers."""
    width = max(1, round((-(FEATURES + 3) + ((FEATURES + 3) ** 2 + 4.0 * parameters) ** 0.5) / 2))
    return Size("parameters", 256, (FEATURES, width, width, 1), "scalar", (32,), 0)


SCALES = {
    "rows": (rows_size, (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)),
    "outputs": (outputs_size, (1, 4, 16, 64, 128, 256)),
    "parameters": (parameters_size, (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)),
}


def _resident(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"the system does not tell {field}")


def peak_growth(work: Any) -> int:
    """Bytes that the peak of resident memory is above what was resident before the work."""
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")  # the peak begins anew
    before = _resident("VmRSS")
    work()
    return max(0, _resident("VmHWM") - before)


def _loss(size: Size, threads: int) -> Case:
    generator = np.random.default_rng(11)
    x = generator.standard_normal((size.rows, FEATURES))
    y = generator.standard_normal((size.rows, size.outputs))
    dataset = taskmet.Dataset(x, y)
    predictor = taskmet.MLP(FEATURES, size.outputs, hidden=size.widths[1:-1], seed=1)
    metric = taskmet.Metric.conditional(
        FEATURES, size.outputs, size.structure, hidden=size.metric_hidden, activation="relu", seed=1
    )

    def work() -> tuple:
        # A new workspace each time: what a first call costs in memory is what is reported.
        return taskmet.loss_value_and_gradient(predictor, metric, dataset, workspace=taskmet.Workspace(threads))

    memory = peak_growth(work)
    data = x.nbytes + y.nbytes
    return Case(
        {OURS: Contestant(lambda: work()[1])},
        flops=step_flops(size) + metric_flops(size),
        bytes=data_bytes(size, "float64"),
        extra=lambda: {"memory": memory, "data_bytes": data},
    )


def _threads(size: str, kind: str) -> Case:
    """One thread as a rival of two."""
    problem = problem_of(size, "float64")
    shape = problem.size
    start = predictor = problem.predictor.copy()
    spaces = {threads: taskmet.Workspace(threads) for threads in (1, 2)}
    if kind == "step":
        options = {"solver": "adam", "max_iterations": shape.steps, "learning_rate": 1e-4, "gradient_tolerance": 0}

        def work(threads: int) -> np.ndarray:
            start.parameters = problem.theta
            taskmet.minimize(start, problem.metric, problem.dataset, workspace=spaces[threads], **options)
            return np.array(start.parameters)
    else:
        predictor.parameters = problem.trained
        g = predictor.vjp(problem.x, problem.c)
        solver = {"tolerance": TOLERANCE["float64"], "ridge": problem.size.ridge, "max_iterations": 1000}
        objects = (predictor, problem.metric, problem.dataset, g)

        def work(threads: int) -> np.ndarray:
            return taskmet.hypergradient_from_gradient(*objects, workspace=spaces[threads], **solver)[0]

    return Case(
        {OURS: Contestant(lambda: work(2)), "TaskMet, 1 thread": Contestant(lambda: work(1))},
        flops=0.0,
        bytes=data_bytes(shape, "float64"),
        divisor=shape.steps if kind == "step" else 1,
        tolerance=0.0,
        note="the same bits for any number of threads",
    )


def _declare() -> None:
    for name, (make, values) in SCALES.items():
        for value in values:
            size = make(value)
            row(f"scaling/{name}/{value}", size.text, variable=float(value))(functools.partial(_loss, size, 1))
    for size in LARGE:
        for kind in ("step", "hypergradient"):
            row(f"threads/{kind}/{size}", SIZES[size].text, threads=2)(functools.partial(_threads, size, kind))


_declare()
