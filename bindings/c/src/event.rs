//! Events as C sees them.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use broker::{DisconnectReason, Event, EventKind, EventMask, ReasonCode, Version};

use crate::ffi::{self, midge_bytes};
use crate::message::midge_message;
use crate::names;
use crate::process;
use crate::queue::Entry;
use crate::source::Item;
use crate::status::{Fault, MIDGE_E_DENIED, MIDGE_OK, midge_status};

/// A message for a subscription of a client that uses the queue. Always delivered, whatever the
/// mask of the queue.
pub const MIDGE_EV_MESSAGE: u32 = 1;
/// A client connected (status MIDGE_OK; text is its user name, code 1 if it has resumed a session, else
/// 0, detail its protocol: 3, 4 or 5), or a connection was refused (MIDGE_E_DENIED; code is the MQTT
/// reason code, detail a MIDGE_END_* number, text says why, refusal is the text of the refusal).
/// username is the user name either way.
pub const MIDGE_EV_CONNECT: u32 = 1 << 1;
/// A connected client's connection ended. code is the MQTT reason code, detail a MIDGE_END_* number,
/// text says why.
pub const MIDGE_EV_DISCONNECT: u32 = 1 << 2;
/// A subscription was made (MIDGE_OK; topic is the filter, code the granted QoS) or refused
/// (MIDGE_E_DENIED; code is the MQTT reason code).
pub const MIDGE_EV_SUBSCRIBE: u32 = 1 << 3;
/// A subscription was removed. topic is the filter.
pub const MIDGE_EV_UNSUBSCRIBE: u32 = 1 << 4;
/// A client has acknowledged a QoS 1 or 2 message.
pub const MIDGE_EV_ACK: u32 = 1 << 5;
/// A message was dropped. code is a MIDGE_DROP_* number, text its name.
pub const MIDGE_EV_DROP: u32 = 1 << 6;
/// A message was accepted. code is the number of receivers. One event for each message.
pub const MIDGE_EV_PUBLISH: u32 = 1 << 7;
/// A message was written to a client. code is the QoS. One event for each copy.
pub const MIDGE_EV_DELIVER: u32 = 1 << 8;
/// A retained message expired.
pub const MIDGE_EV_EXPIRE: u32 = 1 << 9;
/// A session ended: it expired, was cleared or replaced.
pub const MIDGE_EV_SESSION_END: u32 = 1 << 10;
/// A will was published.
pub const MIDGE_EV_WILL: u32 = 1 << 11;
/// A reason code that a callback or the host gave cannot stand in its packet, and the client got
/// another one. code is the one that was sent, tag the one that was given, detail a MIDGE_PACKET_*
/// number, text its name, for example "PUBACK".
pub const MIDGE_EV_REPLACED: u32 = 1 << 12;
/// All kinds.
pub const MIDGE_EV_ALL: u32 = 0x1FFF;

/// What a queue delivers. Begin with MIDGE_EVENT_INIT; after each success of midge_queue_next() call
/// midge_event_clear(). Everything that it points to is valid until then.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_event {
    /// sizeof(midge_event), set by the caller.
    pub struct_size: u32,
    /// One MIDGE_EV_* bit.
    pub r#type: u32,
    /// What the library keeps for this event; not to be touched.
    pub owner: *mut c_void,
    /// Number of the event in its queue, from 1. A gap is what was lost.
    pub seq: u64,
    /// Events lost just before this one because the queue was full.
    pub lost: u64,
    /// When it came into the queue: nanoseconds of CLOCK_REALTIME, since 1970 in UTC.
    pub wall_ns: u64,
    /// When it came into the queue: nanoseconds of CLOCK_MONOTONIC, on Windows of
    /// QueryPerformanceCounter().
    pub mono_ns: u64,
    /// MIDGE_OK, or MIDGE_E_DENIED for what was refused.
    pub status: midge_status,
    /// A number that depends on the type.
    pub code: u32,
    /// The tag of the subscription, for a message; the reason code that was given, for
    /// MIDGE_EV_REPLACED; else 0.
    pub tag: u32,
    /// A second number that depends on the type, else 0.
    pub detail: u32,
    /// Client identifier, or empty.
    pub client_id: midge_bytes,
    /// Where the client comes from, or empty.
    pub peer_addr: midge_bytes,
    /// Topic name or filter, or empty.
    pub topic: midge_bytes,
    /// A text that depends on the type, or empty.
    pub text: midge_bytes,
    /// The message, or NULL. midge_message_ref() keeps it.
    pub message: *const midge_message,
    /// User name of a client that connected or was refused (MIDGE_EV_CONNECT), or empty.
    pub username: midge_bytes,
    /// For a connection that was refused: what the refusal says beyond code and detail, for example
    /// the text of midge_refuse(); or empty.
    pub refusal: midge_bytes,
    /// Number of the connection that it concerns, or 0. Each connection of a broker has one of its own,
    /// from 1 on and never used again: it tells two of the same client identifier apart. For
    /// MIDGE_EV_PUBLISH it is that of the publisher; 0 for MIDGE_EV_MESSAGE.
    pub connection: u64,
    /// Number of the session that it concerns, or 0; as connection. A session that is resumed keeps its
    /// number.
    pub session: u64,
    /// Number of the message that it is about, or 0: the same in all events about one message. For
    /// MIDGE_EV_MESSAGE and a message that was not taken from its publisher 0.
    pub message_number: u64,
}

