"""Pictures of what was learned, by matplotlib. Each function draws into an Axes, a new one if none is given, and
returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from taskmet._arrays import as_matrix
from taskmet.metric import Metric
from taskmet.models import Predictor
from taskmet.trainer import Trainer


def metric_over_feature(
    metric: Metric, x: ArrayLike, feature: int = 0, outputs: Sequence[int] | None = None, ax: Axes | None = None
) -> Axes:
    """How much an error counts along one feature: Lambda's diagonal over rows of features (the paper's figure 4).

    Parameters
    ----------
    metric : Metric
    x : array of shape (rows, features)
        Drawn as a line where the other features do not vary, else as points.
    feature : int
    outputs : sequence of int, optional
        None: all.
    ax : Axes, optional
    """
    ax, x = new_axes(ax), as_matrix(x, "x")
    order = np.argsort(x[:, feature], kind="stable")
    diagonal = np.diagonal(metric.evaluate(x), axis1=1, axis2=2)[order]
    others = np.delete(x, feature, axis=1)
    style = "-" if np.all(others == others[:1]) else "."
    chosen = range(metric.outputs) if outputs is None else outputs
    for output in chosen:
        ax.plot(x[order, feature], diagonal[:, output], style, label=f"output {output}")
    ax.set(xlabel=f"feature {feature}", ylabel="weight of an error", ylim=(0, None))
    if len(chosen) > 1:
        ax.legend()
    return ax


def metric_diagonal(
    metric: Metric, x: ArrayLike | None = None, names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """The weight of each output's errors: Lambda's diagonal, its mean over rows x (the paper's figure 7)."""
    ax = new_axes(ax)
    diagonals = np.atleast_2d(np.diagonal(metric.evaluate(x), axis1=-2, axis2=-1))
    spread = diagonals.std(axis=0) if len(diagonals) > 1 else None
    places = np.arange(metric.outputs)
    ax.bar(places, diagonals.mean(axis=0), yerr=spread)
    ax.set(xlabel="output", ylabel="weight of an error")
    ax.set_xticks(places, [str(place) for place in places] if names is None else names)
    return ax


def training_curves(history: Trainer | Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Task loss by iteration, on training and on validation data; the best model is marked."""
    ax = new_axes(ax)
    history = history.history_ if isinstance(history, Trainer) else history
    iterations = np.asarray(history["iteration"])
    for name, label in (("task_loss", "training"), ("validation_task_loss", "validation")):
        values = np.asarray(history[name])
        measured = np.isfinite(values)
        if measured.any():
            ax.plot(iterations[measured], values[measured], label=label)
    best = np.flatnonzero(history["is_best"])
    if best.size:
        ax.axvline(iterations[best[-1]], color="gray", linestyle=":", label="best")
    ax.set(xlabel="iteration", ylabel="task loss")
    ax.legend()
    return ax


def predictions(
    predictor: Predictor, metric: Metric, x: ArrayLike, y: ArrayLike, output: int = 0, ax: Axes | None = None
) -> Axes:
    """Predictions against truth, coloured by how much the metric counts the error."""
    ax, x, y = new_axes(ax), as_matrix(x, "x"), as_matrix(y, "y")
    weights = np.diagonal(np.broadcast_to(metric.evaluate(x), (len(x), metric.outputs, metric.outputs)), 0, 1, 2)
    predicted, truth = predictor.predict(x)[:, output], y[:, output]
    points = ax.scatter(truth, predicted, c=weights[:, output], s=12)
    ends = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    ax.plot(ends, ends, color="gray", linewidth=1)
    ax.set(xlabel="truth", ylabel="prediction")
    ax.figure.colorbar(points, ax=ax, label="weight of the error")
    return ax


def new_axes(ax: Axes | None) -> Axes:
    return plt.subplots(layout="constrained")[1] if ax is None else ax
