//! The seam to durable storage: what changes, in order, and how far it is safe.
//!
//! The hub records an [`Op`] under the lock that guards the change, so that their order is the
//! order of the changes. At the end of each batch they go to the [`Store`] together. What a client
//! is told in that batch (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK) leaves only when the store says
//! that the batch is committed.
//!
//! Only sessions with an expiry above 0 and retained messages are recorded.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::sync::Mutex;
use midge_codec::QoS;

use crate::message::{OwnedMessage, SharedMessage};
use crate::session::Link;
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

/// The hub's side of a store.
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    pending: Mutex<Vec<Op>>,
    order: Mutex<()>,
    applied: AtomicU64,
    /// Connections whose output waits for a commit.
    waiting: Mutex<Vec<(Position, Arc<Link>)>>,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            pending: Mutex::default(),
            order: Mutex::default(),
            applied: AtomicU64::new(0),
            waiting: Mutex::default(),
        }
    }

    pub(crate) fn record(&self, op: Op) {
        self.pending.lock().push(op);
    }

    /// Hands over what was recorded; the position at which all of it is safe.
    pub(crate) fn flush(&self, at: Tick) -> Position {
        let _order = self.order.lock();
        let batch = std::mem::take(&mut *self.pending.lock());
        if !batch.is_empty() {
            self.applied
                .store(self.store.apply(batch, at), Ordering::Release);
        }
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn is_committed(&self, position: Position) -> bool {
        self.store.committed() >= position
    }

    /// Has a connection notified when a position is committed.
    pub(crate) fn wait(&self, position: Position, link: Arc<Link>) {
        self.waiting.lock().push((position, link.clone()));
        // It may have been committed just before.
        if self.is_committed(position) {
            self.notify_committed();
        }
    }

    /// Notifies the connections that do not have to wait any more.
    pub(crate) fn notify_committed(&self) {
        let committed = self.store.committed();
        let mut ready = Vec::new();
        self.waiting.lock().retain(|(position, link)| {
            let wait = *position > committed;
            if !wait {
                ready.push(link.clone());
            }
            wait
        });
        for link in ready {
            link.notify.notify();
        }
    }
}

/// A store in memory: sessions and retained messages outlive the broker, not the process. The
/// broker that starts next with the same store goes on where the last one stopped.
#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<MemoryInner>,
    manual: bool,
    committed: AtomicU64,
    notify: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct MemoryInner {
    sessions: HashMap<Arc<str>, MemorySession>,
    retained: HashMap<Box<str>, SharedMessage>,
    last_message_id: u64,
    position: Position,
    at: Tick,
}

#[derive(Default)]
struct MemorySession {
    session: RecoveredSession,
    deliveries: BTreeMap<u64, StoredDelivery>,
    order: u64,
    ids: HashMap<u64, Vec<u64>>,
}

impl MemoryStore {
    /// An empty store that commits each batch at once.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An empty store that commits only when [`MemoryStore::commit`] is called: for tests of what
    /// waits for a slow disk.
    pub fn manual() -> Arc<Self> {
        Arc::new(Self {
            manual: true,
            ..Self::default()
        })
    }

    /// Commits everything that was applied.
    pub fn commit(&self) {
        let position = self.inner.lock().position;
        self.committed.store(position, Ordering::Release);
        let notify = self.notify.lock().clone();
        if let Some(notify) = notify {
            notify();
        }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let committed = self.committed();
        f.debug_struct("MemoryStore")
            .field("committed", &committed)
            .finish_non_exhaustive()
    }
}

