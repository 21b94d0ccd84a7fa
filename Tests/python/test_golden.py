"""Every step-level quantity against golden values from automatic differentiation (Tests/golden).

A value agrees if |a - b| <= RELATIVE max|b| + TINY, entry by entry: norm-wise, because an entry that is small beside
its neighbours carries their rounding error. In every other case the matrices have rows longer than they need, filled up
with NaN, which no function may read or write.
"""

import functools
import json
import pathlib

import numpy as np
import pytest
import taskmet
from taskmet._arrays import matrix, vector
from taskmet._native import library

GOLDEN_FILE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "golden.json"
GOLDEN = json.loads(GOLDEN_FILE.read_text(encoding="utf-8"))
CASES = {case["name"]: case for case in GOLDEN["cases"]}
RELATIVE = 1e-9
TINY = 1e-13
UNTOUCHED = -7.0  # what fills the padding of outputs

# solver -> (the golden solution it must find, further options)
SOLVERS = {
    "dense": ("exact", {}),
    "minres": ("exact", {}),
    "cg": ("exact", {}),
    "normal_cg": ("exact", {}),
    "normal_cg with normal_ridge": ("normal", {"normal_ridge": None}),
    "neumann": ("exact", {"neumann_step": None}),
    "gauss_newton_cg": ("gauss_newton", {}),
    "identity": ("identity", {}),
}


def padded(values, padding, fill=np.nan):
    """A view of a copy of the matrix whose rows are followed by `padding` elements that hold `fill`."""
    values = np.asarray(values, dtype=np.float64)
    buffer = np.full((len(values), values.shape[1] + padding), fill)
    buffer[:, : values.shape[1]] = values
    return buffer[:, : values.shape[1]]


class Setup:
    """The objects of one golden case and its arrays; tests only read them."""

    def __init__(self, case):
        self.case, self.expected = case, case["results"]
        inputs = {key: None if value is None else np.array(value) for key, value in case["inputs"].items()}
        self.inputs = inputs
        self.padding = case["seed"] % 2 * (1 + case["seed"] % 3)
        self.x, self.y, self.c = (self.matrix(inputs[key]) for key in ("x", "y", "c"))
        self.w, self.cotangent = inputs["w"], inputs["cotangent"]
        self.rows, self.inputs_count = self.x.shape
        self.outputs = self.y.shape[1]
        self.predictor, self.metric = self.make_predictor(), self.make_metric()
        self.dataset = taskmet.Dataset(self.x, self.y, weights=inputs["weights"])
        self.objects = (self.predictor, self.metric, self.dataset)
        self.rho = case["rho"]

    def matrix(self, values):
        return padded(values, self.padding)

    def output(self):
        """rows x n, for a function to write into."""
        return padded(np.zeros((self.rows, self.outputs)), self.padding, UNTOUCHED)

    def make_predictor(self):
        config = self.case["predictor"]
        if config["kind"] == "linear":
            predictor = taskmet.Linear(self.inputs_count, self.outputs, config["bias"])
        else:
            predictor = taskmet.MLP(
                self.inputs_count, self.outputs, config["hidden"], config["activation"], config["output_activation"]
            )
        predictor.set_penalize_bias(config["penalize_bias"])
        if any(value is not None for value in config["standardization"].values()):
            predictor.set_standardization(**config["standardization"])
        predictor.parameters = self.inputs["theta"]
        return predictor

    def make_metric(self):
        config = self.case["metric"]
        if config["conditioning"] == "constant":
            metric = taskmet.Metric.constant(self.outputs, config["structure"], config["rank"])
        else:
            metric = taskmet.Metric.conditional(
                self.inputs_count,
                self.outputs,
                config["structure"],
                config["rank"],
                config["hidden"],
                config["activation"],
            )
            if config["standardization"]["mean"] is not None:
                metric.set_standardization(**config["standardization"])
        metric.set_normalization(config["normalization"])
        metric.set_floor(config["floor"])
        self.normalize(metric, config["scale_origin"])
        return metric

    def normalize(self, metric, origin):
        """Sets phi, and makes batch_trace's m from what the case says: derivatives in phi include m's for "current"."""
        if origin == "other_phi":
            metric.parameters = self.inputs["other_phi"]
            metric.update_normalization(self.x)
        metric.parameters = self.inputs["phi"]
        if origin == "current" and self.case["metric"]["normalization"] == "batch_trace":
            metric.update_normalization(self.x)
        if origin == "other_rows":
            metric.update_normalization(self.matrix(self.inputs["other_x"]))

    def options(self, solver, tolerance=1e-14):
        """Solver options that leave no error but rounding, with golden.json's ridges."""
        system, (_, extra) = self.expected["system"], SOLVERS[solver]
        values = {
            "normal_ridge": system["normal_ridge"],
            "neumann_step": 1.0 / system["eigenvalues"][1],  # half of the largest step that converges
        }
        condition = max(system["condition"], system["gauss_newton_condition"])
        iterations = int(50 * condition) if solver == "neumann" else 20 * len(self.w) + 100
        return dict(
            solver=solver.split()[0],
            tolerance=tolerance,
            ridge=system["ridge"],
            max_iterations=iterations,
            **{key: values[key] for key in extra},
        )


