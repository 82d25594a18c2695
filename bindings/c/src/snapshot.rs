//! Snapshots: clients, sessions, subscriptions or retained messages of one moment, read one by one.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::sync::Arc;

use broker::{ClientView, Message, SessionView, SubscriptionView};
use parking_lot::Mutex;

use crate::broker_handle::{BROKERS, midge_broker};
use crate::by_length::length;
use crate::event;
use crate::ffi::{self, enter, midge_bytes};
use crate::inspect;
use crate::message::midge_message;
use crate::status::{Fault, MIDGE_E_NOT_FOUND, midge_status};
use crate::table::Table;

/// A list of what there was at one moment. A number, not a pointer: a stale one gives MIDGE_E_CLOSED.
/// {0} is the null handle. It outlives its broker. It holds some hundred bytes for each item that was
/// not read, shares identifiers, filters and payloads with the broker, and keeps the texts of what was
/// read until it is freed.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_snapshot {
    /// The number.
    pub id: u64,
}

static SNAPSHOTS: Table<SnapshotObject> = Table::new("snapshot", 6);

struct SnapshotObject {
    /// Number of items that there were, those included that are left out.
    total: usize,
    state: Mutex<State>,
}

struct State {
    items: Items,
    /// Texts that were handed out. They do not move.
    texts: Vec<Box<[u8]>>,
}

enum Items {
    Clients(VecDeque<ClientView>),
    Sessions(VecDeque<SessionView>),
    Subscriptions(VecDeque<SubscriptionView>),
    Messages(VecDeque<Message>),
}

impl Items {
    fn len(&self) -> usize {
        match self {
            Self::Clients(items) => items.len(),
            Self::Sessions(items) => items.len(),
            Self::Subscriptions(items) => items.len(),
            Self::Messages(items) => items.len(),
        }
    }

    fn are_not(&self, wanted: &str) -> Fault {
        let have = match self {
            Self::Clients(_) => "clients",
            Self::Sessions(_) => "sessions",
            Self::Subscriptions(_) => "subscriptions",
            Self::Messages(_) => "messages",
        };
        Fault::invalid(format!("s is a snapshot of {have}, not of {wanted}"))
    }
}

impl State {
    /// A text with a NUL behind it that stays until the snapshot is freed.
    fn text(&mut self, text: &str) -> midge_bytes {
        if text.is_empty() {
            return midge_bytes::EMPTY;
        }
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        let bytes = bytes.into_boxed_slice();
        let shown = midge_bytes::of(&bytes[..text.len()]);
        self.texts.push(bytes);
        shown
    }
}

/// Keeps the first `max` items, or all of them.
fn first<T>(mut items: Vec<T>, max: usize) -> VecDeque<T> {
    if max > 0 && items.len() > max {
        items.truncate(max);
        items.shrink_to_fit();
    }
    items.into()
}

/// # Safety
/// `out` is writable.
unsafe fn give(out: *mut midge_snapshot, total: usize, items: Items) -> Result<(), Fault> {
    let state = State {
        items,
        texts: Vec::new(),
    };
    let state = Mutex::new(state);
    let id = SNAPSHOTS.add(Arc::new(SnapshotObject { total, state }));
    // SAFETY: as the caller promises.
    unsafe { ffi::write(out, midge_snapshot { id }) };
    Ok(())
}

fn nothing_left() -> Fault {
    Fault::new(MIDGE_E_NOT_FOUND, "nothing is left in the snapshot")
}

/// The connected clients, in no particular order. Those that come or go meanwhile may be among them.
///
/// @param max  most items that are kept; 0 for all
/// @param out  receives the handle; free it with midge_snapshot_free()
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_snapshot_clients(
    b: midge_broker,
    max: usize,
    out: *mut midge_snapshot,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        let all = BROKERS.find(b.id)?.broker.clients();
        // SAFETY: not NULL, so writable.
        unsafe { give(out, all.len(), Items::Clients(first(all, max))) }
    })
}

/// The sessions, connected or not, in no particular order. Those that begin or end meanwhile may be
/// among them.
///
/// @param max  most items that are kept; 0 for all
/// @param out  receives the handle; free it with midge_snapshot_free()
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_snapshot_sessions(
    b: midge_broker,
    max: usize,
    out: *mut midge_snapshot,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        let all = BROKERS.find(b.id)?.broker.sessions();
        // SAFETY: not NULL, so writable.
        unsafe { give(out, all.len(), Items::Sessions(first(all, max))) }
    })
}

/// The subscriptions of one session, or of all, in no particular order. Those of clients inside the
/// process are not among them.
///
/// @param client_id  may be NULL, for those of all sessions; a client identifier without session has
///                   none
/// @param max        most items that are kept; 0 for all
/// @param out        receives the handle; free it with midge_snapshot_free()
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_snapshot_subscriptions(
    b: midge_broker,
    client_id: *const c_char,
    max: usize,
    out: *mut midge_snapshot,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        // SAFETY: the host's string, or NULL.
        let client_id = unsafe { ffi::optional_text(client_id, "client_id") }?;
        let all = BROKERS.find(b.id)?.broker.subscriptions(client_id);
        // SAFETY: not NULL, so writable.
        unsafe { give(out, all.len(), Items::Subscriptions(first(all, max))) }
    })
}

