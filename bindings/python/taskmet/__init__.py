"""Task-driven metric learning: trains a predictor under a metric that is learned from a task's gradient.

A `Dataset`, a predictor (`Linear`, `MLP`, `CallbackPredictor`), a `Metric` and a task go into a `Trainer`;
`TaskMetRegressor` is the same in scikit-learn's manners. The modules `taskmet.torch`, `taskmet.jax`, `taskmet.plot` and
`taskmet.experiments` are imported, with the libraries that they need, when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from taskmet._native import library as _library
from taskmet._options import Option, options, options_table
from taskmet.batches import OracleBatch, TaskBatch, each_problem
from taskmet.checks import check_hypergradient, check_task_gradient
from taskmet.data import Dataset, Workspace
from taskmet.errors import (
    BusyError,
    CallbackError,
    FileError,
    FormatError,
    InvalidArgumentError,
    NumericalError,
    OutOfMemoryError,
    Reject,
    RejectedError,
    ShapeError,
    StateError,
    Stop,
    TaskMetError,
    UnsupportedError,
    VersionError,
)
from taskmet.linearization import Linearization
from taskmet.losses import (
    hypergradient,
    hypergradient_from_gradient,
    loss_gnvp,
    loss_gradient,
    loss_hvp,
    loss_value,
    loss_value_and_gradient,
    minimize,
)
from taskmet.metric import Metric
from taskmet.models import MLP, CallbackPredictor, Linear, Predictor
from taskmet.optimizers import Optimizer
from taskmet.reports import CheckReport, DecisionReport, FitReport, InnerReport, Record, SolverReport
from taskmet.tasks import (
    LODL,
    Blackbox,
    BudgetAllocation,
    CallbackTask,
    FiniteDifference,
    LinearProgram,
    Perturbed,
    Portfolio,
    QuadraticProgram,
    ScoreFunction,
    SPOPlus,
    Task,
    TopK,
    squared_error,
)
from taskmet.trainer import Trainer

if TYPE_CHECKING:
    from taskmet import experiments, jax, plot, sklearn, torch  # noqa: F401, for type checkers
    from taskmet.sklearn import TaskMetRegressor

__version__: str = _library.version().decode()

__all__ = [
    "LODL",
    "MLP",
    "Blackbox",
    "BudgetAllocation",
    "BusyError",
    "CallbackError",
    "CallbackPredictor",
    "CallbackTask",
    "CheckReport",
    "Dataset",
    "DecisionReport",
    "FileError",
    "FiniteDifference",
    "FitReport",
    "FormatError",
    "InnerReport",
    "InvalidArgumentError",
    "Linear",
    "LinearProgram",
    "Linearization",
    "Metric",
    "NumericalError",
    "Optimizer",
    "Option",
    "OracleBatch",
    "OutOfMemoryError",
    "Perturbed",
    "Portfolio",
    "Predictor",
    "QuadraticProgram",
    "Record",
    "Reject",
    "RejectedError",
    "SPOPlus",
    "ScoreFunction",
    "ShapeError",
    "SolverReport",
    "StateError",
    "Stop",
    "Task",
    "TaskBatch",
    "TaskMetError",
    "TaskMetRegressor",
    "TopK",
    "Trainer",
    "UnsupportedError",
    "VersionError",
    "Workspace",
    "check_hypergradient",
    "check_task_gradient",
    "each_problem",
    "hypergradient",
    "hypergradient_from_gradient",
    "loss_gnvp",
    "loss_gradient",
    "loss_hvp",
    "loss_value",
    "loss_value_and_gradient",
    "minimize",
    "options",
    "options_table",
    "squared_error",
]


_MODULES = ("experiments", "jax", "plot", "sklearn", "torch")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"taskmet.{name}")
    if name == "TaskMetRegressor":
        return importlib.import_module("taskmet.sklearn").TaskMetRegressor
    raise AttributeError(f"module 'taskmet' has no attribute {name!r}")
