"""The event loop of an application, for hooks that are coroutines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from midge._wait import trio_of_this_task


class Loop(Protocol):
    """An event loop that runs things for other threads."""

    def spawn(self, run: Callable[[], Awaitable[None]], limit: float) -> None:
        """Runs a coroutine, for ``limit`` seconds at most. Raises ``RuntimeError`` if the loop has
        ended."""

    def is_current(self) -> bool:
        """Whether the calling thread is running it."""

    def cancel(self) -> None:
        """Cancels what still runs."""


class _Asyncio:
    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._tasks: set[Any] = set()

    def spawn(self, run: Callable[[], Awaitable[None]], limit: float) -> None:
        def start() -> None:
            task = self._loop.create_task(run())
            alarm = self._loop.call_later(limit, task.cancel)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: alarm.cancel())

        self._loop.call_soon_threadsafe(start)

    def is_current(self) -> bool:
        asyncio = sys.modules["asyncio"]
        return asyncio._get_running_loop() is self._loop

    def cancel(self) -> None:
        def each() -> None:
            for task in list(self._tasks):
                task.cancel()

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(each)


class _Trio:
    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self._scopes: set[Any] = set()

    def spawn(self, run: Callable[[], Awaitable[None]], limit: float) -> None:
        async def limited() -> None:
            with self._trio.move_on_after(limit) as scope:
                self._scopes.add(scope)
                try:
                    await run()
                finally:
                    self._scopes.discard(scope)

        def start() -> None:
            self._trio.lowlevel.spawn_system_task(limited)

        try:
            self._token.run_sync_soon(start)
        except self._trio.RunFinishedError as error:
            raise RuntimeError("the event loop has ended") from error

    def is_current(self) -> bool:
        try:
            return self._trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def cancel(self) -> None:
        def each() -> None:
            for scope in list(self._scopes):
                scope.cancel()

        with contextlib.suppress(self._trio.RunFinishedError):
            self._token.run_sync_soon(each)


def running_loop() -> Loop | None:
    """The loop that runs on the calling thread: asyncio, uvloop or trio."""
    if (trio := trio_of_this_task()) is not None:
        return _Trio(trio)
    asyncio = sys.modules.get("asyncio")
    loop = None if asyncio is None else asyncio._get_running_loop()
    return None if loop is None else _Asyncio(loop)
