"""The same losses in JAX: pure functions of parameter lists, jitted whole, the Hessian by a linearised gradient."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from sidebyside.problems import Problem, Size, layers_of
from sidebyside.registry import NotAvailableError

try:
    import jax
    import jax.numpy as jnp
except ImportError as reason:
    jax, jnp, missing = None, None, str(reason)
else:
    missing = ""
    jax.config.update("jax_enable_x64", True)


def require() -> None:
    """Says what is missing."""
    if jax is None:
        raise NotAvailableError(f"JAX: {missing}")


def parameters_of(flat: np.ndarray, widths: tuple[int, ...], precision: str) -> list[Any]:
    """[(weight, bias), ...]"""
    return [tuple(jnp.asarray(part, precision) for part in layer) for layer in layers_of(flat, widths)]


def metric_of(size: Size, phi: np.ndarray, precision: str) -> tuple[Any, Any]:
    """(the network's layers or the constant factor, s)"""
    s = jnp.asarray(phi[-1], precision)
    if size.metric_widths is None:
        return jnp.asarray(phi[:-1], precision), s
    return parameters_of(phi[:-1], size.metric_widths, precision), s


def network(layers: Any, x: Any, output_activation: str = "identity") -> Any:
    """A multilayer perceptron with ReLU."""
    for k, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if k + 1 < len(layers):
            x = jax.nn.relu(x)
    return {"identity": lambda z: z, "relu": jax.nn.relu, "tanh": jnp.tanh}[output_activation](x)


def factors(size: Size, phi: Any, x: Any) -> tuple[Any, Any]:
    """(entries of L: rows x entries, eps)"""
    if size.metric_widths is None:
        return jnp.broadcast_to(phi[0], (len(x), size.factor_entries)), jnp.exp(phi[1])
    return network(phi[0], x), jnp.exp(phi[1])


def loss(size: Size, theta: Any, fixed: tuple[Any, Any], x: Any, y: Any) -> Any:
    """L_pred without regularisation, e' Lambda e as |L'e|^2 + eps |e|^2."""
    factor, eps = fixed
    e = network(theta, x, size.output_activation) - y
    if size.structure == "full":
        n = size.outputs
        rotated = jnp.einsum("ij,ijk->ik", e, factor.reshape(-1, n, n))
    else:
        rotated = factor * e
    return jnp.mean(jnp.sum(rotated**2, 1) + eps * jnp.sum(e**2, 1))


def matrices(size: Size, phi: Any, x: Any) -> Any:
    """Lambda of each row; of a constant metric computed once."""
    constant = size.metric_widths is None
    factor, eps = factors(size, phi, x[:1] if constant else x)
    n = size.outputs
    if size.structure == "full":
        factor = factor.reshape(-1, n, n)
        lambdas = jnp.einsum("ijk,ilk->ijl", factor, factor) + eps * jnp.eye(n)
    else:
        lambdas = (factor**2 + eps)[:, :, None] * jnp.eye(n)
    return jnp.broadcast_to(lambdas, (len(x), n, n))


def _adam(theta: Any, gradient: Any, first: Any, second: Any, step: Any, rate: float) -> tuple[Any, Any, Any]:
    """Kingma and Ba's update, PyTorch's form; step counts from 1. The corrections are computed in float64, as there."""
    tree = jax.tree_util.tree_map
    first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    step = step.astype("float64")
    a, b = ((1 - beta**step).astype(jax.tree_util.tree_leaves(theta)[0].dtype) for beta in (0.9, 0.999))
    theta = tree(lambda p, m, v: p - rate * (m / a) / (jnp.sqrt(v / b) + 1e-8), theta, first, second)
    return theta, first, second


class Steps:
    """Adam's steps at a fixed metric, one jitted call for each, or one for all of them (``whole``)."""

    def __init__(self, problem: Problem, rate: float, whole: bool):
        require()
        size, precision = problem.size, problem.precision
        self._size, self._whole = size, whole
        self._x, self._y = jnp.asarray(problem.x), jnp.asarray(problem.y)
        self._phi = metric_of(size, problem.phi, precision)
        self._theta = parameters_of(problem.theta, size.widths, precision)
        # The data are arguments: as constants of the program they would be folded at compile time.
        self._factors = jax.jit(functools.partial(factors, size))

        def step(state: Any, fixed: Any, x: Any, y: Any) -> Any:
            theta, first, second, count = state
            gradient = jax.grad(functools.partial(loss, size))(theta, fixed, x, y)
            return (*_adam(theta, gradient, first, second, count, rate), count + 1)

        def steps(state: Any, fixed: Any, x: Any, y: Any) -> Any:
            return jax.lax.fori_loop(0, size.steps, lambda _, now: step(now, fixed, x, y), state)

        self._step = jax.jit(steps if whole else step)

    def run(self) -> Any:
        """theta after the steps."""
        zeros = jax.tree_util.tree_map(jnp.zeros_like, self._theta)
        state = (self._theta, zeros, zeros, jnp.asarray(1))
        fixed = self._factors(self._phi, self._x)
        for _ in range(1 if self._whole else self._size.steps):
            state = self._step(state, fixed, self._x, self._y)
        return jax.block_until_ready(state[0])


class HessianProduct:
    """H w, metric included, by forward over reverse, jitted."""

    def __init__(self, problem: Problem, w: np.ndarray):
        require()
        size, precision = problem.size, problem.precision
        self._arguments = (
            parameters_of(problem.trained, size.widths, precision),
            metric_of(size, problem.phi, precision),
            *(jnp.asarray(problem.x), jnp.asarray(problem.y)),
            parameters_of(w, size.widths, precision),
        )

        def product(theta: Any, phi: Any, x: Any, y: Any, v: Any) -> Any:
            fixed = factors(size, phi, x)
            return jax.jvp(lambda now: jax.grad(functools.partial(loss, size))(now, fixed, x, y), (theta,), (v,))[1]

        self._product = jax.jit(product)

    def run(self) -> Any:
        """The product."""
        return jax.block_until_ready(self._product(*self._arguments))


class Hypergradient:
    """dL_task/dphi with jaxopt's conjugate gradients, jitted whole; the tolerance is an argument."""

    def __init__(self, problem: Problem, ridge: float):
        require()
        try:
            from jaxopt import linear_solve
        except ImportError as reason:
            raise NotAvailableError(f"jaxopt: {reason}") from reason
        size, precision = problem.size, problem.precision
        arrays = (jnp.asarray(problem.x), jnp.asarray(problem.y), jnp.asarray(problem.c))
        theta = parameters_of(problem.trained, size.widths, precision)
        self._arguments = (theta, metric_of(size, problem.phi, precision), *arrays)

        def hypergradient(theta: Any, phi: Any, x: Any, y: Any, c: Any, tolerance: Any) -> Any:
            _, pull_back = jax.vjp(lambda now: network(now, x, size.output_activation), theta)
            (g,) = pull_back(c)

            def slope(now: Any, fixed: Any) -> Any:
                return jax.grad(functools.partial(loss, size))(now, fixed, x, y)

            fixed = factors(size, phi, x)
            _, product = jax.linearize(lambda now: slope(now, fixed), theta)
            v = linear_solve.solve_cg(product, g, ridge=ridge, tol=tolerance, maxiter=1000)

            def cross(now: Any) -> Any:
                # <grad_theta L, v> by forward mode: the derivative of the loss along v.
                along = jax.jvp(lambda at: loss(size, at, factors(size, now, x), x, y), (theta,), (v,))[1]
                return -along

            return jax.grad(cross)(phi), v

        self._hypergradient = jax.jit(hypergradient)

    def run(self, tolerance: float) -> Any:
        """(hypergradient, v)"""
        return jax.block_until_ready(self._hypergradient(*self._arguments, tolerance))


class MetricWork:
    """Evaluation of Lambda and its pull-back."""

    def __init__(self, size: Size, phi: np.ndarray, x: np.ndarray, cotangent: np.ndarray):
        require()
        self._phi, self._x = metric_of(size, phi, "float64"), jnp.asarray(x)
        self._cotangent = jnp.asarray(cotangent)
        self._matrices = jax.jit(functools.partial(matrices, size))
        self._pull_back = jax.jit(
            lambda now, rows, c: jax.grad(lambda at: jnp.sum(matrices(size, at, rows) * c))(now),
        )

    def evaluate(self) -> Any:
        """Lambda"""
        return jax.block_until_ready(self._matrices(self._phi, self._x))

    def pull_back(self) -> Any:
        """sum <C_i, dLambda_i/dphi>"""
        return jax.block_until_ready(self._pull_back(self._phi, self._x, self._cotangent))
