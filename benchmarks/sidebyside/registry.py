"""What a row of the table is, and the list of all rows.

A row is declared by a decorated function that makes its case: what is called, and what it costs at least. The function
is called in the worker that measures the row, so that declaring costs nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

OURS = "TaskMet"


class NotAvailableError(Exception):
    """A row or a contestant that cannot be measured here, and why: a library or a file is missing."""


@dataclasses.dataclass
class Contestant:
    """One way to compute a row's result.

    run      what is timed; called many times, with the same result each time
    value    what is compared with the others', where that is not what ``run`` returns: the same computation carried to
             the end (tighter tolerance, more iterations), so that methods which stop early are seen to solve the same
             problem
    facts    numbers that belong to a result, asked for once: residuals, iterations
    costs    (wall seconds, processor seconds) of one ``run``, where that is not what this process spends: a program
    """

    run: Callable[[], Any]
    value: Callable[[], Any] | None = None
    facts: Callable[[], dict[str, Any]] | None = None
    costs: Callable[[], tuple[float, float]] | None = None


@dataclasses.dataclass
class Case:
    """A row's work, ready to be measured.

    contestants  by name; ``OURS`` is one of them
    flops        floating-point operations that any method needs (matrix products; element-wise work is not counted)
    bytes        bytes that must be read or written at least once
    divisor      how many of the row's unit one ``run`` does (steps, instances)
    truth        the right value, where it is known by other means; else OURS is what rivals are compared with
    tolerance    largest relative difference, by norm, of a value from the truth. None: results are not comparable
                 number by number (random batches), and the note says what makes them comparable
    note         what a reader must know
    """

    contestants: dict[str, Contestant]
    flops: float
    bytes: float
    divisor: int = 1
    truth: Any = None
    tolerance: float | None = 1e-6
    note: str = ""
    extra: Callable[[], dict[str, Any]] | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """``name`` is group/size/precision or the like; ``variable`` is the value that a scaling row stands for."""

    name: str
    size: str
    make: Callable[[], Case]
    threads: int = 1
    precision: str = "float64"
    variable: float | None = None

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.split("/")[0]


ROWS: dict[str, Row] = {}


def row(name: str, size: str, **fields: Any) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Declares a row that the decorated function makes."""

    def declare(make: Callable[[], Case]) -> Callable[[], Case]:
        if name in ROWS:
            raise ValueError(f"two rows are called {name}")
        ROWS[name] = Row(name, size, make, **fields)
        return make

    return declare
