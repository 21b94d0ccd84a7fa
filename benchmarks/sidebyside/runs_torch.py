"""Two whole fits in PyTorch: grid scheduling with exact inner solutions, the portfolio by the paper's recipe."""

from __future__ import annotations

from typing import Any

import numpy as np

from sidebyside import with_torch
from sidebyside.problems import layers_of
from sidebyside.registry import NotAvailableError
from sidebyside.with_torch import missing, network, tensor, torch

__all__ = ["GridFit", "PortfolioFit", "missing"]


def _leaves(flat: np.ndarray, widths: tuple[int, ...]) -> list[Any]:
    return [tensor(part).requires_grad_() for layer in layers_of(flat, widths) for part in layer]


class GridFit:
    """theta*(phi) by one batched Cholesky factorisation over the outputs; autograd differentiates the solution."""

    def __init__(
        self,
        training: tuple[np.ndarray, np.ndarray],
        held_out: np.ndarray,
        phi: np.ndarray,
        rho: float,
        rate: float,
        floor: float,
        iterations: int,
    ):
        with_torch.require()
        self._features, self._y = tensor(training[0]), tensor(training[1])
        ones = torch.ones(len(self._features), 1, dtype=torch.float64)
        self._x = torch.cat([self._features, ones], 1)
        self._held_out, self._start = held_out, phi
        penalty = torch.full((self._x.shape[1],), rho, dtype=torch.float64)
        penalty[-1] = 0
        self._penalty = torch.diag(penalty)
        self._rate, self._floor, self._iterations = rate, floor, iterations

    def _solution(self, layers: list[Any], s: Any) -> Any:
        factor = network(layers, self._features)
        weights = factor**2 + torch.exp(s) + self._floor
        weights = weights / weights.mean()
        share = 2 / len(self._x)
        normal = torch.einsum("ni,nk,nj->kij", self._x, weights, self._x) * share + self._penalty
        right = torch.einsum("ni,nk->ki", self._x, weights * self._y) * share
        return torch.cholesky_solve(right.unsqueeze(2), torch.linalg.cholesky(normal)).squeeze(2)

    def run(self) -> np.ndarray:
        """Predictions of the held-out rows after the iterations."""
        widths = (self._features.shape[1], 64, self._y.shape[1])
        layers = _leaves(self._start[:-1], widths)
        # The floor is part of eps, which begins where it would be without one.
        s = tensor(np.log(np.exp(self._start[-1]) - self._floor)).requires_grad_()
        optimizer = torch.optim.Adam([*layers, s], lr=self._rate)
        for _ in range(self._iterations):
            optimizer.zero_grad(set_to_none=True)
            error = self._x @ self._solution(layers, s).T - self._y
            cost = torch.where(error < 0, -50.0 * error, 0.5 * error) + 0.5 * error**2
            cost.mean().backward()
            optimizer.step()
        with torch.no_grad():
            theta = self._solution(layers, s).numpy()
        return self._held_out @ theta[:, :-1].T + theta[:, -1]


