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
    """What a check of a gradient says: `verdict` is "correct", "wrong" or "undecided"; the rest is of the worst
    direction."""

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
    """How a fit ended."""

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
    """One outer iteration; NaN stands for what was not measured."""

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
