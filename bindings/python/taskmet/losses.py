"""The metricised prediction loss, its minimisation, and the hypergradient dL_task/dphi."""

from __future__ import annotations

import ctypes
from ctypes import c_double
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskmet import _native
from taskmet._arrays import Reals, as_matrix, as_vector, matrix, vector
from taskmet._callbacks import call
from taskmet._native import constant, library, new_struct
from taskmet.data import Dataset, Workspace
from taskmet.metric import Metric
from taskmet.models import Predictor
from taskmet.reports import InnerReport, SolverReport, report_of


def _objects(predictor: Predictor, metric: Metric, dataset: Dataset, rho: float) -> tuple[int, int, int, float]:
    return predictor.handle, metric.handle, dataset.handle, rho


def _optional(workspace: Workspace | None) -> int | None:
    return None if workspace is None else workspace.handle


def loss_value(predictor: Predictor, metric: Metric, dataset: Dataset, rho: float = 0.0) -> float:
    """(1/N) sum_i s_i e_i' Lambda(x_i) e_i + (rho/2) |theta|^2, e_i = f(x_i) - y_i.

    Examples
    --------
    >>> from taskmet import Dataset, Linear, Metric, loss_value
    >>> data = Dataset([[1.0], [2.0]], [1.0, 3.0])
    >>> round(loss_value(Linear(1), Metric.constant(1, "scalar"), data), 12)
    5.0
    """
    value = c_double()
    call(library.loss_value, *_objects(predictor, metric, dataset, rho), ctypes.byref(value))
    return value.value


def loss_gradient(predictor: Predictor, metric: Metric, dataset: Dataset, rho: float = 0.0) -> Reals:
    """The loss's gradient in theta."""
    out = np.empty(predictor.parameter_count)
    call(library.loss_gradient, *_objects(predictor, metric, dataset, rho), *vector(out))
    return out


def loss_value_and_gradient(
    predictor: Predictor, metric: Metric, dataset: Dataset, rho: float = 0.0, workspace: Workspace | None = None
) -> tuple[float, Reals]:
    """Both in one pass."""
    value, out = c_double(), np.empty(predictor.parameter_count)
    objects = _objects(predictor, metric, dataset, rho)
    call(library.loss_value_gradient, *objects, _optional(workspace), ctypes.byref(value), *vector(out))
    return value.value, out


def loss_hvp(predictor: Predictor, metric: Metric, dataset: Dataset, w: ArrayLike, rho: float = 0.0) -> Reals:
    """The Hessian-vector product H w."""
    out = np.empty(predictor.parameter_count)
    w = as_vector(w, "w")
    call(library.loss_hvp, *_objects(predictor, metric, dataset, rho), *vector(w), *vector(out))
    return out


def loss_gnvp(predictor: Predictor, metric: Metric, dataset: Dataset, w: ArrayLike, rho: float = 0.0) -> Reals:
    """The Gauss-Newton product G w: H without the predictor's second derivatives."""
    out = np.empty(predictor.parameter_count)
    w = as_vector(w, "w")
    call(library.loss_gnvp, *_objects(predictor, metric, dataset, rho), *vector(w), *vector(out))
    return out


# ----------------------------------------------------------------------------------------------------------------------


def inner_options(solver: str = "lbfgs", **values: Any) -> _native.InnerOptions:
    """How `minimize` looks for theta*(phi); the keywords are `minimize`'s."""
    options = new_struct(_native.InnerOptions)
    library.inner_options_init(ctypes.byref(options))
    options.solver = constant(_native.INNER, solver, "solver")
    return _set_fields(options, values)


def solver_options(solver: str = "cg", **values: Any) -> _native.SolverOptions:
    """How a hypergradient's linear system is solved; the keywords are `hypergradient`'s."""
    options = new_struct(_native.SolverOptions)
    library.solver_options_init(ctypes.byref(options))
    options.solver = constant(_native.SOLVER, solver, "solver")
    return _set_fields(options, values)


def _set_fields(options: Any, values: dict[str, Any]) -> Any:
    names = [name for name, *_ in options._fields_ if name not in ("struct_size", "reserved", "solver")]
    for name, value in values.items():
        if name not in names:
            raise TypeError(f"unknown option {name!r}; there are {', '.join(['solver', *names])}")
        setattr(options, name, value)
    return options


