"""Data for training and judging: rows of features and targets, grouped into instances; and memory kept between
calls."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_int64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from taskmet import _callbacks, _native
from taskmet._arrays import as_integers, as_matrix, as_vector, copy_to, integers, matrix, precision_of, reals, vector
from taskmet._files import encode_path
from taskmet._handles import NativeObject, create, dtype_of
from taskmet._native import library

# What datasets read, by the key that `register` gave it, until the library says that the last object which reads it is
# gone.
_held: dict[int, Any] = {}


@_native.FREE
def _release(key: int) -> None:
    _held.pop(key, None)


def _create_reading(key: int, source: Any, function: Any, *arguments: Any) -> int:
    """A dataset's handle; its source is held for as long as something reads it."""
    _held[key] = source
    try:
        return create(function, *arguments)
    except BaseException:
        _held.pop(key, None)
        raise


class _Arrays:
    """The arrays of a borrowed dataset."""

    def __init__(self, x: NDArray[Any], y: NDArray[Any]):
        self.x, self.y = x, y


class _Reader:
    """A function that gives rows in blocks, their sizes, and "float64" or "float32"."""

    def __init__(self, read: Callable[[int, int], Any], features: int, targets: int, dtype: str):
        self.read, self.features, self.targets, self.dtype = read, features, targets, dtype


def _read(reader: _Reader, first: int, count: int, x: int, y: int) -> None:
    block = reader.read(first, count)
    if not (isinstance(block, Sequence) and len(block) == 2):
        raise TypeError(f"read must return (x, y), got {type(block).__name__}")
    for address, values, columns, name in ((x, block[0], reader.features, "x"), (y, block[1], reader.targets, "y")):
        array = as_matrix(values, name, reader.dtype)
        copy_to(address, array, (count, columns), f"{name} of rows {first} to {first + count - 1}", reader.dtype)


# What the library calls, by dtype.
_READERS = {
    "float64": _callbacks.entry(_native.READ_FN)(_read),
    "float32": _callbacks.entry(_native.READ_F32_FN)(_read),
}


