"""TaskMetRegressor is an estimator like scikit-learn's own, and trains for its task."""

import pickle

import numpy as np
import pytest
import sklearn
import taskmet
from problems import X, Y, cost
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from taskmet import TaskMetRegressor

QUICK = {"outer_iterations": 5}


def expected_failures(estimator):
    """A network's training is iterative: a weight of 2 and a repeated row lead near each other, not to the same
    place."""
    return {"check_sample_weight_equivalence_on_dense_data": "iterative"} if estimator.hidden else {}


@parametrize_with_checks(
    [
        TaskMetRegressor(),
        TaskMetRegressor(taskmet.squared_error, **QUICK),
        TaskMetRegressor(hidden=[8], options={"inner_solver": "lbfgs"}),
    ],
    expected_failed_checks=expected_failures,
)
def test_estimator_contract(estimator, check):
    check(estimator)


def test_without_a_task_it_is_least_squares():
    generator = np.random.default_rng(1)
    x, weights = generator.standard_normal((40, 3)), generator.uniform(0.5, 2.0, 40)
    y = generator.standard_normal((40, 2))
    expected = LinearRegression().fit(x, y, sample_weight=weights).predict(x)
    assert np.allclose(TaskMetRegressor().fit(x, y, sample_weight=weights).predict(x), expected, rtol=1e-9, atol=1e-9)
    column = TaskMetRegressor().fit(x, y[:, 0], sample_weight=weights).predict(x)
    assert column.shape == (40,)
    assert np.allclose(column, expected[:, 0], rtol=1e-9, atol=1e-9)


def test_one_hidden_layer_may_be_a_number():
    models = [TaskMetRegressor(cost, hidden=h, metric_hidden=h, outer_iterations=1) for h in (3, [3])]
    first, second = (model.fit(X, Y[:, 0]).predict(X) for model in models)
    assert models[0].predictor_.parameter_count == 10
    assert np.array_equal(first, second)


def test_with_a_task_the_cost_falls():
    def cost_of(model):
        error = np.where(X > 0.5, model.predict(X)[:, np.newaxis] - Y, 0.0)
        return np.mean(error**2)

    two_stage, trained = (TaskMetRegressor(task).fit(X, Y[:, 0]) for task in (None, cost))
    assert cost_of(trained) < 0.2 * cost_of(two_stage)
    assert trained.history_["task_loss"][0] == pytest.approx(cost_of(two_stage), rel=0.05)


def test_groups_are_instances():
    """Rows are sorted by group, stably; the task sees each group's rows in their order."""
    seen = {}

    def task(batch):
        for k, rows in enumerate(batch.slices):
            seen[int(batch.instances[k])] = batch.inputs[rows, 0].tolist()
        return taskmet.squared_error(batch)

    groups = np.array(["b", "a", "b", "a", "c", "b"])
    rows = np.arange(6.0)[:, np.newaxis]
    TaskMetRegressor(task, outer_iterations=0).fit(rows, rows[:, 0], groups=groups)
    assert seen == {0: [1.0, 3.0], 1: [0.0, 2.0, 5.0], 2: [4.0]}
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TaskMetRegressor(task).fit(rows, rows[:, 0], groups=groups[:3])


def test_validation_fraction_holds_out_instances():
    sizes = []

    def task(batch):
        sizes.append((batch.phase, batch.instance_count))
        return taskmet.squared_error(batch)

    groups = np.repeat(np.arange(20), 5)
    model = TaskMetRegressor(task, validation_fraction=0.25, random_state=3, **QUICK)
    model.fit(X[:100], Y[:100, 0], groups=groups)
    assert {("training", 15), ("validation", 5)} <= set(sizes)
    assert np.isfinite(model.history_["validation_task_loss"]).all()
    with pytest.raises(ValueError, match="validation_fraction must be in"):
        model.set_params(validation_fraction=1.0).fit(X, Y[:, 0])


