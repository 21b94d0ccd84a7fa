"""What the library shows to tasks and oracles: batches of instances. Arrays are copied on first access and can be
kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ctypes import c_int64, c_void_p
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskmet import _native
from taskmet._arrays import Reals, copy_from, copy_integers_from


class _View:
    """A struct of the library's, readable until its callback returns."""

    def __init__(self, struct: Any):
        self._struct = struct

    @property
    def _open(self) -> Any:
        if self._struct is None:
            raise ValueError(f"this {type(self).__name__} was not looked at before the callback returned")
        return self._struct

    def _close(self) -> None:
        self._struct = None

    @cached_property
    def phase(self) -> str:
        """ "training" or "validation"."""
        return _native.constant_name(_native.PHASE, self._open.phase)

    def _context(self, count: int) -> list[Reals] | None:
        struct = self._open
        if not struct.context:
            return None
        pointers = (c_void_p * count).from_address(struct.context)
        counts = (c_int64 * count).from_address(struct.context_counts)
        return [copy_from(pointers[k], (counts[k],)) for k in range(count)]


class TaskBatch(_View):
    """Some instances of a dataset, and the predictions for their rows."""

    def __init__(self, struct: Any, needs_gradient: bool):
        super().__init__(struct)
        #: Whether the gradient is asked for, beside the loss.
        self.needs_gradient = needs_gradient
        self.rows: int = struct.rows
        self.outputs: int = struct.outputs
        self.features: int = struct.features
        self.instance_count: int = struct.instance_count

    @cached_property
    def predictions(self) -> Reals:
        """rows x outputs."""
        return copy_from(self._open.predictions, (self.rows, self.outputs))

    @cached_property
    def targets(self) -> Reals:
        """rows x outputs."""
        return copy_from(self._open.targets, (self.rows, self.outputs))

    @cached_property
    def inputs(self) -> Reals | None:
        """rows x features; None in a batch of all instances of a streamed dataset."""
        address = self._open.inputs
        return copy_from(address, (self.rows, self.features)) if address else None

    @cached_property
    def instances(self) -> NDArray[np.int64]:
        """The instances' ids in the dataset."""
        return copy_integers_from(self._open.instances, self.instance_count)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Instance k of the batch owns rows ``offsets[k]`` to ``offsets[k + 1] - 1``."""
        return copy_integers_from(self._open.offsets, self.instance_count + 1)

    @cached_property
    def context(self) -> list[Reals] | None:
        """The dataset's context of each instance; None where it has none."""
        return self._context(self.instance_count)

    @property
    def slices(self) -> list[slice]:
        """The rows of each instance."""
        return [slice(int(a), int(b)) for a, b in zip(self.offsets, self.offsets[1:], strict=False)]


class OracleBatch(_View):
    """Problems for a decision oracle: costs, for each of which a decision is wanted."""

    def __init__(self, struct: Any):
        super().__init__(struct)
        self.count: int = struct.count

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Problem k's costs are ``costs[offsets[k]:offsets[k + 1]]``."""
        return copy_integers_from(self._open.offsets, self.count + 1)

    @cached_property
    def costs(self) -> Reals:
        """All problems' costs, one after the other."""
        return copy_from(self._open.costs, (int(self.offsets[-1]),))

    @cached_property
    def instances(self) -> NDArray[np.int64]:
        """The instance of each problem: an id in the dataset."""
        return copy_integers_from(self._open.instances, self.count)

    @cached_property
    def context(self) -> list[Reals] | None:
        """The dataset's context of each problem's instance; None where it has none."""
        return self._context(self.count)

    def __iter__(self) -> Iterator[Reals]:
        """Each problem's costs."""
        return iter(np.split(self.costs, self.offsets[1:-1]))


def each_problem(solve: Callable[[Reals], Any]) -> Callable[[OracleBatch], Reals]:
    """An oracle from a function that takes one problem's costs and returns its decision.

    The function can be pickled if `solve` can.
    """
    return _EachProblem(solve)


class _EachProblem:
    def __init__(self, solve: Callable[[Reals], Any]):
        self.solve = solve

    def __call__(self, batch: OracleBatch) -> Reals:
        return np.concatenate([np.asarray(self.solve(costs), dtype=np.float64).ravel() for costs in batch])


class ConvertedBatch:
    """A `TaskBatch` whose arrays are another library's: `targets`, `inputs` and `context` are converted when looked
    at."""

    def __init__(self, batch: TaskBatch, convert: Callable[[Reals], Any]):
        self._batch, self._convert = batch, convert

    @cached_property
    def targets(self) -> Any:
        """rows x outputs."""
        return self._convert(self._batch.targets)

    @cached_property
    def inputs(self) -> Any:
        """rows x features; None in a batch of all instances of a streamed dataset."""
        inputs = self._batch.inputs
        return None if inputs is None else self._convert(inputs)

    @cached_property
    def context(self) -> list[Any] | None:
        """The dataset's context of each instance."""
        arrays = self._batch.context
        return None if arrays is None else [self._convert(array) for array in arrays]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)
