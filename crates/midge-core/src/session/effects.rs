//! Effects that sessions note under their locks, carried out once those are released.

use std::sync::Arc;

use midge_codec::{ReasonCode, ReasonPacket, Version};

use super::{Attached, Delivery, Dirty, Env, Link};
use crate::event::{Event, EventMask, Lost, Whom};
use crate::message::{Hold, Tracker};
use crate::reason::{DisconnectReason, DropReason};
use crate::stats::Local;
use crate::store::Position;
use crate::time::Tick;

/// A message of a shared group that needs another member, because the one that had it has left or
/// may not have it any more. A receipt of the host waits for it meanwhile.
#[derive(Debug)]
pub(crate) struct Reassigned {
    pub(crate) delivery: Delivery,
    _receipt: Option<Hold>,
}

impl Reassigned {
    pub(crate) fn new(delivery: Delivery) -> Self {
        let receipt = delivery.message.tracker().map(Tracker::hold);
        Self {
            delivery,
            _receipt: receipt,
        }
    }
}

/// Changes outside of the sessions that a piece of work was about: connections to flush or to end,
/// events, counts, answers. It is carried out when no lock is held.
#[derive(Debug, Default)]
pub struct Effects {
    pub(crate) now: Tick,
    mask: u32,
    /// Connections to flush.
    pub(crate) dirty: Dirty,
    pub(crate) events: Vec<Event>,
    /// A message was not taken, and is to be offered again once what is overdue has expired.
    pub(crate) overdue: bool,
    /// Overdue messages have been looked for.
    pub(crate) insists: bool,
    /// Events were recorded that are to be handed on.
    pub(crate) recorded: bool,
    pub(crate) disconnects: Vec<(Arc<Link>, DisconnectReason)>,
    /// Messages of shared groups that need another member.
    pub(crate) reassign: Vec<Reassigned>,
    pub(crate) local: Local,
    /// Answers to the client that this batch's packets came from, written together at its end.
    pub(crate) replies: Vec<u8>,
    /// The position that they wait for, 0 for none.
    pub(crate) waits_for: Position,
    /// A unit goes on until the effects have been carried out.
    pub(crate) unit: bool,
    /// Acknowledgements of that client have made room for messages that wait for it.
    pub(crate) moves_up: bool,
    /// Bytes appended to outboxes, without a charge, whose flush is still owed.
    pub(crate) uncharged: usize,
    scratch: Vec<u8>,
}

impl Effects {
    pub(crate) const fn new() -> Self {
        Self {
            now: Tick(0),
            mask: 0,
            dirty: Dirty::new(),
            events: Vec::new(),
            overdue: false,
            insists: false,
            recorded: false,
            disconnects: Vec::new(),
            reassign: Vec::new(),
            local: Local::new(),
            replies: Vec::new(),
            waits_for: 0,
            unit: false,
            moves_up: false,
            uncharged: 0,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, now: Tick, env: &Env) {
        self.now = now;
        self.mask = env.taps.mask();
        if self.dirty.is_empty() {
            self.uncharged = 0;
        }
    }

    /// Whether there is more to do than to flush connections.
    pub(crate) fn has_more_than_dirty(&self) -> bool {
        !(self.events.is_empty()
            && self.disconnects.is_empty()
            && self.reassign.is_empty()
            && !self.recorded)
    }

    pub(crate) fn wants(&self, kind: EventMask) -> bool {
        self.mask & kind.0 != 0
    }

    /// As [`Effects::wants`], of a change of state that has been made. An observer that came since the
    /// batch began may have looked for that state before the change: it is told, too.
    pub(crate) fn wants_change(&self, env: &Env, kind: EventMask) -> bool {
        (self.mask | env.taps.mask()) & kind.0 != 0
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Notes an event that has a place among those of other threads. To be called with the lock held
    /// that guards what it tells of. Events that were noted before come before it.
    pub(crate) fn record(&mut self, env: &Env, event: Event) {
        let events = self.events.drain(..).chain([event]);
        env.taps.record(self.now, events);
        self.recorded = true;
    }

    /// Remembers to flush a connection; at most one batch does.
    #[inline]
    pub(crate) fn touch(&mut self, attached: &mut Attached) {
        if !attached.dirty {
            attached.dirty = true;
            self.dirty.push(attached.link.clone());
        }
    }

    /// Remembers to end a connection; at most one batch does.
    pub(crate) fn disconnect_later(&mut self, attached: &mut Attached, reason: DisconnectReason) {
        if !attached.disconnecting {
            attached.disconnecting = true;
            self.disconnects.push((attached.link.clone(), reason));
        }
    }

    /// Whether a message that needs `bytes` and found all room taken is to be offered again, because
    /// expired messages of other sessions may still be in place, or have made room since.
    #[cold]
    pub(crate) fn waits_for_overdue(
        &mut self,
        reason: DropReason,
        bytes: usize,
        env: &Env,
    ) -> bool {
        let by_others = matches!(reason, DropReason::TotalQueueFull | DropReason::MemoryFull);
        self.overdue = by_others
            && !self.insists
            && (env.timers.is_due(self.now) || env.has_no_room(bytes).is_none());
        self.overdue
    }

    pub(crate) fn packet_sent(&mut self) {
        self.local.packets_sent += 1;
    }

    pub(crate) fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.scratch
    }

    /// The reason code with which `packet` says what a hook or the host gave `given` for. If it is
    /// another one, that is told, unless the packet has no such code in this version.
    pub(crate) fn carried(
        &mut self,
        whom: Whom<'_>,
        (packet, version): (ReasonPacket, Version),
        given: ReasonCode,
    ) -> ReasonCode {
        let sent = crate::refusal::carried(given, packet);
        let is_seen = version == Version::V5 || packet == ReasonPacket::Connack;
        if sent != given && is_seen && self.wants(EventMask::REASON_REPLACED) {
            self.event(Event::ReasonReplaced {
                client_id: whom.client_id.cloned(),
                connection: whom.connection,
                session: whom.session,
                packet,
                given,
                sent,
            });
        }
        sent
    }

    pub(crate) fn report_drop(
        &mut self,
        env: &Env,
        whom: Whom<'_>,
        lost: Lost<'_>,
        reason: DropReason,
    ) {
        env.counters.count_drops(reason, 1);
        if self.wants(EventMask::DROPPED) {
            self.event(Event::Dropped {
                client_id: whom.client_id.cloned(),
                connection: whom.connection,
                session: whom.session,
                topic: lost.topic.into(),
                reason,
                message_number: lost.number,
            });
        }
    }
}
