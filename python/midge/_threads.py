"""Python threads that pull from the broker, and processes that fork.

Rust never calls into Python. Threads here are daemons, so that they do not keep a program alive;
at exit they are told to end, so that none comes back to an interpreter that is gone. Nothing is
imported in what ends things, because while the interpreter ends that is not possible any more; what
takes long to import is imported when it is needed first.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from typing import Protocol

from midge._types import Failure

__tracebackhide__ = True

_FAILURES = 100


def _format(error: BaseException) -> list[str]:
    # A callback that fails ran on a thread, whose start has imported it.
    return sys.modules["traceback"].format_exception(error)  # type: ignore[no-any-return]


class Failures:
    """The last failures of the callbacks and hooks of one broker."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        """Seconds that the end of the broker waits for a hook or a callback that does not return."""
        self._known: deque[Failure] = deque(maxlen=_FAILURES)

    def report(self, who: str, error: BaseException) -> None:
        """Keeps an exception and hands it to :func:`threading.excepthook`."""
        # From the code of the user on.
        shown = error.__traceback__
        while shown is not None and shown.tb_frame.f_globals.get("__tracebackhide__"):
            shown = shown.tb_next
        error = error.with_traceback(shown or error.__traceback__)
        self._known.append(Failure(who, "".join(_format(error))))
        told = (type(error), error, error.__traceback__, threading.current_thread())
        with contextlib.suppress(Exception):
            threading.excepthook(threading.ExceptHookArgs(told))

    def left(self, who: str) -> None:
        """A callback or a hook did not return when the broker ended."""
        text = f"{who} did not return within {self.patience:g} s; its thread was left behind"
        self._known.append(Failure(who, text))
        warnings.warn(text, RuntimeWarning, stacklevel=2)

    def all(self) -> list[Failure]:
        """Oldest first."""
        return list(self._known)

    def clear(self) -> None:
        """Forgets them."""
        self._known.clear()


class _Closable(Protocol):
    def close(self) -> object: ...


class PullThread:
    """A daemon thread that serves a queue until the queue is closed."""

    def __init__(self, name: str, queue: _Closable, serve: Callable[[], None]) -> None:
        if sys.is_finalizing():
            # It would never run, and starting it would never end.
            raise RuntimeError("no thread can be started while the interpreter ends")
        import traceback  # noqa: F401

        self._queue = queue
        self._thread = threading.Thread(target=serve, name=name, daemon=True)
        _threads.add(self)
        try:
            self._thread.start()
        except BaseException:
            _threads.discard(self)
            raise

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether this is the calling thread."""
        return self._thread is threading.current_thread()

    def end(self, patience: float) -> bool:
        """Closes the queue and waits for the thread, unless called on it; whether it has ended, or
        is about to."""
        self._queue.close()
        return self.join(patience)

    def retire(self) -> None:
        """Ends the thread because the process ends."""
        getattr(self._queue, "retire", self._queue.close)()
        self.join(1.0)

    def join(self, timeout: float) -> bool:
        """Waits for the thread, unless called on it."""
        try:
            # Daemons do not run any more while the interpreter ends.
            if not self.is_current and not sys.is_finalizing():
                self._thread.join(timeout)
        finally:
            _threads.discard(self)
        return self.is_current or not self._thread.is_alive()


_threads: set[PullThread] = set()


@atexit.register
def _end_threads() -> None:
    for thread in list(_threads):
        with contextlib.suppress(Exception):
            thread.retire()


class _Listening(Protocol):
    @property
    def _addresses(self) -> list[object]: ...


running: weakref.WeakSet[_Listening] = weakref.WeakSet()
"""The brokers of this process that run."""


def _close_inherited() -> None:
    """Closes what a forked child has inherited of brokers: with it the ports would stay taken and
    clients would not see the end of their connections."""
    _threads.clear()
    addresses = {address for broker in running for address in broker._addresses}
    running.clear()
    if not addresses:
        return
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            number = int(name)
            if _belongs(_local_address(number), addresses):
                os.close(number)


_ANYWHERE = ("0.0.0.0", "::")


def _belongs(address: object, addresses: set[object]) -> bool:
    """Whether a socket is one of a broker that listens there: a connection has the address that the
    client has found, which a broker that listens everywhere does not know."""
    if isinstance(address, tuple):
        host, port = address
        return (host, port) in addresses or any((any_, port) in addresses for any_ in _ANYWHERE)
    return address is not None and address in addresses


def _local_address(descriptor: int) -> object:
    """The address of a stream socket: host and port, or a path."""
    import socket

    duplicate = os.dup(descriptor)
    try:
        end = socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        return None
    with end:
        if end.type != socket.SOCK_STREAM:
            return None
        address = end.getsockname()
        if isinstance(address, tuple):
            return address[0].removeprefix("::ffff:"), address[1]
        return address or None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
