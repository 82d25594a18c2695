"""Event loops: asyncio, uvloop, trio, anyio on either.

Waits for a descriptor on the loop that runs: nothing is bound to a loop before it waits, and nothing
is left on it afterwards. Hooks that are coroutines run on the loop of the application. The
application imports its event loop; this module never does.
"""

from __future__ import annotations

import contextlib
import select
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

__tracebackhide__ = True

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


def trio_of_this_task() -> Any:
    """The module ``trio`` if the caller is one of its tasks."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return None
    return trio


async def readable(descriptor: int, timeout: float | None) -> bool:
    """Waits until a descriptor is readable; ``False`` after ``timeout`` seconds."""
    if trio := trio_of_this_task():
        with trio.move_on_after(float("inf") if timeout is None else max(timeout, 0.0)):
            await trio.lowlevel.wait_readable(descriptor)
            return True
        return False
    import asyncio

    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def resolve(value: bool) -> None:
        if not ready.done():
            ready.set_result(value)

    remove: Callable[[int], object] = loop.remove_reader
    try:
        loop.add_reader(descriptor, resolve, True)
    except NotImplementedError:
        _readers.add(descriptor, lambda: loop.call_soon_threadsafe(resolve, True))
        remove = _readers.remove

    alarm = None if timeout is None else loop.call_later(max(timeout, 0.0), resolve, False)
    try:
        return await ready
    finally:
        remove(descriptor)
        if alarm is not None:
            alarm.cancel()


class _Readers:
    """Waits for descriptors on a thread, for loops that wait for none: asyncio's default one on
    Windows. The thread ends when it has waited for nothing for a while."""

    idle = 5.0
    """Seconds without a descriptor to wait for after which the thread ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[int, Callable[[], object]] = {}
        self._thread: threading.Thread | None = None
        self._poke: Any = None

    def add(self, descriptor: int, call: Callable[[], object]) -> None:
        """Calls something on the thread, once, when the descriptor is readable."""
        with self._lock:
            self._calls[descriptor] = call
            # In a forked child it is not alive.
            if self._thread is not None and self._thread.is_alive():
                self._poke.send(b"+")
            else:
                self._start()

    def remove(self, descriptor: int) -> None:
        """Waits for it no more."""
        with self._lock:
            if self._calls.pop(descriptor, None) is not None:
                self._poke.send(b"-")

    def _start(self) -> None:
        import socket

        poked, self._poke = socket.socketpair()
        poked.setblocking(False)
        self._thread = threading.Thread(
            target=self._run, args=[poked], name="midge-readers", daemon=True
        )
        self._thread.start()

    def _run(self, poked: Any) -> None:
        with poked:
            while True:
                with self._lock:
                    waiting = [poked, *self._calls]
                try:
                    ready = select.select(waiting, [], [], self.idle)[0]
                except (OSError, ValueError):
                    # One was closed meanwhile. All look again.
                    ready = waiting

                with self._lock:
                    if not ready and not self._calls:
                        self._thread = None
                        self._poke.close()
                        return
                    with contextlib.suppress(BlockingIOError):
                        poked.recv(4096)
                    calls = [self._calls.pop(one, None) for one in ready if one is not poked]

                for call in filter(None, calls):
                    # Its loop may have been closed.
                    with contextlib.suppress(RuntimeError):
                        call()


_readers = _Readers()


async def pause(seconds: float) -> None:
    """Lets other tasks run."""
    if trio := trio_of_this_task():
        await trio.sleep(seconds)
    else:
        import asyncio

        await asyncio.sleep(seconds)


async def in_thread(call: Callable[[], T]) -> T:
    """Runs something that blocks on a thread of its own."""
    import socket

    ours, theirs = socket.socketpair()
    outcome: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))
        finally:
            theirs.close()

    threading.Thread(target=run, name="midge-call", daemon=True).start()
    with ours:
        await readable(ours.fileno(), None)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


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
