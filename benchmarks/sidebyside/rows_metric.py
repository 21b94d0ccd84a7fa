"""Rows: the metric's evaluation and pull-back, constant and conditional, for several numbers of outputs."""

from __future__ import annotations

import functools

import numpy as np
import taskmet

from sidebyside import with_jax, with_torch
from sidebyside.problems import Size, metric_flops, metric_pullback_flops
from sidebyside.registry import OURS, Case, Contestant, row
from sidebyside.rows_learning import rivals

FEATURES, HIDDEN = 28, 200
ROWS = {1: 10_000, 4: 10_000, 24: 2000, 100: 200}


def _size(outputs: int, conditional: bool) -> Size:
    hidden = (HIDDEN,) if conditional else None
    return Size("metric", ROWS[outputs], (FEATURES, outputs), "full", hidden, 0)


def _work(outputs: int, conditional: bool, pull_back: bool) -> Case:
    size, generator = _size(outputs, conditional), np.random.default_rng(4)
    x = generator.standard_normal((size.rows, FEATURES))
    cotangent = generator.standard_normal((size.rows, outputs, outputs))
    if conditional:
        metric = taskmet.Metric.conditional(FEATURES, outputs, "full", hidden=[HIDDEN], activation="relu", seed=1)
    else:
        metric = taskmet.Metric.constant(outputs, "full")
    phi = np.array(metric.parameters)
    metric.parameters = phi = phi + 0.02 * generator.standard_normal(len(phi))

    made, note = rivals(
        {
            "PyTorch": lambda: with_torch.MetricWork(size, phi, x, cotangent),
            "JAX jit": lambda: with_jax.MetricWork(size, phi, x, cotangent),
        }
    )
    # C is not symmetric: one product of n x n matrices gives C + C' times L.
    products = 2.0 * size.rows * outputs**3 if conditional else 2.0 * outputs**3
    numbers = size.rows * outputs**2 + (size.rows * FEATURES if conditional else 0) + len(phi)
    if pull_back:
        contestants = {OURS: Contestant(lambda: metric.vjp(x, cotangent))}
        contestants |= {name: Contestant(rival.pull_back) for name, rival in made.items()}
    else:
        contestants = {OURS: Contestant(lambda: metric.evaluate(x))}
        contestants |= {name: Contestant(rival.evaluate) for name, rival in made.items()}
    flops = products + (metric_flops(size) if conditional else 0)
    if pull_back and conditional:
        flops += metric_pullback_flops(size)
    return Case(contestants, flops, 8.0 * numbers, note=note)


def _declare() -> None:
    for outputs, rows in ROWS.items():
        for conditional in (False, True):
            kind = "conditional" if conditional else "constant"
            text = f"full, n = {outputs}, {rows} rows" + (f", network {FEATURES}-{HIDDEN}" if conditional else "")
            for pull_back in (False, True):
                work = "pull-back" if pull_back else "evaluation"
                row(f"metric/{work}/{kind}/{outputs}", text)(functools.partial(_work, outputs, conditional, pull_back))


_declare()
