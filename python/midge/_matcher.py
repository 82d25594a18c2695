"""What a message is to look like, the search for it, and what is said when there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from midge import _midge
from midge._log import Recorder
from midge._types import ANY, Where

__tracebackhide__ = True

Matchable: TypeAlias = "str | tuple[str, object] | _midge.Message | Matcher"

_SHOWN = 5
_SHOWN_IN_ORDER = 20


class Matcher:
    """What a message is to look like. Fields that are not given match anything."""

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


def find(recorder: Recorder, matcher: Matcher, count: int) -> list[_midge.Message] | None:
    """Uses up the first ``count`` messages that match, once they are all there."""

    def choose(unseen: Sequence[_midge.Message]) -> list[int] | None:
        places: list[int] = []
        for place, message in enumerate(unseen):
            if len(places) == count:
                break
            if matcher.on_topic(message) and not matcher.misses(message):
                places.append(place)
        return places if len(places) == count else None

    return recorder.take(choose)


def find_sequence(recorder: Recorder, matchers: Sequence[Matcher]) -> list[_midge.Message] | None:
    """Uses up messages that match one after the other; others may lie between them."""

    def choose(unseen: Sequence[_midge.Message]) -> list[int] | None:
        places = _in_order(unseen, matchers)
        return places if len(places) == len(matchers) else None

    return recorder.take(choose)


def _in_order(messages: Sequence[_midge.Message], matchers: Sequence[Matcher]) -> list[int]:
    """Where the first of the matchers find their messages, one after the other."""
    places: list[int] = []
    for place, message in enumerate(messages):
        if len(places) == len(matchers):
            break
        if not matchers[len(places)].misses(message):
            places.append(place)
    return places


def unexpected(recorder: Recorder, matcher: Matcher) -> _midge.Message | None:
    """The first message that was not expected."""
    for message in recorder.unseen():
        if not matcher.misses(message):
            return message
    return None


def nearest(recorder: Recorder, matcher: Matcher) -> list[str]:
    """What came closest, in lines for people."""
    import difflib

    unseen = recorder.unseen()
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
    lines.extend(_gone(recorder, matcher))
    return lines or ["no other message was published"]


def _gone(recorder: Recorder, matcher: Matcher) -> list[str]:
    """Why a message may be missing that was published."""
    lines = []
    for message in recorder.used():
        if not matcher.misses(message):
            lines.append(f"used up by an earlier expectation: {message!r}")
            break
    if recorder.lost:
        lines.append(f"{recorder.lost} older records were dropped; record= keeps more")
    return lines


def order(recorder: Recorder, matchers: Sequence[Matcher]) -> tuple[int, list[str]]:
    """How many of a sequence came in order, and in lines for people what was expected, what came
    and which is which."""
    unseen = recorder.unseen()
    places = _in_order(unseen, matchers)
    reached = len(places)

    lines = ["expected, in this order:"]
    for number, matcher in enumerate(matchers, 1):
        missing = "   <- missing" if number == reached + 1 else ""
        lines.append(f"  {number}. {matcher!r}{missing}")

    # Not all of a flood.
    first = max(len(unseen) - 1000, 0)
    came, others, is_there = [], first, False
    for place, message in enumerate(unseen[first:], first):
        numbers = [number for number, one in enumerate(matchers, 1) if not one.misses(message)]
        is_there = is_there or reached + 1 in numbers
        if place in places:
            came.append(f"  {message!r}   <- {places.index(place) + 1}")
        elif numbers:
            came.append(f"  {message!r}   <- like {', '.join(map(str, numbers))}, out of order")
        else:
            others += 1

    if len(came) > _SHOWN_IN_ORDER:
        others += len(came) - _SHOWN_IN_ORDER
        came = came[-_SHOWN_IN_ORDER:]
    if came:
        lines.extend(["came, in this order:", *came])
        if others:
            lines.append(f"  and {others} more")

    missing_one = matchers[min(reached, len(matchers) - 1)]
    lines.extend(_gone(recorder, missing_one) if is_there else nearest(recorder, missing_one))
    return reached, lines


def jsonable(value: object) -> bytes:
    """A value as JSON for a payload."""
    import json

    return json.dumps(value).encode()
