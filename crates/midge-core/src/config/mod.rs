//! Everything that can be set, with its default. An option stands here once: what is public in Rust and
//! its row in the table of options are made of the same lines.

mod table;

use midge_codec::{DecodeLimits, QoS, Version};

use table::section;
pub use table::{ConfigOption, OptionKind, whole};

/// Settings of a hub. Every bound has a default that is safe for an embedded broker. The path of a
/// field is the key of its option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Bounds.
    pub limits: Limits,
    /// What happens when a queue is full.
    pub overflow: OverflowSettings,
    /// What is offered to clients.
    pub mqtt: Mqtt,
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

/// All options of a [`Config`], in the order of the documentation.
pub fn config_options() -> impl Iterator<Item = &'static ConfigOption> {
    let sections: [&'static [ConfigOption]; 10] = [
        PRESET,
        Limits::OPTIONS,
        OverflowSettings::OPTIONS,
        Mqtt::OPTIONS,
        Lenient::OPTIONS,
        Strict::OPTIONS,
        Sys::OPTIONS,
        TcpSettings::OPTIONS,
        HookSettings::OPTIONS,
        Shutdown::OPTIONS,
    ];
    sections.into_iter().flatten()
}

/// The one option that is no field: it sets the whole of `limits`.
const PRESET: &[ConfigOption] = &[ConfigOption {
    key: "limits.preset",
    kind: OptionKind::Text,
    accepted: "default or device",
    doc: "All limits at once; what is set after it, or beside it in a file, changes single ones. device is for a few MiB of memory: the table in docs/memory.md.",
    set: |config, text| {
        config.limits = match text.trim() {
            "default" => Limits::default(),
            "device" => Limits::device(),
            _ => return None,
        };
        Some(())
    },
    get: |config| {
        let is_device = config.limits == Limits::device();
        if is_device { "device" } else { "default" }.to_owned()
    },
}];

/// Half of what a process can address on a processor of 32 bits would be too much beside all else that it holds.
const TOTAL_BYTES: usize = if cfg!(target_pointer_width = "32") {
    1 << 30
} else {
    2 << 30
};

