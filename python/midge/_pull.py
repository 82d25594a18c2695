"""Queues that a program pulls from: messages and events."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar

from midge import _midge
from midge._config import seconds, whole
from midge._errors import StoppedError
from midge._eventloop import in_thread, pause, readable

__tracebackhide__ = True

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


def refuse_copy(thing: object) -> NoReturn:
    """For what belongs to one place: a copy would end it, or be ended by it."""
    raise TypeError(f"a {type(thing).__name__} cannot be copied or pickled")


class Unique:
    """Something that cannot be copied or pickled."""

    def __copy__(self) -> NoReturn:
        refuse_copy(self)

    def __deepcopy__(self, memo: object) -> NoReturn:
        refuse_copy(self)

    def __reduce__(self) -> NoReturn:
        refuse_copy(self)


class Pull(Unique, Generic[T]):
    """What has come, in order, from a bounded queue: the oldest gives way, ``lost`` counts.

    An iterator and an asynchronous iterator, both until the broker stops or :meth:`close` is
    called; a restart of the broker is not noticed. Several threads and tasks may take from it;
    each item goes to one of them.
    """

    def __init__(self, queue: Queue[T], again: Any, maxsize: int) -> None:
        self._queue = queue
        # How to make it once more, after a restart.
        self._again = again
        # What was left in the queue of the broker before a restart.
        self._left: deque[T] = deque(maxlen=maxsize)
        self._lost = 0
        self._idle: list[tuple[Queue[T], _midge.Wake]] = []
        self._taken = 0
        self._closed = False
        self._moving = False
        self._moved = threading.Condition()

    def get(self, timeout: float | None = None) -> T:
        """The next one; waits for it, ``timeout`` seconds at most (``TimeoutError``)."""
        deadline = None
        if timeout is not None:
            timeout = seconds("timeout", timeout) or 0.0
            deadline = time.monotonic() + timeout

        while True:
            if self._left and (left := self._take_left(1)):
                return left[0]
            queue = self._queue
            try:
                item = queue.get(timeout)
            except StoppedError:
                timeout = _until(deadline)
                if not self._goes_on(queue, timeout):
                    raise
                continue
            if item is None:
                raise _nothing(timeout)
            return item

    def drain(self, limit: int = 1024) -> list[T]:
        """Up to ``limit`` that wait, without waiting for more: the fastest way to take many."""
        limit = whole("limit", limit, 0, sys.maxsize)
        items = self._take_left(limit) if self._left else []
        queue = self._queue
        try:
            items.extend(queue.drain(limit - len(items)))
        except StoppedError:
            if not items and not self._moving and queue is self._queue:
                raise
        return items

    async def aget(self, timeout: float | None = None) -> T:
        """As :meth:`get`, on any event loop. A wait that is cancelled loses nothing."""
        deadline = None
        if timeout is not None:
            deadline = time.monotonic() + (seconds("timeout", timeout) or 0.0)

        self._taken += 1
        if self._taken % _FAIR == 0:
            # Before anything is taken, because a cancelled task would lose it.
            await pause(0)

        while True:
            if self._left and (before := self._take_left(1)):
                return before[0]
            queue = self._queue
            try:
                return await self._next_of(queue, deadline, timeout)
            except StoppedError:
                if not self._moving and queue is self._queue and not self._left:
                    raise
            left = _until(deadline)
            if not await in_thread(lambda queue=queue, left=left: self._goes_on(queue, left)):  # type: ignore[misc]
                raise _ended()

    async def _next_of(self, queue: Queue[T], deadline: float | None, timeout: float | None) -> T:
        if waiting := queue.drain(1):
            return waiting[0]
        wake = self._wake_of(queue)
        try:
            while True:
                wake.arm()
                if waiting := queue.drain(1):
                    return waiting[0]
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise _nothing(timeout)
                await readable(wake.fileno(), left)
                wake.disarm()
        finally:
            wake.disarm()
            self._idle.append((queue, wake))

    def _wake_of(self, queue: Queue[T]) -> _midge.Wake:
        while self._idle:
            known, wake = self._idle.pop()
            if known is queue:
                return wake
        return queue.wake()

    @property
    def lost(self) -> int:
        """How many were dropped because the queue was full."""
        with self._moved:
            self._trim()
            return self._lost + self._queue.lost

    def close(self) -> None:
        """Nothing comes any more; what waits can still be taken."""
        self._closed = True
        self._queue.close()

    # A restart of the broker

    def _hold(self) -> None:
        """The queue is about to end, and another one may follow."""
        self._moving = True

    def _move(self, queue: Queue[T] | None) -> None:
        """Another queue follows, or none."""
        left: list[T] = []
        with contextlib.suppress(StoppedError):
            left = self._queue.drain(sys.maxsize)
        with self._moved:
            maxsize = self._left.maxlen or 0
            over = len(self._left) + len(left) - maxsize
            self._lost += max(over, 0)
            self._left.extend(left)
            if queue is not None:
                self._lost += self._queue.lost
                self._queue = queue
                if self._closed:
                    queue.close()
            self._moving = False
            self._moved.notify_all()

    def _take_left(self, limit: int) -> list[T]:
        """Up to ``limit`` of what came before a restart: as many as what came since leaves room
        for."""
        with self._moved:
            self._trim()
            return [self._left.popleft() for _ in range(min(limit, len(self._left)))]

    def _trim(self) -> None:
        while self._left and len(self._left) + len(self._queue) > (self._left.maxlen or 0):
            self._left.popleft()
            self._lost += 1

    def _goes_on(self, queue: Queue[T], timeout: float | None) -> bool:
        """Whether there is more after a queue that has ended."""
        with self._moved:
            self._moved.wait_for(lambda: not self._moving, timeout)
            if self._moving:
                raise _nothing(timeout)
            return queue is not self._queue or bool(self._left)

    def __len__(self) -> int:
        with self._moved:
            self._trim()
            return len(self._left) + len(self._queue)

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


def _until(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def _nothing(timeout: float | None) -> TimeoutError:
    return TimeoutError(
        "nothing came in time" if timeout is None else f"nothing came within {timeout:g} s"
    )


def _ended() -> StoppedError:
    return StoppedError("the broker has stopped, or this was closed")


class Subscription(Pull[_midge.Message]):
    """A subscription of this program, without a client.

    >>> import midge
    >>> with midge.Broker() as broker, broker.subscribe("ward/+/spo2") as readings:
    ...     _ = broker.publish("ward/7/spo2", "97")
    ...     readings.get(timeout=2)
    Message('ward/7/spo2', b'97')
    """


class EventStream(Pull[_midge.Event]):
    """What happens in the broker, as it happens.

    >>> import midge
    >>> with midge.Broker() as broker, broker.watch("published") as events:
    ...     _ = broker.publish("a", "b")
    ...     events.get(timeout=2).topic
    'a'
    """
