"""Rows: inner training steps, Hessian products and hypergradients, one thread and two."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import taskmet

from sidebyside import with_jax, with_torch
from sidebyside.measure import flat
from sidebyside.problems import (
    PRECISIONS,
    SIZES,
    Problem,
    data_bytes,
    hessian_product_flops,
    metric_flops,
    metric_pullback_flops,
    step_flops,
)
from sidebyside.registry import OURS, Case, Contestant, NotAvailableError, row

RATE = 1e-4
# Relative residual of a solve, and the one that results are compared at.
TOLERANCE = {"float64": 1e-6, "float32": 1e-5}
TIGHT = {"float64": 1e-11, "float32": 1e-6}
# Of the results' relative difference.
AGREEMENT = {"float64": 1e-6, "float32": 1e-3}


@functools.cache
def problem_of(size: str, precision: str) -> Problem:
    """One for all rows of a size."""
    return Problem(SIZES[size], precision)


def rivals(makers: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], str]:
    """Those that can be made here, and what is said of the others."""
    made, notes = {}, []
    for name, make in makers.items():
        try:
            made[name] = make()
        except NotAvailableError as reason:
            notes.append(f"{name} not available ({reason})")
    return made, "; ".join(notes)


# ----------------------------------------------------------------------------------------------------------------------


def _steps(size: str, precision: str, threads: int) -> Case:
    problem = problem_of(size, precision)
    shape = problem.size
    workspace = taskmet.Workspace(threads)
    predictor = problem.predictor.copy()
    options = {"solver": "adam", "max_iterations": shape.steps, "learning_rate": RATE, "gradient_tolerance": 0}

    def ours() -> np.ndarray:
        predictor.parameters = problem.theta
        taskmet.minimize(predictor, problem.metric, problem.dataset, workspace=workspace, **options)
        return np.array(predictor.parameters)

    makers: dict[str, Callable[[], Any]] = {
        "PyTorch": lambda: with_torch.Steps(problem, RATE),
        "JAX jit": lambda: with_jax.Steps(problem, RATE, whole=False),
        "JAX loop": lambda: with_jax.Steps(problem, RATE, whole=True),
    }
    if precision == "float64" and threads == 1:
        makers["torch.compile"] = lambda: with_torch.Steps(problem, RATE, compiled=True)
    made, note = rivals(makers)
    return Case(
        {OURS: Contestant(ours)} | {name: Contestant(rival.run) for name, rival in made.items()},
        flops=shape.steps * step_flops(shape) + metric_flops(shape),
        bytes=shape.steps * data_bytes(shape, precision),
        divisor=shape.steps,
        tolerance=AGREEMENT[precision],
        note=note,
    )


def _hessian_product(size: str, precision: str) -> Case:
    problem = problem_of(size, precision)
    shape = problem.size
    predictor = problem.predictor.copy()
    predictor.parameters = problem.trained
    w = np.random.default_rng(5).standard_normal(len(problem.theta)).astype(precision).astype(float)

    def ours() -> np.ndarray:
        return taskmet.loss_hvp(predictor, problem.metric, problem.dataset, w)

    made, note = rivals(
        {
            "PyTorch": lambda: with_torch.HessianProduct(problem, w),
            "JAX jit": lambda: with_jax.HessianProduct(problem, w),
        }
    )
    return Case(
        {OURS: Contestant(ours)} | {name: Contestant(rival.run) for name, rival in made.items()},
        flops=step_flops(shape) + hessian_product_flops(shape) + metric_flops(shape),
        bytes=data_bytes(shape, precision),
        tolerance=AGREEMENT[precision],
        note=note,
    )


# ----------------------------------------------------------------------------------------------------------------------


class Residual:
    """|g - (H + ridge I) v| / |g| in float64, whoever solved."""

    def __init__(self, problem: Problem):
        self._problem = Problem(problem.size, "float64")
        for name in ("x", "y", "c"):
            setattr(self._problem, name, getattr(problem, name).astype(float))
        self._problem.dataset = taskmet.Dataset(self._problem.x, self._problem.y)
        self._problem.metric.parameters = problem.phi
        self._problem.predictor.parameters = problem.trained

    def of(self, v: np.ndarray) -> float:
        """For a solution v."""
        p = self._problem
        g = p.predictor.vjp(p.x, p.c)
        product = taskmet.loss_hvp(p.predictor, p.metric, p.dataset, v) + p.size.ridge * v
        return float(np.linalg.norm(g - product) / np.linalg.norm(g))


def _contestant(solve: Callable[[float], tuple], residual: Residual, precision: str) -> Contestant:
    tolerance = TOLERANCE[precision]

    def facts() -> dict[str, Any]:
        reached = residual.of(flat(solve(tolerance)[1]))
        return {"residual": reached, "converged": reached <= 1.1 * tolerance}

    return Contestant(lambda: solve(tolerance)[0], lambda: solve(TIGHT[precision])[0], facts)


def _hypergradient(size: str, precision: str, threads: int) -> Case:
    problem = problem_of(size, precision)
    shape = problem.size
    predictor, workspace = problem.predictor.copy(), taskmet.Workspace(threads)
    predictor.parameters = problem.trained
    objects = (predictor, problem.metric, problem.dataset)
    options = {"ridge": shape.ridge, "max_iterations": 1000, "workspace": workspace}

    def solve(tolerance: float) -> tuple:
        g = predictor.vjp(problem.x, problem.c)
        return taskmet.hypergradient_from_gradient(*objects, g, tolerance=tolerance, **options)

    made, note = rivals(
        {
            "torchopt": lambda: with_torch.Hypergradient(problem, shape.ridge),
            "jaxopt": lambda: with_jax.Hypergradient(problem, shape.ridge),
        }
    )
    residual, report = Residual(problem), solve(TOLERANCE[precision])[2]
    solvers = {OURS: solve} | {name: rival.run for name, rival in made.items()}
    if report.negative_curvature:
        raise ArithmeticError("the Hessian with its ridge is indefinite here: conjugate gradients do not apply")
    passes = step_flops(shape) + (report.iterations + 1) * hessian_product_flops(shape)
    return Case(
        {name: _contestant(solver, residual, precision) for name, solver in solvers.items()},
        flops=passes + metric_flops(shape) + metric_pullback_flops(shape),
        bytes=(report.iterations + 2) * data_bytes(shape, precision),
        tolerance=10 * AGREEMENT[precision],
        note=note,
        extra=lambda: {"iterations": report.iterations},
    )


# ----------------------------------------------------------------------------------------------------------------------

LARGE = ("portfolio10000", "large")


def _declare() -> None:
    for size in SIZES:
        for precision in PRECISIONS:
            text, kind = SIZES[size].text, {"precision": precision}
            row(f"step/{size}/{precision}", text, **kind)(functools.partial(_steps, size, precision, 1))
            row(f"hessian/{size}/{precision}", text, **kind)(functools.partial(_hessian_product, size, precision))
            row(f"hypergradient/{size}/{precision}", text, **kind)(
                functools.partial(_hypergradient, size, precision, 1)
            )
    for size in LARGE:
        text = SIZES[size].text
        row(f"step/{size}/2 threads", text, threads=2)(functools.partial(_steps, size, "float64", 2))
        row(f"hypergradient/{size}/2 threads", text, threads=2)(functools.partial(_hypergradient, size, "float64", 2))


_declare()
