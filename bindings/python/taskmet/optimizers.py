"""Optimisers of a flat parameter vector, for training loops of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from taskmet._arrays import Reals, as_vector, vector
from taskmet._handles import NativeObject, create
from taskmet._native import library


class Optimizer(NativeObject):
    """Adam or gradient descent with momentum, in PyTorch's forms; made by `adam` or `sgd`.

    Examples
    --------
    >>> from taskmet import Optimizer
    >>> Optimizer.sgd(2, learning_rate=0.5).step([1.0, 2.0], [2.0, 0.0])
    array([ 1.5, -1. ])
    """

    _kind = "optimizer"

    def __init__(self, count: int, handle: int):
        self._count, self._handle = count, handle

    @classmethod
    def adam(
        cls, count: int, learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> Optimizer:
        """Adam (Kingma and Ba)."""
        return cls(count, create(library.optimizer_create_adam, count, learning_rate, beta1, beta2, epsilon))

    @classmethod
    def sgd(cls, count: int, learning_rate: float, momentum: float = 0.0) -> Optimizer:
        """Gradient descent with momentum."""
        return cls(count, create(library.optimizer_create_sgd, count, learning_rate, momentum))

    def step(self, gradient: ArrayLike, parameters: ArrayLike) -> Reals:
        """The parameters after one step against a gradient."""
        g, out = as_vector(gradient, "gradient"), np.array(as_vector(parameters, "parameters"))
        library.optimizer_step(self.handle, *vector(g), *vector(out))
        return out

    def reset(self) -> None:
        """Forgets the moments and the step count; keeps the learning rate."""
        library.optimizer_reset(self.handle)

    def set_learning_rate(self, learning_rate: float) -> None:
        """For the steps to come."""
        library.optimizer_set_learning_rate(self.handle, learning_rate)

    def _describe(self) -> Any:
        return f"parameters={self._count}"
