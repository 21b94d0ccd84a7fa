"""The paper's figures from results files, by matplotlib. Those of one panel draw into an Axes, a new one if none is
given, and return it; those of several make a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from taskmet.experiments.agents import Curve, learning_curves
from taskmet.experiments.records import Records
from taskmet.experiments.tables import PaperRow, SummaryRow
from taskmet.plot import new_axes

#: The coordinates of CartPole's state that are not distractors.
STATE_NAMES = ("cart position", "cart velocity", "pole angle", "pole velocity")
#: Of methods and agents, the same in all figures.
COLORS = {
    **{"mse": "C0", "dfl": "C1", "dfl-10": "C2", "taskmet": "C3", "lodl": "C4", "lodl-10": "C5", "spo-plus": "C6"},
    **{"weighted-mse": "C8", "predict-zero": "C7", "hourly-shift": "C9", "mle": "C0", "omd": "C1", "vep": "C4"},
}
_MARKERS = "os^Dv*"  # of the settings that one method was run with


def quality_against_error(
    rows: Sequence[SummaryRow],
    problem: str,
    paper: Mapping[tuple[str, str], PaperRow] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Decision quality against prediction error on test data, a point for each method: tables 2 and 3 as a picture.

    Parameters
    ----------
    rows : sequence of SummaryRow
        From `summarize`.
    problem : str
    paper : mapping, optional
        From `load_paper`: the paper's means, as hollow points of the same colours. (Where its data could not be had,
        the runs' are others.)
    ax : Axes, optional

    Returns
    -------
    Axes
        Bars are standard errors of the means; errors are on a logarithmic axis.
    """
    ax = new_axes(ax)
    own = [row for row in rows if row.problem == problem]
    if not own:
        raise ValueError(f"there is no row of problem {problem!r}")
    seen: list[str] = []
    for row in own:
        ax.errorbar(
            row.test_mse.mean,
            row.decision_quality.mean,
            xerr=_bar(row.test_mse.error),
            yerr=_bar(row.decision_quality.error),
            fmt=_MARKERS[seen.count(row.method) % len(_MARKERS)],
            color=_color(row.method),
            label=row.label,
        )
        seen.append(row.method)
    theirs = {method: paper[problem, method] for method in seen if paper and (problem, method) in paper}
    for method, numbers in theirs.items():
        ax.plot(numbers.test_mse, numbers.decision_quality, "o", color=_color(method), markerfacecolor="none")
    if theirs:
        ax.plot([], [], "o", color="black", markerfacecolor="none", label="the paper")
    ax.set(title=problem, xlabel="mean squared error", ylabel="decision quality", xscale="log")
    ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def tables_2_and_3(rows: Sequence[SummaryRow], paper: Mapping[tuple[str, str], PaperRow] | None = None) -> Figure:
    """`quality_against_error` of each problem that has rows, side by side."""
    problems = list(dict.fromkeys(row.problem for row in rows))
    figure, panels = _panels(len(problems), width=6.0)
    for problem, ax in zip(problems, panels, strict=True):
        quality_against_error(rows, problem, paper, ax)
    return figure


def figure4(columns: Mapping[str, NDArray[np.float64]]) -> Figure:
    """The cubic's predictions by method, and the metric that TaskMet learned, over x.

    Parameters
    ----------
    columns : mapping
        From `load_figure4`.
    """
    figure, (left, right) = _panels(2)
    for name, values in columns.items():
        if name == "true":
            left.plot(columns["x"], values, color="black", label="true")
        elif name not in ("x", "metric"):
            left.plot(columns["x"], values, color=_color(name), label=name)
    left.set(title="Predictions", xlabel="x", ylabel="worth")
    left.legend(fontsize="small")
    right.plot(columns["x"], columns["metric"], color=_color("taskmet"))
    right.set(title="Learned metric", xlabel="x", ylabel="Λ(x)", ylim=(0, None))
    return figure


def returns(curves: Sequence[Curve], ax: Axes | None = None) -> Axes:
    """Learning curves: the mean over seeds, in a band of one standard error to each side.

    Parameters
    ----------
    curves : sequence of Curve
        From `learning_curves`, of a quantity with one value for each evaluation.
    ax : Axes, optional
    """
    ax = new_axes(ax)
    agents = [curve.agent for curve in curves]
    for curve in curves:
        # Variants of one agent in one picture get colours of their own.
        color = _color(curve.agent) if agents.count(curve.agent) == 1 else None
        _band(ax, curve.steps, curve.mean, curve.error, curve.label, color)
    ax.set(xlabel="steps", ylabel="return")
    ax.legend(fontsize="small")
    return ax


def figure6(records: Records) -> Figure:
    """CartPole beside distractors: returns by agent, a panel for each number of distractors."""
    curves = learning_curves(records)
    numbers = sorted({curve.distractors for curve in curves})
    figure, panels = _panels(len(numbers))
    for number, ax in zip(numbers, panels, strict=True):
        returns([curve for curve in curves if curve.distractors == number], ax)
        ax.set(title=f"{number} distractors")
    return figure


def figure7(records: Records, distractors: int | None = None, ax: Axes | None = None) -> Axes:
    """The metric's diagonal over time: cart and pole's coordinates in colour, distractors in gray; means over seeds.

    Parameters
    ----------
    records : Records
        Of agents' runs, among them runs of TaskMet's agent with a diagonal metric.
    distractors : int, optional
        None: the largest number that there are such runs with.
    ax : Axes, optional
    """
    curves = learning_curves(records, "metric_diagonal")
    numbers = {curve.distractors for curve in curves}
    chosen = max(numbers, default=0) if distractors is None else distractors
    own = [curve for curve in curves if curve.distractors == chosen]
    if len(own) != 1:
        raise ValueError(
            f"there must be runs with {chosen} distractors and a metric, all with the same settings; "
            f"there are {len(own)} settings (records.select(settings_hash=...) chooses)"
        )
    ax, curve = new_axes(ax), own[0]
    names = [*STATE_NAMES, *["distractors"] * chosen]
    for coordinate, name in reversed(list(enumerate(names[: curve.mean.shape[1]]))):
        color = f"C{coordinate}" if coordinate < len(STATE_NAMES) else "silver"
        # One line in the legend stands for all distractors.
        label = name if coordinate <= len(STATE_NAMES) else None
        _band(ax, curve.steps, curve.mean[:, coordinate], curve.error[:, coordinate], label, color)
    ax.set(title=curve.label, xlabel="steps", ylabel="metric's diagonal", ylim=(0, None))
    ax.legend(fontsize="small", reverse=True)
    return ax


def figure8(records: Records, ax: Axes | None = None) -> Axes:
    """CartPole with a model of a few units: returns by agent."""
    return returns(learning_curves(records), ax)


def _band(
    ax: Axes, x: ArrayLike, mean: NDArray[np.float64], error: NDArray[np.float64], label: str | None, color: str | None
) -> None:
    (line,) = ax.plot(x, mean, label=label, color=color)
    if np.isfinite(error).all():
        ax.fill_between(x, mean - error, mean + error, color=line.get_color(), alpha=0.25, linewidth=0)


def _panels(count: int, width: float = 4.5) -> tuple[Figure, list[Axes]]:
    if count == 0:
        raise ValueError("there is nothing to draw")
    figure, axes = plt.subplots(1, count, figsize=(width * count, 3.5), layout="constrained", squeeze=False)
    return figure, list(axes[0])


def _color(name: str) -> str:
    return COLORS.get(name, "black")


def _bar(error: float) -> float | None:
    return error if np.isfinite(error) else None
