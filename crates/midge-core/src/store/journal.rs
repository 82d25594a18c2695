//! The hub's side of a store: changes in order, and connections that wait until they are safe.

use std::sync::Arc;

use super::{Op, Position, Store};
use crate::flush::Flush;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Tick;

/// The hub's side of a store.
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    pending: Mutex<Vec<Op>>,
    order: Mutex<()>,
    applied: AtomicU64,
    /// Connections whose output waits for a commit.
    waiting: Mutex<Vec<(Position, Arc<dyn Flush>)>>,
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

    /// Has a connection flushed when a position is committed.
    pub(crate) fn wait(&self, position: Position, connection: Arc<dyn Flush>) {
        self.waiting.lock().push((position, connection));
        // It may have been committed just before.
        if self.is_committed(position) {
            self.flush_committed();
        }
    }

    /// Flushes the connections that do not have to wait any more.
    pub(crate) fn flush_committed(&self) {
        let committed = self.store.committed();
        let mut ready = Vec::new();
        self.waiting.lock().retain(|(position, connection)| {
            let wait = *position > committed;
            if !wait {
                ready.push(connection.clone());
            }
            wait
        });
        for connection in ready {
            connection.flush();
        }
    }
}
