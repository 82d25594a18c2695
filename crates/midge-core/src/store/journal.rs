//! The hub's side of a store: changes in order, in units, and connections that wait until they are
//! safe.
//!
//! A position of the journal is the number of changes recorded so far. What waits for a change waits
//! for its position, which is known as soon as it is recorded.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Op, Position, Store};
use crate::flush::Waits;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::time::Tick;

/// The hub's side of a store.
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    pending: Mutex<Pending>,
    /// Read: a unit is being recorded. Write: a batch is cut.
    units: RwLock<Units>,
    order: Mutex<()>,
    /// Batches that are not known to be committed: the store's position, and the journal's.
    applied: Mutex<VecDeque<(Position, Position)>>,
    /// Everything up to here is committed.
    safe: AtomicU64,
    /// The last end of a session.
    ended: AtomicU64,
    /// Connections whose output waits for a commit, each once.
    waiting: Mutex<Vec<(Position, Arc<dyn Waits>)>>,
}

/// Changes that no batch has yet.
#[derive(Default)]
struct Pending {
    ops: Vec<Op>,
    recorded: Position,
    /// Units that go on after the locks of their changes are released.
    open: usize,
}

/// Guards the places between units.
#[derive(Default)]
pub(crate) struct Units;

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            pending: Mutex::default(),
            units: RwLock::default(),
            order: Mutex::default(),
            applied: Mutex::default(),
            safe: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Records a change, and says where it stands. To be called under the lock that guards the change.
    pub(crate) fn record(&self, op: Op) -> Position {
        let is_end = matches!(op, Op::SessionEnded { .. });
        let mut pending = self.pending.lock();
        pending.ops.push(op);
        pending.recorded += 1;
        let position = pending.recorded;
        drop(pending);

        if is_end {
            self.ended.fetch_max(position, Ordering::AcqRel);
        }
        position
    }

    /// The position of the last end of a session. A CONNACK that says that there is none waits for it.
    pub(crate) fn last_end(&self) -> Position {
        self.ended.load(Ordering::Acquire)
    }

    /// Begins a unit: all that is recorded until it is dropped comes into one batch. Nothing is asked,
    /// waited for or flushed meanwhile, and a thread has one at a time.
    pub(crate) fn unit(&self) -> impl Sized + '_ {
        self.units.read()
    }

    /// Begins a unit that may go on with no lock held, while hooks are asked. No batch is cut until
    /// [`Journal::close`].
    pub(crate) fn open(&self) {
        self.pending.lock().open += 1;
    }

    /// Ends a unit that was begun with [`Journal::open`].
    pub(crate) fn close(&self) {
        self.pending.lock().open -= 1;
    }

    /// Hands over what was recorded, if there is anything and no unit is open. Must be called with no
    /// lock held.
    pub(crate) fn flush(&self, at: Tick) {
        if self.pending.lock().ops.is_empty() {
            return;
        }

        let order = self.order.lock();
        if let Some((batch, recorded)) = self.cut() {
            let position = self.store.apply(batch, at);
            self.applied.lock().push_back((position, recorded));
        }
        drop(order);

        // It may be committed already, while another thread has taken it for not even applied.
        self.flush_committed();
    }

    /// Takes what was recorded, between two units.
    fn cut(&self) -> Option<(Vec<Op>, Position)> {
        let _between = self.units.write();
        let mut pending = self.pending.lock();
        if pending.open > 0 || pending.ops.is_empty() {
            return None;
        }
        Some((std::mem::take(&mut pending.ops), pending.recorded))
    }

    /// Whether everything up to a position is committed.
    pub(crate) fn is_committed(&self, position: Position) -> bool {
        position <= self.safe.load(Ordering::Acquire) || position <= self.look()
    }

    /// Looks how far the store has come.
    fn look(&self) -> Position {
        let committed = self.store.committed();
        let mut applied = self.applied.lock();
        while let Some((position, recorded)) = applied.front().copied()
            && position <= committed
        {
            applied.pop_front();
            self.safe.fetch_max(recorded, Ordering::AcqRel);
        }
        self.safe.load(Ordering::Acquire)
    }

    /// Has a connection flushed when a position is committed. `false` if it is committed by now, so
    /// that it is flushed in vain.
    pub(crate) fn wait(&self, position: Position, link: Arc<dyn Waits>) -> bool {
        if link.starts_waiting() {
            self.waiting.lock().push((position, link));
        }
        !self.is_committed(position)
    }

    /// Flushes the connections that do not have to wait any more.
    pub(crate) fn flush_committed(&self) {
        let committed = self.look();
        let mut ready = Vec::new();
        self.waiting.lock().retain(|(position, link)| {
            let waits = *position > committed;
            if !waits {
                ready.push(link.clone());
            }
            waits
        });
        for link in ready {
            link.committed();
        }
    }
}
