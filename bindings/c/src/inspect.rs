//! Looking in, test helpers, administration.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use broker::{Condition, ConnectError, ReasonCode, TopicFilter, TopicName, WaitError};

use crate::broker_handle::{BROKERS, BrokerObject, midge_broker};
use crate::descriptor;
use crate::ffi::{self, enter};
use crate::message::midge_message;
use crate::publish;
use crate::status::{
    Fault, MIDGE_E_LIMIT, MIDGE_E_NOT_FOUND, MIDGE_E_STATE, MIDGE_E_TIMEOUT, MIDGE_E_UNSUPPORTED,
    midge_status,
};

/// Counters of a broker.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_stats {
    /// sizeof(midge_stats), set by the caller.
    pub struct_size: u32,
    /// 0 stopped, 1 running, 2 stopping.
    pub state: u32,
    /// Grows from call to call for as long as the broker's threads get to their work; a call asks
    /// them to raise it. Feed a watchdog when it has grown since the last call.
    pub heartbeat: u64,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Open connections, those before CONNECT included.
    pub connections: u64,
    /// Connections accepted since the start.
    pub connects: u64,
    /// Connections refused since the start.
    pub refused: u64,
    /// Connected clients.
    pub clients: u64,
    /// Most clients connected at the same time.
    pub clients_max: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Sessions that expired.
    pub sessions_expired: u64,
    /// Subscriptions of clients, shared ones included.
    pub subscriptions: u64,
    /// Shared subscriptions.
    pub shared_subscriptions: u64,
    /// Retained messages, $SYS not counted.
    pub retained: u64,
    /// Bytes of retained messages.
    pub retained_bytes: u64,
    /// Messages waiting for clients.
    pub queued_msgs: u64,
    /// Bytes of messages waiting for clients, but for large payloads: memory_payloads.
    pub queued_bytes: u64,
    /// Messages published by clients and by the host.
    pub msgs_in: u64,
    /// Their payload bytes.
    pub msgs_in_bytes: u64,
    /// Messages sent to clients.
    pub msgs_out: u64,
    /// Their payload bytes.
    pub msgs_out_bytes: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Bytes read from connections.
    pub bytes_in: u64,
    /// Bytes written to connections.
    pub bytes_out: u64,
    /// Panics that were caught.
    pub panics: u64,
    /// Dropped messages, all together.
    pub msgs_dropped: u64,
    /// Dropped messages by MIDGE_DROP_* number.
    pub dropped: [u64; 16],
    /// Bytes held for clients, all together: what limits.total_bytes limits.
    pub memory_total: u64,
    /// Of these: messages that wait for clients or are in flight to them.
    pub memory_queues: u64,
    /// Of these: encoded packets that are not written yet.
    pub memory_output: u64,
    /// Of these: payloads of 8 KiB and more, and buffers that were read into.
    pub memory_payloads: u64,
    /// Of these: packets that are incomplete or wait for a decision.
    pub memory_input: u64,
    /// Of these: connections, topic aliases, remembered routes.
    pub memory_connections: u64,
    /// Of these: sessions.
    pub memory_sessions: u64,
    /// Of these: subscriptions.
    pub memory_subscriptions: u64,
    /// Of these: wills of clients.
    pub memory_wills: u64,
    /// Of these: retained messages, but for large payloads.
    pub memory_retained: u64,
    /// Callbacks that did not return within shutdown.patience_ms and were left.
    pub left_running: u64,
}

fn stats(object: &BrokerObject) -> midge_stats {
    let stats = object.broker.stats();
    let mut dropped = [0; 16];
    for (to, (_, count)) in dropped.iter_mut().zip(stats.dropped()) {
        *to = count;
    }

    midge_stats {
        struct_size: size_of::<midge_stats>() as u32,
        state: object.stage() as u32,
        heartbeat: object.broker.heartbeat(),
        uptime_ms: stats.uptime_ms,
        connections: stats.connections,
        connects: stats.connects,
        refused: stats.refused,
        clients: stats.clients,
        clients_max: stats.clients_maximum,
        sessions: stats.sessions,
        sessions_expired: stats.sessions_expired,
        subscriptions: stats.subscriptions,
        shared_subscriptions: stats.shared_subscriptions,
        retained: stats.retained,
        retained_bytes: stats.retained_bytes,
        queued_msgs: stats.queued_messages,
        queued_bytes: stats.queued_bytes,
        msgs_in: stats.publish_received,
        msgs_in_bytes: stats.publish_bytes_received,
        msgs_out: stats.publish_sent,
        msgs_out_bytes: stats.publish_bytes_sent,
        packets_in: stats.packets_received,
        packets_out: stats.packets_sent,
        bytes_in: stats.bytes_received,
        bytes_out: stats.bytes_sent,
        panics: stats.panics,
        msgs_dropped: stats.dropped_total(),
        dropped,

        memory_total: stats.memory.total,
        memory_queues: stats.memory.queues,
        memory_output: stats.memory.output,
        memory_payloads: stats.memory.payloads,
        memory_input: stats.memory.input,
        memory_connections: stats.memory.connections,
        memory_sessions: stats.memory.sessions,
        memory_subscriptions: stats.memory.subscriptions,
        memory_wills: stats.memory.wills,
        memory_retained: stats.memory.retained,
        left_running: stats.left_running,
    }
}

