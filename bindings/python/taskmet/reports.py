"""What the library reports of a computation, as named tuples."""

from __future__ import annotations

from ctypes import Structure
from typing import Any, NamedTuple, TypeVar

from taskmet import _native

Report = TypeVar("Report", bound=NamedTuple)


class InnerReport(NamedTuple):
    """How `minimize` ended."""

    value: float
    gradient_norm: float
    iterations: int
    evaluations: int
    converged: bool


class SolverReport(NamedTuple):
    """How a hypergradient's linear system was solved."""

    residual: float
    iterations: int
    operator_products: int
    converged: bool
    negative_curvature: bool
    solver: str
    gradient_norm: float
    solution_norm: float


class CheckReport(NamedTuple):
    """What a check of a gradient says: `verdict` is "correct", "wrong" or "undecided".

    ``worst_error`` is the largest |analytic - numeric| / max(|analytic|, |numeric|, scale) of all directions; ``noise``
    (in the same unit), ``analytic``, ``numeric`` and ``step`` are that direction's. ``row`` and ``output`` name the
    entry that was moved; -1: a random direction.
    """

    verdict: str
    worst_error: float
    noise: float
    analytic: float
    numeric: float
    step: float
    scale: float
    row: int
    output: int
    directions: int

    @property
    def correct(self) -> bool:
        """Whether every direction agrees to the tolerance."""
        return self.verdict == "correct"


class DecisionReport(NamedTuple):
    """How good decisions are, from chance (quality 0) to perfect (1)."""

    instances: int
    objective: float
    optimal_objective: float
    random_objective: float
    regret: float
    decision_quality: float
    objective_lower: float
    objective_upper: float
    regret_lower: float
    regret_upper: float
    decision_quality_lower: float
    decision_quality_upper: float
    mean_squared_error: float


class FitReport(NamedTuple):
    """How a fit ended.

    Losses are of the data that choose the best model: validation's where there are any. ``first_task_loss`` is the
    two-stage model's, ``best_rmse_ratio`` the best model's root mean squared error over that model's. ``rollbacks``
    counts undone steps, ``rejections`` those of them that the task rejected, ``untrusted`` the records that are not
    trusted.
    """

    reason: str
    iterations: int
    best_iteration: int
    best_task_loss: float
    first_task_loss: float
    best_rmse_ratio: float
    rollbacks: int
    rejections: int
    untrusted: int
    seconds: float


class Record(NamedTuple):
    """One outer iteration; NaN stands for what was not measured. Record 0 is the two-stage model.

    Attributes
    ----------
    task_loss : float
        On the batch that was judged, after the inner steps.
    prediction_loss : float
        What the inner steps minimise.
    prediction_rmse, validation_rmse : float
        Root mean squared errors over the entries of the rows that the task judged, in the unit of the targets.
    hypergradient_norm, solver_residual : float
        Of the step that led here; the residual is |g - A v| / |g|.
    agreement : float
        The cosine between the hypergradients of two halves of the batch.
    trusted : bool
        Whether curvature, residual, inner gradient and agreement were within their thresholds.
    is_best : bool
        Whether this model is the best so far.
    metric_rate : float
        The metric's learning rate in this step, which undone steps halve.
    rollbacks, rejections : int
        Steps undone before this one, and those of them that the task rejected.
    metric_smallest_eigenvalue, metric_largest_eigenvalue, metric_mean_trace : float
        Of Lambda over some fixed training rows; the trace is divided by the number of outputs.
    """

    iteration: int
    task_loss: float
    prediction_loss: float
    prediction_rmse: float
    inner_gradient_norm: float
    inner_steps: int
    hypergradient_norm: float
    solver_residual: float
    solver_iterations: int
    solver_converged: bool
    negative_curvature: bool
    agreement: float
    trusted: bool
    is_best: bool
    metric_rate: float
    rollbacks: int
    rejections: int
    hypergradient_instances: int
    metric_smallest_eigenvalue: float
    metric_largest_eigenvalue: float
    metric_mean_trace: float
    validation_task_loss: float
    validation_rmse: float
    seconds_inner: float
    seconds_task: float
    seconds_hypergradient: float
    seconds_validation: float
    seconds_total: float


_FLAGS = {"converged", "negative_curvature", "solver_converged", "trusted", "is_best"}
_NAMES = {"solver": _native.SOLVER, "verdict": _native.VERDICT, "reason": _native.STOP}


def _field(name: str, value: Any) -> Any:
    if name in _FLAGS:
        return bool(value)
    return _native.constant_name(_NAMES[name], value) if name in _NAMES else value


def report_of(kind: type[Report], struct: Structure) -> Report:
    """The named tuple of a struct that the library wrote."""
    return kind(*(_field(name, getattr(struct, name)) for name in kind._fields))
