"""What the command line writes, read: records of runs (JSON Lines), and figure 4's columns (CSV)."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Record = dict[str, Any]

# The members that make a line a record: of tables 2 and 3's runs, and of figures 6 to 8's, which are told apart by the
# member "experiment".
_REQUIRED = {
    "decision": {
        "text": ("problem", "method", "settings_hash", "preset"),
        "whole": ("dataset", "seed"),
        "real": ("decision_quality", "test_mse", "regret"),
        "list": (),
    },
    "agent": {
        "text": ("agent", "label", "settings_hash"),
        "whole": ("seed", "steps"),
        "real": (),
        "list": ("step", "return", "state_model_error", "metric_diagonal"),
    },
}
_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "whole": (int,), "real": (int, float), "list": (list,)}


class Records(Sequence[Record]):
    """Records of runs, in the order of the file. Each is a dict, as written; what was not finite is NaN.

    Attributes
    ----------
    kind : str
        "decision" (tables 2 and 3), "agent" (figures 6 to 8), or "" where there is no record.
    """

    def __init__(self, records: Iterable[Record]):
        self._records = list(records)
        self.kind = _kind(self._records[0]) if self._records else ""

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Records: ...

    def __getitem__(self, index: int | slice) -> Record | Records:
        return Records(self._records[index]) if isinstance(index, slice) else self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __repr__(self) -> str:
        return f"<Records kind={self.kind!r} count={len(self)}>"

    def select(self, **fields: Any) -> Records:
        """The records with these values, as in ``select(problem="cubic", seed=0)``."""
        return Records(r for r in self if all(name in r and r[name] == value for name, value in fields.items()))

    def array(self) -> NDArray[np.void]:
        """A structured array with a row for each record, and a column for each field that is a number or a text.

        Where a record lacks a field there is NaN or "".
        """
        names = [name for name in dict.fromkeys(n for r in self for n in r) if self._is_column(name)]
        columns = [self._column(name) for name in names]
        out = np.empty(len(self), dtype=[(name, column.dtype) for name, column in zip(names, columns, strict=True)])
        for name, column in zip(names, columns, strict=True):
            out[name] = column
        return out

    def frame(self) -> Any:
        """The same as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.array())

    def _is_column(self, name: str) -> bool:
        values = [r[name] for r in self if name in r]
        return all(isinstance(v, str) for v in values) or all(isinstance(v, (int, float)) for v in values)

    def _column(self, name: str) -> NDArray[Any]:
        absent = "" if any(isinstance(r.get(name), str) for r in self) else math.nan
        return np.array([r.get(name, absent) for r in self])


def load(path: str | os.PathLike[str]) -> Records:
    """Reads a results file.

    A last line without its end is not read: the file may be one that is still being written. Fields that are not known
    here are kept.

    Parameters
    ----------
    path : path
        What `taskmet reproduce table2`, `table3`, `figure6`, `figure7` or `figure8` wrote to ``--output``.

    Raises
    ------
    ValueError
        A line is not a record, or records of both kinds are in the file; the message names the line.
    """
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    records = [_parse(line, f"{os.fspath(path)}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    kinds = sorted({_kind(record) for record in records})
    if len(kinds) > 1:
        raise ValueError(f"{os.fspath(path)} has records of {' and '.join(kinds)} runs; a file must hold one kind")
    return Records(records)


def _parse(line: str, place: str) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"{place}: not a record of a run")
    record = {name: _finite_or_nan(value) for name, value in record.items()}
    for kind, names in _REQUIRED[_kind(record)].items():
        for name in names:
            if not isinstance(record.get(name), _TYPES[kind]):
                raise ValueError(f"{place}: not a record of a run: {name} is {record.get(name)!r}")
    return record


def _kind(record: Record) -> str:
    return "agent" if "experiment" in record else "decision"


def _finite_or_nan(value: Any) -> Any:
    """JSON has no NaN: the command line writes null."""
    if isinstance(value, list):
        return [_finite_or_nan(element) for element in value]
    return math.nan if value is None else value


def load_figure4(path: str | os.PathLike[str]) -> dict[str, NDArray[np.float64]]:
    """Figure 4's columns: x, the worth of an item ("true"), each method's prediction, and the metric.

    Parameters
    ----------
    path : path
        What `taskmet reproduce figure4` wrote: the name given to ``--output``, with or without its ".csv".
    """
    name = os.fspath(path)
    rows = read_csv(name if name.endswith(".csv") else name + ".csv")
    missing = [column for column in ("x", "metric") if not rows or column not in rows[0]]
    if missing:
        raise ValueError(f"{name} is not a figure 4: it has no column {' and '.join(missing)}")
    return {column: np.array([float(row[column]) for row in rows]) for column in rows[0]}


def read_csv(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows of a file with a head."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
