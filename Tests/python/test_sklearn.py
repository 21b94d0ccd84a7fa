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
