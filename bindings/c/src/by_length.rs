//! Texts that come in by their length, and go out with a NUL.

use std::ffi::{c_char, c_void};

use crate::broker_handle::midge_broker;
use crate::client::{CLIENTS, midge_client};
use crate::ffi::{self, enter, midge_bytes};
use crate::status::midge_status;
use crate::{inspect, publish};

/// A length that says that the text ends at a NUL.
const NUL_TERMINATED: usize = usize::MAX;

/// The length of a text that a function was given, if it has one.
pub(crate) fn length(len: usize) -> Option<usize> {
    (len != NUL_TERMINATED).then_some(len)
}

/// Copies bytes and a NUL behind them, for a function that takes a text.
///
/// @param bytes  what to copy: it may have NULs in it
/// @param buf    receives the bytes and a NUL; may be NULL to ask for the size only
/// @param cap    bytes in buf
/// @param need   may be NULL; receives the size needed, NUL included, also with MIDGE_E_LIMIT
/// @return MIDGE_OK, MIDGE_E_LIMIT (buf is too small), MIDGE_E_INVALID
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_bytes_copy(
    bytes: midge_bytes,
    buf: *mut c_char,
    cap: usize,
    need: *mut usize,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's bytes and buffer of those sizes, or NULL.
        unsafe {
            let bytes = ffi::bytes(bytes.ptr.cast(), bytes.len, "bytes")?;
            ffi::write_text(bytes, buf, cap, need)
        }
    })
}

/// As midge_publish(), with a topic that need not end at a NUL.
///
/// @param topic      UTF-8, without wildcards
/// @param topic_len  bytes of the topic, or MIDGE_NUL_TERMINATED
/// @param payload    may be NULL if len is 0
/// @return as midge_publish()
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_publish_n(
    b: midge_broker,
    topic: *const c_char,
    topic_len: usize,
    payload: *const c_void,
    len: usize,
    qos: u8,
    retain: bool,
) -> midge_status {
    let topic = (topic, length(topic_len));
    // SAFETY: the host's string and bytes, or NULL.
    unsafe { publish::plain(b, topic, (payload, len), qos, retain) }
}

/// As midge_broker_set_retained(), with a topic that need not end at a NUL.
///
/// @param topic_len  bytes of the topic, or MIDGE_NUL_TERMINATED
/// @param payload    may be NULL if len is 0
/// @return as midge_broker_set_retained()
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_set_retained_n(
    b: midge_broker,
    topic: *const c_char,
    topic_len: usize,
    payload: *const c_void,
    len: usize,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string and bytes, or NULL.
        let (topic, payload) = unsafe {
            (
                ffi::text_of(topic, length(topic_len), "topic")?,
                ffi::bytes(payload, len, "payload")?,
            )
        };
        inspect::set_retained(b, topic, payload)
    })
}

/// As midge_broker_clear_retained(), with a filter that need not end at a NUL.
///
/// @param filter_len  bytes of the filter, or MIDGE_NUL_TERMINATED
/// @param removed     may be NULL; receives how many they were
/// @return as midge_broker_clear_retained()
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_clear_retained_n(
    b: midge_broker,
    filter: *const c_char,
    filter_len: usize,
    removed: *mut usize,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string, or NULL.
        let filter = unsafe { ffi::text_of(filter, length(filter_len), "filter") }?;
        let count = inspect::clear_retained(b, filter)?;
        // SAFETY: the host's variable, or NULL.
        unsafe { ffi::write(removed, count) };
        Ok(())
    })
}

/// As midge_client_unsubscribe(), with a filter that need not end at a NUL.
///
/// @param filter_len  bytes of the filter, or MIDGE_NUL_TERMINATED
/// @return as midge_client_unsubscribe()
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_client_unsubscribe_n(
    c: midge_client,
    filter: *const c_char,
    filter_len: usize,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string, or NULL.
        let filter = unsafe { ffi::text_of(filter, length(filter_len), "filter") }?;
        CLIENTS.find(c.id)?.unsubscribe(filter)
    })
}

/// [blocking] As midge_broker_wait_subscribers(), with a topic that need not end at a NUL.
///
/// @param topic_len  bytes of the topic, or MIDGE_NUL_TERMINATED
/// @return as midge_broker_wait_subscribers()
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_wait_subscribers_n(
    b: midge_broker,
    topic: *const c_char,
    topic_len: usize,
    n: u32,
    timeout_ms: i32,
) -> midge_status {
    enter(|| {
        ffi::may_block("midge_broker_wait_subscribers_n")?;
        // SAFETY: the host's string, or NULL.
        let topic = unsafe { ffi::text_of(topic, length(topic_len), "topic") }?;
        inspect::wait_subscribers(b, topic, n, timeout_ms)
    })
}
