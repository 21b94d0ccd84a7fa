"""What all objects of the library have in common in Python: one handle, given back once."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from taskmet._native import PRECISION, constant_name, library

Self = TypeVar("Self", bound="NativeObject")


def create(function: Callable[..., Any], *arguments: Any) -> int:
    """A new handle from a constructor, whose last argument is where it goes."""
    handle = ctypes.c_void_p()
    function(*arguments, ctypes.byref(handle))
    assert handle.value is not None
    return handle.value


def dtype_of(owner: NativeObject) -> np.dtype:
    """The floating-point type of a dataset, a predictor or a metric."""
    number = ctypes.c_int32()
    getattr(library, f"{owner._kind}_precision")(owner.handle, ctypes.byref(number))
    return np.dtype(constant_name(PRECISION, number.value))


class NativeObject:
    """Owns a handle. Usable as a context manager; `close` gives the memory back, as the garbage collector would."""

    #: The object's name in the library's functions.
    _kind = ""
    _handle: int | None = None

    @property
    def handle(self) -> int:
        """The library's handle."""
        if self._handle is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._handle

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._handle is None

    def close(self) -> None:
        """Drops the handle. The object cannot be used any more; what others hold of it lives on."""
        handle, self._handle = self._handle, None
        if handle is not None:
            getattr(library, f"{self._kind}_destroy")(handle)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} cannot be pickled")

    def _describe(self) -> str:
        """What `repr` says of an open object."""
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'(closed)' if self.closed else self._describe()}>"
