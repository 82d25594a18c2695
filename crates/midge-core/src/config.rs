//! Everything that can be set, with its default.

use midge_codec::{DecodeLimits, QoS, Version};

/// Settings of a hub. Every bound has a default that is safe for an embedded broker.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// Bounds.
    pub limits: Limits,
    /// What is offered to clients.
    pub mqtt: Mqtt,
    /// What happens to a client whose queue is full.
    pub overflow: Overflow,
    /// Leniencies, all off.
    pub lenient: Lenient,
    /// Extra strictness, all off.
    pub strict: Strict,
    /// `$SYS` topics.
    pub sys: Sys,
    /// TCP connections.
    pub tcp: TcpSettings,
    /// Hooks.
    pub hooks: HookSettings,
    /// What happens at shutdown.
    pub shutdown: Shutdown,
}

/// Bounds. 0 means "no limit" only where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections open at the same time, those before CONNECT included.
    pub connections: usize,
    /// Sessions kept, connected or not.
    pub sessions: usize,
    /// Largest packet that a client may send, in bytes; announced as Maximum Packet Size.
    pub packet_bytes: u32,
    /// Longest topic name or filter in bytes.
    pub topic_bytes: usize,
    /// Most levels of a topic name or filter.
    pub topic_levels: usize,
    /// Longest client identifier in bytes.
    pub client_id_bytes: usize,
    /// Subscriptions of one client.
    pub subscriptions_per_client: usize,
    /// Shared subscriptions of one client.
    pub shared_subscriptions_per_client: usize,
    /// Different patterns of wildcards among the filters of one client: the number of levels, and
    /// which of them are `+` or `#`. A message matches at most one filter of each pattern.
    pub wildcard_patterns_per_client: usize,
    /// Topic filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub filters_per_packet: usize,
    /// User properties in one packet, those of the will included.
    pub user_properties: usize,
    /// Largest CONNECT in bytes.
    pub connect_bytes: u32,
    /// QoS 1 and 2 messages in flight towards one client, whatever larger Receive Maximum it sends.
    pub inflight: u16,
    /// QoS 2 messages in flight from one client; announced as Receive Maximum if below 65535.
    pub receive_maximum: u16,
    /// Messages waiting for one client.
    pub session_queue_messages: usize,
    /// Bytes waiting for one client: queued messages and bytes not yet written.
    pub session_queue_bytes: usize,
    /// Bytes waiting for all clients together: messages, unwritten output, large payloads once each.
    pub total_queue_bytes: usize,
    /// Retained messages. Above it a message is delivered and not stored, and what its topic had is
    /// removed.
    pub retained_messages: usize,
    /// Bytes of all retained messages.
    pub retained_bytes: usize,
    /// Bytes held for clients in whatever form, 0 for no limit.
    pub total_bytes: usize,
    /// Time from accepting a connection to its CONNECT, in milliseconds.
    pub connect_timeout_ms: u64,
    /// PUBLISH packets a second of one client, 0 for no limit.
    pub publish_rate: u32,
    /// New connections a second, 0 for no limit.
    pub connect_rate: u32,
    /// Longest session expiry interval in seconds; `u32::MAX` leaves it to the clients.
    pub session_expiry_s: u32,
    /// Longest keep alive in seconds, 0 for no limit. Announced to 5.0 clients as Server Keep Alive;
    /// enforced for 3.1.1 and 3.1 clients, too, which have no packet for it.
    pub keep_alive_s: u16,
    /// Bytes of an incomplete packet that extend keep alive by one second; 0: any byte counts like a
    /// whole packet.
    pub arrival_rate: u32,
}

impl Limits {
    pub(crate) fn of_decoding(&self) -> DecodeLimits {
        DecodeLimits {
            user_properties: u32::try_from(self.user_properties).unwrap_or(u32::MAX),
            filters: u32::try_from(self.filters_per_packet).unwrap_or(u32::MAX),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            sessions: 100_000,
            packet_bytes: 16 << 20,
            topic_bytes: 65_535,
            topic_levels: 256,
            client_id_bytes: 1024,
            subscriptions_per_client: 100_000,
            shared_subscriptions_per_client: 1_000,
            wildcard_patterns_per_client: 128,
            filters_per_packet: 1_000,
            user_properties: 128,
            connect_bytes: 512 << 10,
            inflight: 1024,
            receive_maximum: u16::MAX,
            session_queue_messages: 100_000,
            session_queue_bytes: 64 << 20,
            total_queue_bytes: 1 << 30,
            retained_messages: 1_000_000,
            retained_bytes: 256 << 20,
            total_bytes: 2 << 30,
            connect_timeout_ms: 10_000,
            publish_rate: 0,
            connect_rate: 0,
            session_expiry_s: u32::MAX,
            keep_alive_s: 0,
            arrival_rate: 128,
        }
    }
}

