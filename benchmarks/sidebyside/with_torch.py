"""The same losses in PyTorch, in the forms that a careful user writes: whole batches, parameters as a list of tensors,
one graph of the gradient for all Hessian products of a solve."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from sidebyside.problems import Problem, Size, layers_of
from sidebyside.registry import NotAvailableError

try:
    import torch
    import torch.nn.functional as F  # noqa: N812
except ImportError as reason:
    torch, F, missing = None, None, str(reason)
else:
    missing = ""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def require() -> None:
    """Says what is missing."""
    if torch is None:
        raise NotAvailableError(f"PyTorch: {missing}")


def tensor(array: np.ndarray, precision: str = "float64") -> Any:
    """A copy of an array."""
    return torch.from_numpy(np.array(array, dtype=precision))


def parameters_of(flat: np.ndarray, widths: tuple[int, ...], precision: str) -> list[Any]:
    """Weight, bias, weight, bias, ... as leaves."""
    return [tensor(part, precision).requires_grad_() for layer in layers_of(flat, widths) for part in layer]


def detached(tensors: Any) -> list[Any]:
    """Results without their graph."""
    return [part.detach() for part in tensors]


def network(parameters: Any, x: Any, output_activation: str = "identity") -> Any:
    """A multilayer perceptron with ReLU."""
    last = len(parameters) // 2 - 1
    for k in range(last + 1):
        x = F.linear(x, parameters[2 * k], parameters[2 * k + 1])
        if k < last:
            x = torch.relu(x)
    return {"identity": lambda z: z, "relu": torch.relu, "tanh": torch.tanh}[output_activation](x)


class Metric:
    """L and eps from phi: a list of the network's tensors (or the constant factor), then s."""

    def __init__(self, size: Size, phi: np.ndarray, precision: str):
        self.size = size
        if size.metric_widths is None:
            first = [tensor(phi[:-1], precision).requires_grad_()]
        else:
            first = parameters_of(phi[:-1], size.metric_widths, precision)
        self.phi = [*first, tensor(phi[-1], precision).requires_grad_()]

    def factors(self, x: Any) -> tuple[Any, Any]:
        """(entries of L: rows x entries, eps)"""
        if self.size.metric_widths is None:
            return self.phi[0].expand(len(x), -1), torch.exp(self.phi[-1])
        return network(self.phi[:-1], x), torch.exp(self.phi[-1])


def weighted_squares(size: Size, factor: Any, eps: Any, e: Any) -> Any:
    """e' Lambda e of each row, as |L'e|^2 + eps |e|^2."""
    if size.structure == "full":
        n = size.outputs
        rotated = torch.bmm(e.unsqueeze(1), factor.reshape(-1, n, n)).squeeze(1)
    else:
        rotated = factor * e
    return (rotated**2).sum(1) + eps * (e**2).sum(1)


def loss(size: Size, theta: Any, factors: tuple[Any, Any], x: Any, y: Any) -> Any:
    """L_pred without regularisation."""
    e = network(theta, x, size.output_activation) - y
    return weighted_squares(size, *factors, e).mean()


def matrices(size: Size, factor: Any, eps: Any) -> Any:
    """Lambda of each row: rows x n x n; of a constant metric computed once."""
    n, rows = size.outputs, len(factor)
    identity = torch.eye(n, dtype=factor.dtype)
    if size.metric_widths is None:
        factor = factor[:1]
    if size.structure == "full":
        factor = factor.reshape(-1, n, n)
        lambdas = torch.bmm(factor, factor.transpose(1, 2)) + eps * identity
    else:
        lambdas = (factor**2 + eps).unsqueeze(2) * identity
    return lambdas.expand(rows, n, n)


