//! What one batch of work has touched and has to tell, once its locks are released.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use midge_codec::{ReasonCode, ReasonPacket, Version};

use crate::event::{Event, EventMask, Whom};
use crate::hub::After;
use crate::message::{Hold, SharedMessage, Tracker};
use crate::observer::Observer;
use crate::reason::{DisconnectReason, DropReason};
use crate::router::Target;
use crate::session::{Attached, Delivery, Env, Link, RetainedCursor, Session};
use crate::stats::Local;
use crate::time::Tick;

/// A message of a shared group that needs another member, because the one that had it has left or
/// may not have it any more. A receipt of the host waits for it meanwhile.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) delivery: Delivery,
    _receipt: Option<Hold>,
}

impl Orphan {
    pub(crate) fn new(delivery: Delivery) -> Self {
        let receipt = delivery.message.tracker().map(Tracker::hold);
        Self {
            delivery,
            _receipt: receipt,
        }
    }
}

/// What has to be done with no lock held, because hooks are asked, before more output of a session
/// can be taken.
#[derive(Debug)]
pub(crate) enum Detour {
    /// Send a page of retained messages.
    Retained(RetainedCursor),
    /// Ask about messages that have waited and are to be sent next.
    Ask(Vec<Delivery>),
}

/// The work of one batch: a read buffer's packets, one publish of the host, one deadline. It is
/// ended with [`crate::Hub::finish`], which notifies each touched connection once.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) now: Tick,
    mask: u32,
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) observers: Vec<Arc<Observer>>,
    pub(crate) events: Vec<Event>,
    /// A message was not taken, and is to be offered again once what is overdue has expired.
    pub(crate) overdue: bool,
    /// What is overdue has been looked for.
    pub(crate) insists: bool,
    /// Events were recorded that are to be handed on.
    pub(crate) recorded: bool,
    pub(crate) kicks: Vec<(Arc<Link>, DisconnectReason)>,
    /// Messages of shared groups that need another member.
    pub(crate) orphans: Vec<Orphan>,
    pub(crate) after: Vec<After>,
    /// What has to be done before more output of a session can be taken.
    pub(crate) detours: Vec<(Arc<Session>, Detour)>,
    pub(crate) local: Local,
    /// Messages of a run, while it is offered.
    pub(crate) kept: Vec<SharedMessage>,
    /// Receivers of one message, while it is offered.
    pub(crate) targets: Vec<Target>,
    /// Answers to the client that this batch's packets came from, written together at its end.
    pub(crate) replies: Vec<u8>,
    /// Acknowledgements of that client have made room for messages that wait for it.
    pub(crate) moves_up: bool,
    /// What this batch has cost that is not a copy of a message.
    pub(crate) work: u64,
    /// Bytes appended to outboxes, without a charge, that nobody was told to write yet.
    pub(crate) unpaid: usize,
    scratch: Vec<u8>,
    pub(crate) frame_v3: Vec<u8>,
    pub(crate) frame_v5: Vec<u8>,
}

