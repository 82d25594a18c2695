//! Preparations: once for the process, and first on each thread of the library.

use std::io;
use std::sync::Once;
use std::thread::JoinHandle;

use crate::process::{self, SignalsBlocked, Uncancelled};
use crate::{later, message};

/// Prepares the process, when the library is first used.
pub(crate) fn process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        process::prepare();

        // The library's copy of the Rust runtime is its own: this keeps its panics, which are
        // caught and counted, from being written to the host's stderr.
        #[cfg(not(test))]
        std::panic::set_hook(Box::new(crate::log::panicked));
    });
}

/// Prepares a thread of the library, before all else: see [`broker::prepare_thread`].
pub(crate) fn thread() {
    // For good.
    std::mem::forget(Uncancelled::new());
    process::leave_real_time();
    broker::prepare_thread();
    later::prepare_thread();
    message::prepare_thread();
}

/// Starts a thread of the library, with all signals blocked.
pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let _blocked = SignalsBlocked::new();
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(broker::THREAD_STACK)
        .spawn(move || {
            thread();
            body();
        })
}
