"""The options of ``docs/configuration.md`` as types, made by ``tests/python/options_types.py``.

Annotations are evaluated: as texts, each would be compiled when the package is imported.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from midge._hooks import Acl, Auth, Hooks, Intercept, Receive


class Options(TypedDict, total=False):
    """Every option by the keyword that stands for it."""

    threads: int
    """Threads of the broker. A connection stays with one of them, the one that has the fewest when
    it begins. With 0 the host polls the broker. Of no meaning on a runtime of the host.
    Accepted: 0 to 1024; 1 by default."""
    clock: Literal["system", "manual"]
    """The clock of the broker. A manual one stands still until the host moves it: for tests.
    Accepted: system or manual; system by default."""
    limits_preset: Literal["default", "device"]
    """All limits at once; what is set after it, or beside it in a file, changes single ones. device
    is for a few MiB of memory: the table in docs/memory.md. Accepted: default or device; default
    by default."""
    limits_connections: int
    """Connections open at the same time, those before CONNECT included. More are closed at once,
    counted as refused. Accepted: 1 or more; 10000 by default."""
    limits_sessions: int
    """Sessions kept, connected or not. More are refused with 0x97 Quota exceeded. Accepted: 1 or
    more; 100000 by default."""
    limits_packet_bytes: int
    """Largest packet that a client may send, in bytes; announced as Maximum Packet Size. Larger
    ones end the connection with 0x95. Accepted: 128 to 268435460; 16777216 by default."""
    limits_topic_bytes: int
    """Longest topic name or filter, in bytes. Accepted: 1 to 65535; 65535 by default."""
    limits_topic_levels: int
    """Most levels of a topic name or filter. Accepted: 1 to 1024; 256 by default."""
    limits_client_id_bytes: int
    """Longest client identifier, in bytes. Longer ones are refused with 0x85. Accepted: 23 to
    65535; 1024 by default."""
    limits_subscriptions_per_client: int
    """Subscriptions of one client. More are refused with 0x97 (0x80 before 5.0). Accepted: 1 or
    more; 100000 by default."""
    limits_shared_subscriptions_per_client: int
    """Shared subscriptions of one client, each of which may bring it a copy of a message. More are
    refused with 0x97 (0x80 before 5.0). Accepted: 1 or more; 1000 by default."""
    limits_wildcard_patterns_per_client: int
    """Different patterns of wildcards among the filters of one client: the number of levels, and
    which of them are `+` or `#`. A message matches at most one filter of each pattern, so this
    bounds its matches and the subscription identifiers that it carries. Filters with one more
    pattern are refused with 0x97 (0x80 before 5.0). Accepted: 1 or more; 128 by default."""
    limits_filters_per_packet: int
    """Topic filters in one SUBSCRIBE or UNSUBSCRIBE. One more ends the connection, with 0x97 in
    5.0. Accepted: 1 or more; 1000 by default."""
    limits_user_properties: int
    """User properties in one packet; those of a will are counted for themselves. One more ends the
    connection, with 0x97. Accepted: 0 or more; 128 by default."""
    limits_connect_bytes: int
    """Largest packet before a client is accepted, its CONNECT with user name, password and will, in
    bytes, if it is below `limits.packet_bytes`. Larger ones end the connection, with 0x95 in
    5.0. Accepted: 128 to 268435460; 524288 by default."""
    limits_inflight: int
    """QoS 1 and 2 messages in flight towards one client, unless its Receive Maximum is lower.
    Accepted: 1 to 65535; 1024 by default."""
    limits_receive_maximum: int
    """QoS 2 messages in flight from one client; announced as Receive Maximum if below 65535.
    Accepted: 1 to 65535; 65535 by default."""
    limits_session_queue_messages: int
    """Messages waiting for one client. What happens beyond is `overflow.session`. Accepted: 1 or
    more; 100000 by default."""
    limits_session_queue_bytes: int
    """Bytes waiting for one client: messages queued or in flight, and separately bytes not yet
    written. Accepted: 1024 or more; 67108864 by default."""
    limits_total_queue_bytes: int
    """Bytes waiting for all clients together: messages, unwritten output, large payloads once each.
    Accepted: 1024 or more; 1073741824 by default."""
    limits_retained_messages: int
    """Retained messages. More are delivered but not retained, and what their topic had is removed.
    Accepted: 0 or more; 1000000 by default."""
    limits_retained_bytes: int
    """Bytes of all retained messages. Accepted: 0 or more; 268435456 by default."""
    limits_total_bytes: int
    """Bytes held for clients in whatever form: connections, sessions, subscriptions, wills,
    incomplete packets, messages, unwritten output, retained messages. The table in
    docs/memory.md says what happens to each when it is reached. Accepted: 0 or more; 0 is no
    limit; 2147483648 by default."""
    limits_connect_timeout_ms: int
    """Time from accepting a connection to its CONNECT, authentication included, in milliseconds.
    Accepted: 1 to 86400000; 10000 by default."""
    limits_publish_rate: int
    """PUBLISH packets a second of one client, with one second's worth of burst. More end the
    connection with 0x96. Accepted: 0 or more; 0 is no limit; 0 by default."""
    limits_connect_rate: int
    """New connections a second, with one second's worth of burst. More are closed at once.
    Accepted: 0 or more; 0 is no limit; 0 by default."""
    limits_session_expiry_s: int
    """Longest session expiry interval, in seconds; a 5.0 client that asks for more is told in
    CONNACK. Accepted: 0 to 4294967295; the largest is no limit; 4294967295 by default."""
    limits_keep_alive_s: int
    """Longest keep alive of a client, in seconds; a client that asks for more, or for none, gets
    this one. Announced to 5.0 clients as Server Keep Alive. Clients of 3.1.1 and 3.1 cannot be
    told: they are disconnected after one and a half times this without a packet, PINGREQ
    included. Accepted: 0 to 65535; 0 is no limit; 0 by default."""
    limits_arrival_rate: int
    """Lowest rate, in bytes a second, at which an incomplete packet keeps its client alive: so many
    of its bytes extend keep alive by one second. A slower client is disconnected after one and a
    half keep alives, like a silent one. Accepted: 0 or more; 0: any byte counts like a packet;
    128 by default."""
    overflow_session: Literal["drop_newest", "drop_oldest", "disconnect"]
    """What happens when a client's queue is full. QoS 0 messages to a connected client are always
    the newest that is dropped, unless it is disconnected. Accepted: drop_newest, drop_oldest or
    disconnect; drop_newest by default."""
    mqtt_versions: str
    """Protocol versions that are accepted. Accepted: a list of 3.1, 3.1.1 and 5; 3.1,3.1.1,5 by
    default."""
    mqtt_maximum_qos: int
    """Highest QoS that clients may publish with and are granted. Accepted: 0, 1 or 2; 2 by default.
    """
    mqtt_retain_available: bool
    """Whether retained messages are supported. Accepted: true or false; true by default."""
    mqtt_wildcard_available: bool
    """Whether filters may have wildcards. Accepted: true or false; true by default."""
    mqtt_subscription_identifiers_available: bool
    """Whether subscription identifiers are supported. Accepted: true or false; true by default."""
    mqtt_shared_available: bool
    """Whether shared subscriptions are supported. Accepted: true or false; true by default."""
    mqtt_shared_v3: bool
    """Whether $share/... is a shared subscription for 3.1.1 and 3.1 clients too, or an ordinary
    filter. Accepted: true or false; true by default."""
    mqtt_topic_alias_maximum: int
    """Topic aliases that a client may use; announced as Topic Alias Maximum. Accepted: 0 to 65535;
    32 by default."""
    mqtt_topic_alias_outbound: int
    """Topic aliases used towards a client, at most what it allows. Accepted: 0 to 65535; 32 by
    default."""
    mqtt_response_information: str
    """Response Information for clients that ask for it; empty for none. Accepted: text of at most
    65535 bytes; empty by default."""
    mqtt_queue_qos0_offline: bool
    """Whether QoS 0 messages are queued for disconnected sessions. Accepted: true or false; false
    by default."""
    lenient_receive_maximum: bool
    """Tolerate more QoS 2 messages in flight than Receive Maximum allows, instead of 0x93.
    Accepted: true or false; false by default."""
    lenient_session_user: bool
    """Let a client resume, take over or clear a session that another user made, instead of refusing
    it with 0x87. The user is the user name of CONNECT; clients without one are one user, too.
    Accepted: true or false; false by default."""
    strict_v31_client_id: bool
    """Refuse client identifiers of 3.1 clients that are longer than 23 characters. Accepted: true
    or false; false by default."""
    strict_control_characters: bool
    """Refuse control characters in every text of a packet: 0x81, in a client identifier 0x85.
    Accepted: true or false; false by default."""
    strict_payload_format: bool
    """Check payloads that are marked as UTF-8; 0x99 if they are not. Accepted: true or false; false
    by default."""
    strict_dollar_publish: bool
    """Refuse what clients publish to topics that begin with $; otherwise $share alone, and $SYS is
    dropped. Accepted: true or false; false by default."""
    sys_interval_s: int
    """Seconds between updates of the $SYS topics. Accepted: 0 to 86400; 0 is never; 10 by default.
    """
    tcp_keepalive_s: int
    """Idle seconds of a TCP connection before the operating system probes the peer
    (`SO_KEEPALIVE`). Detects clients without keep alive that have vanished. Accepted: 0 to
    32767; 0 is never; 120 by default."""
    tcp_keepalive_interval_s: int
    """Seconds between unanswered TCP probes. Accepted: 1 to 32767; 30 by default."""
    tcp_keepalive_probes: int
    """Unanswered TCP probes after which a connection is lost. Accepted: 1 to 127; 4 by default."""
    hooks_timeout_ms: int
    """Time for a deferred answer of a hook, in milliseconds; then the answer is no. Accepted: 1 to
    3600000; 5000 by default."""
    shutdown_wills: bool
    """Whether the wills of connected clients are published when the broker stops. Accepted: true or
    false; true by default."""
    shutdown_patience_ms: int
    """Milliseconds that a stop waits for running hooks and callbacks beyond its drain. Then they
    are abandoned, named in a warning and counted. Accepted: 0 to 3600000; 10000 by default."""


class Settings(Options, total=False):
    """Every keyword of :class:`midge.Broker`."""

    host: str
    port: int | None
    unix_path: str | os.PathLike[str] | None
    protocols: Sequence[str] | None
    auth: Auth | None
    acl: Acl | None
    intercept: Intercept | None
    receive: Receive | None
    hooks: Sequence[Hooks]
    hooks_threads: int
    options: Mapping[str, object] | None
    record: int
    timeout: float