/// The retained messages that match a filter, in the order of their topics.
///
/// @param filter      topic filter
/// @param filter_len  bytes of the filter, or MIDGE_NUL_TERMINATED
/// @param max         most items that are kept; 0 for all
/// @param out         receives the handle; free it with midge_snapshot_free()
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_snapshot_retained(
    b: midge_broker,
    filter: *const c_char,
    filter_len: usize,
    max: usize,
    out: *mut midge_snapshot,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        // SAFETY: the host's string, or NULL.
        let filter = unsafe { ffi::text_of(filter, length(filter_len), "filter") }?;
        inspect::check_filter(filter)?;
        let all = BROKERS.find(b.id)?.broker.retained(filter);
        // SAFETY: not NULL, so writable.
        unsafe { give(out, all.len(), Items::Messages(first(all, max))) }
    })
}

/// Number of items in a snapshot.
///
/// @param left   may be NULL; receives how many items were not read yet
/// @param total  may be NULL; receives how many there were in all, those included that max has left out
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_snapshot_size(
    s: midge_snapshot,
    left: *mut usize,
    total: *mut usize,
) -> midge_status {
    enter(|| {
        let snapshot = SNAPSHOTS.find(s.id)?;
        let remaining = snapshot.state.lock().items.len();
        // SAFETY: the host's variables, or NULL.
        unsafe {
            ffi::write(left, remaining);
            ffi::write(total, snapshot.total);
        }
        Ok(())
    })
}

/// Frees a snapshot and its texts. The null handle is nothing.
/// @return MIDGE_OK, MIDGE_E_CLOSED, MIDGE_E_FORKED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_snapshot_free(s: midge_snapshot) -> midge_status {
    enter(|| SNAPSHOTS.remove(s.id).map(drop))
}

/// A connected client. Its texts are valid until the snapshot is freed, and have a NUL behind them.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_client_info {
    /// sizeof(midge_client_info), set by the caller.
    pub struct_size: u32,
    /// 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0.
    pub protocol: u8,
    /// 0.
    pub reserved: [u8; 3],
    /// Client identifier.
    pub client_id: midge_bytes,
    /// User name, or empty.
    pub username: midge_bytes,
    /// Where it comes from.
    pub peer_addr: midge_bytes,
    /// URL of the listener that took the connection.
    pub listener: midge_bytes,
    /// Messages that wait for it.
    pub queued: u64,
    /// QoS 1 and 2 messages in flight towards it.
    pub inflight: u64,
    /// Its subscriptions.
    pub subscriptions: u64,
    /// Number of its connection, as midge_event.connection.
    pub connection: u64,
    /// Number of its session, as midge_event.session.
    pub session: u64,
}

/// The next client of a snapshot. Two threads that read one snapshot get different ones.
///
/// @param out  its struct_size must be set; as much as fits is written
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND (nothing is left), MIDGE_E_INVALID (not a snapshot of clients),
///         MIDGE_E_ABI, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_snapshot_next_client(
    s: midge_snapshot,
    out: *mut midge_client_info,
) -> midge_status {
    enter(|| {
        ffi::check_out_struct(out, ffi::HEAD, "out")?;

        let snapshot = SNAPSHOTS.find(s.id)?;
        let mut state = snapshot.state.lock();
        let Items::Clients(items) = &mut state.items else {
            return Err(state.items.are_not("clients"));
        };
        let client = items.pop_front().ok_or_else(nothing_left)?;
        let info = midge_client_info {
            struct_size: size_of::<midge_client_info>() as u32,
            protocol: event::protocol(client.info.version),
            reserved: [0; 3],
            client_id: state.text(&client.info.client_id),
            username: state.text(client.info.username.as_deref().unwrap_or_default()),
            peer_addr: state.text(&client.info.peer),
            listener: state.text(&client.info.listener),
            queued: client.queued as u64,
            inflight: client.inflight as u64,
            subscriptions: client.subscriptions as u64,
            connection: client.connection,
            session: client.session,
        };
        // SAFETY: checked above.
        unsafe { ffi::write_struct(out, &info, ffi::HEAD, "out") }
    })
}

/// A session, connected or not. Its texts are valid until the snapshot is freed, and have a NUL behind
/// them.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_session_info {
    /// sizeof(midge_session_info), set by the caller.
    pub struct_size: u32,
    /// 1 if a client is connected.
    pub connected: u8,
    /// 1 if it has a will that was not published.
    pub has_will: u8,
    /// 0.
    pub reserved: u16,
    /// Session expiry interval in seconds, UINT32_MAX for never.
    pub expiry_s: u32,
    /// 0.
    pub reserved2: u32,
    /// When the client was last connected, in milliseconds since the broker's start (as
    /// midge_stats.uptime_ms); 0 if it is connected.
    pub disconnected_ms: u64,
    /// Client identifier.
    pub client_id: midge_bytes,
    /// Messages that wait.
    pub queued: u64,
    /// Bytes of the messages that wait or are in flight.
    pub queued_bytes: u64,
    /// QoS 1 and 2 messages in flight.
    pub inflight: u64,
    /// Its subscriptions.
    pub subscriptions: u64,
    /// User name of the client that made it, or empty: no other user may resume it.
    pub username: midge_bytes,
    /// Number of the session, as midge_event.session.
    pub session: u64,
}

