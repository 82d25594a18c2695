//! A store in memory.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{
    Op, Position, Recovered, RecoveredSession, Store, StoredDelivery, StoredSession,
    StoredSubscription,
};
use crate::message::SharedMessage;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Tick;

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

struct MemorySession {
    session: RecoveredSession,
    deliveries: BTreeMap<u64, StoredDelivery>,
    order: u64,
    places: HashMap<(u64, u16), u64>,
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
            Op::Session { client_id, session } => match self.sessions.entry(client_id) {
                Entry::Occupied(known) => known.into_mut().session.session = session,
                Entry::Vacant(place) => {
                    place.insert(MemorySession::new(session));
                }
            },
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
            } => self.change(&client_id, |known| known.subscribe(subscription)),
            Op::Unsubscribed { client_id, filter } => self.change(&client_id, |known| {
                let list = &mut known.session.subscriptions;
                list.retain(|other| other.filter != filter);
            }),
            Op::Opened {
                client_id,
                packet_id,
            } => self.change(&client_id, |known| known.session.open.push(packet_id)),

            Op::Closed {
                client_id,
                packet_id,
            } => self.change(&client_id, |known| {
                known.session.open.retain(|other| *other != packet_id);
            }),
            Op::Taken {
                client_id,
                delivery,
            } => {
                self.last_message_id = self.last_message_id.max(delivery.message.id());
                self.change(&client_id, |known| known.take(delivery));
            }

            Op::Released {
                client_id,
                message_id,
                packet_id,
            } => self.change(&client_id, |known| {
                if let Some(delivery) = known.find(message_id, packet_id) {
                    delivery.released = true;
                }
            }),
            Op::Done {
                client_id,
                message_id,
                packet_id,
            } => self.change(&client_id, |known| known.done(message_id, packet_id)),
        }
    }

    /// Changes a session, if it is known.
    fn change(&mut self, client_id: &str, change: impl FnOnce(&mut MemorySession)) {
        if let Some(known) = self.sessions.get_mut(client_id) {
            change(known);
        }
    }
}

impl MemorySession {
    fn new(session: StoredSession) -> Self {
        Self {
            session: RecoveredSession::new(session),
            deliveries: BTreeMap::new(),
            order: 0,
            places: HashMap::new(),
        }
    }

    fn subscribe(&mut self, subscription: StoredSubscription) {
        let list = &mut self.session.subscriptions;
        list.retain(|other| other.filter != subscription.filter);
        list.push(subscription);
    }

    fn take(&mut self, delivery: StoredDelivery) {
        self.order += 1;
        let key = (delivery.message.id(), delivery.packet_id);
        self.places.insert(key, self.order);
        self.deliveries.insert(self.order, delivery);
    }

    fn find(&mut self, message_id: u64, packet_id: u16) -> Option<&mut StoredDelivery> {
        let order = self.places.get(&(message_id, packet_id))?;
        self.deliveries.get_mut(order)
    }

    fn done(&mut self, message_id: u64, packet_id: u16) {
        if let Some(order) = self.places.remove(&(message_id, packet_id)) {
            self.deliveries.remove(&order);
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
