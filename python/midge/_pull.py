"""Queues that a program pulls from: messages and events."""

from __future__ import annotations

import time
from typing import Generic, Protocol, Self, TypeVar

from midge import _midge
from midge._errors import StoppedError
from midge._wait import pause, readable

T = TypeVar("T")

# Messages handed to one task before others get a turn.
_FAIR = 64


class Queue(Protocol[T]):
    """A queue of the native module."""

    @property
    def lost(self) -> int: ...
    def get(self, timeout: float | None = None) -> T | None: ...
    def drain(self, limit: int) -> list[T]: ...
    def wake(self) -> _midge.Wake: ...
    def close(self) -> None: ...
    def __len__(self) -> int: ...


class Pull(Generic[T]):
    """What has come, in order, from a bounded queue: the oldest gives way, ``lost`` counts.

    An iterator and an asynchronous iterator, both until the broker stops or :meth:`close` is
    called. Several threads and tasks may take from it; each item goes to one of them.
    """

    def __init__(self, queue: Queue[T]) -> None:
        self._queue = queue
        self._idle: list[_midge.Wake] = []
        self._taken = 0

    def get(self, timeout: float | None = None) -> T:
        """The next one; waits for it, ``timeout`` seconds at most (``TimeoutError``)."""
        item = self._queue.get(timeout)
        if item is None:
            raise TimeoutError(f"nothing came within {timeout} s")
        return item

    def drain(self, limit: int = 1024) -> list[T]:
        """Up to ``limit`` that wait, without waiting for more: the fastest way to take many."""
        return self._queue.drain(limit)

    async def aget(self, timeout: float | None = None) -> T:
        """As :meth:`get`, on any event loop. A wait that is cancelled loses nothing."""
        self._taken += 1
        if self._taken % _FAIR == 0:
            # Before anything is taken, because a cancelled task would lose it.
            await pause(0)
        if waiting := self._queue.drain(1):
            return waiting[0]
        deadline = None if timeout is None else time.monotonic() + timeout
        wake = self._idle.pop() if self._idle else self._queue.wake()
        try:
            while True:
                wake.arm()
                if waiting := self._queue.drain(1):
                    return waiting[0]
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"nothing came within {timeout} s")
                await readable(wake.fileno(), left)
                wake.disarm()
        finally:
            wake.disarm()
            self._idle.append(wake)

    @property
    def lost(self) -> int:
        """How many were dropped because the queue was full."""
        return self._queue.lost

    def close(self) -> None:
        """Nothing comes any more; what waits can still be taken."""
        self._queue.close()

    def __len__(self) -> int:
        return len(self._queue)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.get()
        except StoppedError:
            raise StopIteration from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.aget()
        except StoppedError:
            raise StopAsyncIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Subscription(Pull["_midge.Message"]):
    """A subscription of this program, without a client.

    >>> import midge
    >>> with midge.Broker() as broker, broker.subscribe("ward/+/spo2") as readings:
    ...     _ = broker.publish("ward/7/spo2", "97")
    ...     readings.get(timeout=2)
    Message('ward/7/spo2', b'97')
    """


class EventStream(Pull["_midge.Event"]):
    """What happens in the broker, as it happens.

    >>> import midge
    >>> with midge.Broker() as broker, broker.watch("published") as events:
    ...     _ = broker.publish("a", "b")
    ...     events.get(timeout=2).topic
    'a'
    """