class Steps:
    """Adam's steps at a fixed metric: the metric once, then ``steps`` of gradient and update."""

    def __init__(self, problem: Problem, rate: float, compiled: bool = False):
        require()
        size, precision = problem.size, problem.precision
        self._size, self._rate = size, rate
        self._x, self._y = tensor(problem.x, precision), tensor(problem.y, precision)
        self._metric = Metric(size, problem.phi, precision)
        self._start = parameters_of(problem.theta, size.widths, precision)
        self._theta = parameters_of(problem.theta, size.widths, precision)
        self._loss = torch.compile(loss) if compiled else loss

    def run(self) -> Any:
        """theta after the steps."""
        with torch.no_grad():
            for now, start in zip(self._theta, self._start, strict=True):
                now.copy_(start)
            factors = self._metric.factors(self._x)
        optimizer = torch.optim.Adam(self._theta, lr=self._rate, fused=True)
        for _ in range(self._size.steps):
            optimizer.zero_grad(set_to_none=True)
            self._loss(self._size, self._theta, factors, self._x, self._y).backward()
            optimizer.step()
        return detached(self._theta)


class HessianProduct:
    """H w, metric included, by reverse over reverse."""

    def __init__(self, problem: Problem, w: np.ndarray):
        require()
        size, precision = problem.size, problem.precision
        self._size = size
        self._x, self._y = tensor(problem.x, precision), tensor(problem.y, precision)
        self._metric = Metric(size, problem.phi, precision)
        self._theta = parameters_of(problem.trained, size.widths, precision)
        self._w = [part.detach() for part in parameters_of(w, size.widths, precision)]

    def run(self) -> Any:
        """The product."""
        with torch.no_grad():
            factors = self._metric.factors(self._x)
        value = loss(self._size, self._theta, factors, self._x, self._y)
        gradient = torch.autograd.grad(value, self._theta, create_graph=True)
        return torch.autograd.grad(gradient, self._theta, self._w)


class Hypergradient:
    """dL_task/dphi with torchopt's conjugate gradients; the gradient's graph serves all products of the solve."""

    def __init__(self, problem: Problem, ridge: float):
        require()
        try:
            from torchopt import linear_solve
        except ImportError as reason:
            raise NotAvailableError(f"torchopt: {reason}") from reason
        size, precision = problem.size, problem.precision
        self._solve_cg, self._size, self._ridge = linear_solve.solve_cg, size, ridge
        self._x, self._y = tensor(problem.x, precision), tensor(problem.y, precision)
        self._c = tensor(problem.c, precision)
        self._metric = Metric(size, problem.phi, precision)
        self._theta = parameters_of(problem.trained, size.widths, precision)

    def run(self, tolerance: float) -> tuple[Any, Any]:
        """(hypergradient, v)"""
        size, theta = self._size, self._theta
        task = (self._c * network(theta, self._x, size.output_activation)).sum()
        g = torch.autograd.grad(task, theta)
        factors = self._metric.factors(self._x)
        slope = torch.autograd.grad(loss(size, theta, factors, self._x, self._y), theta, create_graph=True)

        def product(v: Any) -> Any:
            return torch.autograd.grad(slope, theta, v, retain_graph=True)

        v = self._solve_cg(ridge=self._ridge, rtol=tolerance, maxiter=1000)(product, g)
        v = tuple(part.detach() for part in v)
        gradient = torch.autograd.grad(slope, self._metric.phi, v)
        return [-part for part in gradient], v


class MetricWork:
    """Evaluation of Lambda and its pull-back."""

    def __init__(self, size: Size, phi: np.ndarray, x: np.ndarray, cotangent: np.ndarray):
        require()
        self._size, self._metric = size, Metric(size, phi, "float64")
        self._x, self._cotangent = tensor(x), tensor(cotangent)

    def evaluate(self) -> Any:
        """Lambda"""
        with torch.no_grad():
            return matrices(self._size, *self._metric.factors(self._x)).contiguous()

    def pull_back(self) -> Any:
        """sum <C_i, dLambda_i/dphi>"""
        lambdas = matrices(self._size, *self._metric.factors(self._x))
        return torch.autograd.grad(lambdas, self._metric.phi, self._cotangent)
