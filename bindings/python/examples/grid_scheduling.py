"""Scheduling generation for tomorrow (Donti, Amos and Kolter 2017) on real load data.

A linear model forecasts a day's 24 hourly loads, what is forecast is scheduled, and a shortage costs a hundred times
as much as a surplus. A task's gain is paid for with forecast error: the option max_prediction_loss_ratio caps that
price.

    python grid_scheduling.py pjm_load_data_2008-11.txt [--cap 1.05] [--iterations 200]

The file has a line for each hour: unix time, load (10^5 MW), temperature (F). It is
power_sched/pjm_load_data_2008-11.txt of https://github.com/locuslab/e2e-model-learning (plain, or packed by gzip).
"""

import argparse
import datetime
import zoneinfo

import numpy as np

import taskmet

HOURS = 24
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
SHORTAGE_PRICE, SURPLUS_PRICE = 50.0, 0.5


# ----------------------------------------------------------------------------------------------------------------------
# Data


def read_days(path):
    """{date: (24 loads, 24 temperatures)}; NaN where nothing was measured."""
    days = {}
    for time, load, temperature in np.loadtxt(path, ndmin=2):
        clock = datetime.datetime.fromtimestamp(time, NEW_YORK)
        day = days.setdefault(clock.date(), np.full((2, HOURS), np.nan))
        if np.isnan(day[0, clock.hour]):  # of the hour that is there twice in November, the first
            day[:, clock.hour] = load, temperature
    for day in days.values():
        fill_gaps(day)
    return days


def fill_gaps(day):
    """A missing hour gets the next one's values; at the end of the day, the one before's."""
    for hour in [*range(HOURS - 2, -1, -1), *range(1, HOURS)]:
        neighbour = hour + 1 if hour + 1 < HOURS and not np.isnan(day[0, hour + 1]) else hour - 1
        if np.isnan(day[0, hour]) and neighbour >= 0:
            day[:, hour] = day[:, neighbour]


def make_rows(days):
    """Features and targets of each day that follows a day, in the order of time."""
    x, y = [], []
    for date, (loads, temperatures) in sorted(days.items()):
        before = days.get(date - datetime.timedelta(days=1))
        if before is None:
            continue
        angle = 2 * np.pi * date.timetuple().tm_yday / 365
        calendar = [date.weekday() >= 5, np.cos(angle), np.sin(angle)]
        x.append(np.concatenate([before[0], before[1], temperatures, temperatures**2, calendar]))
        y.append(loads)
    return np.array(x), np.array(y)


def split(x, y):
    """60 % to train on, 20 % for validation, 20 % for the test, in time; features standardised on the first."""
    first, second = int(0.6 * len(x)), int(0.8 * len(x))
    scale = x[:first].std(axis=0)
    x = (x - x[:first].mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    return [(x[part], y[part]) for part in (slice(first), slice(first, second), slice(second, None))]


# ----------------------------------------------------------------------------------------------------------------------
# Task


def cost_of_schedules(batch):
    """The mean cost over days and hours; at the kink, the middle of the subgradients."""
    error = batch.predictions - batch.targets
    slope = np.where(error < 0, -SHORTAGE_PRICE, SURPLUS_PRICE)
    middle = np.where(error == 0, (SURPLUS_PRICE - SHORTAGE_PRICE) / 2, slope)
    return np.mean(slope * error + 0.5 * error**2), (middle + error) / error.size


def judge(name, predictor, data):
    """Prints cost and error on the test days."""
    x, y = data
    cost = taskmet.CallbackTask(cost_of_schedules).evaluate(predictor, taskmet.Dataset(x, y))
    error = np.sqrt(np.mean((predictor.predict(x) - y) ** 2))
    print(f"{name:<10}  cost {cost:.4f}  error {error:.4f}")
    return cost, error


def train(training, validation, cap, iterations, progress):
    """The two-stage predictor, and the trainer after its fit."""
    features = training[0].shape[1]
    predictor = taskmet.Linear(features, HOURS)
    predictor.set_penalize_bias(False)
    metric = taskmet.Metric.conditional(features, HOURS, "diagonal", hidden=[64], activation="relu", seed=1)
    trainer = taskmet.Trainer(
        *(predictor, metric, taskmet.Dataset(*training), cost_of_schedules, taskmet.Dataset(*validation)),
        rho=2e-2,
        metric_rate=0.003,
        outer_iterations=iterations,
        max_prediction_loss_ratio=cap,
    )
    identity = taskmet.Metric.constant(HOURS, "scalar")
    taskmet.minimize(predictor, identity, taskmet.Dataset(*training), rho=2e-2, solver="exact")
    return predictor, trainer.fit(progress=progress)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="hourly load and temperature")
    parser.add_argument("--cap", type=float, default=1.05, help="validation error over the two-stage model's, at most")
    parser.add_argument("--iterations", type=int, default=200)
    arguments = parser.parse_args()

    training, validation, test = split(*make_rows(read_days(arguments.path)))
    print(f"{len(training[0])} days to train on, {len(validation[0])} for validation, {len(test[0])} for the test")
    two_stage, trainer = train(training, validation, arguments.cap, arguments.iterations, progress=True)
    cost, error = judge("two-stage", two_stage, test)
    ours, our_error = judge("TaskMet", trainer.predictor_, test)
    print(f"{100 * (ours / cost - 1):+.1f} % cost, {100 * (our_error / error - 1):+.1f} % error")
    print("\n" + trainer.explain())


if __name__ == "__main__":
    main()
