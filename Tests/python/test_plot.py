"""What the pictures show is what the objects say."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import taskmet
from matplotlib import pyplot
from problems import X, Y, make_trainer
from taskmet import plot


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def test_metric_over_feature():
    metric = taskmet.Metric.conditional(2, 2, "full", hidden=[4], seed=1)
    metric.parameters = metric.parameters + np.random.default_rng(1).standard_normal(metric.parameter_count)
    rows = np.column_stack([np.linspace(1, -1, 9), np.full(9, 0.5)])
    line, other = plot.metric_over_feature(metric, rows).lines
    assert line.get_xdata().tolist() == rows[::-1, 0].tolist()
    assert np.array_equal(line.get_ydata(), metric.evaluate(rows[::-1].copy())[:, 0, 0])
    assert np.array_equal(other.get_ydata(), metric.evaluate(rows[::-1].copy())[:, 1, 1])
    assert line.get_linestyle() == "-"
    scattered = np.random.default_rng(2).standard_normal((9, 2))
    assert plot.metric_over_feature(metric, scattered, outputs=[1]).lines[0].get_marker() == "."


def test_metric_diagonal():
    metric = taskmet.Metric.constant(3, "diagonal")
    metric.parameters = [1.0, 2.0, 3.0, np.log(0.5)]
    axes = plot.metric_diagonal(metric, names=["a", "b", "c"])
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([1.5, 4.5, 9.5])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]


def test_training_curves():
    trainer = make_trainer(validation=taskmet.Dataset(X[::2], Y[::2]), validation_interval=2, outer_iterations=6).fit()
    history = trainer.history_
    training, validation, best = plot.training_curves(trainer).lines
    assert np.array_equal(training.get_ydata(), history["task_loss"])
    assert validation.get_xdata().tolist() == [0, 2, 4, 6]
    assert best.get_xdata()[0] == trainer.report_.best_iteration
    assert len(plot.training_curves(make_trainer(outer_iterations=2).fit().history_).lines) == 2


def test_predictions():
    trainer = make_trainer(outer_iterations=3).fit()
    axes = plot.predictions(trainer.predictor_, trainer.metric_, X, Y)
    points = axes.collections[0]
    assert np.array_equal(points.get_offsets()[:, 0], Y[:, 0])
    assert np.array_equal(points.get_offsets()[:, 1], trainer.predictor_.predict(X)[:, 0])
    assert np.array_equal(points.get_array(), trainer.metric_.evaluate(X)[:, 0, 0])
    constant = taskmet.Metric.constant(1, "scalar")
    assert len(set(plot.predictions(trainer.predictor_, constant, X, Y).collections[0].get_array().tolist())) == 1
