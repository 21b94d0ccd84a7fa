"""The trainer's options, from the library's own listing: an option that the library gains needs no code here."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, MutableMapping
from ctypes import c_char_p, c_double, c_int64
from functools import cache
from typing import Any, NamedTuple

from taskmet import _native
from taskmet._native import constant_name, library

Value = int | float | str


class Option(NamedTuple):
    """What there is to know of an option."""

    name: str
    type: str
    default: Value
    minimum: float | int | None
    maximum: float | int | None
    choices: tuple[str, ...]
    fixed_after_start: bool
    help: str


@cache
def options() -> dict[str, Option]:
    """All options of a trainer, by name.

    Examples
    --------
    >>> import taskmet
    >>> taskmet.options()["patience"].default
    100
    """
    return {option.name: option for option in map(_describe, range(library.option_count()))}


def _describe(index: int) -> Option:
    info = _native.new_struct(_native.OptionDescription)
    library.option_info(index, ctypes.byref(info))
    kind = constant_name(_native.OPTION, info.type)
    common = (bool(info.fixed_after_start), info.help.decode())
    if kind == "string":
        choices = tuple(info.choices.decode().split("|"))
        return Option(info.name.decode(), kind, info.string_default.decode(), None, None, choices, *common)
    default, minimum, maximum = (getattr(info, f"{kind}_{what}") for what in ("default", "minimum", "maximum"))
    return Option(info.name.decode(), kind, default, minimum, maximum, (), *common)


def options_table() -> str:
    """All options as a table in Markdown."""
    lines = ["| option | default | range | |", "| --- | --- | --- | --- |"]
    for option in options().values():
        values = " ".join(option.choices) if option.choices else f"{option.minimum:g} to {option.maximum:g}"
        lines.append(f"| `{option.name}` | {option.default} | {values} | {option.help} |")
    return "\n".join(lines)


class TrainerOptions(MutableMapping[str, Value]):
    """A trainer's options as a mapping, whose entries can be set but not removed."""

    def __init__(self, trainer: int):
        self._trainer = trainer

    def __getitem__(self, name: str) -> Value:
        kind = options()[name].type
        value: Any = {"int": c_int64, "double": c_double, "string": c_char_p}[kind]()
        getattr(library, f"trainer_get_{kind}")(self._trainer, name.encode(), ctypes.byref(value))
        return value.value.decode() if kind == "string" else value.value

    def __setitem__(self, name: str, value: Value) -> None:
        # The library names the choices where it has no such option.
        kind = options()[name].type if name in options() else "int"
        converted = _convert(name, kind, value) if name in options() else 0
        getattr(library, f"trainer_set_{kind}")(self._trainer, name.encode(), converted)

    def __delitem__(self, name: str) -> None:
        raise TypeError("options cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(options())

    def __len__(self) -> int:
        return len(options())

    def __repr__(self) -> str:
        return repr(dict(self))


def _convert(name: str, kind: str, value: Value) -> int | float | bytes:
    if kind == "string":
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, got {value!r}")
        return value.encode()
    try:
        number = int(value) if kind == "int" else float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, str) or (kind == "int" and number != value):
        raise TypeError(f"{name} must be {'a whole number' if kind == 'int' else 'a number'}, got {value!r}")
    if kind == "int" and not -(2**63) <= number < 2**63:
        raise ValueError(f"{name} must fit in 64 bits, got {number}")
    return number
