"""Rows: each built-in task's solve and backward pass, one unit being an instance, and the tasks around an oracle.

Rivals: cvxpylayers for convex programs; for the choice of k items and the budget allocation an own PyTorch version of
the published recipes (`published`), in a loop over instances, which is how the research code runs, and as one batch,
which is the best that PyTorch can do with them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import taskmet

from sidebyside import published, with_torch
from sidebyside.convex import ProgramLayer
from sidebyside.registry import OURS, Case, Contestant, row
from sidebyside.rows_learning import rivals

RISK_AVERSION = 0.1
PROGRAM_INSTANCES = 8


def _ours(task: taskmet.Task, dataset: taskmet.Dataset, predictions: np.ndarray) -> Contestant:
    def run() -> np.ndarray:
        return task.gradient(dataset, predictions)[1]

    return Contestant(run)


def _dataset(y: np.ndarray, size: int, **options: Any) -> taskmet.Dataset:
    return taskmet.Dataset(np.zeros((len(y), 1)), y, instances=range(0, len(y) + 1, size), **options)


# ----------------------------------------------------------------------------------------------------------------------


@row("task/topk", "1 of 50 items, published recipe, an instance")
def _topk() -> Case:
    items, instances, epsilon = 50, 100, 0.01
    generator = np.random.default_rng(6)
    y, scores = generator.uniform(0, 1, (2, instances * items))
    task = taskmet.TopK(1, epsilon, legacy=True)
    made, note = rivals(
        {
            "PyTorch loop": lambda: published.SinkhornTopK(scores, y, items, 1, epsilon, batched=False),
            "PyTorch batch": lambda: published.SinkhornTopK(scores, y, items, 1, epsilon, batched=True),
        }
    )
    contestants = {OURS: _ours(task, _dataset(y, items), scores[:, np.newaxis])}
    for name, rival in made.items():
        contestants[name] = Contestant(rival.run, rival.converged)
    # An evaluation of the sum and of its derivative: the root cannot be found with less.
    return Case(
        contestants,
        flops=0.0,
        bytes=8.0 * 3 * items * instances,
        divisor=instances,
        tolerance=1e-6,
        note="; ".join(filter(None, ["Sinkhorn's 200 iterations, compared after as many as converge", note])),
    )


@row("task/budget", "2 of 5 websites, 10 users, published recipe, an instance")
def _budget() -> Case:
    sites, users, instances = 5, 10, 100
    generator = np.random.default_rng(7)
    y, predictions = (generator.uniform(0, 0.4, (instances * sites, users)) for _ in range(2))
    task = taskmet.BudgetAllocation(2, legacy=True)
    made, note = rivals(
        {
            "PyTorch loop": lambda: published.BudgetAllocation(predictions, y, sites, 2, batched=False),
            "PyTorch batch": lambda: published.BudgetAllocation(predictions, y, sites, 2, batched=True),
        }
    )
    contestants = {OURS: _ours(task, _dataset(y, sites), predictions)}
    contestants |= {name: Contestant(rival.run) for name, rival in made.items()}
    # 100 gradients of the multilinear extension: for each site and user a product over the others, and a multiply-add.
    flops = 100.0 * instances * sites * users * 4
    return Case(contestants, flops, 8.0 * 3 * sites * users * instances, divisor=instances, note=note)


@row("task/budget exact", "2 of 5 websites, 10 users, entropic solution, an instance")
def _budget_exact() -> Case:
    sites, users, instances = 5, 10, 100
    y, predictions = np.random.default_rng(7).uniform(0, 0.4, (2, instances * sites, users))
    contestant = _ours(taskmet.BudgetAllocation(2), _dataset(y, sites), predictions)
    note = "no rival solves this problem"
    return Case({OURS: contestant}, 0.0, 8.0 * 3 * sites * users * instances, divisor=instances, note=note)


# ----------------------------------------------------------------------------------------------------------------------


def _programs(
    task: taskmet.Task, y: np.ndarray, predictions: np.ndarray, make: Callable[[], ProgramLayer], **options: Any
) -> tuple[dict[str, Contestant], str]:
    """TaskMet and cvxpylayers with its default solver and with Clarabel, both at their default tolerances."""
    size = predictions.shape[1]
    contestants = {OURS: _ours(task, _dataset(y.ravel(), size, **options), predictions.reshape(-1, 1))}
    made, note = rivals({"cvxpylayers": make})
    for layer in made.values():
        contestants["cvxpylayers"] = Contestant(layer.run, layer.converged)
        contestants["cvxpylayers Clarabel"] = Contestant(layer.run_clarabel, layer.converged)
    return contestants, note


def portfolio_truth(y: np.ndarray, predictions: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The gradient by the closed form of each instance's support, which is found by adding and dropping assets."""
    gradient = np.empty_like(predictions)
    for k in range(len(predictions)):
        free = np.ones(predictions.shape[1], bool)
        for _ in range(100):
            inverse = np.linalg.inv(2 * RISK_AVERSION * q[k][np.ix_(free, free)])
            sums = inverse.sum(1)
            multiplier = (sums @ predictions[k][free] - 1) / sums.sum()
            z = np.zeros(len(free))
            z[free] = inverse @ (predictions[k][free] - multiplier)
            slope = predictions[k] - 2 * RISK_AVERSION * q[k] @ z - multiplier
            changed = (free & (z > 0)) | (~free & (slope > 1e-12))
            if (changed == free).all():
                break
            free = changed
        else:
            raise ArithmeticError("no support was found")
        derivative = inverse - np.outer(sums, sums) / sums.sum()
        gradient[k] = 0
        gradient[k][free] = -derivative @ (y[k] - 2 * RISK_AVERSION * q[k] @ z)[free]
    return gradient / len(predictions)