section! {
    /// Bounds. 0 means "no limit" only where it says so.
    pub struct Limits: limits {
        /// Connections open at the same time, those before CONNECT included. More are closed at once,
        /// counted as refused.
        connections: usize = 10_000, 1.., "1 or more";
        /// Sessions kept, connected or not. More are refused with 0x97 Quota exceeded.
        sessions: usize = 100_000, 1.., "1 or more";
        /// Largest packet that a client may send, in bytes; announced as Maximum Packet Size. Larger
        /// ones end the connection with 0x95.
        packet_bytes: u32 = 16 << 20, 128..=268_435_460, "128 to 268435460";
        /// Longest topic name or filter, in bytes.
        topic_bytes: usize = 65_535, 1..=65_535, "1 to 65535";
        /// Most levels of a topic name or filter.
        topic_levels: usize = 256, 1..=1024, "1 to 1024";
        /// Longest client identifier, in bytes. Longer ones are refused with 0x85.
        client_id_bytes: usize = 1024, 23..=65_535, "23 to 65535";
        /// Subscriptions of one client. More are refused with 0x97 (0x80 before 5.0).
        subscriptions_per_client: usize = 100_000, 1.., "1 or more";
        /// Shared subscriptions of one client, each of which may bring it a copy of a message. More are
        /// refused with 0x97 (0x80 before 5.0).
        shared_subscriptions_per_client: usize = 1_000, 1.., "1 or more";
        /// Different patterns of wildcards among the filters of one client: the number of levels, and
        /// which of them are `+` or `#`. A message matches at most one filter of each pattern, so this
        /// bounds its matches and the subscription identifiers that it carries. Filters with one more
        /// pattern are refused with 0x97 (0x80 before 5.0).
        wildcard_patterns_per_client: usize = 128, 1.., "1 or more";
        /// Topic filters in one SUBSCRIBE or UNSUBSCRIBE. One more ends the connection, with 0x97 in
        /// 5.0.
        filters_per_packet: usize = 1_000, 1.., "1 or more";
        /// User properties in one packet; those of a will are counted for themselves. One more ends the
        /// connection, with 0x97.
        user_properties: usize = 128, 0.., "0 or more";
        /// Largest packet before a client is accepted, its CONNECT with user name, password and will,
        /// in bytes, if it is below `limits.packet_bytes`. Larger ones end the connection, with 0x95 in
        /// 5.0.
        connect_bytes: u32 = 512 << 10, 128..=268_435_460, "128 to 268435460";
        /// QoS 1 and 2 messages in flight towards one client, unless its Receive Maximum is lower.
        inflight: u16 = 1024, 1.., "1 to 65535";
        /// QoS 2 messages in flight from one client; announced as Receive Maximum if below 65535.
        receive_maximum: u16 = u16::MAX, 1.., "1 to 65535";
        /// Messages waiting for one client. What happens beyond is `overflow.session`.
        session_queue_messages: usize = 100_000, 1.., "1 or more";
        /// Bytes waiting for one client: messages queued or in flight, and separately bytes not yet
        /// written.
        session_queue_bytes: usize = 64 << 20, 1024.., "1024 or more";
        /// Bytes waiting for all clients together: messages, unwritten output, large payloads once
        /// each.
        total_queue_bytes: usize = 1 << 30, 1024.., "1024 or more";
        /// Retained messages. More are delivered but not retained, and what their topic had is removed.
        retained_messages: usize = 1_000_000, 0.., "0 or more";
        /// Bytes of all retained messages.
        retained_bytes: usize = 256 << 20, 0.., "0 or more";
        /// Bytes held for clients in whatever form: connections, sessions, subscriptions, wills,
        /// incomplete packets, messages, unwritten output, retained messages. The table in
        /// docs/memory.md says what happens to each when it is reached.
        total_bytes: usize = TOTAL_BYTES, 0.., "0 or more; 0 is no limit";
        /// Time from accepting a connection to its CONNECT, authentication included, in milliseconds.
        connect_timeout_ms: u64 = 10_000, 1..=86_400_000, "1 to 86400000";
        /// PUBLISH packets a second of one client, with one second's worth of burst. More end the
        /// connection with 0x96.
        publish_rate: u32 = 0, 0.., "0 or more; 0 is no limit";
        /// New connections a second, with one second's worth of burst. More are closed at once.
        connect_rate: u32 = 0, 0.., "0 or more; 0 is no limit";
        /// Longest session expiry interval, in seconds; a 5.0 client that asks for more is told in
        /// CONNACK.
        session_expiry_s: u32 = u32::MAX, 0.., "0 to 4294967295; the largest is no limit";
        /// Longest keep alive of a client, in seconds; a client that asks for more, or for none, gets
        /// this one. Announced to 5.0 clients as Server Keep Alive. Clients of 3.1.1 and 3.1 cannot be
        /// told: they are disconnected after one and a half times this without a packet, PINGREQ
        /// included.
        keep_alive_s: u16 = 0, 0.., "0 to 65535; 0 is no limit";
        /// Lowest rate, in bytes a second, at which an incomplete packet keeps its client alive: so many
        /// of its bytes extend keep alive by one second. A slower client is disconnected after one and a
        /// half keep alives, like a silent one.
        arrival_rate: u32 = 128, 0.., "0 or more; 0: any byte counts like a packet";
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

    pub(crate) fn of_decoding(&self) -> DecodeLimits {
        DecodeLimits {
            user_properties: u32::try_from(self.user_properties).unwrap_or(u32::MAX),
            filters: u32::try_from(self.filters_per_packet).unwrap_or(u32::MAX),
        }
    }
}

section! {
    /// What happens when a queue is full.
    pub struct OverflowSettings: overflow {
        /// What happens when a client's queue is full. QoS 0 messages to a connected client are always
        /// the newest that is dropped, unless it is disconnected.
        session: Overflow = Overflow::DropNewest;
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

section! {
    /// What the broker offers.
    pub struct Mqtt: mqtt {
        /// Protocol versions that are accepted.
        versions: Versions = Versions::default();
        /// Highest QoS that clients may publish with and are granted.
        maximum_qos: QoS = QoS::ExactlyOnce;
        /// Whether retained messages are supported.
        retain_available: bool = true;
        /// Whether filters may have wildcards.
        wildcard_available: bool = true;
        /// Whether subscription identifiers are supported.
        subscription_identifiers_available: bool = true;
        /// Whether shared subscriptions are supported.
        shared_available: bool = true;
        /// Whether $share/... is a shared subscription for 3.1.1 and 3.1 clients too, or an ordinary
        /// filter.
        shared_v3: bool = true;
        /// Topic aliases that a client may use; announced as Topic Alias Maximum.
        topic_alias_maximum: u16 = 32, 0.., "0 to 65535";
        /// Topic aliases used towards a client, at most what it allows.
        topic_alias_outbound: u16 = 32, 0.., "0 to 65535";
        /// Response Information for clients that ask for it; empty for none.
        response_information: String = String::new();
        /// Whether QoS 0 messages are queued for disconnected sessions.
        queue_qos0_offline: bool = false;
    }
}

/// The versions of MQTT that a broker accepts, all that the build has by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// MQTT 3.1.
    pub v31: bool,
    /// MQTT 3.1.1.
    pub v311: bool,
    /// MQTT 5.0.
    pub v5: bool,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            v31: cfg!(feature = "mqtt31"),
            v311: true,
            v5: true,
        }
    }
}