impl MemoryInner {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Session {
                client_id,
                username,
                expiry_s,
                will,
            } => {
                let session = &mut self.sessions.entry(client_id).or_default().session;
                session.username = username;
                session.expiry_s = expiry_s;
                session.will = will;
            }
            Op::SessionEnded { client_id } => {
                self.sessions.remove(&client_id);
            }
            Op::Retained { message } => {
                self.last_message_id = self.last_message_id.max(message.id());
                self.retained.insert(message.topic().into(), message);
            }
            Op::RetainedRemoved { topic } => {
                self.retained.remove(&*topic);
            }
            Op::Subscribed {
                client_id,
                subscription,
            } => {
                if let Some(known) = self.sessions.get_mut(&client_id) {
                    let list = &mut known.session.subscriptions;
                    list.retain(|other| other.filter != subscription.filter);
                    list.push(subscription);
                }
            }
            Op::Unsubscribed { client_id, filter } => {
                if let Some(known) = self.sessions.get_mut(&client_id) {
                    known
                        .session
                        .subscriptions
                        .retain(|other| other.filter != filter);
                }
            }
            Op::Opened {
                client_id,
                packet_id,
            } => {
                if let Some(known) = self.sessions.get_mut(&client_id) {
                    known.session.open.push(packet_id);
                }
            }
            Op::Closed {
                client_id,
                packet_id,
            } => {
                if let Some(known) = self.sessions.get_mut(&client_id) {
                    known.session.open.retain(|other| *other != packet_id);
                }
            }
            Op::Taken {
                client_id,
                delivery,
            } => {
                self.last_message_id = self.last_message_id.max(delivery.message.id());
                if let Some(known) = self.sessions.get_mut(&client_id) {
                    known.order += 1;
                    known
                        .ids
                        .entry(delivery.message.id())
                        .or_default()
                        .push(known.order);
                    known.deliveries.insert(known.order, delivery);
                }
            }
            Op::Sent {
                client_id,
                message_id,
                packet_id,
            } => {
                if let Some(delivery) = self.find(&client_id, message_id, None) {
                    delivery.packet_id = Some(packet_id);
                }
            }
            Op::Released {
                client_id,
                message_id,
                packet_id,
            } => {
                if let Some(delivery) = self.find(&client_id, message_id, Some(packet_id)) {
                    delivery.released = true;
                }
            }
            Op::Done {
                client_id,
                message_id,
                packet_id,
            } => {
                if let Some(known) = self.sessions.get_mut(&client_id) {
                    known.done(message_id, packet_id);
                }
            }
        }
    }

    fn find(
        &mut self,
        client_id: &str,
        message_id: u64,
        packet_id: Option<u16>,
    ) -> Option<&mut StoredDelivery> {
        let known = self.sessions.get_mut(client_id)?;
        let order = known.position(message_id, packet_id)?;
        known.deliveries.get_mut(&order)
    }
}

impl MemorySession {
    fn position(&self, message_id: u64, packet_id: Option<u16>) -> Option<u64> {
        let orders = self.ids.get(&message_id)?;
        let same = |order: &&u64| {
            self.deliveries
                .get(order)
                .is_some_and(|delivery| delivery.packet_id == packet_id)
        };
        orders.iter().find(same).copied()
    }

    fn done(&mut self, message_id: u64, packet_id: Option<u16>) {
        let Some(order) = self.position(message_id, packet_id) else {
            return;
        };
        self.deliveries.remove(&order);
        if let Some(orders) = self.ids.get_mut(&message_id) {
            orders.retain(|other| *other != order);
            if orders.is_empty() {
                self.ids.remove(&message_id);
            }
        }
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Recovered {
        let inner = self.inner.lock();
        let sessions = inner.sessions.iter().map(|(client_id, known)| {
            let deliveries = known.deliveries.values().cloned().collect();
            (
                client_id.clone(),
                RecoveredSession {
                    deliveries,
                    ..known.session.clone()
                },
            )
        });
        Recovered {
            sessions: sessions.collect(),
            retained: inner.retained.values().cloned().collect(),
            last_message_id: inner.last_message_id,
            at: inner.at,
        }
    }

    fn apply(&self, batch: Vec<Op>, at: Tick) -> Position {
        let mut inner = self.inner.lock();
        for op in batch {
            inner.apply(op);
        }
        inner.position += 1;
        inner.at = at;
        if !self.manual {
            self.committed.store(inner.position, Ordering::Release);
        }
        inner.position
    }

    fn committed(&self) -> Position {
        self.committed.load(Ordering::Acquire)
    }

    fn on_commit(&self, notify: Arc<dyn Fn() + Send + Sync>) {
        *self.notify.lock() = Some(notify);
    }
}

#[cfg(test)]
mod tests;
