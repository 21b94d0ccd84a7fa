"""Is a gradient right? Both checks compare it with differences of the loss."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_double
from typing import Any

from numpy.typing import ArrayLike

from taskmet import _native
from taskmet._arrays import matrix
from taskmet._callbacks import call
from taskmet._native import library, new_struct
from taskmet.data import Dataset
from taskmet.losses import _objects, inner_options, solver_options
from taskmet.metric import Metric
from taskmet.models import Predictor
from taskmet.reports import CheckReport, report_of
from taskmet.tasks import Task, _predictions, as_task


def check_task_gradient(
    task: Task | Any,
    dataset: Dataset,
    predictions: ArrayLike,
    *,
    directions: int = 10,
    seed: int = 0,
    tolerance: float = 1e-5,
) -> CheckReport:
    """Checks a task's gradient against differences of its loss, along random directions and on single entries.

    Examples
    --------
    >>> import numpy as np
    >>> from taskmet import Dataset, check_task_gradient
    >>> def wrong(batch):
    ...     error = batch.predictions - batch.targets
    ...     return np.mean(error**2), -2 * error / error.size
    >>> data = Dataset(np.zeros((4, 1)), [1.0, 2.0, 3.0, 4.0])
    >>> check_task_gradient(wrong, data, np.ones((4, 1))).verdict
    'wrong'
    """
    task, rows = as_task(task), _predictions(dataset, predictions)
    worst, report = c_double(), new_struct(_native.CheckReport)
    how = (directions, seed, tolerance, ctypes.byref(worst), ctypes.byref(report))
    call(library.task_check_gradient, task.handle, dataset.handle, *matrix(rows), *how)
    return report_of(CheckReport, report)


def check_hypergradient(
    predictor: Predictor,
    metric: Metric,
    dataset: Dataset,
    task: Task | Any,
    rho: float = 0.0,
    *,
    inner: Mapping[str, Any] | None = None,
    solver: Mapping[str, Any] | None = None,
    directions: int = 5,
    seed: int = 0,
    tolerance: float = 1e-4,
) -> CheckReport:
    """Checks the hypergradient: trains at phi and at phi +- h, and differences the task loss. Slow by design.

    ``inner`` and ``solver`` are keyword arguments of `minimize` and `hypergradient`, as mappings; the inner solution
    must be accurate for the check to decide.
    """
    task = as_task(task)
    inner_struct, solver_struct = inner_options(**(inner or {})), solver_options(**(solver or {}))
    worst, report = c_double(), new_struct(_native.CheckReport)
    how = (directions, seed, tolerance, ctypes.byref(worst), ctypes.byref(report))
    call(
        library.hypergradient_check,
        *_objects(predictor, metric, dataset, rho),
        *(task.handle, ctypes.byref(inner_struct), ctypes.byref(solver_struct), *how),
    )
    return report_of(CheckReport, report)
