"""What the broker recorded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, ClassVar, Self, TypeAlias, TypeVar, overload

from midge import _midge
from midge._errors import StoppedError

__tracebackhide__ = True

T = TypeVar("T")
Choose: TypeAlias = "Callable[[Sequence[_midge.Message]], list[int] | None]"

# The messages in the log count with their payload towards this bound.
RECORD_BYTES = 64 << 20

# Payloads up to this length are kept as bytes of Python once they were asked for.
_COPIED_ONCE = 4096

# All kinds but those that each receiver of a message has.
RECORDED = [name for name in _midge.event_names() if name not in ("delivered", "acknowledged")]


class Log(Sequence[T]):
    """A snapshot of a log, oldest first."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> T | Self:
        if isinstance(index, slice):
            return type(self)(self._items[index])
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self._items))}]"


class MessageLog(Log[_midge.Message]):
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
        _midge.check_filter(filter)
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

    __hash__: ClassVar[None]  # type: ignore[assignment]


def _same(message: _midge.Message, other: object) -> bool:
    if isinstance(other, tuple) and len(other) == 2:
        topic, payload = other
        if isinstance(payload, str):
            payload = payload.encode()
        if topic != message.topic:
            return False
        if isinstance(payload, bytes):
            return message.has_payload(payload)
        return bool(payload == message.payload)
    return message == other


# What an event takes besides a payload.
_EVENT_BYTES = 1024


class Recorder:
    """Takes in what the broker recorded, when it is looked at: ``limit`` events at most, with
    ``RECORD_BYTES`` of payloads at most. A message is in it once, however often it is asked for.

    No code of users runs while it is locked, but for what the collection of garbage ends.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lost = 0
        self._lock = threading.RLock()
        self._busy = False
        self._bytes = 0
        self._events: deque[_midge.Event] = deque()
        # Messages that no expectation has used up, and those that one has, by identity.
        self._unseen: dict[int, _midge.Message] = {}
        self._used: dict[int, _midge.Message] = {}
        self._queue: _midge.Events | None = None
        self._lost_before = 0

    def attach(self, queue: _midge.Events) -> None:
        """From now on what comes from here is added."""
        self.pull()
        with self._lock:
            self._queue = queue
            self._lost_before = self.lost

    def pull(self) -> None:
        """Takes in what has come since the last time."""
        with self._lock:
            # Garbage that is collected inside may look here, too.
            if self._queue is None or self._busy:
                return
            self._busy = True
            try:
                self._pull(self._queue)
            finally:
                self._busy = False

    def _pull(self, queue: _midge.Events) -> None:
        try:
            events = queue.drain(self.limit)
        except StoppedError:
            return
        for event in events:
            self._events.append(event)
            self._bytes += _EVENT_BYTES
            if (message := event.message) is not None:
                self._bytes += _cost(message)
                self._unseen[id(message)] = message
        while len(self._events) > self.limit or (
            len(self._events) > 1 and self._bytes > RECORD_BYTES
        ):
            self._forget_oldest()
        self.lost = self._lost_before + queue.lost

    def _forget_oldest(self) -> None:
        event = self._events.popleft()
        self._bytes -= _EVENT_BYTES
        if (message := event.message) is not None:
            self._bytes -= _cost(message)
            self._unseen.pop(id(message), None)
            self._used.pop(id(message), None)
        self._lost_before += 1

    def clear(self) -> None:
        """Forgets everything that has come so far."""
        with self._lock:
            self.pull()
            gone = (self._events, self._unseen, self._used)
            self._events, self._unseen, self._used = deque(), {}, {}
            self._bytes = 0
        del gone

    def events(self) -> list[_midge.Event]:
        """What happened, oldest first."""
        with self._lock:
            self.pull()
            return list(self._events)

    def messages(self) -> list[_midge.Message]:
        """What was published, oldest first."""
        return [event.message for event in self.events() if event.message is not None]

    def unseen(self, limit: int | None = None) -> list[_midge.Message]:
        """What no expectation has used up, oldest first."""
        with self._lock:
            self.pull()
            return list(islice(self._unseen.values(), limit))

    def used(self) -> list[_midge.Message]:
        """What expectations have used up, in that order."""
        with self._lock:
            return list(self._used.values())

    def take(self, choose: Choose) -> list[_midge.Message] | None:
        """Uses up the messages whose places ``choose`` gives. It runs with nothing locked, and
        again if another expectation was quicker."""
        # Mostly it is one of the first.
        limit: int | None = 64
        while True:
            unseen = self.unseen(limit)
            places = choose(unseen)
            if places is None:
                if limit is None or len(unseen) < limit:
                    return None
                limit = None
                continue
            taken = [unseen[place] for place in places]
            with self._lock:
                if all(self._unseen.get(id(message)) is message for message in taken):
                    for message in taken:
                        self._used[id(message)] = self._unseen.pop(id(message))
                    return taken


def _cost(message: _midge.Message) -> int:
    """Bytes that a message takes: a short payload may be there twice, as bytes of Python."""
    length = len(message)
    return 2 * length if length <= _COPIED_ONCE else length
