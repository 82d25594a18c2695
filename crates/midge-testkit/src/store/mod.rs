//! A store that keeps nothing but bytes, and what every store has to pass.
//!
//! It is written with the public types alone, as a store of any other crate is.

mod bytes;
mod rows;
mod suite;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use midge_core::{
    MemoryStore, Op, Position, Recovered, RecoveredSession, SharedMessage, Store, StoredDelivery,
    Tick,
};

use bytes::{Reader, Writer};
pub use suite::store_suite;

/// The bytes that a [`Bytewise`] has written: its disk.
pub type Disk = Arc<Mutex<Vec<u8>>>;

/// A store that writes every change into plain bytes, batch behind batch, and reads all of it back.
#[derive(Default)]
pub struct Bytewise {
    disk: Disk,
    applied: AtomicU64,
}

impl Bytewise {
    /// Goes on with what is on a disk.
    pub fn open(disk: &Disk) -> Arc<Self> {
        Arc::new(Self {
            disk: disk.clone(),
            applied: AtomicU64::new(0),
        })
    }
}

impl Store for Bytewise {
    fn load(&self) -> Recovered {
        let disk = self.disk.lock().unwrap();
        let mut rest = Reader(&disk);
        let mut state = Replay::default();
        while let Some(batch) = rest.bytes() {
            let whole = state.batch(&mut Reader(batch));
            assert!(whole.is_some(), "a batch that cannot be read: {batch:?}");
        }
        assert!(rest.0.is_empty(), "bytes after the last batch");
        state.recovered()
    }

    fn apply(&self, ops: Vec<Op>, at: Tick) -> Position {
        let mut batch = Writer::default();
        batch.u64(at.0);
        for op in &ops {
            batch.op(op);
        }

        let mut framed = Writer::default();
        framed.bytes(&batch.0);
        self.disk.lock().unwrap().extend(framed.0);
        self.applied.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn committed(&self) -> Position {
        self.applied.load(Ordering::Acquire)
    }

    fn on_commit(&self, _: Arc<dyn Fn() + Send + Sync>) {
        // Each batch is committed at once.
    }
}

/// What the changes so far come to.
#[derive(Default)]
struct Replay {
    sessions: BTreeMap<Arc<str>, RecoveredSession>,
    retained: BTreeMap<String, SharedMessage>,
    last_message_id: u64,
    at: Tick,
}

impl Replay {
    fn batch(&mut self, batch: &mut Reader<'_>) -> Option<()> {
        self.at = Tick(batch.u64()?);
        while !batch.0.is_empty() {
            let op = batch.op()?;
            self.change(op);
        }
        Some(())
    }

    fn change(&mut self, op: Op) {
        match op {
            Op::Session { client_id, session } => {
                let known = self.sessions.entry(client_id);
                known
                    .and_modify(|known| known.session = session.clone())
                    .or_insert_with(|| RecoveredSession::new(session));
            }
            Op::SessionEnded { client_id } => {
                self.sessions.remove(&client_id);
            }
            Op::Retained { message } => {
                self.last_message_id = self.last_message_id.max(message.id());
                self.retained.insert(message.topic().to_owned(), message);
            }
            Op::RetainedRemoved { topic } => {
                self.retained.remove(&*topic);
            }
            Op::Taken {
                client_id,
                delivery,
            } => {
                self.last_message_id = self.last_message_id.max(delivery.message.id());
                if let Some(known) = self.sessions.get_mut(&client_id) {
                    known.deliveries.push(delivery);
                }
            }
            of_session => self.change_session(of_session),
        }
    }

    fn change_session(&mut self, op: Op) {
        let (Op::Subscribed { client_id, .. }
        | Op::Unsubscribed { client_id, .. }
        | Op::Released { client_id, .. }
        | Op::Done { client_id, .. }
        | Op::Opened { client_id, .. }
        | Op::Closed { client_id, .. }) = &op
        else {
            panic!("a change that is not known here: {op:?}");
        };
        let Some(known) = self.sessions.get_mut(client_id) else {
            return;
        };

        match op {
            Op::Subscribed { subscription, .. } => {
                known
                    .subscriptions
                    .retain(|other| other.filter != subscription.filter);
                known.subscriptions.push(subscription);
            }
            Op::Unsubscribed { filter, .. } => {
                known.subscriptions.retain(|other| other.filter != filter);
            }

            Op::Released {
                message_id,
                packet_id,
                ..
            } => {
                if let Some(place) = place(&known.deliveries, message_id, packet_id) {
                    known.deliveries[place].released = true;
                }
            }

            Op::Done {
                message_id,
                packet_id,
                ..
            } => {
                if let Some(place) = place(&known.deliveries, message_id, packet_id) {
                    known.deliveries.remove(place);
                }
            }

            Op::Opened { packet_id, .. } => known.open.push(packet_id),
            Op::Closed { packet_id, .. } => known.open.retain(|other| *other != packet_id),
            _ => {}
        }
    }

    fn recovered(self) -> Recovered {
        let mut recovered = Recovered::default();
        recovered.sessions = self.sessions.into_iter().collect();
        recovered.retained = self.retained.into_values().collect();
        recovered.last_message_id = self.last_message_id;
        recovered.at = self.at;
        recovered
    }
}

/// The delivery of a message with this packet identifier.
fn place(deliveries: &[StoredDelivery], message_id: u64, packet_id: u16) -> Option<usize> {
    let same = |one: &StoredDelivery| (one.message.id(), one.packet_id) == (message_id, packet_id);
    deliveries.iter().position(same)
}

/// Commits again and again, on another thread, while something is done.
pub fn committing<T>(store: &MemoryStore, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.commit();
                std::thread::yield_now();
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}
