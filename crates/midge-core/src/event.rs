//! What can be observed: one list of events, one list of reasons for a drop.

use crate::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use crate::sync::RwLock;
use midge_codec::{QoS, ReasonCode, ReasonPacket, Version};

use crate::queue::Queue;
use crate::shared_message::SharedMessage;
use crate::time::Tick;

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

    /// More about it: what was wrong, or the reason code that somebody chose.
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

/// What happened, in order, as seen by an observer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client was accepted (CONNACK with success).
    #[non_exhaustive]
    ClientConnected {
        /// Client identifier.
        client_id: Arc<str>,
        /// User name.
        username: Option<Arc<str>>,
        /// Protocol version.
        version: Version,
        /// Where it came from, as the transport names it.
        peer: Arc<str>,
        /// Whether a session was resumed.
        session_present: bool,
    },
    /// A connection was refused or given up before a session was attached.
    #[non_exhaustive]
    ConnectionRefused {
        /// Client identifier, empty if CONNECT did not come or could not be read.
        client_id: Arc<str>,
        /// Where it came from.
        peer: Arc<str>,
        /// Why.
        reason: DisconnectReason,
    },
    /// A connected client's connection ended.
    #[non_exhaustive]
    ClientDisconnected {
        /// Client identifier.
        client_id: Arc<str>,
        /// Why.
        reason: DisconnectReason,
    },
    /// A subscription was made or replaced.
    #[non_exhaustive]
    Subscribed {
        /// Client identifier.
        client_id: Arc<str>,
        /// Topic filter as sent.
        filter: Arc<str>,
        /// Granted QoS.
        qos: QoS,
    },
    /// A subscription was refused.
    #[non_exhaustive]
    SubscribeRefused {
        /// Client identifier.
        client_id: Arc<str>,
        /// Topic filter as sent.
        filter: Arc<str>,
        /// Reason code in SUBACK.
        reason: ReasonCode,
    },
    /// A subscription was removed.
    #[non_exhaustive]
    Unsubscribed {
        /// Client identifier.
        client_id: Arc<str>,
        /// Topic filter as sent.
        filter: Arc<str>,
    },
    /// A message was accepted and routed.
    #[non_exhaustive]
    Published {
        /// The message.
        message: SharedMessage,
        /// Receivers that matched.
        matched: usize,
    },
    /// A message was written towards a client.
    #[non_exhaustive]
    Delivered {
        /// Receiver.
        client_id: Arc<str>,
        /// The message.
        message: SharedMessage,
        /// QoS of this delivery.
        qos: QoS,
    },
    /// A client finished the acknowledgement of a QoS 1 or 2 message.
    #[non_exhaustive]
    Acknowledged {
        /// Receiver.
        client_id: Arc<str>,
        /// The message.
        message: SharedMessage,
    },
    /// A message was dropped, for one receiver or (without one) altogether.
    #[non_exhaustive]
    Dropped {
        /// Receiver, if it is about one.
        client_id: Option<Arc<str>>,
        /// Topic name.
        topic: Arc<str>,
        /// Why.
        reason: DropReason,
    },
    /// A retained message expired.
    #[non_exhaustive]
    RetainedExpired {
        /// The message.
        message: SharedMessage,
    },
    /// A session ended: its expiry interval passed, or it was cleared or replaced.
    #[non_exhaustive]
    SessionEnded {
        /// Client identifier.
        client_id: Arc<str>,
    },
    /// A will was published.
    #[non_exhaustive]
    WillSent {
        /// Whose will.
        client_id: Arc<str>,
        /// Its topic name.
        topic: Arc<str>,
    },
    /// A reason code that a hook or the host gave cannot stand in the packet that it was given for:
    /// the client got another one. See [`Refusal`](crate::Refusal).
    #[non_exhaustive]
    ReasonReplaced {
        /// The client that got it, unless it is not known yet.
        client_id: Option<Arc<str>>,
        /// The packet.
        packet: ReasonPacket,
        /// The code as given.
        given: ReasonCode,
        /// The code that was sent.
        sent: ReasonCode,
    },
}

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMask(pub u32);

#[allow(missing_docs)] // named like the events
impl EventMask {
    pub const NONE: Self = Self(0);
    pub const CLIENT_CONNECTED: Self = Self(1);
    pub const CONNECTION_REFUSED: Self = Self(1 << 1);
    pub const CLIENT_DISCONNECTED: Self = Self(1 << 2);
    pub const SUBSCRIBED: Self = Self(1 << 3);
    pub const UNSUBSCRIBED: Self = Self(1 << 4);
    pub const PUBLISHED: Self = Self(1 << 5);
    pub const DELIVERED: Self = Self(1 << 6);
    pub const ACKNOWLEDGED: Self = Self(1 << 7);
    pub const DROPPED: Self = Self(1 << 8);
    pub const EXPIRED: Self = Self(1 << 9);
    pub const SESSION_ENDED: Self = Self(1 << 10);
    pub const WILL_SENT: Self = Self(1 << 11);
    pub const SUBSCRIBE_REFUSED: Self = Self(1 << 12);
    pub const REASON_REPLACED: Self = Self(1 << 13);
    /// Everything.
    pub const ALL: Self = Self((1 << 14) - 1);
    /// Everything but the events that come with each message.
    pub const LIFECYCLE: Self =
        Self(Self::ALL.0 & !(Self::PUBLISHED.0 | Self::DELIVERED.0 | Self::ACKNOWLEDGED.0));

