"""What the broker recorded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar, overload

from midge import _midge
from midge._errors import StoppedError

T = TypeVar("T")
Choose: TypeAlias = "Callable[[Sequence[_midge.Message]], list[int] | None]"

# The messages in the log count with their payload towards this bound.
RECORD_BYTES = 64 << 20

RECORDED = [
    "connected",
    "refused",
    "disconnected",
    "subscribed",
    "subscribe_refused",
    "unsubscribed",
    "published",
    "dropped",
    "expired",
    "session_ended",
    "will_sent",
    "reason_replaced",
]


class Log(Sequence[T]):
    """A snapshot of a log, oldest first."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return type(self)(self._items[index])
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self._items))}]"


class MessageLog(Log["_midge.Message"]):
    """Messages, oldest first. Equal to a list of messages or of ``(topic, payload)``.

    >>> import midge
    >>> with midge.Broker() as broker:
    ...     _ = broker.publish("a/b", "1"), broker.publish("c", "2")
    ...     broker.messages == [("a/b", b"1"), ("c", b"2")]
    ...     broker.messages.on("a/+").payloads
    True
    [b'1']
    """

    def on(self, filter: str) -> MessageLog:
        """Those whose topic matches a filter."""
        return MessageLog(m for m in self if _midge.topic_matches(filter, m.topic))

    @property
    def topics(self) -> list[str]:
        """The topics."""
        return [message.topic for message in self]

    @property
    def payloads(self) -> list[bytes]:
        """The payloads."""
        return [message.payload for message in self]

    def json(self) -> list[Any]:
        """The payloads as JSON."""
        return [message.json() for message in self]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(map(_same, self, other))

    __hash__ = None  # type: ignore[assignment]


def _same(message: _midge.Message, other: object) -> bool:
    if isinstance(other, tuple) and len(other) == 2:
        topic, payload = other
        if isinstance(payload, str):
            payload = payload.encode()
        return bool(topic == message.topic and payload == message.payload)
    return message == other


class Recorder:
    """Takes in what the broker recorded, when somebody looks. Bounded on both sides."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lost = 0
        self.lock = threading.Lock()
        self.events: deque[_midge.Event] = deque(maxlen=limit)
        self.messages: deque[_midge.Message] = deque(maxlen=limit)
        # What no expectation has used up yet.
        self.unseen: deque[_midge.Message] = deque(maxlen=limit)
        self.used: deque[_midge.Message] = deque(maxlen=100)
        self._queue: _midge.Events | None = None

    def attach(self, queue: _midge.Events) -> None:
        """From now on what comes from here is added."""
        self.pull()
        with self.lock:
            self._queue = queue

    def pull(self) -> None:
        """Takes in what has come since the last time."""
        with self.lock:
            self._pull()

    def _pull(self) -> None:
        if self._queue is None:
            return
        try:
            events = self._queue.drain(self.limit)
        except StoppedError:
            return
        for event in events:
            self.events.append(event)
            if event.message is not None:
                self.messages.append(event.message)
                self.unseen.append(event.message)
        self.lost = self._queue.lost

    def clear(self) -> None:
        """Forgets everything that has come so far."""
        with self.lock:
            self._pull()
            for log in (self.events, self.messages, self.unseen, self.used):
                log.clear()

    def take(self, choose: Choose) -> list[_midge.Message] | None:
        """Uses up the messages whose places ``choose`` gives."""
        with self.lock:
            self._pull()
            places = choose(self.unseen)
            if places is None:
                return None
            taken = [self.unseen[place] for place in places]
            for place in sorted(places, reverse=True):
                del self.unseen[place]
            self.used.extend(taken)
            return taken
