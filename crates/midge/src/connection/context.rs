//! What all connections of a broker have in common.

use std::sync::Arc;
use std::task::Waker;

use midge_core::{Hub, Tick};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Admitted};
use crate::clock::TimeSource;
use crate::timers::Timers;

/// The rules, the time, and the signs of the end: what a connection needs of its broker.
pub(crate) struct Context {
    pub(crate) hub: Arc<Hub>,
    pub(crate) time: TimeSource,
    pub(crate) timers: Timers,
    /// No new connections; listeners end.
    pub(crate) closing: CancellationToken,
    /// Output that a transport does not accept at once is dropped.
    pub(crate) cut: CancellationToken,
    pub(crate) admission: Admission,
    /// Background work is there: the hub's, or connections to admit.
    pub(crate) work: Arc<Notify>,
}

impl Context {
    pub(crate) fn new(hub: Arc<Hub>, time: TimeSource, timers: Timers) -> Self {
        Self {
            hub,
            time,
            timers,
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
            admission: Admission::default(),
            work: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Tick {
        self.time.now()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Whether a connection may handle its first bytes now; it is woken when it may.
    pub(super) fn admits(&self, waker: &Waker) -> bool {
        if self.is_closing() {
            return true; // to be turned away
        }

        let admitted = self.admission.request(waker);
        if admitted == Admitted::First {
            self.work.notify_one();
        }
        admitted == Admitted::Now
    }
}
