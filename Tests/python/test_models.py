"""Saved predictors and metrics: the safetensors file, read without the library, and the object loaded from it."""

import itertools
import json
import math
import struct

import numpy as np
import pytest
import taskmet

INPUTS, OUTPUTS, ROWS = 3, 2, 9


def read_safetensors(path):
    """(tensors by name, metadata). The format: a header length (uint64, little endian), a JSON header, then the
    tensors' bytes, back to back."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert content[8:9] == b"{"
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.pop("__metadata__", {})
    assert all(isinstance(value, str) for value in metadata.values())
    assert_contiguous(header, len(data))
    return {name: tensor(entry, data) for name, entry in header.items()}, metadata


def assert_contiguous(header, size):
    """The tensors fill the data without holes or overlaps, as the format demands."""
    offsets = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    ends = [0, *(end for _, end in offsets)]
    assert [begin for begin, _ in offsets] == ends[:-1]
    assert ends[-1] == size


def tensor(entry, data):
    """One tensor as a float64 array of its shape."""
    begin, end = entry["data_offsets"]
    assert entry["dtype"] == "F64"
    assert end - begin == 8 * math.prod(entry["shape"])
    return np.frombuffer(data[begin:end], dtype="<f8").reshape(entry["shape"])


def expected_layers(parameters, sizes, bias=True):
    """name -> array of a flat vector: layers.<k>.weight (outputs x inputs), layers.<k>.bias (outputs)."""
    result, start = {}, 0
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        result[f"layers.{k}.weight"] = parameters[start : start + inputs * outputs].reshape(outputs, inputs)
        start += inputs * outputs
        if bias:
            result[f"layers.{k}.bias"] = parameters[start : start + outputs]
            start += outputs
    assert start == len(parameters)
    return result


def assert_tensors(tensors, expected):
    """The expected tensors are there, bit for bit, and no other layer is."""
    for name, values in expected.items():
        assert tensors[name].shape == values.shape, name
        assert np.array_equal(tensors[name], values), name
    assert {name for name in tensors if name.startswith("layers.")} == {n for n in expected if n.startswith("layers.")}


@pytest.fixture
def generator():
    return np.random.default_rng(7)


@pytest.fixture
def x(generator):
    return generator.standard_normal((ROWS, INPUTS))


def make_predictor(kind, generator):
    """(predictor, layer sizes, bias)."""
    if kind == "mlp":
        hidden = [5, 4]
        predictor = taskmet.MLP(INPUTS, OUTPUTS, hidden, "gelu", "softplus", seed=3)
        return predictor, [INPUTS, *hidden, OUTPUTS], True
    predictor = taskmet.Linear(INPUTS, OUTPUTS, kind == "linear with bias")
    predictor.parameters = generator.standard_normal(predictor.parameter_count)
    return predictor, [INPUTS, OUTPUTS], kind == "linear with bias"


def standardize(predictor, generator):
    predictor.set_standardization(
        generator.standard_normal(INPUTS),
        generator.uniform(0.5, 2.0, INPUTS),
        generator.standard_normal(OUTPUTS),
        generator.uniform(0.5, 2.0, OUTPUTS),
    )


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("kind", ["linear", "linear with bias", "mlp"])
def test_predictor(tmp_path, generator, x, kind, standardized):
    predictor, sizes, bias = make_predictor(kind, generator)
    if standardized:
        standardize(predictor, generator)
    path = tmp_path / "predictor.safetensors"
    predictor.save(path)
    tensors, _ = read_safetensors(path)
    assert_tensors(tensors, expected_layers(predictor.parameters, sizes, bias))
    loaded = taskmet.Predictor.load(path)
    assert repr(loaded).split()[1:] == repr(predictor).split()[1:]
    assert np.array_equal(loaded.parameters, predictor.parameters)
    assert np.array_equal(loaded.predict(x), predictor.predict(x))


def test_predictor_keeps_penalize_bias(tmp_path, generator, x):
    """The penalty's extent belongs to the predictor: the loss after loading is the loss before saving."""
    predictor, _, _ = make_predictor("linear with bias", generator)
    predictor.set_penalize_bias(False)
    predictor.save(tmp_path / "p.safetensors")
    loaded = taskmet.Predictor.load(tmp_path / "p.safetensors")
    dataset, metric = (
        taskmet.Dataset(x, generator.standard_normal((ROWS, OUTPUTS))),
        taskmet.Metric.constant(OUTPUTS, "full"),
    )
    before, after = (taskmet.loss_value(p, metric, dataset, rho=1.0) for p in (predictor, loaded))
    assert before == after


