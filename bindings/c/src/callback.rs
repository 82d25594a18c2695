//! Calling back into C: what `user` points to, and when the last callback has left.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use broker::Later;
use parking_lot::{Mutex, MutexGuard};

use crate::inside::run;
use crate::later;

/// Called by the library when it does not need something any more, exactly once, on any thread.
pub type midge_free_fn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// The host's pointer and how to free it: freed exactly once, when the last owner lets go.
pub(crate) struct User {
    pub(crate) pointer: *mut c_void,
    free: midge_free_fn,
    /// Set once it is lent to an engine, which may let go of it anywhere.
    later: OnceLock<Later>,
}

// SAFETY: the contract says that callbacks and user_free may run on any thread; the library itself
// never looks at what the pointer points to.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    pub(crate) fn new(pointer: *mut c_void, free: midge_free_fn) -> Arc<Self> {
        Arc::new(Self {
            pointer,
            free,
            later: OnceLock::new(),
        })
    }

    /// Lends the object behind `pointer` to the engine of a broker from now on.
    pub(crate) fn lend(&self, later: Later) {
        let _ = self.later.set(later);
    }

    /// Gives the pointer back to the host unfreed: the call that was to take it has failed.
    pub(crate) fn disown(user: Arc<Self>) {
        if let Some(mut user) = Arc::into_inner(user) {
            user.free = None;
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let Some(free) = self.free else { return };
        if let Some(later) = self.later.get() {
            later::free(later, self.pointer, free);
        } else {
            // SAFETY: the host gave this function for this pointer; this is the only call.
            run(|| unsafe { free(self.pointer) });
        }
    }
}

/// Lets callbacks in until it is closed, and says when the last one has left.
pub(crate) struct Gate {
    state: Mutex<State>,
}

struct State {
    user: Option<Arc<User>>,
    inside: u32,
    is_closed: bool,
    closed: Option<Box<dyn FnOnce() + Send>>,
}

/// A callback under way.
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    pub(crate) user: *mut c_void,
}

impl Gate {
    /// `closed` is called once, when the gate was closed, the last callback has left and the host's
    /// pointer was let go of.
    pub(crate) fn new(user: Arc<User>, closed: impl FnOnce() + Send + 'static) -> Self {
        Self {
            state: Mutex::new(State {
                user: Some(user),
                inside: 0,
                is_closed: false,
                closed: Some(Box::new(closed)),
            }),
        }
    }

    /// Lets a callback begin; `None` after the gate was closed.
    pub(crate) fn enter(&self) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        let user = state.user.as_ref()?.pointer;
        state.inside += 1;
        Some(Pass { gate: self, user })
    }

    /// Lets no more callbacks begin. The last one under way, or this, lets go of the host's pointer.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        Self::let_go_if_empty(state);
    }

    /// Callbacks under way.
    pub(crate) fn inside(&self) -> u32 {
        self.state.lock().inside
    }

    fn let_go_if_empty(mut state: MutexGuard<'_, State>) {
        if !state.is_closed || state.inside > 0 {
            return;
        }
        let (user, closed) = (state.user.take(), state.closed.take());
        drop(state);
        drop(user);
        if let Some(closed) = closed {
            closed();
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.inside -= 1;
        Gate::let_go_if_empty(state);
    }
}
