"""Checks golden values against numerical differences, in NumPy alone.

The definitions are written a second time here, from a golden record, and differentiated by central differences: a value
that passes both programs does not rest on an error of either. Used by `make_golden.py --check`.
"""

import itertools
import math

import numpy as np

STEP = 2e-4  # stays clear of the kinks that the cases keep away from
TOLERANCE = 1e-5  # relative to the largest entry: twice differentiated values keep about 7 digits
NOISE = 1e-7  # absolute, of differences of differences, for gradients that are zero
OPTIMUM_CASES = {
    "linear/full-constant-none",
    "linear/full-conditional-none",
    "linear/full-conditional-batch_trace",
    "linear/lowrank-conditional-frobenius",
    "linear/diagonal-conditional-trace",
    "penalize_bias/linear",
    "standardized/linear",
    "held/other_rows-linear",
    "tanh/full-conditional-none",
    "tanh/diagonal-conditional-batch_trace",
}

# ----------------------------------------------------------------------------------------------------------------------
# Definitions


def sigmoid(z):
    return np.where(z > 0, 1.0 / (1.0 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1.0 + np.exp(-np.abs(z))))


def normal_distribution(z):
    """The standard normal distribution function, by erfc: exact in its lower tail too."""
    return np.vectorize(lambda t: 0.5 * math.erfc(-t / math.sqrt(2.0)))(z)


ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": lambda z: np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))),
    "elu": lambda z: np.where(z > 0, z, np.exp(np.minimum(z, 0.0)) - 1.0),
    "gelu": lambda z: z * normal_distribution(z),
    "silu": lambda z: z * sigmoid(z),
}


def dense(vector, inputs, outputs, hidden, activation, output_activation, bias, x):
    """The dense network on rows x, consuming the flat vector from its front; nothing may be left over."""
    vector = list(vector)
    widths = [inputs, *hidden, outputs]
    for layer in range(len(widths) - 1):
        weight = np.array([[vector.pop(0) for _ in range(widths[layer])] for _ in range(widths[layer + 1])])
        offset = np.array([vector.pop(0) for _ in range(widths[layer + 1])]) if bias else 0.0
        last = layer == len(widths) - 2
        x = ACTIVATIONS[output_activation if last else activation](np.einsum("ij,kj->ik", x, weight) + offset)
    assert not vector
    return x


def shift_scale(x, mean, scale):
    return x if mean is None else (x - np.array(mean)) / np.array(scale)


class Reference:
    """f_theta, Lambda_phi and L_pred of one record."""

    def __init__(self, record):
        self.predictor, self.metric, self.rho = record["predictor"], record["metric"], record["rho"]
        inputs = record["inputs"]
        self.inputs = {key: None if value is None else np.array(value) for key, value in inputs.items()}
        self.x, self.y = self.inputs["x"], self.inputs["y"]
        self.rows, self.n = self.y.shape
        self.weights = np.ones(self.rows) if inputs["weights"] is None else self.inputs["weights"]
        self.held = None  # m; None: computed at phi on x

    def predict(self, theta):
        std, p = self.predictor["standardization"], self.predictor
        x = shift_scale(self.x, std["input_mean"], std["input_scale"])
        out = dense(theta, x.shape[1], self.n, p["hidden"], p["activation"], p["output_activation"], p["bias"], x)
        if std["target_mean"] is None:
            return out
        return np.array(std["target_mean"]) + out * np.array(std["target_scale"])

    def factor(self, phi, row):
        """L for one row of x: n x (n or rank)."""
        m = self.metric
        count = {"scalar": 1, "diagonal": self.n, "lowrank": self.n * m["rank"], "full": self.n**2}[m["structure"]]
        entries = np.array(phi[:-1])
        if m["conditioning"] == "conditional":
            x = shift_scale(row[None, :], m["standardization"]["mean"], m["standardization"]["scale"])
            entries = dense(phi[:-1], x.shape[1], count, m["hidden"], m["activation"], "identity", True, x)[0]
        if m["structure"] == "scalar":
            return entries[0] * np.eye(self.n)
        return np.diag(entries) if m["structure"] == "diagonal" else entries.reshape(self.n, -1)

    def floored(self, phi, x):
        """A_i: list of n x n."""
        eps = math.exp(phi[-1]) + self.metric["floor"]
        factors = [self.factor(phi, row) for row in x]
        return [factor @ factor.T + eps * np.eye(self.n) for factor in factors]

    def mean_trace(self, phi, x):
        return float(np.mean([np.trace(a) for a in self.floored(phi, x)])) / self.n

    def stored_scale(self):
        """m as the record's origin makes it."""
        phi = self.inputs["phi"]
        return {
            "current": lambda: self.mean_trace(phi, self.x),
            "other_rows": lambda: self.mean_trace(phi, self.inputs["other_x"]),
            "other_phi": lambda: self.mean_trace(self.inputs["other_phi"], self.x),
            "never": lambda: 1.0,
        }[self.metric["scale_origin"]]()

    def hold_stored_scale(self):
        self.held = self.stored_scale()

    def differentiate_scale_if_current(self):
        self.held = None if self.metric["scale_origin"] == "current" else self.stored_scale()

    def metric_values(self, phi):
        """Lambda_i: N x n x n."""
        values = self.floored(phi, self.x)
        kind = self.metric["normalization"]
        if kind == "frobenius":
            values = [a * math.sqrt(self.n) / np.linalg.norm(a) for a in values]
        elif kind == "trace":
            values = [a * self.n / np.trace(a) for a in values]
        elif kind == "batch_trace":
            m = self.mean_trace(phi, self.x) if self.held is None else self.held
            values = [a / m for a in values]
        return np.array(values)

    def penalty(self, theta):
        """|theta|^2 / 2, without the biases where they are not penalised."""
        if self.predictor["penalize_bias"] or not self.predictor["bias"]:
            return 0.5 * float(np.dot(theta, theta))
        widths, start, total = [self.x.shape[1], *self.predictor["hidden"], self.n], 0, 0.0
        for inputs, outputs in itertools.pairwise(widths):
            total += float(np.sum(np.square(theta[start : start + inputs * outputs])))
            start += (inputs + 1) * outputs
        return 0.5 * total

    def loss_under(self, theta, values):
        """L_pred with Lambda given."""
        errors = self.predict(theta) - self.y
        terms = [s * e @ a @ e for s, e, a in zip(self.weights, errors, values, strict=True)]
        return math.fsum(terms) / self.rows + self.rho * self.penalty(theta)

    def regularizer(self, phi):
        values = self.metric_values(phi)
        b1, b2 = self.inputs["b1"], self.inputs["b2"]
        return sum(b1 * np.abs(a).sum() + b2 * ((a - np.eye(self.n)) ** 2).sum() for a in values) / self.rows


