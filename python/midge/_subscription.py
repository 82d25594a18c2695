"""In-process subscriptions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

from midge import _midge
from midge._message import Message


class Subscription:
    """Messages that arrive at the broker, in order, from a bounded queue.

    The oldest message is dropped when the queue is full; ``lost`` counts them. Iterate over it, in
    ``for`` or ``async for``, until the broker stops; or ask for one message with :meth:`get`.
    """

    def __init__(self, native: _midge.Subscription) -> None:
        self._native = native

    def get(self, timeout: float | None = None) -> Message:
        """The next message; raises ``TimeoutError`` after ``timeout`` seconds."""
        native = self._native.get(timeout)
        if native is None:
            raise TimeoutError(f"no message within {timeout} s")
        return Message._from_native(native)

    def drain(self, limit: int = 1024) -> list[Message]:
        """Up to ``limit`` messages that wait, without waiting for more."""
        return [Message._from_native(native) for native in self._native.drain(limit)]

    async def aget(self, timeout: float | None = None) -> Message:
        """The next message, on the running asyncio loop. A cancelled wait loses nothing."""
        async with asyncio.timeout(timeout):
            return await self._next()

    async def _next(self) -> Message:
        loop = asyncio.get_running_loop()
        fd = self._native.wake_fd()
        try:
            while True:
                ready = asyncio.Event()
                loop.add_reader(fd, ready.set)
                try:
                    waiting = self._native.drain(1)
                    if waiting:
                        return Message._from_native(waiting[0])
                    await ready.wait()
                finally:
                    loop.remove_reader(fd)
                os.read(fd, 4096)
        finally:
            os.close(fd)

    @property
    def lost(self) -> int:
        """Messages dropped because the queue was full."""
        return self._native.lost

    def close(self) -> None:
        """Ends the subscription."""
        self._native.close()

    def __iter__(self) -> Iterator[Message]:
        while True:
            try:
                yield self.get()
            except _midge.StoppedError:
                return

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            try:
                yield await self._next()
            except _midge.StoppedError:
                return

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
