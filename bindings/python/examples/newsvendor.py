"""A newsvendor with a truck: how much to load of each product, when all that there is is a program that decides.

Each day a truck with room for CAPACITY crates is loaded with products, 0 to LEVELS - 1 crates of each, before the
demand is known. A model predicts what each level of each product will cost; the loading program takes one level for
each product, so that all fit and the predicted costs are least, by dynamic programming. TaskMet sees no more of it
than its decisions, perturbs the predictions, and learns from the mean decision which errors of the model matter
(Berthet et al. 2020).

    python newsvendor.py [--seed 0]
"""

import argparse

import numpy as np

import taskmet

PRODUCTS, LEVELS, CAPACITY, FEATURES = 8, 6, 12, 2
SHORTAGE, SURPLUS = 6.0, 1.0


def make_days(generator, days):
    """Rows of products, day by day: features, and what each level turned out to cost."""
    x = generator.uniform(-1, 1, (days * PRODUCTS, FEATURES))
    # A curve that the linear model cannot follow: least squares gets a line that falls, and the highest demand is at
    # the right.
    mean = 2.5 + 7 * x[:, 0] ** 3 - 4.5 * x[:, 0] + 0.5 * x[:, 1]
    demand = np.maximum(mean + generator.normal(0, 0.3, len(x)), 0)[:, np.newaxis]
    crates = np.arange(LEVELS)
    costs = np.where(crates < demand, SHORTAGE * (demand - crates), SURPLUS * (crates - demand))
    return taskmet.Dataset(x, costs, instances=range(0, len(x) + 1, PRODUCTS)), x, costs


def load_truck(costs):
    """The loading program: the level of each product, one-hot, PRODUCTS x LEVELS numbers in one vector."""
    costs = costs.reshape(PRODUCTS, LEVELS)
    least = np.zeros(CAPACITY + 1)  # the least cost of the products so far, by room used at most
    choices = np.zeros((PRODUCTS, CAPACITY + 1), dtype=int)
    for product in range(PRODUCTS):
        options = np.full((LEVELS, CAPACITY + 1), np.inf)
        for level in range(LEVELS):
            options[level, level:] = least[: CAPACITY + 1 - level] + costs[product, level]
        choices[product], least = options.argmin(axis=0), options.min(axis=0)
    decision, room = np.zeros((PRODUCTS, LEVELS)), CAPACITY
    for product in reversed(range(PRODUCTS)):
        level = choices[product, room]
        decision[product, level], room = 1.0, room - level
    return decision.ravel()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--iterations", type=int, default=30)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    (training, *_), (validation, *_), (test, x, _) = (make_days(generator, arguments.days) for _ in range(3))

    oracle = taskmet.each_problem(load_truck)
    task = taskmet.Perturbed(oracle, "minimize", sigma=2.0, samples=8, loss="objective", seed=arguments.seed)
    metric = taskmet.Metric.conditional(FEATURES, LEVELS, "diagonal", hidden=[16], seed=arguments.seed)
    trainer = taskmet.Trainer(
        *(taskmet.Linear(FEATURES, LEVELS), metric, training, task, validation),
        outer_iterations=arguments.iterations,
        metric_rate=0.1,
    ).fit(progress=True)

    two_stage = taskmet.Linear(FEATURES, LEVELS)
    taskmet.minimize(two_stage, taskmet.Metric.constant(LEVELS, "scalar"), training, solver="exact")
    print("           cost of a day   above the best possible   decision quality   error of the predictions")
    for name, predictor in (("two-stage", two_stage), ("TaskMet", trainer.predictor_)):
        report = task.decision_quality(test, predictor.predict(x))
        error = np.sqrt(report.mean_squared_error)
        decisions = f"{report.objective:13.3f}  {report.regret:24.3f}  {report.decision_quality:17.3f}"
        print(f"{name:<9}  {decisions}  {error:25.3f}")


if __name__ == "__main__":
    main()