impl Batch {
    const fn new() -> Self {
        Self {
            now: Tick(0),
            mask: 0,
            links: Vec::new(),
            observers: Vec::new(),
            events: Vec::new(),
            overdue: false,
            insists: false,
            recorded: false,
            kicks: Vec::new(),
            orphans: Vec::new(),
            after: Vec::new(),
            detours: Vec::new(),
            local: Local::new(),
            kept: Vec::new(),
            targets: Vec::new(),
            replies: Vec::new(),
            moves_up: false,
            work: 0,
            unpaid: 0,
            scratch: Vec::new(),
            frame_v3: Vec::new(),
            frame_v5: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, now: Tick, shared: &Env) {
        self.now = now;
        self.work = 0;
        self.mask = shared.taps.mask();
        if self.links.is_empty() {
            self.unpaid = 0;
        }
    }

    /// Keeps no more memory for the next time than is mostly needed.
    #[inline]
    pub(crate) fn tidy(&mut self) {
        self.unpaid = 0;
        // A frame is made of small messages only.
        let bytes = self.replies.capacity() | self.scratch.capacity();
        let items = self.links.capacity() | self.kept.capacity();
        if bytes > KEPT || items > KEPT_ITEMS {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&mut self) {
        for buffer in [&mut self.replies, &mut self.scratch] {
            if buffer.capacity() > KEPT {
                *buffer = Vec::new();
            }
        }
        if self.links.capacity() > KEPT_ITEMS {
            self.links = Vec::new();
        }
        if self.kept.capacity() > KEPT_ITEMS {
            self.kept = Vec::new();
        }
    }

    /// The moment of this batch.
    pub fn now(&self) -> Tick {
        self.now
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.links.is_empty() || self.has_more_than_links()
    }

    pub(crate) fn has_more_than_links(&self) -> bool {
        !(self.observers.is_empty()
            && self.events.is_empty()
            && self.kicks.is_empty()
            && self.orphans.is_empty()
            && self.after.is_empty()
            && self.detours.is_empty()
            && !self.recorded)
    }

    pub(crate) fn wants(&self, kind: EventMask) -> bool {
        self.mask & kind.0 != 0
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Notes an event that has a place among those of other threads. To be called with the lock held
    /// that guards what it tells of. What this batch has noted before comes before it.
    pub(crate) fn record(&mut self, shared: &Env, event: Event) {
        let events = self.events.drain(..).chain([event]);
        shared.taps.record(self.now, events);
        self.recorded = true;
    }

    /// Remembers to notify a connection; at most one batch does.
    #[inline]
    pub(crate) fn touch(&mut self, attached: &mut Attached) {
        if !attached.dirty {
            attached.dirty = true;
            self.links.push(attached.link.clone());
        }
    }

    /// Remembers to end a connection; at most one batch does.
    pub(crate) fn kick(&mut self, attached: &mut Attached, reason: DisconnectReason) {
        if !attached.kicked {
            attached.kicked = true;
            self.kicks.push((attached.link.clone(), reason));
        }
    }

    /// Whether a message that needs `bytes` and found all room taken is to be offered again, because
    /// messages of others may have expired that nobody has come to yet, or have made room since.
    #[cold]
    pub(crate) fn waits_for_overdue(
        &mut self,
        reason: DropReason,
        bytes: usize,
        shared: &Env,
    ) -> bool {
        let by_others = matches!(reason, DropReason::TotalQueueFull | DropReason::MemoryFull);
        self.overdue = by_others
            && !self.insists
            && (shared.timers.is_due(self.now) || shared.has_no_room(bytes).is_none());
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
                packet,
                given,
                sent,
            });
        }
        sent
    }

    pub(crate) fn dropped(
        &mut self,
        shared: &Env,
        whom: Whom<'_>,
        topic: &str,
        reason: DropReason,
    ) {
        shared.counters.dropped(reason, 1);
        if self.wants(EventMask::DROPPED) {
            self.event(Event::Dropped {
                client_id: whom.client_id.cloned(),
                connection: whom.connection,
                session: whom.session,
                topic: topic.into(),
                reason,
            });
        }
    }
}

/// Bytes of each buffer that are kept: one less than a power of two, as the next one.
const KEPT: usize = 128 * 1024 - 1;
/// Places in each list that are kept.
const KEPT_ITEMS: usize = 8 * 1024 - 1;

/// Batches that are not in use, kept per thread.
const POOLED: usize = 4;

thread_local! {
    #[allow(clippy::vec_box)] // a batch is handed on as a pointer, never moved
    static POOL: RefCell<Vec<Box<Batch>>> = const { RefCell::new(Vec::new()) };
}

/// For [`crate::prepare_thread`].
pub(crate) fn prepare_thread() {
    let _ = POOL.try_with(|_| ());
}

static IDLE: Batch = Batch::new();

/// A batch that exists only while it is used, so that an idle connection does not own one.
#[derive(Debug, Default)]
pub(crate) struct Lent(Option<Box<Batch>>);

impl Lent {
    /// Gives the batch back to the thread. It must be finished.
    pub(crate) fn give_back(&mut self) {
        if let Some(mut batch) = self.0.take() {
            batch.tidy();
            let _ = POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                if pool.len() < POOLED {
                    pool.push(batch);
                }
            });
        }
    }
}

impl Deref for Lent {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        self.0.as_deref().unwrap_or(&IDLE)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Batch {
        self.0.get_or_insert_with(|| {
            let pooled = POOL.try_with(|pool| pool.borrow_mut().pop());
            pooled.ok().flatten().unwrap_or_default()
        })
    }
}
