"""A predictor linearised at some rows: one forward pass, then any number of products."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from taskmet._arrays import Reals, as_matrix, as_vector, matrix, vector
from taskmet._callbacks import call
from taskmet._handles import NativeObject, create
from taskmet._native import library
from taskmet.models import Predictor, features


class Linearization(NativeObject):
    """A predictor at its present parameters and some rows, both of which it copies. For training loops of one's own.

    Parameters
    ----------
    predictor : Predictor
    x : array of shape (rows, inputs)

    Attributes
    ----------
    predictions : array of shape (rows, outputs)
        f(x_i).

    Examples
    --------
    >>> from taskmet import Linear, Linearization
    >>> line = Linear(1)
    >>> line.parameters = [2.0, 1.0]
    >>> at = Linearization(line, [[3.0], [4.0]])
    >>> at.predictions.ravel(), at.vjp([1.0, 1.0]), at.input_vjp([1.0, 1.0]).ravel()
    (array([7., 9.]), array([7., 2.]), array([2., 2.]))
    """

    _kind = "linearization"
    predictions: Reals

    def __init__(self, predictor: Predictor, x: ArrayLike):
        self._handle = create(library.linearization_create)
        self.update(predictor, x)

    def update(self, predictor: Predictor, x: ArrayLike) -> None:
        """Linearises anew; memory is made only for another predictor, or for more rows than before."""
        x = features(x, predictor.inputs)
        self._predictor, self._rows = predictor, len(x)
        self._sizes = predictor.inputs, predictor.outputs, predictor.parameter_count
        out = np.empty((len(x), predictor.outputs))
        call(library.linearization_update, self.handle, predictor.handle, len(x), *matrix(x), *matrix(out))
        self.predictions = out

    def vjp(self, c: ArrayLike) -> Reals:
        """Reverse mode: sum_i J_i' c_i, as long as theta; for c of rows x outputs."""
        out = np.empty(self._sizes[2])
        call(library.linearization_vjp, self.handle, *matrix(self._cotangent(c)), *vector(out))
        return out

    def input_vjp(self, c: ArrayLike) -> Reals:
        """(df(x_i)/dx_i)' c_i, rows x inputs; for c of rows x outputs."""
        out = np.empty((self._rows, self._sizes[0]))
        call(library.linearization_input_vjp, self.handle, *matrix(self._cotangent(c)), *matrix(out))
        return out

    def jvp(self, v: ArrayLike) -> Reals:
        """Forward mode: J_i v, rows x outputs; for v as long as theta."""
        out = np.empty((self._rows, self._sizes[1]))
        call(library.linearization_jvp, self.handle, *vector(as_vector(v, "v")), *matrix(out))
        return out

    def hvp(self, c: ArrayLike, w: ArrayLike) -> Reals:
        """sum_i sum_k c_ik (d2 f_k(x_i) / dtheta2) w: the derivative of `vjp` along w at fixed c."""
        out = np.empty(self._sizes[2])
        arguments = (*matrix(self._cotangent(c)), *vector(as_vector(w, "w")))
        call(library.linearization_hvp, self.handle, *arguments, *vector(out))
        return out

    def _cotangent(self, c: ArrayLike) -> Reals:
        array = as_matrix(c, "c")
        if array.shape != (self._rows, self._sizes[1]):
            raise ValueError(f"c must have shape {(self._rows, self._sizes[1])}, got {array.shape}")
        return array

    def _describe(self) -> str:
        return f"rows={self._rows} inputs={self._sizes[0]} outputs={self._sizes[1]}"
