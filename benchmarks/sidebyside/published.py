"""The published recipes of two decisions in PyTorch, written for this comparison from their description (it is not the
authors' code): the choice of k items by Sinkhorn iterations, the budget allocation by projected gradient ascent.

``batched = False`` takes one instance after the other, as the research code does; True takes all at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sidebyside import with_torch
from sidebyside.with_torch import torch


class _Instances:
    """Predictions and targets by instance, and the loop over instances where there is one."""

    def __init__(self, predictions: np.ndarray, y: np.ndarray, shape: tuple[int, ...], batched: bool):
        with_torch.require()
        self._predictions = with_torch.tensor(predictions.reshape(-1, *shape)).requires_grad_()
        self._y, self._batched = with_torch.tensor(y.reshape(-1, *shape)), batched

    def losses(self, predictions: Any, y: Any, **options: Any) -> Any:
        """One for each instance."""
        raise NotImplementedError

    def run(self, **options: Any) -> Any:
        """d mean loss / d predictions."""
        count = len(self._y)
        if self._batched:
            loss = self.losses(self._predictions, self._y, **options).mean()
            return torch.autograd.grad(loss, self._predictions)[0]
        parts = []
        for k in range(count):
            one = self._predictions[k : k + 1].detach().requires_grad_()
            loss = self.losses(one, self._y[k : k + 1], **options).sum() / count
            parts.append(torch.autograd.grad(loss, one)[0])
        return torch.cat(parts)


def _sinkhorn_function() -> Any:
    class Transport(torch.autograd.Function):
        """Z by Sinkhorn iterations; the backward pass is that of the transport problem's solution, by the differences
        d_i = (cost of taking) - (cost of leaving)."""

        @staticmethod
        def forward(context: Any, costs: Any, chosen: int, epsilon: float, iterations: int) -> Any:
            """costs: instances x items x 2 (leave, take)."""
            items = costs.shape[1]
            kernel = torch.exp(-costs / epsilon)
            rows = torch.full(costs.shape[:2], 1.0 / items, dtype=costs.dtype)
            columns = torch.tensor([1 - chosen / items, chosen / items], dtype=costs.dtype).expand(len(costs), 2)
            v = torch.ones_like(columns)
            for _ in range(iterations):
                u = rows / torch.bmm(kernel, v.unsqueeze(2)).squeeze(2)
                v = columns / torch.bmm(kernel.transpose(1, 2), u.unsqueeze(2)).squeeze(2)
            taken = items * u * kernel[:, :, 1] * v[:, 1:]
            context.save_for_backward(taken)
            context.epsilon = epsilon
            return taken

        @staticmethod
        def backward(context: Any, cotangent: Any) -> Any:
            """dZ/dd = -(D - s s'/1's) / epsilon, s = Z (1 - Z), D = diag(s)."""
            (taken,) = context.saved_tensors
            slope = taken * (1 - taken)
            mean = (slope * cotangent).sum(1, keepdim=True) / slope.sum(1, keepdim=True)
            along = slope * (cotangent - mean) / context.epsilon
            return torch.stack([along, -along], 2), None, None, None

    return Transport


class SinkhornTopK(_Instances):
    """Entropic transport of scores to the anchors 0 and 1, costs by their largest, which counts as a constant."""

    ITERATIONS, ENOUGH = 200, 100_000

    def __init__(self, scores: np.ndarray, y: np.ndarray, items: int, chosen: int, epsilon: float, batched: bool):
        super().__init__(scores, y, (items,), batched)
        self._chosen, self._epsilon, self._function = chosen, epsilon, _sinkhorn_function()

    def losses(self, predictions: Any, y: Any, iterations: int = ITERATIONS) -> Any:
        """Minus the worth of what is taken."""
        anchors = torch.tensor([0.0, 1.0], dtype=predictions.dtype)
        costs = (predictions.unsqueeze(2) - anchors) ** 2
        costs = costs / costs.detach().amax((1, 2), keepdim=True)
        taken = self._function.apply(costs, self._chosen, self._epsilon, iterations)
        return -(taken * y).sum(1)

    def converged(self) -> Any:
        """The gradient after so many iterations that more change nothing."""
        batched, self._batched = self._batched, True
        try:
            return self.run(iterations=self.ENOUGH)
        finally:
            self._batched = batched


def _coverage_slope(z: Any, y: Any) -> Any:
    """dF/dz_i = sum_j y_ij prod_(k != i) (1 - z_k y_kj); no z_k y_kj is 1 here."""
    rest = 1 - z.unsqueeze(2) * y
    return (y * rest.prod(1, keepdim=True) / rest).sum(2)


def _project(x: Any, budget: int) -> Any:
    """The nearest point with 0 <= z <= 1, sum z = budget: the piecewise linear sum is looked at where it bends."""
    bends = torch.sort(torch.cat([x, x - 1], 1), 1).values
    sums = (x.unsqueeze(1) - bends.unsqueeze(2)).clamp(0, 1).sum(2)  # falls along the bends
    right = (sums > budget).sum(1, keepdim=True).clamp(1, bends.shape[1] - 1)
    low, high = bends.gather(1, right - 1), bends.gather(1, right)
    at_low, at_high = sums.gather(1, right - 1), sums.gather(1, right)
    shift = low + (at_low - budget) / (at_low - at_high).clamp_min(1e-300) * (high - low)
    return (x - shift).clamp(0, 1)


def _allocation_function() -> Any:
    class Allocation(torch.autograd.Function):
        """100 steps of projected ascent with momentum; backward by the KKT matrix with 0.01 I added."""

        @staticmethod
        def forward(context: Any, y: Any, budget: int) -> Any:
            """y: instances x sites x users."""
            now = torch.full(y.shape[:2], budget / y.shape[1], dtype=y.dtype)
            before = now
            for _ in range(100):
                z = now + 0.9 * (now - before)
                now, before = _project(z + 0.1 * _coverage_slope(z, y), budget), now
            context.save_for_backward(now, y)
            return now

        @staticmethod
        def backward(context: Any, cotangent: Any) -> Any:
            """The derivatives of stationarity, of the budget and of the bounds, in one matrix."""
            z, y = context.saved_tensors
            count, sites = z.shape
            margin, ridge = 1e-6, 0.01
            slope = _coverage_slope(z, y)
            between = (z > margin) & (z < 1 - margin)
            nu = (slope * between).sum(1) / between.sum(1).clamp_min(1)
            excess = slope - nu.unsqueeze(1)
            upper, lower = excess * (z > 1 - margin), excess * (z < margin)
            rest = 1 - z.unsqueeze(2) * y
            pairs = (y.unsqueeze(1) * y.unsqueeze(2)) * rest.prod(1)[:, None, None, :]
            hessian = -(pairs / (rest.unsqueeze(1) * rest.unsqueeze(2))).sum(3)
            hessian = hessian * (1 - torch.eye(sites, dtype=y.dtype))
            identity = torch.eye(sites, dtype=y.dtype).expand(count, sites, sites)
            matrix = torch.zeros(count, 3 * sites + 1, 3 * sites + 1, dtype=y.dtype)
            matrix[:, :sites, :sites] = hessian
            matrix[:, :sites, sites] = 1
            matrix[:, :sites, sites + 1 : 2 * sites + 1] = identity
            matrix[:, :sites, 2 * sites + 1 :] = -identity
            matrix[:, sites, :sites] = nu.unsqueeze(1)
            matrix[:, sites + 1 : 2 * sites + 1, :sites] = torch.diag_embed(upper)
            matrix[:, 2 * sites + 1 :, :sites] = -torch.diag_embed(lower)
            bounds = torch.cat([z.new_zeros(count, sites + 1), z - 1, -z], 1) + ridge
            matrix = matrix + torch.diag_embed(bounds)
            right = torch.cat([cotangent, z.new_zeros(count, 2 * sites + 1)], 1)
            w = torch.linalg.solve(matrix, right)[:, :sites]
            with torch.enable_grad():
                leaf = y.detach().requires_grad_()
                mixed = (_coverage_slope(z.detach(), leaf) * w).sum()
                return torch.autograd.grad(mixed, leaf)[0], None

    return Allocation


class BudgetAllocation(_Instances):
    """Minus the expected number of users reached by the allocation."""

    def __init__(self, predictions: np.ndarray, y: np.ndarray, sites: int, budget: int, batched: bool):
        super().__init__(predictions, y, (sites, predictions.shape[1]), batched)
        self._budget, self._function = budget, _allocation_function()

    def losses(self, predictions: Any, y: Any) -> Any:
        """One for each instance."""
        z = self._function.apply(predictions.clamp(0, 1), self._budget)
        return -(1 - (1 - z.unsqueeze(2) * y).prod(1)).sum(1)