/// The next session of a snapshot. Two threads that read one snapshot get different ones.
///
/// @param out  its struct_size must be set; as much as fits is written
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND (nothing is left), MIDGE_E_INVALID (not a snapshot of sessions),
///         MIDGE_E_ABI, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_snapshot_next_session(
    s: midge_snapshot,
    out: *mut midge_session_info,
) -> midge_status {
    enter(|| {
        ffi::check_out_struct(out, ffi::HEAD, "out")?;

        let snapshot = SNAPSHOTS.find(s.id)?;
        let mut state = snapshot.state.lock();
        let Items::Sessions(items) = &mut state.items else {
            return Err(state.items.are_not("sessions"));
        };
        let session = items.pop_front().ok_or_else(nothing_left)?;
        let info = midge_session_info {
            struct_size: size_of::<midge_session_info>() as u32,
            connected: u8::from(session.connected),
            has_will: u8::from(session.has_will),
            reserved: 0,
            expiry_s: session.expiry_s,
            reserved2: 0,
            disconnected_ms: session.disconnected_at.map_or(0, |tick| tick.0),
            client_id: state.text(&session.client_id),
            queued: session.queued as u64,
            queued_bytes: session.queued_bytes as u64,
            inflight: session.inflight as u64,
            subscriptions: session.subscriptions as u64,
            username: state.text(session.username.as_deref().unwrap_or_default()),
            session: session.number,
        };
        // SAFETY: checked above.
        unsafe { ffi::write_struct(out, &info, ffi::HEAD, "out") }
    })
}

/// A subscription. Its texts are valid until the snapshot is freed, and have a NUL behind them.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_subscription_info {
    /// sizeof(midge_subscription_info), set by the caller.
    pub struct_size: u32,
    /// Granted QoS.
    pub qos: u8,
    /// 1 if the client does not get its own messages.
    pub no_local: u8,
    /// 1 if the RETAIN flag stays as published.
    pub retain_as_published: u8,
    /// A MIDGE_RETAIN_* number.
    pub retain_handling: u8,
    /// Subscription identifier, 0 for none.
    pub subscription_id: u32,
    /// 0.
    pub reserved: u32,
    /// Client identifier.
    pub client_id: midge_bytes,
    /// Topic filter as sent, $share/group/ included.
    pub filter: midge_bytes,
}

/// The next subscription of a snapshot. Two threads that read one snapshot get different ones.
///
/// @param out  its struct_size must be set; as much as fits is written
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND (nothing is left), MIDGE_E_INVALID (not a snapshot of
///         subscriptions), MIDGE_E_ABI, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_snapshot_next_subscription(
    s: midge_snapshot,
    out: *mut midge_subscription_info,
) -> midge_status {
    enter(|| {
        ffi::check_out_struct(out, ffi::HEAD, "out")?;

        let snapshot = SNAPSHOTS.find(s.id)?;
        let mut state = snapshot.state.lock();
        let Items::Subscriptions(items) = &mut state.items else {
            return Err(state.items.are_not("subscriptions"));
        };
        let subscription = items.pop_front().ok_or_else(nothing_left)?;
        let options = subscription.options;
        let info = midge_subscription_info {
            struct_size: size_of::<midge_subscription_info>() as u32,
            qos: options.qos as u8,
            no_local: u8::from(options.no_local),
            retain_as_published: u8::from(options.retain_as_published),
            retain_handling: options.retain_handling as u8,
            subscription_id: subscription.id.unwrap_or(0),
            reserved: 0,
            client_id: state.text(&subscription.client_id),
            filter: state.text(&subscription.filter),
        };
        // SAFETY: checked above.
        unsafe { ffi::write_struct(out, &info, ffi::HEAD, "out") }
    })
}

/// The next message of a snapshot. Two threads that read one snapshot get different ones.
///
/// @param out  receives a reference, to be given back with midge_message_unref(), before or after the
///             snapshot is freed
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND (nothing is left), MIDGE_E_INVALID (not a snapshot of messages),
///         MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_snapshot_next_message(
    s: midge_snapshot,
    out: *mut *const midge_message,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        let snapshot = SNAPSHOTS.find(s.id)?;
        let mut state = snapshot.state.lock();
        let Items::Messages(items) = &mut state.items else {
            return Err(state.items.are_not("messages"));
        };
        let message = items.pop_front().ok_or_else(nothing_left)?;
        drop(state);
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(out, Arc::into_raw(midge_message::received(message))) };
        Ok(())
    })
}