    /// Whether any kind of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Event {
    /// The kind of this event.
    pub fn kind(&self) -> EventMask {
        match self {
            Self::ClientConnected { .. } => EventMask::CLIENT_CONNECTED,
            Self::ConnectionRefused { .. } => EventMask::CONNECTION_REFUSED,
            Self::ClientDisconnected { .. } => EventMask::CLIENT_DISCONNECTED,
            Self::Subscribed { .. } => EventMask::SUBSCRIBED,
            Self::SubscribeRefused { .. } => EventMask::SUBSCRIBE_REFUSED,
            Self::Unsubscribed { .. } => EventMask::UNSUBSCRIBED,
            Self::Published { .. } => EventMask::PUBLISHED,
            Self::Delivered { .. } => EventMask::DELIVERED,
            Self::Acknowledged { .. } => EventMask::ACKNOWLEDGED,
            Self::Dropped { .. } => EventMask::DROPPED,
            Self::RetainedExpired { .. } => EventMask::EXPIRED,
            Self::SessionEnded { .. } => EventMask::SESSION_ENDED,
            Self::WillSent { .. } => EventMask::WILL_SENT,
            Self::ReasonReplaced { .. } => EventMask::REASON_REPLACED,
        }
    }

    /// Bytes of the message or text that it keeps alive.
    pub fn size(&self) -> usize {
        match self {
            Self::Published { message, .. }
            | Self::Delivered { message, .. }
            | Self::Acknowledged { message, .. }
            | Self::RetainedExpired { message } => message.size(),
            Self::ClientConnected { username, .. } => {
                username.as_ref().map_or(0, |name| name.len())
            }
            Self::Dropped { topic, .. } | Self::WillSent { topic, .. } => topic.len(),
            Self::Subscribed { filter, .. }
            | Self::SubscribeRefused { filter, .. }
            | Self::Unsubscribed { filter, .. } => filter.len(),
            _ => 0,
        }
    }
}

/// An event with the moment when it happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Observed {
    /// When it happened.
    pub at: Tick,
    /// What happened.
    pub event: Event,
}

/// The observers of a hub. When nobody looks, an event costs one atomic load.
#[derive(Default)]
pub(crate) struct Taps {
    mask: AtomicU32,
    taps: RwLock<TapList>,
}

#[derive(Default)]
pub(crate) struct TapList {
    open: Vec<(EventMask, Arc<Queue<Observed>>)>,
    /// The hub has ended: no more are taken.
    ended: bool,
}

impl Taps {
    #[inline]
    pub(crate) fn mask(&self) -> u32 {
        self.mask.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, mask: EventMask, queue: Arc<Queue<Observed>>) {
        let mut taps = self.taps.write();
        if taps.ended {
            drop(taps);
            return queue.close();
        }
        taps.open.push((mask, queue));
        self.refresh(&taps);
    }

    /// Lets go of an observer.
    pub(crate) fn remove(&self, queue: &Arc<Queue<Observed>>) {
        self.remove_all(|known| Arc::ptr_eq(known, queue));
    }

    fn remove_all(&self, gone: impl Fn(&Arc<Queue<Observed>>) -> bool) {
        let mut taps = self.taps.write();
        let (removed, open): (Vec<_>, Vec<_>) =
            (taps.open.drain(..)).partition(|(_, queue)| gone(queue));
        taps.open = open;
        self.refresh(&taps);
        drop(taps);

        // What waits in it, and what the host gave it to call, may run code of the host.
        drop(removed);
    }

    fn refresh(&self, taps: &TapList) {
        let mask = taps.open.iter().fold(0, |all, (mask, _)| all | mask.0);
        self.mask.store(mask, Ordering::Relaxed);
    }

    /// Hands an event to everybody who wants it, with no lock held.
    pub(crate) fn emit(&self, at: Tick, event: Event) {
        let kind = event.kind();
        let mut closed = false;
        let mut wake = Vec::new();
        for (mask, queue) in &self.taps.read().open {
            if mask.intersects(kind) {
                let bytes = event.size();
                let event = event.clone();
                let (_, ready) = queue.push(Observed { at, event }, bytes);
                if ready {
                    wake.push(queue.clone());
                }
            }
            closed |= queue.is_closed();
        }
        for queue in wake {
            queue.wake();
        }
        if closed {
            self.remove_all(|queue| queue.is_closed());
        }
    }

    pub(crate) fn close(&self) {
        let taps = {
            let mut taps = self.taps.write();
            taps.ended = true;
            std::mem::take(&mut taps.open)
        };
        self.mask.store(0, Ordering::Relaxed);
        for (_, queue) in taps {
            queue.close();
        }
    }
}
