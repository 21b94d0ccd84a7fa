"""Datasets whose rows are read by blocks, from files or a function, in either dtype: the bits of rows in memory."""

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


def models(dtype="float64"):
    predictor = taskmet.MLP(FEATURES, TARGETS, hidden=[5], activation="tanh", seed=1, dtype=dtype)
    return predictor, taskmet.Metric.conditional(FEATURES, TARGETS, "diagonal", hidden=[4], seed=2, dtype=dtype)


def read(first, count):
    return X[first : first + count], Y[first : first + count]


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture(params=["files", "blocks"])
def streamed(request, dtype, tmp_path):
    grouping = {"instances": np.arange(0, ROWS + 1, 3), "weights": np.arange(ROWS) % 3 + 0.5}
    if request.param == "blocks":
        return taskmet.Dataset.from_blocks(read, ROWS, FEATURES, TARGETS, **grouping, dtype=dtype)
    np.save(tmp_path / "x.npy", X.astype(dtype))
    np.save(tmp_path / "y.npy", Y.astype(dtype))
    return taskmet.Dataset.from_files(tmp_path / "x.npy", tmp_path / "y.npy", **grouping)


def in_memory(dtype):
    return taskmet.Dataset(X, Y, instances=np.arange(0, ROWS + 1, 3), weights=np.arange(ROWS) % 3 + 0.5, dtype=dtype)


def test_the_dtype_is_told(streamed, dtype):
    assert streamed.dtype == np.dtype(dtype)
    assert ("dtype=float32" in repr(streamed)) == (dtype == "float32")


def test_losses_have_the_bits_of_the_rows_in_memory(streamed, dtype):
    predictor, metric = models(dtype)
    w, c = generator.normal(size=predictor.parameter_count), generator.normal(size=(ROWS, TARGETS))
    for threads in (1, 2):
        workspace = taskmet.Workspace(threads)
        results = [
            (
                *taskmet.loss_value_and_gradient(predictor, metric, data, 0.1, workspace),
                taskmet.loss_hvp(predictor, metric, data, w, 0.1),
                taskmet.hypergradient(predictor, metric, data, c, 0.1)[0],
            )
            for data in (streamed, in_memory(dtype))
        ]
        assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))
    assert streamed.shape == (ROWS, FEATURES, TARGETS, ROWS // 3)


@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"inner_batch": 20, "outer_batch": 30}], ids=str)
def test_trainers_have_the_bits_of_the_rows_in_memory(streamed, dtype, options, tmp_path):
    trainers = []
    for data in (streamed, in_memory(dtype)):
        predictor, metric = models(dtype)
        predictor.fit_standardization(data)
        trainers.append(taskmet.Trainer(predictor, metric, data, cost, outer_iterations=2, **OPTIONS, **options))
        trainers[-1].fit()
        trainers[-1].save(tmp_path / "trainer")
    for model in ("best", "last"):
        assert np.array_equal(*(trainer.predictor(model).parameters for trainer in trainers))
        assert np.array_equal(*(trainer.metric(model).parameters for trainer in trainers))
    assert trainers[0].explain() == trainers[1].explain()


def test_a_batch_of_everything_has_no_inputs(streamed, dtype):
    seen = []

    def look(batch):
        seen.append((batch.instance_count, batch.inputs))
        return cost(batch)

    predictor, metric = models(dtype)
    taskmet.CallbackTask(look).evaluate(predictor, streamed)
    assert seen[0][1] is None
    taskmet.Trainer(predictor, metric, streamed, look, outer_batch=4, outer_iterations=1, **OPTIONS).fit()
    count, inputs = seen[1]
    assert count == 4 and inputs.shape == (12, FEATURES) and inputs.dtype == np.float64
    rows = {tuple(row) for row in X.astype(dtype).astype(np.float64)}
    assert all(tuple(row) in rows for row in inputs)


@pytest.mark.parametrize("made", [np.float32, np.float64, np.int64, ">f4", list, "strided"], ids=str)
def test_blocks_of_any_type_are_converted(made, dtype):
    x, y = np.round(8 * X), np.round(8 * Y)

    def convert(part):
        if made is list:
            return part.tolist()
        return np.repeat(part, 2, axis=1)[:, ::2] if made == "strided" else part.astype(made)

    def convert_rows(first, count):
        return convert(x[first : first + count]), convert(y[first : first + count])

    data = taskmet.Dataset.from_blocks(convert_rows, ROWS, FEATURES, TARGETS, dtype=dtype)
    kept = taskmet.Dataset(x, y, dtype=dtype)
    assert taskmet.loss_value(*models(dtype), data) == taskmet.loss_value(*models(dtype), kept)


def test_models_must_have_the_dtype(streamed, dtype):
    other = "float64" if dtype == "float32" else "float32"
    with pytest.raises(taskmet.InvalidArgumentError, match=f"must be the predictor's, {other}, is {dtype}"):
        taskmet.loss_value(*models(other), streamed)
    with pytest.raises(ValueError, match="dtype must be float64 or float32, got 'float16'"):
        taskmet.Dataset.from_blocks(read, ROWS, FEATURES, TARGETS, dtype="float16")


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
def test_what_read_returns_is_checked(block, error, message, dtype):
    def blocks(first, count):
        return block(X[:count], Y[:count])

    data = taskmet.Dataset.from_blocks(blocks, 100, FEATURES, TARGETS, dtype=dtype)
    with pytest.raises(error, match=message):
        taskmet.loss_value(*models(dtype), data)


def test_numbers_that_float32_has_no_room_for():
    data = taskmet.Dataset.from_blocks(lambda first, count: (X[:count] * 1e300, Y[:count]), 100, 3, 2, dtype="float32")
    with pytest.raises(ValueError, match="x holds numbers that float32 has no room for"):
        taskmet.loss_value(*models("float32"), data)


def test_files_are_checked(tmp_path, dtype):
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(y, Y[:, 0].astype(dtype))
    rows = X.astype(dtype)
    for array, message in [
        (X.astype(np.float16), "has descr <f2"),
        (X.astype("float32" if dtype == "float64" else "float64"), f"x_path: .*, y_path: .* holds {dtype}"),
        (np.asfortranarray(rows), "fortran_order False"),
        (rows[:, 0], "must have two dimensions"),
        (X.astype(">f8"), "has descr >f8"),
    ]:
        np.save(x, array)
        with pytest.raises(taskmet.FormatError, match=message) as caught:
            taskmet.Dataset.from_files(x, y)
        assert str(x) in str(caught.value)
    np.save(x, rows[:7])
    with pytest.raises(taskmet.ShapeError, match="7"):
        taskmet.Dataset.from_files(x, y)
    with pytest.raises(taskmet.FileError, match="x_path: cannot open"):
        taskmet.Dataset.from_files(tmp_path / "missing.npy", y)
    with open(x, "wb") as file:
        np.lib.format.write_array(file, rows, version=(2, 0))
    data = taskmet.Dataset.from_files(x, y)
    assert data.shape == (ROWS, FEATURES, 1, ROWS) and data.dtype == np.dtype(dtype)


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
