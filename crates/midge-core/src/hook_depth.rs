//! Nesting of hooks on the present thread, and running hooks of a hub.

use std::cell::Cell;

use crate::sync::Unscheduled;
use crate::sync::atomic::Ordering;

/// Hooks that publish, whose messages call hooks that publish: so many levels and no more.
const MAX_DEPTH: u32 = 8;

crate::sync::thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// Ends a call, also of a hook that panics.
struct Leave<'a>(Option<&'a Unscheduled>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.0 {
            running.fetch_sub(1, Ordering::Relaxed);
        }
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// A method of [`Hooks`](crate::Hooks).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hook {
    Authenticate,
    EnhancedAuth,
    AuthorizePublish,
    AuthorizeSubscribe,
    AuthorizeReceive,
    InterceptPublish,
    InterceptDelivery,
    Connected,
    Disconnected,
    SessionStarted,
    SessionEnded,
}

/// Names of [`Hook`], in the same order.
const NAMES: [&str; 11] = [
    "authenticate",
    "enhanced_auth",
    "authorize_publish",
    "authorize_subscribe",
    "authorize_receive",
    "intercept_publish",
    "intercept_delivery",
    "connected",
    "disconnected",
    "session_started",
    "session_ended",
];

/// Counts the calls of each hook that have not returned.
#[derive(Default)]
pub(crate) struct Running([Unscheduled; NAMES.len()]);

impl Running {
    /// Runs a hook and counts it.
    #[inline(always)]
    pub(crate) fn call<T>(&self, hook: Hook, run: impl FnOnce() -> T) -> T {
        let running = self.0.get(hook as usize);
        if let Some(running) = running {
            running.fetch_add(1, Ordering::Relaxed);
        }
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        CALLS.with(|calls| calls.set(calls.get().wrapping_add(1)));
        let _leave = Leave(running);
        run()
    }

    /// Lists the hooks with running calls.
    pub(crate) fn names(&self) -> Vec<(&'static str, u32)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let all = NAMES.into_iter().zip(counts);
        all.filter(|(_, count)| *count > 0).collect()
    }
}

/// Whether the host is calling from inside a hook.
pub fn is_in_hook() -> bool {
    DEPTH.with(Cell::get) > 0
}

/// Hooks that the present thread has called so far; starts again at 0 some time.
pub(crate) fn calls() -> u32 {
    CALLS.with(Cell::get)
}

/// Whether hooks are nested too deep for another publish.
pub(crate) fn too_deep() -> bool {
    DEPTH.with(Cell::get) >= MAX_DEPTH
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn hooks_that_run_have_names() {
        let running = Running::default();
        let inner = || {
            assert!(is_in_hook());
            running.names()
        };
        let within = running.call(Hook::SessionEnded, || {
            running.call(Hook::Authenticate, || {
                running.call(Hook::SessionEnded, inner)
            })
        });
        assert_eq!(within, [("authenticate", 1), ("session_ended", 2)]);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            running.call(Hook::EnhancedAuth, || panic!("on purpose"));
        }));
        assert!(panicked.is_err() && running.names().is_empty() && !is_in_hook());
    }
}
