"""Tasks: what predictions are for.

A task is a description: plain Python, which can be copied and pickled; the library's object is made when it is first
used.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import POINTER, c_double, c_int32, c_int64, cast
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskmet import _callbacks, _native
from taskmet._arrays import Reals, as_matrix, as_reals, copy_to, matrix, reals, vector
from taskmet._callbacks import call
from taskmet._handles import NativeObject, create
from taskmet._native import constant, constant_name, library
from taskmet.batches import OracleBatch, TaskBatch
from taskmet.data import Dataset
from taskmet.models import Predictor
from taskmet.reports import DecisionReport, report_of

_creation = threading.Lock()


class Task(NativeObject):
    """Judges predictions; lower losses are better. Made as one of the classes below."""

    _kind = "task"

    def _make(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} is no task of its own")

    @property
    def handle(self) -> int:
        """The library's handle, made at the first use."""
        if self._handle is None:
            made = self._make()
            with _creation:
                handle = self._handle = made if self._handle is None else self._handle
            if handle != made:  # another thread was faster
                library.task_destroy(made)
        return self._handle

    @property
    def closed(self) -> bool:
        """Always False: a task that was closed makes its handle anew."""
        return False

    def evaluate(self, predictor: Predictor, dataset: Dataset) -> float:
        """The loss of a predictor on held-out data, in phase validation."""
        loss = c_double()
        call(
            library.task_evaluate,
            *(self.handle, predictor.handle, dataset.handle, ctypes.byref(loss)),
            *(None, 0, None, 0),
        )
        return loss.value

    def instance_losses(self, predictor: Predictor, dataset: Dataset) -> Reals:
        """The same by instance, each judged alone."""
        out = np.empty(dataset.instances)
        call(library.task_evaluate, self.handle, predictor.handle, dataset.handle, None, *vector(out), None, 0)
        return out

    def decisions(self, predictor: Predictor, dataset: Dataset) -> Reals:
        """The decisions that follow from a predictor, instance by instance in one vector; of tasks that take them."""
        out = np.empty(max(self.decision_count(dataset), 1))
        call(library.task_evaluate, self.handle, predictor.handle, dataset.handle, None, None, 0, *vector(out))
        return out

    def decision_count(self, dataset: Dataset) -> int:
        """The number of decision variables of all instances; 0 for a task without decisions."""
        count = c_int64()
        library.task_decision_count(self.handle, dataset.handle, ctypes.byref(count))
        return count.value

    def loss(self, dataset: Dataset, predictions: ArrayLike, phase: str = "validation") -> float:
        """The loss of given predictions, rows x outputs."""
        predictions, loss = _predictions(dataset, predictions), c_double()
        which = constant(_native.PHASE, phase, "phase")
        arguments = (self.handle, dataset.handle, which, *matrix(predictions), ctypes.byref(loss), None, 0)
        call(library.task_gradient, *arguments)
        return loss.value

    def gradient(self, dataset: Dataset, predictions: ArrayLike) -> tuple[float, Reals]:
        """The training loss of given predictions, and its gradient: rows x outputs."""
        predictions, loss = _predictions(dataset, predictions), c_double()
        out = np.empty(predictions.shape)
        arguments = (self.handle, dataset.handle, _native.PHASE["training"], *matrix(predictions))
        call(library.task_gradient, *arguments, ctypes.byref(loss), *matrix(out))
        return loss.value, out

    def decision_quality(
        self,
        dataset: Dataset,
        predictions: ArrayLike,
        *,
        random_draws: int = 10,
        bootstrap_samples: int = 1000,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> DecisionReport:
        """How good the decisions are that follow from predictions, from chance (0) to perfect (1).

        Parameters
        ----------
        dataset : Dataset
        predictions : array of shape (rows, outputs) or (rows,)
        random_draws : int
            Random predictions for each instance, whose decisions are quality 0.
        bootstrap_samples : int
            For the intervals, by instances; 0: no intervals.
        confidence : float
            Of the intervals, in (0, 1).
        seed : int
            Of the random predictions and the bootstrap.

        Raises
        ------
        UnsupportedError
            The task takes no decisions.
        """
        predictions, report = _predictions(dataset, predictions), _native.new_struct(_native.DecisionReport)
        sizes = (random_draws, bootstrap_samples, confidence, seed)
        call(
            library.task_decision_quality,
            *(self.handle, dataset.handle, *matrix(predictions), *sizes, ctypes.byref(report)),
        )
        return report_of(DecisionReport, report)

    @property
    def sense(self) -> str:
        """ "minimize" or "maximize": what the task's objective wants. The loss is always minimised."""
        sense = c_int32()
        library.task_get_sense(self.handle, ctypes.byref(sense))
        return constant_name(_native.SENSE, sense.value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_handle", "_key")}

    def __reduce__(self) -> Any:
        return object.__new__, (type(self),), self.__getstate__()

    def __repr__(self) -> str:
        # An argument whose name is a method's is kept with an underscore.
        arguments = (f"{name.lstrip('_')}={_short(value)}" for name, value in self.__getstate__().items())
        return f"{type(self).__name__}({', '.join(arguments)})"


def _short(value: Any) -> str:
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return f"array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)


def _predictions(dataset: Dataset, predictions: ArrayLike) -> Reals:
    array, shape = as_matrix(predictions, "predictions"), dataset.shape
    if array.shape != (shape[0], shape[2]):
        raise ValueError(f"predictions must have shape {(shape[0], shape[2])}, got {array.shape}")
    return array


# ----------------------------------------------------------------------------------------------------------------------
# Tasks in Python


class _PythonTask(Task):
    """A task that calls a Python function."""

    _key: int | None = None

    @property
    def _user(self) -> tuple[int, Any]:
        if self._key is None:
            self._key = _callbacks.register(self)
        return self._key, _native.FREE()


@_callbacks.entry(_native.TASK_FN)
def _loss_and_gradient(task: CallbackTask, struct: Any, loss: int, gradient: int | None) -> None:
    batch = TaskBatch(struct.contents, gradient is not None)
    try:
        value, derivative = task._evaluate(batch)
    finally:
        batch._close()
    if gradient is not None:
        if derivative is None:
            raise TypeError(
                "the task must return (loss, gradient) where batch.needs_gradient is true; it returned a loss"
            )
        copy_to(gradient, derivative, (batch.rows, batch.outputs), "the task's gradient")
    copy_to(loss, value, (), "the task's loss")


class CallbackTask(_PythonTask):
    """A task in NumPy.

    Parameters
    ----------
    function : function
        ``function(batch)`` returns the mean loss over the batch's instances and its gradient in prediction space
        (rows x outputs); where ``batch.needs_gradient`` is false the loss alone will do. It may raise `Reject`
        ("cannot evaluate here") or `Stop` ("finish cleanly"); whatever else it raises comes out of the call that led
        to it.

    Examples
    --------
    >>> import numpy as np
    >>> from taskmet import CallbackTask, Dataset
    >>> def absolute_error(batch):
    ...     error = batch.predictions - batch.targets
    ...     return np.mean(np.abs(error)), np.sign(error) / error.size
    >>> CallbackTask(absolute_error).loss(Dataset([[0.0], [1.0]], [1.0, 2.0]), [[2.0], [4.0]])
    1.5
    """

    def __init__(self, function: Callable[..., Any]):
        if not callable(function):
            raise TypeError(f"function must be callable, got {function!r}")
        self.function = function

    def _evaluate(self, batch: TaskBatch) -> tuple[Any, Any]:
        answer = self.function(batch)
        return answer if isinstance(answer, tuple) else (answer, None)

    def _make(self) -> int:
        return create(library.task_create_callback, _loss_and_gradient, *self._user)


def squared_error(batch: TaskBatch) -> tuple[float, Reals]:
    """The mean squared error, as a task: what training without a task minimises."""
    error = batch.predictions - batch.targets
    return float(np.mean(error**2)), 2 * error / error.size


@_callbacks.entry(_native.LOSSES_FN)
def _losses(task: _LossesTask, struct: Any, losses: int) -> None:
    batch = TaskBatch(struct.contents, needs_gradient=False)
    try:
        values = task.losses(batch)
    finally:
        batch._close()
    copy_to(losses, values, (batch.instance_count,), "the losses")


class _LossesTask(_PythonTask):
    losses: Callable[[TaskBatch], ArrayLike]


class FiniteDifference(_LossesTask):
    """A loss without a gradient: central differences of every entry.

    Parameters
    ----------
    losses : function
        ``losses(batch)`` returns one loss for each of the batch's instances, each judged alone.
    step : float
        In the unit of the predictions.
    """

    def __init__(self, losses: Callable[[TaskBatch], ArrayLike], step: float):
        self.losses, self.step = losses, step

    def _make(self) -> int:
        return create(library.task_create_finite_difference, _losses, *self._user, self.step)


class ScoreFunction(_LossesTask):
    """A loss without a gradient, maybe not even continuous: the gradient of the loss smoothed by N(0, sigma^2 I).

    Parameters
    ----------
    losses : function
        ``losses(batch)`` returns one loss for each of the batch's instances, each judged alone.
    sigma : float
        In the unit of the predictions.
    samples : int
        Antithetic pairs for each instance.
    seed : int
    """

    def __init__(self, losses: Callable[[TaskBatch], ArrayLike], sigma: float, samples: int = 100, seed: int = 0):
        self.losses, self.sigma, self.samples, self.seed = losses, sigma, samples, seed

    def _make(self) -> int:
        return create(library.task_create_score_function, _losses, *self._user, self.samples, self.sigma, self.seed)


@_callbacks.entry(_native.ORACLE_FN)
def _decide(task: _OracleTask, struct: Any, decisions: int) -> None:
    batch = OracleBatch(struct.contents)
    count = int(batch.offsets[-1])
    try:
        values = task.oracle(batch)
    finally:
        batch._close()
    copy_to(decisions, values, (count,), "the oracle's decisions")


class _OracleTask(_PythonTask):
    oracle: Callable[[OracleBatch], ArrayLike]
    _sense: str

    @property
    def _oracle_arguments(self) -> tuple:
        return constant(_native.SENSE, self._sense, "sense"), _decide, *self._user


class SPOPlus(_OracleTask):
    """SPO+ (Elmachtoub and Grigas 2022) around a decision oracle.

    Parameters
    ----------
    oracle : function
        ``oracle(batch)`` returns for each problem k of the batch, one after the other, the z that minimises (or
        maximises) costs_k'z over its feasible set. `each_problem` makes one from a function of one problem's costs.
    sense : str
        "minimize" or "maximize".
    """

    def __init__(self, oracle: Callable[[OracleBatch], ArrayLike], sense: str = "minimize"):
        self.oracle, self._sense = oracle, sense

    def _make(self) -> int:
        return create(library.task_create_spo_plus, *self._oracle_arguments)


class Perturbed(_OracleTask):
    """Perturbed optimiser (Berthet et al. 2020) around a decision oracle.

    Parameters
    ----------
    oracle, sense
        As in `SPOPlus`.
    sigma : float
        In the unit of the predictions.
    samples : int
        Draws for each instance.
    loss : str
        "fenchel_young" or "objective".
    seed : int
    """

    def __init__(
        self,
        oracle: Callable[[OracleBatch], ArrayLike],
        sense: str = "minimize",
        *,
        sigma: float,
        samples: int = 10,
        loss: str = "fenchel_young",
        seed: int = 0,
    ):
        self.oracle, self._sense = oracle, sense
        self.sigma, self.samples, self._loss, self.seed = sigma, samples, loss, seed

    def _make(self) -> int:
        loss = constant(_native.PERTURBED, self._loss, "loss")
        sizes = (self.samples, self.sigma, self.seed)
        return create(library.task_create_perturbed, *self._oracle_arguments, loss, *sizes)


class Blackbox(_OracleTask):
    """Differentiation of blackbox solvers (Vlastelica Pogancic et al. 2020).

    Parameters
    ----------
    oracle, sense
        As in `SPOPlus`.
    interpolation : float
        Their lambda, in the unit of predictions over targets.
    """

    def __init__(self, oracle: Callable[[OracleBatch], ArrayLike], sense: str = "minimize", *, interpolation: float):
        self.oracle, self._sense, self.interpolation = oracle, sense, interpolation

    def _make(self) -> int:
        return create(library.task_create_blackbox, *self._oracle_arguments, self.interpolation)


# ----------------------------------------------------------------------------------------------------------------------
# Built-in tasks


class TopK(Task):
    """Choose the k entries of an instance with the highest predictions; the objective, maximised, is the sum of their
    targets.

    Parameters
    ----------
    k : int
        At most the number of entries of any instance.
    temperature : float
        In the unit of the predictions: how softly training chooses, so that there is a gradient.
    legacy : bool
        The published recipe, whose gradient is not the exact one; ``temperature`` then stands for its epsilon.
    """

    def __init__(self, k: int, temperature: float, legacy: bool = False):
        self.k, self.temperature, self.legacy = k, temperature, legacy

    def _make(self) -> int:
        return create(library.task_create_topk, self.k, self.temperature, int(self.legacy))


class BudgetAllocation(Task):
    """Choose rows (websites) of an instance to reach as many users as possible; the objective, maximised, is the
    expected number of users reached.

    Targets are click-through rates in [0, 1], one for each user; predictions are clipped to that.

    Parameters
    ----------
    budget : int
        How many rows; at most the number of rows of any instance.
    gamma : float
        In the unit of the objective: the weight of the entropy that softens the choice in training; 0 means 0.01.
    legacy : bool
        The published recipe, whose gradient is not the exact one; ``gamma`` must be 0.
    """

    def __init__(self, budget: int, gamma: float = 0.0, legacy: bool = False):
        self.budget, self.gamma, self.legacy = budget, gamma, legacy

    def _make(self) -> int:
        return create(library.task_create_budget_allocation, self.budget, self.gamma, int(self.legacy))


class Portfolio(Task):
    """Markowitz: maximise y'z - risk_aversion z'Qz over sum z = 1, lower <= z <= upper.

    Q is the instance's context: symmetric, positive definite, as long on each side as the instance has entries.

    Parameters
    ----------
    risk_aversion : float
        Above 0.
    lower, upper : float
        Of each share; M lower <= 1 <= M upper for instances of M entries.
    legacy : bool
        The published recipe, which scores by another quadratic term than it decides by.
    """

    def __init__(self, risk_aversion: float, lower: float = 0.0, upper: float = 1.0, legacy: bool = False):
        self.risk_aversion, self.lower, self.upper, self.legacy = risk_aversion, lower, upper, legacy

    def _make(self) -> int:
        limits = (self.lower, self.upper, int(self.legacy))
        return create(library.task_create_portfolio, self.risk_aversion, *limits)


class QuadraticProgram(Task):
    """A quadratic program: F = 1/2 z'Qz + c(y)'z, c(y) = c0 + P y, over A z = b, G z <= h.

    Parameters
    ----------
    variables : int
        d, the length of z.
    quadratic : array of shape (d, d), optional
        Q; None: each instance's context is its own.
    linear : array of shape (d,), optional
        c0; None: zero.
    prediction : array of shape (d, entries), optional
        P; None: the identity.
    equality_matrix, equality_values, inequality_matrix, inequality_values : arrays, optional
        A, b, G, h.
    sense : str
        "minimize": the program itself. "maximize": c(y)'z - 1/2 z'Qz is maximised.
    """

    def __init__(
        self,
        variables: int,
        *,
        quadratic: ArrayLike | None = None,
        linear: ArrayLike | None = None,
        prediction: ArrayLike | None = None,
        equality_matrix: ArrayLike | None = None,
        equality_values: ArrayLike | None = None,
        inequality_matrix: ArrayLike | None = None,
        inequality_values: ArrayLike | None = None,
        sense: str = "minimize",
    ):
        d = self.variables = variables
        self.quadratic = _shaped(quadratic, (d, d), "quadratic")
        self.linear = _shaped(linear, (d,), "linear")
        self.prediction = _shaped(prediction, (d, None), "prediction")
        self.equality_matrix = _shaped(equality_matrix, (None, d), "equality_matrix")
        self.equality_values = _matching(equality_values, self.equality_matrix, "equality")
        self.inequality_matrix = _shaped(inequality_matrix, (None, d), "inequality_matrix")
        self.inequality_values = _matching(inequality_values, self.inequality_matrix, "inequality")
        self._sense = sense

    def _make(self) -> int:
        program = _native.new_struct(_native.QuadraticProgram)
        program.variables = self.variables
        program.equalities = 0 if self.equality_matrix is None else len(self.equality_matrix)
        program.inequalities = 0 if self.inequality_matrix is None else len(self.inequality_matrix)
        program.entries = self.variables if self.prediction is None else self.prediction.shape[1]
        for field in _native.QuadraticProgram._fields_:
            if field[1] is POINTER(c_double) and getattr(self, field[0]) is not None:
                setattr(program, field[0], cast(getattr(self, field[0]).ctypes.data, POINTER(c_double)))
        sense = constant(_native.SENSE, self._sense, "sense")
        return create(library.task_create_quadratic_program, ctypes.byref(program), sense)


class LinearProgram(Task):
    """A linear program: F = y'z over matrix z <= values, with a variable for each entry of an instance.

    Parameters
    ----------
    matrix : array of shape (constraints, variables)
    values : array of shape (constraints,)
    smoothing : float
        Above 0. Training adds smoothing/2 |z|^2 to what is minimised, so that there is a gradient; the loss is F alone.
    sense : str
        "minimize" or "maximize".
    """

    def __init__(self, matrix: ArrayLike, values: ArrayLike, *, smoothing: float, sense: str = "minimize"):
        rows = self.matrix = _shaped(matrix, (None, None), "matrix")
        assert rows is not None
        self.values = _shaped(values, (len(rows),), "values")
        self.smoothing, self._sense = smoothing, sense

    def _make(self) -> int:
        assert self.matrix is not None
        sense = constant(_native.SENSE, self._sense, "sense")
        sizes = self.matrix.shape
        arrays = (reals(self.matrix), reals(self.values))
        return create(library.task_create_linear_program, *sizes, *arrays, sense, self.smoothing)


def _shaped(values: ArrayLike | None, shape: tuple[int | None, ...], name: str) -> Reals | None:
    """A contiguous copy of the shape; None in a shape is any length."""
    if values is None:
        return None
    array = np.array(as_reals(values, name), order="C")
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = " x ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must be {wanted}, got shape {array.shape}")
    return array


def _matching(values: ArrayLike | None, matrix: Reals | None, name: str) -> Reals | None:
    if (values is None) != (matrix is None):
        raise ValueError(f"{name}_matrix and {name}_values must be given together")
    return None if matrix is None else _shaped(values, (len(matrix),), f"{name}_values")


# ----------------------------------------------------------------------------------------------------------------------
# Learned decision losses


class LODL(Task):
    """A locally optimised decision loss (Shah et al. 2022), fitted to a task on each instance of a dataset.

    Parameters
    ----------
    task : Task or function
    dataset : Dataset
        It can be trained on with this dataset alone.
    loss : str
        "weighted_mse", "directed_weighted_mse", "quadratic" or "directed_quadratic".
    sampling : str
        "all", "one" or "two": the coordinates that get noise.
    **options
        ``samples``, ``deviation``, ``rank``, ``learning_rate``, ``iterations``, ``patience``, ``held_out_share``,
        ``threads``, ``seed``, as in the C API.
    """

    def __init__(
        self,
        task: Task | Callable[..., Any],
        dataset: Dataset,
        loss: str = "weighted_mse",
        sampling: str = "all",
        **options: Any,
    ):
        self.task, self.dataset = as_task(task), dataset
        self._loss, self.sampling, self.options = loss, sampling, options

    def _make(self) -> int:
        options = _native.new_struct(_native.LODLOptions)
        library.lodl_options_init(ctypes.byref(options))
        options.loss = constant(_native.LODL_LOSS, self._loss, "loss")
        options.sampling = constant(_native.LODL_SAMPLING, self.sampling, "sampling")
        names = {name for name, *_ in options._fields_} - {"struct_size", "loss", "sampling"}
        for name, value in self.options.items():
            if name not in names:
                raise TypeError(f"unknown option {name!r}; there are {', '.join(sorted(names))}")
            setattr(options, name, value)
        handle = ctypes.c_void_p()
        arguments = (self.task.handle, self.dataset.handle, ctypes.byref(options), ctypes.byref(handle))
        call(library.task_create_lodl, *arguments)
        assert handle.value is not None
        return handle.value

    @property
    def fit_quality(self) -> float:
        """The mean over instances of 1 - residual / variance on the held-out samples."""
        value = c_double()
        library.task_lodl_fit_quality(self.handle, ctypes.byref(value))
        return value.value


def as_task(task: Any) -> Task:
    """A task, or a function of a batch as one; None is the mean squared error."""
    if isinstance(task, Task):
        return task
    return CallbackTask(squared_error if task is None else task)
