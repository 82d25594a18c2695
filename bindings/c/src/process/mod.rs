//! Being a good guest in the process of the host: signals, fork, cancellation, scheduling, the last error.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{
    Errno, SignalsBlocked, Uncancelled, is_forked_child, leave_real_time, prepare,
};
#[cfg(windows)]
pub(crate) use windows::{
    Errno, SignalsBlocked, Uncancelled, is_forked_child, leave_real_time, prepare,
};
