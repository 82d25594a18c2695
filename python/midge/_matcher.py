"""Expectations: what a test waits for, and what it says when that does not come."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from midge import _midge
from midge._eventloop import readable
from midge._log import Recorder
from midge._types import ANY

__tracebackhide__ = True

T = TypeVar("T")
Where: TypeAlias = Callable[[_midge.Message], object]
Matchable: TypeAlias = "str | tuple[str, object] | _midge.Message | Matcher"

_SHOWN = 5


class Condition(Generic[T]):
    """Something to wait for: ``check`` gives a value once it is so; events of these ``kinds`` tell
    when to look again."""

    def __init__(self, kinds: Sequence[str], check: Callable[[], T | None]) -> None:
        self.kinds = kinds
        self.check = check


def wait(native: _midge.Broker, condition: Condition[T], timeout: float) -> T | None:
    """Waits on the calling thread; ``None`` when time is up."""
    value = condition.check()
    if value is not None or timeout <= 0:
        return value
    deadline = time.monotonic() + timeout
    watch = native.events(list(condition.kinds), 1)
    try:
        while (value := condition.check()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            watch.get(left)
        return value
    finally:
        watch.close()


async def wait_async(native: _midge.Broker, condition: Condition[T], timeout: float) -> T | None:
    """Waits on the running event loop; ``None`` when time is up."""
    value = condition.check()
    if value is not None or timeout <= 0:
        return value
    deadline = time.monotonic() + timeout
    watch = native.events(list(condition.kinds), 1)
    wake = watch.wake()
    try:
        while True:
            watch.drain(1)
            wake.arm()
            if (value := condition.check()) is not None:
                return value
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if not len(watch):
                await readable(wake.fileno(), left)
            wake.disarm()
    finally:
        watch.close()


class Matcher:
    """What a message is to look like. Everything that is not given is as it likes."""

    def __init__(
        self,
        filter: str = "#",
        payload: object = ANY,
        *,
        json: object = ANY,
        qos: object = ANY,
        retain: object = ANY,
        client: object = ANY,
        where: Where | None = None,
    ) -> None:
        if isinstance(payload, str):
            payload = payload.encode()
        elif isinstance(payload, (bytearray, memoryview)):
            payload = bytes(payload)
        _midge.check_filter(filter)
        if where is not None and not callable(where):
            raise TypeError(f"where: a callable, not {type(where).__name__}")
        self.filter = filter
        self.payload = payload
        self.json = json
        self.qos = qos
        self.retain = retain
        self.client = client
        self.where = where

    @classmethod
    def of(cls, what: Matchable) -> Matcher:
        """A matcher from a filter, ``(filter, payload)``, a message or a matcher, which it gives
        back."""
        match what:
            case Matcher():
                return what
            case str():
                return cls(what)
            case (str() as filter, payload):
                return cls(filter, payload)
            case _midge.Message():
                return cls(
                    what.topic,
                    what.payload,
                    qos=what.qos,
                    retain=what.retain,
                    client=ANY if what.client_id is None else what.client_id,
                )
        raise TypeError(
            "matcher: a topic filter, (filter, payload), a Message or a Matcher, "
            f"not {type(what).__name__}"
        )

    def on_topic(self, message: _midge.Message) -> bool:
        """Whether the topic matches."""
        return self.filter == message.topic or _midge.topic_matches(self.filter, message.topic)

    def misses(self, message: _midge.Message) -> list[str]:
        """What does not fit."""
        wrong = []
        if not self.on_topic(message):
            wrong.append("topic")
        if self.payload is not ANY and not self._payload_fits(message):
            wrong.append("payload")
        if self.json is not ANY and not self._json_fits(message):
            wrong.append("json")
        for name, wanted, have in (
            ("qos", self.qos, message.qos),
            ("retain", self.retain, message.retain),
            ("client", self.client, message.client_id),
        ):
            if wanted is not ANY and wanted != have:
                wrong.append(name)
        if not wrong and self.where is not None and not self.where(message):
            wrong.append("where")
        return wrong

    def _payload_fits(self, message: _midge.Message) -> bool:
        if isinstance(self.payload, bytes):
            return message.has_payload(self.payload)
        if isinstance(self.payload, re.Pattern):
            payload = message.payload
            if isinstance(self.payload.pattern, str):
                return self.payload.search(payload.decode(errors="replace")) is not None
            return self.payload.search(payload) is not None
        return bool(self.payload == message.payload)

    def _json_fits(self, message: _midge.Message) -> bool:
        try:
            return bool(self.json == message.json())
        except ValueError:
            return False

    def __repr__(self) -> str:
        parts = [repr(self.filter)]
        for name in ("payload", "json", "qos", "retain", "client"):
            if (value := getattr(self, name)) is not ANY:
                parts.append(repr(value) if name == "payload" else f"{name}={value!r}")
        if self.where is not None:
            parts.append(f"where={getattr(self.where, '__name__', self.where)!s}")
        return ", ".join(parts)


def find(recorder: Recorder, matcher: Matcher, count: int) -> Callable[[], Any]:
    """Uses up the first ``count`` messages that match, once they are all there."""

    def choose(unseen: Sequence[_midge.Message]) -> list[int] | None:
        places: list[int] = []
        for place, message in enumerate(unseen):
            if len(places) == count:
                break
            if matcher.on_topic(message) and not matcher.misses(message):
                places.append(place)
        return places if len(places) == count else None

    return lambda: recorder.take(choose)


def find_sequence(recorder: Recorder, matchers: Sequence[Matcher]) -> Callable[[], Any]:
    """Uses up messages that match one after the other; others may lie between them."""

    def choose(unseen: Sequence[_midge.Message]) -> list[int] | None:
        places: list[int] = []
        for place, message in enumerate(unseen):
            if len(places) == len(matchers):
                break
            if not matchers[len(places)].misses(message):
                places.append(place)
        return places if len(places) == len(matchers) else None

    return lambda: recorder.take(choose)


def unexpected(recorder: Recorder, matcher: Matcher) -> _midge.Message | None:
    """The first message that nobody expected."""
    for message in recorder.unseen():
        if not matcher.misses(message):
            return message
    return None


def nearest(recorder: Recorder, matcher: Matcher) -> list[str]:
    """What came closest, in lines for people."""
    import difflib

    unseen, used = recorder.unseen(), recorder.used()
    lines = []

    def distance(message: _midge.Message) -> tuple[bool, int, float]:
        wrong = matcher.misses(message)
        alike = difflib.SequenceMatcher(None, matcher.filter, message.topic).ratio()
        return ("topic" in wrong, len(wrong), -alike)

    # Newest first among equals, and not all of a flood.
    for message in sorted(reversed(unseen[-1000:]), key=distance)[:_SHOWN]:
        wrong = ", ".join(matcher.misses(message))
        lines.append(f"  {message!r}" + (f"   <- {wrong}" if wrong else ""))
    if lines:
        lines.insert(0, "closest messages, and what does not fit:")
    if len(unseen) > _SHOWN:
        lines.append(f"  and {len(unseen) - _SHOWN} more")
    for message in used:
        if not matcher.misses(message):
            lines.append(f"used up by an earlier expectation: {message!r}")
            break
    if not lines:
        lines.append("no other message was published")
    if recorder.lost:
        lines.append(f"{recorder.lost} older records were dropped; record= keeps more")
    return lines


def jsonable(value: object) -> bytes:
    """A value as JSON for a payload."""
    import json

    return json.dumps(value).encode()