def test_clone_and_pickle():
    model = TaskMetRegressor(cost, hidden=[4], options={"inner_solver": "lbfgs"}, **QUICK).fit(X, Y[:, 0])
    assert clone(model).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X), model.predict(X))
    assert np.array_equal(again.metric_.evaluate(X), model.metric_.evaluate(X))
    assert np.array_equal(clone(model).fit(X, Y[:, 0]).predict(X), model.predict(X))


def test_pipeline_and_search():

    def asymmetric(batch):
        error = batch.predictions - batch.targets
        weight = np.where(error < 0, 2.0, 1.0)
        return np.mean(weight * error**2), 2 * weight * error / error.size

    regressor = TaskMetRegressor(asymmetric, **QUICK)
    pipeline = make_pipeline(PolynomialFeatures(include_bias=False), StandardScaler(), regressor)
    grid = {"polynomialfeatures__degree": [1, 2], "taskmetregressor__metric_rate": [0.01, 0.1]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, Y[:, 0])
    assert search.best_params_["polynomialfeatures__degree"] == 2
    assert search.score(X, Y[:, 0]) > 0.999


def test_groups_by_metadata_routing():
    """One array of groups serves both the splitter and the estimator."""
    counts = []

    def task(batch):
        counts.append(batch.instance_count)
        return taskmet.squared_error(batch)

    groups = np.arange(101) // 10
    with sklearn.config_context(enable_metadata_routing=True):
        model = TaskMetRegressor(task, **QUICK).set_fit_request(groups=True, sample_weight=True)
        model.set_score_request(sample_weight=True)
        routed = {"groups": groups, "sample_weight": np.ones(101)}
        scores = cross_val_score(model, X, X[:, 0], cv=GroupKFold(3), params=routed)
    assert len(scores) == 3
    assert np.all(scores > 0.99)
    assert set(counts) <= {7, 8}


# ----------------------------------------------------------------------------------------------------------------------
# Context


def portfolios(days, stocks=4):
    """Features, returns, days' labels in a mixed order of rows, and each day's matrix Q."""
    generator = np.random.default_rng(5)
    x = generator.standard_normal((days * stocks, 2))
    y = 0.1 * x[:, 0] + 0.02 * generator.standard_normal(len(x)) ** 3
    factors = generator.standard_normal((days, stocks, stocks))
    q = factors @ factors.transpose(0, 2, 1) / stocks + 0.5 * np.eye(stocks)
    return x, y, np.repeat(np.arange(days), stocks), q


def days_apart(x, y, groups, q):
    """The same data, in an order of rows that mixes the days but keeps the order within each."""
    order = np.argsort(np.arange(len(x)) % q.shape[1], kind="stable")
    return x[order], y[order], groups[order], q.reshape(len(x), -1)[order]


def test_context_by_rows_and_by_label_is_the_datasets():
    """A portfolio's Q: what comes out is what a trainer with the same dataset learns, bit by bit."""
    x, y, groups, q = portfolios(12)
    options = {"outer_iterations": 4, "seed": 0, "penalize_bias": 0}
    metric = taskmet.Metric.conditional(2, 1, "diagonal", hidden=[16], seed=0)
    metric.set_standardization(x.mean(axis=0), x.std(axis=0))
    line = taskmet.Linear(2)
    line.set_penalize_bias(False)
    data = taskmet.Dataset(x, y, instances=np.arange(0, 49, 4), context=list(q))
    expected = taskmet.Trainer(line, metric, data, taskmet.Portfolio(0.5), **options).fit()

    def fitted(x, y, groups, context):
        model = TaskMetRegressor(taskmet.Portfolio(0.5), outer_iterations=4)
        return model.fit(x, y, groups=groups, context=context)

    mixed = days_apart(x, y, groups, q)
    models = [
        fitted(x, y, groups, q.reshape(48, 4)),
        fitted(x, y, groups, dict(enumerate(q))),
        fitted(x, y, groups, {**dict(enumerate(q)), "unused": [1.0]}),
    ]
    for model in models:
        assert model.history_["task_loss"].tolist() == expected.history_["task_loss"].tolist()
        assert np.array_equal(model.predict(x), expected.predictor_.predict(x)[:, 0])
    # Means over rows in another order differ in the last bits.
    for context in (mixed[3], list(mixed[3]), dict(enumerate(q))):
        model = fitted(*mixed[:3], context)
        assert np.allclose(model.history_["task_loss"], expected.history_["task_loss"], rtol=1e-7, atol=0)
    other = fitted(x, y, groups, dict(enumerate(q[::-1])))
    assert not np.allclose(other.history_["task_loss"], expected.history_["task_loss"], rtol=1e-3)


