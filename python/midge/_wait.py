"""Waiting for a descriptor on whatever event loop runs: asyncio, uvloop, trio, anyio on either.

Nothing is bound to a loop before it waits, and nothing is left on it afterwards. Event loops are
imported by whoever runs one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

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

    loop.add_reader(descriptor, resolve, True)
    alarm = None if timeout is None else loop.call_later(max(timeout, 0.0), resolve, False)
    try:
        return await ready
    finally:
        loop.remove_reader(descriptor)
        if alarm is not None:
            alarm.cancel()


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
