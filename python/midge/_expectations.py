"""Waiting for the broker, and asserting what it saw.

:class:`Expectations` makes what there is to wait for, once for threads and event loops; its methods
wait on the calling thread, those of :class:`midge.AsyncView` on the event loop.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from midge import _midge
from midge._config import seconds, whole
from midge._errors import ConfigError, ExpectationError
from midge._matcher import (
    Matchable,
    Matcher,
    find,
    find_sequence,
    nearest,
    order,
    unexpected,
)
from midge._pending import PENDING, Pending
from midge._types import ANY, ClientInfo, Like, Where

if TYPE_CHECKING:
    from midge._log import Recorder

__tracebackhide__ = True

_PUBLISHED = ("published",)
_CLIENTS = ("connected", "disconnected")
_SUBSCRIPTIONS = ("subscribed",)


class Expectations:
    """What :class:`midge.Broker` waits for. A wait ends on Ctrl-C and lets other threads run."""

    timeout: float
    _recorder: Recorder

    def _running(self) -> _midge.Broker:
        raise NotImplementedError

    @property
    def clients(self) -> dict[str, ClientInfo]:
        """The connected clients by client identifier."""
        raise NotImplementedError

    def _time(self, timeout: float | None) -> float:
        time = seconds("timeout", timeout)
        return self.timeout if time is None else time

    def _recording(self) -> Recorder:
        self._running()
        if not self._recorder.limit:
            raise ConfigError("record: expectations need a record of more than 0 messages")
        return self._recorder

    # Messages

    @overload
    def expect(  # type: ignore[overload-overlap]
        self,
        filter: str,
        payload: object = ANY,
        *,
        count: Literal[1] = 1,
        **like: Unpack[Like],
    ) -> _midge.Message: ...
    @overload
    def expect(
        self, filter: str, payload: object = ANY, *, count: int, **like: Unpack[Like]
    ) -> list[_midge.Message]: ...
    def expect(
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
        """The message that matches: one that has been published already, or one that comes within
        ``timeout`` seconds (:attr:`timeout` by default). No subscription is needed.

        It is used up: the next expectation does not see it. With a ``count`` above 1 a list.
        ``payload`` may be bytes, text or a compiled regular expression. Raises
        :class:`ExpectationError` with what came closest.

        >>> import midge
        >>> with midge.Broker() as broker:
        ...     _ = broker.publish("alarm/7", json={"level": "high"})
        ...     broker.expect("alarm/+", json={"level": "high"}).topic
        'alarm/7'
        """
        matcher = Matcher(
            filter, payload, json=json, qos=qos, retain=retain, client=client, where=where
        )
        return self._message(matcher, count, timeout).wait()

    def _message(self, matcher: Matcher, count: int, timeout: float | None) -> Pending[Any]:
        whole("count", count, 1, sys.maxsize)
        time, recorder = self._time(timeout), self._recording()

        def check() -> Any:
            found = find(recorder, matcher, count)
            if found is None:
                return PENDING
            return found[0] if count == 1 else found

        def late() -> Any:
            what = "no message" if count == 1 else f"fewer than {count} messages"
            head = f"{what} like {matcher!r} within {time:g} s"
            raise ExpectationError("\n".join([head, *nearest(recorder, matcher)]))

        return Pending(self._running(), _PUBLISHED, check, time, late)

    def expect_sequence(
        self, *matchers: Matchable, timeout: float | None = None
    ) -> list[_midge.Message]:
        """Messages that come in this order; others may lie between them. Each matcher is a filter,
        ``(filter, payload)``, a message or a :class:`Matcher`."""
        return self._sequence(matchers, timeout).wait()

    def _sequence(
        self, matchers: Sequence[Matchable], timeout: float | None
    ) -> Pending[list[_midge.Message]]:
        if not matchers:
            raise ValueError("matchers: at least one topic filter, pair, Message or Matcher")
        wanted = [Matcher.of(matcher) for matcher in matchers]
        time, recorder = self._time(timeout), self._recording()

        def check() -> Any:
            found = find_sequence(recorder, wanted)
            return PENDING if found is None else found

        def late() -> list[_midge.Message]:
            reached, lines = order(recorder, wanted)
            head = f"{reached} of {len(wanted)} messages came in order within {time:g} s"
            if reached < len(wanted):
                head += f"; missing: {wanted[reached]!r}"
            raise ExpectationError("\n".join([head, *lines]))

        return Pending(self._running(), _PUBLISHED, check, time, late)

    def expect_none(
        self, filter: str = "#", *, within: float = 0.0, timeout: float | None = None
    ) -> None:
        """Asserts that there is no message that was not expected: once the broker has settled, and
        for another ``within`` seconds if that is given."""
        none = self._none(filter, within)
        self.settle(timeout)
        none.wait()

    def _none(self, filter: str, within: float) -> Pending[None]:
        matcher, recorder = Matcher(filter), self._recording()

        def check() -> Any:
            if (found := unexpected(recorder, matcher)) is not None:
                raise ExpectationError(f"a message that nobody expected: {found!r}")
            return PENDING

        time = seconds("within", within) or 0.0
        return Pending(self._running(), _PUBLISHED, check, time, lambda: None)

    # Clients

    @overload
    def wait_client(
        self,
        client_id: object = ANY,
        *,
        connected: Literal[True] = True,
        timeout: float | None = None,
    ) -> ClientInfo: ...
    @overload
    def wait_client(
        self, client_id: object = ANY, *, connected: Literal[False], timeout: float | None = None
    ) -> None: ...
    @overload
    def wait_client(
        self, client_id: object = ANY, *, connected: bool, timeout: float | None = None
    ) -> ClientInfo | None: ...
    def wait_client(
        self, client_id: object = ANY, *, connected: bool = True, timeout: float | None = None
    ) -> ClientInfo | None:
        """Waits until a client is connected, or is not connected (any more). The client, or
        ``None``."""
        return self._client(client_id, connected, timeout).wait()

    def _client(
        self, client_id: object, connected: bool, timeout: float | None
    ) -> Pending[ClientInfo | None]:
        time = self._time(timeout)

        def check() -> Any:
            known = [info for name, info in self.clients.items() if client_id == name]
            if connected:
                return known[0] if known else PENDING
            return PENDING if known else None

        def late() -> ClientInfo | None:
            who = "a client" if client_id is ANY else f"client {client_id!r}"
            what = "did not connect" if connected else "is still connected"
            lines = [f"{who} {what} within {time:g} s"]
            lines.append(f"connected: {', '.join(map(repr, self.clients)) or 'nobody'}")
            told = [e for e in self._recorder.events() if e.name in ("refused", "disconnected")]
            lines.extend(f"  {event}" for event in told[-5:])
            raise ExpectationError("\n".join(lines))

        return Pending(self._running(), _CLIENTS, check, time, late)

    def wait_subscription(
        self, filter: str, *, client: object = ANY, timeout: float | None = None
    ) -> None:
        """Waits until a client has subscribed to this filter: the barrier before a publish. A
        shared subscription counts with and without its ``$share/group/``."""
        self._subscription(filter, client, timeout).wait()

    def _subscription(self, filter: str, client: object, timeout: float | None) -> Pending[None]:
        _midge.check_filter(filter)
        time, native = self._time(timeout), self._running()

        def check() -> Any:
            for row in native.subscriptions():
                have = row["filter"]
                shared = have.startswith("$share/") and have.split("/", 2)[2]
                if filter in (have, shared) and client == row["client_id"]:
                    return None
            return PENDING

        def late() -> None:
            who = "nobody" if client is ANY else f"{client!r} has not"
            verb = "has subscribed" if client is ANY else "subscribed"
            lines = [f"{who} {verb} to {filter!r} within {time:g} s"]
            rows = native.subscriptions()
            lines.extend(f"  {row['client_id']!r} has {row['filter']!r}" for row in rows[:20])
            raise ExpectationError(
                "\n".join(lines if rows else [*lines, "no subscriptions at all"])
            )

        return Pending(native, _SUBSCRIPTIONS, check, time, late)

    def settle(self, timeout: float | None = None) -> None:
        """Waits until nothing is queued, in flight or unwritten in the broker."""
        if not self._running().settle(self._time(timeout)):
            raise self._unsettled(timeout)

    def _unsettled(self, timeout: float | None) -> ExpectationError:
        lines = [f"the broker did not come to rest within {self._time(timeout):g} s"]
        for info in self.clients.values():
            if info.queued or info.inflight:
                lines.append(
                    f"  {info.client_id!r}: {info.queued} queued, {info.inflight} unacknowledged"
                )
        return ExpectationError("\n".join(lines))
