//! Status codes, and the details of the last failure.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::c_char;

/// Result of a call: MIDGE_OK, or one of the negative MIDGE_E_* codes. New codes may be appended. A
/// callback that decides may return MIDGE_PASS, too.
/// @since 0.1
pub type midge_status = i32;

/// Success.
pub const MIDGE_OK: i32 = 0;
/// From a callback that decides: no opinion. The next set of callbacks is asked; see
/// midge_config_add_hooks(). From on_publish it is the same as MIDGE_OK.
pub const MIDGE_PASS: i32 = 1;
/// An argument is not valid: NULL, not UTF-8, a bad topic, a number out of range.
pub const MIDGE_E_INVALID: i32 = -1;
/// Not possible in this state: the broker stops, or the queue has a dispatch thread.
pub const MIDGE_E_STATE: i32 = -2;
/// Nothing came, or it was not done, in time.
pub const MIDGE_E_TIMEOUT: i32 = -3;
/// From an authentication callback: the answer comes later.
pub const MIDGE_E_WOULD_BLOCK: i32 = -4;
/// A bound would be exceeded: a message larger than limits.packet_bytes, a buffer too small.
pub const MIDGE_E_LIMIT: i32 = -5;
/// There is no such option, client, session or listener.
pub const MIDGE_E_NOT_FOUND: i32 = -6;
/// Refused by authentication or access control.
pub const MIDGE_E_DENIED: i32 = -8;
/// The operating system said no; os_error in midge_error_info says why.
pub const MIDGE_E_IO: i32 = -9;
/// The address of a listener is taken.
pub const MIDGE_E_ADDR_IN_USE: i32 = -10;
/// The configuration is not valid: an option does not accept a value, a listener has no such address.
pub const MIDGE_E_CONFIG: i32 = -13;
/// This build of the library has no such thing; the message says which feature brings it. See
/// midge_has_feature().
pub const MIDGE_E_UNSUPPORTED: i32 = -14;
/// The struct_size of a structure is not understood.
pub const MIDGE_E_ABI: i32 = -15;
/// A [blocking] function was called from a callback.
pub const MIDGE_E_REENTRANT: i32 = -16;
/// Called in a child process after fork().
pub const MIDGE_E_FORKED: i32 = -17;
/// The handle is stale or freed, or the queue is empty and its broker has stopped.
pub const MIDGE_E_CLOSED: i32 = -18;
/// There is no memory for what the caller gives a size to; nothing was changed.
pub const MIDGE_E_NOMEM: i32 = -19;
/// A panic inside the library was caught. This call has failed; the process and the broker go on.
pub const MIDGE_E_PANIC: i32 = -99;

/// Details of a failure.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_error_info {
    /// sizeof(midge_error_info), set by the caller.
    pub struct_size: u32,
    /// The status that was returned, MIDGE_OK if nothing has failed yet on this thread.
    pub status: midge_status,
    /// errno of the operating system, on Windows GetLastError(), or 0.
    pub os_error: i32,
    /// The MQTT reason code of a refusal (MIDGE_E_DENIED), or 0.
    pub reason: u32,
    /// What was wrong, naming the argument: UTF-8, NUL-terminated, cut if too long. Never has
    /// payloads or passwords in it.
    pub message: [c_char; 240],
}

/// A failure on its way out.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: midge_status,
    pub(crate) os_error: i32,
    pub(crate) reason: u32,
    pub(crate) message: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(status: midge_status, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            os_error: 0,
            reason: 0,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(MIDGE_E_INVALID, message)
    }

    pub(crate) fn io(what: &str, error: &std::io::Error) -> Self {
        let status = match error.kind() {
            std::io::ErrorKind::AddrInUse => MIDGE_E_ADDR_IN_USE,
            _ => MIDGE_E_IO,
        };
        Self {
            status,
            os_error: error.raw_os_error().unwrap_or(0),
            reason: 0,
            message: format!("{what}: {error}").into(),
        }
    }
}

const EMPTY: midge_error_info = midge_error_info {
    struct_size: size_of::<midge_error_info>() as u32,
    status: MIDGE_OK,
    os_error: 0,
    reason: 0,
    message: [0; 240],
};

thread_local! {
    // Without a destructor: nothing is left to run when a thread of the host ends.
    static LAST: Cell<midge_error_info> = const { Cell::new(EMPTY) };
}

/// The details of the last failure on this thread.
pub(crate) fn last() -> midge_error_info {
    LAST.get()
}

/// Keeps a failure for `midge_last_error` and gives its status.
pub(crate) fn report(fault: &Fault) -> midge_status {
    let mut info = midge_error_info {
        status: fault.status,
        os_error: fault.os_error,
        reason: fault.reason,
        ..EMPTY
    };
    let mut end = fault.message.len().min(info.message.len() - 1);
    while !fault.message.is_char_boundary(end) {
        end -= 1;
    }
    let text = &fault.message.as_bytes()[..end];
    for (to, from) in info.message.iter_mut().zip(text) {
        // A NUL would cut the message short.
        *to = if *from == 0 { b' ' } else { *from } as c_char;
    }
    LAST.set(info);
    fault.status
}
