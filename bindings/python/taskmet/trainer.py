"""Training: learns the metric from the task (Algorithm 1 of the paper)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_int64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskmet import _callbacks, _native
from taskmet._callbacks import call
from taskmet._files import encode_path
from taskmet._handles import NativeObject, create
from taskmet._native import constant, constant_name, library, new_struct
from taskmet._options import TrainerOptions, Value, options_table
from taskmet._progress import Progress
from taskmet.data import Dataset
from taskmet.metric import Metric
from taskmet.models import Predictor, predictor_like
from taskmet.reports import FitReport, Record, report_of
from taskmet.tasks import Task, as_task

Log = Callable[[str, str], None]


class _Listener:
    """What listens to a fit: functions for records and messages."""

    def __init__(self, progress: list[Callable[[Record], Any]], log: Log | None):
        self.progress, self.log = progress, log
        self.key = _callbacks.register(self)


@_callbacks.entry(_native.PROGRESS_FN)
def _progress(listener: _Listener, struct: Any) -> None:
    record = report_of(Record, struct.contents)
    for function in listener.progress:
        function(record)


@_callbacks.entry(_native.LOG_FN)
def _log(listener: _Listener, level: int, message: bytes) -> None:
    assert listener.log is not None
    listener.log(constant_name(_native.LOG, level), message.decode())


@_callbacks.entry(_native.INTERRUPT_FN)
def _interrupt(listener: _Listener) -> None:
    """Being called at all is what lets Ctrl-C in."""


class Trainer(NativeObject):
    """Trains copies of a predictor and a metric on a dataset, for a task.

    Parameters
    ----------
    predictor : Predictor
    metric : Metric
    dataset : Dataset
    task : Task or function, or an iterable of (task, weight) pairs
        A function is a `CallbackTask`.
    validation : Dataset, optional
        Data for choosing the best model, and for stopping.
    log : function, optional
        ``log(level, message)`` gets the library's messages; level is "info" or "warning".
    **options
        The library's options by name; see the table below, or `taskmet.options`.

    Attributes
    ----------
    options : mapping
        The options' present values; assign to change one.
    report_ : FitReport
        How the last fit ended.

    Examples
    --------
    >>> import numpy as np
    >>> from taskmet import Dataset, Linear, Metric, Trainer
    >>> x = np.linspace(-1, 1, 101)
    >>> def cost(batch):  # an error costs its square where x > 0.5, and nothing elsewhere
    ...     error = np.where(batch.inputs > 0.5, batch.predictions - batch.targets, 0)
    ...     return np.mean(error**2), 2 * error / len(error)
    >>> metric = Metric.conditional(1, 1, "scalar", hidden=[8], seed=1)
    >>> with Trainer(Linear(1), metric, Dataset(x, x**2), cost, outer_iterations=50) as trainer:
    ...     report = trainer.fit().report_
    >>> report.best_task_loss < 0.2 * report.first_task_loss
    True
    """

    _kind = "trainer"
    report_: FitReport | None = None

    def __init__(
        self,
        predictor: Predictor,
        metric: Metric,
        dataset: Dataset,
        task: Any,
        validation: Dataset | None = None,
        *,
        log: Log | None = None,
        **options: Value,
    ):
        self._handle = create(library.trainer_create, predictor.handle, metric.handle, dataset.handle)
        # What the library calls or reads while the trainer lives.
        self._predictor, self._metric, self._data = predictor, metric, [dataset]
        self._tasks: list[Task] = []
        self.log = log
        for pair in task if isinstance(task, Iterable) else [(task, 1.0)]:
            if not (isinstance(pair, Sequence) and len(pair) == 2):
                raise TypeError(f"task must be a task, or (task, weight) pairs; got {pair!r} among them")
            self.add_task(*pair)
        if validation is not None:
            library.trainer_set_validation(self.handle, validation.handle)
            self._data.append(validation)
        # A preset sets a group of options: what else was asked for goes on top.
        for name in sorted(options, key=lambda name: name != "preset"):
            self.options[name] = options[name]

    @property
    def options(self) -> TrainerOptions:
        """The options' present values; assign to an entry to change it."""
        return TrainerOptions(self.handle)

    def add_task(self, task: Task | Callable[..., Any], weight: float = 1.0) -> None:
        """Adds a task, before the first step."""
        task = as_task(task)
        library.trainer_add_task(self.handle, task.handle, weight)
        self._tasks.append(task)

    def fit(
        self, progress: bool | Callable[[Record], Any] | None = False, callback: Callable[[Record], Any] | None = None
    ) -> Trainer:
        """Iterations until a reason to stop; again, to go on. The reason is in ``report_``.

        Parameters
        ----------
        progress : bool or function
            True draws a bar; a function is called with each `Record`.
        callback : function, optional
            Called with each `Record`; may raise `Stop`.

        Returns
        -------
        Trainer
            Itself; how the fit ended is in ``report_``.

        Raises
        ------
        TaskMetError
            What stopped the fit. What a Python function raised comes out as it is. In either case the trainer is as it
            was before the iteration, and its best model can be had.
        """
        report = new_struct(_native.FitReport)
        bar = Progress(int(self.options["outer_iterations"])) if progress is True else None
        functions = [function for function in (bar, progress, callback) if callable(function)]
        try:
            self._run(library.trainer_fit, functions, report)
        finally:
            if bar is not None:
                bar.close()
        self.report_ = report_of(FitReport, report)
        return self

    def step(self) -> Record:
        """One outer iteration; the first call does the warm-up before it."""
        record = new_struct(_native.Record)
        self._run(library.trainer_step, [], record)
        return report_of(Record, record)

    def _run(self, function: Any, progress: list[Callable[[Record], Any]], out: Any) -> None:
        """Trains with the listeners in place, and takes them away."""
        listener, handle = _Listener(progress, self.log), self.handle
        library.trainer_set_progress(handle, _progress, listener.key)
        library.trainer_set_log(handle, _log if self.log else _native.LOG_FN(), listener.key)
        library.trainer_set_interrupt(handle, _interrupt, listener.key)
        try:
            call(function, handle, ctypes.byref(out))
        finally:
            if self._handle == handle:
                library.trainer_set_progress(handle, _native.PROGRESS_FN(), None)
                library.trainer_set_log(handle, _native.LOG_FN(), None)
                library.trainer_set_interrupt(handle, _native.INTERRUPT_FN(), None)

    def stop(self) -> None:
        """Asks a fit, in another thread or yet to begin, to end at the next whole iteration; until `clear_stop`."""
        library.trainer_stop(self.handle)

    def clear_stop(self) -> None:
        """Takes `stop` back."""
        library.trainer_clear_stop(self.handle)

    def predictor(self, model: str = "best") -> Predictor:
        """A copy of the "best" or the "last" predictor."""
        which = constant(_native.MODEL, model, "model")
        return predictor_like(self._predictor, create(library.trainer_copy_predictor, self.handle, which))

    def metric(self, model: str = "best") -> Metric:
        """A copy of the "best" or the "last" metric."""
        which = constant(_native.MODEL, model, "model")
        return Metric._adopt(create(library.trainer_copy_metric, self.handle, which))

    @property
    def predictor_(self) -> Predictor:
        """The best predictor: what to use."""
        return self.predictor()

    @property
    def metric_(self) -> Metric:
        """The best model's metric."""
        return self.metric()

    @property
    def records(self) -> list[Record]:
        """The history, record by record; record 0 is the two-stage model."""
        count = c_int64()
        library.trainer_history_count(self.handle, ctypes.byref(count))
        record, records = new_struct(_native.Record), []
        for index in range(count.value):
            library.trainer_history_get(self.handle, index, ctypes.byref(record))
            records.append(report_of(Record, record))
        return records

    @property
    def history_(self) -> dict[str, NDArray[Any]]:
        """The history as one array for each field of `Record`."""
        records = self.records
        return {name: np.array([getattr(record, name) for record in records]) for name in Record._fields}

    def history_frame(self) -> Any:
        """The history as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.history_)

    def explain(self) -> str:
        """What the metric emphasises, whether the hypergradients could be trusted, set-ups that cannot learn."""
        size = c_int64()
        call(library.trainer_explain, self.handle, None, 0, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        call(library.trainer_explain, self.handle, text, size.value, ctypes.byref(size))
        return text.value.decode()

    def save(self, path: str | os.PathLike[str]) -> None:
        """The whole state as one file, without tasks."""
        call(library.trainer_save, self.handle, encode_path(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Restores a state into a trainer made alike, which then goes on as the saved one would have."""
        call(library.trainer_load, self.handle, encode_path(path))

    def _describe(self) -> str:
        count = c_int64()
        library.trainer_history_count(self.handle, ctypes.byref(count))
        return f"iterations={max(count.value - 1, 0)} tasks={len(self._tasks)}"


if Trainer.__doc__ is not None:
    Trainer.__doc__ += "\n    Options\n    -------\n" + "".join(
        f"    {line}\n" for line in options_table().splitlines()
    )
