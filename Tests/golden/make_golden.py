"""Golden values for the C API, made by automatic differentiation with JAX in float64.

Nothing here shares a formula with the library: the program states the definitions of the predictor f_theta, the metric
Lambda_phi and the prediction loss L_pred, and JAX differentiates them.

    f_theta(x)         = target_mean + target_scale * net_theta((x - input_mean) / input_scale)
    A_phi(x)           = L L' + (exp(s) + floor) I,   L from phi (constant) or from a network of x (conditional)
    Lambda_phi(x)      = A | A sqrt(n) / |A|_F | A n / tr A | A / m          (the normalisation)
    L_pred(theta, phi) = (1/N) sum_i s_i e_i' Lambda_phi(x_i) e_i + (rho/2) |theta|^2,   e_i = f_theta(x_i) - y_i
    dL_task/dphi       = -d/dphi <v, grad_theta L_pred>,   (H + ridge I) v = g = grad_theta sum_i <c_i, f_theta(x_i)>

Usage (needs jax and numpy; the tests that read the file need numpy only):

    python make_golden.py            writes golden.json beside this file
    python make_golden.py --check    recomputes it, compares, and checks the values against finite differences
                                     (finite_differences.py); the exit status says whether all agree
"""

import argparse
import itertools
import json
import math
import pathlib
import sys
from dataclasses import dataclass, replace

import finite_differences
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden.json"
NORMAL_RIDGE = 0.01
RIDGES = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
KINK_MARGIN = 1e-2  # no pre-activation is closer to a kink: finite differences then see a smooth function
CHECK_TOLERANCE = 1e-11  # between two runs of this program, other versions and processors included
CHECK_NOISE = 1e-13  # absolute: values that are zero but for rounding have no digits to compare

# ----------------------------------------------------------------------------------------------------------------------
# Definitions

ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": lambda z: jnp.where(z > 0, z, 0.0),
    "leaky_relu": lambda z: jnp.where(z > 0, z, 0.01 * z),
    "tanh": jnp.tanh,
    "sigmoid": lambda z: 0.5 * (1.0 + jnp.tanh(0.5 * z)),
    "softplus": lambda z: jnp.logaddexp(z, 0.0),
    "elu": lambda z: jnp.where(z > 0, z, jnp.expm1(jnp.minimum(z, 0.0))),
    "gelu": lambda z: 0.5 * z * (1.0 + jax.scipy.special.erf(z / math.sqrt(2.0))),
    "silu": lambda z: z * 0.5 * (1.0 + jnp.tanh(0.5 * z)),
}
KINKED = {"relu", "leaky_relu", "elu"}


def layers(vector, sizes, bias=True):
    """The flat vector as [(W (outputs x inputs, row-major), b (outputs) or 0)], in PyTorch's order."""
    result, start = [], 0
    for inputs, outputs in itertools.pairwise(sizes):
        weight = vector[start : start + outputs * inputs].reshape(outputs, inputs)
        start += outputs * inputs
        offset = vector[start : start + outputs] if bias else 0.0
        start += outputs if bias else 0
        result.append((weight, offset))
    assert start == len(vector)
    return result


def network(vector, sizes, activations, x, bias=True):
    """Rows of x (N x d) through dense layers: (output N x n, list of the pre-activations)."""
    pre_activations = []
    for (weight, offset), name in zip(layers(vector, sizes, bias), activations, strict=True):
        pre_activations.append(x @ weight.T + offset)
        x = ACTIVATIONS[name](pre_activations[-1])
    return x, pre_activations


def standardized(x, mean, scale):
    """(x - mean) / scale by column; mean and scale may be None."""
    return x if mean is None else (x - jnp.asarray(mean)) / jnp.asarray(scale)


def factor_shape(structure, n, rank):
    """The shape of the entries that a structure takes from phi or from the metric's network."""
    return {"scalar": (1,), "diagonal": (n,), "lowrank": (n, rank), "full": (n, n)}[structure]


