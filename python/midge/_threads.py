"""Python threads that pull from the broker, and processes that fork.

Rust never calls into Python. Threads here are daemons, so that they do not keep a program alive;
at exit they are told to end, so that none comes back to an interpreter that is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class _Closable(Protocol):
    def close(self) -> object: ...


class PullThread:
    """A daemon thread that serves a queue until the queue is closed."""

    def __init__(self, name: str, queue: _Closable, serve: Callable[[], None]) -> None:
        self.ended = False
        self._queue = queue
        self._thread = threading.Thread(target=serve, name=name, daemon=True)
        _threads.add(self)
        self._thread.start()

    def end(self) -> None:
        """Closes the queue and waits for the thread, unless called on it."""
        self.ended = True
        self._queue.close()
        self._join(None)

    def retire(self) -> None:
        """Ends the thread because the process ends."""
        getattr(self._queue, "retire", self._queue.close)()
        self._join(1.0)

    def _join(self, timeout: float | None) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        _threads.discard(self)


_threads: set[PullThread] = set()


@atexit.register
def _end_threads() -> None:
    for thread in list(_threads):
        with contextlib.suppress(Exception):
            thread.retire()


class _Listening(Protocol):
    def _addresses(self) -> set[object]: ...


running: weakref.WeakSet[_Listening] = weakref.WeakSet()
"""The brokers of this process that run."""


def _close_inherited() -> None:
    """Closes what a forked child has inherited of brokers: with it the ports would stay taken and
    clients would not see the end of their connections."""
    _threads.clear()
    addresses = {address for broker in running for address in broker._addresses()}
    running.clear()
    if not addresses:
        return
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            number = int(name)
            if _local_address(number) in addresses:
                os.close(number)


def _local_address(descriptor: int) -> object:
    import socket

    duplicate = os.dup(descriptor)
    try:
        end = socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        return None
    with end:
        return _key(end.getsockname())


def _key(address: object) -> object:
    """What identifies the end of a connection: host and port, or a path."""
    return address[:2] if isinstance(address, tuple) else address


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
