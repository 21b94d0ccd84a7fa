"""The package's objects: arrays that cross, sizes that do not fit, closed objects, pickles, options."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import taskmet
from problems import X, Y, cost, make_trainer
from taskmet import _arrays, data

GENERATOR = np.random.default_rng(5)
ROWS, FEATURES = 12, 3
x = GENERATOR.standard_normal((ROWS, FEATURES))
y = GENERATOR.standard_normal((ROWS, 2))


def two_outputs():
    predictor = taskmet.MLP(FEATURES, 2, [4], "tanh", seed=2)
    metric = taskmet.Metric.conditional(FEATURES, 2, "full", hidden=[4], seed=3)
    return predictor, metric, taskmet.Dataset(x, y)


def smooth(batch):
    """A cost with weights by output, and its gradient."""
    error, weights = batch.predictions - batch.targets, np.array([1.0, 4.0])
    return np.mean(weights * error**4), 4 * weights * error**3 / error.size


# ----------------------------------------------------------------------------------------------------------------------
# Arrays


def layouts():
    wide = np.full((2 * ROWS, FEATURES + 2), np.nan)
    wide[::2, 1 : FEATURES + 1] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(x.shape)
    return {
        "contiguous": (x, True),
        "strided rows": (wide[::2, 1 : FEATURES + 1], True),
        "read only": (read_only, True),
        "Fortran order": (np.asfortranarray(x), False),
        "reversed rows": (x[::-1].copy()[::-1], False),
        "big endian": (x.astype(">f8"), False),
        "unaligned": (unaligned, False),
        "list": (x.tolist(), False),
        "long double": (x.astype(np.longdouble), False),
    }


@pytest.mark.parametrize("name", layouts())
def test_layouts(name):
    """Each layout gives the same bits, and those that can cross do so without a copy."""
    array, crosses = layouts()[name]
    predictor = two_outputs()[0]
    assert np.array_equal(predictor.predict(array), predictor.predict(x))
    assert np.shares_memory(_arrays.as_matrix(array, "x"), np.asarray(array)) == crosses
    expected = taskmet.loss_value(*two_outputs())
    assert taskmet.loss_value(*two_outputs()[:2], taskmet.Dataset(array, y)) == expected


def test_broadcast_rows_are_copied():
    assert np.array_equal(
        two_outputs()[0].predict(np.broadcast_to(x[:1], (4, FEATURES))),
        two_outputs()[0].predict(np.repeat(x[:1], 4, 0)),
    )


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float32, np.float16, bool])
def test_numbers_of_other_types_are_converted(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    assert np.array_equal(two_outputs()[0].predict(array), two_outputs()[0].predict(array.astype(np.float64)))


@pytest.mark.parametrize("array", [x.astype(complex), np.array([["a", "b", "c"]]), np.array([[None] * 3])])
def test_what_is_no_real_number_is_refused(array):
    with pytest.raises(TypeError, match="x must hold real numbers, got dtype"):
        two_outputs()[0].predict(array)


def test_borrowed_arrays_live_as_long_as_they_are_read():
    """Dataset and trainer are what holds them; a trainer holds them although the dataset is closed."""
    mine = x.copy()
    reference, before = weakref.ref(mine), len(data._held)
    dataset = taskmet.Dataset(mine, y)
    trainer = taskmet.Trainer(*two_outputs()[:2], dataset, smooth, outer_iterations=1)
    dataset.close()
    del mine
    gc.collect()
    assert reference() is not None
    trainer.fit()
    trainer.close()
    gc.collect()
    assert reference() is None
    assert len(data._held) == before


def test_a_borrowed_array_is_read_where_it_is():
    mine = x.copy()
    predictor, metric, _ = two_outputs()
    dataset, copied = taskmet.Dataset(mine, y), taskmet.Dataset(mine, y, copy=True)
    before = taskmet.loss_value(predictor, metric, dataset)
    mine += 1.0
    assert taskmet.loss_value(predictor, metric, dataset) != before
    assert taskmet.loss_value(predictor, metric, copied) == before


def test_a_refused_dataset_keeps_nothing():
    before = len(data._held)
    for bad in (np.nan, np.inf):
        with pytest.raises(taskmet.InvalidArgumentError, match=r"x\[0\]\[1\]|x\[0, 1\]|x.*finite"):
            taskmet.Dataset(np.where(np.arange(FEATURES) == 1, bad, x), y)
    assert len(data._held) == before


# ----------------------------------------------------------------------------------------------------------------------
# Sizes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, m, d: taskmet.Dataset(x, y[:-1]), "same number of rows, got 12 and 11"),
        (lambda p, m, d: taskmet.Dataset(x[:0], y[:0]), "rows must be"),
        (lambda p, m, d: taskmet.Dataset(np.zeros((2, 2, 2)), y), r"two dimensions, got shape \(2, 2, 2\)"),
        (lambda p, m, d: taskmet.Dataset(x, y, weights=np.ones(3)), "count must be"),
        (lambda p, m, d: taskmet.Dataset(x, y, weights=-np.ones(ROWS)), "weights"),
        (lambda p, m, d: taskmet.Dataset(x, y, instances=[0, 5]), "instances must go from 0 to the number of rows, 12"),
        (lambda p, m, d: taskmet.Dataset(x, y, instances=[0, 5, 5, 12]), "offsets"),
        (lambda p, m, d: taskmet.Dataset(x, y, context=[[1.0]]), "array for each of 12 instances, got 1"),
        (lambda p, m, d: p.predict(x[:, :2]), r"x must have 3 columns, got shape \(12, 2\)"),
        (lambda p, m, d: p.vjp(x, y[:3]), r"c must have shape \(12, 2\), got \(3, 2\)"),
        (lambda p, m, d: p.jvp(x, [1.0]), "count must be"),
        (lambda p, m, d: setattr(p, "parameters", [1.0]), "count must be"),
        (lambda p, m, d: m.evaluate(), "x must be given for a conditional metric"),
        (lambda p, m, d: m.vjp(x, y), r"cotangent must have shape \(12, 2, 2\), got \(12, 2\)"),
        (lambda p, m, d: taskmet.hypergradient(p, m, d, y[:3]), r"c must have shape \(12, 2\), got \(3, 2\)"),
        (lambda p, m, d: taskmet.loss_hvp(p, m, d, [1.0]), "count must be"),
        (lambda p, m, d: taskmet.MLP(3, 2, [4, 0]), r"hidden\[1\] must be >= 1, got 0"),
        (lambda p, m, d: taskmet.MLP(3, 2, [4], "cosine"), "activation must be one of identity, relu, .* got 'cosine'"),
        (lambda p, m, d: taskmet.Metric.constant(2, "lowrank", rank=3), "rank must be"),
        (lambda p, m, d: p.set_standardization(input_mean=np.zeros(3)), "must be given together"),
        (lambda p, m, d: taskmet.CallbackTask(smooth).loss(d, y[:3]), r"predictions must have shape \(12, 2\)"),
        (lambda p, m, d: taskmet.Optimizer.sgd(2, 0.1).step([1.0], [1.0, 2.0]), "gradient_count"),
    ],
)
def test_sizes_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*two_outputs())


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="rows must be >= 1, got 0"):
        two_outputs()[0].predict(np.zeros((0, FEATURES)))


def test_unknown_options_are_named():
    with pytest.raises(TypeError, match="unknown option 'iterations'; there are solver, max_iterations"):
        taskmet.minimize(*two_outputs(), iterations=3)
    with pytest.raises(ValueError, match="name must be one of preset, method, .* got"):
        make_trainer(iterations=3)
    with pytest.raises(TypeError, match="task must be a task, or .task, weight. pairs; got <function"):
        make_trainer([lambda batch: 0.0])
    with pytest.raises(TypeError, match="patience must be a whole number, got 1.5"):
        make_trainer(patience=1.5)
    with pytest.raises(ValueError, match="solver"):
        make_trainer(solver="magic")


# ----------------------------------------------------------------------------------------------------------------------
# Lifetime


def test_closed_objects_say_so():
    predictor, metric, dataset = two_outputs()
    trainer = make_trainer(outer_iterations=1)
    for thing in (predictor, metric, dataset, trainer, taskmet.Workspace(), taskmet.Optimizer.sgd(1, 0.1)):
        with thing:
            assert "closed" not in repr(thing)
        thing.close()
        assert repr(thing) == f"<{type(thing).__name__} (closed)>"
        with pytest.raises(ValueError, match=f"this {type(thing).__name__} is closed"):
            _ = thing.handle


def test_closing_in_its_own_callback():
    trainer = make_trainer(lambda batch: (trainer.close(), cost(batch))[1], outer_iterations=2)
    trainer.fit()
    assert trainer.closed


def test_representations():
    predictor, metric, dataset = two_outputs()
    assert repr(predictor) == "<MLP inputs=3 outputs=2 parameters=26>"
    assert repr(metric) == "<Metric inputs=3 outputs=2 parameters=37>"
    assert repr(dataset) == "<Dataset rows=12 features=3 targets=2 instances=12>"
    assert repr(make_trainer()) == "<Trainer iterations=0 tasks=1>"
    assert repr(taskmet.CallbackTask(smooth)) == "CallbackTask(function=smooth)"


def test_pickles_and_copies():
    predictor, metric, dataset = two_outputs()
    predictor.fit_standardization(dataset)
    metric.set_normalization("batch_trace")
    metric.update_normalization(x)
    for duplicate in (lambda model: pickle.loads(pickle.dumps(model)), copy.copy, copy.deepcopy):
        assert np.array_equal(duplicate(predictor).predict(x), predictor.predict(x))
        assert np.array_equal(duplicate(metric).evaluate(x), metric.evaluate(x))
        assert type(duplicate(predictor)) is taskmet.MLP
    independent = predictor.copy()
    independent.parameters = np.zeros(26)
    assert not np.array_equal(independent.predict(x), predictor.predict(x))
    with pytest.raises(TypeError, match="a Dataset cannot be pickled"):
        pickle.dumps(dataset)


def test_a_task_is_a_description():
    """It can be copied and pickled, used or not, and used again when closed."""
    task, dataset = taskmet.CallbackTask(smooth), taskmet.Dataset(x, y)
    expected = task.loss(dataset, np.zeros((ROWS, 2)))
    for other in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        assert other.loss(dataset, np.zeros((ROWS, 2))) == expected
    task.close()
    assert task.loss(dataset, np.zeros((ROWS, 2))) == expected


# ----------------------------------------------------------------------------------------------------------------------
# Datasets


def test_context_reaches_the_task():
    seen = {}

    def task(batch):
        seen.update(zip(batch.instances.tolist(), batch.context, strict=True))
        return 0.0

    context = [np.arange(3.0), np.zeros(0), np.eye(2)]
    dataset = taskmet.Dataset(x, y, instances=[0, 4, 6, 12], context=context)
    taskmet.CallbackTask(task).loss(dataset, np.zeros((ROWS, 2)))
    assert {key: value.tolist() for key, value in seen.items()} == {0: [0, 1, 2], 1: [], 2: [1, 0, 0, 1]}
    dataset.set_context(None)
    taskmet.CallbackTask(lambda batch: 0.0 if batch.context is None else 1.0).loss(dataset, np.zeros((ROWS, 2)))


def test_batches_hold_the_rows_of_their_instances():
    def task(batch):
        assert batch.phase == "validation" and not batch.needs_gradient
        assert np.array_equal(batch.inputs, x) and np.array_equal(batch.targets, y)
        assert batch.offsets.tolist() == [0, 4, 6, 12]
        assert batch.slices == [slice(0, 4), slice(4, 6), slice(6, 12)]
        return float(np.sum(batch.predictions))

    dataset = taskmet.Dataset(x, y, instances=[0, 4, 6, 12])
    predictions = GENERATOR.standard_normal((ROWS, 2))
    assert taskmet.CallbackTask(task).loss(dataset, predictions) == np.sum(predictions)


def test_refill():
    predictor, metric, _ = two_outputs()
    dataset = taskmet.Dataset(x[:5], y[:5], copy=True)
    dataset.refill(x, y, weights=np.arange(ROWS))
    expected = taskmet.loss_value(predictor, metric, taskmet.Dataset(x, y, weights=np.arange(ROWS)))
    assert taskmet.loss_value(predictor, metric, dataset) == expected
    with pytest.raises(taskmet.StateError):
        taskmet.Dataset(x, y).refill(x, y)
    with pytest.raises(ValueError, match="x and y must have 3 and 2 columns, got 2 and 2"):
        dataset.refill(x[:, :2], y)


# ----------------------------------------------------------------------------------------------------------------------
# The user's own predictor


def quadratic_predictor():
    """f(x) = (a x0)^2 + b x1, by hand; exact second derivatives."""

    def forward(x, theta):
        return (theta[0] * x[:, :1]) ** 2 + theta[1] * x[:, 1:2]

    def vjp(x, theta, c):
        return [np.sum(c * 2 * theta[0] * x[:, :1] ** 2), np.sum(c * x[:, 1:2])]

    def jvp(x, theta, w):
        return 2 * theta[0] * w[0] * x[:, :1] ** 2 + w[1] * x[:, 1:2]

    def hvp(x, theta, c, w):
        return [np.sum(c * 2 * w[0] * x[:, :1] ** 2), 0.0]

    return taskmet.CallbackPredictor(FEATURES, 1, [0.7, -0.4], forward, vjp, jvp, hvp)


def test_callback_predictor_derivatives():
    """Gradient and H w against central differences; a smooth function, so to 1e-8."""
    predictor, metric = quadratic_predictor(), taskmet.Metric.conditional(FEATURES, 1, "scalar", hidden=[4], seed=1)
    dataset, theta, step = taskmet.Dataset(x, y[:, 0]), predictor.parameters, 1e-5

    def at(function, shifted):
        moved = predictor.copy()
        moved.parameters = shifted
        return function(moved, metric, dataset, 0.1)

    def difference(function, w):
        return (at(function, theta + step * w) - at(function, theta - step * w)) / (2 * step)

    gradient = taskmet.loss_gradient(predictor, metric, dataset, 0.1)
    for w in np.eye(2):
        assert gradient @ w == pytest.approx(difference(taskmet.loss_value, w), rel=1e-8)
        product = taskmet.loss_hvp(predictor, metric, dataset, w, 0.1)
        assert product == pytest.approx(difference(taskmet.loss_gradient, w), rel=1e-8)


def test_callback_predictor_is_trained_and_copied():
    predictor = quadratic_predictor()
    metric = taskmet.Metric.conditional(FEATURES, 1, "scalar", hidden=[4], seed=1)
    options = {"inner_solver": "lbfgs", "outer_iterations": 3, "rho": 1e-3}
    trainer = taskmet.Trainer(predictor, metric, taskmet.Dataset(x, y[:, 0]), taskmet.squared_error, **options)
    assert trainer.fit().report_.iterations == 3
    best = trainer.predictor_
    trainer.close()
    del predictor, trainer
    gc.collect()
    assert best.predict(x).shape == (ROWS, 1)
    with pytest.raises(taskmet.UnsupportedError):
        best.save("/tmp/never.safetensors")


# ----------------------------------------------------------------------------------------------------------------------
# Checks, trainer


def test_check_task_gradient():
    dataset, predictions = taskmet.Dataset(x, y), GENERATOR.standard_normal((ROWS, 2))
    assert taskmet.check_task_gradient(smooth, dataset, predictions).correct
    halved = taskmet.check_task_gradient(lambda b: (smooth(b)[0], smooth(b)[1] / 2), dataset, predictions)
    assert halved.verdict == "wrong" and halved.worst_error == pytest.approx(0.5, rel=1e-3)


def test_check_hypergradient():
    """An exact hypergradient is found correct, and a badly solved one wrong."""
    metric = taskmet.Metric.conditional(FEATURES, 2, "full", hidden=[4], seed=3)
    arguments = (taskmet.Linear(FEATURES, 2), metric, taskmet.Dataset(x, y), smooth, 0.1)
    exact = {"solver": "exact"}
    assert taskmet.check_hypergradient(*arguments, inner=exact, solver={"solver": "dense"}).correct
    assert taskmet.check_hypergradient(*arguments, inner=exact, solver={"solver": "identity"}).verdict == "wrong"


def test_trainer_options():
    trainer = make_trainer(metric_rate=0.5, preset="paper", patience=7)
    options = trainer.options
    assert (options["metric_rate"], options["patience"], options["solver"]) == (0.5, 7, "normal_cg")
    assert dict(options).keys() == taskmet.options().keys()
    options["seed"] = 3
    assert trainer.options["seed"] == 3
    for option in taskmet.options().values():
        assert f"`{option.name}`" in taskmet.Trainer.__doc__


def test_trainer_validation_history_and_models():
    trainer = make_trainer(validation=taskmet.Dataset(X[::2], Y[::2]), outer_iterations=5).fit()
    history = trainer.history_
    assert history["iteration"].tolist() == [0, 1, 2, 3, 4, 5]
    assert trainer.report_.best_task_loss == history["validation_task_loss"].min()
    assert history["is_best"].dtype == bool
    held_out = taskmet.Dataset(X[::2], Y[::2])
    task = taskmet.CallbackTask(cost)
    assert task.evaluate(trainer.predictor_, held_out) == pytest.approx(trainer.report_.best_task_loss)
    losses = task.instance_losses(trainer.predictor_, held_out)
    assert losses.mean() == pytest.approx(trainer.report_.best_task_loss)
    assert np.array_equal(trainer.metric_.parameters, trainer.metric("best").parameters)
    assert "no hypergradient could be trusted" not in trainer.explain()
    assert trainer.explain().count("\n") >= 3


def test_trainer_goes_on_from_a_file(tmp_path):
    whole = make_trainer(outer_iterations=6).fit()
    half = make_trainer(outer_iterations=3).fit()
    half.save(tmp_path / "state.safetensors")
    other = make_trainer()
    other.load(tmp_path / "state.safetensors")
    other.options["outer_iterations"] = 6
    other.fit()
    assert np.array_equal(other.predictor("last").parameters, whole.predictor("last").parameters)
    assert other.history_["task_loss"].tolist() == whole.history_["task_loss"].tolist()


def test_several_tasks():
    """Weights add up: a task with weight 2 is two of them."""
    twice = make_trainer([(cost, 1.0), (cost, 1.0)], outer_iterations=3).fit()
    double = make_trainer([(cost, 2.0)], outer_iterations=3).fit()
    assert np.allclose(twice.history_["task_loss"], double.history_["task_loss"], rtol=1e-12)


def test_progress(capsys):
    make_trainer(outer_iterations=3).fit(progress=True)
    drawn = capsys.readouterr().err
    assert "3/3" in drawn and "task loss" in drawn and "residual" in drawn
    make_trainer(outer_iterations=3).fit()
    assert capsys.readouterr() == ("", "")
