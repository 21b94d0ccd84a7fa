"""Datasets whose rows are read by blocks: from files and from a function; the same bits as in memory."""

import gc
import threading
import weakref

import numpy as np
import pytest
import taskmet

ROWS, FEATURES, TARGETS = 1500, 3, 2
generator = np.random.default_rng(5)
X = generator.normal(size=(ROWS, FEATURES))
Y = generator.normal(size=(ROWS, TARGETS))
OPTIONS = {"warmup_iterations": 3, "inner_iterations": 2, "inner_solver": "adam"}


class Custom(Exception):
    pass


def cost(batch):
    """The squared errors' mean, a prediction that is too low being worse."""
    error = batch.predictions - batch.targets
    price = np.where(error < 0, 5.0, 1.0) / error.size
    return np.sum(price * error**2), 2 * price * error


def models():
    predictor = taskmet.MLP(FEATURES, TARGETS, hidden=[5], activation="tanh", seed=1)
    return predictor, taskmet.Metric.conditional(FEATURES, TARGETS, "diagonal", hidden=[4], seed=2)


def read(first, count):
    return X[first : first + count], Y[first : first + count]


@pytest.fixture(params=["files", "blocks"])
def streamed(request, tmp_path):
    grouping = {"instances": np.arange(0, ROWS + 1, 3), "weights": np.arange(ROWS) % 3 + 0.5}
    if request.param == "blocks":
        return taskmet.Dataset.from_blocks(read, ROWS, FEATURES, TARGETS, **grouping)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    return taskmet.Dataset.from_files(tmp_path / "x.npy", tmp_path / "y.npy", **grouping)


def in_memory():
    return taskmet.Dataset(X, Y, instances=np.arange(0, ROWS + 1, 3), weights=np.arange(ROWS) % 3 + 0.5)


def test_losses_have_the_bits_of_the_rows_in_memory(streamed):
    predictor, metric = models()
    w, c = generator.normal(size=predictor.parameter_count), generator.normal(size=(ROWS, TARGETS))
    for threads in (1, 2):
        workspace = taskmet.Workspace(threads)
        results = [
            (
                *taskmet.loss_value_and_gradient(predictor, metric, data, 0.1, workspace),
                taskmet.loss_hvp(predictor, metric, data, w, 0.1),
                taskmet.hypergradient(predictor, metric, data, c, 0.1)[0],
            )
            for data in (streamed, in_memory())
        ]
        assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))
    assert streamed.shape == (ROWS, FEATURES, TARGETS, ROWS // 3)


@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"inner_batch": 20, "outer_batch": 30}], ids=str)
def test_trainers_have_the_bits_of_the_rows_in_memory(streamed, options, tmp_path):
    trainers = []
    for data in (streamed, in_memory()):
        predictor, metric = models()
        predictor.fit_standardization(data)
        trainers.append(taskmet.Trainer(predictor, metric, data, cost, outer_iterations=2, **OPTIONS, **options))
        trainers[-1].fit()
        trainers[-1].save(tmp_path / "trainer")
    for model in ("best", "last"):
        assert np.array_equal(*(trainer.predictor(model).parameters for trainer in trainers))
        assert np.array_equal(*(trainer.metric(model).parameters for trainer in trainers))
    assert trainers[0].explain() == trainers[1].explain()


def test_a_batch_of_everything_has_no_inputs(streamed):
    seen = []

    def look(batch):
        seen.append((batch.instance_count, batch.inputs))
        return cost(batch)

    taskmet.CallbackTask(look).evaluate(models()[0], streamed)
    assert seen[0][1] is None
    predictor, metric = models()
    taskmet.Trainer(predictor, metric, streamed, look, outer_batch=4, outer_iterations=1, **OPTIONS).fit()
    count, inputs = seen[1]
    assert count == 4 and inputs.shape == (12, FEATURES)


# ----------------------------------------------------------------------------------------------------------------------
# Failures


@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_in_read_comes_out(threads):
    failure, calls = Custom("no rows"), []

    def fail(first, count):
        calls.append(threading.get_ident())
        raise failure

    data = taskmet.Dataset.from_blocks(fail, ROWS, FEATURES, TARGETS)
    with pytest.raises(Custom) as caught:
        taskmet.loss_value_and_gradient(*models(), data, workspace=taskmet.Workspace(threads))
    assert caught.value is failure and calls


