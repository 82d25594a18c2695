//! Work that waits until no lock is held.

use std::fmt;
use std::sync::{Arc, Weak};

use super::Engine;

/// Runs a closure soon on a broker thread with no lock held; for code that must not call the broker,
/// such as a payload's destructor. Cheap to clone, and without influence on the broker's life.
#[derive(Clone)]
pub struct Later(Weak<Engine>);

impl Later {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self(Arc::downgrade(engine))
    }
}

impl Later {
    /// Runs `work` soon, and once in any case: at once, on this thread, if the broker's runtime has
    /// ended. `work` must not block. Never blocks.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        let work = RunOnDrop::new(work);
        match self.0.upgrade() {
            Some(engine) => {
                drop(engine.workers.first().spawn(async move { drop(work) }));
            }
            None => drop(work),
        }
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

/// A closure that runs when it is dropped, at the latest.
pub(super) struct RunOnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> RunOnDrop<F> {
    pub(super) fn new(work: F) -> Self {
        Self(Some(work))
    }

    /// Drops the closure instead.
    pub(super) fn cancel(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for RunOnDrop<F> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}
