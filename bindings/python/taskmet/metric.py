"""The metric Lambda(x) of the prediction loss."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from taskmet import _native
from taskmet._arrays import Reals, as_reals, as_vector, matrix, reals, vector
from taskmet._handles import create
from taskmet._native import constant, library
from taskmet._parametrized import Parametrized, layer_sizes
from taskmet.models import features


class Metric(Parametrized):
    """Lambda(x) = normalised (L L' + eps I): how much each error counts in the prediction loss; made by `constant` or
    `conditional`. It starts as the identity, or close to it.

    The structure of L is "scalar", "diagonal", "lowrank" (with a rank) or "full".

    Examples
    --------
    >>> from taskmet import Metric
    >>> Metric.constant(2, "diagonal").evaluate()
    array([[1., 0.],
           [0., 1.]])
    >>> Metric.conditional(3, 1, "scalar", hidden=[16], activation="tanh", seed=1)
    <Metric inputs=3 outputs=1 parameters=82>
    """

    _kind = "metric"

    @classmethod
    def constant(
        cls,
        outputs: int,
        structure: str = "full",
        rank: int | None = None,
        seed: int = 0,
        dtype: DTypeLike = "float64",
    ) -> Metric:
        """A metric that is the same for every row.

        Parameters
        ----------
        outputs : int
            n, the number of targets: Lambda is n x n.
        structure : str
            "scalar", "diagonal", "lowrank" or "full".
        rank : int, optional
            Of a "lowrank" metric.
        seed : int
            Of a "lowrank" metric's start.
        dtype : "float64" or "float32"
            Of the parameters, and of the arithmetic in a loss.
        """
        shape = (constant(_native.STRUCTURE, structure, "structure"), 1 if rank is None else rank)
        metric = cls._adopt(create(library.metric_create_constant, outputs, *shape, seed))
        metric._become(dtype)
        return metric

    @classmethod
    def conditional(
        cls,
        inputs: int,
        outputs: int,
        structure: str = "diagonal",
        rank: int | None = None,
        hidden: int | Sequence[int] = (16,),
        activation: str = "tanh",
        seed: int = 0,
        dtype: DTypeLike = "float64",
    ) -> Metric:
        """A metric whose factor is the output of a multilayer perceptron of the row's features.

        Parameters
        ----------
        inputs, outputs : int
            Features, and n targets: Lambda(x) is n x n.
        structure, rank
            As in `constant`.
        hidden : int or sequence of int
            The sizes of the hidden layers.
        activation : str
            After each hidden layer; see `MLP`.
        seed : int
            Of the network's start.
        dtype : "float64" or "float32"
            As in `constant`.
        """
        metric = cls._adopt(
            create(
                library.metric_create_conditional,
                inputs,
                outputs,
                constant(_native.STRUCTURE, structure, "structure"),
                1 if rank is None else rank,
                *layer_sizes(hidden),
                constant(_native.ACTIVATION, activation, "activation"),
                seed,
            )
        )
        metric._become(dtype)
        return metric

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for every row."""
        return self.inputs == 0

    def evaluate(self, x: ArrayLike | None = None) -> Reals:
        """Lambda(x_i): rows x n x n; without x, of a constant metric, n x n."""
        (count, rows), n = self._rows(x), self.outputs
        out = np.empty((count, n, n))
        library.metric_evaluate(self.handle, count, *matrix(rows), *vector(out))
        return out[0] if x is None else out

    def vjp(self, x: ArrayLike | None, cotangent: ArrayLike) -> Reals:
        """Reverse mode: sum_i <C_i, dLambda(x_i)/dphi>, for a cotangent of rows x n x n."""
        (count, rows), c = self._rows(x), np.ascontiguousarray(as_reals(cotangent, "cotangent"))
        expected = (count, self.outputs, self.outputs)
        if c.shape != expected:
            raise ValueError(f"cotangent must have shape {expected}, got {c.shape}")
        out = np.empty(self.parameter_count)
        library.metric_vjp(self.handle, count, *matrix(rows), *vector(c), *vector(out))
        return out

    def regularizer(self, x: ArrayLike | None, b1: float = 0.0, b2: float = 0.0) -> tuple[float, Reals]:
        """b1 mean_i sum_jk |Lambda_i,jk| + b2 mean_i |Lambda_i - I|_F^2, and its gradient in phi."""
        (count, rows), value, out = self._rows(x), c_double(), np.empty(self.parameter_count)
        library.metric_regularizer(self.handle, count, *matrix(rows), b1, b2, ctypes.byref(value), *vector(out))
        return value.value, out

    def set_normalization(self, normalization: str) -> None:
        """ "none", "frobenius", "trace" or "batch_trace"."""
        library.metric_set_normalization(self.handle, constant(_native.NORMALIZATION, normalization, "normalization"))

    def update_normalization(self, x: ArrayLike | None = None) -> None:
        """Batch trace: sets m to the mean over these rows of tr(A_i)/n."""
        count, rows = self._rows(x)
        library.metric_update_normalization(self.handle, count, *matrix(rows))

    @property
    def normalization_scale(self) -> float:
        """The stored m; 1 before the first update."""
        scale = c_double()
        library.metric_get_normalization_scale(self.handle, ctypes.byref(scale))
        return scale.value

    def set_floor(self, floor: float) -> None:
        """The floor in eps = exp(s) + floor."""
        library.metric_set_floor(self.handle, floor)

    def set_standardization(self, mean: ArrayLike | None = None, scale: ArrayLike | None = None) -> None:
        """A conditional metric's network then sees (x - mean) / scale; None for neither."""
        if (mean is None) != (scale is None):
            raise ValueError("mean and scale must be given together")
        m = None if mean is None else as_vector(mean, "mean")
        s = None if scale is None else as_vector(scale, "scale")
        if m is not None and s is not None and len(m) != len(s):
            raise ValueError(f"mean and scale must have the same length, got {len(m)} and {len(s)}")
        library.metric_set_standardization(self.handle, reals(m), reals(s), 0 if m is None else len(m))

    def _rows(self, x: ArrayLike | None) -> tuple[int, Reals | None]:
        """(number of rows, features); a constant metric needs no features, and looks at none."""
        if self.is_constant:
            return (1 if x is None else len(np.asarray(x))), None
        if x is None:
            raise ValueError("x must be given for a conditional metric")
        rows = features(x, self.inputs)
        return len(rows), rows