def factor_matrix(entries, structure, n, rank):
    """Entries (N x count) as matrices L (N x n x n or N x n x rank)."""
    entries = entries.reshape(-1, *factor_shape(structure, n, rank))
    if structure in ("scalar", "diagonal"):
        return jnp.eye(n) * entries[:, :, None]
    return entries


def parameter_count(sizes, bias=True):
    return sum(outputs * (inputs + bias) for inputs, outputs in itertools.pairwise(sizes))


class Problem:
    """The functions of one case. `predictor` and `metric` are the configuration as golden.json has it; x is N x d, y is
    N x n, weights is N (s_i)."""

    def __init__(self, predictor, metric, x, y, weights, rho):
        self.predictor, self.metric, self.rho = predictor, metric, rho
        self.x, self.y, self.weights = jnp.asarray(x), jnp.asarray(y), jnp.asarray(weights)
        self.rows, self.d = self.x.shape
        self.n = self.y.shape[1]
        self.bias = bool(predictor["bias"])
        self.sizes = [self.d, *predictor["hidden"], self.n]
        self.activations = [predictor["activation"]] * len(predictor["hidden"]) + [predictor["output_activation"]]
        factor = factor_shape(metric["structure"], self.n, metric["rank"])
        self.metric_sizes = [self.d, *metric["hidden"], math.prod(factor)]
        self.metric_activations = [metric["activation"]] * len(metric["hidden"]) + ["identity"]
        # the part of theta that (rho/2)|theta|^2 sees
        ones, penalize = jnp.ones(self.theta_count), float(predictor["penalize_bias"])
        parts = [[jnp.ravel(w), penalize * b] for w, b in layers(ones, self.sizes, self.bias)]
        self.penalized = jnp.concatenate([part for pair in parts for part in (pair if self.bias else pair[:1])])

    @property
    def theta_count(self):
        return parameter_count(self.sizes, self.bias)

    @property
    def phi_count(self):
        if self.metric["conditioning"] == "constant":
            return self.metric_sizes[-1] + 1
        return parameter_count(self.metric_sizes) + 1

    def predictor_network(self, theta, x):
        std = self.predictor["standardization"]
        x = standardized(x, std["input_mean"], std["input_scale"])
        return network(theta, self.sizes, self.activations, x, self.bias)

    def predict(self, theta):
        """f_theta(x_i): N x n."""
        out, _ = self.predictor_network(theta, self.x)
        std = self.predictor["standardization"]
        if std["target_mean"] is None:
            return out
        return jnp.asarray(std["target_mean"]) + jnp.asarray(std["target_scale"]) * out

    def metric_network(self, phi, x):
        std = self.metric["standardization"]
        x = standardized(x, std["mean"], std["scale"])
        return network(phi[:-1], self.metric_sizes, self.metric_activations, x)

    def floored(self, phi, x):
        """A_i = L L' + (exp(s) + floor) I for each row of x: rows x n x n."""
        constant = self.metric["conditioning"] == "constant"
        entries = phi[:-1] if constant else self.metric_network(phi, x)[0]
        factor = factor_matrix(entries, self.metric["structure"], self.n, self.metric["rank"])
        a = factor @ factor.transpose(0, 2, 1) + (jnp.exp(phi[-1]) + self.metric["floor"]) * jnp.eye(self.n)
        return jnp.broadcast_to(a, (len(x), self.n, self.n))

    def mean_trace(self, phi, x):
        """m = mean_i tr(A_i) / n."""
        return jnp.mean(jnp.trace(self.floored(phi, x), axis1=1, axis2=2)) / self.n

    def metric_values(self, phi, scale):
        """Lambda_i, N x n x n. `scale` is batch_trace's m."""
        a = self.floored(phi, self.x)
        match self.metric["normalization"]:
            case "none":
                return a
            case "frobenius":
                return a * jnp.sqrt(self.n) / jnp.sqrt(jnp.sum(a * a, axis=(1, 2), keepdims=True))
            case "trace":
                return a * self.n / jnp.trace(a, axis1=1, axis2=2)[:, None, None]
            case "batch_trace":
                return a / scale

    def loss_of_predictions(self, predictions, theta, phi, scale):
        """L_pred with f_theta(x_i) given (N x n)."""
        e = predictions - self.y
        quadratic = jnp.einsum("i,ij,ijk,ik->", self.weights, e, self.metric_values(phi, scale), e)
        return quadratic / self.rows + 0.5 * self.rho * jnp.sum(self.penalized * theta**2)

    def loss(self, theta, phi, scale):
        return self.loss_of_predictions(self.predict(theta), theta, phi, scale)

    def linearized_loss(self, theta, origin, phi, scale):
        """L_pred with f replaced by its tangent at `origin`: its Hessian is the Gauss-Newton matrix."""
        value, change = jax.jvp(self.predict, (origin,), (theta - origin,))
        return self.loss_of_predictions(value + change, theta, phi, scale)

    def regularizer(self, phi, scale, b1, b2):
        """b1 mean_i sum_jk |Lambda_i,jk| + b2 mean_i |Lambda_i - I|_F^2."""
        values = self.metric_values(phi, scale)
        absolute = jnp.sum(jnp.abs(values), axis=(1, 2))
        distance = jnp.sum((values - jnp.eye(self.n)) ** 2, axis=(1, 2))
        return jnp.mean(b1 * absolute + b2 * distance)


