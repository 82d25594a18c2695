//! The rows of a store: what it is given to keep, and gives back.

use std::sync::Arc;

use midge_codec::{QoS, SubscriptionOptions, Version};

use crate::message::{OwnedMessage, SharedMessage};
use crate::subscription::{SubRecord, split_share};
use crate::time::Tick;

/// A will as it is stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredWill {
    /// The message. Its expiry begins when it is published.
    pub message: OwnedMessage,
    /// Will delay interval in seconds.
    pub delay_s: u32,
}

impl StoredWill {
    /// A will that is published so many seconds after the connection has ended.
    pub const fn new(message: OwnedMessage, delay_s: u32) -> Self {
        Self { message, delay_s }
    }
}

/// A subscription as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredSubscription {
    /// Topic filter as sent, `$share/` included. A session has at most one subscription with it.
    pub filter: Arc<str>,
    /// Subscription options.
    pub options: SubscriptionOptions,
    /// Subscription identifier.
    pub subscription_id: Option<u32>,
    /// Whether it is a shared subscription. For a client of 3.1.1 or 3.1 a filter that begins with
    /// `$share/` may be one like any other.
    pub shared: bool,
}

impl StoredSubscription {
    /// A subscription without identifier, that is not shared.
    pub fn new(filter: impl Into<Arc<str>>, options: SubscriptionOptions) -> Self {
        Self {
            filter: filter.into(),
            options,
            subscription_id: None,
            shared: false,
        }
    }

    /// Share name and topic filter of a shared subscription.
    pub fn share(&self) -> Option<(&str, &str)> {
        split_share(&self.filter).filter(|_| self.shared)
    }

    pub(crate) fn of(filter: Arc<str>, record: SubRecord) -> Self {
        Self {
            filter,
            options: record.options,
            subscription_id: (record.id != 0).then_some(record.id),
            shared: record.shared,
        }
    }

    pub(crate) fn record(&self) -> SubRecord {
        SubRecord {
            options: self.options,
            id: self.subscription_id.unwrap_or_default(),
            shared: self.share().is_some(),
        }
    }
}

/// A message on its way to a session, as it is stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredDelivery {
    /// The message. Its id is the same for all receivers.
    pub message: SharedMessage,
    /// QoS of this delivery.
    pub qos: QoS,
    /// RETAIN flag of this delivery.
    pub retain: bool,
    /// Subscription identifiers.
    pub subscription_ids: Vec<u32>,
    /// The filter as sent (`$share/...`) of the shared subscription that it came through: another
    /// member gets it if the session ends before.
    pub group: Option<Arc<str>>,
    /// The message that another member gets, if a hook has replaced it for this one.
    pub original: Option<SharedMessage>,
    /// Packet identifier, 1 to 65535: the one that it is sent with, whenever that is. No two deliveries
    /// of one message in a session have the same.
    pub packet_id: u16,
    /// PUBREC has come: PUBREL is what is sent again.
    pub released: bool,
}

impl StoredDelivery {
    /// A message as it was published, with its packet identifier and without subscription identifiers.
    pub fn new(message: SharedMessage, qos: QoS, packet_id: u16) -> Self {
        Self {
            message,
            qos,
            retain: false,
            subscription_ids: Vec::new(),
            group: None,
            original: None,
            packet_id,
            released: false,
        }
    }
}

/// The row of a session, apart from what belongs to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredSession {
    /// Session expiry interval in seconds, never 0; `u32::MAX` for a session that does not expire.
    pub expiry_s: u32,
    /// When its last connection ended, in the time of the broker that wrote it; `None` while it has
    /// one.
    pub disconnected: Option<Tick>,
    /// User name of the client that made it, if it had one. It never changes.
    pub username: Option<Arc<str>>,
    /// Name of the listener of its last connection, empty if that is not known.
    pub listener: Arc<str>,
    /// Protocol version of its last connection.
    pub version: Version,
    /// The will of its last connection, until it is published or withdrawn.
    pub will: Option<StoredWill>,
    /// Packet identifiers of its messages derive from a sequence of numbers, `1 + number % 65535`.
    /// Numbers from this one on have not been used.
    pub identifiers: u64,
    /// Highest id of the messages in flight when its last connection ended, 0 for none. While it has
    /// one, every message may have been sent.
    pub sent: u64,
}

impl StoredSession {
    /// A session of a client without user name, which is connected with MQTT 5.0 and has no will.
    pub fn new(expiry_s: u32) -> Self {
        Self {
            expiry_s,
            disconnected: None,
            username: None,
            listener: "".into(),
            version: Version::V5,
            will: None,
            identifiers: 0,
            sent: 0,
        }
    }
}

/// A session as a store gives it back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecoveredSession {
    /// Its row.
    pub session: StoredSession,
    /// Subscriptions, in any order.
    pub subscriptions: Vec<StoredSubscription>,
    /// Messages, in the order in which they were taken.
    pub deliveries: Vec<StoredDelivery>,
    /// Open packet identifiers of QoS 2 messages from the client, in any order.
    pub open: Vec<u16>,
}

impl RecoveredSession {
    /// A session to which nothing belongs.
    pub const fn new(session: StoredSession) -> Self {
        Self {
            session,
            subscriptions: Vec::new(),
            deliveries: Vec::new(),
            open: Vec::new(),
        }
    }
}

/// Everything that a store gives back. What no client could have made of it (a topic that is none, a
/// packet identifier of 0) is left out.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Sessions by client identifier, in any order.
    pub sessions: Vec<(Arc<str>, RecoveredSession)>,
    /// Retained messages, in any order.
    pub retained: Vec<SharedMessage>,
    /// Highest message id that was ever used.
    pub last_message_id: u64,
    /// The moment of the last batch, in the time of the broker that wrote it. Expiry goes on from
    /// there.
    pub at: Tick,
}
