"""The broker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from midge import _midge, _threads
from midge._aio import AsyncView
from midge._callbacks import OnMessage, Registration
from midge._config import (
    check_host,
    check_options,
    resolve,
    whole,
)
from midge._errors import ConfigError, StartError
from midge._expectations import Expectations
from midge._hooks import (
    Acl,
    Auth,
    Chain,
    Hooks,
    Intercept,
    Pool,
    Receive,
    is_coroutine_function,
)
from midge._life import Life
from midge._log import RECORD_BYTES, RECORDED, Log, MessageLog, Recorder
from midge._matcher import jsonable
from midge._pull import EventStream, Pull, Subscription
from midge._run import Run
from midge._types import ClientInfo, Failure, SessionInfo, Stats, SubscriptionInfo

if TYPE_CHECKING:
    import socket as _socket
    from typing import Unpack

    from midge._options import Options

__tracebackhide__ = True

Payload: TypeAlias = "bytes | bytearray | memoryview | str"
P = TypeVar("P", bound=Pull[Any])

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
        if self._broker._settings.get("clock") != "manual":
            raise ConfigError('clock: only Broker(clock="manual") has a clock that can be moved')
        self._broker._running().advance(seconds)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self._broker._running().now()


class Broker(Life, Expectations):
    """A complete MQTT 5.0, 3.1.1 and 3.1 broker in this process.

    Every method may be called from any thread. Port 0 takes a free port; with ``port=None`` it
    listens on none: then clients come in by ``unix_path`` or :meth:`socket`.

    Hooks (``auth``, ``acl``, ``intercept``, ``receive``) are answered by up to ``hooks_threads``
    threads, which may run them at the same time; ``auth`` and ``acl`` may be coroutines. Further
    sets of hooks (``hooks``, of :class:`Hooks`) are asked behind those, in the given order.

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
        receive: Receive | None = None,
        hooks: Sequence[Hooks] = (),
        hooks_threads: int = 8,
        options: Mapping[str, object] | None = None,
        record: int = 10_000,
        timeout: float = 2.0,
        **keywords: Unpack[Options],
    ) -> None:
        super().__init__()

        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout < 0:
            raise ConfigError(f"timeout: a number of seconds, 0 or more, not {timeout!r}")
        self._bind_host = check_host(host)
        self._bind_port = None if port is None else whole("port", port, 0, 65535)
        self._unix_path = None if unix_path is None else os.path.abspath(unix_path)
        self._settings = check_options(protocols, options, keywords)

        patience = int(self._settings.get("shutdown.patience_ms")) / 1000
        self._failures = _threads.Failures(patience)
        hooks_threads = whole("hooks_threads", hooks_threads, 1, 1024)
        first = Hooks(auth=auth, acl=acl, intercept=intercept, receive=receive)
        self._hooks = Chain(first, hooks, hooks_threads, self._failures)

        self.timeout: float = float(timeout)
        self._recorder = Recorder(whole("record", record, 0, sys.maxsize))
        self._url = ""

    def _listeners(self) -> list[str]:
        listen = []
        if self._bind_port is not None:
            host = f"[{self._bind_host}]" if ":" in self._bind_host else self._bind_host
            listen.append(f"tcp://{host}:{self._bind_port}")
        if self._unix_path is not None:
            listen.append(f"unix://{self._unix_path}")
        return listen

    def _begin(self, run: Run, pulls: Sequence[Pull[Any]]) -> None:
        if self._hooks:
            run.pool = Pool(self._hooks)
            run.pool.begin()

        listen = self._listeners()
        messages = [pull for pull in pulls if isinstance(pull, Subscription)]
        events = [pull for pull in pulls if isinstance(pull, EventStream)]
        kinds = RECORDED if self._recorder.limit else []
        try:
            run.native, recorded, subscriptions, watches = _midge.start(
                self._settings,
                listen,
                (kinds, max(self._recorder.limit, 1), RECORD_BYTES),
                None if run.pool is None else run.pool.questions,
                self._kept,
                [pull._again for pull in messages],
                [pull._again for pull in events],
            )
        except (ConfigError, StartError):
            if self._bind_port is not None:
                resolve(self._bind_host, listen[0])
            raise

        self._native = native = run.native
        self._url = native.url
        if native.port:
            # From now on it is this port, for a restart.
            self._bind_port = native.port
        self._addresses = native.addresses()
        self._recorder.attach(recorded)
        for subscription, queue in zip(messages, subscriptions, strict=True):
            subscription._move(queue)
        for stream, watch in zip(events, watches, strict=True):
            stream._move(watch)
        with self._life:
            _threads.running.add(self)

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

    def poll(self, timeout: float | None = 0.0) -> bool:
        """With ``threads=0``: does what there is to do for the broker, on this thread, or waits up to
        ``timeout`` seconds for it (``None``: without limit). Whether something was done.

        One call does a bounded part of what there is. One thread at a time polls. ``RuntimeError`` if
        another one does, in a hook or callback, or if the broker has threads; :class:`StoppedError` if it
        does not run. Methods that wait poll meanwhile, on the thread that has started the broker or has
        polled it.

        >>> import midge
        >>> with midge.Broker(threads=0) as broker:
        ...     while broker.poll():
        ...         pass
        """
        return self._running().poll(timeout)

    def fileno(self) -> int:
        """With ``threads=0``: a descriptor that is readable while :meth:`poll` has something to do, so
        that a selector takes the broker as it takes a socket. It stays the broker's, until that stops.
        """
        return self._running().poll_fd()

    @property
    def poll_timeout(self) -> float | None:
        """With ``threads=0``: seconds until :meth:`poll` must be called although the descriptor does not
        say so. ``None`` if there is no such moment."""
        return self._running().poll_timeout()

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
        if as_client is not None and self._hooks.needs_loop:
            self._check_loop()
        return self._running().publish(topic, payload, qos, retain, properties, as_client, to)

    def _check_loop(self) -> None:
        loop = self._hooks.loop
        if loop is not None and loop.is_current():
            raise RuntimeError(
                "as_client: the hook that is asked is a coroutine of this very event loop, which "
                "would wait for itself; publish on another thread"
            )

    def disconnect(self, client_id: str, reason: int = 0x98) -> bool:
        """Disconnects a client, with an MQTT 5 reason code of 0x80 or above; its will is published.
        Returns whether it was connected."""
        return self._running().disconnect(client_id, whole("reason", reason, 0x80, 0xFF))

    def clear_session(self, client_id: str) -> bool:
        """Ends a session and its connection. Returns whether there was one."""
        return self._running().clear_session(client_id)

    def clear_retained(self, filter: str = "#") -> int:
        """Removes the retained messages that match a filter; how many they were."""
        return self._running().clear_retained(filter)

    # Observe

    def subscribe(
        self, *filters: str, qos: int = 2, maxsize: int = 1024, retained: bool = True
    ) -> Subscription:
        """Subscribes this program, without a client. Retained messages come first, unless
        ``retained`` is false; ``maxsize`` messages wait at most, then the oldest is dropped."""
        if not filters:
            raise ValueError("filters: at least one topic filter")
        return self._subscribe(filters, qos, maxsize, retained)

    def _subscribe(
        self, filters: Sequence[str], qos: int, maxsize: int, retained: bool
    ) -> Subscription:
        maxsize = whole("maxsize", maxsize, 1, sys.maxsize)
        queue = self._running().subscribe(list(filters), qos, maxsize, retained)
        return self._known(Subscription(queue, (list(filters), qos, maxsize), maxsize))

    def _known(self, pull: P) -> P:
        """Remembers what a restart keeps and a reset closes."""
        with self._life:
            self._pulls.add(pull)
        return pull

    def watch(self, *names: str, maxsize: int = 4096) -> EventStream:
        """What happens from now on: the events of these names, or all."""
        maxsize = whole("maxsize", maxsize, 1, sys.maxsize)
        queue = self._running().events(list(names), maxsize)
        return self._known(EventStream(queue, (list(names), maxsize), maxsize))

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
        broker. Without ``fn`` it is a decorator. What it raises is in :attr:`failures` and goes to
        :func:`threading.excepthook`; the next message is handed to it all the same."""
        if fn is None:
            return lambda fn: self.on_message(filter, fn, qos=qos, maxsize=maxsize)
        if not callable(fn):
            raise TypeError(f"fn: a callable, not {type(fn).__name__}")
        if is_coroutine_function(fn):
            raise TypeError(
                "fn: a plain function, not a coroutine; in asynchronous code use "
                "`async for message in broker.subscribe(...)`"
            )

        registration = Registration(
            self._subscribe([filter], qos, maxsize, True), fn, self._failures
        )
        with self._life:
            self._callbacks = [known for known in self._callbacks if not known._thread.ended]
            self._callbacks.append(registration)
        return registration

    @property
    def messages(self) -> MessageLog:
        """What was published since the start, oldest first: as much as ``record`` events and 64 MiB
        of payloads leave of it."""
        self._check_fork()
        return MessageLog(self._recorder.messages())

    @property
    def events(self) -> Log[_midge.Event]:
        """What happened since the start, oldest first: ``record`` events at most, which carry 64 MiB
        of payloads at most."""
        self._check_fork()
        return Log(self._recorder.events())

    @property
    def failures(self) -> list[Failure]:
        """What callbacks and hooks have raised since the start, oldest first, 100 at most."""
        return self._failures.all()

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
