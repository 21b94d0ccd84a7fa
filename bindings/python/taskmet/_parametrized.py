"""What predictors and metrics share: a flat vector of parameters, sizes, files, copies, pickling."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_int64
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from taskmet import _files
from taskmet._arrays import Reals, as_integers, as_vector, integers, precision_of, vector
from taskmet._handles import NativeObject, create, dtype_of
from taskmet._native import PRECISION, library

Self = TypeVar("Self", bound="Parametrized")


class Parametrized(NativeObject):
    """A model of the library with parameters."""

    @classmethod
    def _adopt(cls: type[Self], handle: int) -> Self:
        """An object around a handle that it now owns."""
        model = object.__new__(cls)
        model._handle = handle
        return model

    @classmethod
    def load(cls: type[Self], path: str | os.PathLike[str]) -> Self:
        """The model in a file that `save` wrote."""
        return cls._adopt(create(cls._function("load"), _files.encode_path(path)))

    @classmethod
    def _function(cls, name: str) -> Any:
        return getattr(library, f"{cls._kind}_{name}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a safetensors file, in one step: there is the old file or the new one."""
        self._function("save")(self.handle, _files.encode_path(path))

    def copy(self: Self) -> Self:
        """An independent copy."""
        return self._adopt(create(self._function("copy"), self.handle))

    __copy__ = copy

    @property
    def dtype(self) -> np.dtype:
        """The type of the parameters and of the arithmetic: float64 or float32."""
        return dtype_of(self)

    def astype(self: Self, dtype: DTypeLike) -> Self:
        """A copy in another precision, its parameters rounded to that."""
        return self._adopt(self._converted(dtype))

    def _converted(self, dtype: DTypeLike) -> int:
        return create(self._function("convert"), self.handle, PRECISION[precision_of(dtype)])

    def _become(self, dtype: DTypeLike) -> None:
        """Takes the handle of a copy in that precision: the end of a constructor with a dtype."""
        if precision_of(dtype) == "float64":
            return
        handle = self._converted(dtype)
        self.close()
        self._handle = handle

    def __deepcopy__(self: Self, memo: dict) -> Self:
        return self.copy()

    def __reduce__(self) -> Any:
        return _unpickle, (type(self), _files.to_bytes(self.save))

    @property
    def _sizes(self) -> tuple[int, int, int]:
        sizes = [c_int64(), c_int64(), c_int64()]
        self._function("shape")(self.handle, *map(ctypes.byref, sizes))
        inputs, outputs, count = (size.value for size in sizes)
        return inputs, outputs, count

    @property
    def inputs(self) -> int:
        """The number of features."""
        return self._sizes[0]

    @property
    def outputs(self) -> int:
        """The number of targets."""
        return self._sizes[1]

    @property
    def parameter_count(self) -> int:
        """The number of parameters."""
        return self._sizes[2]

    @property
    def parameters(self) -> Reals:
        """The parameters: a float64 copy; assign to change them (a float32 model rounds). The layout is PyTorch's,
        layer by layer weight and bias."""
        out = np.empty(self.parameter_count)
        self._function("get_parameters")(self.handle, *vector(out))
        return out

    @parameters.setter
    def parameters(self, values: ArrayLike) -> None:
        self._function("set_parameters")(self.handle, *vector(as_vector(values, "parameters")))

    @property
    def _file(self) -> _files.ModelFile:
        """Tensors and metadata, as `save` writes them."""
        return _files.parse(_files.to_bytes(self.save))

    def _describe(self) -> str:
        names = ("inputs", "outputs", "parameters")
        sizes = " ".join(f"{name}={size}" for name, size in zip(names, self._sizes, strict=True))
        return sizes + (" dtype=float32" if self.dtype == np.float32 else "")


def _unpickle(kind: type[Self], content: bytes) -> Self:
    return kind._adopt(_files.from_bytes(content, lambda path: create(kind._function("load"), path.encode())))


def layer_sizes(hidden: Any) -> tuple[int, Any]:
    """(count, address) of the hidden layers' sizes."""
    sizes = as_integers([hidden] if isinstance(hidden, int) else hidden, "hidden")
    return len(sizes), integers(sizes) if len(sizes) else None
