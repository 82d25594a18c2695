//! Why messages are dropped and connections end: one list of each, for events, counters and bindings.

use midge_codec::ReasonCode;

/// Why a message did not reach a receiver. The same names in events, counters and documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum DropReason {
    /// The client's queue is full (`limits.session_queue_*`).
    QueueFull,
    /// All queues together are full (`limits.total_queue_bytes`).
    TotalQueueFull,
    /// The packet is larger than the client's Maximum Packet Size (MQTT-3.1.2-25).
    PacketTooLarge,
    /// QoS 0 and the client is not connected.
    NotConnected,
    /// The message expired before it could be sent.
    Expired,
    /// A hook refused it for this receiver.
    RefusedByHook,
    /// The publisher may not publish to this topic.
    NotAuthorized,
    /// The session ended with the message still waiting.
    SessionEnded,
    /// The retained store is full (`limits.retained_*`): the message was delivered and not stored, and
    /// an older message of its topic is not served any more.
    RetainedFull,
    /// The publisher sends faster than `limits.publish_rate`.
    RateExceeded,
    /// An in-process subscriber's queue is full.
    ObserverFull,
    /// The receiver refused it with a reason code of 0x80 or above.
    RefusedByReceiver,
    /// No more memory may be held for clients (`limits.total_bytes`).
    MemoryFull,
    /// A client's message or will to `$SYS`: those topics are the broker's own.
    ReservedTopic,
}

impl DropReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::QueueFull,
        Self::TotalQueueFull,
        Self::PacketTooLarge,
        Self::NotConnected,
        Self::Expired,
        Self::RefusedByHook,
        Self::NotAuthorized,
        Self::SessionEnded,
        Self::RetainedFull,
        Self::RateExceeded,
        Self::ObserverFull,
        Self::RefusedByReceiver,
        Self::MemoryFull,
        Self::ReservedTopic,
    ];

    /// Its name in counters and bindings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TotalQueueFull => "total_queue_full",
            Self::PacketTooLarge => "packet_too_large",
            Self::NotConnected => "not_connected",
            Self::Expired => "expired",
            Self::RefusedByHook => "refused_by_hook",
            Self::NotAuthorized => "not_authorized",
            Self::SessionEnded => "session_ended",
            Self::RetainedFull => "retained_full",
            Self::RateExceeded => "rate_exceeded",
            Self::ObserverFull => "observer_full",
            Self::RefusedByReceiver => "refused_by_receiver",
            Self::MemoryFull => "memory_full",
            Self::ReservedTopic => "reserved_topic",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client sent DISCONNECT with this reason code.
    ByClient(ReasonCode),
    /// The connection was closed or broke without DISCONNECT.
    ConnectionLost,
    /// Nothing came for one and a half times the keep alive (MQTT-3.1.2-22).
    KeepAliveTimeout,
    /// No CONNECT came in time.
    ConnectTimeout,
    /// The same client identifier connected again (MQTT-3.1.4-3).
    TakenOver,
    /// The client broke the protocol.
    #[non_exhaustive]
    ProtocolViolation {
        /// The reason code that it was answered with.
        reason: ReasonCode,
        /// What was wrong.
        what: &'static str,
    },
    /// CONNECT was refused.
    Refused(ReasonCode),
    /// The host or a hook ended it.
    ByServer(ReasonCode),
    /// The client did not read fast enough and `overflow.session` says to disconnect.
    TooSlow,
    /// `limits.total_bytes` was passed and more was held for this connection than for any other.
    MemoryFull,
    /// The broker stops.
    Shutdown,
    /// Something in the broker failed; the connection was ended to contain it.
    InternalError,
}

impl DisconnectReason {
    /// Its name in logs and bindings.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ByClient(_) => "by_client",
            Self::ConnectionLost => "connection_lost",
            Self::KeepAliveTimeout => "keep_alive_timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::TakenOver => "taken_over",
            Self::ProtocolViolation { .. } => "protocol_violation",
            Self::Refused(_) => "refused",
            Self::ByServer(_) => "by_server",
            Self::TooSlow => "too_slow",
            Self::MemoryFull => "memory_full",
            Self::Shutdown => "shutdown",
            Self::InternalError => "internal_error",
        }
    }

    /// The reason code that was told or is nearest, if any.
    pub const fn code(&self) -> Option<ReasonCode> {
        match self {
            Self::ByClient(code) | Self::Refused(code) | Self::ByServer(code) => Some(*code),
            Self::ProtocolViolation { reason, .. } => Some(*reason),
            Self::KeepAliveTimeout => Some(ReasonCode::KeepAliveTimeout),
            Self::TakenOver => Some(ReasonCode::SessionTakenOver),
            Self::TooSlow | Self::MemoryFull => Some(ReasonCode::QuotaExceeded),
            Self::Shutdown => Some(ReasonCode::ServerShuttingDown),
            Self::InternalError => Some(ReasonCode::UnspecifiedError),
            Self::ConnectTimeout => Some(ReasonCode::MaximumConnectTime),
            Self::ConnectionLost => None,
        }
    }

    /// More about it: what was wrong, or the reason code that was chosen.
    pub const fn detail(&self) -> Option<&'static str> {
        match self {
            Self::ProtocolViolation { what, .. } => Some(what),
            Self::ByClient(code) | Self::Refused(code) | Self::ByServer(code) => Some(code.name()),
            _ => None,
        }
    }
}

/// As in a log: `by_client (Normal disconnection)`.
impl std::fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        match self.detail() {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}
