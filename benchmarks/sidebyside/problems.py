"""The sizes that rows are measured at, their data, and TaskMet's objects for them.

Parameters are flat vectors in PyTorch's layout, so that all contestants start at the same numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools

import numpy as np
import taskmet

from sidebyside.registry import NotAvailableError

PRECISIONS = ("float64", "float32")


@dataclasses.dataclass(frozen=True)
class Size:
    """A prediction problem: the predictor's layer widths, the metric, rows, and inner steps of one training."""

    name: str
    rows: int
    widths: tuple[int, ...]
    structure: str
    metric_hidden: tuple[int, ...] | None  # None: a constant metric
    steps: int
    output_activation: str = "identity"
    ridge: float = 0.1  # of the hypergradient's system, so that it is positive definite

    @property
    def outputs(self) -> int:
        """n"""
        return self.widths[-1]

    @property
    def factor_entries(self) -> int:
        """Entries of L."""
        n = self.outputs
        return {"scalar": 1, "diagonal": n, "full": n * n}[self.structure]

    @property
    def metric_widths(self) -> tuple[int, ...] | None:
        """Of the metric's network; None for a constant metric."""
        return None if self.metric_hidden is None else (self.widths[0], *self.metric_hidden, self.factor_entries)

    @property
    def text(self) -> str:
        """For the table."""
        network = "-".join(map(str, self.widths))
        predictor = f"linear {network}" if len(self.widths) == 2 else f"MLP {network}"
        metric = self.structure + (" constant" if self.metric_widths is None else "")
        if self.metric_widths is not None:
            metric += " by " + "-".join(map(str, self.metric_widths))
        return f"{predictor}, {metric}, {self.rows} rows"


SIZES = {
    size.name: size
    for size in (
        Size("small", 50, (1, 1), "scalar", (200,), 1000),
        Size("budget", 500, (10, 500, 10), "full", (200,), 100, "relu"),
        Size("portfolio", 500, (28, 500, 1), "scalar", (200,), 100, "tanh"),
        Size("portfolio10000", 10_000, (28, 500, 1), "scalar", (200,), 20, "tanh"),
        Size("dynamics", 256, (6, 32, 32, 4), "diagonal", None, 200),
        Size("large", 4096, (64, 512, 16), "full", (256,), 20, ridge=10.0),
    )
}


def products(widths: tuple[int, ...]) -> int:
    """Multiply-adds of a network's matrix products, for one row."""
    return sum(a * b for a, b in itertools.pairwise(widths))


def later_products(widths: tuple[int, ...]) -> int:
    """The same without the first layer: what derivatives in the inputs of a layer need."""
    return sum(a * b for a, b in itertools.pairwise(widths[1:]))


def parameter_count(widths: tuple[int, ...]) -> int:
    """Weights and biases."""
    return products(widths) + sum(widths[1:])


def layers_of(flat: np.ndarray, widths: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight, bias) of each layer, views into the vector."""
    layers, at = [], 0
    for a, b in itertools.pairwise(widths):
        layers.append((flat[at : at + a * b].reshape(b, a), flat[at + a * b : at + a * b + b]))
        at += a * b + b
    return layers


def has_float32() -> bool:
    """Whether this version of the library has float32 objects."""
    return "dtype" in inspect.signature(taskmet.Dataset.__init__).parameters


def precision_keywords(precision: str) -> dict[str, str]:
    """What makes objects of that precision."""
    if precision == "float64":
        return {}
    if not has_float32():
        raise NotAvailableError("this build of the library has no float32")
    return {"dtype": precision}


class Problem:
    """A size's data and TaskMet's objects. ``theta`` is a start; ``trained`` a model after some training."""

    def __init__(self, size: Size, precision: str):
        keywords = precision_keywords(precision)
        generator = np.random.default_rng(3)
        d, n = size.widths[0], size.outputs
        self.size, self.precision = size, precision
        self.x = generator.standard_normal((size.rows, d)).astype(precision)
        mix = generator.standard_normal((d, n)) / np.sqrt(d)
        noise = 0.1 * generator.standard_normal((size.rows, n))
        self.y = (0.3 * np.sin(2 * self.x @ mix) + 0.3 + noise).astype(precision)
        # The task's gradient in prediction space: anything of a natural size.
        self.c = (generator.standard_normal((size.rows, n)) / size.rows).astype(precision)
        self.dataset = taskmet.Dataset(self.x, self.y, **keywords)
        if len(size.widths) == 2:
            self.predictor = taskmet.Linear(d, n, **keywords)
        else:
            activation = {"output_activation": size.output_activation}
            self.predictor = taskmet.MLP(d, n, hidden=size.widths[1:-1], seed=1, **activation, **keywords)
        if size.metric_hidden is None:
            self.metric = taskmet.Metric.constant(n, size.structure, **keywords)
        else:
            options = {"hidden": size.metric_hidden, "activation": "relu", "seed": 2}
            self.metric = taskmet.Metric.conditional(d, n, size.structure, **options, **keywords)
        phi = np.array(self.metric.parameters)
        self.metric.parameters = phi + 0.02 * generator.standard_normal(len(phi))
        # What the objects hold, in their own precision.
        self.phi, self.theta = np.array(self.metric.parameters), np.array(self.predictor.parameters)

    @functools.cached_property
    def trained(self) -> np.ndarray:
        """Parameters near a minimum of the prediction loss, where the Hessian with a ridge is positive definite.

        For both precisions those of a training in float64: where it ends depends on each rounding on the way.
        """
        if self.precision != "float64":
            return Problem(self.size, "float64").trained.astype(self.precision).astype(float)
        options = {"solver": "adam", "max_iterations": 300, "learning_rate": 3e-3, "gradient_tolerance": 0}
        predictor = self.predictor.copy()
        taskmet.minimize(predictor, self.metric, self.dataset, **options)
        return np.array(predictor.parameters)


# Work that any method must do. A multiply-add counts as two operations; element-wise work is left out.


def metric_flops(size: Size) -> float:
    """One evaluation of the factor for all rows."""
    return 0.0 if size.metric_widths is None else 2.0 * size.rows * products(size.metric_widths)


def metric_pullback_flops(size: Size) -> float:
    """Its reverse mode without the evaluation."""
    if size.metric_widths is None:
        return 2.0 * size.rows * size.factor_entries
    return 2.0 * size.rows * (products(size.metric_widths) + later_products(size.metric_widths))


def _metric_product_flops(size: Size) -> float:
    """Lambda e for all rows: L (L'e)."""
    return 4.0 * size.rows * size.factor_entries


def step_flops(size: Size) -> float:
    """Loss and gradient at a fixed metric: forward and backward."""
    products_of_pass = 2 * products(size.widths) + later_products(size.widths)
    return 2.0 * size.rows * products_of_pass + _metric_product_flops(size)


def hessian_product_flops(size: Size) -> float:
    """H w where forward and backward pass are known: a forward-mode pass and the derivative of the backward one."""
    products_of_pass = 2 * products(size.widths) + 4 * later_products(size.widths)
    return 2.0 * size.rows * products_of_pass + _metric_product_flops(size)


def data_bytes(size: Size, precision: str) -> float:
    """Rows, the metric's factors, and one pass over theta."""
    scalar = 8 if precision == "float64" else 4
    factors = size.factor_entries * (1 if size.metric_widths is None else size.rows)
    numbers = size.rows * (size.widths[0] + size.outputs) + factors + 2 * parameter_count(size.widths)
    return float(scalar * numbers)
