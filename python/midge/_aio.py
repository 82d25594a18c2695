"""The methods that wait, for event loops."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from midge import _midge
from midge._eventloop import in_thread, pause
from midge._matcher import Matchable, Matcher
from midge._types import ANY, ClientInfo, Like, Where

if TYPE_CHECKING:
    from midge._broker import Broker

__tracebackhide__ = True


class AsyncView:
    """As the methods of the same names of :class:`midge.Broker`, awaitable on asyncio, uvloop, trio
    and anyio. Nothing is bound to a loop; a wait that is cancelled uses up nothing."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> Broker:
        """Starts the broker."""
        self._broker._adopt_loop()
        return await in_thread(self._broker.start)

    async def stop(self, *, timeout: float = 0.0) -> None:
        """Stops the broker, while clients on this loop can go on."""
        await in_thread(lambda: self._broker.stop(timeout=timeout))

    async def restart(self, *, clean: bool = False) -> Broker:
        """Stops and starts again on the same port, while clients on this loop can go on."""
        self._broker._adopt_loop()
        return await in_thread(lambda: self._broker.restart(clean=clean))

    @overload
    async def expect(  # type: ignore[overload-overlap]
        self,
        filter: str,
        payload: object = ANY,
        *,
        count: Literal[1] = 1,
        **like: Unpack[Like],
    ) -> _midge.Message: ...
    @overload
    async def expect(
        self, filter: str, payload: object = ANY, *, count: int, **like: Unpack[Like]
    ) -> list[_midge.Message]: ...
    async def expect(
        self,
        filter: str,
        payload: object = ANY,
        *,
        json: object = ANY,
        qos: object = ANY,
        retain: object = ANY,
        client: object = ANY,
        where: Where | None = None,
        count: int = 1,
        timeout: float | None = None,
    ) -> Any:
        """The message that matches, or the ``count`` first."""
        matcher = Matcher(
            filter, payload, json=json, qos=qos, retain=retain, client=client, where=where
        )
        return await self._broker._message(matcher, count, timeout)

    async def expect_sequence(
        self, *matchers: Matchable, timeout: float | None = None
    ) -> list[_midge.Message]:
        """Messages that come in this order."""
        return await self._broker._sequence(matchers, timeout)

    async def expect_none(
        self, filter: str = "#", *, within: float = 0.0, timeout: float | None = None
    ) -> None:
        """Asserts that there is no message that was not expected."""
        none = self._broker._none(filter, within)
        await self.settle(timeout)
        await none

    @overload
    async def wait_client(
        self,
        client_id: object = ANY,
        *,
        connected: Literal[True] = True,
        timeout: float | None = None,
    ) -> ClientInfo: ...
    @overload
    async def wait_client(
        self, client_id: object = ANY, *, connected: Literal[False], timeout: float | None = None
    ) -> None: ...
    @overload
    async def wait_client(
        self, client_id: object = ANY, *, connected: bool, timeout: float | None = None
    ) -> ClientInfo | None: ...
    async def wait_client(
        self, client_id: object = ANY, *, connected: bool = True, timeout: float | None = None
    ) -> ClientInfo | None:
        """Waits until a client is connected, or is not connected (any more)."""
        return await self._broker._client(client_id, connected, timeout)

    async def wait_subscription(
        self, filter: str, *, client: object = ANY, timeout: float | None = None
    ) -> None:
        """Waits until a client has subscribed to this filter."""
        await self._broker._subscription(filter, client, timeout)

    async def settle(self, timeout: float | None = None) -> None:
        """Waits until nothing is queued, in flight or unwritten in the broker."""
        broker = self._broker
        deadline = time.monotonic() + broker._time(timeout)
        while not broker._running().settle(0.0):
            if time.monotonic() >= deadline:
                raise broker._unsettled(timeout)
            # There is no event for this; clients on this very loop need the time anyway.
            await pause(0.001)