@row("task/portfolio", "50 stocks, an instance")
def _portfolio() -> Case:
    stocks, instances = 50, PROGRAM_INSTANCES
    generator = np.random.default_rng(8)
    y, predictions = 0.05 * generator.standard_normal((2, instances, stocks))
    returns = generator.standard_normal((instances, stocks, 9)) + generator.standard_normal((instances, 1, 9))
    q = np.array([np.corrcoef(r) + 0.1 * np.eye(stocks) for r in returns])
    roots = np.linalg.cholesky(q)

    def layer() -> ProgramLayer:
        import cvxpy as cp

        z, values, root = cp.Variable(stocks), cp.Parameter(stocks), cp.Parameter((stocks, stocks))
        objective = cp.Maximize(values @ z - RISK_AVERSION * cp.sum_squares(root.T @ z))
        problem = cp.Problem(objective, [cp.sum(z) == 1, z >= 0, z <= 1])
        t = with_torch.tensor

        def loss(z: Any) -> Any:
            risk = ((t(q) @ z.unsqueeze(2)).squeeze(2) * z).sum(1)
            return -((t(y) * z).sum(1) - RISK_AVERSION * risk).mean()

        return ProgramLayer(problem, [values, root], z, predictions, [roots], loss)

    contestants, note = _programs(taskmet.Portfolio(RISK_AVERSION), y, predictions, layer, context=list(q))
    flops = instances * (stocks**3 / 3.0 + 4.0 * stocks**2)  # one factorisation of Q, two products with it
    return Case(
        contestants,
        flops,
        8.0 * instances * stocks**2,
        divisor=instances,
        truth=portfolio_truth(y, predictions, q),
        tolerance=1e-5,
        note="; ".join(filter(None, ["truth: closed form of the support", note])),
    )


def _box_program(generator: np.random.Generator, d: int, constraints: int) -> tuple[np.ndarray, np.ndarray]:
    """G z <= h with z in a box and some random half-spaces; z = 0 is inside."""
    matrix = np.concatenate([np.eye(d), -np.eye(d), generator.standard_normal((constraints, d))])
    values = np.concatenate([np.ones(2 * d), generator.uniform(0.5, 1.5, constraints)])
    return matrix, values