def test_predictor_file_is_replaced(tmp_path, generator, x):
    path = tmp_path / "predictor.safetensors"
    for kind in ("mlp", "linear"):
        predictor, _, _ = make_predictor(kind, generator)
        predictor.save(path)
    assert np.array_equal(taskmet.Predictor.load(path).predict(x), predictor.predict(x))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_fitted_standardization(generator, x):
    """fit_standardization takes columns' means and population standard deviations; a constant column gets scale 1."""
    x[:, 1] = 4.0
    y = generator.standard_normal((ROWS, OUTPUTS))
    fitted, _, _ = make_predictor("mlp", generator)
    expected, _, _ = make_predictor("mlp", generator)
    fitted.fit_standardization(taskmet.Dataset(x, y))
    expected.set_standardization(
        x.mean(axis=0), np.where(np.arange(INPUTS) == 1, 1.0, x.std(axis=0)), y.mean(axis=0), y.std(axis=0)
    )
    assert np.allclose(fitted.predict(x), expected.predict(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("structure", "shape"),
    [("scalar", (1,)), ("diagonal", (OUTPUTS,)), ("lowrank", (OUTPUTS, 1)), ("full", (OUTPUTS, OUTPUTS))],
)
def test_constant_metric(tmp_path, generator, structure, shape):
    metric = taskmet.Metric.constant(OUTPUTS, structure, rank=1, seed=5)
    metric.parameters = generator.standard_normal(metric.parameter_count)
    metric.set_floor(0.125)
    path = tmp_path / "metric.safetensors"
    metric.save(path)
    tensors, _ = read_safetensors(path)
    assert tensors["factor"].size == math.prod(shape)
    if len(shape) == 2:
        assert tensors["factor"].shape == shape
    assert np.array_equal(tensors["factor"].ravel(), metric.parameters[:-1])
    assert tensors["s"].size == 1
    assert tensors["s"].ravel()[0] == metric.parameters[-1]
    assert_same_metric(taskmet.Metric.load(path), metric, np.zeros((ROWS, 1)))


@pytest.mark.parametrize("hidden", [[], [4], [4, 3]])
def test_conditional_metric(tmp_path, generator, x, hidden):
    metric = taskmet.Metric.conditional(INPUTS, OUTPUTS, "lowrank", 2, hidden, "softplus", seed=5)
    metric.parameters = metric.parameters + 0.3 * generator.standard_normal(metric.parameter_count)
    metric.set_floor(0.05)
    metric.set_standardization(generator.standard_normal(INPUTS), generator.uniform(0.5, 2.0, INPUTS))
    path = tmp_path / "metric.safetensors"
    metric.save(path)
    tensors, _ = read_safetensors(path)
    expected = expected_layers(metric.parameters[:-1], [INPUTS, *hidden, 2 * OUTPUTS])
    assert_tensors(tensors, expected)
    assert tensors["s"].ravel().tolist() == [metric.parameters[-1]]
    assert_same_metric(taskmet.Metric.load(path), metric, x)


@pytest.mark.parametrize("normalization", ["none", "frobenius", "trace", "batch_trace"])
def test_metric_keeps_its_normalization(tmp_path, x, normalization):
    metric = taskmet.Metric.conditional(INPUTS, OUTPUTS, "full", None, [4], "tanh", seed=11)
    metric.set_normalization(normalization)
    if normalization == "batch_trace":
        metric.update_normalization(x[:4] * 3.0)
        assert metric.normalization_scale != 1.0
    metric.save(tmp_path / "m.safetensors")
    assert_same_metric(taskmet.Metric.load(tmp_path / "m.safetensors"), metric, x)


def assert_same_metric(loaded, metric, x):
    """Parameters, m and Lambda on rows x, bit for bit."""
    assert repr(loaded) == repr(metric)
    assert np.array_equal(loaded.parameters, metric.parameters)
    assert loaded.normalization_scale == metric.normalization_scale
    assert np.array_equal(loaded.evaluate(x), metric.evaluate(x))


def test_load_refuses_what_is_not_a_model(tmp_path, x):
    """FORMAT (10) for other bytes, IO (9) for no file, and a metric is not a predictor."""
    path = tmp_path / "model.safetensors"
    with pytest.raises(taskmet.TaskMetError) as error:
        taskmet.Predictor.load(path)
    assert error.value.status == 9
    path.write_bytes(b"not a model")
    with pytest.raises(taskmet.TaskMetError) as error:
        taskmet.Predictor.load(path)
    assert error.value.status == 10
    taskmet.Metric.constant(OUTPUTS, "full").save(path)
    with pytest.raises(taskmet.TaskMetError) as error:
        taskmet.Predictor.load(path)
    assert error.value.status == 10


def test_linearization():
    """The predictor's own products at the rows and parameters that it was made with, and derivatives in the inputs."""
    generator = np.random.default_rng(8)
    network = taskmet.MLP(3, 2, hidden=[5], activation="tanh", seed=2)
    x, c = generator.standard_normal((4, 3)), generator.standard_normal((4, 2))
    v, theta = generator.standard_normal(network.parameter_count), network.parameters
    at = taskmet.Linearization(network, x)
    expected = network.predict(x), network.vjp(x, c), network.jvp(x, v)
    step = 1e-5
    network.parameters = theta + step * v
    ahead = network.vjp(x, c)
    network.parameters = theta - step * v
    curvature = (ahead - network.vjp(x, c)) / (2 * step)
    for have, want in zip((at.predictions, at.vjp(c), at.jvp(v)), expected, strict=True):
        assert np.allclose(have, want, rtol=1e-13, atol=1e-13)
    assert np.allclose(at.hvp(c, v), curvature, rtol=1e-7, atol=1e-8)
    network.parameters = theta
    moved = [x + sign * step * np.eye(3)[k] for k in range(3) for sign in (1, -1)]
    slopes = [np.sum(c * network.predict(rows), axis=1) for rows in moved]
    by_input = np.stack([(slopes[2 * k] - slopes[2 * k + 1]) / (2 * step) for k in range(3)], axis=1)
    assert np.allclose(at.input_vjp(c), by_input, rtol=1e-7, atol=1e-8)
    assert repr(at) == "<Linearization rows=4 inputs=3 outputs=2>"
    with pytest.raises(ValueError, match=r"c must have shape \(4, 2\), got \(3, 2\)"):
        at.vjp(c[:3])
    with pytest.raises(taskmet.ShapeError):
        at.jvp(v[:-1])
    at.update(network, x[:2])
    assert np.array_equal(at.predictions, network.predict(x[:2]))
