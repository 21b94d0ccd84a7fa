"""Saved models as bytes: written and read through a temporary file, since the library knows files alone.

Also reads what a saved model says of itself: the safetensors format is a header length, a JSON header, and the
tensors' bytes.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_TYPES = {"F64": "<f8", "F32": "<f4"}


class ModelFile(NamedTuple):
    """The tensors of a saved model, and its metadata."""

    tensors: dict[str, NDArray[np.floating]]
    metadata: dict[str, str]


def encode_path(path: str | os.PathLike[str]) -> bytes:
    """A path as the library takes it."""
    return os.fsencode(path)


def to_bytes(save: Callable[[str], None]) -> bytes:
    """What `save(path)` writes."""
    with tempfile.TemporaryDirectory(prefix="taskmet-") as directory:
        path = os.path.join(directory, "model.safetensors")
        save(path)
        with open(path, "rb") as file:
            return file.read()


def from_bytes(content: bytes, load: Callable[[str], int]) -> int:
    """What `load(path)` makes of a file with this content."""
    with tempfile.TemporaryDirectory(prefix="taskmet-") as directory:
        path = os.path.join(directory, "model.safetensors")
        with open(path, "wb") as file:
            file.write(content)
        return load(path)


def parse(content: bytes) -> ModelFile:
    """A saved model's tensors and metadata."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.pop("__metadata__", {})
    tensors = {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], dtype=_TYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }
    return ModelFile(tensors, metadata)
