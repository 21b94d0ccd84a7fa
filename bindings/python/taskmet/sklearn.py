"""Training for a task in scikit-learn's manners: an estimator that goes into pipelines and searches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data

from taskmet._arrays import as_reals
from taskmet.data import Dataset, offsets_of
from taskmet.metric import Metric
from taskmet.models import MLP, Linear, Predictor
from taskmet.tasks import Task
from taskmet.trainer import Trainer

# Means and scales of columns.
_Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
Context = ArrayLike | Sequence[ArrayLike] | Mapping[Any, ArrayLike]


class _Rows(NamedTuple):
    """The data as they were given."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    weights: NDArray[np.float64] | None


class _Instances(NamedTuple):
    """How the rows are grouped."""

    rows: list[NDArray[np.intp]]
    context: list[ArrayLike] | None


class TaskMetRegressor(RegressorMixin, BaseEstimator):
    """A regressor that is trained for what its predictions are used for.

    Parameters
    ----------
    task : Task or function, optional
        What predictions are for: a `Task`, or a function of a `TaskBatch` that returns (loss, gradient). None:
        nothing but the squared error ("two-stage").
    hidden : int or sequence of int
        The predictor's hidden layers; none: a linear predictor.
    activation : str
        Of the predictor's hidden layers.
    structure : str
        Of the metric: "scalar", "diagonal", "lowrank" or "full".
    rank : int, optional
        Of a "lowrank" metric.
    metric_hidden : int or sequence of int, or None
        The hidden layers of the metric's network, which sees standardised features. None: a metric that is the same
        for all rows.
    standardize : bool
        Whether an MLP sees standardised features, and predicts standardised targets. (A linear predictor needs
        neither.)
    validation_fraction : float
        The share of instances that choose the best model, at random; 0: training data choose it.
    rho : float
        Regularisation (rho/2)|theta|^2 of the predictor; biases are left out.
    outer_iterations, metric_rate, patience, max_prediction_loss_ratio : optional
        The library's options of these names; None: the library's defaults.
    options : mapping, optional
        Any other of the library's options, by name; see `taskmet.options`.
    random_state : int, RandomState or None
        Of the networks' initial weights, the batches and the validation instances.
    progress : bool
        Whether `fit` draws a bar.
    dtype : "float64" or "float32"
        Of the rows, the models and the arithmetic of training. Predictions are float64 in any case.

    Attributes
    ----------
    predictor_ : Predictor
    metric_ : Metric
    history_ : dict of arrays
        A value for each iteration of each field of `Record`.
    report_ : FitReport
    n_iter_ : int
        Updates of the metric.
    n_features_in_ : int
    feature_names_in_ : array of str
        Where X had names.

    Examples
    --------
    >>> import numpy as np
    >>> from taskmet import TaskMetRegressor
    >>> x = np.linspace(-1, 1, 101)[:, np.newaxis]
    >>> def cost(batch):  # an error costs its square where x > 0.5, and nothing elsewhere
    ...     error = np.where(batch.inputs > 0.5, batch.predictions - batch.targets, 0)
    ...     return np.mean(error**2), 2 * error / len(error)
    >>> two_stage = TaskMetRegressor().fit(x, x[:, 0] ** 2)
    >>> model = TaskMetRegressor(cost, random_state=1).fit(x, x[:, 0] ** 2)
    >>> errors = [abs(m.predict([[0.75]])[0] - 0.75**2) for m in (two_stage, model)]
    >>> bool(errors[1] < 0.2 * errors[0])
    True
    """

    def __init__(
        self,
        task: Task | Callable[..., Any] | None = None,
        *,
        hidden: int | Sequence[int] = (),
        activation: str = "relu",
        structure: str = "diagonal",
        rank: int | None = None,
        metric_hidden: int | Sequence[int] | None = (16,),
        standardize: bool = True,
        validation_fraction: float = 0.0,
        rho: float = 0.0,
        outer_iterations: int | None = None,
        metric_rate: float | None = None,
        patience: int | None = None,
        max_prediction_loss_ratio: float | None = None,
        options: Mapping[str, Any] | None = None,
        random_state: Any = None,
        progress: bool = False,
        dtype: str = "float64",
    ):
        self.task = task
        self.hidden = hidden
        self.activation = activation
        self.structure = structure
        self.rank = rank
        self.metric_hidden = metric_hidden
        self.standardize = standardize
        self.validation_fraction = validation_fraction
        self.rho = rho
        self.outer_iterations = outer_iterations
        self.metric_rate = metric_rate
        self.patience = patience
        self.max_prediction_loss_ratio = max_prediction_loss_ratio
        self.options = options
        self.random_state = random_state
        self.progress = progress
        self.dtype = dtype

    def fit(
        self,
        X: ArrayLike,  # noqa: N803, scikit-learn's name
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        context: Context | None = None,
    ) -> TaskMetRegressor:
        """Trains.

        Parameters
        ----------
        X : array of shape (rows, features)
        y : array of shape (rows,) or (rows, targets)
        groups : array of shape (rows,), optional
            The instance, one decision problem, that each row belongs to. None: each row is one.
        sample_weight : array of shape (rows,), optional
            Weights of the prediction loss; the task does not see them.
        context : array of shape (rows, ...), sequence of arrays, or mapping, optional
            What the task needs to know of each instance besides its rows. By rows, each row's part: the context of an
            instance is its rows' parts, one after the other. (`Portfolio` takes a matrix Q: a row's part is its row of
            Q.) This form goes through splitters, by metadata routing, as long as groups stay whole. Or a mapping from
            each label in `groups` to that instance's context, of any length; it may have labels that are not there.

        Raises
        ------
        ValueError
            Arguments whose lengths differ, a mapping without `groups` or without one of its labels.
        taskmet.TaskMetError
            What the library says: an option out of its range, a context that the task cannot use.
        """
        x, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, x, dtype=np.float64)
        self._one_column = np.ndim(targets) == 1
        rows = _Rows(x, np.asarray(targets, dtype=np.float64).reshape(len(x), -1), weights)
        instances = _instances(rows, groups, context)
        seed = self._seed()
        training, validation = self._split(rows, instances, seed)
        with training, validation or training:
            self._train(training, validation, _moments(rows.x, weights), _moments(rows.y, weights), seed)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Predictions for rows of features.

        Parameters
        ----------
        X : array of shape (rows, features)

        Returns
        -------
        array
            Of shape (rows,) where y was a vector, else (rows, targets).
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        predictions = self.predictor_.predict(x)
        return predictions[:, 0] if self._one_column else predictions

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        # Without a random state too the initial weights are the same each time, as for scikit-learn's linear models.
        return 0 if self.random_state is None else int(check_random_state(self.random_state).randint(2**31))

    def _split(self, rows: _Rows, instances: _Instances, seed: int) -> tuple[Dataset, Dataset | None]:
        """Training data, and validation data if a share of the instances is asked for."""
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be in [0, 1), got {self.validation_fraction}")
        count = len(instances.rows)
        held_out = round(self.validation_fraction * count)
        if held_out == 0:
            return self._dataset(rows, instances, range(count)), None
        if held_out == count:
            raise ValueError(f"validation_fraction {self.validation_fraction} leaves none of {held_out} instances")
        chosen = np.sort(np.random.default_rng(seed).permutation(count)[:held_out])
        rest = np.setdiff1d(np.arange(count), chosen)
        return self._dataset(rows, instances, rest), self._dataset(rows, instances, chosen)

    def _dataset(self, rows: _Rows, instances: _Instances, chosen: Iterable[int]) -> Dataset:
        """The chosen instances' rows."""
        chosen = list(chosen)
        members = [instances.rows[k] for k in chosen]
        order = np.concatenate(members)
        return Dataset(
            rows.x[order],
            rows.y[order],
            instances=np.concatenate([[0], np.cumsum([len(part) for part in members])]),
            weights=None if rows.weights is None else rows.weights[order],
            context=None if instances.context is None else [instances.context[k] for k in chosen],
            dtype=self.dtype,
        )

    def _train(
        self, training: Dataset, validation: Dataset | None, inputs: _Moments, targets: _Moments, seed: int
    ) -> None:
        predictor = self._make_predictor(inputs, targets, seed)
        metric = self._make_metric(inputs, len(targets[0]), seed)
        with Trainer(predictor, metric, training, self.task, validation, **self._trainer_options(seed)) as trainer:
            report = trainer.fit(progress=self.progress).report_
            self.predictor_, self.metric_ = trainer.predictor_, trainer.metric_
            self.history_, self.report_ = trainer.history_, report
        self.n_iter_ = 0 if report is None else report.iterations

    def _make_predictor(self, inputs: _Moments, targets: _Moments, seed: int) -> Predictor:
        sizes = len(inputs[0]), len(targets[0])
        predictor: Predictor
        if np.size(self.hidden) == 0:
            predictor = Linear(*sizes, dtype=self.dtype)
        else:
            predictor = MLP(*sizes, self.hidden, self.activation, seed=seed, dtype=self.dtype)
            if self.standardize:
                predictor.set_standardization(*inputs, *targets)
        predictor.set_penalize_bias(False)
        return predictor

    def _make_metric(self, inputs: _Moments, outputs: int, seed: int) -> Metric:
        if self.metric_hidden is None:
            return Metric.constant(outputs, self.structure, self.rank, seed, self.dtype)
        metric = Metric.conditional(
            len(inputs[0]), outputs, self.structure, self.rank, self.metric_hidden, seed=seed, dtype=self.dtype
        )
        metric.set_standardization(*inputs)
        return metric

    def _trainer_options(self, seed: int) -> dict[str, Any]:
        names = ("outer_iterations", "metric_rate", "patience", "max_prediction_loss_ratio")
        named = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        method = {} if self.task is not None else {"method": "two_stage", "outer_iterations": 0}
        return {"rho": self.rho, "penalize_bias": 0, "seed": seed, **named, **method, **(self.options or {})}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _moments(values: NDArray, weights: NDArray | None) -> _Moments:
    """Means and standard deviations of the columns; a column that does not vary has scale 1."""
    if weights is not None and not np.any(weights > 0):
        weights = None
    mean = np.average(values, axis=0, weights=weights)
    scale = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    return mean, np.where(scale > 1e-12 * (np.abs(mean) + 1e-300), scale, 1.0)


