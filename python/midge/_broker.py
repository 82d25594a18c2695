"""The broker."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, overload

from midge import _midge, _threads
from midge._aio import AsyncView
from midge._config import check_options, check_protocols, whole
from midge._errors import ConfigError, ForkedError, StoppedError
from midge._expect import jsonable
from midge._hooks import Acl, Auth, HookSet, Intercept
from midge._log import RECORD_BYTES, RECORDED, Log, MessageLog, Recorder
from midge._pull import EventStream, Subscription
from midge._types import ClientInfo, SessionInfo, Stats, SubscriptionInfo
from midge._wait import in_thread
from midge._waits import Waits

if TYPE_CHECKING:
    import socket as _socket

Payload: TypeAlias = "bytes | bytearray | memoryview | str"
OnMessage: TypeAlias = "Callable[[_midge.Message], object]"

_MISSING: Any = object()


class Clock:
    """The broker's clock. One that was asked for with ``clock="manual"`` can be moved.

    >>> import midge
    >>> with midge.Broker(clock="manual") as broker:
    ...     keep = midge.Properties(message_expiry=60)
    ...     _ = broker.publish("t", "short-lived", retain=True, properties=keep)
    ...     broker.clock.advance(60)
    ...     dict(broker.retained)
    {}
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def advance(self, seconds: float) -> None:
        """Moves a manual clock. Keep alive, will delay, message and session expiry that come due
        on the way happen in their order before this returns."""
        if not self._broker._manual:
            raise ConfigError('clock: only Broker(clock="manual") has a clock that can be moved')
        self._broker._running().advance(seconds)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self._broker._running().now()


class Registration:
    """A callback. It does not run any more once :meth:`close` has returned."""

    def __init__(self, queue: _midge.Subscription, call: OnMessage) -> None:
        self._queue = queue
        self._open = True

        def serve() -> None:
            for first in Subscription(queue):
                # What has come meanwhile is taken at once: that is much faster.
                for message in [first, *self._waiting()]:
                    if not self._open:
                        return
                    try:
                        call(message)
                    except Exception:
                        _log_failure(call)

        self._thread = _threads.PullThread("midge-callback", queue, serve)

    @property
    def lost(self) -> int:
        """Messages dropped because the callback was too slow."""
        return self._queue.lost

    def close(self) -> None:
        """Ends it; waits for a call that is under way, unless this is that call."""
        self._open = False
        self._queue.close()
        while self._waiting():
            pass
        self._thread.end()

    def _waiting(self) -> list[_midge.Message]:
        try:
            return self._queue.drain(256)
        except StoppedError:
            return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _log_failure(call: OnMessage) -> None:
    import logging

    logging.getLogger("midge").exception("the callback %r failed", call)


