//! Being a good guest in somebody else's process: signals, fork, threads.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

static FORKED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Whether this is a child of a process that had used the library: its threads are not here.
pub(crate) fn is_forked_child() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// What is done once, when the library is first used. A fork before that harms nothing.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler only stores to an atomic, which is allowed after fork.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        // The library's copy of the Rust runtime is its own: this keeps its panics, which are
        // caught and counted, from being written to the host's stderr.
        #[cfg(not(test))]
        std::panic::set_hook(Box::new(|_| {}));
    });
}

/// All signals are blocked on this thread while it lives. A thread started meanwhile inherits that
/// from its first instruction on, so signals are always delivered to threads of the host.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub(crate) fn new() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both sets are written by the calls before they are read.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::sigemptyset(before.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self {
                before: before.assume_init(),
            }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set was written by pthread_sigmask.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            );
        }
    }
}

/// What each thread of the library does first, as [`broker::prepare_thread`] says.
pub(crate) fn prepare_thread() {
    broker::prepare_thread();
    crate::later::prepare_thread();
    crate::message::prepare_thread();
}

/// Starts a thread of the library, with all signals blocked.
pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let _blocked = SignalsBlocked::new();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            prepare_thread();
            body();
        })
}
