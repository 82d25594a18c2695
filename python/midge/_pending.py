"""What is waited for, on a thread or on an event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

from midge import _midge
from midge._eventloop import readable

__tracebackhide__ = True

T = TypeVar("T")

PENDING: Any = object()
"""What a check gives as long as there is nothing to give."""


class Pending(Generic[T]):
    """Something to wait for: :meth:`wait` does so on the calling thread, ``await`` on the running
    event loop.

    ``check`` gives the value, or :data:`PENDING`; events of these ``kinds`` tell when to look again.
    After ``timeout`` seconds ``late`` gives the value, or raises.
    """

    def __init__(
        self,
        native: _midge.Broker,
        kinds: Sequence[str],
        check: Callable[[], T],
        timeout: float,
        late: Callable[[], T],
    ) -> None:
        self._native = native
        self._kinds = list(kinds)
        self._check = check
        self._timeout = timeout
        self._late = late

    def wait(self) -> T:
        """Waits on the calling thread."""
        value = self._check()
        if value is not PENDING or self._timeout <= 0:
            return self._or_late(value)

        deadline = time.monotonic() + self._timeout
        watch = self._native.events(self._kinds, 1)
        try:
            while (value := self._check()) is PENDING:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                watch.get(left)
        finally:
            watch.close()
        return self._or_late(value)

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait_on_loop().__await__()

    async def _wait_on_loop(self) -> T:
        value = self._check()
        if value is not PENDING or self._timeout <= 0:
            return self._or_late(value)

        deadline = time.monotonic() + self._timeout
        watch = self._native.events(self._kinds, 1)
        wake = watch.wake()
        try:
            while True:
                watch.drain(1)
                wake.arm()
                if (value := self._check()) is not PENDING:
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                if not len(watch):
                    await readable(wake.fileno(), left)
                wake.disarm()
        finally:
            watch.close()
        return self._or_late(value)

    def _or_late(self, value: T) -> T:
        return self._late() if value is PENDING else value
