"""Values that the broker hands out and takes.

No dataclasses, and annotations that are evaluated: code that is made of texts would be most of the
time that the import takes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypedDict, final

from midge import _midge


class _Any:
    """Equal to everything."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "ANY"

    def __reduce__(self) -> str:
        return "ANY"


ANY: Any = _Any()
"""Equal to everything: the default of what is not asked for."""


class ClientInfo(NamedTuple):
    """A connected client. ``connection`` and ``session`` are the numbers that events have."""

    client_id: str
    username: str | None
    peer: str
    version: str
    connection: int
    session: int
    subscriptions: int
    queued: int
    inflight: int


class SessionInfo(NamedTuple):
    """A session, connected or not. ``username`` is of the client that made it: no other user may have
    it. ``number`` is what events have as ``session``; ``expiry`` is in seconds, ``None`` for never."""

    client_id: str
    username: str | None
    number: int
    connected: bool
    expiry: int | None
    subscriptions: int
    queued: int
    queued_bytes: int
    inflight: int
    has_will: bool


class SubscriptionInfo(NamedTuple):
    """A subscription of a client."""

    client_id: str
    filter: str
    qos: int
    no_local: bool
    retain_as_published: bool
    identifier: int | None


class Stats(NamedTuple):
    """Counters, as ``$SYS`` has them; ``dropped`` is by reason, ``memory`` is
    what is held for clients, in bytes: ``total`` and its parts as in ``docs/memory.md``."""

    uptime_ms: int
    connections: int
    connects: int
    refused: int
    clients: int
    clients_maximum: int
    sessions: int
    sessions_expired: int
    subscriptions: int
    shared_subscriptions: int
    retained: int
    retained_bytes: int
    queued_messages: int
    queued_bytes: int
    packets_received: int
    packets_sent: int
    publish_received: int
    publish_bytes_received: int
    publish_sent: int
    publish_bytes_sent: int
    bytes_received: int
    bytes_sent: int
    panics: int
    left_running: int
    dropped: Mapping[str, int]
    memory: Mapping[str, int]


class Refuse:
    """A no with an MQTT 5 reason code of 0x80 or above and a text for the client."""

    __slots__ = ("reason", "text")
    __match_args__ = ("reason", "text")

    def __init__(self, reason: int = 0x87, text: str | None = None) -> None:
        if isinstance(reason, bool) or not isinstance(reason, int) or not 0x80 <= reason <= 0xFF:
            shown = f"{reason:#04x}" if isinstance(reason, int) else repr(reason)
            raise ValueError(f"reason: a reason code of 0x80 or above, not {shown}")
        if text is not None and not isinstance(text, str):
            raise TypeError(f"text: a str or None, not {type(text).__name__}")
        self.reason: int = reason
        self.text: str | None = text

    def __repr__(self) -> str:
        return f"Refuse({self.reason:#04x}, {self.text!r})"


@final
class Pass:
    """The type of ``PASS``, the answer of a hook that has no opinion: the next set of hooks is asked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PASS"

    def __reduce__(self) -> str:
        return "PASS"


PASS: Final[Pass] = Pass()
"""No opinion: the next of several sets of hooks is asked."""


class ConnectInfo(NamedTuple):
    """A client that asks to connect."""

    client_id: str
    username: str | None
    password: bytes | None
    peer: str
    version: str
    clean_start: bool
    keep_alive: int
    user_properties: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        # The password stays out of logs.
        return f"ConnectInfo({self.client_id!r}, username={self.username!r}, peer={self.peer!r})"


class AclRequest(NamedTuple):
    """A client that asks to publish to a topic, or to subscribe to a filter. ``topic`` is that topic
    or filter; of a shared subscription it is what stands behind the group, which is in ``group``."""

    action: Literal["publish", "subscribe"]
    client_id: str
    username: str | None
    peer: str
    topic: str
    qos: int
    retain: bool
    group: str | None = None

    def reaches(self, filter: str) -> bool:
        """Whether it is about any topic that ``filter`` matches. A subscription to ``#``,
        ``+/pump`` or ``secret/#`` reaches ``"secret/#"``, though only one of them begins with it.
        What begins with ``$share/group/`` counts without that, also if an older client gives it no
        meaning. Raises ``ValueError`` for what is no topic filter; in a hook that is a no.

        >>> import midge
        >>> ask = midge.AclRequest("subscribe", "c", None, "", "+/pump", 0, False)
        >>> ask.reaches("secret/#"), ask.reaches("public/lamp")
        (True, False)
        """
        return _midge.filters_overlap(self.topic, filter)


class ReceiveRequest(NamedTuple):
    """A client that is about to receive a message, because of whichever subscription. The
    publisher is not known here: its ``client_id`` is ``None``.

    The session of a client that is not connected is asked about, too: ``peer`` and ``connection``,
    the number that events have, are then of its last connection; ``""`` and 0 if this broker has
    seen none."""

    client_id: str
    message: _midge.Message
    username: str | None = None
    peer: str = ""
    connection: int = 0


class Failure(NamedTuple):
    """What a callback or a hook has raised. ``who`` says which one, ``text`` is the traceback."""

    who: str
    text: str


Where: TypeAlias = Callable[[_midge.Message], object]


class Like(TypedDict, total=False):
    """What a message is like, besides its topic and payload, and how long it may take."""

    json: object
    qos: object
    retain: object
    client: object
    where: Where | None
    timeout: float | None
