"""A batch of convex programs by cvxpylayers: solved, and a loss of the solutions pulled back to the predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sidebyside import with_torch
from sidebyside.registry import NotAvailableError


class ProgramLayer:
    """``problem`` in one variable; its first parameter is predicted, the others are given.

    predictions  instances x entries
    given        for each other parameter an array with a leading axis of instances
    loss         of the solutions (instances x variables)
    """

    def __init__(
        self,
        problem: Any,
        parameters: list[Any],
        variable: Any,
        predictions: np.ndarray,
        given: list[np.ndarray],
        loss: Callable[[Any], Any],
    ):
        with_torch.require()
        try:
            from cvxpylayers.torch import CvxpyLayer
        except ImportError as reason:
            raise NotAvailableError(f"cvxpylayers: {reason}") from reason
        self._layer = CvxpyLayer(problem, parameters=parameters, variables=[variable])
        self._predictions = with_torch.tensor(predictions).requires_grad_()
        self._given = [with_torch.tensor(array) for array in given]
        self._loss = loss

    def _gradient(self, **solver: Any) -> Any:
        (z,) = self._layer(self._predictions, *self._given, solver_args=solver)
        (gradient,) = with_torch.torch.autograd.grad(self._loss(z), self._predictions)
        return gradient

    def run(self) -> Any:
        """The gradient as a user gets it who sets nothing."""
        return self._gradient()

    def run_clarabel(self) -> Any:
        """The same by Clarabel, an interior point method."""
        return self._gradient(solve_method="Clarabel")

    def converged(self) -> Any:
        """The same at the tightest tolerance that Clarabel reaches: to see that it is the same problem."""
        tight = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13}
        return self._gradient(solve_method="Clarabel", **tight)
