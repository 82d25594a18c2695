//! Where a thread is: inside the library, inside a callback of the host.

use std::cell::Cell;

use crate::process::Uncancelled;

thread_local! {
    /// Callbacks of the host that are under way.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Calls and tasks of the library that are under way.
    static LIBRARY: Cell<u32> = const { Cell::new(0) };
}

/// Whether the host is calling from one of its callbacks.
pub(crate) fn is_callback() -> bool {
    DEPTH.get() > 0
}

/// How many callbacks of the host are under way on this thread, each inside the one before.
pub(crate) fn depth() -> u32 {
    DEPTH.get()
}

/// Runs a callback of the host, and knows that it does. C does not unwind, by a cancellation neither.
pub(crate) fn run<T>(callback: impl FnOnce() -> T) -> T {
    let _uncancelled = Uncancelled::new();
    DEPTH.set(DEPTH.get() + 1);
    let result = callback();
    DEPTH.set(DEPTH.get() - 1);
    result
}

/// Whether this thread is inside the library, where what waits is told on the way out.
pub(crate) fn is_library() -> bool {
    LIBRARY.get() > 0
}

/// This thread comes into the library.
pub(crate) fn begin() {
    LIBRARY.set(LIBRARY.get() + 1);
}

/// Whether the end of the innermost call is the way out of the library.
pub(crate) fn is_outermost() -> bool {
    LIBRARY.get() == 1
}

/// This thread leaves a call or task of the library.
pub(crate) fn end() {
    LIBRARY.set(LIBRARY.get() - 1);
}