impl Limits {
    /// Bounds for a device with a few MiB to spare: some dozens of clients, messages of some KiB.
    /// `docs/memory.md` has the table.
    pub fn device() -> Self {
        Self {
            connections: 64,
            sessions: 128,
            packet_bytes: 64 << 10,
            topic_bytes: 1024,
            topic_levels: 32,
            client_id_bytes: 128,
            subscriptions_per_client: 256,
            inflight: 64,
            receive_maximum: 64,
            session_queue_messages: 1000,
            session_queue_bytes: 256 << 10,
            total_queue_bytes: 2 << 20,
            retained_messages: 1000,
            retained_bytes: 512 << 10,
            total_bytes: 4 << 20,
            ..Self::default()
        }
    }
}

/// What the broker offers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Mqtt {
    /// Accept MQTT 3.1.
    pub v31: bool,
    /// Accept MQTT 3.1.1.
    pub v311: bool,
    /// Accept MQTT 5.0.
    pub v5: bool,
    /// Highest QoS that clients may publish with.
    pub maximum_qos: QoS,
    /// Whether retained messages are supported.
    pub retain_available: bool,
    /// Whether filters may have wildcards.
    pub wildcard_available: bool,
    /// Whether subscription identifiers are supported.
    pub subscription_identifiers_available: bool,
    /// Whether shared subscriptions are supported.
    pub shared_available: bool,
    /// Whether `$share/...` is a shared subscription for 3.1.1 and 3.1 clients too.
    pub shared_v3: bool,
    /// Topic aliases that a client may use.
    pub topic_alias_maximum: u16,
    /// Topic aliases used towards a client, at most what it allows.
    pub topic_alias_outbound: u16,
    /// Response Information for clients that ask for it, empty for none.
    pub response_information: String,
    /// Whether QoS 0 messages are queued for disconnected sessions.
    pub queue_qos0_offline: bool,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            v31: true,
            v311: true,
            v5: true,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_available: true,
            subscription_identifiers_available: true,
            shared_available: true,
            shared_v3: true,
            topic_alias_maximum: 32,
            topic_alias_outbound: 32,
            response_information: String::new(),
            queue_qos0_offline: false,
        }
    }
}

impl Mqtt {
    pub(crate) fn accepts(&self, version: Version) -> bool {
        match version {
            Version::V31 => self.v31,
            Version::V311 => self.v311,
            Version::V5 => self.v5,
        }
    }
}

/// Policy for a message that finds its client's queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The new message is dropped for this client.
    #[default]
    DropNewest,
    /// The oldest message that waits is dropped.
    DropOldest,
    /// The client is disconnected with reason 0x97; a persistent session keeps what it has.
    Disconnect,
}

/// Leniencies. Each is off by default and tolerates one thing that is forbidden otherwise.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Lenient {
    /// Tolerate more QoS 2 messages in flight than Receive Maximum allows.
    pub receive_maximum: bool,
    /// Let a client resume, take over or clear a session that another user made, if it has the client
    /// identifier. Otherwise it is refused. The user is the user name of CONNECT; clients without one
    /// are one user, too.
    pub session_user: bool,
}

/// Strictness beyond what the specification demands.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Strict {
    /// Refuse client identifiers of 3.1 clients that are longer than 23 bytes.
    pub v31_client_id: bool,
    /// Treat control characters in any text of a packet as malformed.
    pub control_characters: bool,
    /// Check payloads that are marked as UTF-8.
    pub payload_format: bool,
    /// Refuse what clients publish to topics that begin with `$`, all of them. Otherwise only `$share`
    /// is refused, and what goes to `$SYS` is dropped.
    pub dollar_publish: bool,
}

/// `$SYS` topics.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sys {
    /// Seconds between updates of the `$SYS` topics, 0 to have none.
    pub interval_s: u32,
}

impl Default for Sys {
    fn default() -> Self {
        Self { interval_s: 10 }
    }
}

/// TCP connections. Not used by the core, which does no IO.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpSettings {
    /// Idle seconds before the operating system probes the peer (`SO_KEEPALIVE`); 0 switches it off.
    pub keepalive_s: u16,
    /// Seconds between unanswered probes.
    pub keepalive_interval_s: u16,
    /// Unanswered probes after which the connection is lost.
    pub keepalive_probes: u8,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            keepalive_s: 120,
            keepalive_interval_s: 30,
            keepalive_probes: 4,
        }
    }
}

/// Settings for hooks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HookSettings {
    /// Time for a deferred answer in milliseconds; then the answer is no.
    pub timeout_ms: u64,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self { timeout_ms: 5000 }
    }
}

/// What happens at shutdown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shutdown {
    /// Whether the wills of connected clients are published when the broker stops.
    pub wills: bool,
    /// Milliseconds that a stop waits for hooks and callbacks beyond its drain; then they are
    /// abandoned.
    pub patience_ms: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            wills: true,
            patience_ms: 10_000,
        }
    }
}
