//! One connection, as the hub and the side that does its IO share it.

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use crate::sync::{Mutex, OnceLock};

use super::Session;
use crate::client::ClientInfo;
use crate::event::Whom;
use crate::flush::{Flush, Waits};
use crate::outbox::Outbox;
use crate::reason::DisconnectReason;
use crate::time::{Tick, TimerKey};

/// See `Link::held`.
const UNIT: usize = 4096;

/// One connection. Its end is decided exactly once, by what comes first: the client, a deadline,
/// another connection with the same client identifier, the host.
#[repr(C)]
pub struct Link {
    ended: OnceLock<Box<DisconnectReason>>,
    /// The side that does the IO must write.
    write_requested: AtomicBool,
    /// It is to be flushed at a commit.
    awaits_commit: AtomicBool,
    last_received: AtomicU64,
    pub(crate) session: OnceLock<Arc<Session>>,
    pub(crate) io: Arc<dyn Flush>,
    detached: Mutex<Detached>,
    /// Longest silence in milliseconds, 0 for any.
    silence_ms: AtomicU64,
    pub(crate) timer: Mutex<Option<TimerKey>>,
    /// Charge for input that is not handled (the lower half) and for output that is taken and
    /// not written (the upper half), in units of 4 KiB.
    held: AtomicU32,
    /// Bytes charged until it is closed, beyond what every connection is.
    charged: AtomicU32,
    pub(crate) peer: Arc<str>,
    pub(crate) listener: Arc<str>,
    /// No other connection of its hub has or had it.
    number: u64,
}

/// What a connection has mostly before a session is attached and after it was detached.
#[derive(Default)]
struct Detached {
    output: Option<Box<Outbox>>,
    /// The client that wants to connect, from CONNECT until a session is attached.
    caller: Option<Arc<ClientInfo>>,
}

impl Link {
    pub(crate) fn new(
        number: u64,
        peer: Arc<str>,
        listener: Arc<str>,
        io: Arc<dyn Flush>,
        now: Tick,
    ) -> Self {
        Self {
            number,
            peer,
            listener,
            io,
            detached: Mutex::default(),
            session: OnceLock::new(),
            ended: OnceLock::new(),
            last_received: AtomicU64::new(now.0),
            write_requested: AtomicBool::new(false),
            awaits_commit: AtomicBool::new(false),
            silence_ms: AtomicU64::new(0),
            timer: Mutex::new(None),
            held: AtomicU32::new(0),
            charged: AtomicU32::new(0),
        }
    }

    /// Why the connection ended, if it has. The rest of the outbox must be written, then the
    /// transport is to be closed.
    pub fn ended(&self) -> Option<&DisconnectReason> {
        self.ended.get().map(|reason| &**reason)
    }

    /// Whether this is the first reason.
    pub(crate) fn set_ended(&self, reason: DisconnectReason) -> bool {
        self.ended.set(Box::new(reason)).is_ok()
    }

    /// Asks the side that does the IO to write, when another thread could not or must not.
    pub fn request_write(&self) {
        self.write_requested.store(true, Ordering::Release);
    }

    /// Whether a write was requested since the last call.
    pub fn take_write_request(&self) -> bool {
        self.write_requested.load(Ordering::Acquire)
            && self.write_requested.swap(false, Ordering::AcqRel)
    }

    /// Whether a session is or was attached: the client got CONNACK with success.
    pub fn has_session(&self) -> bool {
        self.session.get().is_some()
    }