class Broker(Waits):
    """A complete MQTT 5.0, 3.1.1 and 3.1 broker in this process.

    Every method may be called from any thread. Port 0 takes a free port; with ``port=None`` it
    listens on none: then clients come in by ``unix_path`` or :meth:`socket`.

    Every option of ``docs/configuration.md`` is a keyword, with an underscore for its dot
    (``limits_inflight=10``), or goes by its key into ``options``.

    >>> import midge
    >>> with midge.Broker(limits_inflight=10) as broker:
    ...     _ = broker.publish("a/b", "hello", retain=True)
    ...     broker.retained["a/b"].text
    'hello'
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = 0,
        unix_path: str | os.PathLike[str] | None = None,
        protocols: Sequence[str] | None = None,
        auth: Auth | None = None,
        acl: Acl | None = None,
        intercept: Intercept | None = None,
        options: Mapping[str, object] | None = None,
        record: int = 10_000,
        clock: Literal["system", "manual"] = "system",
        threads: int = 1,
        timeout: float = 2.0,
        **keywords: bool | int | str,
    ) -> None:
        if not isinstance(host, str) or not host:
            raise ConfigError(f"host: an address or a name, not {host!r}")
        if clock not in ("system", "manual"):
            raise ConfigError(f'clock: "system" or "manual", not {clock!r}')
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout < 0:
            raise ConfigError(f"timeout: a number of seconds, 0 or more, not {timeout!r}")
        self._bind_host = host
        self._bind_port = None if port is None else whole("port", port, 0, 65535)
        self._unix_path = None if unix_path is None else os.path.abspath(unix_path)
        self._options = check_protocols(protocols) + check_options(options, keywords)
        self._hooks = HookSet(auth, acl, intercept)
        self._manual = clock == "manual"
        self._threads = whole("threads", threads, 1, 1024)
        self.timeout = float(timeout)
        self._recorder = Recorder(whole("record", record, 0, sys.maxsize))
        self._life = threading.RLock()
        self._native: _midge.Broker | None = None
        self._store = _midge.Store()
        self._questions: _midge.Hooks | None = None
        self._answering: _threads.PullThread | None = None
        self._callbacks: list[Registration] = []
        self._url = ""

    # Life

    def start(self) -> Self:
        """Starts the broker; it listens when this returns. Does nothing if it runs.

        Raises :class:`BindError` for an address that is taken.
        """
        self._check_fork()
        with self._life:
            if self._native is not None and self._native.running:
                return self
            listen = []
            if self._bind_port is not None:
                host = f"[{self._bind_host}]" if ":" in self._bind_host else self._bind_host
                listen.append(f"tcp://{host}:{self._bind_port}")
            if self._unix_path is not None:
                listen.append(f"unix://{self._unix_path}")
            questions = self._hooks.native() if self._hooks else None
            kinds = RECORDED if self._recorder.limit else []
            record = (kinds, max(self._recorder.limit, 1), RECORD_BYTES)
            native, recorded = _midge.start(
                listen, self._options, self._manual, self._threads, record, questions, self._store
            )
            if questions is not None:
                hooks = self._hooks
                self._questions = questions
                self._answering = _threads.PullThread(
                    "midge-hooks", questions, lambda: hooks.serve(questions)
                )
            self._native = native
            self._url = native.url
            if native.port:
                # From now on it is this port, for a restart.
                self._bind_port = native.port
            self._recorder.attach(recorded)
            _threads.running.add(self)
            return self

    def stop(self, *, timeout: float = 0.0) -> None:
        """Stops the broker: its threads have ended and its ports are free when this returns.

        Connected clients get up to ``timeout`` seconds to take and acknowledge what waits for
        them. Does nothing if the broker does not run.
        """
        self._check_fork()
        with self._life:
            if self._native is None:
                return
            if self._questions is not None and self._questions.is_answering():
                # This is a hook: it cannot answer what is asked while it waits here.
                self._questions.close()
            self._native.stop(timeout)
            _threads.running.discard(self)
            if self._answering is not None:
                self._answering.end()
                self._answering = self._questions = None
            callbacks, self._callbacks = self._callbacks, []
            self._recorder.pull()
        for callback in callbacks:
            callback._thread.end()

    def restart(self, *, clean: bool = False) -> Self:
        """Stops and starts again on the same port. Sessions and retained messages are kept, unless
        ``clean``; the log is kept always."""
        self._check_fork()
        with self._life:
            self.stop()
            if clean:
                self._store = _midge.Store()
            return self.start()

    def reset(self) -> None:
        """Disconnects every client and forgets all sessions, retained messages and the log. The
        port stays."""
        native = self._running()
        # A client that comes again at once is sent away again, but not for ever.
        for _ in range(10):
            if not (sessions := native.sessions()):
                break
            for session in sessions:
                native.clear_session(session["client_id"])
        native.clear_retained("#")
        self._recorder.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        await in_thread(self.stop)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        native = getattr(self, "_native", None)
        if native is None or not native.running or sys.is_finalizing():
            return
        _warn(f"unclosed {self!r}", ResourceWarning, source=self)
        self.stop()

    def __repr__(self) -> str:
        state = self._url or "in memory"
        return f"<midge.Broker {state if self.running else 'stopped'}>"

    @property
    def running(self) -> bool:
        """Whether it runs, in this process."""
        return self._native is not None and self._native.running

    def _running(self) -> _midge.Broker:
        if self._native is None:
            raise StoppedError("the broker has not been started")
        self._check_fork()
        return self._native

    def _addresses(self) -> set[object]:
        addresses: set[object] = set()
        if self.port:
            addresses.add((self._bind_host, self.port))
        if self._unix_path is not None:
            addresses.add(self._unix_path)
        return addresses

    # Where it is

    @property
    def host(self) -> str:
        """The address that clients connect to."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._bind_host, self._bind_host)

    @property
    def port(self) -> int:
        """The TCP port, 0 without one."""
        return self._bind_port or 0

    @property
    def url(self) -> str:
        """``mqtt://host:port``."""
        self._running()
        if not self.port:
            return self._url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt://{host}:{self.port}"

    @property
    def unix_path(self) -> str | None:
        """The path of the Unix socket."""
        return self._unix_path

    @property
    def env(self) -> dict[str, str]:
        """``MQTT_HOST``, ``MQTT_PORT`` and ``MQTT_URL``, for the environment of an application."""
        return {"MQTT_HOST": self.host, "MQTT_PORT": str(self.port), "MQTT_URL": self.url}

    def socket(self) -> _socket.socket:
        """A connected socket that speaks MQTT, without a port. The caller closes it."""
        import socket as _socket

        return _socket.socket(fileno=self._running().connect_fd())

    @property
    def clock(self) -> Clock:
        """The clock."""
        return Clock(self)

    @property
    def aio(self) -> AsyncView:
        """The methods that wait, for ``await`` on asyncio, uvloop, trio and anyio."""
        return AsyncView(self)

    # Inject

    def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        json: Any = _MISSING,
        qos: int = 0,
        retain: bool = False,
        properties: _midge.Properties | None = None,
        as_client: str | None = None,
        to: str | None = None,
    ) -> _midge.Receipt:
        """Publishes a message. When this returns every matching session has it, or a counted drop.

        ``as_client`` publishes in the name of a client, with its rights; ``to`` hands the message
        to one session, whatever it has subscribed to.

        >>> import midge
        >>> with midge.Broker() as broker:
        ...     broker.publish("pump/3", json={"rate": 5}, qos=1).matched
        0
        """
        if json is not _MISSING:
            if payload != b"":
                raise TypeError("payload and json: one of them")
            payload = jsonable(json)
        elif not isinstance(payload, (bytes, str)):
            try:
                payload = memoryview(payload).tobytes()
            except TypeError:
                kind = type(payload).__name__
                raise TypeError(f"payload: bytes, str or a buffer, not {kind}") from None
        return self._running().publish(topic, payload, qos, retain, properties, as_client, to)

    def disconnect(self, client_id: str, reason: int = 0x98) -> bool:
        """Disconnects a client, with an MQTT 5 reason code; its will is published. Returns whether
        it was connected."""
        return self._running().disconnect(client_id, reason)

    def clear_session(self, client_id: str) -> bool:
        """Ends a session and its connection. Returns whether there was one."""
        return self._running().clear_session(client_id)

    def clear_retained(self, filter: str = "#") -> int:
        """Removes retained messages; how many they were."""
        return self._running().clear_retained(filter)

    # Observe

    def subscribe(
        self, *filters: str, qos: int = 2, maxsize: int = 1024, retained: bool = True
    ) -> Subscription:
        """Subscribes this program, without a client. Retained messages come first, unless
        ``retained`` is false; ``maxsize`` messages wait at most, then the oldest is dropped."""
        if not filters:
            raise ValueError("filters: at least one topic filter")
        maxsize = whole("maxsize", maxsize, 1, sys.maxsize)
        return Subscription(self._running().subscribe(list(filters), qos, maxsize, retained))

    def watch(self, *names: str, maxsize: int = 4096) -> EventStream:
        """What happens from now on: the events of these names, or all."""
        maxsize = whole("maxsize", maxsize, 1, sys.maxsize)
        return EventStream(self._running().events(list(names), maxsize))

    @overload
    def on_message(
        self, filter: str, fn: OnMessage, *, qos: int = 2, maxsize: int = 1024
    ) -> Registration: ...
    @overload
    def on_message(
        self, filter: str, fn: None = None, *, qos: int = 2, maxsize: int = 1024
    ) -> Callable[[OnMessage], Registration]: ...
    def on_message(
        self, filter: str, fn: OnMessage | None = None, *, qos: int = 2, maxsize: int = 1024
    ) -> Registration | Callable[[OnMessage], Registration]:
        """Calls ``fn`` for each message, in order, on a daemon thread of its own. It may use the
        broker. Without ``fn`` it is a decorator."""
        if fn is None:
            return lambda fn: self.on_message(filter, fn, qos=qos, maxsize=maxsize)
        if not callable(fn):
            raise TypeError(f"fn: a callable, not {type(fn).__name__}")
        queue = self._running().subscribe([filter], qos, maxsize, True)
        registration = Registration(queue, fn)
        with self._life:
            self._callbacks = [known for known in self._callbacks if not known._thread.ended]
            self._callbacks.append(registration)
        return registration

    @property
    def messages(self) -> MessageLog:
        """Everything that was published since the start, oldest first, ``record`` at most."""
        self._check_fork()
        self._recorder.pull()
        with self._recorder.lock:
            return MessageLog(self._recorder.messages)

    @property
    def events(self) -> Log[_midge.Event]:
        """What happened since the start, oldest first, ``record`` at most."""
        self._check_fork()
        self._recorder.pull()
        with self._recorder.lock:
            return Log(self._recorder.events)

    def _check_fork(self) -> None:
        # Before any lock: in a forked child another thread of the parent may hold it for ever.
        if self._native is not None and self._native.forked:
            raise ForkedError("this broker runs in the parent process; start another one here")

    @property
    def retained(self) -> dict[str, _midge.Message]:
        """The retained messages by topic."""
        return {message.topic: message for message in self._running().retained("#")}

    @property
    def clients(self) -> dict[str, ClientInfo]:
        """The connected clients by client identifier."""
        return {row["client_id"]: ClientInfo(**row) for row in self._running().clients()}

    @property
    def sessions(self) -> dict[str, SessionInfo]:
        """The sessions by client identifier."""
        return {row["client_id"]: SessionInfo(**row) for row in self._running().sessions()}

    @property
    def subscriptions(self) -> list[SubscriptionInfo]:
        """The subscriptions of all clients."""
        return [SubscriptionInfo(**row) for row in self._running().subscriptions()]

    @property
    def stats(self) -> Stats:
        """Counters."""
        return Stats(**self._running().stats())