# ----------------------------------------------------------------------------------------------------------------------
# Derivatives


def hypergradient(problem, theta, phi, v, scale_of):
    """-d/dphi <v, grad_theta L_pred(theta, phi)>; scale_of(phi) is m, a constant function where m is held fixed."""

    def directional(phi):
        return jax.jvp(lambda t: problem.loss(t, phi, scale_of(phi)), (theta,), (v,))[1]

    return -jax.grad(directional)(phi)


def system_matrices(problem, theta, phi, scale):
    """H and G, each theta count squared, as numpy arrays."""
    h = jax.hessian(problem.loss)(theta, phi, scale)
    g = jax.hessian(problem.linearized_loss)(theta, theta, phi, scale)
    return np.asarray(h), np.asarray(g)


def condition(matrix):
    magnitudes = np.abs(np.linalg.eigvalsh(matrix))
    return magnitudes.max() / magnitudes.min() if magnitudes.min() > 0 else math.inf


def choose_ridge(h, g, limit, definite):
    """The smallest ridge of the list for which both H + ridge I and G + ridge I have a condition number <= limit, and
    where asked H + ridge I is positive definite."""

    def fits(ridge):
        a, b = h + ridge * np.eye(len(h)), g + ridge * np.eye(len(h))
        return max(condition(a), condition(b)) <= limit and (not definite or np.linalg.eigvalsh(a)[0] > 0)

    return next(ridge for ridge in RIDGES if fits(ridge))


def solutions(h, gauss_newton, g, ridge):
    """v for each kind of solver, by a dense factorisation: name -> vector."""
    a, b, eye = h + ridge * np.eye(len(h)), gauss_newton + ridge * np.eye(len(h)), np.eye(len(h))
    return {
        "exact": np.linalg.solve(a, g),
        "gauss_newton": np.linalg.solve(b, g),
        "identity": g,
        "normal": np.linalg.solve(a @ a + NORMAL_RIDGE * eye, a @ g),
    }


def normalization_scale(problem, inputs):
    """m as the library stores it (1 unless batch_trace has been updated), and m as the function of phi that every
    derivative in phi takes it for: a constant, unless the stored m was made at this phi from these rows."""
    phi, origin = jnp.asarray(inputs["phi"]), problem.metric["scale_origin"]
    if origin == "current":
        return problem.mean_trace(phi, problem.x), lambda p: problem.mean_trace(p, problem.x)
    fixed = {
        "never": lambda: 1.0,
        "other_rows": lambda: problem.mean_trace(phi, jnp.asarray(inputs["other_x"])),
        "other_phi": lambda: problem.mean_trace(jnp.asarray(inputs["other_phi"]), problem.x),
    }[origin]()
    return fixed, lambda p: fixed


