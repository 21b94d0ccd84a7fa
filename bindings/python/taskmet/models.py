"""Predictors: linear, multilayer perceptron, and the user's own in NumPy."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from taskmet import _callbacks, _native
from taskmet._arrays import Reals, as_matrix, as_vector, copy_from, copy_to, matrix, reals, vector
from taskmet._callbacks import call
from taskmet._handles import create
from taskmet._native import constant, library
from taskmet._parametrized import Parametrized, layer_sizes
from taskmet.data import Dataset


class Predictor(Parametrized):
    """A predictor f(x); made as `Linear`, `MLP` or `CallbackPredictor`, or by `load`."""

    _kind = "predictor"

    def predict(self, x: ArrayLike) -> Reals:
        """f(x_i) for each row: rows x outputs."""
        x = self._features(x)
        out = np.empty((len(x), self.outputs))
        call(library.predictor_predict, self.handle, len(x), *matrix(x), *matrix(out))
        return out

    def vjp(self, x: ArrayLike, c: ArrayLike) -> Reals:
        """Reverse mode: sum_i J_i' c_i, for c of rows x outputs."""
        x, c = self._features(x), as_matrix(c, "c")
        if c.shape != (len(x), self.outputs):
            raise ValueError(f"c must have shape {(len(x), self.outputs)}, got {c.shape}")
        out = np.empty(self.parameter_count)
        call(library.predictor_vjp, self.handle, len(x), *matrix(x), *matrix(c), *vector(out))
        return out

    def jvp(self, x: ArrayLike, v: ArrayLike) -> Reals:
        """Forward mode: J_i v, rows x outputs."""
        x, v = self._features(x), as_vector(v, "v")
        out = np.empty((len(x), self.outputs))
        call(library.predictor_jvp, self.handle, len(x), *matrix(x), *vector(v), *matrix(out))
        return out

    def set_penalize_bias(self, penalize_bias: bool) -> None:
        """Whether (rho/2)|theta|^2 includes the biases."""
        library.predictor_set_penalize_bias(self.handle, int(penalize_bias))

    def set_standardization(
        self,
        input_mean: ArrayLike | None = None,
        input_scale: ArrayLike | None = None,
        target_mean: ArrayLike | None = None,
        target_scale: ArrayLike | None = None,
    ) -> None:
        """Standardisation inside: f(x) = target_mean + target_scale net((x - input_mean) / input_scale)."""
        inputs = _pair(input_mean, input_scale, "input")
        targets = _pair(target_mean, target_scale, "target")
        library.predictor_set_standardization(self.handle, *inputs, *targets)

    def fit_standardization(self, dataset: Dataset, inputs: bool = True, targets: bool = True) -> None:
        """The same from a dataset's means and standard deviations."""
        what = inputs * _native.STANDARDIZE["inputs"] + targets * _native.STANDARDIZE["targets"]
        call(library.predictor_fit_standardization, self.handle, dataset.handle, what)

    def _features(self, x: ArrayLike) -> Reals:
        return features(x, self.inputs)


def features(x: ArrayLike, inputs: int) -> Reals:
    """Rows of features as a matrix that can cross."""
    x = as_matrix(x, "x")
    if x.shape[1] != inputs:
        raise ValueError(f"x must have {inputs} columns, got shape {x.shape}")
    return x


def _pair(mean: ArrayLike | None, scale: ArrayLike | None, name: str) -> tuple[Any, Any, int]:
    if (mean is None) != (scale is None):
        raise ValueError(f"{name}_mean and {name}_scale must be given together")
    if mean is None or scale is None:
        return None, None, 0
    mean, scale = as_vector(mean, f"{name}_mean"), as_vector(scale, f"{name}_scale")
    if len(mean) != len(scale):
        raise ValueError(f"{name}_mean and {name}_scale must have the same length, got {len(mean)} and {len(scale)}")
    return reals(mean), reals(scale), len(mean)