/// All of the first version: an event with less would lose its owner.
const LEAST: usize = std::mem::offset_of!(midge_event, username);

const EMPTY: midge_event = midge_event {
    struct_size: size_of::<midge_event>() as u32,
    r#type: 0,
    owner: std::ptr::null_mut(),
    seq: 0,
    lost: 0,
    wall_ns: 0,
    mono_ns: 0,
    status: MIDGE_OK,
    code: 0,
    tag: 0,
    detail: 0,
    client_id: midge_bytes::EMPTY,
    peer_addr: midge_bytes::EMPTY,
    topic: midge_bytes::EMPTY,
    text: midge_bytes::EMPTY,
    message: std::ptr::null(),
    username: midge_bytes::EMPTY,
    refusal: midge_bytes::EMPTY,
    connection: 0,
    session: 0,
    message_number: 0,
};

/// What an event borrows from. A message alone, the frequent case, needs no box.
struct Owner {
    _event: Box<Event>,
    message: Option<Arc<midge_message>>,
}

/// Tells in the lowest bit of `owner`, which is free by alignment, what it points to.
const BOXED: usize = 1;

/// The bit of each kind of the engine, in the order of [`EventKind::ALL`].
const BITS: [(EventKind, u32); EventKind::ALL.len()] = [
    (EventKind::ClientConnected, MIDGE_EV_CONNECT),
    (EventKind::ConnectionRefused, MIDGE_EV_CONNECT),
    (EventKind::ClientDisconnected, MIDGE_EV_DISCONNECT),
    (EventKind::Subscribed, MIDGE_EV_SUBSCRIBE),
    (EventKind::Unsubscribed, MIDGE_EV_UNSUBSCRIBE),
    (EventKind::Published, MIDGE_EV_PUBLISH),
    (EventKind::Delivered, MIDGE_EV_DELIVER),
    (EventKind::Acknowledged, MIDGE_EV_ACK),
    (EventKind::Dropped, MIDGE_EV_DROP),
    (EventKind::RetainedExpired, MIDGE_EV_EXPIRE),
    (EventKind::SessionEnded, MIDGE_EV_SESSION_END),
    (EventKind::WillSent, MIDGE_EV_WILL),
    (EventKind::SubscribeRefused, MIDGE_EV_SUBSCRIBE),
    (EventKind::ReasonReplaced, MIDGE_EV_REPLACED),
];

/// A new kind of event needs its row.
const _: () = {
    let mut at = 0;
    while at < BITS.len() {
        assert!(BITS[at].0 as usize == at && EventKind::ALL[at] as usize == at);
        at += 1;
    }
};

/// The kinds of the engine behind a mask of C.
pub(crate) fn mask(mask: u32) -> EventMask {
    BITS.into_iter()
        .filter(|(_, bit)| mask & bit != 0)
        .fold(EventMask::NONE, |all, (kind, _)| {
            all.union(EventMask::of(kind))
        })
}

/// Why a connection ended: the MQTT reason code, a number and a name.
fn ended(reason: &DisconnectReason) -> (u32, u32, &'static str) {
    let code = reason.code().unwrap_or(ReasonCode::UnspecifiedError);
    let name = match reason {
        DisconnectReason::ProtocolViolation { what, .. } => what,
        other => other.name(),
    };
    (code as u32, names::end_number(reason), name)
}

