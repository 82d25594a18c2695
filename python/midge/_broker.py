"""The broker."""

from __future__ import annotations

import json as _json
import socket as _socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from midge import _midge
from midge._errors import BindError, ExpectationError
from midge._message import ANY, ClientInfo, Event, Message, Properties
from midge._subscription import Subscription

_MISSING: Any = object()


class Clock:
    """The broker's clock; one that was made with ``clock="manual"`` can be moved."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def advance(self, seconds: float) -> None:
        """Moves a manual clock: keep alive, wills and expiries that come due happen in order."""
        self._broker._running().advance(seconds)


class Broker:
    """A complete MQTT broker in this process. Every method may be called from any thread.

    ``options`` are those of ``docs/configuration.md``, by their keys: ``{"limits.inflight": 10}``.
    Port 0 takes a free one. Nothing is listened on with ``port=None``; then connect with
    :meth:`socket`.

    >>> with Broker() as broker:
    ...     broker.publish("a/b", "hello", retain=True)
    ...     broker.retained["a/b"].text
    0
    'hello'
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = 0,
        unix_path: str | None = None,
        options: Mapping[str, object] | None = None,
        record: int = 10_000,
        clock: Literal["system", "manual"] = "system",
    ) -> None:
        if clock not in ("system", "manual"):
            raise ValueError(f'clock: "system" or "manual", not {clock!r}')
        self.host = host
        self._asked_port = port
        self._unix_path = unix_path
        self._options = [(key, _option(value)) for key, value in (options or {}).items()]
        self._record = record
        self._manual = clock == "manual"
        self._native: _midge.Broker | None = None
        self._port = 0
        self._log: list[Message] = []
        self._unseen: list[Message] = []
        self._recorder: _midge.Subscription | None = None
        self._events: _midge.Events | None = None
        self._history: list[Event] = []
        self.clock = Clock(self)

    # Life

    def start(self) -> Self:
        """Starts the broker; it listens when this returns. Starting twice is nothing."""
        if self._native is not None and not self._native.stopped:
            return self
        listen = []
        if self._asked_port is not None:
            listen.append(f"tcp://{self.host}:{self._port or self._asked_port}")
        if self._unix_path is not None:
            listen.append(f"unix://{self._unix_path}")
        try:
            native = _midge.Broker(listen, self._options, self._manual)
        except OSError as error:
            raise BindError(error.errno, str(error), ", ".join(listen)) from None
        self._native = native
        self._port = native.port
        self._recorder = native.subscribe(["#"], 2, self._record, False)
        self._events = native.events(self._record)
        return self

    def stop(self, *, timeout: float = 0.0) -> None:
        """Stops the broker; clients get ``timeout`` seconds to take what waits for them."""
        if self._native is not None:
            self._native.stop(timeout)

    def restart(self) -> Self:
        """Stops and starts again on the same port, with nothing kept."""
        self.stop()
        return self.start()

    def reset(self) -> None:
        """Disconnects every client, ends every session, clears retained messages and the log."""
        native = self._running()
        for client_id, *_ in native.sessions():
            native.clear_session(client_id)
        native.clear_retained("#")
        self._pull()
        self._log.clear()
        self._unseen.clear()
        self._history.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    def _running(self) -> _midge.Broker:
        if self._native is None:
            raise _midge.StoppedError("the broker has not been started")
        return self._native

    # Where it is

    @property
    def port(self) -> int:
        """The TCP port, 0 without one."""
        return self._port

    @property
    def url(self) -> str:
        """``mqtt://host:port``."""
        return self._running().url

    @property
    def env(self) -> dict[str, str]:
        """``MQTT_HOST``, ``MQTT_PORT`` and ``MQTT_URL`` for a child process."""
        return {"MQTT_HOST": self.host, "MQTT_PORT": str(self.port), "MQTT_URL": self.url}

    def socket(self) -> _socket.socket:
        """A connected socket that speaks MQTT, without a port."""
        return _socket.socket(fileno=self._running().connect_fd())

    # Inject and observe

    def publish(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview | str = b"",
        *,
        json: Any = _MISSING,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
        as_client: str | None = None,
    ) -> int:
        """Publishes a message; the number of receivers that matched (this object's own log is
        not counted)."""
        if json is not _MISSING:
            payload = _json.dumps(json).encode()
        elif isinstance(payload, str):
            payload = payload.encode()
        elif not isinstance(payload, (bytes, bytearray, memoryview)):
            raise TypeError(f"payload: bytes, str or a buffer, not {type(payload).__name__}")
        native = properties._native() if properties is not None else None
        matched = self._running().publish(topic, bytes(payload), qos, retain, native, as_client)
        own = 0 if topic.startswith("$") else 1
        return max(matched - own, 0)

    def subscribe(
        self, *filters: str, qos: int = 2, maxsize: int = 1024, retained: bool = True
    ) -> Subscription:
        """Subscribes this program to topic filters, without a client."""
        if not filters:
            raise ValueError("filters: at least one topic filter")
        return Subscription(self._running().subscribe(list(filters), qos, maxsize, retained))

    @property
    def messages(self) -> list[Message]:
        """Everything that was published since the start, oldest first, at most ``record``."""
        self._pull()
        return list(self._log)

    @property
    def retained(self) -> dict[str, Message]:
        """The retained messages by topic."""
        found = (Message._from_native(native) for native in self._running().retained("#"))
        return {message.topic: message for message in found}

    @property
    def clients(self) -> dict[str, ClientInfo]:
        """The connected clients by client identifier."""
        return {row[0]: ClientInfo(*row) for row in self._running().clients()}

    @property
    def sessions(self) -> dict[str, bool]:
        """The sessions by client identifier, and whether a client is connected."""
        return {client_id: connected for client_id, connected, *_ in self._running().sessions()}

    @property
    def stats(self) -> dict[str, int]:
        """Counters."""
        return dict(self._running().stats())

    @property
    def events(self) -> list[Event]:
        """What happened since the start, oldest first, at most ``record``."""
        self._pull()
        return list(self._history)

    def disconnect(self, client_id: str, reason: int = 0x98) -> bool:
        """Disconnects a client; whether it was connected."""
        return self._running().disconnect(client_id, reason)

    # Wait and assert

    def _pull(self) -> None:
        if self._recorder is not None:
            self._take(self._recorder.drain(self._record))
        if self._events is not None:
            self._history.extend(Event(*row) for row in self._events.drain())
            del self._history[: -self._record]

    def _take(self, natives: list[_midge.Message]) -> None:
        taken = [Message._from_native(native) for native in natives]
        self._log.extend(taken)
        self._unseen.extend(taken)
        del self._log[: -self._record]
        del self._unseen[: -self._record]

    def expect(
        self,
        filter: str,
        payload: object = ANY,
        *,
        json: object = ANY,
        qos: object = ANY,
        retain: object = ANY,
        client: object = ANY,
        where: Callable[[Message], bool] | None = None,
        timeout: float = 2.0,
    ) -> Message:
        """Finds a message: first among those that were not expected before, then by waiting.

        The message that is found is used up: the next call does not see it. Raises
        :class:`ExpectationError` after ``timeout`` seconds, with what came closest.
        """
        if isinstance(payload, str):
            payload = payload.encode()

        def fits(message: Message) -> bool:
            return (
                _matches(filter, message.topic)
                and payload == message.payload
                and (json is ANY or json == message.json())
                and qos == message.qos
                and retain == message.retain
                and client == message.client_id
                and (where is None or where(message))
            )

        self._running()
        deadline = time.monotonic() + timeout
        looked = 0
        self._pull()
        while True:
            for at in range(looked, len(self._unseen)):
                if fits(self._unseen[at]):
                    return self._unseen.pop(at)
            looked = len(self._unseen)
            left = deadline - time.monotonic()
            native = self._recorder.get(max(left, 0.0)) if self._recorder else None
            if native is None:
                break
            self._take([native])
            looked = min(looked, len(self._unseen) - 1)
        raise ExpectationError(self._nearest(filter, payload, timeout))

    def _nearest(self, filter: str, payload: object, timeout: float) -> str:
        wanted = f"{filter!r}" if payload is ANY else f"{filter!r} with {payload!r}"
        lines = [f"no message on {wanted} within {timeout} s"]
        same = [m for m in self._unseen if _matches(filter, m.topic)]
        for message in (same or self._unseen)[-5:]:
            lines.append(f"  saw {message.topic!r}: {message.payload!r} qos={message.qos}")
        if len(lines) == 1:
            lines.append("  nothing else was published either")
        return "\n".join(lines)

    def expect_none(self, filter: str = "#") -> None:
        """Asserts that no message on ``filter`` is left that was not expected, once everything on
        its way has arrived."""
        self.settle()
        self._pull()
        for message in self._unseen:
            if _matches(filter, message.topic):
                raise ExpectationError(f"unexpected message on {message.topic!r}: {message.payload!r}")

    def _until(self, what: str, found: Callable[[], Any], timeout: float) -> Any:
        # Events tell when to look again; the state says whether it is so.
        watch = self._running().events(1024)
        deadline = time.monotonic() + timeout
        while not (value := found()):
            if watch.get(max(deadline - time.monotonic(), 0.0)) is None:
                if value := found():
                    return value
                raise ExpectationError(f"{what}: not within {timeout} s")
        return value

    def wait_client(
        self, client_id: object = ANY, *, connected: bool = True, timeout: float = 2.0
    ) -> ClientInfo | None:
        """Waits until a client is connected, or is not any more."""

        def found() -> Any:
            known = [info for name, info in self.clients.items() if client_id == name]
            if connected:
                return (known[0],) if known else None
            return None if known else (None,)

        return self._until(f"client {client_id!r} connected={connected}", found, timeout)[0]

    def wait_subscription(self, filter: str, *, client: object = ANY, timeout: float = 2.0) -> None:
        """Waits until a client has subscribed to exactly this filter: the barrier before a publish."""

        def found() -> bool:
            rows = self._running().subscriptions()
            return any(name == filter and client == client_id for client_id, name, _ in rows)

        self._until(f"subscription to {filter!r}", found, timeout)

    def settle(self, timeout: float = 2.0) -> None:
        """Waits until nothing is queued or in flight in the broker."""
        if not self._running().settle(timeout):
            raise ExpectationError(f"the broker did not come to rest within {timeout} s")


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, str)):
        return str(value)
    raise TypeError(f"options take int, bool or str, not {type(value).__name__}")


def _matches(filter: str, topic: str) -> bool:
    """Whether a topic name matches a filter (section 4.7)."""
    if topic.startswith("$") and filter[:1] in ("+", "#"):
        return False
    wanted, have = filter.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(have) or level not in ("+", have[at]):
            return False
    return len(wanted) == len(have)
