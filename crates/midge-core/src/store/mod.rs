//! The seam to durable storage: what changes, in order, and how far it is safe.
//!
//! The hub records an [`Op`] under the lock that guards the change, so that their order is the
//! order of the changes. At the end of each batch they go to the [`Store`] together. What a client
//! is told in that batch (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK) leaves only when the
//! store says that the batch is committed.
//!
//! Only sessions with an expiry above 0 and retained messages are recorded.
//!
//! A store needs nothing of the core but these types: their fields are public, and
//! [`StoredMessage`](crate::StoredMessage) makes a message of its parts.

mod journal;
mod memory;
mod rows;

use std::sync::Arc;

pub(crate) use journal::Journal;
pub use memory::MemoryStore;
pub use rows::{
    Recovered, RecoveredSession, StoredDelivery, StoredSession, StoredSubscription, StoredWill,
};

use crate::message::SharedMessage;
use crate::time::Tick;

/// A place in the order of all batches. Later batches have higher positions.
pub type Position = u64;

/// One change. Client identifiers name sessions, message ids name deliveries within a session. A
/// change to a session that the store does not have changes nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Op {
    /// A session begins, or its own row changes: its expiry, its will, its connection. What belongs
    /// to it (subscriptions, messages, open packet identifiers) stays.
    Session {
        /// Client identifier.
        client_id: Arc<str>,
        /// The whole row, in place of the one before.
        session: StoredSession,
    },
    /// A session has ended, with all that belongs to it.
    SessionEnded {
        /// Client identifier.
        client_id: Arc<str>,
    },
    /// A subscription is made, or replaces the one with the same filter.
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
    /// A session has taken a message, behind all that it has. A message with several receivers comes
    /// once for each, with the same id.
    Taken {
        /// Client identifier.
        client_id: Arc<str>,
        /// The delivery.
        delivery: StoredDelivery,
    },
    /// A message was sent with this packet identifier for the first time: the oldest delivery of this
    /// message that has none.
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
    /// A message is the retained one of its topic, in place of the one before.
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

/// Storage for sessions and retained messages. It is called from any thread, by one at a time, and
/// should hand the work to a thread of its own if it is slow.
pub trait Store: Send + Sync + 'static {
    /// Everything that was stored. Called once for each broker, before anything else.
    fn load(&self) -> Recovered;

    /// Takes a batch of changes, in their order, all or nothing, and says where it stands: above the
    /// position of the batch before. `at` is the moment of the batch, [`Recovered::at`] the one of the
    /// last batch.
    fn apply(&self, batch: Vec<Op>, at: Tick) -> Position;

    /// The position up to which everything is as safe as this store makes it.
    fn committed(&self) -> Position;

    /// Sets what is to be called whenever [`Store::committed`] has grown.
    fn on_commit(&self, notify: Arc<dyn Fn() + Send + Sync>);
}

#[cfg(test)]
mod tests;
