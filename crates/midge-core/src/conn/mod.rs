//! One client's protocol machine: packets in, decisions and acknowledgements out. No locks of its
//! own, no IO, no clock.

mod answer;
mod auth;
mod connack;
mod dispatch;
mod handshake;
mod intake;
mod publish;
mod subscribe;
mod waiting;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hashbrown::HashMap;
use midge_codec::{DecodeError, Properties, ReasonCode, Version};

use crate::client::ClientInfo;
use crate::hooks::{Answer, Deferred, HookSet, Refusal};
use crate::hub::{Hub, Lent, RouteCache, no_memory};
use crate::rate::Bucket;
use crate::reason::DisconnectReason;
use crate::session::{Dirty, Link, Session};
use crate::time::Tick;
use answer::reason_string;
use auth::ReAuthentication;
use handshake::Handshake;
use waiting::{Then, Wait, Waiting};

/// Why a packet ends its connection.
#[derive(Debug)]
pub(crate) struct Fault {
    reason: DisconnectReason,
    refusal: Option<Refusal>,
}

impl Fault {
    fn violation(reason: ReasonCode, what: &'static str) -> Self {
        Self {
            reason: DisconnectReason::ProtocolViolation { reason, what },
            refusal: Some(Refusal::new(reason).text(what)),
        }
    }

    fn silent(reason: DisconnectReason) -> Self {
        Self {
            reason,
            refusal: None,
        }
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::violation(error.reason, error.what)
    }
}

type Step = Result<(), Fault>;

/// The cost of one turn of a connection at most, in the unit of [`crate::hub::slice`]: then others
/// get their turn, and what is left of the input waits.
const TURN: u64 = 8192;

/// Where a connection is in its life.
enum Phase {
    /// Nothing has come yet.
    Fresh,
    /// An exchange of AUTH packets before CONNACK.
    Exchange(Box<Handshake>),
    /// CONNACK with success was sent.
    Connected,
    /// Nothing that comes matters any more.
    Closed,
}

/// Hooks called for the packets of one connection before its receivers, and other connections, get
/// their turn: the core does not know how long a hook takes.
const HOOKS_PER_TURN: u32 = 8;

/// One connection's protocol machine. Feed it with [`Connection::receive`]; while
/// [`Connection::is_waiting`], drive it with [`Connection::poll`] instead and read nothing.
#[repr(C)]
pub struct Connection {
    hub: Arc<Hub>,
    link: Arc<Link>,
    session: Option<Arc<Session>>,
    batch: Lent,
    phase: Phase,
    waiting: Option<Box<Waiting>>,
    unwritten_replies: u32,
    has_output: bool,
    interrupted: bool,
    version: Version,
    /// The bit of a bridge: No Local and Retain As Published for all subscriptions.
    bridge: bool,
    problem_information: bool,
    maximum_packet: u32,
    // Cold below for a client that only receives; used when it publishes.
    routes: RouteCache,
    publish_bucket: Option<Box<Bucket>>,
    info: Option<Arc<ClientInfo>>,
    silence_ms: u64,
    /// Remainder of [`Connection::arriving`], in thousandths of a byte.
    arrived: u32,
    #[allow(clippy::box_collection)] // few connections have any
    aliases: Option<Box<HashMap<u16, Arc<str>>>>,
    re_authentication: Option<Box<ReAuthentication>>,
    /// Session Expiry Interval of CONNECT, which decides what DISCONNECT may say.
    connect_expiry_s: u32,
}

impl Connection {
    /// The machine for an accepted link.
    pub fn new(hub: Arc<Hub>, link: Arc<Link>) -> Self {
        Self {
            hub,
            link,
            phase: Phase::Fresh,
            batch: Lent::default(),
            session: None,
            info: None,
            version: Version::V311,
            bridge: false,
            maximum_packet: u32::MAX,
            problem_information: true,
            connect_expiry_s: 0,
            aliases: None,
            routes: RouteCache::default(),
            publish_bucket: None,
            re_authentication: None,
            waiting: None,
            silence_ms: 0,
            arrived: 0,
            unwritten_replies: 0,
            has_output: false,
            interrupted: false,
        }
    }

