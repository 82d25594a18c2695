//! Unix: signals, fork, cancellation, scheduling, errno.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Whether this is a child of a process that had used the library: its threads are not here.
pub(crate) fn is_forked_child() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Has a fork noted from now on. A fork before that harms nothing.
pub(crate) fn prepare() {
    // SAFETY: the handler only stores to an atomic, which is allowed after fork.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
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

/// errno as it is now, which comes back at the end.
pub(crate) struct Errno {
    place: *mut c_int,
    value: c_int,
}

impl Errno {
    #[inline]
    pub(crate) fn new() -> Self {
        // SAFETY: the calling thread's own variable.
        unsafe {
            let place = errno();
            let value = *place;
            Self { place, value }
        }
    }
}

impl Drop for Errno {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the variable of this thread, which a pointer does not leave.
        unsafe { *self.place = self.value };
    }
}

#[cfg(target_os = "linux")]
use libc::__errno_location as errno;
#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
use libc::__error as errno;

/// Disables cancellation of the thread while it lives: unwinding would meet the frames of Rust, which
/// end the process then. Deferred cancellation waits for the next point outside.
pub(crate) struct Uncancelled(c_int);

#[cfg(target_os = "linux")]
unsafe extern "C" {
    safe fn pthread_setcancelstate(state: c_int, old: &mut c_int) -> c_int;
}

/// PTHREAD_CANCEL_DISABLE of glibc and musl.
const CANCEL_DISABLE: c_int = 1;

#[cfg(not(target_os = "linux"))]
fn pthread_setcancelstate(_: c_int, _: &mut c_int) -> c_int {
    0
}

impl Uncancelled {
    #[inline]
    pub(crate) fn new() -> Self {
        let mut before = 0;
        let _ = pthread_setcancelstate(CANCEL_DISABLE, &mut before);
        Self(before)
    }
}

impl Drop for Uncancelled {
    #[inline]
    fn drop(&mut self) {
        let _ = pthread_setcancelstate(self.0, &mut 0);
    }
}

/// A thread inherits the scheduling class of the one that has started it. A host may start its broker
/// from a thread with real-time priority; the work that comes over the network must not have that.
#[cfg(target_os = "linux")]
pub(crate) fn leave_real_time() {
    // SAFETY: plain system calls about the calling thread; the parameter lives as long as the call.
    unsafe {
        let class = libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK;
        if [libc::SCHED_FIFO, libc::SCHED_RR].contains(&class) {
            let priority: libc::sched_param = std::mem::zeroed();
            libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const priority);
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn leave_real_time() {}
