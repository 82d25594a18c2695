//! Progress of a broker's end, and the waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker::Poller;
use parking_lot::{Condvar, Mutex};

use crate::status::{Fault, MIDGE_E_TIMEOUT};

/// Stage of a broker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    Ended = 0,
    Running = 1,
    Stopping = 2,
}

/// Everything that has to end before the broker has. Waits are on this alone, so that they can have a
/// limit; threads are joined once they only have to return.
pub(crate) struct Life {
    state: Mutex<LifeState>,
    changed: Condvar,
    /// shutdown.patience_ms: how long a callback that does not return is waited for.
    patience: Duration,
}

struct LifeState {
    stopping: bool,
    /// Connections, listeners and other tasks of the engine have ended.
    engine_ended: bool,
    /// Threads of the engine that have not come to their end.
    engine_threads: usize,
    /// Dispatch threads that have not come to their end.
    dispatch_threads: usize,
    /// Sets of hooks whose callbacks are under way, or may be.
    hooks: usize,
}

impl LifeState {
    fn has_ended(&self) -> bool {
        self.engine_ended
            && self.engine_threads == 0
            && self.dispatch_threads == 0
            && self.hooks == 0
    }
}

impl Life {
    pub(crate) fn new(engine_threads: usize, hooks: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(LifeState {
                stopping: false,
                engine_ended: false,
                engine_threads,
                dispatch_threads: 0,
                hooks,
            }),
            changed: Condvar::new(),
            patience,
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut LifeState) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        self.changed.notify_all();
        result
    }

    /// A stop was asked for; whether it is the first time.
    pub(crate) fn stop_begins(&self) -> bool {
        self.change(|state| !std::mem::replace(&mut state.stopping, true))
    }

    /// All tasks of the engine have ended.
    pub(crate) fn engine_ends(&self) {
        self.change(|state| state.engine_ended = true);
    }

    /// A thread of the engine has come to its end; how many have not.
    pub(crate) fn engine_thread_ends(&self) -> usize {
        self.change(|state| {
            state.engine_threads -= 1;
            state.engine_threads
        })
    }

    /// The last callback of a set of hooks has left, and none begins any more.
    pub(crate) fn hooks_end(&self) {
        self.change(|state| state.hooks = state.hooks.saturating_sub(1));
    }

    /// A dispatch thread is about to be started.
    pub(crate) fn dispatch_begins(&self) {
        self.change(|state| state.dispatch_threads += 1);
    }

    /// A dispatch thread has called back for the last time, or was not started after all. Sets `ended`
    /// for [`Life::wait_for`].
    pub(crate) fn dispatch_ends(&self, ended: &AtomicBool) {
        self.change(|state| {
            state.dispatch_threads -= 1;
            ended.store(true, Ordering::Relaxed);
        });
    }

    /// The moment until which a callback that does not return is waited for. `None` is for ever.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        Instant::now().checked_add(self.patience)
    }

    /// Waits until a dispatch thread has set `ended`, or until the deadline. Whether it has.
    pub(crate) fn wait_for(&self, ended: &AtomicBool, deadline: Option<Instant>) -> bool {
        self.wait_until(deadline, |_| ended.load(Ordering::Relaxed))
    }

    /// Waits until no callback of the hooks is under way. Whether that is so.
    pub(crate) fn wait_for_hooks(&self, deadline: Option<Instant>) -> bool {
        self.wait_until(deadline, |state| state.hooks == 0)
    }

    pub(crate) fn stage(&self) -> Stage {
        let state = self.state.lock();
        match (state.stopping, state.has_ended()) {
            (false, _) => Stage::Running,
            (true, false) => Stage::Stopping,
            (true, true) => Stage::Ended,
        }
    }

    pub(crate) fn has_engine_ended(&self) -> bool {
        self.state.lock().engine_ended
    }

    /// Waits for the end of everything; a broker without threads is driven meanwhile.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        poller: Option<&Poller>,
    ) -> Result<(), Fault> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let has_ended = match poller {
            Some(poller) => poller.drive_until(deadline, || self.state.lock().has_ended()),
            None => self.wait_until(deadline, LifeState::has_ended),
        };
        if has_ended {
            return Ok(());
        }
        let what = "the broker has not stopped in time";
        Err(Fault::new(MIDGE_E_TIMEOUT, what))
    }

    fn wait_until(&self, deadline: Option<Instant>, is_over: impl Fn(&LifeState) -> bool) -> bool {
        let mut state = self.state.lock();
        while !is_over(&state) {
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        return is_over(&state);
                    }
                }
            }
        }
        true
    }
}
