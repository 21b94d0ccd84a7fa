"""The shortest program that learns a metric: the demand is a parabola, the model a straight line, so it must be wrong
somewhere; errors cost something where x > 0.5 only.

    python quickstart.py
"""

import numpy as np

import taskmet

x = np.linspace(-1, 1, 101)[:, np.newaxis]
y = x**2


def cost(batch):
    """The task: the mean cost of the predictions, and its derivative by each of them."""
    error = np.where(batch.inputs > 0.5, batch.predictions - batch.targets, 0.0)
    return np.mean(error**2), 2 * error / error.size


def main():
    metric = taskmet.Metric.conditional(1, 1, "scalar", hidden=[8], seed=1)
    trainer = taskmet.Trainer(taskmet.Linear(1), metric, taskmet.Dataset(x, y), cost)
    report = trainer.fit().report_
    print(f"two-stage:      cost {report.first_task_loss:.6f}")
    print(f"iteration {report.best_iteration:4d}: cost {report.best_task_loss:.6f}", end=" ")
    print(f"at {report.best_rmse_ratio:.2f} times the error\n")
    print("     x   weight of an error")
    for feature, weight in zip(x[::10, 0], trainer.metric_.evaluate(x[::10]).ravel(), strict=True):
        print(f"  {feature:4.1f}   {weight:6.3f}  {'#' * round(10 * weight)}")


if __name__ == "__main__":
    main()
