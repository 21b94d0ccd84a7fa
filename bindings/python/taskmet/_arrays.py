"""NumPy arrays on their way to the library and back.

A matrix crosses without a copy if it is of the type asked for (float64, but for float32 datasets), aligned, and its
rows are contiguous at any stride that is not less than their length; anything else is copied once. An address keeps its
array alive.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import c_double, c_float, c_int64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Reals = NDArray[np.float64]
_NO_REALS, _NO_FLOATS, _NO_INTEGERS = c_double * 0, c_float * 0, c_int64 * 0


def as_reals(values: ArrayLike, name: str, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """A float64 (or float32) array of any strides; no copy where it is one already.

    Refuses complex numbers, text, objects, and numbers that are finite, but not in float32.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    with np.errstate(over="ignore"):
        result = np.asarray(array, dtype=dtype)
    if result is not array and result.dtype == np.float32 and np.any(np.isinf(result) & np.isfinite(array)):
        raise ValueError(f"{name} holds numbers that float32 has no room for")
    return result


def precision_of(dtype: DTypeLike) -> str:
    """ "float64" or "float32", as a string, a type or a dtype says."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in ("float64", "float32"):
        raise ValueError(f"dtype must be float64 or float32, got {dtype!r}")
    return name


def as_vector(values: ArrayLike, name: str) -> Reals:
    """A contiguous vector."""
    array = as_reals(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {array.shape}")
    return np.require(array, requirements=["C", "A"])


def as_matrix(values: ArrayLike, name: str, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """A matrix that can cross; a vector is a matrix of one column."""
    array = as_reals(values, name, dtype)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2:
        raise ValueError(f"{name} must have two dimensions, got shape {array.shape}")
    return array if _can_cross(array) else np.require(np.array(array, order="C"), requirements="A")


def _can_cross(array: NDArray[Any]) -> bool:
    rows, columns = array.shape
    row_step, column_step = array.strides
    contiguous = columns <= 1 or column_step == array.itemsize
    strided = rows <= 1 or (row_step % array.itemsize == 0 and row_step >= columns * array.itemsize > 0)
    return contiguous and strided and array.flags.aligned


def reals(array: Reals | None) -> Any:
    """The address of the first element, for an argument `double *`; None is NULL."""
    return None if array is None else _address(_NO_REALS, array)


def _address(kind: Any, array: NDArray[Any]) -> Any:
    address = kind.from_address(array.ctypes.data)
    address.array = array
    return address


def vector(array: Reals | None) -> tuple[Any, int]:
    """(address, count) of a contiguous array of any shape; (NULL, 0) for None."""
    return (None, 0) if array is None else (reals(array), array.size)


def matrix(array: NDArray[Any] | None) -> tuple[Any, int]:
    """(address, row stride in elements) of a matrix from `as_matrix`; (NULL, 0) for None."""
    if array is None:
        return None, 0
    # NumPy may give a matrix of one row any stride.
    stride = array.strides[0] // array.itemsize if len(array) > 1 else array.shape[1]
    return _address(_NO_FLOATS if array.dtype == np.float32 else _NO_REALS, array), stride


def as_integers(values: Iterable[int], name: str) -> NDArray[np.int64]:
    """A contiguous vector of whole numbers."""
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values))
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold whole numbers, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got shape {array.shape}")
    return np.require(array, dtype=np.int64, requirements=["C", "A"])


def integers(array: NDArray[np.int64]) -> Any:
    """The address of the first element, for an argument `int64_t *`."""
    return _address(_NO_INTEGERS, array)


def copy_from(address: int | None, shape: tuple[int, ...]) -> Reals:
    """A copy of the library's numbers."""
    out = np.empty(shape)
    if out.size:
        assert address is not None
        ctypes.memmove(out.ctypes.data, address, out.nbytes)
    return out


def copy_integers_from(address: int | None, count: int) -> NDArray[np.int64]:
    """A copy of the library's whole numbers."""
    out = np.empty(count, dtype=np.int64)
    if count:
        assert address is not None
        ctypes.memmove(out.ctypes.data, address, out.nbytes)
    return out


def copy_to(address: int, values: ArrayLike, shape: tuple[int, ...], name: str, dtype: DTypeLike = np.float64) -> None:
    """Writes what a callback returned to where the library wants it; `name` is what the user returned."""
    array = as_reals(values, name, dtype)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    array = np.ascontiguousarray(array)
    if array.size:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)