/// A snapshot of all counters.
///
/// @param out  its struct_size must be set; as much as fits is written
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_stats(
    b: midge_broker,
    out: *mut midge_stats,
) -> midge_status {
    enter(|| {
        ffi::check_out_struct(out, ffi::HEAD, "out")?;
        let stats = stats(&*BROKERS.find(b.id)?);
        // SAFETY: checked above.
        unsafe { ffi::write_struct(out, &stats, ffi::HEAD, "out") }
    })
}

/// [blocking] Waits until nothing is queued, in flight or unwritten for any connected client. For
/// tests.
/// @return MIDGE_OK, MIDGE_E_TIMEOUT, MIDGE_E_REENTRANT, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_broker_quiesce(b: midge_broker, timeout_ms: i32) -> midge_status {
    enter(|| {
        ffi::may_block("midge_broker_quiesce")?;
        let object = BROKERS.find(b.id)?;
        object
            .broker
            .settle(ffi::timeout(timeout_ms).unwrap_or(Duration::MAX))
            .map_err(|_| Fault::new(MIDGE_E_TIMEOUT, "something is still on its way"))
    })
}

/// [blocking] Waits until at least n clients have subscriptions that match a topic. Clients inside
/// the process are not counted. For tests.
/// @return MIDGE_OK, MIDGE_E_TIMEOUT, MIDGE_E_STATE (the broker stops), MIDGE_E_REENTRANT,
///         MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_wait_subscribers(
    b: midge_broker,
    topic: *const c_char,
    n: u32,
    timeout_ms: i32,
) -> midge_status {
    enter(|| {
        ffi::may_block("midge_broker_wait_subscribers")?;
        // SAFETY: the host's string, or NULL.
        let topic = unsafe { ffi::text(topic, "topic") }?;
        wait_subscribers(b, topic, n, timeout_ms)
    })
}

pub(crate) fn wait_subscribers(
    b: midge_broker,
    topic: &str,
    n: u32,
    timeout_ms: i32,
) -> Result<(), Fault> {
    if TopicName::new(topic).is_err() {
        return Err(Fault::invalid("topic is not a valid topic name"));
    }

    let clients = n as usize;
    let timeout = ffi::timeout(timeout_ms).unwrap_or(Duration::MAX);
    let waited = BROKERS
        .find(b.id)?
        .broker
        .wait_for(Condition::Subscribers { topic, clients }, timeout);
    waited.map_err(|error| match error {
        WaitError::Timeout(_) => {
            Fault::new(MIDGE_E_TIMEOUT, "too few clients have subscribed in time")
        }
        error => Fault::new(MIDGE_E_STATE, error.to_string()),
    })
}

/// [blocking] Moves the clock of a broker with "clock" set to "manual": everything that comes due
/// happens in order, before this returns. For tests.
///
/// @param ms  milliseconds; the clock stops at its end, 584 million years after the start
/// @return MIDGE_OK, MIDGE_E_STATE (the broker goes by the system's clock), MIDGE_E_REENTRANT,
///         MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_broker_advance(b: midge_broker, ms: u64) -> midge_status {
    enter(|| {
        ffi::may_block("midge_broker_advance")?;
        let object = BROKERS.find(b.id)?;
        if !object.is_clock_manual {
            let what = "the broker goes by the system's clock: set \"clock\" to \"manual\"";
            return Err(Fault::new(MIDGE_E_STATE, what));
        }
        object.broker.clock().advance(Duration::from_millis(ms));
        Ok(())
    })
}

/// Disconnects a client; its will is published.
///
/// @param reason  MQTT reason code of 0x80 or above, for example 0x98 Administrative action
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND (it is not connected), MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_disconnect(
    b: midge_broker,
    client_id: *const c_char,
    reason: u8,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string, or NULL.
        let client_id = unsafe { ffi::text(client_id, "client_id") }?;
        let code = ReasonCode::from_u8(reason).filter(|code| code.is_error());
        let Some(code) = code else {
            let message = format!("reason is {reason}, no reason code of 0x80 or above");
            return Err(Fault::invalid(message));
        };
        let object = BROKERS.find(b.id)?;

        if object.broker.disconnect(client_id, code) {
            Ok(())
        } else {
            Err(Fault::new(MIDGE_E_NOT_FOUND, "no such client is connected"))
        }
    })
}