class Linear(Predictor):
    """f(x) = W x + b, starting at zero.

    Parameters
    ----------
    inputs, outputs : int
    bias : bool
    dtype : "float64" or "float32"

    Examples
    --------
    >>> from taskmet import Linear
    >>> line = Linear(1, 1)
    >>> line.parameters = [2.0, 1.0]
    >>> line.predict([[3.0]])
    array([[7.]])
    """

    def __init__(self, inputs: int, outputs: int = 1, bias: bool = True, dtype: DTypeLike = "float64"):
        self._handle = create(library.predictor_create_linear, inputs, outputs, int(bias))
        self._become(dtype)


class MLP(Predictor):
    """A multilayer perceptron, initialised as PyTorch's `nn.Linear` is.

    Parameters
    ----------
    inputs, outputs : int
    hidden : int or sequence of int
        The sizes of the hidden layers.
    activation, output_activation : str
        After each hidden layer, and after the last: "identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus",
        "elu", "gelu" or "silu".
    seed : int
    dtype : "float64" or "float32"
        Of the parameters and the arithmetic.

    Examples
    --------
    >>> from taskmet import MLP
    >>> MLP(3, 1, hidden=[8], activation="tanh", seed=1)
    <MLP inputs=3 outputs=1 parameters=41>
    """

    def __init__(
        self,
        inputs: int,
        outputs: int = 1,
        hidden: int | Sequence[int] = (64,),
        activation: str = "relu",
        output_activation: str = "identity",
        seed: int = 0,
        dtype: DTypeLike = "float64",
    ):
        self._handle = create(
            library.predictor_create_mlp,
            inputs,
            outputs,
            *layer_sizes(hidden),
            constant(_native.ACTIVATION, activation, "activation"),
            constant(_native.ACTIVATION, output_activation, "output_activation"),
            seed,
        )
        self._become(dtype)


# ----------------------------------------------------------------------------------------------------------------------
# The user's own predictor


class _Functions:
    """The user's functions and the predictor's sizes: what all copies of a callback predictor share."""

    def __init__(self, inputs: int, outputs: int, count: int, functions: dict[str, Callable[..., ArrayLike] | None]):
        self.inputs, self.outputs, self.count, self.functions = inputs, outputs, count, functions
        self.key = _callbacks.register(self)

    def evaluate(
        self, name: str, rows: int, x: int, x_stride: int, theta: int, further: dict[str, int], out: int
    ) -> None:
        """Calls the function `name` with copies of its arguments, and hands its result out."""
        matrix_shape = (rows, self.outputs)
        shapes = {"c": matrix_shape, "w": (self.count,)}
        arguments = [copy_from(address, shapes[argument]) for argument, address in further.items()]
        function = self.functions[name]
        assert function is not None
        result = function(copy_rows(x, rows, self.inputs, x_stride), copy_from(theta, (self.count,)), *arguments)
        shape = matrix_shape if name in ("forward", "jvp") else (self.count,)
        copy_to(out, result, shape, f"the result of {name}")


def copy_rows(address: int, rows: int, columns: int, stride: int) -> Reals:
    """A copy of a matrix of the library's with a row stride; reads nothing behind its last element."""
    flat = copy_from(address, ((rows - 1) * stride + columns if rows else 0,))
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (stride * 8, 8)).copy()


@_callbacks.entry(_native.PREDICTOR_MAP)
def _forward(owner: _Functions, rows: int, x: int, x_stride: int, theta: int, out: int) -> None:
    owner.evaluate("forward", rows, x, x_stride, theta, {}, out)


@_callbacks.entry(_native.PREDICTOR_PRODUCT)
def _vjp(owner: _Functions, rows: int, x: int, x_stride: int, theta: int, c: int, out: int) -> None:
    owner.evaluate("vjp", rows, x, x_stride, theta, {"c": c}, out)


