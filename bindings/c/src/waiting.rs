//! Threads that wait, and what wakes them.

use std::sync::Arc;
use std::task::Wake;
use std::time::Instant;

use broker::Poller;
use parking_lot::{Condvar, Mutex};

/// Threads that wait for receipts of one broker, or for one receipt.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<Vec<Arc<Signal>>>);

impl Waiting {
    pub(crate) fn join(&self, signal: &Arc<Signal>) {
        self.0.lock().push(signal.clone());
    }

    pub(crate) fn leave(&self, signal: &Arc<Signal>) {
        self.0.lock().retain(|other| !Arc::ptr_eq(other, signal));
    }

    /// Lets all of them look again.
    pub(crate) fn wake_all(&self) {
        for signal in self.0.lock().iter() {
            signal.raise();
        }
    }
}

/// One thread that waits.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
    /// The loop that the thread drives meanwhile.
    poller: Option<Poller>,
}

impl Signal {
    /// Of the calling thread, which goes on to drive a broker without threads, if it does that.
    pub(crate) fn here(poller: Option<&Poller>) -> Arc<Self> {
        Arc::new(Self {
            poller: poller.filter(|poller| poller.is_here()).cloned(),
            ..Self::default()
        })
    }

    pub(crate) fn raise(&self) {
        *self.raised.lock() = true;
        self.changed.notify_one();
        if let Some(poller) = &self.poller {
            poller.wake();
        }
    }

    /// Waits until it is raised; whether it was.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        if let Some(poller) = &self.poller {
            return poller.drive_until(deadline, || std::mem::take(&mut *self.raised.lock()));
        }

        let mut raised = self.raised.lock();
        while !*raised {
            match deadline {
                None => self.changed.wait(&mut raised),
                Some(deadline) => {
                    if self.changed.wait_until(&mut raised, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        std::mem::take(&mut raised)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise();
    }
}
