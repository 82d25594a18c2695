//! The loop of a broker without threads, for bindings.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use super::broker::Broker;
use crate::engine::HostLoop;

/// The loop of a broker without threads, for what a binding makes wait: made by [`Broker::poller`]. Cheap to
/// clone, and without influence on the broker's life.
#[derive(Clone)]
pub struct Poller(Arc<HostLoop>);

impl Broker {
    /// Its loop, if it has no threads.
    pub fn poller(&self) -> Option<Poller> {
        self.engine().workers.host().cloned().map(Poller)
    }
}

impl Poller {
    /// Whether the calling thread drives the broker while it waits: it has started or polled it.
    pub fn is_here(&self) -> bool {
        self.0.is_driven_here()
    }

    /// Drives the broker until something is over, which it is asked after each turn and each
    /// [`Poller::wake`]; until the deadline at most, or for as long as it takes. Returns whether it is over.
    pub fn drive_until(&self, deadline: Option<Instant>, is_over: impl FnMut() -> bool) -> bool {
        self.0.drive_until(deadline, is_over)
    }

    /// Has a thread that drives look again, from any thread.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Runs a task where the host polls. It is dropped when the broker ends, at the latest.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(task));
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poller")
    }
}
