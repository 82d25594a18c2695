//! The seam to durable storage: what changes, in order, and how far it is safe.
//!
//! The hub records an [`Op`] under the lock that guards the change, so that their order is the
//! order of the changes. At the end of each batch they go to the [`Store`] together. What a client
//! is told in that batch (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK) leaves only when the
//! store says that the batch is committed.
//!
//! Only sessions with an expiry above 0 and retained messages are recorded.

mod journal;
mod memory;

use std::sync::Arc;

use midge_codec::QoS;

pub(crate) use journal::Journal;
pub use memory::MemoryStore;

use crate::message::{OwnedMessage, SharedMessage};
use crate::subscription::SubRecord;
use crate::time::Tick;

/// A place in the order of all batches. Later batches have higher positions.
pub type Position = u64;

/// A will as it is stored.
#[derive(Clone, Debug)]
pub struct StoredWill {
    /// The message.
    pub message: OwnedMessage,
    /// Will delay interval in seconds.
    pub delay_s: u32,
}

/// A subscription as it is stored.
#[derive(Clone, Debug)]
pub struct StoredSubscription {
    /// Topic filter as sent, `$share/` included.
    pub filter: Arc<str>,
    pub(crate) record: SubRecord,
}

/// A message on its way to a session, as it is stored.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// The message. Its id is the same for all receivers.
    pub message: SharedMessage,
    /// QoS of this delivery.
    pub qos: QoS,
    /// RETAIN flag of this delivery.
    pub retain: bool,
    /// Subscription identifiers.
    pub subscription_ids: Vec<u32>,
    /// Packet identifier, once sent.
    pub packet_id: Option<u16>,
    /// PUBREC has come: PUBREL is what is sent again.
    pub released: bool,
}

/// One change. Client identifiers name sessions, message ids name deliveries within a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Op {
    /// A session begins, or its expiry or will changes.
    Session {
        /// Client identifier.
        client_id: Arc<str>,
        /// User name of the client that made it, if it had one. It never changes.
        username: Option<Arc<str>>,
        /// Session expiry interval in seconds, never 0.
        expiry_s: u32,
        /// The will of the present connection.
        will: Option<StoredWill>,
    },
    /// A session has ended, with all that belongs to it.
    SessionEnded {
        /// Client identifier.
        client_id: Arc<str>,
    },
    /// A subscription is made or replaced.
    Subscribed {
        /// Client identifier.
        client_id: Arc<str>,
        /// The subscription.
        subscription: StoredSubscription,
    },
    /// A subscription is gone.
    Unsubscribed {
        /// Client identifier.
        client_id: Arc<str>,
        /// Topic filter as sent.
        filter: Arc<str>,
    },
    /// A session has taken a message. A message with several receivers comes once for each, with
    /// the same id.
    Taken {
        /// Client identifier.
        client_id: Arc<str>,
        /// The delivery.
        delivery: StoredDelivery,
    },
    /// A message was sent with this packet identifier for the first time.
    Sent {
        /// Client identifier.
        client_id: Arc<str>,
        /// Message id.
        message_id: u64,
        /// Packet identifier.
        packet_id: u16,
    },
    /// PUBREC has come for a message.
    Released {
        /// Client identifier.
        client_id: Arc<str>,
        /// Message id.
        message_id: u64,
        /// Packet identifier.
        packet_id: u16,
    },
    /// A session is done with a message: acknowledged, dropped, expired.
    Done {
        /// Client identifier.
        client_id: Arc<str>,
        /// Message id.
        message_id: u64,
        /// Packet identifier, if it was sent: a session may have the same message twice, through a
        /// shared and a plain subscription.
        packet_id: Option<u16>,
    },
    /// A QoS 2 message of the client was taken; its packet identifier is open until PUBREL.
    Opened {
        /// Client identifier.
        client_id: Arc<str>,
        /// Packet identifier.
        packet_id: u16,
    },
    /// PUBREL has come, or the message was refused.
    Closed {
        /// Client identifier.
        client_id: Arc<str>,
        /// Packet identifier.
        packet_id: u16,
    },
    /// A message is the retained one of its topic.
    Retained {
        /// The message.
        message: SharedMessage,
    },
    /// A topic has no retained message any more.
    RetainedRemoved {
        /// Topic name.
        topic: Arc<str>,
    },
}

/// A session as a store gives it back.
#[derive(Clone, Debug, Default)]
pub struct RecoveredSession {
    /// User name of the client that made it, if it had one.
    pub username: Option<Arc<str>>,
    /// Session expiry interval in seconds.
    pub expiry_s: u32,
    /// A will that was not published.
    pub will: Option<StoredWill>,
    /// Subscriptions.
    pub subscriptions: Vec<StoredSubscription>,
    /// Messages, in the order in which they were taken.
    pub deliveries: Vec<StoredDelivery>,
    /// Open packet identifiers of QoS 2 messages from the client.
    pub open: Vec<u16>,
}

/// Everything that a store gives back.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Sessions by client identifier.
    pub sessions: Vec<(Arc<str>, RecoveredSession)>,
    /// Retained messages.
    pub retained: Vec<SharedMessage>,
    /// Highest message id that was ever used.
    pub last_message_id: u64,
    /// The moment of the last batch, in the time of the broker that wrote it. Expiry goes on from
    /// there.
    pub at: Tick,
}

/// Storage for sessions and retained messages. It is called from any thread, by one at a time, and
/// should hand the work to a thread of its own if it is slow.
pub trait Store: Send + Sync + 'static {
    /// Everything that was stored. Called once, before anything else.
    fn load(&self) -> Recovered;

    /// Takes a batch of changes, all or nothing, and says where it stands.
    fn apply(&self, batch: Vec<Op>, at: Tick) -> Position;

    /// The position up to which everything is as safe as this store makes it.
    fn committed(&self) -> Position;

    /// Sets what is to be called whenever [`Store::committed`] has grown.
    fn on_commit(&self, notify: Arc<dyn Fn() + Send + Sync>);
}

#[cfg(test)]
mod tests;