    /// The link of this connection.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Whether a hook's answer is awaited. No input is taken until it has come.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether whole packets were left unused because of what those before have cost. They must
    /// be given to [`Connection::receive`] again, before others are read, when what came of those
    /// before has been written and other connections have had their turn.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Whether it waits for nothing but that others get their turn: [`Connection::poll`] goes on at
    /// once, and is to be called when they have had it.
    pub fn gives_way(&self) -> bool {
        let waiting = self.waiting.as_deref();
        waiting.is_some_and(Waiting::is_turn)
    }

    /// Bytes of acknowledgements that may not be written yet.
    pub fn unwritten_replies(&self) -> usize {
        self.unwritten_replies as usize
    }

    /// Whether what came in has led to output of this connection that is not among the dirty ones: take
    /// it with [`Hub::next_output`], and then call [`Connection::output_written`].
    pub fn has_output(&self) -> bool {
        self.has_output
    }

    /// All output has been written.
    pub fn output_written(&mut self) {
        self.unwritten_replies = 0;
        self.has_output = false;
    }

    /// Size of the incomplete packet at the start of `input`, once its length is known. Whether it
    /// is allowed was checked by [`Connection::receive`].
    pub fn packet_len(&self, input: &[u8]) -> Option<usize> {
        let mut length = 0;
        for (at, byte) in input.iter().skip(1).take(4).enumerate() {
            length |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Some(length + at + 2);
            }
        }
        None
    }

    /// Extends keep alive by the bytes of an incomplete packet, at `limits.arrival_rate`. Without a
    /// session it has no effect: the time for CONNECT is a total.
    pub fn note_partial_packet(&mut self, bytes: usize, now: Tick) {
        if self.session.is_none() {
            return;
        }
        let rate = u64::from(self.hub.config().limits.arrival_rate);
        let arrived = (bytes as u64).saturating_mul(1000) + u64::from(self.arrived);
        let Some(ms) = arrived.checked_div(rate) else {
            self.link.received(now);
            return;
        };
        self.arrived = u32::try_from(arrived % rate).unwrap_or(u32::MAX);
        self.link.received_part(ms, now);
    }

    /// Extends keep alive because the client has read output while the broker does not read its
    /// packets, which cannot count meanwhile.
    pub fn note_output_read(&self, now: Tick) {
        if self.session.is_some() {
            self.link.received(now);
        }
    }

    /// Handles all whole packets at the start of `input` and gives the number of bytes that were
    /// used. `backing` is the buffer that `input` lies in: a large packet that fills it is shared, and
    /// so is a run of messages that fills half of it, until its receivers have written it. Nothing
    /// else keeps it.
    ///
    /// Stops early when a hook defers its answer, when many hooks were called or many packets handled
    /// ([`Connection::is_interrupted`]), or when the connection ends.
    pub fn receive(&mut self, input: &[u8], backing: Option<&Bytes>, now: Tick) -> usize {
        let used = self.receive_unflushed(input, backing, now);
        self.flush_dirty();
        used
    }

    /// Whether packets handled here have made output that has not been flushed.
    pub fn has_dirty(&self) -> bool {
        !self.batch.dirty.is_empty()
    }

    /// Whether some of it is output of other connections.
    pub fn has_dirty_others(&self) -> bool {
        let links = self.batch.dirty.links();
        links.iter().any(|link| !Arc::ptr_eq(link, &self.link))
    }

    /// Whether all of it is output of one other connection.
    pub fn has_one_dirty_other(&self) -> bool {
        matches!(self.batch.dirty.links(), [link] if !Arc::ptr_eq(link, &self.link))
    }

    /// Moves the connections whose output has not been flushed to `to`, this one included: pass them to
    /// [`Hub::flush`].
    pub fn take_dirty(&mut self, to: &mut Dirty) {
        to.append(&mut self.batch.dirty);
        self.batch.give_back();
        if std::mem::take(&mut self.has_output) {
            to.push(self.link.clone());
        }
    }

    /// Flushes the connections that packets handled here have made output for.
    pub fn flush_dirty(&mut self) {
        if self.has_dirty() {
            self.hub.finish(&mut self.batch);
            self.batch.give_back();
        }
    }

    /// As [`Connection::receive`], but leaves flushing to [`Connection::take_dirty`] or
    /// [`Connection::flush_dirty`], so that what several connections send to one receiver leaves in one
    /// write.
    pub fn receive_unflushed(&mut self, input: &[u8], backing: Option<&Bytes>, now: Tick) -> usize {
        self.batch.start(now, &self.hub.env);
        let handled = catch_unwind(AssertUnwindSafe(|| self.handle(input, backing, now)));
        if handled.is_err() {
            self.panicked();
        }

        self.end_batch();
        match handled {
            Ok(used) if self.link.ended().is_none() => used,
            _ => input.len(),
        }
    }

    /// A hook has panicked: this connection ends. Effects that the batch has noted so far are
    /// carried out.
    fn panicked(&mut self) {
        self.hub.report_panic();
        self.waiting = None;

        self.fail(Fault::silent(DisconnectReason::InternalError));
    }

    fn handle(&mut self, input: &[u8], backing: Option<&Bytes>, now: Tick) -> usize {
        let hooked = self.hub.hooks.set() != HookSet::NONE;
        let hooks_before = if hooked {
            crate::hook_depth::calls()
        } else {
            0
        };

        let mut used = 0;
        let mut packets = 0;
        self.interrupted = false;
        while self.waiting.is_none() && self.link.ended().is_none() {
            let rest = input.get(used..).unwrap_or_default();
            if matches!(self.phase, Phase::Fresh)
                && rest.first().is_some_and(|header| header >> 4 != CONNECT)
            {
                self.fail(not_connect());
                break;
            }

            if let Some((len, count)) = self.take_run(rest, backing) {
                used += len;
                packets += count;
                if packets <= TURN {
                    continue;
                }
                self.interrupted = used < input.len();
                break;
            }

            let raw = match midge_codec::split(rest, self.largest_packet()) {
                Ok(Some(raw)) => raw,
                Ok(None) => {
                    if let Some(fault) = rest.first().and_then(|first| self.first_fault(*first)) {
                        self.fail(fault);
                    }
                    break;
                }
                Err(error) => {
                    let fault = self.decode_fault(&error, rest);
                    self.fail(fault);
                    break;
                }
            };

            used += raw.len;
            packets += 1;
            let own = backing.filter(|backing| backing.len() == raw.len);
            if let Err(fault) = self.packet(raw, own) {
                self.fail(fault);
                break;
            }

            let hooks = match hooked {
                true => crate::hook_depth::calls().wrapping_sub(hooks_before),
                false => 0,
            };
            let is_much = hooks >= HOOKS_PER_TURN || self.batch.work + packets > TURN;
            if is_much && self.waiting.is_none() {
                self.interrupted = used < input.len();
                break;
            }
        }

        if packets > 0 {
            self.batch.local.packets_received += packets;
            if self.session.is_some() {
                self.link.received(now);
            }
        }
        used
    }

    /// Goes on when the hook that is waited for has answered.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Tick) -> Poll<()> {
        let Some(waiting) = self.waiting.as_mut() else {
            return Poll::Ready(());
        };

        let answer = match waiting.poll(cx) {
            Poll::Ready(answer) => answer,
            Poll::Pending if self.link.ended().is_some() => {
                Answer::Deny(Refusal::new(ReasonCode::NotAuthorized))
            }
            Poll::Pending => return Poll::Pending,
        };

        self.batch.start(now, &self.hub.env);

        let waiting = self.waiting.take();
        if let Some((wait, then)) = waiting.map(|waiting| waiting.end())
            && self.link.ended().is_none()
            && catch_unwind(AssertUnwindSafe(|| self.go_on(wait, then, answer, now))).is_err()
        {
            self.panicked();
        }
        self.finish_batch();
        Poll::Ready(())
    }

    /// Goes on with what has waited.
    fn go_on(&mut self, wait: Wait, then: Then, answer: Answer, now: Tick) {
        if self.session.is_some() && wait == Wait::Hook {
            self.link.received(now);
            self.link.set_silence(self.silence_ms);
            self.hub.watch(&self.link);
        }

        if let Err(fault) = self.resume(then, answer) {
            self.fail(fault);
        }
    }

    fn resume(&mut self, then: Then, answer: Answer) -> Step {
        match then {
            Then::Authenticated(handshake) => self.authenticated(handshake, answer),
            Then::WillAuthorized(handshake, place) => {
                self.will_authorized(handshake, place, answer)
            }
            Then::EnhancedAnswer(handshake) => self.enhanced_answer(handshake, answer),
            Then::ReAuthenticated => self.re_authenticated(answer),
            Then::Publish(held) => self.publish_held(held, answer),
            Then::Subscribe(held) => self.subscribe_held(*held, answer),
            Then::MakeSubscriptions(held) => self.make_subscriptions(*held),
            Then::Unsubscribe(held) => self.unsubscribe_held(*held),
        }
    }

    /// Waits for a hook. Meanwhile the silence is ours, not the client's.
    fn wait(&mut self, deferred: Deferred, then: Then) -> Step {
        match Waiting::new(&self.hub, deferred, then, self.batch.now()) {
            Ok(waiting) => {
                if self.session.is_some() {
                    self.link.set_silence(0);
                }
                self.waiting = Some(waiting);
                Ok(())
            }
            Err(Then::Publish(held)) => {
                self.publish_forgotten(&held);
                Ok(())
            }
            Err(Then::Subscribe(mut held)) => {
                // All that is left of it: step by step each filter would come back to here.
                held.deny_rest(&no_memory());
                self.make_subscriptions(*held)
            }
            Err(then) => self.resume(then, Answer::Deny(no_memory())),
        }
    }

    /// Goes on when others have had their turn.
    fn give_way(&mut self, then: Then) {
        self.waiting = Some(Waiting::turn(&self.hub, then));
    }

    fn finish_batch(&mut self) {
        self.end_batch();
        self.flush_dirty();
    }

    /// Ends the batch but for flushing.
    fn end_batch(&mut self) {
        self.has_output |= std::mem::take(&mut self.batch.moves_up);
        self.push_replies();
        self.hub.run_effects(&mut self.batch);
        if !self.has_dirty() {
            self.batch.give_back();
        }
    }

    /// Counts an answer: a client that does not read them is not read from, either.
    fn note_unwritten(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.unwritten_replies = self.unwritten_replies.saturating_add(bytes);
    }

    fn push_replies(&mut self) {
        if !self.batch.replies.is_empty() {
            self.has_output = true;
            self.note_unwritten(self.batch.replies.len());
            self.hub.push_replies(&self.link, &mut self.batch);
        }
        self.batch.waits_for = 0;
    }

    fn fail(&mut self, fault: Fault) {
        self.phase = Phase::Closed;
        self.push_replies();
        self.hub.end_with(
            &self.link,
            fault.reason,
            fault.refusal.as_ref(),
            &mut self.batch,
        );
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// Packet type of CONNECT.
const CONNECT: u8 = 1;

/// The first packet is something else (MQTT-3.1.0-1): close without a word (MQTT-3.14.0-1), and
/// without waiting for the rest of it.
fn not_connect() -> Fault {
    Fault::silent(DisconnectReason::ProtocolViolation {
        reason: ReasonCode::ProtocolError,
        what: "the first packet is not CONNECT",
    })
}

/// MQTT-3.1.0-2
fn second_connect() -> Fault {
    Fault::violation(ReasonCode::ProtocolError, "a second CONNECT")
}

const NO_PROPERTIES: Properties<'static> = Properties::EMPTY;