@functools.cache
def setup_of(name):
    return Setup(CASES[name])


@pytest.fixture(params=CASES)
def setup(request):
    """Every case, unless the test chooses (see cases_where)."""
    return setup_of(request.param)


def cases_where(condition):
    """Parametrises a test over the cases for which condition(case) holds."""
    return pytest.mark.parametrize("setup", [n for n, case in CASES.items() if condition(case)], indirect=True)


def is_definite(case):
    return case["results"]["system"]["positive_definite"]


def solver_runs():
    """(case, solver) pairs: the Neumann series needs a positive definite matrix."""
    pairs = [(name, solver) for name in CASES for solver in SOLVERS if solver != "neumann" or is_definite(CASES[name])]
    return pytest.mark.parametrize(("setup", "solver"), pairs, indirect=["setup"])


def assert_close(actual, expected, relative=RELATIVE):
    """|actual - expected| <= relative max|expected| + TINY, entry by entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    allowed = relative * np.max(np.abs(expected)) + TINY
    error = np.max(np.abs(actual - expected))
    assert error <= allowed, f"error {error:.3e}, allowed {allowed:.3e}"  # also false for NaN


def assert_padding_untouched(matrix):
    if matrix.base.shape[1] > matrix.shape[1]:
        assert np.all(matrix.base[:, matrix.shape[1] :] == UNTOUCHED)


# ----------------------------------------------------------------------------------------------------------------------
# Predictor


def sizes(model):
    return model.inputs, model.outputs, model.parameter_count


def test_parameter_layout(setup):
    assert sizes(setup.predictor) == (setup.inputs_count, setup.outputs, len(setup.inputs["theta"]))
    assert np.array_equal(setup.predictor.parameters, setup.inputs["theta"])
    constant = setup.case["metric"]["conditioning"] == "constant"
    assert sizes(setup.metric) == (0 if constant else setup.inputs_count, setup.outputs, len(setup.inputs["phi"]))
    assert np.array_equal(setup.metric.parameters, setup.inputs["phi"])


def test_predict(setup):
    assert_close(setup.predictor.predict(setup.x), setup.expected["predictions"])
    out = setup.output()
    library.predictor_predict(setup.predictor.handle, setup.rows, *matrix(setup.x), *matrix(out))
    assert_close(out, setup.expected["predictions"])
    assert_padding_untouched(out)


def test_predictor_vjp(setup):
    assert_close(setup.predictor.vjp(setup.x, setup.c), setup.expected["vjp"])


def test_predictor_jvp(setup):
    assert_close(setup.predictor.jvp(setup.x, setup.w), setup.expected["jvp"])
    out, handle = setup.output(), setup.predictor.handle
    library.predictor_jvp(handle, setup.rows, *matrix(setup.x), *vector(setup.w), *matrix(out))
    assert_close(out, setup.expected["jvp"])
    assert_padding_untouched(out)


# ----------------------------------------------------------------------------------------------------------------------
# Metric


def test_normalization_scale(setup):
    assert_close(setup.metric.normalization_scale, setup.expected["normalization_scale"])


def test_metric_evaluate(setup):
    assert_close(setup.metric.evaluate(setup.x), setup.expected["metric"])


def test_metric_vjp(setup):
    assert_close(setup.metric.vjp(setup.x, setup.cotangent), setup.expected["metric_vjp"])


@cases_where(lambda case: "regularizer" in case["results"])
def test_metric_regularizer(setup):
    value, gradient = setup.metric.regularizer(setup.x, setup.inputs["b1"], setup.inputs["b2"])
    assert_close(value, setup.expected["regularizer"]["value"])
    assert_close(gradient, setup.expected["regularizer"]["gradient"])


@cases_where(lambda case: case["metric"]["conditioning"] == "constant")
def test_constant_metric_needs_no_features(setup):
    assert_close(setup.metric.evaluate(), setup.expected["metric"][0])


# ----------------------------------------------------------------------------------------------------------------------
# Loss


def test_loss_value(setup):
    assert_close(taskmet.loss_value(*setup.objects, setup.rho), setup.expected["loss"])


def test_loss_gradient(setup):
    assert_close(taskmet.loss_gradient(*setup.objects, setup.rho), setup.expected["gradient"])


def test_loss_value_gradient(setup):
    value, gradient = taskmet.loss_value_and_gradient(*setup.objects, setup.rho)
    assert_close(value, setup.expected["loss"])
    assert_close(gradient, setup.expected["gradient"])


def test_workspace_and_threads_leave_the_bits(setup):
    value, gradient = taskmet.loss_value_and_gradient(*setup.objects, setup.rho)
    for threads in (1, 2):
        again, gradient_again = taskmet.loss_value_and_gradient(*setup.objects, setup.rho, taskmet.Workspace(threads))
        assert again == value
        assert np.array_equal(gradient_again, gradient)


def test_loss_hvp(setup):
    assert_close(taskmet.loss_hvp(*setup.objects, setup.w, setup.rho), setup.expected["hvp"])


def test_loss_gnvp(setup):
    assert_close(taskmet.loss_gnvp(*setup.objects, setup.w, setup.rho), setup.expected["gnvp"])


# ----------------------------------------------------------------------------------------------------------------------
# Hypergradient


@solver_runs()
def test_hypergradient(setup, solver):
    solution = setup.expected["solutions"][SOLVERS[solver][0]]
    out, report = taskmet.hypergradient(*setup.objects, setup.c, setup.rho, **setup.options(solver))
    assert_close(out, solution["hypergradient"])
    assert_close(report.solution_norm, np.linalg.norm(solution["v"]))
    assert_close(report.gradient_norm, np.linalg.norm(setup.expected["vjp"]))
    assert report.residual == pytest.approx(solution["residual"], rel=1e-7, abs=1e-9)


@solver_runs()
def test_hypergradient_from_gradient(setup, solver):
    solution = setup.expected["solutions"][SOLVERS[solver][0]]
    options = setup.options(solver)
    out, v, _ = taskmet.hypergradient_from_gradient(
        *setup.objects, setup.expected["vjp"], setup.rho, workspace=taskmet.Workspace(threads=2), **options
    )
    assert_close(v, solution["v"])
    assert_close(out, solution["hypergradient"])
    same, _ = taskmet.hypergradient(*setup.objects, setup.c, setup.rho, **options)
    assert_close(out, same)


@pytest.mark.parametrize("solver", ["cg", "minres", "normal_cg", "dense", "gauss_newton_cg"])
def test_solver_report(setup, solver):
    definite = is_definite(setup.case)
    _, report = taskmet.hypergradient(*setup.objects, setup.c, setup.rho, **setup.options(solver, tolerance=1e-8))
    assert report.converged
    if solver == "cg":
        assert report.negative_curvature != definite
        assert report.solver == ("cg" if definite else "minres")
    else:
        assert report.solver == solver
    if solver != "gauss_newton_cg":
        assert report.residual <= 1e-8


def test_warm_start_keeps_a_solution(setup):
    """A solver that starts at the solution has nothing left to do."""
    solution = setup.expected["solutions"]["exact"]
    out, v, report = taskmet.hypergradient_from_gradient(
        *setup.objects, setup.expected["vjp"], setup.rho, v=solution["v"], **setup.options("minres", tolerance=1e-9)
    )
    assert report.iterations <= 1
    assert_close(v, solution["v"], 1e-6)
    assert_close(out, solution["hypergradient"], 1e-6)


# ----------------------------------------------------------------------------------------------------------------------
# Optimisers


def make_optimizer(run, rate=None):
    constants = [run[key] for key in ("beta1", "beta2", "epsilon", "momentum") if key in run]
    return getattr(taskmet.Optimizer, run["kind"])(len(run["parameters"]), rate or run["rate"], *constants)


@pytest.fixture(params=range(len(GOLDEN["optimizers"])))
def run(request):
    return GOLDEN["optimizers"][request.param]


def assert_run(optimizer, run):
    parameters = np.array(run["parameters"])
    for gradient, expected in zip(run["gradients"], run["history"], strict=True):
        parameters = optimizer.step(gradient, parameters)
        assert_close(parameters, expected, 1e-13)


def test_optimizer(run):
    assert_run(make_optimizer(run), run)


def test_optimizer_reset_and_rate(run):
    """After a reset the optimiser is as new, with the learning rate it was given last."""
    optimizer = make_optimizer(run, rate=1.0)
    optimizer.set_learning_rate(run["rate"])
    optimizer.step(run["gradients"][3], np.zeros(len(run["parameters"])))
    optimizer.reset()
    assert_run(optimizer, run)