# ----------------------------------------------------------------------------------------------------------------------
# Differences


def along(function, point, direction, step=STEP):
    """d function(point + t direction) / dt at 0, by central differences of fourth order."""

    def at(k):
        return function(point + k * step * direction)

    return (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * step)


def gradient(function, point, step=STEP):
    """All partial derivatives; function may return an array: the last axis is then the point's."""
    return np.stack([along(function, point, unit, step) for unit in np.eye(len(point))], axis=-1)


def unit_length(v):
    norm = float(np.linalg.norm(v))
    return (v / norm, norm) if norm > 0 else (v, 1.0)


def agree(name, expected, actual, tolerance=TOLERANCE):
    """[] or one message."""
    expected, actual = np.asarray(expected), np.asarray(actual)
    error, size = np.max(np.abs(expected - actual)), np.max(np.abs(expected))
    if error <= tolerance * size + (NOISE if tolerance == TOLERANCE else 0.0):
        return []
    return [f"{name}: differences disagree by {error:.1e}, values up to {size:.1e}"]


def check_values(ref, results):
    """The quantities that are not derivatives, to rounding error."""
    theta, phi = ref.inputs["theta"], ref.inputs["phi"]
    values = ref.metric_values(phi)
    pairs = {
        "predictions": ref.predict(theta),
        "normalization_scale": ref.stored_scale(),
        "metric": values,
        "loss": ref.loss_under(theta, values),
    }
    return [m for key, value in pairs.items() for m in agree(key, results[key], value, 1e-12)]


def gauss_newton_product(ref, values, jacobian, vector):
    """(2/N) sum_i s_i J_i' Lambda_i J_i vector + rho vector (penalised part), J: N x n x count by differences."""
    weighted = (2.0 / ref.rows) * ref.weights[:, None, None] * values
    penalized = gradient(lambda t: ref.rho * ref.penalty(t), vector, 1e-2)  # a quadratic's slope is linear
    return np.einsum("ijk,ijl,ilm,m->k", jacobian, weighted, jacobian, vector) + penalized


def check_predictor(ref, results):
    """J, J' c, J w, and the loss's gradient and products, with Lambda fixed."""
    theta, phi = ref.inputs["theta"], ref.inputs["phi"]
    values = ref.metric_values(phi)
    jacobian = gradient(ref.predict, theta)  # N x n x count
    w, w_norm = unit_length(ref.inputs["w"])
    mixed = gradient(lambda t: ref.loss_under(t, values), theta)
    hvp = w_norm * gradient(lambda t: along(lambda u: ref.loss_under(u, values), t, w, 1e-3), theta)
    pairs = {
        "vjp": np.einsum("ijk,ij->k", jacobian, ref.inputs["c"]),
        "jvp": jacobian @ ref.inputs["w"],
        "gradient": mixed,
        "hvp": hvp,
        "gnvp": gauss_newton_product(ref, values, jacobian, ref.inputs["w"]),
    }
    return [m for key, value in pairs.items() for m in agree(key, results[key], value)]


def check_metric(ref, results):
    """The pull-back of C and the regulariser."""
    phi = ref.inputs["phi"]
    ref.differentiate_scale_if_current()
    pull_back = gradient(lambda p: float(np.sum(ref.inputs["cotangent"] * ref.metric_values(p))), phi)
    messages = agree("metric_vjp", results["metric_vjp"], pull_back)
    if "regularizer" in results:
        expected = results["regularizer"]
        messages += agree("regularizer/value", expected["value"], ref.regularizer(phi), 1e-12)
        messages += agree("regularizer/gradient", expected["gradient"], gradient(ref.regularizer, phi))
    return messages


