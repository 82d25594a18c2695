//! How deep the present thread is inside hooks.

use std::cell::Cell;

/// Hooks that publish, whose messages call hooks that publish: so many levels and no more.
const MAX_DEPTH: u32 = 8;

crate::sync::thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Runs a hook, and knows that it does.
pub(crate) fn in_hook<T>(hook: impl FnOnce() -> T) -> T {
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    CALLS.with(|calls| calls.set(calls.get().wrapping_add(1)));
    let _leave = Leave;
    hook()
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
