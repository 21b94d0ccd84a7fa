"""Each kind of task through the package: arguments arrive where they belong, and the values are those of closed
forms."""

import copy
import pickle

import numpy as np
import pytest
import taskmet
from taskmet._native import library

GENERATOR = np.random.default_rng(8)
COUNT, M = 3, 4
Y = GENERATOR.uniform(0, 1, (COUNT * M, 1))
PREDICTIONS = GENERATOR.uniform(0, 1, (COUNT * M, 1))
OFFSETS = range(0, COUNT * M + 1, M)
needs_topk = pytest.mark.skipif("taskmet_task_create_topk" in library.missing, reason="this library has no TopK")
needs_budget = pytest.mark.skipif(
    "taskmet_task_create_budget_allocation" in library.missing, reason="this library has no BudgetAllocation"
)


def dataset(y=Y, **arguments):
    return taskmet.Dataset(np.arange(float(len(y))), y, **{"instances": OFFSETS, **arguments})


def rows(values):
    """One line for each instance."""
    return np.asarray(values).reshape(COUNT, -1)


def smallest(costs):
    """The oracle that takes the cheapest entry."""
    return (costs == costs.min()).astype(float)


def largest(costs):
    return (costs == costs.max()).astype(float)


def each(solve, values):
    return np.concatenate([solve(line) for line in rows(values)])[:, np.newaxis]


# ----------------------------------------------------------------------------------------------------------------------
# Around an oracle


def test_spo_plus():
    """2 (w(y) - w(2 yhat - y)), and for maximisation the negative of everything."""
    minimize = taskmet.SPOPlus(taskmet.each_problem(smallest))
    loss, gradient = minimize.gradient(dataset(), PREDICTIONS)
    shifted = 2 * PREDICTIONS - Y
    difference = each(smallest, Y) - each(smallest, shifted)
    assert np.allclose(gradient, 2 * difference / COUNT, atol=1e-14)
    assert loss == pytest.approx(np.sum(shifted * difference) / COUNT, rel=1e-12)
    maximize = taskmet.SPOPlus(taskmet.each_problem(largest), "maximize")
    flipped = maximize.gradient(dataset(-Y), -PREDICTIONS)
    assert flipped[0] == pytest.approx(loss, rel=1e-12)
    assert np.allclose(flipped[1], -gradient, atol=1e-14)
    assert (minimize.sense, maximize.sense) == ("minimize", "maximize")


def test_blackbox():
    """(w(yhat + lambda y) - w(yhat)) / lambda; the loss is the real decision's."""
    task = taskmet.Blackbox(taskmet.each_problem(smallest), interpolation=0.5)
    loss, gradient = task.gradient(dataset(), PREDICTIONS)
    here, there = each(smallest, PREDICTIONS), each(smallest, PREDICTIONS + 0.5 * Y)
    assert loss == pytest.approx(np.sum(Y * here) / COUNT, rel=1e-12)
    assert np.allclose(gradient, (there - here) / 0.5 / COUNT, atol=1e-14)


def test_perturbed():
    """Without noise to speak of, Fenchel-Young's gradient is w(y) - w(yhat)."""
    task = taskmet.Perturbed(taskmet.each_problem(smallest), sigma=1e-9, samples=2, seed=1)
    _, gradient = task.gradient(dataset(), PREDICTIONS)
    assert np.allclose(gradient, (each(smallest, Y) - each(smallest, PREDICTIONS)) / COUNT, atol=1e-12)
    noisy = taskmet.Perturbed(taskmet.each_problem(smallest), sigma=0.5, samples=50, loss="objective", seed=1)
    assert noisy.gradient(dataset(), PREDICTIONS)[0] != task.gradient(dataset(), PREDICTIONS)[0]
    other = taskmet.Perturbed(taskmet.each_problem(smallest), sigma=0.5, samples=50, loss="objective", seed=2)
    assert noisy.gradient(dataset(), PREDICTIONS)[0] != other.gradient(dataset(), PREDICTIONS)[0]
    with pytest.raises(ValueError, match="loss must be one of fenchel_young, objective, got 'mean'"):
        taskmet.Perturbed(largest, sigma=1.0, loss="mean").gradient(dataset(), PREDICTIONS)


def test_oracles_see_instances_and_context():
    seen = []

    def oracle(batch):
        seen.extend(zip(batch.instances.tolist(), [c.tolist() for c in batch.context], strict=True))
        return np.concatenate([smallest(costs) for costs in batch])

    taskmet.Blackbox(oracle, interpolation=0.5).loss(dataset(context=[[1.0], [2.0, 3.0], []]), PREDICTIONS)
    assert (0, [1.0]) in seen and (1, [2.0, 3.0]) in seen and (2, []) in seen


def test_an_oracle_s_errors():
    with pytest.raises(ValueError, match=r"the oracle's decisions must have shape \(\d+,\), got \(2,\)"):
        taskmet.SPOPlus(lambda batch: [0.0, 1.0]).gradient(dataset(), PREDICTIONS)
    with pytest.raises(ZeroDivisionError):
        taskmet.SPOPlus(lambda batch: 1 / 0).gradient(dataset(), PREDICTIONS)