impl Versions {
    pub(crate) fn accept(self, version: Version) -> bool {
        match version {
            Version::V31 => self.v31,
            Version::V311 => self.v311,
            Version::V5 => self.v5,
        }
    }
}

section! {
    /// Leniencies. Each is off by default and tolerates one thing that is forbidden otherwise.
    pub struct Lenient: lenient {
        /// Tolerate more QoS 2 messages in flight than Receive Maximum allows, instead of 0x93.
        receive_maximum: bool = false;
        /// Let a client resume, take over or clear a session that another user made, instead of refusing
        /// it with 0x87. The user is the user name of CONNECT; clients without one are one user, too.
        session_user: bool = false;
    }
}

section! {
    /// Strictness beyond what the specification demands.
    pub struct Strict: strict {
        /// Refuse client identifiers of 3.1 clients that are longer than 23 characters.
        v31_client_id: bool = false;
        /// Refuse control characters in every text of a packet: 0x81, in a client identifier 0x85.
        control_characters: bool = false;
        /// Check payloads that are marked as UTF-8; 0x99 if they are not.
        payload_format: bool = false;
        /// Refuse what clients publish to topics that begin with $; otherwise $share alone, and $SYS is
        /// dropped.
        dollar_publish: bool = false;
    }
}

section! {
    /// `$SYS` topics.
    pub struct Sys: sys {
        /// Seconds between updates of the $SYS topics.
        interval_s: u32 = if cfg!(feature = "sys") { 10 } else { 0 }, 0..=86_400, "0 to 86400; 0 is never";
    }
}

section! {
    /// TCP connections. Not used by the core, which does no IO.
    pub struct TcpSettings: tcp {
        /// Idle seconds of a TCP connection before the operating system probes the peer
        /// (`SO_KEEPALIVE`). Detects clients without keep alive that have vanished.
        keepalive_s: u16 = 120, 0..=32_767, "0 to 32767; 0 is never";
        /// Seconds between unanswered TCP probes.
        keepalive_interval_s: u16 = 30, 1..=32_767, "1 to 32767";
        /// Unanswered TCP probes after which a connection is lost.
        keepalive_probes: u8 = 4, 1..=127, "1 to 127";
    }
}

section! {
    /// Settings for hooks.
    pub struct HookSettings: hooks {
        /// Time for a deferred answer of a hook, in milliseconds; then the answer is no.
        timeout_ms: u64 = 5000, 1..=3_600_000, "1 to 3600000";
    }
}

section! {
    /// What happens at shutdown.
    pub struct Shutdown: shutdown {
        /// Whether the wills of connected clients are published when the broker stops.
        wills: bool = true;
        /// Milliseconds that a stop waits for running hooks and callbacks beyond its drain. Then they
        /// are abandoned, named in a warning and counted.
        patience_ms: u64 = 10_000, 0..=3_600_000, "0 to 3600000";
    }
}