def test_an_exception_on_a_thread_of_the_library_comes_out():
    home = threading.get_ident()
    away = threading.Event()

    def fail(first, count):
        if threading.get_ident() != home:
            away.set()
            raise Custom("elsewhere")
        # The library's own thread is given the time to come here.
        away.wait(10)
        return read(first, count)

    data = taskmet.Dataset.from_blocks(fail, ROWS, FEATURES, TARGETS)
    with pytest.raises(Custom, match="elsewhere"):
        taskmet.loss_value_and_gradient(*models(), data, workspace=taskmet.Workspace(2))
    good = taskmet.Dataset.from_blocks(read, ROWS, FEATURES, TARGETS)
    taskmet.loss_value_and_gradient(*models(), good, workspace=taskmet.Workspace(2))


def test_what_another_thread_raised_too_is_not_left_to_later_calls():
    home = threading.get_ident()
    away = threading.Event()

    def fail(first, count):
        if threading.get_ident() == home:
            away.wait(10)
            raise Custom("at home")
        away.set()
        raise Custom("elsewhere")

    data = taskmet.Dataset.from_blocks(fail, ROWS, FEATURES, TARGETS)
    with pytest.raises(Custom):
        taskmet.loss_value_and_gradient(*models(), data, workspace=taskmet.Workspace(2))
    assert away.is_set()
    bad = taskmet.Dataset.from_blocks(lambda first, count: (X[:count], Y[:count] * np.nan), 100, FEATURES, TARGETS)
    with pytest.raises(taskmet.CallbackError, match="must be finite"):
        taskmet.loss_value(*models(), bad)


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        (lambda x, y: x, TypeError, r"read must return \(x, y\), got ndarray"),
        (lambda x, y: (x[:-1], y), ValueError, r"x of rows 0 to 99 must have shape \(100, 3\), got \(99, 3\)"),
        (lambda x, y: (x, y[:, 0]), ValueError, r"y of rows 0 to 99 must have shape \(100, 2\), got \(100, 1\)"),
        (lambda x, y: (x, y * np.nan), taskmet.CallbackError, r"y\[0,0\] must be finite, got nan"),
        (lambda x, y: (x.astype(str), y), TypeError, "x must hold real numbers"),
    ],
)
def test_what_read_returns_is_checked(block, error, message):
    data = taskmet.Dataset.from_blocks(lambda first, count: block(X[:count], Y[:count]), 100, FEATURES, TARGETS)
    with pytest.raises(error, match=message):
        taskmet.loss_value(*models(), data)


def test_files_are_checked(tmp_path):
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(y, Y[:, 0])
    for array, message in [
        (X.astype(np.float32), "has descr <f4"),
        (np.asfortranarray(X), "fortran_order False"),
        (X[:, 0], "must have two dimensions"),
        (X.astype(">f8"), "has descr >f8"),
    ]:
        np.save(x, array)
        with pytest.raises(taskmet.FormatError, match=message) as caught:
            taskmet.Dataset.from_files(x, y)
        assert str(x) in str(caught.value)
    np.save(x, X[:7])
    with pytest.raises(taskmet.ShapeError, match="7"):
        taskmet.Dataset.from_files(x, y)
    with pytest.raises(taskmet.FileError, match="x_path: cannot open"):
        taskmet.Dataset.from_files(tmp_path / "missing.npy", y)
    with open(x, "wb") as file:
        np.lib.format.write_array(file, X, version=(2, 0))
    assert taskmet.Dataset.from_files(x, y).shape == (ROWS, FEATURES, 1, ROWS)


def test_a_reader_lives_as_long_as_something_reads():
    def local(first, count):
        return read(first, count)

    reference = weakref.ref(local)
    predictor, metric = models()
    data = taskmet.Dataset.from_blocks(local, ROWS, FEATURES, TARGETS)
    trainer = taskmet.Trainer(predictor, metric, data, cost, outer_iterations=1, **OPTIONS)
    del local
    data.close()
    gc.collect()
    trainer.fit()
    assert reference() is not None
    trainer.close()
    del trainer
    gc.collect()
    assert reference() is None