def results(problem, inputs, limit, definite):
    """Every golden quantity of one case, as a dictionary of numpy arrays and numbers."""
    theta, phi, w = (jnp.asarray(inputs[key]) for key in ("theta", "phi", "w"))
    c, cotangent = jnp.asarray(inputs["c"]), jnp.asarray(inputs["cotangent"])
    scale, scale_of = normalization_scale(problem, inputs)
    gradient = jax.grad(problem.loss)
    predictions, pull_back = jax.vjp(problem.predict, theta)
    _, metric_pull_back = jax.vjp(lambda p: problem.metric_values(p, scale_of(p)), phi)
    g = np.asarray(pull_back(c)[0])
    out = {
        "predictions": predictions,
        "vjp": g,
        "jvp": jax.jvp(problem.predict, (theta,), (w,))[1],
        "normalization_scale": scale,
        "metric": problem.metric_values(phi, scale),
        "metric_vjp": metric_pull_back(cotangent)[0],
        "loss": problem.loss(theta, phi, scale),
        "gradient": gradient(theta, phi, scale),
        "hvp": jax.jvp(lambda t: gradient(t, phi, scale), (theta,), (w,))[1],
        "gnvp": jax.jvp(lambda t: jax.grad(problem.linearized_loss)(t, theta, phi, scale), (theta,), (w,))[1],
    }
    if "b1" in inputs:

        def regularizer(p):
            return problem.regularizer(p, scale_of(p), inputs["b1"], inputs["b2"])

        value, slope = jax.value_and_grad(regularizer)(phi)
        out["regularizer"] = {"value": value, "gradient": slope}
    h, gauss_newton = system_matrices(problem, theta, phi, scale)
    ridge = choose_ridge(h, gauss_newton, limit, definite)
    a = h + ridge * np.eye(len(h))
    eigenvalues = np.linalg.eigvalsh(a)
    out["system"] = {
        "ridge": ridge,
        "normal_ridge": NORMAL_RIDGE,
        "eigenvalues": [eigenvalues[0], eigenvalues[-1]],
        "condition": condition(a),
        "gauss_newton_condition": condition(gauss_newton + ridge * np.eye(len(h))),
        "positive_definite": bool(eigenvalues[0] > 0),
    }
    out["solutions"] = {
        name: {
            "v": v,
            "residual": np.linalg.norm(g - a @ v) / np.linalg.norm(g),
            "hypergradient": hypergradient(problem, theta, phi, jnp.asarray(v), scale_of),
        }
        for name, v in solutions(h, gauss_newton, g, ridge).items()
    }
    return out


# ----------------------------------------------------------------------------------------------------------------------
# Cases


@dataclass(frozen=True)
class Case:
    """What a golden case is made of; the random numbers follow from the seed."""

    name: str = ""
    seed: int = 0
    hidden: tuple = ()
    activation: str = "identity"
    output_activation: str = "identity"
    linear: bool = False
    bias: bool = True
    penalize_bias: bool = True
    predictor_standardization: str = ""  # "", "inputs", "targets", "both"
    structure: str = "full"
    conditioning: str = "conditional"
    normalization: str = "none"
    scale_origin: str = "current"  # batch_trace: what m was made from
    metric_hidden: tuple = (4,)
    metric_activation: str = "tanh"
    metric_standardization: bool = False
    floor: float = 0.0
    rho: float = 0.0
    weighted: bool = True
    regularized: bool = False
    rows: int = 8
    features: int = 3
    outputs: int = 3
    rank: int = 2
    input_scale: float = 1.0  # 12: activations deep in their tails
    condition_limit: float = 300.0
    fitted: bool = False  # targets close to the predictions, so that H is close to G, and a ridge that makes A definite


TANH = Case(hidden=(5,), activation="tanh")
LINEAR = Case(linear=True)


def refused(case):
    """frobenius and trace leave a scalar structure, or one output, no freedom."""
    return case.normalization in ("frobenius", "trace") and (case.structure == "scalar" or case.outputs == 1)


