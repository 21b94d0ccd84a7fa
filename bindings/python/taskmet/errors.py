"""What a status of the library becomes in Python: one exception class for each, below TaskMetError.

Where Python has a class for the same thing, the exception is one of those too: a wrong shape is a ValueError.
"""

from __future__ import annotations


class TaskMetError(Exception):
    """A call that the library refused, or that failed.

    Attributes
    ----------
    status : int
        The ``taskmet_status``.
    """

    def __init__(self, status: int, message: str):
        super().__init__(status, message)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[1])


class InvalidArgumentError(TaskMetError, ValueError):
    """A value outside its range, a NaN, a handle that is not one."""


class ShapeError(TaskMetError, ValueError):
    """Sizes that do not fit each other."""


class StateError(TaskMetError, RuntimeError):
    """Not possible in the object's present state."""


class BusyError(TaskMetError, RuntimeError):
    """The object is in use by another call."""


class CallbackError(TaskMetError, RuntimeError):
    """A callback left a value that is not finite, or answered what it may not."""


class RejectedError(TaskMetError, RuntimeError):
    """A callback raised ``Reject`` where nothing can be retried."""


class NumericalError(TaskMetError, ArithmeticError):
    """Overflow, a singular system: the message says what to change."""


class OutOfMemoryError(TaskMetError, MemoryError):
    """The library could not allocate what it needs."""


class FileError(TaskMetError, OSError):
    """A file cannot be read or written."""

    def __init__(self, status: int, message: str):
        super().__init__(status, message)
        self.errno = None  # OSError takes a first argument for one

    __str__ = TaskMetError.__str__


class FormatError(TaskMetError, ValueError):
    """A file is not what it should be."""


class VersionError(TaskMetError, ValueError):
    """A file from a newer version."""


class UnsupportedError(TaskMetError, NotImplementedError):
    """A combination that cannot work, or a function that this library does not have."""


_CLASSES: dict[int, type[TaskMetError]] = {
    1: InvalidArgumentError,
    2: ShapeError,
    3: StateError,
    4: BusyError,
    5: CallbackError,
    6: RejectedError,
    7: NumericalError,
    8: OutOfMemoryError,
    9: FileError,
    10: FormatError,
    11: VersionError,
    12: UnsupportedError,
}


def error_for(status: int, message: str) -> TaskMetError:
    """The exception of a status."""
    return _CLASSES.get(status, TaskMetError)(status, message)


class Reject(Exception):
    """Raised by a task or a predictor that cannot evaluate these predictions: the trainer undoes the step and
    shortens it."""


class Stop(Exception):
    """Raised by a task, or by a progress function, to finish the fit cleanly."""
