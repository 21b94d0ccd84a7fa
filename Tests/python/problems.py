"""The problem that several tests train on: a parabola, a straight line, and a cost where x > 0.5 alone."""

import numpy as np
import taskmet

X = np.linspace(-1, 1, 101)[:, np.newaxis]
Y = X**2


def cost(batch):
    error = np.where(batch.inputs > 0.5, batch.predictions - batch.targets, 0.0)
    return np.mean(error**2), 2 * error / error.size


def make_trainer(task=cost, **options):
    metric = taskmet.Metric.conditional(1, 1, "scalar", hidden=[8], seed=1)
    return taskmet.Trainer(taskmet.Linear(1), metric, taskmet.Dataset(X, Y), task, **options)
