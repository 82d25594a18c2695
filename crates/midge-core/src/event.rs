//! What can be observed: one list of events.

#[cfg(test)]
mod guide;
mod kind;
mod taps;

use std::sync::Arc;

use midge_codec::{QoS, ReasonCode, ReasonPacket, Version};

use crate::message::SharedMessage;
use crate::reason::{DisconnectReason, DropReason};
use crate::time::Tick;
pub use kind::{EventKind, EventMask};
#[cfg(shuttle)]
pub(crate) use taps::TapList;
pub(crate) use taps::Taps;

/// What happened, as seen by an observer.
///
/// Connections and sessions are told of in the order in which they begin and end, whichever threads
/// that happens on; so are subscriptions. A message that is just being handled for a connection when
/// that ends may be told of afterwards. Each connection and each session has a number of its own,
/// from 1 on and never used again: where two have the same client identifier, the numbers tell them
/// apart.
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
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A connection was refused or given up before a session was attached.
    #[non_exhaustive]
    ConnectionRefused {
        /// Client identifier as sent, empty if CONNECT did not come or could not be read.
        client_id: Arc<str>,
        /// Where it came from.
        peer: Arc<str>,
        /// Why.
        reason: DisconnectReason,
        /// User name, if CONNECT has one.
        username: Option<Arc<str>>,
        /// What the refusal says beyond the reason, if it comes with a text.
        text: Option<Arc<str>>,
        /// Number of the connection.
        connection: u64,
    },
    /// A connected client's connection ended.
    #[non_exhaustive]
    ClientDisconnected {
        /// Client identifier.
        client_id: Arc<str>,
        /// Why.
        reason: DisconnectReason,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
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
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
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
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A subscription was removed.
    #[non_exhaustive]
    Unsubscribed {
        /// Client identifier.
        client_id: Arc<str>,
        /// Topic filter as sent.
        filter: Arc<str>,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A message was accepted and routed.
    #[non_exhaustive]
    Published {
        /// The message.
        message: SharedMessage,
        /// Receivers that matched.
        matched: usize,
        /// Number of the publisher's connection, if a client published it.
        connection: Option<u64>,
        /// Number of the publisher's session, if a client published it.
        session: Option<u64>,
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
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A client finished the acknowledgement of a QoS 1 or 2 message.
    #[non_exhaustive]
    Acknowledged {
        /// Receiver.
        client_id: Arc<str>,
        /// The message.
        message: SharedMessage,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
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
        /// Number of the connection, if a message of a client was not taken.
        connection: Option<u64>,
        /// Number of the session, if it is about one.
        session: Option<u64>,
        /// Number of the message. A message that was not taken from its publisher has none.
        message_number: Option<u64>,
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
        /// Number of the session.
        session: u64,
    },
    /// A will was published.
    #[non_exhaustive]
    WillSent {
        /// Whose will.
        client_id: Arc<str>,
        /// Its topic name.
        topic: Arc<str>,
        /// Number of the session.
        session: u64,
        /// Number of the message.
        message_number: u64,
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
        /// Number of its connection, if it has one.
        connection: Option<u64>,
        /// Number of its session, if it has one.
        session: Option<u64>,
    },
}

impl Event {
    /// The kind of this event.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::ClientConnected { .. } => EventKind::ClientConnected,
            Self::ConnectionRefused { .. } => EventKind::ConnectionRefused,
            Self::ClientDisconnected { .. } => EventKind::ClientDisconnected,
            Self::Subscribed { .. } => EventKind::Subscribed,
            Self::SubscribeRefused { .. } => EventKind::SubscribeRefused,
            Self::Unsubscribed { .. } => EventKind::Unsubscribed,
            Self::Published { .. } => EventKind::Published,
            Self::Delivered { .. } => EventKind::Delivered,
            Self::Acknowledged { .. } => EventKind::Acknowledged,
            Self::Dropped { .. } => EventKind::Dropped,
            Self::RetainedExpired { .. } => EventKind::RetainedExpired,
            Self::SessionEnded { .. } => EventKind::SessionEnded,
            Self::WillSent { .. } => EventKind::WillSent,
            Self::ReasonReplaced { .. } => EventKind::ReasonReplaced,
        }
    }

    /// The client that it is about: the publisher of a published message, the receiver of another
    /// one.
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::ClientConnected { client_id, .. }
            | Self::ConnectionRefused { client_id, .. }
            | Self::ClientDisconnected { client_id, .. }
            | Self::Subscribed { client_id, .. }
            | Self::SubscribeRefused { client_id, .. }
            | Self::Unsubscribed { client_id, .. }
            | Self::Delivered { client_id, .. }
            | Self::Acknowledged { client_id, .. }
            | Self::SessionEnded { client_id, .. }
            | Self::WillSent { client_id, .. } => Some(client_id),
            Self::Dropped { client_id, .. } | Self::ReasonReplaced { client_id, .. } => {
                client_id.as_deref()
            }
            Self::Published { message, .. } => message.origin().client_id(),
            Self::RetainedExpired { .. } => None,
        }
    }

    /// The topic name of the message, or the topic filter of the subscription.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::Subscribed { filter, .. }
            | Self::SubscribeRefused { filter, .. }
            | Self::Unsubscribed { filter, .. } => Some(filter),
            Self::Dropped { topic, .. } | Self::WillSent { topic, .. } => Some(topic),
            _ => self.message().map(|message| message.topic()),
        }
    }

    /// The message, where the event keeps it.
    pub fn message(&self) -> Option<&SharedMessage> {
        match self {
            Self::Published { message, .. }
            | Self::Delivered { message, .. }
            | Self::Acknowledged { message, .. }
            | Self::RetainedExpired { message } => Some(message),
            _ => None,
        }
    }

    /// Number of the message ([`Message::id`](crate::Message::id)): the same in all events about
    /// one message.
    pub fn message_number(&self) -> Option<u64> {
        match self {
            Self::Dropped { message_number, .. } => *message_number,
            Self::WillSent { message_number, .. } => Some(*message_number),
            _ => self.message().map(|message| message.id()),
        }
    }

    /// Why a connection was refused or ended.
    pub fn disconnect_reason(&self) -> Option<&DisconnectReason> {
        match self {
            Self::ConnectionRefused { reason, .. } | Self::ClientDisconnected { reason, .. } => {
                Some(reason)
            }
            _ => None,
        }
    }

    /// Why a message was dropped.
    pub fn drop_reason(&self) -> Option<DropReason> {
        match self {
            Self::Dropped { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// The packet whose reason code was replaced.
    pub fn packet(&self) -> Option<ReasonPacket> {
        match self {
            Self::ReasonReplaced { packet, .. } => Some(*packet),
            _ => None,
        }
    }

    /// Why, in one word: the name of the [`DisconnectReason`] or [`DropReason`], or that of the packet
    /// whose reason code was replaced.
    pub fn reason(&self) -> Option<&'static str> {
        let ended = self.disconnect_reason().map(DisconnectReason::name);
        let dropped = self.drop_reason().map(DropReason::name);
        let packet = self.packet().map(ReasonPacket::name);

        ended.or(dropped).or(packet)
    }

    /// The MQTT reason code that the client was told or that is nearest.
    pub fn code(&self) -> Option<ReasonCode> {
        match self {
            Self::SubscribeRefused { reason, .. } => Some(*reason),
            Self::ReasonReplaced { sent, .. } => Some(*sent),
            _ => self.disconnect_reason()?.code(),
        }
    }

    /// The reason code that a hook or the host gave, where the client was told another one.
    pub fn given_code(&self) -> Option<ReasonCode> {
        match self {
            Self::ReasonReplaced { given, .. } => Some(*given),
            _ => None,
        }
    }

    /// What a refusal says beyond its reason.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::ConnectionRefused { text, .. } => text.as_deref(),
            _ => None,
        }
    }

    /// User name of a client that connected or was refused.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::ClientConnected { username, .. } | Self::ConnectionRefused { username, .. } => {
                username.as_deref()
            }
            _ => None,
        }
    }

    /// Where a client that connected or was refused comes from.
    pub fn peer(&self) -> Option<&str> {
        match self {
            Self::ClientConnected { peer, .. } | Self::ConnectionRefused { peer, .. } => Some(peer),
            _ => None,
        }
    }

    /// Protocol version of a client that connected.
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::ClientConnected { version, .. } => Some(*version),
            _ => None,
        }
    }

    /// Whether a client that connected has resumed a session.
    pub fn session_present(&self) -> Option<bool> {
        match self {
            Self::ClientConnected {
                session_present, ..
            } => Some(*session_present),
            _ => None,
        }
    }

    /// QoS: granted to a subscription, of a published message, of a delivery.
    pub fn qos(&self) -> Option<QoS> {
        match self {
            Self::Subscribed { qos, .. } | Self::Delivered { qos, .. } => Some(*qos),
            Self::Published { message, .. } => Some(message.qos()),
            _ => None,
        }
    }

    /// Receivers that a published message matched.
    pub fn matched(&self) -> Option<usize> {
        match self {
            Self::Published { matched, .. } => Some(*matched),
            _ => None,
        }
    }

    /// The number of the connection that it concerns, if any.
    pub fn connection(&self) -> Option<u64> {
        match self {
            Self::ClientConnected { connection, .. }
            | Self::ConnectionRefused { connection, .. }
            | Self::ClientDisconnected { connection, .. }
            | Self::Subscribed { connection, .. }
            | Self::SubscribeRefused { connection, .. }
            | Self::Unsubscribed { connection, .. }
            | Self::Delivered { connection, .. }
            | Self::Acknowledged { connection, .. } => Some(*connection),
            Self::Published { connection, .. }
            | Self::Dropped { connection, .. }
            | Self::ReasonReplaced { connection, .. } => *connection,
            Self::RetainedExpired { .. } | Self::SessionEnded { .. } | Self::WillSent { .. } => {
                None
            }
        }
    }

    /// The number of the session that it concerns, if any.
    pub fn session(&self) -> Option<u64> {
        match self {
            Self::ClientConnected { session, .. }
            | Self::ClientDisconnected { session, .. }
            | Self::Subscribed { session, .. }
            | Self::SubscribeRefused { session, .. }
            | Self::Unsubscribed { session, .. }
            | Self::Delivered { session, .. }
            | Self::Acknowledged { session, .. }
            | Self::SessionEnded { session, .. }
            | Self::WillSent { session, .. } => Some(*session),
            Self::Published { session, .. }
            | Self::Dropped { session, .. }
            | Self::ReasonReplaced { session, .. } => *session,
            Self::ConnectionRefused { .. } | Self::RetainedExpired { .. } => None,
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
            Self::ConnectionRefused {
                client_id,
                username,
                text,
                ..
            } => {
                let texts = [username.as_ref(), text.as_ref()].into_iter().flatten();
                client_id.len() + texts.map(|text| text.len()).sum::<usize>()
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
    /// Number of the event in its hub, from 1 on, whichever observers see it: what two of them saw can
    /// be put together by it. Events that have an order of their own are numbered in it.
    pub number: u64,
    /// When it happened.
    pub at: Tick,
    /// What happened.
    pub event: Event,
}

/// The client, connection and session of an event, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whom<'a> {
    pub(crate) client_id: Option<&'a Arc<str>>,
    pub(crate) connection: Option<u64>,
    pub(crate) session: Option<u64>,
}

impl<'a> Whom<'a> {
    pub(crate) const NOBODY: Self = Self {
        client_id: None,
        connection: None,
        session: None,
    };

    pub(crate) fn client(client_id: &'a Arc<str>) -> Self {
        Self {
            client_id: Some(client_id),
            ..Self::NOBODY
        }
    }
}

/// A message that is dropped, as far as it is told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost<'a> {
    pub(crate) topic: &'a str,
    pub(crate) number: Option<u64>,
}

impl<'a> Lost<'a> {
    /// A message that was not taken from its publisher: it has no number.
    pub(crate) fn untaken(topic: &'a str) -> Self {
        Self {
            topic,
            number: None,
        }
    }

    pub(crate) fn kept(message: &'a SharedMessage) -> Self {
        Self {
            topic: message.topic(),
            number: Some(message.id()),
        }
    }
}
