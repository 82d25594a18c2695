//! How far the end of a broker has come, and whoever waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::status::{Fault, MIDGE_E_TIMEOUT};

/// How far a broker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    Ended = 0,
    Running = 1,
    Stopping = 2,
}

/// What has to end before the broker has. Nothing but this is waited for, so that a wait can have a
/// limit; threads are joined when they have no more to do than to return.
pub(crate) struct Life {
    state: Mutex<LifeState>,
    changed: Condvar,
}

struct LifeState {
    stopping: bool,
    /// Connections, listeners and other tasks of the engine have ended.
    engine_ended: bool,
    /// Threads of the engine that have not come to their end.
    engine_threads: usize,
    /// Dispatch threads that have not come to their end.
    dispatch_threads: usize,
    /// Callbacks of hooks are under way, or may be.
    hooks: bool,
}

impl LifeState {
    fn has_ended(&self) -> bool {
        self.engine_ended && self.engine_threads == 0 && self.dispatch_threads == 0 && !self.hooks
    }
}

impl Life {
    pub(crate) fn new(engine_threads: usize, hooks: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(LifeState {
                stopping: false,
                engine_ended: false,
                engine_threads,
                dispatch_threads: 0,
                hooks,
            }),
            changed: Condvar::new(),
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

    /// The last callback of the hooks has left, and none begins any more.
    pub(crate) fn hooks_end(&self) {
        self.change(|state| state.hooks = false);
    }

    /// A dispatch thread is about to be started.
    pub(crate) fn dispatch_begins(&self) {
        self.change(|state| state.dispatch_threads += 1);
    }

    /// A dispatch thread has called back for the last time, or was not started after all.
    pub(crate) fn dispatch_ends(&self) {
        self.change(|state| state.dispatch_threads -= 1);
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

    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<(), Fault> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state.lock();
        while !state.has_ended() {
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    let timed_out = self.changed.wait_until(&mut state, deadline).timed_out();
                    if timed_out && !state.has_ended() {
                        let what = "the broker has not stopped in time";
                        return Err(Fault::new(MIDGE_E_TIMEOUT, what));
                    }
                }
            }
        }
        Ok(())
    }
}