def _instances(rows: _Rows, groups: ArrayLike | None, context: Context | None) -> _Instances:
    count = len(rows.x)
    order, offsets, labels = np.arange(count), np.arange(count + 1), None
    if groups is not None:
        check_consistent_length(rows.x, groups)
        order, offsets = offsets_of(groups)
        labels = np.asarray(groups)[order[offsets[:-1]]].tolist()
    members = [order[first:last] for first, last in itertools.pairwise(offsets)]
    if isinstance(context, Mapping):
        return _Instances(members, _context_by_label(context, labels))
    return _Instances(members, None if context is None else _context_by_rows(context, rows, members))


def _context_by_label(context: Mapping[Any, ArrayLike], labels: list[Any] | None) -> list[ArrayLike]:
    if labels is None:
        raise ValueError("a context that is a mapping needs groups, whose labels are its keys")
    missing = [label for label in labels if label not in context]
    if missing:
        raise ValueError(f"context has nothing for the group {missing[0]!r}")
    return [context[label] for label in labels]


def _context_by_rows(context: Any, rows: _Rows, members: list[NDArray]) -> list[ArrayLike]:
    check_consistent_length(rows.x, context)
    # Rows may differ in length, which an array cannot; a DataFrame must become one, or its columns would come.
    parts = [np.ravel(as_reals(p, "context")) for p in (context if isinstance(context, list) else np.asarray(context))]
    return [np.concatenate([parts[row] for row in instance]) for instance in members]