def test_decision_quality():
    """Knowing the targets is 1; the worst decisions are below chance."""
    task = taskmet.SPOPlus(taskmet.each_problem(smallest))
    perfect, worst = task.decision_quality(dataset(), Y), task.decision_quality(dataset(), -Y)
    assert (perfect.decision_quality, perfect.regret, perfect.instances) == (1.0, 0.0, COUNT)
    assert worst.decision_quality < 0 < worst.regret
    assert worst.objective == pytest.approx(rows(Y).max(axis=1).mean())
    assert worst.mean_squared_error == pytest.approx(np.mean((2 * Y) ** 2))
    assert worst.regret_lower <= worst.regret <= worst.regret_upper


def test_decisions():
    task, model = taskmet.SPOPlus(taskmet.each_problem(smallest)), taskmet.Linear(1)
    model.parameters = [-1.0, 0.0]
    assert task.decision_count(dataset()) == COUNT * M
    assert task.decisions(model, dataset()).tolist() == [0.0, 0.0, 0.0, 1.0] * COUNT
    with pytest.raises(taskmet.UnsupportedError):
        taskmet.CallbackTask(taskmet.squared_error).decisions(model, dataset())


# ----------------------------------------------------------------------------------------------------------------------
# From losses alone


def instance_losses(batch):
    error = batch.predictions - batch.targets
    return [np.sum(error[part] ** 2) for part in batch.slices]


EXACT = 2 * (PREDICTIONS - Y) / COUNT


def test_finite_difference():
    _, gradient = taskmet.FiniteDifference(instance_losses, step=1e-4).gradient(dataset(), PREDICTIONS)
    assert np.allclose(gradient, EXACT, rtol=0, atol=1e-9)


def test_score_function():
    """Unbiased for a quadratic loss: close with many samples, and closer with more."""
    errors = [
        np.linalg.norm(
            taskmet.ScoreFunction(instance_losses, 0.1, samples, seed=1).gradient(dataset(), PREDICTIONS)[1] - EXACT
        )
        for samples in (100, 10000)
    ]
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.05 * np.linalg.norm(EXACT)


@pytest.mark.parametrize("answer", [[1.0], np.ones((COUNT, 1)), 1.0])
def test_losses_of_another_shape(answer):
    with pytest.raises(ValueError, match=r"the losses must have shape \(\d+,\)"):
        taskmet.FiniteDifference(lambda batch: answer, step=0.1).gradient(dataset(), PREDICTIONS)


# ----------------------------------------------------------------------------------------------------------------------
# Programs


def test_portfolio():
    """With weights inside the bounds: z = Q^-1 (yhat + nu 1) / (2 lambda), sum z = 1."""
    risk, factors = 2.0, GENERATOR.standard_normal((COUNT, M, M))
    context = factors @ factors.transpose(0, 2, 1) + 4 * np.eye(M)
    data, task = dataset(context=list(context)), taskmet.Portfolio(risk, lower=-5.0, upper=5.0)
    losses = []
    for q, yhat, y in zip(context, rows(PREDICTIONS), rows(Y), strict=True):
        inverse = np.linalg.inv(q)
        nu = (2 * risk - np.sum(inverse @ yhat)) / inverse.sum()
        z = inverse @ (yhat + nu) / (2 * risk)
        losses.append(-(y @ z - risk * z @ q @ z))
    assert task.loss(data, PREDICTIONS) == pytest.approx(np.mean(losses), rel=1e-9)
    assert task.sense == "maximize"
    assert taskmet.check_task_gradient(task, data, PREDICTIONS).correct


def test_quadratic_program():
    """Over A z = b alone the KKT system is linear; every array of the program matters."""
    generator = np.random.default_rng(2)
    q = generator.standard_normal((3, 3))
    q = q @ q.T + np.eye(3)
    c0, p = generator.standard_normal(3), generator.standard_normal((3, M))
    a, b = np.array([[1.0, 2.0, -1.0]]), np.array([0.5])
    arrays = {"quadratic": q, "linear": c0, "prediction": p, "equality_matrix": a, "equality_values": b}
    loose = {"inequality_matrix": np.eye(3), "inequality_values": np.full(3, 100.0)}
    kkt = np.block([[q, a.T], [a, np.zeros((1, 1))]])
    losses = []
    for yhat, y in zip(rows(PREDICTIONS), rows(Y), strict=True):
        z = np.linalg.solve(kkt, np.concatenate([-(c0 + p @ yhat), b]))[:3]
        losses.append(z @ q @ z / 2 + (c0 + p @ y) @ z)
    for task in (taskmet.QuadraticProgram(3, **arrays), taskmet.QuadraticProgram(3, **arrays, **loose)):
        assert task.loss(dataset(), PREDICTIONS) == pytest.approx(np.mean(losses), rel=1e-7)
        assert taskmet.check_task_gradient(task, dataset(), PREDICTIONS).correct
    tight = taskmet.QuadraticProgram(3, **arrays, inequality_matrix=np.eye(3), inequality_values=np.full(3, -0.1))
    assert tight.loss(dataset(), PREDICTIONS) > np.mean(losses)
    with pytest.raises(ValueError, match="quadratic must be 3 x 3, got shape"):
        taskmet.QuadraticProgram(3, quadratic=np.eye(2))
    with pytest.raises(ValueError, match="equality_matrix and equality_values must be given together"):
        taskmet.QuadraticProgram(3, quadratic=q, equality_matrix=a)