def test_context_follows_its_instance():
    """Into validation data, and with parts of different lengths."""
    seen = {}

    def task(batch):
        for rows, context in zip(batch.slices, batch.context, strict=True):
            seen[batch.inputs[rows, 0].tolist()[0]] = batch.phase, context.tolist()
        return taskmet.squared_error(batch)

    groups = np.array(["b", "a", "b", "a", "c", "d"])
    rows = np.arange(6.0)[:, np.newaxis]
    model = TaskMetRegressor(task, validation_fraction=0.5, outer_iterations=0)
    parts = [[0.0], [], [2.0, 2.5], [3.0], [4.0, 4.5], []]
    by_label = {"a": [3.0], "b": [0.0, 2.0, 2.5], "c": [4.0, 4.5], "d": []}
    for context in (parts, by_label):
        seen.clear()
        model.fit(rows, rows[:, 0], groups=groups, context=context)
        assert {first: values for first, (_, values) in seen.items()} == {
            **{0.0: [0.0, 2.0, 2.5], 1.0: [3.0], 4.0: [4.0, 4.5], 5.0: []}
        }
        assert sorted(phase for phase, _ in seen.values()) == ["training", "training", "validation", "validation"]


def test_context_without_groups():
    """Each row is an instance, and has its part."""

    def task(batch):
        assert [part.tolist() for part in batch.context] == batch.targets.tolist()
        return taskmet.squared_error(batch)

    TaskMetRegressor(task, outer_iterations=1).fit(X, Y[:, 0], context=Y[:, 0])


def test_context_by_metadata_routing():
    """By rows it is split like the groups; a mapping goes through whole."""
    x, y, groups, q = portfolios(12)
    with sklearn.config_context(enable_metadata_routing=True):
        model = TaskMetRegressor(taskmet.Portfolio(0.5), outer_iterations=2)
        model.set_fit_request(groups=True, context=True)
        scores = [
            cross_val_score(model, x, y, cv=GroupKFold(3), params={"groups": groups, "context": context})
            for context in (q.reshape(48, 4), dict(enumerate(q)))
        ]
    assert len(scores[0]) == 3 and np.isfinite(scores[0]).all()
    assert np.array_equal(*scores)


@pytest.mark.parametrize(
    ("context", "with_groups", "message"),
    [
        ({0: [1.0]}, False, "a context that is a mapping needs groups"),
        ({0: [1.0], 2: [1.0]}, True, "context has nothing for the group 1"),
        (np.ones((7, 2)), True, "inconsistent numbers of samples"),
    ],
)
def test_context_that_does_not_fit_is_named(context, with_groups, message):
    x, y, groups, _ = portfolios(2)
    with pytest.raises(ValueError, match=message):
        TaskMetRegressor(taskmet.Portfolio(0.5)).fit(x, y, groups=groups if with_groups else None, context=context)
    with pytest.raises(TypeError, match="context must hold real numbers"):
        TaskMetRegressor(taskmet.Portfolio(0.5)).fit(x, y, groups=groups, context=["a"] * 8)
