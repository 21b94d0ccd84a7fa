"""Python functions that the library calls, and exceptions that cross it.

An exception must not enter native code. `entry` wraps each function that the library calls: what it raises is kept
with the native call in progress on its thread, the library is told to stop, and `call`, which made that native call,
raises the same exception again. What is raised on a thread of the library's own is kept apart, for the call that fails
because of it.

Ctrl-C needs care: Python raises KeyboardInterrupt at the first instruction of whatever function runs next, which
would be the wrapper's own, outside its `try`. So while native code runs, a handler of ours takes the signal, and
hands it to the program's handler as soon as what that raises can be caught.
"""

from __future__ import annotations

import itertools
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

from taskmet import _native
from taskmet.errors import CallbackError, Reject, Stop, TaskMetError

OK, REJECT, STOP, ERROR = (_native.CALLBACK[name] for name in ("ok", "reject", "stop", "error"))


class _Call:
    """A native call in progress on a thread."""

    __slots__ = ("elsewhere", "exception", "in_main_thread")

    def __init__(self) -> None:
        self.exception: BaseException | None = None
        #: What was raised meanwhile on a thread of the library's own. Which call such a thread works for is not known:
        #: all that are in progress get it, and where several fail in callbacks, one may raise what belongs to another.
        self.elsewhere: BaseException | None = None
        self.in_main_thread = threading.current_thread() is threading.main_thread()


class _Calls(threading.local):
    """This thread's native calls in progress, outermost first."""

    def __init__(self) -> None:
        self.stack: list[_Call] = []


_calls = _Calls()

#: All threads' native calls in progress. No lock: a fork could leave it taken in the child.
_running: set[_Call] = set()

# ----------------------------------------------------------------------------------------------------------------------
# Ctrl-C


class _Interrupts:
    """Takes SIGINT while native code runs. Only the main thread comes here, as only there Python runs signal
    handlers."""

    def __init__(self) -> None:
        self.handler: Any = None
        #: Whether the code that runs now is inside a wrapper's `try`.
        self.can_raise = False
        self.pending: int | None = None

    def install(self) -> bool:
        """Whether it did: not twice, and not where the program ignores Ctrl-C or leaves it to the system."""
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler) or handler == self._take:
            return False
        self.handler, self.pending = handler, None
        signal.signal(signal.SIGINT, self._take)
        return True

    def remove(self) -> None:
        signal.signal(signal.SIGINT, self.handler)

    def _take(self, number: int, frame: Any) -> None:
        self.pending = number
        if self.can_raise:
            self.deliver()

    def deliver(self) -> None:
        """Hands a signal that was taken to the program's handler, which usually raises."""
        number, self.pending = self.pending, None
        if number is not None:
            self.can_raise = False
            self.handler(number, None)
            # It did not raise: whoever came here from inside a wrapper's `try` is still there.
            self.can_raise = bool(_calls.stack)


_interrupts = _Interrupts()

# ----------------------------------------------------------------------------------------------------------------------
# Native calls that may call back


def call(function: Callable[..., Any], *arguments: Any) -> None:
    """Calls the library; raises what a Python function raised in it, else what the status stands for."""
    current = _Call()
    failure: BaseException | None = None
    main = current.in_main_thread
    installed = main and _interrupts.install()
    could_raise = _interrupts.can_raise
    if main:
        _interrupts.can_raise = False
    _calls.stack.append(current)
    _running.add(current)
    try:
        function(*arguments)
    except TaskMetError as error:
        failure = error
    finally:
        _running.discard(current)
        _calls.stack.pop()
        if main:
            _interrupts.can_raise = could_raise
        if installed:
            _interrupts.remove()
    if current.exception is not None:
        failure = current.exception
    elif current.elsewhere is not None and isinstance(failure, CallbackError):
        failure = current.elsewhere
    current.exception = current.elsewhere = None
    try:
        if main:
            _interrupts.deliver()
        if failure is not None:
            raise failure
    finally:
        del failure  # its traceback holds this frame: without this, a cycle


# ----------------------------------------------------------------------------------------------------------------------
# Functions that the library calls

_keys = itertools.count(1)
_owners: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def register(owner: Any) -> int:
    """A `user` pointer by which `entry` finds the owner, which must be kept alive by whatever uses the callbacks."""
    key = next(_keys)
    _owners[key] = owner
    return key


def entry(prototype: Any) -> Callable[[Callable[..., int | None]], Any]:
    """Decorates `body(owner, *arguments)`, whose answer is a status (None: OK), into a function that the library can
    call."""

    def decorate(body: Callable[..., int | None]) -> Any:
        def enter(user: int, *arguments: Any) -> int:
            stack = _calls.stack
            current = stack[-1] if stack else None
            main = current is not None and current.in_main_thread
            try:
                try:
                    if main:
                        _interrupts.can_raise = True
                        _interrupts.deliver()
                    if current is not None and current.exception is not None:
                        return ERROR  # some functions have no answer to stop by: the next one has
                    return body(_owner(user), *arguments) or OK
                finally:
                    if main:
                        _interrupts.can_raise = False
            except Reject:
                return REJECT
            except Stop:
                return STOP
            except BaseException as exception:
                _keep(exception, current)
                return ERROR

        return prototype(enter)

    return decorate


def _owner(user: int) -> Any:
    owner = _owners.get(user)
    if owner is None:
        raise ReferenceError("the Python object behind a callback is gone")
    return owner


def _keep(exception: BaseException, current: _Call | None) -> None:
    """Keeps the first exception with the call in progress on this thread, or with all where there is none."""
    if current is None:
        for call in list(_running):
            if call.elsewhere is None:
                call.elsewhere = exception
    elif current.exception is None:
        current.exception = exception