@_callbacks.entry(_native.PREDICTOR_PRODUCT)
def _jvp(owner: _Functions, rows: int, x: int, x_stride: int, theta: int, w: int, out: int) -> None:
    owner.evaluate("jvp", rows, x, x_stride, theta, {"w": w}, out)


@_callbacks.entry(_native.PREDICTOR_CURVATURE)
def _hvp(owner: _Functions, rows: int, x: int, x_stride: int, theta: int, c: int, w: int, out: int) -> None:
    owner.evaluate("hvp", rows, x, x_stride, theta, {"c": c, "w": w}, out)


class CallbackPredictor(Predictor):
    """A predictor of the user's own, in functions of NumPy arrays; each is called for many rows at once. It is float64.

    Parameters
    ----------
    inputs, outputs : int
    parameters : array
        The initial theta.
    forward : function
        ``forward(x, theta)``: predictions, rows x outputs.
    vjp : function
        ``vjp(x, theta, c)``: sum_i J_i' c_i, as long as theta.
    jvp : function
        ``jvp(x, theta, w)``: J_i w, rows x outputs.
    hvp : function, optional
        ``hvp(x, theta, c, w)``: sum_i sum_k c_ik (d2 f_k(x_i) / dtheta2) w. Without it the Gauss-Newton matrix
        replaces the Hessian, which is exact only where f is linear in theta or fits the data.

    Examples
    --------
    >>> import numpy as np
    >>> from taskmet import CallbackPredictor
    >>> curve = CallbackPredictor(
    ...     1, 1, [2.0],
    ...     forward=lambda x, theta: theta[0] * x**2,
    ...     vjp=lambda x, theta, c: [np.sum(c * x**2)],
    ...     jvp=lambda x, theta, w: w[0] * x**2,
    ... )
    >>> curve.predict([3.0])
    array([[18.]])
    """

    _functions: _Functions

    def __init__(
        self,
        inputs: int,
        outputs: int,
        parameters: ArrayLike,
        forward: Callable[..., ArrayLike],
        vjp: Callable[..., ArrayLike],
        jvp: Callable[..., ArrayLike],
        hvp: Callable[..., ArrayLike] | None = None,
    ):
        theta = as_vector(parameters, "parameters")
        functions = {"forward": forward, "vjp": vjp, "jvp": jvp, "hvp": hvp}
        self._functions = _Functions(inputs, outputs, len(theta), functions)
        callbacks = _native.PredictorCallbacks(
            struct_size=ctypes.sizeof(_native.PredictorCallbacks), forward=_forward, vjp=_vjp, jvp=_jvp
        )
        if hvp is not None:
            callbacks.hvp = _hvp
        self._handle = create(
            library.predictor_create_callback,
            inputs,
            outputs,
            *vector(theta),
            ctypes.byref(callbacks),
            self._functions.key,
            _native.FREE(),
        )

    def copy(self) -> CallbackPredictor:
        """A copy with its own theta and the same functions."""
        return self._around(create(library.predictor_copy, self.handle))

    __copy__ = copy

    def astype(self, dtype: DTypeLike) -> CallbackPredictor:
        """A copy; only float64 is possible, since the arithmetic is the functions'."""
        return self._around(self._converted(dtype))

    def _around(self, handle: int) -> CallbackPredictor:
        model = self._adopt(handle)
        model._functions = self._functions
        return model

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CallbackPredictor:
        """Not possible: a file holds no functions."""
        raise TypeError("a CallbackPredictor cannot be loaded: keep its parameters, and make it anew")

    def __reduce__(self) -> Any:
        shared = self._functions
        return type(self), (shared.inputs, shared.outputs, self.parameters, *shared.functions.values())


def predictor_like(predictor: Predictor, handle: int) -> Predictor:
    """A predictor of the same kind around another handle."""
    return predictor._around(handle) if isinstance(predictor, CallbackPredictor) else type(predictor)._adopt(handle)
