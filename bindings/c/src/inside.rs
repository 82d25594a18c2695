//! Where a thread is: inside the library, inside a callback of the host.

use std::cell::Cell;

use crate::process::Uncancelled;

/// Where a thread is. One variable, because each one that is looked for costs a call.
struct Here {
    /// Callbacks of the host that are under way.
    callbacks: Cell<u32>,
    /// Calls and tasks of the library that are under way.
    calls: Cell<u32>,
    /// Something waits for the way out of the library.
    owes: Cell<bool>,
}

thread_local! {
    static HERE: Here = const {
        Here {
            callbacks: Cell::new(0),
            calls: Cell::new(0),
            owes: Cell::new(false),
        }
    };
}

/// Whether the host is calling from one of its callbacks.
pub(crate) fn is_callback() -> bool {
    depth() > 0
}

/// How many callbacks of the host are under way on this thread, each inside the one before.
pub(crate) fn depth() -> u32 {
    HERE.with(|here| here.callbacks.get())
}

/// Runs a callback of the host, and knows that it does. C does not unwind, by a cancellation neither.
pub(crate) fn run<T>(callback: impl FnOnce() -> T) -> T {
    let _uncancelled = Uncancelled::new();
    HERE.with(|here| here.callbacks.set(here.callbacks.get() + 1));
    let result = callback();
    HERE.with(|here| here.callbacks.set(here.callbacks.get() - 1));
    result
}

/// Whether this thread is inside the library, where what waits is told on the way out.
pub(crate) fn is_library() -> bool {
    HERE.with(|here| here.calls.get() > 0)
}

/// This thread comes into the library.
pub(crate) fn begin() {
    HERE.with(|here| here.calls.set(here.calls.get() + 1));
}

/// Notes that something waits for the way out of the library.
pub(crate) fn owe() {
    HERE.with(|here| here.owes.set(true));
}

/// This thread leaves a call or task of the library. `settle` is called on the way out of the outermost
/// one, and told whether anything waits for that.
#[inline]
pub(crate) fn end(settle: impl FnOnce(bool)) {
    HERE.with(|here| {
        if here.calls.get() == 1 {
            settle(here.owes.replace(false));
        }
        here.calls.set(here.calls.get() - 1);
    });
}
