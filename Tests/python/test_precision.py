"""float32: chosen with ``dtype``, kept by copies, files and training, close to float64."""

import pickle

import numpy as np
import pytest
import taskmet
from taskmet import MLP, Dataset, Linear, Metric, Trainer

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(60, 3)), RNG.normal(size=(60, 2))


def make(dtype):
    """A predictor, a metric and a dataset of the same float32 numbers."""
    predictor = MLP(3, 2, hidden=[4], activation="tanh", seed=1, dtype="float32").astype(dtype)
    metric = Metric.conditional(3, 2, "full", hidden=[4], seed=2, dtype="float32").astype(dtype)
    return predictor, metric, Dataset(X.astype(np.float32), Y.astype(np.float32), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_dtype_is_chosen(dtype):
    objects = [
        Dataset(X, Y, dtype=dtype),
        Dataset(X, Y, dtype=dtype, copy=True),
        Linear(3, dtype=dtype),
        MLP(3, dtype=dtype),
        Metric.constant(2, dtype=dtype),
        Metric.conditional(3, 2, dtype=dtype),
    ]
    assert [item.dtype for item in objects] == [np.dtype("float32")] * len(objects)
    assert all(repr(item).endswith("dtype=float32>") for item in objects)


def test_float64_is_the_default_for_float32_arrays_too():
    objects = Dataset(np.float32(X), np.float32(Y)), Linear(3), MLP(3), Metric.constant(2)
    assert [item.dtype for item in objects] == [np.dtype("float64")] * 4


@pytest.mark.parametrize("dtype", ["float16", "int32", "double precision", None.__class__])
def test_other_types_are_refused(dtype):
    for make_one in (lambda: Dataset(X, Y, dtype=dtype), lambda: Linear(3, dtype=dtype)):
        with pytest.raises(ValueError, match="dtype must be float64 or float32"):
            make_one()


def test_parameters_are_rounded():
    predictor = MLP(3, 2, hidden=[4], seed=1)
    narrow = predictor.astype("float32")
    expected = np.float64(np.float32(predictor.parameters))
    np.testing.assert_array_equal(narrow.parameters, expected)
    assert np.any(expected != predictor.parameters)
    for same in (narrow.copy(), pickle.loads(pickle.dumps(narrow))):
        assert same.dtype == np.float32
        np.testing.assert_array_equal(same.parameters, expected)
    with pytest.raises(taskmet.TaskMetError, match="values"):
        narrow.parameters = np.full(narrow.parameter_count, 1e39)


def test_files(tmp_path):
    _, metric, _ = make("float32")
    metric.save(tmp_path / "metric")
    back = Metric.load(tmp_path / "metric")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back.parameters, metric.parameters)
    assert metric._file.tensors["layers.0.weight"].dtype == np.float32


def test_losses_are_close_and_not_the_same():
    results = []
    for dtype in ("float32", "float64"):
        predictor, metric, data = make(dtype)
        value, gradient = taskmet.loss_value_and_gradient(predictor, metric, data)
        results.append((predictor.predict(X), value, gradient))
    for narrow, wide in zip(*results, strict=True):
        np.testing.assert_allclose(narrow, wide, rtol=1e-5, atol=1e-5)
        assert np.any(narrow != wide)


def test_refill_keeps_the_type():
    data = Dataset(X, Y, dtype="float32", copy=True)
    data.refill(X[:5], Y[:5])
    assert data.dtype == np.float32
    assert data.rows == 5


def test_numbers_without_room_are_refused():
    with pytest.raises(ValueError, match="x holds numbers that float32 has no room for"):
        Dataset(X * 1e300, Y, dtype="float32")
    with pytest.raises(taskmet.TaskMetError, match="finite"):
        Dataset(X * np.inf, Y, dtype="float32")


def test_precisions_do_not_mix():
    predictor, metric, _ = make("float32")
    with pytest.raises(taskmet.TaskMetError, match="precision"):
        Trainer(predictor, metric, Dataset(X, Y), lambda batch: (0.0, np.zeros_like(batch.predictions)))


def test_callback_predictors_are_float64():
    own = taskmet.CallbackPredictor(
        1, 1, [2.0], lambda x, t: t[0] * x, lambda x, t, c: [np.sum(c * x)], lambda x, t, w: w[0] * x
    )
    assert own.astype("float64").predict([3.0]) == 6
    with pytest.raises(taskmet.TaskMetError, match="callback"):
        own.astype("float32")


def cost(batch):
    """An error costs its square where x > 0.5; the batch is float64 for every trainer."""
    assert batch.inputs.dtype == batch.predictions.dtype == batch.targets.dtype == np.float64
    error = np.where(batch.inputs > 0.5, batch.predictions - batch.targets, 0.0)
    return np.mean(error**2), 2 * error / error.size


def test_training_and_the_estimator():
    sklearn = pytest.importorskip("taskmet.sklearn")
    x = np.linspace(-1, 1, 101)[:, np.newaxis]
    losses = []
    for dtype in ("float32", "float64"):
        model = sklearn.TaskMetRegressor(cost, random_state=1, outer_iterations=60, dtype=dtype).fit(x, x[:, 0] ** 2)
        assert model.predictor_.dtype == model.metric_.dtype == dtype
        assert model.predict(x).dtype == np.float64
        losses.append(model.report_.best_task_loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