    /// Its number: from 1 on, and no other connection of the broker has or had it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The subject of its events: the connection, and its session if it has one.
    pub(crate) fn whom<'a>(&self, session: Option<&'a Arc<Session>>) -> Whom<'a> {
        Whom {
            client_id: session.map(|session| &session.client_id),
            connection: Some(self.number),
            session: session.map(|session| session.number),
        }
    }

    /// Notes the client that wants to connect, or that there is none any more.
    pub(crate) fn set_caller(&self, caller: Option<Arc<ClientInfo>>) {
        let before = std::mem::replace(&mut self.detached.lock().caller, caller);
        drop(before);
    }

    pub(crate) fn caller(&self) -> Option<Arc<ClientInfo>> {
        self.detached.lock().caller.clone()
    }

    pub(crate) fn take_caller(&self) -> Option<Arc<ClientInfo>> {
        self.detached.lock().caller.take()
    }

    /// Appends output that no session takes.
    pub(crate) fn push_detached(&self, output: Outbox) {
        let mut detached = self.detached.lock();
        detached.output.get_or_insert_default().append(output);
    }

    pub(crate) fn take_detached(&self) -> Option<Box<Outbox>> {
        self.detached.lock().output.take()
    }

    /// Where the connection comes from.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    pub(crate) fn hold_output(&self, bytes: usize) {
        self.hold(16, bytes);
    }

    pub(crate) fn hold_input(&self, bytes: usize) {
        self.hold(0, bytes);
    }

    /// Each half is changed by one thread at a time.
    fn hold(&self, shift: u32, bytes: usize) {
        let units = u16::try_from(bytes.div_ceil(UNIT)).unwrap_or(u16::MAX);
        let before = self.held.load(Ordering::Relaxed) >> shift & 0xFFFF;
        let change = u32::from(units).wrapping_sub(before);
        if change != 0 {
            self.held.fetch_add(change << shift, Ordering::Relaxed);
        }
    }

    pub(crate) fn recharge(&self, before: usize, after: usize) {
        // The charge is bounded by what one packet can bring and how often it is kept.
        let change = (after as u32).wrapping_sub(before as u32);
        self.charged.fetch_add(change, Ordering::Relaxed);
    }

    /// Bytes charged for it beyond what every connection is.
    pub(crate) fn charged(&self) -> usize {
        self.charged.load(Ordering::Relaxed) as usize
    }

    /// Bytes that are held for this connection and nothing else, but for its outbox.
    pub(crate) fn held(&self) -> usize {
        let held = self.held.load(Ordering::Relaxed);
        ((held & 0xFFFF) as usize + (held >> 16) as usize) * UNIT
    }

    pub(crate) fn received(&self, now: Tick) {
        self.last_received.store(now.0, Ordering::Relaxed);
    }

    /// Moves the last sign of life on by some milliseconds, up to `now`.
    pub(crate) fn received_part(&self, ms: u64, now: Tick) {
        let last = self.last_received.load(Ordering::Relaxed);
        self.received(Tick(last).after_ms(ms).min(now));
    }

    pub(crate) fn set_silence(&self, ms: u64) {
        self.silence_ms.store(ms, Ordering::Relaxed);
    }

    /// When the connection has been silent for too long, unless something comes before.
    pub(crate) fn silent_at(&self) -> Option<Tick> {
        match self.silence_ms.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(Tick(self.last_received.load(Ordering::Relaxed)).after_ms(ms)),
        }
    }
}

impl Waits for Link {
    fn starts_waiting(&self) -> bool {
        !self.awaits_commit.swap(true, Ordering::AcqRel)
    }

    fn committed(&self) {
        // First: what the flush finds may wait for the next commit.
        self.awaits_commit.store(false, Ordering::Release);
        self.io.flush();
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Unflushed;

    impl Flush for Unflushed {
        fn flush(&self) {}
    }

    #[test]
    fn what_is_held_is_the_sum_of_both_sides() {
        let link = Link::new(1, "".into(), "".into(), Arc::new(Unflushed), Tick(0));
        for (input, output) in [
            (0, 0),
            (1, 0),
            (9_000, 70_000),
            (5, 1 << 20),
            (usize::MAX, 7),
            (0, 0),
        ] {
            link.hold_input(input);
            link.hold_output(output);
            let units = |bytes: usize| bytes.div_ceil(UNIT).min(usize::from(u16::MAX));
            assert_eq!(link.held(), (units(input) + units(output)) * UNIT);
        }
    }
}