def test_linear_program():
    """Over the simplex the real decision is the entry with the least predicted cost."""
    simplex = np.vstack([np.ones(M), -np.ones(M), -np.eye(M)])
    values = np.concatenate([[1.0, -1.0], np.zeros(M)])
    task = taskmet.LinearProgram(simplex, values, smoothing=0.1)
    expected = np.mean(rows(Y)[range(COUNT), rows(PREDICTIONS).argmin(axis=1)])
    assert task.loss(dataset(), PREDICTIONS) == pytest.approx(expected, rel=1e-7)
    assert taskmet.check_task_gradient(task, dataset(), PREDICTIONS).correct
    maximal = taskmet.LinearProgram(simplex, values, smoothing=0.1, sense="maximize").loss(dataset(), PREDICTIONS)
    assert maximal == pytest.approx(-np.mean(rows(Y)[range(COUNT), rows(PREDICTIONS).argmax(axis=1)]), rel=1e-7)


# ----------------------------------------------------------------------------------------------------------------------
# Top k, budget allocation


@needs_topk
def test_topk():
    task, best = taskmet.TopK(2, temperature=0.1), np.argsort(rows(PREDICTIONS), axis=1)[:, 2:]
    expected = -np.take_along_axis(rows(Y), best, axis=1).sum(axis=1).mean()
    assert task.loss(dataset(), PREDICTIONS) == pytest.approx(expected, rel=1e-12)
    assert taskmet.check_task_gradient(task, dataset(), PREDICTIONS).correct
    assert repr(task) == "TopK(k=2, temperature=0.1, legacy=False)"
    named = taskmet.Perturbed(np.sign, "maximize", sigma=0.5, loss="objective")
    assert repr(named) == "Perturbed(oracle=sign, sense='maximize', sigma=0.5, samples=10, loss='objective', seed=0)"


@needs_budget
def test_budget_allocation():
    task, users = taskmet.BudgetAllocation(1), GENERATOR.uniform(0, 0.3, (COUNT * M, 2))
    expected = -users.sum(axis=1).reshape(COUNT, M).max(axis=1).mean()
    assert task.loss(dataset(users), users) == pytest.approx(expected, rel=1e-9)
    assert task.sense == "maximize"


# ----------------------------------------------------------------------------------------------------------------------
# Learned decision losses


def weighted(batch):
    """A separable quadratic, which a weighted mean squared error fits exactly."""
    weights = np.tile([1.0, 2.0, 3.0, 4.0], batch.instance_count)[:, np.newaxis]
    error = batch.predictions - batch.targets
    return float(np.sum(weights * error**2) / batch.instance_count), 2 * weights * error / batch.instance_count


@pytest.mark.parametrize("threads", [1, 2])
def test_lodl(threads):
    inner, data = taskmet.CallbackTask(weighted), dataset()
    assert taskmet.LODL(weighted, data).task.function is weighted
    lodl = taskmet.LODL(inner, data, samples=200, iterations=300, patience=300, threads=threads, seed=1)
    assert lodl.fit_quality > 0.99
    _, gradient = lodl.gradient(data, PREDICTIONS)
    expected = inner.gradient(data, PREDICTIONS)
    assert np.allclose(gradient, expected[1], atol=0.1 * np.abs(expected[1]).max())
    assert lodl.loss(data, PREDICTIONS) == inner.loss(data, PREDICTIONS)
    with pytest.raises(TypeError, match="unknown option 'sample'; there are deviation"):
        taskmet.LODL(inner, data, sample=3).gradient(data, PREDICTIONS)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_comes_out_of_lodl(threads):
    """Also where the library calls the task on threads of its own."""

    def failing(batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _ = taskmet.LODL(taskmet.CallbackTask(failing), dataset(), samples=20, threads=threads).fit_quality


@pytest.mark.parametrize(
    "task",
    [
        taskmet.SPOPlus(taskmet.each_problem(smallest)),
        taskmet.FiniteDifference(instance_losses, step=1e-4),
        taskmet.LinearProgram(np.vstack([np.eye(M), -np.eye(M)]), np.ones(2 * M), smoothing=0.1),
    ],
    ids=lambda task: type(task).__name__,
)
def test_tasks_are_descriptions(task):
    """Copies and pickles of a task that was used judge alike."""
    expected = task.gradient(dataset(), PREDICTIONS)
    for other in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        loss, gradient = other.gradient(dataset(), PREDICTIONS)
        assert loss == expected[0] and np.array_equal(gradient, expected[1])