/// The protocol level of a version.
pub(crate) fn protocol(version: Version) -> u8 {
    match version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    }
}

fn describe(event: &Event, out: &mut midge_event) -> Option<Arc<midge_message>> {
    let kind = event.kind();
    out.r#type = BITS.get(kind as usize).map_or(0, |(_, bit)| *bit);
    out.client_id = midge_bytes::of_option(event.client_id());
    out.peer_addr = midge_bytes::of_option(event.peer());
    out.topic = midge_bytes::of_option(event.topic());
    out.username = midge_bytes::of_option(event.username());
    out.refusal = midge_bytes::of_option(event.text());
    out.text = midge_bytes::of_option(event.reason().or(event.username()));
    out.tag = event.given_code().map_or(0, |code| code as u32);
    out.code = code(event);
    out.connection = event.connection().unwrap_or(0);
    out.session = event.session().unwrap_or(0);
    out.message_number = event.message_number().unwrap_or(0);

    if let EventKind::ConnectionRefused | EventKind::SubscribeRefused = kind {
        out.status = MIDGE_E_DENIED;
    }
    if let Some(reason) = event.disconnect_reason() {
        let text;
        (out.code, out.detail, text) = ended(reason);
        out.text = midge_bytes::of(text);
    }
    if let Some(version) = event.version() {
        out.detail = protocol(version).into();
    }
    if let Some(packet) = event.packet() {
        out.detail = names::packet_number(packet);
    }

    event.message().cloned().map(midge_message::stored)
}

/// The number that depends on the type.
fn code(event: &Event) -> u32 {
    match event.kind() {
        EventKind::ClientConnected => event.session_present().unwrap_or(false).into(),
        EventKind::Published => event
            .matched()
            .map_or(0, |matched| u32::try_from(matched).unwrap_or(u32::MAX)),
        EventKind::Dropped => event.drop_reason().map_or(0, |reason| reason as u32),
        EventKind::Subscribed | EventKind::Delivered => event.qos().map_or(0, |qos| qos as u32),
        _ => event.code().map_or(0, |code| code as u32),
    }
}

/// Hands an entry to C. What is written owns memory until [`release`]. It is put together in place:
/// to copy what was just written field by field stalls the processor.
///
/// # Safety
/// `out` was checked with [`check_out`] and is writable.
pub(crate) unsafe fn write(entry: Entry, out: *mut midge_event) {
    // SAFETY: as the caller promises; whatever is there has a size.
    let struct_size = unsafe { (&raw const (*out).struct_size).read() };
    if (struct_size as usize) < size_of::<midge_event>() {
        // SAFETY: as the caller promises.
        return unsafe { write_short(entry, out) };
    }

    // SAFETY: as the caller promises; it has room for the whole.
    unsafe { write_whole(entry, struct_size, out) };
}

/// For a program with an older header, whose events are shorter.
///
/// # Safety
/// As [`write`].
#[cold]
unsafe fn write_short(entry: Entry, out: *mut midge_event) {
    let mut whole = EMPTY;
    // SAFETY: it is writable, and has all of its size.
    unsafe { write_whole(entry, whole.struct_size, &raw mut whole) };
    // SAFETY: as the caller promises.
    let written = unsafe { ffi::write_struct(out, &whole, LEAST, "ev") };
    debug_assert!(written.is_ok(), "checked by the caller");
}

/// Writes an event where there is room for all of it.
///
/// # Safety
/// `out` is writable, and has the whole size of an event.
#[inline(always)]
unsafe fn write_whole((entry, arrived): Entry, struct_size: u32, out: *mut midge_event) {
    let head = midge_event {
        struct_size,
        seq: arrived.seq,
        lost: arrived.lost,
        wall_ns: arrived.stamp.wall,
        mono_ns: arrived.stamp.monotonic,
        tag: entry.tag,
        ..EMPTY
    };

    // SAFETY: as the caller promises; a whole event since then.
    let out = unsafe {
        out.write(head);
        &mut *out
    };

    match entry.item {
        Item::Message(message) => {
            let message = Arc::into_raw(midge_message::received(message));
            // SAFETY: just made.
            let (_, id) = unsafe { &*message }.origin();
            out.r#type = MIDGE_EV_MESSAGE;
            out.client_id = midge_bytes::of(id);
            out.owner = message.cast_mut().cast();
            set_message(out, message);
        }
        Item::Event(event) => {
            // What the event points to does not move when the event itself does.
            let message = describe(&event, out);
            if let Some(message) = &message {
                set_message(out, Arc::as_ptr(message));
            }
            let owner = Owner {
                _event: event,
                message,
            };
            let owner = Box::into_raw(Box::new(owner)).cast::<c_void>();
            out.owner = owner.map_addr(|address| address | BOXED);
        }
    }
}

