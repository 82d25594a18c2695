//! The seam to durable storage: what changes, in order, and how far it is safe.
//!
//! The hub records an [`Op`] under the lock that guards the change, so that their order is the
//! order of the changes. At the end of each batch they go to the [`Store`] together.
//!
//! Only sessions with an expiry above 0 and retained messages are recorded.
//!
//! # Units
//!
//! What one packet changes is a unit: the packet identifier that is open from now on, the retained
//! message, each receiver. So is a takeover, with the end of the session before; so are the end of a
//! session, its will, and the other members that get its shared messages, but for what an ended
//! session with more than 256 messages leaves, which follows. A batch that a store is given has whole
//! units only.
//!
//! # What may leave when
//!
//! | packet | waits for the commit of |
//! |---|---|
//! | PUBACK, PUBREC | the unit of the message; nothing if nothing of it is recorded |
//! | PUBCOMP | the end of the packet identifier ([`Op::Closed`]) |
//! | PUBREL | [`Op::Released`] |
//! | PUBLISH at QoS 2 to a recorded session | the message ([`Op::Taken`]) |
//! | PUBLISH at QoS 0 and 1, PINGRESP | nothing of its own |
//! | SUBACK, UNSUBACK of a recorded session | the subscriptions |
//! | CONNACK that makes, changes or ends a recorded session | that change |
//!
//! A repetition waits for what it repeats. Packets of one connection keep their order: what is behind
//! one that waits waits with it, what is before it does not. What a receiver acknowledges
//! ([`Op::Done`]) is waited for by nothing: after a crash it may be sent again, at QoS 2 under the
//! packet identifier by which its receiver knows it.
//!
//! # Packet identifiers
//!
//! A message has its packet identifier from the moment in which a recorded session takes it
//! ([`StoredDelivery::packet_id`]), so that sending it changes nothing. The identifiers derive from a
//! sequence whose bound is stored ahead ([`StoredSession::identifiers`]): after a crash none that may
//! have been sent is used for another message.
//!
//! A store needs nothing of the core but these types: their fields are public, and
//! [`StoredMessage`](crate::StoredMessage) makes a message of its parts.

mod journal;
mod memory;
mod rows;

use std::sync::Arc;

pub(crate) use journal::Journal;
#[cfg(shuttle)]
pub(crate) use journal::Units;
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
        /// Packet identifier: a session may have the same message twice, through a shared and a plain
        /// subscription.
        packet_id: u16,
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