def _quadratic(linear: bool) -> Case:
    d, constraints, instances, smoothing = 30, 10, PROGRAM_INSTANCES, 0.5
    generator = np.random.default_rng(9)
    y, predictions = generator.standard_normal((2, instances, d))
    matrix, values = _box_program(generator, d, constraints)
    half = generator.standard_normal((d, d)) / np.sqrt(d)
    q = smoothing * np.eye(d) if linear else half @ half.T + 0.1 * np.eye(d)
    task: taskmet.Task
    if linear:
        task = taskmet.LinearProgram(matrix, values, smoothing=smoothing)
    else:
        task = taskmet.QuadraticProgram(d, quadratic=q, inequality_matrix=matrix, inequality_values=values)

    def layer() -> ProgramLayer:
        import cvxpy as cp

        z, cost = cp.Variable(d), cp.Parameter(d)
        objective = cp.Minimize(0.5 * cp.sum_squares(np.linalg.cholesky(q).T @ z) + cost @ z)
        problem = cp.Problem(objective, [matrix @ z <= values])
        t = with_torch.tensor

        def loss(z: Any) -> Any:
            quadratic = 0 if linear else 0.5 * ((z @ t(q)) * z).sum(1)
            return ((t(y) * z).sum(1) + quadratic).mean()

        return ProgramLayer(problem, [cost], z, predictions, [], loss)

    contestants, note = _programs(task, y, predictions, layer)
    # A factorisation of the reduced KKT matrix, at least one; forming it from the constraints, once.
    flops = instances * (d**3 / 3.0 + (2 * d + constraints) * d * 2.0)
    size = 8.0 * (d * d + (2 * d + constraints) * d + instances * 2 * d)
    return Case(contestants, flops, size, divisor=instances, tolerance=1e-5, note=note)


row("task/quadratic program", "30 variables, 70 inequalities, an instance")(functools.partial(_quadratic, False))
row("task/linear program", "30 variables, 70 inequalities, smoothing 0.5, an instance")(
    functools.partial(_quadratic, True)
)


# ----------------------------------------------------------------------------------------------------------------------


def _best(costs: np.ndarray, items: int, chosen: int) -> np.ndarray:
    """The oracle: the `chosen` largest of each row of `items` costs."""
    table = costs.reshape(-1, items)
    decisions = np.zeros_like(table)
    largest = np.argpartition(table, items - chosen, axis=1)[:, items - chosen :]
    np.put_along_axis(decisions, largest, 1.0, axis=1)
    return decisions


def _oracle_case(kind: str) -> Case:
    items, chosen, instances, step = 50, 5, 200, 1.0
    y, predictions = np.random.default_rng(10).standard_normal((2, instances, items))
    tasks = {
        "SPO+": lambda oracle: taskmet.SPOPlus(oracle, "maximize"),
        "blackbox": lambda oracle: taskmet.Blackbox(oracle, "maximize", interpolation=step),
    }
    task = tasks[kind](lambda batch: _best(batch.costs, items, chosen).ravel())

    def numpy_spo_plus() -> np.ndarray:
        both = np.concatenate([y, 2 * predictions - y])
        truth, spread = np.split(_best(both, items, chosen), 2)
        return -2 * (truth - spread) / instances

    def numpy_blackbox() -> np.ndarray:
        # The loss is -y'w(yhat), so what the decision is moved along is -(-y) step.
        both = np.concatenate([predictions, predictions + step * y])
        here, moved = np.split(_best(both, items, chosen), 2)
        return -(moved - here) / step / instances

    rival = {"SPO+": numpy_spo_plus, "blackbox": numpy_blackbox}[kind]
    ours = _ours(task, _dataset(y.ravel(), items), predictions.reshape(-1, 1))
    return Case(
        {OURS: ours, "NumPy": Contestant(rival)},
        flops=0.0,
        bytes=8.0 * 4 * items * instances,
        divisor=instances,
        note="the same oracle in NumPy for both, which takes most of the time",
    )


for _kind in ("SPO+", "blackbox"):
    row(f"task/{_kind}", "5 of 50 items, an instance")(functools.partial(_oracle_case, _kind))
