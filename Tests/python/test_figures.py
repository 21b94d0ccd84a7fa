"""The paper's figures show what the results say."""

import matplotlib

matplotlib.use("Agg")

import pathlib

import numpy as np
import pytest
from matplotlib import pyplot
from taskmet import experiments
from taskmet.experiments import figures

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def rows():
    return experiments.summarize(experiments.load(RESULTS / "tables.jsonl"))


@pytest.fixture
def agents():
    return experiments.load(RESULTS / "cartpole.jsonl")


def test_quality_against_error(rows):
    axes = figures.quality_against_error(rows, "cubic", experiments.load_paper(RESULTS / "tables.csv"))
    own = [row for row in rows if row.problem == "cubic"]
    points = [container.lines[0] for container in axes.containers]
    assert [point.get_xdata()[0] for point in points] == [row.test_mse.mean for row in own]
    assert [point.get_ydata()[0] for point in points] == [row.decision_quality.mean for row in own]
    assert axes.get_xscale() == "log"
    # Bars are standard errors of the mean.
    sideways, upright = (segments.get_segments()[0] for segments in axes.containers[0].lines[2])
    assert np.ptp(sideways[:, 0]) == pytest.approx(2 * own[0].test_mse.error)
    assert np.ptp(upright[:, 1]) == pytest.approx(2 * own[0].decision_quality.error)
    # The settings that one method was run with have markers of their own.
    assert [point.get_marker() for point in points] == ["o", "o", "o", "o", "s"]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none" and len(line.get_xdata())]
    assert [line.get_color() for line in hollow] == [point.get_color() for point in points[:4]]
    assert len({line.get_color() for line in hollow}) == 4
    assert (hollow[3].get_xdata()[0], hollow[3].get_ydata()[0]) == (2.89, 0.96)
    with pytest.raises(ValueError, match="no row of problem 'portfolio'"):
        figures.quality_against_error(rows, "portfolio")


def test_tables_2_and_3(rows):
    figure = figures.tables_2_and_3(rows)
    assert [axes.get_title() for axes in figure.axes] == ["cubic", "budget"]
    assert [len(axes.containers) for axes in figure.axes] == [5, 2]
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.tables_2_and_3([])


@pytest.mark.parametrize("name", ["figure4", "figure4.csv"])
def test_figure4(name):
    columns = experiments.load_figure4(RESULTS / name)
    assert list(columns) == ["x", "true", "mse", "dfl", "taskmet", "metric"]
    assert np.allclose(columns["true"], 10 * columns["x"] ** 3 - 6.5 * columns["x"], rtol=1e-12, atol=1e-12)
    left, right = figures.figure4(columns).axes
    assert [line.get_label() for line in left.lines] == ["true", "mse", "dfl", "taskmet"]
    assert np.array_equal(left.lines[2].get_ydata(), columns["dfl"])
    assert np.array_equal(right.lines[0].get_ydata(), columns["metric"])
    with pytest.raises(ValueError, match="is not a figure 4: it has no column x and metric"):
        experiments.load_figure4(RESULTS / "tables.csv")


def test_figure6(agents):
    figure = figures.figure6(agents)
    assert [axes.get_title() for axes in figure.axes] == ["0 distractors", "2 distractors"]
    axes, curve = figure.axes[1], experiments.learning_curves(agents)[2]
    assert [line.get_label() for line in axes.lines] == ["mle 2 distractors", "taskmet 2 distractors"]
    assert np.array_equal(axes.lines[0].get_ydata(), curve.mean)
    low, high = axes.collections[0].get_paths()[0].get_extents().get_points()[:, 1]
    assert (low, high) == pytest.approx(((curve.mean - curve.error).min(), (curve.mean + curve.error).max()))
    assert [a.get_color() for a in axes.lines] == [a.get_color() for a in figure.axes[0].lines]


def test_one_seed_has_no_band(agents):
    axes = figures.figure8(agents.select(seed=1, label="mle"))
    assert len(axes.lines) == 1 and len(axes.collections) == 0


def test_figure7(agents):
    axes = figures.figure7(agents)
    curve = experiments.learning_curves(agents, "metric_diagonal")[1]
    by_label = {line.get_label(): line for line in axes.lines}
    assert len(axes.lines) == 6
    for coordinate, name in enumerate(figures.STATE_NAMES):
        assert np.array_equal(by_label[name].get_ydata(), curve.mean[:, coordinate])
    assert np.array_equal(by_label["distractors"].get_ydata(), curve.mean[:, 4])
    assert by_label["distractors"].get_color() == "silver"
    assert len(figures.figure7(agents, distractors=0).lines) == 4
    with pytest.raises(ValueError, match="there must be runs with 8 distractors and a metric"):
        figures.figure7(agents, distractors=8)
