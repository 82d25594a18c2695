"""Waiting for the broker, and asserting what it saw."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from midge import _midge
from midge._config import seconds, whole
from midge._errors import ConfigError, ExpectationError
from midge._matcher import (
    Condition,
    Matchable,
    Matcher,
    Where,
    find,
    find_sequence,
    nearest,
    unexpected,
    wait,
)
from midge._types import ANY, ClientInfo

if TYPE_CHECKING:
    from midge._log import Recorder

__tracebackhide__ = True

_PUBLISHED = ("published",)
_CLIENTS = ("connected", "disconnected")
_SUBSCRIPTIONS = ("subscribed",)


class Waits:
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
        json: object = ANY,
        qos: object = ANY,
        retain: object = ANY,
        client: object = ANY,
        where: Where | None = None,
        count: Literal[1] = 1,
        timeout: float | None = None,
    ) -> _midge.Message: ...
    @overload
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
        count: int,
        timeout: float | None = None,
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
        ``timeout`` seconds (:attr:`timeout` by default). Nobody has to have subscribed.

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
        condition = self._expected(matcher, count)
        found = wait(self._running(), condition, self._time(timeout))
        return self._found(found, matcher, count, timeout)

    def _expected(self, matcher: Matcher, count: int) -> Condition[list[_midge.Message]]:
        whole("count", count, 1, sys.maxsize)
        return Condition(_PUBLISHED, find(self._recording(), matcher, count))

    def _found(
        self,
        found: list[_midge.Message] | None,
        matcher: Matcher,
        count: int,
        timeout: float | None,
    ) -> Any:
        if found is None:
            what = "no message" if count == 1 else f"fewer than {count} messages"
            head = f"{what} like {matcher!r} within {self._time(timeout):g} s"
            raise ExpectationError("\n".join([head, *nearest(self._recorder, matcher)]))
        return found[0] if count == 1 else found

    def expect_sequence(
        self, *matchers: Matchable, timeout: float | None = None
    ) -> list[_midge.Message]:
        """Messages that come in this order; others may lie between them. Each matcher is a filter,
        ``(filter, payload)``, a message or a :class:`Matcher`."""
        wanted = self._wanted(matchers)
        found = wait(self._running(), self._expected_sequence(wanted), self._time(timeout))
        return self._found_sequence(found, wanted, timeout)

    def _wanted(self, matchers: Sequence[Matchable]) -> list[Matcher]:
        if not matchers:
            raise ValueError("matchers: at least one topic filter, pair, Message or Matcher")
        return [Matcher.of(matcher) for matcher in matchers]

    def _expected_sequence(self, wanted: list[Matcher]) -> Condition[list[_midge.Message]]:
        return Condition(_PUBLISHED, find_sequence(self._recording(), wanted))

    def _found_sequence(
        self, found: list[_midge.Message] | None, wanted: list[Matcher], timeout: float | None
    ) -> list[_midge.Message]:
        if found is not None:
            return found
        unseen = self._recorder.unseen()
        reached = 0
        for message in unseen:
            if reached < len(wanted) and not wanted[reached].misses(message):
                reached += 1
        head = (
            f"{reached} of {len(wanted)} messages came in order within {self._time(timeout):g} s; "
            f"missing: {wanted[reached]!r}"
        )
        raise ExpectationError("\n".join([head, *nearest(self._recorder, wanted[reached])]))

    def expect_none(
        self, filter: str = "#", *, within: float = 0.0, timeout: float | None = None
    ) -> None:
        """Asserts that there is no message that was not expected: once the broker has settled, and
        for another ``within`` seconds if that is given."""
        matcher = Matcher(filter)
        condition = self._unexpected(matcher)
        self.settle(timeout)
        self._none(wait(self._running(), condition, seconds("within", within) or 0.0))

    def _unexpected(self, matcher: Matcher) -> Condition[_midge.Message]:
        recorder = self._recording()
        return Condition(_PUBLISHED, lambda: unexpected(recorder, matcher))

    def _none(self, found: _midge.Message | None) -> None:
        if found is not None:
            raise ExpectationError(f"a message that nobody expected: {found!r}")

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
        condition = self._client(client_id, connected)
        found = wait(self._running(), condition, self._time(timeout))
        return self._client_found(found, client_id, connected, timeout)

    def _client(self, client_id: object, connected: bool) -> Condition[list[ClientInfo | None]]:
        def check() -> list[ClientInfo | None] | None:
            known = [info for name, info in self.clients.items() if client_id == name]
            if connected:
                return [known[0]] if known else None
            return None if known else [None]

        return Condition(_CLIENTS, check)

    def _client_found(
        self,
        found: list[ClientInfo | None] | None,
        client_id: object,
        connected: bool,
        timeout: float | None,
    ) -> ClientInfo | None:
        if found is not None:
            return found[0]
        who = "a client" if client_id is ANY else f"client {client_id!r}"
        what = "did not connect" if connected else "is still connected"
        lines = [f"{who} {what} within {self._time(timeout):g} s"]
        lines.append(f"connected: {', '.join(map(repr, self.clients)) or 'nobody'}")
        told = [e for e in self._recorder.events() if e.name in ("refused", "disconnected")]
        lines.extend(f"  {event}" for event in told[-5:])
        raise ExpectationError("\n".join(lines))

    def wait_subscription(
        self, filter: str, *, client: object = ANY, timeout: float | None = None
    ) -> None:
        """Waits until a client has subscribed to this filter: the barrier before a publish. A
        shared subscription counts with and without its ``$share/group/``."""
        condition = self._subscription(filter, client)
        if wait(self._running(), condition, self._time(timeout)) is None:
            raise self._no_subscription(filter, client, timeout)

    def _subscription(self, filter: str, client: object) -> Condition[bool]:
        _midge.check_filter(filter)

        def check() -> bool | None:
            for row in self._running().subscriptions():
                have = row["filter"]
                shared = have.startswith("$share/") and have.split("/", 2)[2]
                if filter in (have, shared) and client == row["client_id"]:
                    return True
            return None

        return Condition(_SUBSCRIPTIONS, check)

    def _no_subscription(
        self, filter: str, client: object, timeout: float | None
    ) -> ExpectationError:
        who = "nobody" if client is ANY else f"{client!r} has not"
        verb = "has subscribed" if client is ANY else "subscribed"
        lines = [f"{who} {verb} to {filter!r} within {self._time(timeout):g} s"]
        rows = self._running().subscriptions()
        lines.extend(f"  {row['client_id']!r} has {row['filter']!r}" for row in rows[:20])
        return ExpectationError("\n".join(lines if rows else [*lines, "no subscriptions at all"]))

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