def check_solution(ref, name, results):
    """v solves its system, and the hypergradient is -d/dphi of L_pred's derivative along v."""
    theta, phi = ref.inputs["theta"], ref.inputs["phi"]
    system, solution, g = results["system"], results["solutions"][name], np.array(results["vjp"])
    v = np.array(solution["v"])
    messages = []
    ref.hold_stored_scale()
    values = ref.metric_values(phi)

    def product(vector):
        u, norm = unit_length(vector)
        slope = gradient(lambda t: along(lambda q: ref.loss_under(q, values), t, u, 1e-3), theta)
        return norm * slope + system["ridge"] * vector

    if name == "exact":
        messages += agree("solutions/exact/v", g, product(v))
    elif name == "normal":
        messages += agree("solutions/normal/v", product(g), product(product(v)) + system["normal_ridge"] * v)
    elif name == "gauss_newton":
        curved = gauss_newton_product(ref, values, gradient(ref.predict, theta), v)
        messages += agree("solutions/gauss_newton/v", g, curved + system["ridge"] * v)
    elif name == "identity":
        messages += agree("solutions/identity/v", g, v, 0.0)
    u, norm = unit_length(v)
    ref.differentiate_scale_if_current()

    def slope_along_v(p):
        values = ref.metric_values(p)
        return norm * along(lambda t: ref.loss_under(t, values), theta, u, 1e-3)

    hypergradient = -gradient(slope_along_v, phi)
    return messages + agree(f"solutions/{name}/hypergradient", solution["hypergradient"], hypergradient)


def check_record(record):
    """Messages about one golden case; [] if all its values agree with differences."""
    ref, results = Reference(record), record["results"]
    ref.hold_stored_scale()
    messages = check_values(ref, results) + check_predictor(ref, results) + check_metric(ref, results)
    for name in results["solutions"]:
        messages += check_solution(ref, name, results)
    return [f"{record['name']}: {message}" for message in messages]


# ----------------------------------------------------------------------------------------------------------------------
# The implicit function theorem


def curvature(ref, theta, values):
    """(gradient, Gauss-Newton matrix) of L_pred in theta, the Jacobian by differences."""
    jacobian = gradient(ref.predict, theta, 1e-3)
    weighted = (2.0 / ref.rows) * ref.weights[:, None, None] * values
    penalty = gradient(ref.penalty, np.ones(len(theta)), 1e-2)  # 1 where theta_k counts, 0 elsewhere
    slope = np.einsum("ijk,ijl,il->k", jacobian, weighted, ref.predict(theta) - ref.y) + ref.rho * penalty * theta
    return slope, np.einsum("ijk,ijl,ilm->km", jacobian, weighted, jacobian) + ref.rho * np.diag(penalty)


def minimize(ref, theta, phi):
    """theta*(phi) by Levenberg-Marquardt steps, then by Newton steps with a differenced Hessian that is kept."""
    values, damping = ref.metric_values(phi), 1.0
    slope, matrix = curvature(ref, theta, values)
    for _ in range(500):
        if np.linalg.norm(slope) < 1e-4:
            break
        trial = theta - np.linalg.solve(matrix + damping * np.eye(len(theta)), slope)
        better = ref.loss_under(trial, values) < ref.loss_under(theta, values)
        damping *= 0.3 if better else 4.0
        if better:
            theta = trial
            slope, matrix = curvature(ref, theta, values)
    hessian = gradient(lambda t: curvature(ref, t, values)[0], theta, 1e-3)
    return polish(ref, theta, values, hessian), hessian


def polish(ref, theta, values, hessian):
    """Newton steps with a fixed Hessian until the gradient stops shrinking."""
    best = math.inf
    for _ in range(60):
        slope = curvature(ref, theta, values)[0]
        if np.linalg.norm(slope) >= best:
            break
        best = np.linalg.norm(slope)
        theta = theta - np.linalg.solve(hessian, slope)
    return theta


def check_optimum(record, analytic):
    """analytic(theta, phi) is the hypergradient by the formula. With L_task = sum_i <c_i, f_theta(x_i)>, compares it at
    theta*(phi) with differences of L_task(theta*(phi + t direction)) along three random directions."""
    ref = Reference(record)
    ref.differentiate_scale_if_current()
    phi, c = ref.inputs["phi"], ref.inputs["c"]
    theta, hessian = minimize(ref, ref.inputs["theta"], phi)
    formula = analytic(theta, phi)
    generator, messages = np.random.default_rng(len(phi)), []
    for _ in range(3):
        direction = unit_length(generator.standard_normal(len(phi)))[0]

        def task_loss(p):
            return float(np.sum(c * ref.predict(polish(ref, theta, ref.metric_values(p), hessian))))

        numeric = along(task_loss, phi, direction, 5e-3)
        messages += agree("hypergradient at the optimum", [numeric], [formula @ direction], 1e-5)
    return [f"{record['name']}: {message}" for message in messages]