fn set_message(out: &mut midge_event, message: *const midge_message) {
    out.message = message;
    // SAFETY: alive as long as the owner.
    out.topic = midge_bytes::of(unsafe { &*message }.topic());
}

/// Frees what an event owns.
///
/// # Safety
/// `owner` comes from [`write`] and was not released.
unsafe fn release(owner: *mut c_void) {
    if owner.is_null() {
        return;
    }
    if owner.addr() & BOXED != 0 {
        let owner = owner.map_addr(|address| address & !BOXED).cast::<Owner>();
        // SAFETY: made by `write` with Box::into_raw.
        let owner = unsafe { Box::from_raw(owner) };
        drop(owner.message);
    } else {
        // SAFETY: made by `write` with Arc::into_raw.
        midge_message::release(unsafe { Arc::from_raw(owner.cast::<midge_message>()) });
    }
}

/// Whether an event can be written to.
pub(crate) fn check_out(out: *const midge_event) -> Result<(), Fault> {
    ffi::check_out_struct(out, LEAST, "ev")
}

/// Shows an entry to a callback.
pub(crate) fn with(entry: Entry, callback: impl FnOnce(&midge_event)) {
    let mut event = EMPTY;
    // SAFETY: it is writable, and has all of its size.
    unsafe { write(entry, &raw mut event) };
    callback(&event);
    // SAFETY: just written.
    unsafe { release(event.owner) };
}

/// Frees what an event holds and empties it. NULL, an empty event and a second call are nothing.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_event_clear(ev: *mut midge_event) {
    if process::is_forked_child() || check_out(ev).is_err() {
        return;
    }
    ffi::enter_often(|| {
        // SAFETY: large enough, and either initialised by the host or written by this library.
        unsafe {
            let owner = std::mem::replace(&mut (*ev).owner, std::ptr::null_mut());
            ffi::write_struct(ev, &EMPTY, LEAST, "ev")?;
            release(owner);
        }
        Ok(())
    });
}

/// The name of a MIDGE_EV_* bit, for example "disconnect"; "unknown" for others and for several bits.
/// Static.
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_event_name(r#type: u32) -> *const c_char {
    let name = match r#type {
        MIDGE_EV_MESSAGE => c"message",
        MIDGE_EV_CONNECT => c"connect",
        MIDGE_EV_DISCONNECT => c"disconnect",
        MIDGE_EV_SUBSCRIBE => c"subscribe",
        MIDGE_EV_UNSUBSCRIBE => c"unsubscribe",
        MIDGE_EV_ACK => c"ack",
        MIDGE_EV_DROP => c"drop",
        MIDGE_EV_PUBLISH => c"publish",
        MIDGE_EV_DELIVER => c"deliver",
        MIDGE_EV_EXPIRE => c"expire",
        MIDGE_EV_SESSION_END => c"session_end",
        MIDGE_EV_WILL => c"will",
        MIDGE_EV_REPLACED => c"replaced",
        _ => c"unknown",
    };
    name.as_ptr()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn every_kind_of_the_engine_can_be_asked_for() {
        assert_eq!(mask(MIDGE_EV_ALL), EventMask::ALL);
        assert_eq!(mask(MIDGE_EV_MESSAGE), EventMask::NONE);
    }

    #[test]
    fn every_kind_has_its_name() {
        for bit in 0..32 {
            let known = MIDGE_EV_ALL & (1 << bit) != 0;
            // SAFETY: a static text.
            let name = unsafe { CStr::from_ptr(midge_event_name(1 << bit)) };
            assert_eq!(name != c"unknown", known);
        }
    }
}