def varied(case, index):
    """The settings that every quantity depends on, taken in turn so that they meet in many combinations."""
    return replace(
        case,
        rows=7 + index % 6,
        rho=[0.0, 0.05, 0.3][index % 3],
        floor=[0.0, 0.05][index % 2],
        weighted=index % 4 != 3,
        regularized=index % 3 == 1,
        metric_hidden=[(4,), (), (4,), (3, 4)][index % 4],
        metric_activation=["tanh", "softplus"][(index // 4) % 2],
    )


def product_cases():
    """structure x conditioning x normalisation, each under a tanh network and under a linear predictor."""
    grid = itertools.product(
        ("scalar", "diagonal", "lowrank", "full"),
        ("constant", "conditional"),
        ("none", "frobenius", "trace", "batch_trace"),
    )
    index = 0
    for structure, conditioning, normalization in grid:
        for kind, base in (("tanh", TANH), ("linear", LINEAR)):
            case = replace(base, structure=structure, conditioning=conditioning, normalization=normalization)
            if refused(case):
                continue
            hidden = [(5,), (4, 3)][index // 2 % 2] if kind == "tanh" else ()
            case = replace(case, name=f"{kind}/{structure}-{conditioning}-{normalization}", hidden=hidden)
            bias = kind == "tanh" or index // 2 % 2 == 0
            yield replace(varied(case, index), bias=bias, fitted=kind == "tanh" and index // 2 % 3 == 0)
            index += 1


def activation_cases():
    """Each activation under a full conditional metric, with one and with two hidden layers; output activations; inputs
    so large that smooth activations run in their tails."""
    normalizations = ("none", "batch_trace", "frobenius", "trace")
    for index, activation in enumerate(ACTIVATIONS):
        for hidden in ((5,), (4, 3)):
            name = f"activation/{activation}-{len(hidden)}"
            case = Case(name=name, hidden=hidden, activation=activation, normalization=normalizations[index % 4])
            yield varied(case, 2 * index + len(hidden))
    for index, output in enumerate(("tanh", "relu", "softplus", "sigmoid")):
        case = replace(TANH, name=f"output/{output}", output_activation=output, structure="lowrank")
        yield varied(case, index)
    for index, activation in enumerate(("tanh", "sigmoid", "softplus", "elu", "gelu", "silu")):
        case = Case(name=f"tails/{activation}", hidden=(5,), activation=activation, input_scale=12.0)
        yield replace(varied(case, index), structure="diagonal", conditioning="constant")
    for activation in ("relu", "gelu", "silu"):
        yield replace(TANH, name=f"metric/{activation}", metric_activation=activation, structure="lowrank", rows=7)


def special_cases():
    """One switch at a time."""
    both = {"features": 3, "outputs": 3, "rho": 0.1}
    batch = replace(TANH, normalization="batch_trace", rho=0.05, floor=0.02)
    constant = replace(batch, conditioning="constant", structure="full")
    return [
        replace(TANH, name="standardized/tanh", predictor_standardization="both", **both),
        replace(LINEAR, name="standardized/linear", predictor_standardization="both", **both),
        replace(TANH, name="standardized/tanh-inputs", predictor_standardization="inputs", **both),
        replace(LINEAR, name="standardized/linear-targets", predictor_standardization="targets", bias=False, **both),
        replace(TANH, name="standardized/metric", metric_standardization=True, normalization="frobenius"),
        replace(batch, name="standardized/metric-batch_trace", metric_standardization=True, regularized=True),
        replace(TANH, name="penalize_bias/tanh", hidden=(4, 3), penalize_bias=False, rho=0.3),
        replace(LINEAR, name="penalize_bias/linear", penalize_bias=False, rho=0.3, normalization="trace"),
        replace(batch, name="held/other_rows-tanh", scale_origin="other_rows"),
        replace(
            batch,
            name="held/other_rows-linear",
            scale_origin="other_rows",
            hidden=(),
            activation="identity",
            linear=True,
            structure="lowrank",
        ),
        replace(batch, name="held/other_phi-conditional", scale_origin="other_phi"),
        replace(constant, name="held/other_phi-constant", scale_origin="other_phi", regularized=True),
        replace(constant, name="held/never", scale_origin="never"),
        replace(TANH, name="one_output/tanh", outputs=1, rank=1, structure="lowrank", floor=0.1),
        replace(LINEAR, name="one_output/linear", outputs=1, rank=1, normalization="batch_trace", rho=0.1),
        replace(TANH, name="one_feature/tanh", features=1, structure="diagonal", normalization="batch_trace"),
        replace(TANH, name="one_row/tanh", rows=1, weighted=False, rho=0.5),
        replace(TANH, name="wide/tanh", features=2, outputs=5, rank=3, structure="lowrank", hidden=(4,)),
        Case(name="mlp_without_hidden/identity", rho=0.1),
        Case(name="mlp_without_hidden/sigmoid", output_activation="sigmoid", rho=0.1, structure="diagonal"),
        replace(TANH, name="full_rank/tanh", structure="lowrank", rank=3, conditioning="constant"),
        replace(TANH, name="ill_conditioned/tanh", condition_limit=1e4, rho=1e-4),
        replace(TANH, name="ill_conditioned/tanh-constant", condition_limit=1e4, conditioning="constant", rows=12),
    ]


def all_cases():
    cases = [*product_cases(), *activation_cases(), *special_cases()]
    assert len({case.name for case in cases}) == len(cases)
    return [replace(case, seed=seed) for seed, case in enumerate(cases)]


# ----------------------------------------------------------------------------------------------------------------------
# Random inputs


def rounded(generator, shape, scale=1.0):
    """Normal numbers with three decimals: exact in a short text."""
    return np.round(scale * generator.standard_normal(shape), 3)


def standardization(case, generator):
    """Means and scales of the predictor's sides that are standardised, None for the others."""

    def side(name, count):
        if case.predictor_standardization not in (name, "both"):
            return None, None
        return rounded(generator, count), np.round(generator.uniform(0.5, 2.0, count), 3)

    input_mean, input_scale = side("inputs", case.features)
    target_mean, target_scale = side("targets", case.outputs)
    return {
        "input_mean": input_mean,
        "input_scale": input_scale,
        "target_mean": target_mean,
        "target_scale": target_scale,
    }


def configuration(case, generator):
    """(predictor, metric) as golden.json has them."""
    predictor = {
        "kind": "linear" if case.linear else "mlp",
        "hidden": list(case.hidden),
        "activation": case.activation,
        "output_activation": case.output_activation,
        "bias": int(case.bias),
        "penalize_bias": int(case.penalize_bias),
        "standardization": standardization(case, generator),
    }
    mean = scale = None
    if case.metric_standardization:
        mean, scale = rounded(generator, case.features), np.round(generator.uniform(0.5, 2.0, case.features), 3)
    metric = {
        "structure": case.structure,
        "rank": case.rank,
        "conditioning": case.conditioning,
        "hidden": list(case.metric_hidden) if case.conditioning == "conditional" else [],
        "activation": case.metric_activation,
        "normalization": case.normalization,
        "scale_origin": case.scale_origin if case.normalization == "batch_trace" else "never",
        "floor": case.floor,
        "standardization": {"mean": mean, "scale": scale},
    }
    return predictor, metric


def random_inputs(case, generator):
    """(problem, inputs): the arrays of one case. One sample weight is zero, where there are weights."""
    predictor, metric = configuration(case, generator)
    x = rounded(generator, (case.rows, case.features), case.input_scale)
    y = rounded(generator, (case.rows, case.outputs))
    weights = np.ones(case.rows)
    if case.weighted:
        weights = np.round(generator.uniform(0.3, 2.0, case.rows), 3)
        weights[case.rows // 2] = 0.0
    problem = Problem(predictor, metric, x, y, weights, case.rho)
    theta = rounded(generator, problem.theta_count, 0.7)
    if case.fitted:
        y = np.round(np.asarray(problem.predict(jnp.asarray(theta))) + 0.05 * y, 3)
        problem = Problem(predictor, metric, x, y, weights, case.rho)
    phi = rounded(generator, problem.phi_count, 0.6)
    phi[-1] -= 1.0  # eps = exp(s) about 0.4, smaller than L L'
    inputs = {
        "x": x,
        "y": y,
        "weights": weights if case.weighted else None,
        "theta": theta,
        "phi": np.round(phi, 3),
        "c": rounded(generator, y.shape),
        "w": rounded(generator, problem.theta_count),
        "cotangent": rounded(generator, (case.rows, case.outputs, case.outputs)),
    }
    if case.regularized:
        inputs |= {"b1": 0.2, "b2": 0.7}
    if metric["scale_origin"] == "other_rows":
        inputs["other_x"] = rounded(generator, (case.rows + 2, case.features))
    if metric["scale_origin"] == "other_phi":
        inputs["other_phi"] = rounded(generator, problem.phi_count, 0.6)
    return problem, inputs


def near_kink(name, z):
    """Whether a pre-activation is too close to a point where a derivative jumps. PyTorch's softplus turns linear at 20,
    where it differs from log(1 + exp z) by 2e-9: that region is left out, so that both definitions pass."""
    if name in KINKED:
        return bool(jnp.any(jnp.abs(z) < KINK_MARGIN))
    return name == "softplus" and bool(jnp.any((z > 17.0) & (z < 40.0)))


def clear_of_kinks(problem, inputs):
    _, predictor_z = problem.predictor_network(jnp.asarray(inputs["theta"]), problem.x)
    pairs = list(zip(problem.activations, predictor_z, strict=True))
    if problem.metric["conditioning"] == "conditional":
        _, metric_z = problem.metric_network(jnp.asarray(inputs["phi"]), problem.x)
        pairs += zip(problem.metric_activations, metric_z, strict=True)
    return not any(near_kink(name, z) for name, z in pairs)


def draw(case):
    """The first draw of the case's seed whose pre-activations are clear of kinks."""
    for attempt in range(10000):
        problem, inputs = random_inputs(case, np.random.default_rng([case.seed, attempt]))
        if clear_of_kinks(problem, inputs):
            return problem, inputs
    raise RuntimeError(f"{case.name}: no draw is clear of kinks")


# ----------------------------------------------------------------------------------------------------------------------
# Optimisers


def adam_run(parameters, gradients, rate, beta1, beta2, epsilon):
    """PyTorch's Adam. At step t = 1, 2, ..:  m <- beta1 m + (1 - beta1) g,  u <- beta2 u + (1 - beta2) g^2,
    p <- p - rate / (1 - beta1^t) m / (sqrt(u) / sqrt(1 - beta2^t) + epsilon)."""
    p, m, u, history = parameters.copy(), np.zeros_like(parameters), np.zeros_like(parameters), []
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1.0 - beta1) * g
        u = beta2 * u + (1.0 - beta2) * g**2
        p = p - rate / (1.0 - beta1**t) * m / (np.sqrt(u) / np.sqrt(1.0 - beta2**t) + epsilon)
        history.append(p)
    return history


def sgd_run(parameters, gradients, rate, momentum):
    """PyTorch's SGD:  b <- momentum b + g,  p <- p - rate b, from b = 0."""
    p, b, history = parameters.copy(), np.zeros_like(parameters), []
    for g in gradients:
        b = momentum * b + g
        p = p - rate * b
        history.append(p)
    return history


def optimizer_records():
    """Runs of five steps with given gradients (steps x count); history holds the parameters after each step. One
    epsilon is large, so that its place in the formula shows."""
    settings = [
        ("adam", adam_run, {"rate": 0.05, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
        ("adam", adam_run, {"rate": 0.3, "beta1": 0.5, "beta2": 0.8, "epsilon": 0.1}),
        ("sgd", sgd_run, {"rate": 0.1, "momentum": 0.9}),
        ("sgd", sgd_run, {"rate": 0.02, "momentum": 0.0}),
    ]
    generator = np.random.default_rng(20240)
    records = []
    for kind, run, constants in settings:
        parameters, gradients = rounded(generator, 6), rounded(generator, (5, 6))
        gradients[1, 2] = 0.0
        records.append(
            {
                "kind": kind,
                **constants,
                "parameters": parameters,
                "gradients": gradients,
                "history": run(parameters, gradients, **constants),
            }
        )
    return records


# ----------------------------------------------------------------------------------------------------------------------
# The file


def plain(value):
    """Arrays and numpy numbers as JSON's lists and numbers."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (jnp.ndarray, np.ndarray, np.generic)):
        return np.asarray(value).tolist()
    return value


def case_record(case):
    problem, inputs = draw(case)
    output = results(problem, inputs, case.condition_limit, case.fitted)
    return plain(
        {
            "name": case.name,
            "seed": case.seed,
            "predictor": problem.predictor,
            "metric": problem.metric,
            "rho": case.rho,
            "inputs": inputs,
            "results": output,
        }
    )


def golden():
    """The whole contents of golden.json."""
    cases = []
    for case in all_cases():
        cases.append(case_record(case))
        print(case.name, file=sys.stderr)
    return {
        "format": 1,
        "made_with": {"jax": jax.__version__, "numpy": np.__version__},
        "optimizers": plain(optimizer_records()),
        "cases": cases,
    }


def write(contents, path):
    """JSON with one case per line; floats as repr, which reads back exactly."""

    def line(value):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    head = ",\n".join(f"{line(key)}:{line(value)}" for key, value in contents.items() if key != "cases")
    body = ",\n".join(line(case) for case in contents["cases"])
    path.write_text("{" + head + ',\n"cases":[\n' + body + "\n]}\n", encoding="utf-8")


def differences(expected, actual, where=""):
    """Where two golden structures differ: exactly for text and whole numbers, norm-wise for arrays of floats."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict) or expected.keys() != actual.keys():
            return [f"{where}: other keys"]
        return [d for key in expected for d in differences(expected[key], actual[key], f"{where}/{key}")]
    if isinstance(expected, list) and expected and isinstance(expected[0], dict):
        if len(expected) != len(actual):
            return [f"{where}: {len(expected)} and {len(actual)} items"]
        names = [item.get("name", str(k)) for k, item in enumerate(expected)]
        return [d for n, e, a in zip(names, expected, actual, strict=True) for d in differences(e, a, f"{where}/{n}")]
    if isinstance(expected, (list, float)) and expected != []:
        e, a = np.asarray(expected), np.asarray(actual)
        if e.dtype.kind == "f":
            allowed = CHECK_TOLERANCE * np.max(np.abs(e)) + CHECK_NOISE
            close = e.shape == a.shape and np.max(np.abs(e - a)) <= allowed
            return [] if close else [f"{where}: values differ"]
    return [] if expected == actual else [f"{where}: {expected!r} and {actual!r}"]


def check():
    """0 if the committed file is what this program computes, and agrees with finite differences."""
    committed = json.loads(GOLDEN.read_text(encoding="utf-8"))
    recomputed = golden()
    problems = differences({**committed, "made_with": None}, {**recomputed, "made_with": None})
    for record in committed["cases"]:
        problems += finite_differences.check_record(record)
    problems += check_optima()
    print("\n".join(problems) or f"{len(committed['cases'])} cases agree")
    return 1 if problems else 0


def check_optima():
    """The hypergradient formula at theta*(phi) against differences of L_task(theta*(phi +- h)): the implicit function
    theorem itself, sign included."""
    problems = []
    for case in [case for case in all_cases() if case.name in finite_differences.OPTIMUM_CASES]:
        problem, inputs = draw(replace(case, weighted=True, rho=0.2))
        record = plain(
            {"name": case.name, "predictor": problem.predictor, "metric": problem.metric, "rho": 0.2, "inputs": inputs}
        )

        def analytic(theta, phi, problem=problem, inputs=inputs):
            inputs = {**inputs, "theta": theta, "phi": phi}
            scale, scale_of = normalization_scale(problem, inputs)
            theta, phi = jnp.asarray(theta), jnp.asarray(phi)
            h = jax.hessian(problem.loss)(theta, phi, scale)
            g = jax.vjp(problem.predict, theta)[1](jnp.asarray(inputs["c"]))[0]
            return np.asarray(hypergradient(problem, theta, phi, jnp.linalg.solve(h, g), scale_of))

        problems += finite_differences.check_optimum(record, analytic)
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="recompute and compare instead of writing")
    if parser.parse_args().check:
        return check()
    write(golden(), GOLDEN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