def minimize(
    predictor: Predictor,
    metric: Metric,
    dataset: Dataset,
    rho: float = 0.0,
    *,
    solver: str = "lbfgs",
    workspace: Workspace | None = None,
    **options: Any,
) -> InnerReport:
    """Moves the predictor's parameters towards the minimum of the loss.

    Parameters
    ----------
    predictor, metric, dataset, rho
    solver : str
        "lbfgs", "exact" (linear predictors), "adam" or "sgd".
    workspace : Workspace, optional
    **options
        ``max_iterations``, ``gradient_tolerance``, ``learning_rate``, ``momentum``, ``memory``, as in the C API.

    Examples
    --------
    >>> from taskmet import Dataset, Linear, Metric, minimize
    >>> line = Linear(1)
    >>> report = minimize(line, Metric.constant(1, "scalar"), Dataset([[0.0], [1.0]], [1.0, 3.0]), solver="exact")
    >>> line.parameters.round(12)
    array([2., 1.])
    """
    choices, report = inner_options(solver, **options), new_struct(_native.InnerReport)
    objects = _objects(predictor, metric, dataset, rho)
    call(library.loss_minimize, *objects, ctypes.byref(choices), _optional(workspace), ctypes.byref(report))
    return report_of(InnerReport, report)


def hypergradient(
    predictor: Predictor,
    metric: Metric,
    dataset: Dataset,
    c: ArrayLike,
    rho: float = 0.0,
    *,
    solver: str = "cg",
    **options: Any,
) -> tuple[Reals, SolverReport]:
    """dL_task/dphi at the present theta, given the task's gradient in prediction space.

    Parameters
    ----------
    predictor, metric, dataset, rho
    c : array of shape (rows, outputs)
        c_i = dL_task/df(x_i).
    solver : str
        "cg", "normal_cg", "minres", "neumann", "dense", "gauss_newton_cg" or "identity".
    **options
        ``max_iterations``, ``tolerance``, ``ridge``, ``normal_ridge``, ``neumann_step``, as in the C API.

    Returns
    -------
    gradient : array
        As long as the metric's parameters.
    report : SolverReport
        Look at ``residual`` and ``converged``: an inexact solution is no error.
    """
    c = as_matrix(c, "c")
    expected = (dataset.rows, predictor.outputs)
    if c.shape != expected:
        raise ValueError(f"c must have shape {expected}, got {c.shape}")
    choices, out, report = solver_options(solver, **options), np.empty(metric.parameter_count), _solver_report()
    objects = _objects(predictor, metric, dataset, rho)
    call(library.hypergradient, *objects, *matrix(c), ctypes.byref(choices), *vector(out), ctypes.byref(report))
    return out, report_of(SolverReport, report)


def hypergradient_from_gradient(
    predictor: Predictor,
    metric: Metric,
    dataset: Dataset,
    g: ArrayLike,
    rho: float = 0.0,
    *,
    v: ArrayLike | None = None,
    solver: str = "cg",
    workspace: Workspace | None = None,
    **options: Any,
) -> tuple[Reals, Reals, SolverReport]:
    """The same from g = grad_theta L_task, which may come from other rows.

    Parameters
    ----------
    predictor, metric, dataset, rho
    g : array of shape (parameters,)
        As long as theta.
    v : array of shape (parameters,), optional
        Where the solver starts; None: zeros.
    solver, **options
        As in `hypergradient`.
    workspace : Workspace, optional

    Returns
    -------
    gradient : array
        As long as the metric's parameters.
    v : array
        The linear system's solution: a start for the next call.
    report : SolverReport
    """
    g = as_vector(g, "g")
    solution = np.zeros(predictor.parameter_count) if v is None else np.array(as_vector(v, "v"))
    choices, out, report = solver_options(solver, **options), np.empty(metric.parameter_count), _solver_report()
    call(
        library.hypergradient_from_gradient,
        *_objects(predictor, metric, dataset, rho),
        *vector(g),
        ctypes.byref(choices),
        _optional(workspace),
        *vector(solution),
        *vector(out),
        ctypes.byref(report),
    )
    return out, solution, report_of(SolverReport, report)


def _solver_report() -> _native.SolverReport:
    return new_struct(_native.SolverReport)