class Dataset(NativeObject):
    """Rows of features ``x`` and targets ``y``.

    Data larger than memory are streamed: `from_files` and `from_blocks`.

    Parameters
    ----------
    x : array of shape (rows, features)
    y : array of shape (rows, targets) or (rows,)
    instances : array of shape (count + 1,), optional
        Offsets that group the rows: instance k, one decision problem, owns rows ``instances[k]`` to ``instances[k +
        1] - 1``. Without them each row is its own instance.
    weights : array of shape (rows,), optional
        Sample weights of the prediction loss.
    context : sequence of arrays, optional
        What a task needs to know of each instance besides its rows; one array for each instance, which may differ in
        length.
    copy : bool
        False reads arrays of `dtype` with contiguous rows where they are: they must not change while the dataset is
        used. True takes a copy, and allows `refill`.
    dtype : "float64" or "float32"
        Of x and y, and of the arithmetic on rows: predictor, metric and dataset must have the same. An array's own type
        does not count.

    Examples
    --------
    >>> import numpy as np
    >>> from taskmet import Dataset
    >>> Dataset(np.zeros((6, 2)), np.ones(6), instances=[0, 3, 6])
    <Dataset rows=6 features=2 targets=1 instances=2>
    """

    _kind = "dataset"

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        instances: Iterable[int] | None = None,
        weights: ArrayLike | None = None,
        context: Sequence[ArrayLike] | None = None,
        copy: bool = False,
        dtype: DTypeLike = "float64",
    ):
        x, y = _rows(x, y, dtype)
        sizes = (len(x), x.shape[1], *matrix(x), y.shape[1], *matrix(y))
        if copy:
            self._handle = create(_function("create", x.dtype.name), *sizes)
        else:
            arrays = _Arrays(x, y)
            key = _callbacks.register(arrays)
            self._handle = _create_reading(key, arrays, _function("borrow", x.dtype.name), *sizes, _release, key)
        self._describe_rows(instances, weights, context)

    @classmethod
    def from_files(
        cls,
        x: str | os.PathLike[str],
        y: str | os.PathLike[str],
        *,
        instances: Iterable[int] | None = None,
        weights: ArrayLike | None = None,
        context: Sequence[ArrayLike] | None = None,
    ) -> Dataset:
        """Streams rows from two .npy files in C order, which must not change meanwhile.

        Both files are of little-endian float64, or both of little-endian float32: the dataset's dtype is theirs. Rows
        are read by blocks at each use and not kept, so the files may be larger than memory; results have the same bits
        as with the same arrays. In a task's batch of all instances ``inputs`` is None. A callback predictor gets a
        block of rows at a time.

        Parameters
        ----------
        x : path of an array of shape (rows, features)
        y : path of an array of shape (rows, targets) or (rows,)
        instances, weights, context :
            As for `Dataset`.
        """
        return cls._around(
            create(library.dataset_create_from_files, encode_path(x), encode_path(y)), instances, weights, context
        )

    @classmethod
    def from_blocks(
        cls,
        read: Callable[[int, int], tuple[ArrayLike, ArrayLike]],
        rows: int,
        features: int,
        targets: int = 1,
        *,
        instances: Iterable[int] | None = None,
        weights: ArrayLike | None = None,
        context: Sequence[ArrayLike] | None = None,
        dtype: DTypeLike = "float64",
    ) -> Dataset:
        """Streams rows that a function gives; otherwise as `from_files`.

        Parameters
        ----------
        read : function
            ``read(first, count)``: (x, y) of the rows ``first`` to ``first + count - 1``, finite, of shapes (count,
            features) and (count, targets), or (count,) for one column; the same at each call. With a workspace or a
            trainer of several threads it is also called on the library's own threads.
        rows, features, targets : int
        instances, weights, context, dtype :
            As for `Dataset`. What `read` returns is converted to `dtype`.

        Examples
        --------
        >>> import numpy as np
        >>> from taskmet import Dataset
        >>> def read(first, count):
        ...     t = np.arange(first, first + count) / 1e9
        ...     return np.stack([t, t**2], axis=1), np.sin(t)
        >>> Dataset.from_blocks(read, rows=1_000_000_000, features=2)
        <Dataset rows=1000000000 features=2 targets=1 instances=1000000000>
        """
        dtype = precision_of(dtype)
        reader = _Reader(read, features, targets, dtype)
        key = _callbacks.register(reader)
        arguments = (rows, features, targets, _READERS[dtype], key, _release)
        handle = _create_reading(key, reader, _function("create_from_callback", dtype), *arguments)
        return cls._around(handle, instances, weights, context)

    @classmethod
    def _around(
        cls,
        handle: int,
        instances: Iterable[int] | None,
        weights: ArrayLike | None,
        context: Sequence[ArrayLike] | None,
    ) -> Dataset:
        dataset = cls.__new__(cls)
        dataset._handle = handle
        dataset._describe_rows(instances, weights, context)
        return dataset

    def _describe_rows(
        self, instances: Iterable[int] | None, weights: ArrayLike | None, context: Sequence[ArrayLike] | None
    ) -> None:
        if instances is not None:
            self.set_instances(instances)
        if weights is not None:
            self.set_weights(weights)
        if context is not None:
            self.set_context(context)

    def refill(self, x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> None:
        """New contents, each row its own instance; for datasets made with ``copy=True``. The dtype stays."""
        x, y = _rows(x, y, self.dtype)
        expected = (self.shape[1], self.shape[2])
        if (x.shape[1], y.shape[1]) != expected:
            raise ValueError(
                f"x and y must have {expected[0]} and {expected[1]} columns, got {x.shape[1]} and {y.shape[1]}"
            )
        w = None if weights is None else as_vector(weights, "weights")
        _function("refill", x.dtype.name)(self.handle, len(x), *matrix(x), *matrix(y), *vector(w))

    def set_instances(self, instances: Iterable[int]) -> None:
        """Groups the rows; see the parameter of the same name."""
        offsets = as_integers(instances, "instances")
        if len(offsets) < 2 or offsets[-1] != self.rows:
            raise ValueError(f"instances must go from 0 to the number of rows, {self.rows}, got {offsets}")
        library.dataset_set_instances(self.handle, len(offsets) - 1, integers(offsets))

    def set_weights(self, weights: ArrayLike) -> None:
        """Sample weights; see the parameter of the same name."""
        library.dataset_set_weights(self.handle, *vector(as_vector(weights, "weights")))

    def set_context(self, context: Sequence[ArrayLike] | None) -> None:
        """What tasks need to know of each instance; None takes it away."""
        if context is None:
            library.dataset_set_context(self.handle, None, 0, None)
            return
        parts = [np.ravel(np.asarray(part, dtype=np.float64)) for part in context]
        if len(parts) != self.instances:
            raise ValueError(f"context must have an array for each of {self.instances} instances, got {len(parts)}")
        values = np.concatenate(parts)
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        # NULL would take the context away: an empty one still needs an address.
        room = values if values.size else np.zeros(1)
        library.dataset_set_context(self.handle, reals(room), len(parts), integers(offsets))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(rows, features, targets, instances)."""
        sizes = [c_int64() for _ in range(4)]
        library.dataset_shape(self.handle, *map(ctypes.byref, sizes))
        rows, features, targets, instances = (size.value for size in sizes)
        return rows, features, targets, instances

    @property
    def dtype(self) -> np.dtype:
        """Of x and y: float64 or float32."""
        return dtype_of(self)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.shape[0]

    @property
    def instances(self) -> int:
        """The number of instances."""
        return self.shape[3]

    def __len__(self) -> int:
        return self.rows

    def _describe(self) -> str:
        names = ("rows", "features", "targets", "instances")
        sizes = " ".join(f"{name}={size}" for name, size in zip(names, self.shape, strict=True))
        return sizes + (" dtype=float32" if self.dtype == np.float32 else "")


def _function(name: str, dtype: str) -> Any:
    """The library's function for rows of this type."""
    return getattr(library, f"dataset_{name}" + ("_f32" if dtype == "float32" else ""))


def _rows(x: ArrayLike, y: ArrayLike, dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[Any]]:
    dtype = precision_of(dtype)
    x, y = as_matrix(x, "x", dtype), as_matrix(y, "y", dtype)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same number of rows, got {len(x)} and {len(y)}")
    return x, y


def offsets_of(groups: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Rows in a stable order by group, and the offsets of the groups in that order.

    Examples
    --------
    >>> order, offsets = offsets_of(["b", "a", "b"])
    >>> order.tolist(), offsets.tolist()
    ([1, 0, 2], [0, 1, 3])
    """
    labels = np.asarray(groups)
    if labels.ndim != 1:
        raise ValueError(f"groups must have one dimension, got shape {labels.shape}")
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.argsort(inverse, kind="stable"), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class Workspace(NativeObject):
    """Memory kept between calls, and the number of the library's own threads.

    Parameters
    ----------
    threads : int
        1 to 256; the results have the same bits for any number.
    metric_cache_bytes : int
        Memory for the metric's factors of all rows; 0 means 256 MiB.
    """

    _kind = "workspace"

    def __init__(self, threads: int = 1, metric_cache_bytes: int = 0):
        self.threads = threads
        self._handle = create(library.workspace_create, threads, metric_cache_bytes)

    def _describe(self) -> str:
        return f"threads={self.threads}"
