"""A portfolio by a convex program of one's own: cvxpylayers solves and differentiates it, TaskMet takes the gradient.

Every day returns of STOCKS stocks are predicted, and the portfolio maximises predicted return minus risk. The same
task is built into the library (taskmet.Portfolio): this shows how any differentiable layer becomes a task, and that
the two agree.

    pip install torch cvxpylayers
    python portfolio_cvxpylayers.py
"""

import argparse

import cvxpy as cp
import numpy as np
import torch
from cvxpylayers.torch import CvxpyLayer

import taskmet
import taskmet.torch

STOCKS, FEATURES, RISK_AVERSION = 6, 2, 0.1


def make_days(generator, days):
    """Returns that follow a curve in the first feature, which a linear model cannot; each day has a covariance matrix
    of its own, its context."""
    x = generator.standard_normal((days * STOCKS, FEATURES))
    x[:, 0] = generator.uniform(-1, 1, len(x))
    y = 2 * x[:, 0] ** 3 - 1.3 * x[:, 0] + 0.1 * x[:, 1] + generator.normal(0, 0.1, len(x))
    factors = generator.standard_normal((days, STOCKS, 2))
    covariances = factors @ factors.transpose(0, 2, 1) + 0.5 * np.eye(STOCKS)
    return taskmet.Dataset(x, y, instances=range(0, len(x) + 1, STOCKS), context=list(covariances))


def markowitz():
    """The layer: (predicted returns, a root of the covariance matrix) -> portfolio."""
    z, returns = cp.Variable(STOCKS), cp.Parameter(STOCKS)
    root = cp.Parameter((STOCKS, STOCKS))
    objective = cp.Maximize(returns @ z - RISK_AVERSION * cp.sum_squares(root.T @ z))
    problem = cp.Problem(objective, [cp.sum(z) == 1, z >= 0, z <= 1])
    return CvxpyLayer(problem, parameters=[returns, root], variables=[z])


layer = markowitz()


@taskmet.torch.task
def portfolio(predictions, batch):
    """Minus the mean objective of the portfolios under the true returns."""
    returns, truth = (values.reshape(batch.instance_count, STOCKS) for values in (predictions, batch.targets))
    covariances = torch.stack(batch.context).reshape(-1, STOCKS, STOCKS)
    # cvxpylayers' default tolerance gives gradients that are off by tens of per cent.
    (z,) = layer(returns, torch.linalg.cholesky(covariances), solver_args={"eps": 1e-9, "max_iters": 100000})
    risk = torch.einsum("ki,kij,kj->k", z, covariances, z)
    return -((truth * z).sum(1) - RISK_AVERSION * risk).mean()


def train(task, training, validation, iterations):
    """A trainer after its fit."""
    metric = taskmet.Metric.conditional(FEATURES, 1, "scalar", hidden=[8], seed=1)
    model = taskmet.Linear(FEATURES)
    return taskmet.Trainer(
        model, metric, training, task, validation, outer_iterations=iterations, metric_rate=0.05
    ).fit()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=40)
    parser.add_argument("--iterations", type=int, default=15)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    training, validation = (make_days(generator, arguments.days) for _ in range(2))
    print("task          two-stage    TaskMet   seconds")
    for name, task in (("cvxpylayers", portfolio), ("built in", taskmet.Portfolio(RISK_AVERSION))):
        report = train(task, training, validation, arguments.iterations).report_
        print(f"{name:<11} {report.first_task_loss:11.6f}{report.best_task_loss:11.6f}{report.seconds:10.2f}")


if __name__ == "__main__":
    main()