/// Ends a session, and its connection if there is one.
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_clear_session(
    b: midge_broker,
    client_id: *const c_char,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string, or NULL.
        let client_id = unsafe { ffi::text(client_id, "client_id") }?;
        let object = BROKERS.find(b.id)?;
        if object.broker.clear_session(client_id) {
            Ok(())
        } else {
            Err(Fault::new(MIDGE_E_NOT_FOUND, "there is no such session"))
        }
    })
}

/// The retained messages that match a filter, in the order of their topics.
///
/// @param out    receives references, each to be given back with midge_message_unref(); may be NULL
///               if cap is 0
/// @param cap    room in out
/// @param count  receives how many match. If that is more than cap the rest is left out.
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_retained(
    b: midge_broker,
    filter: *const c_char,
    out: *mut *const midge_message,
    cap: usize,
    count: *mut usize,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string, or NULL.
        let filter = unsafe { ffi::text(filter, "filter") }?;
        check_filter(filter)?;
        ffi::not_null(count, "count")?;
        if cap > 0 {
            ffi::not_null(out, "out")?;
        }

        let found = BROKERS.find(b.id)?.broker.retained(filter);

        // SAFETY: not NULL; `out` has room for `cap` pointers.
        unsafe {
            ffi::write(count, found.len());
            for (at, message) in found.into_iter().take(cap).enumerate() {
                out.add(at)
                    .write(Arc::into_raw(midge_message::received(message)));
            }
        }

        Ok(())
    })
}

pub(crate) fn check_filter(filter: &str) -> Result<(), Fault> {
    match TopicFilter::new(filter) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::invalid("filter is not a valid topic filter")),
    }
}

/// Sets the retained message of a topic without delivering it. An empty payload removes it.
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_LIMIT (too large, or the store is full), MIDGE_E_NOMEM
///         (for a copy of the payload), MIDGE_E_STATE, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_set_retained(
    b: midge_broker,
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string and bytes, or NULL.
        let (topic, payload) = unsafe {
            (
                ffi::text(topic, "topic")?,
                ffi::bytes(payload, len, "payload")?,
            )
        };
        set_retained(b, topic, payload)
    })
}

pub(crate) fn set_retained(b: midge_broker, topic: &str, payload: &[u8]) -> Result<(), Fault> {
    let object = BROKERS.find(b.id)?;
    let set = object
        .broker
        .set_retained(topic, ffi::copy(payload, "payload")?);
    set.map_err(|error| match error {
        broker::PublishError::Refused(_) => {
            Fault::new(MIDGE_E_LIMIT, "payload: the retained store is full")
        }
        error => publish::fault(&error, ""),
    })
}

/// Removes the retained messages that match a filter.
///
/// @param removed  may be NULL; receives how many they were
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_clear_retained(
    b: midge_broker,
    filter: *const c_char,
    removed: *mut usize,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string, or NULL.
        let filter = unsafe { ffi::text(filter, "filter") }?;
        let count = clear_retained(b, filter)?;
        // SAFETY: the host's variable, or NULL.
        unsafe { ffi::write(removed, count) };
        Ok(())
    })
}

pub(crate) fn clear_retained(b: midge_broker, filter: &str) -> Result<usize, Fault> {
    check_filter(filter)?;
    Ok(BROKERS.find(b.id)?.broker.clear_retained(filter))
}

/// Connects to the broker without a network: a connected, blocking, close-on-exec socket that
/// speaks MQTT, for a client library that takes a descriptor. On Windows it is a SOCKET, of a connection
/// over the loopback interface.
///
/// @param fd  receives the descriptor; the caller closes it, on Windows with closesocket()
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_LIMIT (limits.connections, limits.connect_rate),
///         MIDGE_E_STATE (the broker stops), MIDGE_E_IO, MIDGE_E_CLOSED, MIDGE_E_UNSUPPORTED (a build
///         without "unix")
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_connect_fd(b: midge_broker, fd: *mut i32) -> midge_status {
    enter(|| {
        ffi::not_null(fd, "fd")?;

        let object = BROKERS.find(b.id)?;
        object.check_running()?;

        let socket = object.broker.connect_fd().map_err(|error| {
            // Whatever has failed, if it stops by now that is why.
            if let Err(stops) = object.check_running() {
                return stops;
            }
            match error {
                ConnectError::Io(source) => Fault::io("cannot make a socket pair", &source),
                ConnectError::LeftOut(left_out) => {
                    Fault::new(MIDGE_E_UNSUPPORTED, left_out.to_string())
                }
                _ => Fault::new(
                    MIDGE_E_LIMIT,
                    "the broker takes no more connections: limits.connections or limits.connect_rate",
                ),
            }
        })?;
        let number = descriptor::give(socket)?;
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(fd, number) };
        Ok(())
    })
}
