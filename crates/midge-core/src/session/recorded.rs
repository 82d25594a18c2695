//! What is recorded of a session, and the packet identifiers that its messages get.
//!
//! The identifiers of a recorded session derive from a sequence, one for each message that it takes.
//! The store knows a bound of the sequence ahead, so that after a crash no identifier that may have
//! been sent is used for another message.

use std::sync::Arc;

use super::{Delivery, Effects, Env, Session, SessionGuard, State};
use crate::store::{Journal, Op, Position, StoredSession};
use midge_codec::QoS;

/// Packet identifiers that are set aside together.
const BLOCK: u64 = 2048;

/// Packet identifiers that there are.
const IDENTIFIERS: u64 = u16::MAX as u64;

/// What is recorded of a session.
#[derive(Debug)]
pub(crate) struct Recorded {
    client_id: Arc<str>,
    /// It goes on, but not beyond its connection: it is not recorded any more.
    over: bool,
    /// The last change.
    last: Position,
    /// The last message that was taken.
    taken: Position,
    /// The next number of the sequence.
    next: u64,
    /// The bound of the sequence that the store has, once `bounded` is committed.
    bound: u64,
    bounded: Position,
    /// The bound before.
    bound_before: u64,
}

impl Recorded {
    /// One whose identifiers below `next` may have been used.
    pub(crate) fn new(client_id: Arc<str>, next: u64) -> Box<Self> {
        // Far from the end of the numbers, whatever a damaged store says.
        let next = next % (1 << 60);
        Box::new(Self {
            client_id,
            over: false,
            last: 0,
            taken: 0,
            next,
            bound: next,
            bounded: 0,
            bound_before: next,
        })
    }

    /// Sets identifiers aside if few are left; whether the row has to be recorded for that.
    fn set_aside(&mut self, journal: &Journal) -> bool {
        let is_due = self.is_scarce();
        if is_due {
            if journal.is_committed(self.bounded) {
                self.bound_before = self.bound;
            }
            self.bound = self.next + BLOCK;
        }
        is_due
    }

    fn is_scarce(&self) -> bool {
        self.next + BLOCK / 2 > self.bound
    }

    /// What must be committed before a message leaves.
    fn held_by(&self, qos: QoS) -> Position {
        match qos {
            QoS::ExactlyOnce => self.taken,
            _ if self.next > self.bound_before => self.bounded,
            _ => 0,
        }
    }
}

impl State {
    fn journal<'a>(&mut self, env: &'a Env) -> Option<(&'a Journal, &mut Recorded)> {
        let recorded = self.recorded.as_deref_mut();
        let recorded = recorded.filter(|recorded| !self.dead && !recorded.over)?;
        Some((env.journal()?, recorded))
    }

    /// Records what happens to the session, if it is recorded; its position, 0 otherwise.
    #[inline]
    pub(crate) fn record(&mut self, env: &Env, op: impl FnOnce(Arc<str>) -> Op) -> Position {
        if self.recorded.is_none() {
            return 0;
        }
        self.record_op(env, op)
    }

    fn record_op(&mut self, env: &Env, op: impl FnOnce(Arc<str>) -> Op) -> Position {
        let Some((journal, recorded)) = self.journal(env) else {
            return 0;
        };
        recorded.last = journal.record(op(recorded.client_id.clone()));
        recorded.last
    }

    /// The position of the last change that was recorded, 0 for none.
    pub(crate) fn last_recorded(&self) -> Position {
        self.recorded.as_ref().map_or(0, |recorded| recorded.last)
    }

    /// Records what the session is: that it exists, for how long, with which will, since when without
    /// connection.
    pub(crate) fn record_row(&mut self, session: &Session, env: &Env) {
        let is_kept = self.expiry_s > 0;
        let Some(journal) = env.journal().filter(|_| !self.dead) else {
            return;
        };
        if self.recorded.is_none() && !is_kept {
            return;
        }
        let client_id = &session.client_id;
        (self.recorded).get_or_insert_with(|| Recorded::new(client_id.clone(), 0));

        if is_kept {
            let known = self.recorded.as_deref_mut();
            let is_due = known.is_some_and(|recorded| recorded.set_aside(journal));
            let session = self.to_stored(session);
            let position = self.record(env, |client_id| Op::Session { client_id, session });
            if let Some(recorded) = self.recorded.as_deref_mut().filter(|_| is_due) {
                recorded.bounded = position;
            }
        } else {
            self.record(env, |client_id| Op::SessionEnded { client_id });
            if let Some(recorded) = self.recorded.as_deref_mut() {
                recorded.over = true;
            }
        }
    }

    /// Its row in a store.
    pub(crate) fn to_stored(&self, session: &Session) -> StoredSession {
        let mut stored = StoredSession::new(self.expiry_s);
        stored.disconnected = self.offline.as_ref().map(|offline| offline.since);
        stored.username = session.username().cloned();
        if let Some(info) = &self.info {
            stored.listener = info.listener.clone();
            stored.version = info.version;
        }
        stored.will = self.will.as_deref().map(|will| (**will).clone());
        stored.identifiers = self.recorded.as_ref().map_or(0, |recorded| recorded.bound);
        stored.sent = self.inflight.newest_message();
        stored
    }

    /// The next packet identifier of the sequence. One that is in flight is passed over.
    fn next_identifier(&mut self) -> u16 {
        let Some(recorded) = self.recorded.as_deref_mut() else {
            return 0;
        };
        for _ in 0..IDENTIFIERS {
            let packet_id = u16::try_from(recorded.next % IDENTIFIERS + 1).unwrap_or(1);
            recorded.next += 1;
            if self.inflight.get(packet_id).is_none() {
                return packet_id;
            }
        }
        // All are in flight: this one waits until its own is free.
        u16::try_from(recorded.next % IDENTIFIERS + 1).unwrap_or(1)
    }

    /// What must be committed before a message is sent, unless it is.
    pub(super) fn held_by(&self, qos: QoS, env: &Env) -> Option<Position> {
        let position = self.recorded.as_ref()?.held_by(qos);
        let waits = position > 0 && !env.journal()?.is_committed(position);
        waits.then_some(position)
    }

    /// Whether another message has the packet identifier of this one at present.
    pub(super) fn waits_for_identifier(&self, delivery: &Delivery) -> bool {
        delivery.packet_id != 0 && self.inflight.get(delivery.packet_id).is_some()
    }
}

impl SessionGuard<'_> {
    /// Records that the session has taken a message, which has its packet identifier from now on.
    #[cold]
    pub(super) fn record_taken(&mut self, delivery: &mut Delivery) {
        let (env, state) = (self.env, &mut *self.state);
        delivery.packet_id = state.next_identifier();
        let known = state.recorded.as_deref();
        if known.is_some_and(|recorded| !recorded.over && recorded.is_scarce()) {
            state.record_row(self.session, env);
        }

        let delivery = delivery.to_stored(false);
        let position = state.record(env, |client_id| Op::Taken {
            client_id,
            delivery,
        });
        if let Some(recorded) = state.recorded.as_deref_mut() {
            recorded.taken = position;
        }
        self.effects.wait_for(position);
    }
}

impl Effects {
    /// Answers of this batch leave when a position is committed.
    #[inline]
    pub(crate) fn wait_for(&mut self, position: Position) {
        self.waits_for = self.waits_for.max(position);
    }
}