class PortfolioFit:
    """Warm-up, then inner steps, a portfolio of 100 days by cvxpylayers, normal equations by conjugate gradients."""

    DAYS, STOCKS, RISK = 200, 50, 0.1

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        q: np.ndarray,
        held_out: np.ndarray,
        theta: np.ndarray,
        phi: np.ndarray,
        target: float,
        most_iterations: int,
    ):
        with_torch.require()
        try:
            import cvxpy as cp
            from cvxpylayers.torch import CvxpyLayer
        except ImportError as reason:
            raise NotAvailableError(f"cvxpylayers: {reason}") from reason
        z, returns = cp.Variable(self.STOCKS), cp.Parameter(self.STOCKS)
        root = cp.Parameter((self.STOCKS, self.STOCKS))
        objective = cp.Maximize(returns @ z - self.RISK * cp.sum_squares(root.T @ z))
        self._layer = CvxpyLayer(
            cp.Problem(objective, [cp.sum(z) == 1, z >= 0, z <= 1]), parameters=[returns, root], variables=[z]
        )
        shape = (self.DAYS, self.STOCKS)
        self._x, self._y = tensor(x).reshape(*shape, -1), tensor(y).reshape(shape)
        self._q, self._roots = tensor(q), tensor(np.linalg.cholesky(q))
        self._held_out, self._starts = tensor(held_out), (theta, phi)
        self._target, self._most_iterations = target, most_iterations

    def _loss(self, theta: list[Any], x: Any, y: Any, weights: Any) -> Any:
        return (weights * (network(theta, x, "tanh").squeeze(-1) - y) ** 2).mean()

    def _choose(self, count: int, generator: Any) -> Any:
        return torch.randperm(self.DAYS, generator=generator)[:count]

    @staticmethod
    def _weights(metric: list[Any], x: Any) -> Any:
        return network(metric[:-1], x).squeeze(-1) ** 2 + torch.exp(metric[-1])

    def _inner_steps(self, theta: list[Any], optimizer: Any, metric: list[Any], steps: int, generator: Any) -> None:
        with torch.no_grad():
            weights = self._weights(metric, self._x)
        for _ in range(steps):
            batch = self._choose(10, generator)
            optimizer.zero_grad(set_to_none=True)
            self._loss(theta, self._x[batch], self._y[batch], weights[batch]).backward()
            if torch.nn.utils.clip_grad_norm_(theta, 1.0) <= 1e-3:
                break
            optimizer.step()

    def _task_gradient(self, theta: list[Any], generator: Any) -> tuple[float, Any]:
        days = self._choose(100, generator)
        predictions = network(theta, self._x[days], "tanh").squeeze(-1)
        (z,) = self._layer(predictions, self._roots[days])
        risk = ((self._q[days] @ z.unsqueeze(2)).squeeze(2) * z).sum(1)
        loss = -((self._y[days] * z).sum(1) - self.RISK * risk).mean()
        return loss.item(), torch.autograd.grad(loss, theta)

    def _hypergradient(self, theta: list[Any], metric: list[Any], g: Any, generator: Any) -> list[Any]:
        batch = self._choose(10, generator)
        x, y = self._x[batch], self._y[batch]
        loss = self._loss(theta, x, y, self._weights(metric, x))
        slope = torch.autograd.grad(loss, theta, create_graph=True)

        def product(w: Any) -> Any:
            return torch.autograd.grad(slope, theta, w, retain_graph=True)

        v = _normal_cg(product, g)
        return [-part for part in torch.autograd.grad(slope, metric, v)]

    def run(self) -> np.ndarray:
        """Predictions of the held-out rows after the iterations."""
        generator = torch.Generator().manual_seed(1)
        theta = _leaves(self._starts[0], (28, 500, 1))
        metric = [*_leaves(self._starts[1][:-1], (28, 200, 1)), tensor(self._starts[1][-1]).requires_grad_()]
        inner = torch.optim.Adam(theta, lr=1e-3, fused=True)
        outer = torch.optim.Adam(metric, lr=1e-3, fused=True)
        self._inner_steps(theta, inner, metric, 500, generator)
        loss, g = self._task_gradient(theta, generator)
        for _ in range(self._most_iterations):
            for parameter, part in zip(metric, self._hypergradient(theta, metric, g, generator), strict=True):
                parameter.grad = part
            outer.step()
            self._inner_steps(theta, inner, metric, 100, generator)
            loss, g = self._task_gradient(theta, generator)
            if loss <= self._target:
                break
        else:
            raise ArithmeticError(f"the task loss is above {self._target} after {self._most_iterations} iterations")
        with torch.no_grad():
            return network(theta, self._held_out, "tanh").numpy()


def _normal_cg(product: Any, g: Any, iterations: int = 5, ridge: float = 1e-5) -> Any:
    """(H H + ridge) v = H g on lists of tensors."""

    def dot(a: Any, b: Any) -> Any:
        return sum((p * q).sum() for p, q in zip(a, b, strict=True))

    v = [torch.zeros_like(part) for part in g]
    r = product(g)
    p, rr = r, dot(r, r)
    for _ in range(iterations):
        q = torch._foreach_add(product(product(p)), p, alpha=ridge)
        step = rr / dot(p, q)
        v = [a + step * b for a, b in zip(v, p, strict=True)]
        r = [a - step * b for a, b in zip(r, q, strict=True)]
        rr, before = dot(r, r), rr
        p = [a + (rr / before) * b for a, b in zip(r, p, strict=True)]
    return v
