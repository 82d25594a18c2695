//! One client's state: what it subscribed to, what waits for it, what is in flight.
//!
//! A session has one lock. Only leaves are locked under it: see `LOCKS.md`.
//!
//! The fields of [`Session`], [`State`], [`Link`] and [`Connection`](crate::Connection) are in the
//! order of use, and `repr(C)` keeps them there: the fields that each message touches lie together.

mod acknowledge;
mod attached;
mod compact;
mod deliver;
mod dirty;
mod due;
mod effects;
mod expiry;
mod fast_path;
mod give_up;
mod guard;
mod in_flight;
mod link;
mod message_queue;
mod pump;
mod recorded;
mod registry;
mod room;
mod subscriptions;

use crate::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::sync::{Mutex, MutexGuard};
use midge_codec::{QoS, RetainHandling, SubscriptionOptions, Version};

pub(crate) use acknowledge::{AckKind, IdState, encode_ack};
pub(crate) use attached::{Attached, AttachedSettings, OUTBOX_HIGH};
use compact::{CompactQueue, NoMemory, PacketIds};
pub(crate) use deliver::{Deliverable, DeliveryTerms};
pub use dirty::Dirty;
pub(crate) use due::{Due, Env};
pub(crate) use effects::{Effects, Reassigned};
pub(crate) use guard::SessionGuard;
use in_flight::InFlight;
pub use link::Link;
use message_queue::MessageQueue;
pub(crate) use pump::PUMP_BUDGET;
pub(crate) use recorded::Recorded;
pub(crate) use registry::Sessions;
pub(crate) use subscriptions::{Draining, SubscriptionLimits, Subscriptions};

use crate::budget::{Budget, Charge, Part};
use crate::client::ClientInfo;
use crate::event::Whom;
use crate::message::SharedMessage;
use crate::retained::Place;
use crate::store::StoredWill;
use crate::subscription::SubRecord;
use crate::time::{Tick, TimerKey};

/// From so many answers with retained messages on, those whose subscriptions are gone are looked for.
const MANY_WALKS: usize = 1024;

/// A session. Shared by the registry, the router's entries and the connection.
#[repr(C)]
pub(crate) struct Session {
    pub(crate) client_id: Arc<str>,
    state: Mutex<State>,
    /// A hint for choosing members of shared groups without taking the lock.
    online: AtomicBool,
    /// No other session of this hub has or had it.
    pub(crate) number: u64,
    /// The user that made it, `None` for one without a name. One word, since most have none.
    username: Option<Box<Arc<str>>>,
}

/// The part that only few deliveries have: several subscription identifiers, a shared group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) ids: Vec<u32>,
    /// The filter of the shared group as sent.
    pub(crate) group: Option<Arc<str>>,
    /// The message that a hook has replaced for this member of a shared group: another member gets
    /// this one.
    pub(crate) original: Option<SharedMessage>,
}

impl Extra {
    /// Bytes of the identifiers, here and in the encoded packet, and of a message that was replaced.
    fn cost(&self) -> usize {
        let original = self.original.as_ref().map_or(0, |message| message.cost());
        self.ids.len() * (size_of::<u32>() + LONGEST_IDENTIFIER) + original
    }
}

/// Bytes of the longest Subscription Identifier in a packet.
pub(crate) const LONGEST_IDENTIFIER: usize = 5;

/// A message that is on its way to this session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: SharedMessage,
    pub(crate) extra: Option<Arc<Extra>>,
    /// Subscription identifier, 0 for none; unused if there is an `extra`.
    pub(crate) id: u32,
    /// Packet identifier, given when a recorded session takes it; 0 if it gets one when it is sent.
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl Delivery {
    pub(crate) fn subscription_ids(&self) -> &[u32] {
        subscription_ids(&self.id, self.extra.as_deref())
    }

    /// The message that another member of the shared group gets.
    pub(crate) fn original(&self) -> &SharedMessage {
        let replaced = self
            .extra
            .as_ref()
            .and_then(|extra| extra.original.as_ref());

        replaced.unwrap_or(&self.message)
    }

    /// Bytes that it counts for among what waits for its session.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        self.message.cost() + self.extra.as_deref().map_or(0, Extra::cost)
    }

    /// Bytes that it is charged.
    #[inline]
    pub(crate) fn share(&self) -> usize {
        self.message.share() + self.extra.as_deref().map_or(0, Extra::cost)
    }

    pub(crate) fn group(&self) -> Option<&Arc<str>> {
        self.extra.as_ref().and_then(|extra| extra.group.as_ref())
    }
}

pub(crate) fn subscription_ids<'a>(id: &'a u32, extra: Option<&'a Extra>) -> &'a [u32] {
    match extra {
        Some(extra) => &extra.ids,
        None if *id != 0 => std::slice::from_ref(id),
        None => &[],
    }
}

/// How far the delivery of a QoS 1 or 2 message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// PUBLISH sent, PUBACK or PUBREC awaited.
    Published,
    /// PUBREL sent, PUBCOMP awaited.
    Released,
}

/// A QoS 1 or 2 message in flight, by packet identifier.
#[derive(Debug)]
pub(crate) struct Inflight {
    pub(crate) delivery: Delivery,
    /// Order of the first sending, given when it is put in flight.
    pub(crate) sequence: u64,
    pub(crate) stage: Stage,
    /// Counts against the send quota of the present connection.
    pub(crate) counted: bool,
}

/// A part of the retained messages that a new subscription asked for and that was not sent yet.
#[derive(Debug)]
pub(crate) struct RetainedCursor {
    pub(crate) filter: Arc<str>,
    pub(crate) record: SubRecord,
    /// Where to go on; `None` before the first page.
    pub(crate) from: Option<Place>,
    /// Messages retained later than this were seen live.
    pub(crate) until: u64,
    pub(crate) _charge: Charge,
}

/// A will, charged until it is published or withdrawn.
#[derive(Debug)]
pub(crate) struct Will {
    will: StoredWill,
    _charge: Charge,
}

impl Will {
    /// `None` if no more memory may be held.
    pub(crate) fn new(will: StoredWill, budget: &Arc<Budget>) -> Option<Box<Self>> {
        let charge = budget.try_hold(Part::Wills, Self::size(&will))?;
        Some(Box::new(Self {
            will,
            _charge: charge,
        }))
    }

    /// One that was accepted before.
    pub(crate) fn restored(will: StoredWill, budget: &Arc<Budget>) -> Box<Self> {
        let charge = budget.hold(Part::Wills, Self::size(&will));
        Box::new(Self {
            will,
            _charge: charge,
        })
    }

    fn size(will: &StoredWill) -> usize {
        let message = &will.message;
        let properties = message.properties.as_properties().as_bytes().len();
        size_of::<Self>() + message.topic.len() + message.payload.len() + 2 * properties + 96
    }
}

impl std::ops::Deref for Will {
    type Target = StoredWill;

    fn deref(&self) -> &StoredWill {
        &self.will
    }
}

/// A session without connection.
#[derive(Debug, Default)]
pub(crate) struct Offline {
    /// When the client was last seen.
    pub(crate) since: Tick,
    pub(crate) expiry_timer: Option<TimerKey>,
    pub(crate) will_timer: Option<TimerKey>,
}

/// The state that the lock of a session guards.
#[derive(Default)]
#[repr(C)]
pub(crate) struct State {
    pub(crate) attached: Option<Box<Attached>>,
    pub(crate) queue: MessageQueue,
    /// Retained messages for new subscriptions that wait for the window, before the queue.
    pub(crate) retained_backlog: MessageQueue,
    /// Packet identifiers in flight that were not sent on this connection yet, in order.
    pub(crate) resend: CompactQueue<u16>,
    pub(crate) retained: CompactQueue<RetainedCursor>,
    /// QoS 0 messages in the queue: live ones must not overtake them.
    pub(crate) queued_qos0: u32,
    /// The session has ended: nothing may be added any more.
    pub(crate) dead: bool,
    /// A page of retained messages is being put together.
    pub(crate) paging: bool,
    /// Hooks are being asked about the messages that are to be sent next.
    pub(crate) asking: bool,
    /// Messages at the head of `retained_backlog` that hooks have been asked about.
    pub(crate) asked: u8,
    /// Session expiry interval in seconds, `u32::MAX` for never.
    pub(crate) expiry_s: u32,
    /// Grows with every connection, so that a late deadline finds out that it is late.
    pub(crate) epoch: u32,
    pub(crate) inflight: InFlight,
    /// Cost of the messages in the queue and in flight.
    pub(crate) queued_bytes: usize,
    /// Packet identifiers of QoS 2 messages from the client between PUBREC and PUBCOMP.
    pub(crate) inbound: PacketIds,
    /// If what happens to the session is recorded.
    pub(crate) recorded: Option<Box<Recorded>>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) will: Option<Box<Will>>,
    /// The part that only sessions without connection have.
    pub(crate) offline: Option<Box<Offline>>,
    /// Unless it says nothing that the connection does not: see [`Attached::info`].
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// For the session itself, as long as anything knows it.
    charge: Option<Charge>,
}

/// Memory of a session with its connected half, its place in the registry, deadlines and what it
/// keeps for the next message.
const SESSION: usize = 2304;

impl Session {
    pub(crate) fn new(client_id: Arc<str>, username: Option<Arc<str>>, number: u64) -> Self {
        Self {
            client_id,
            username: username.map(Box::new),
            number,
            online: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The subject of its events.
    pub(crate) fn whom(&self) -> Whom<'_> {
        Whom {
            client_id: Some(&self.client_id),
            connection: None,
            session: Some(self.number),
        }
    }

    /// The client as hooks see it: as its last connection was. Of a session that has had none since
    /// the start of the broker, the client identifier and the user name are known.
    pub(crate) fn info(&self) -> Arc<ClientInfo> {
        let mut state = self.lock();
        if let Some(info) = &state.info {
            return info.clone();
        }

        let info = match &state.attached {
            Some(attached) => attached.info(&self.client_id),
            None => ClientInfo {
                client_id: self.client_id.clone(),
                username: self.username().cloned(),
                peer: "".into(),
                listener: "".into(),
                version: Version::V5,
                connection: 0,
            },
        };
        state.info.insert(Arc::new(info)).clone()
    }

    pub(crate) fn username(&self) -> Option<&Arc<str>> {
        self.username.as_deref()
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Locks the session on behalf of one of its connections; `None` if the session has another
    /// connection by now, or none. Everything that a connection does to its session goes through
    /// here: the thread of a connection that was taken over may still be handling its packets.
    #[inline]
    pub(crate) fn lock_for(&self, link: &Link) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        let is_attached = Attached::of(&mut state.attached, link).is_some();

        is_attached.then_some(state)
    }

    pub(crate) fn is_online(&self) -> bool {
        self.online.load(Ordering::Relaxed)
    }

    pub(crate) fn set_online(&self, online: bool) {
        self.online.store(online, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Whether retained messages are to be sent for a new or replaced subscription
    /// (MQTT-3.3.1-9 to MQTT-3.3.1-11).
    pub(crate) fn wants_retained(options: &SubscriptionOptions, existed: bool) -> bool {
        match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !existed,
            RetainHandling::DoNotSend => false,
        }
    }

    /// Adds retained messages that are to be sent. Those whose subscriptions are gone are forgotten a
    /// few at a time, so that never many more wait than there are subscriptions.
    pub(crate) fn add_walk(&mut self, cursor: RetainedCursor) {
        if !self.subscriptions.begin_walk(&cursor.filter) {
            return;
        }
        for _ in 0..2 {
            if self.retained.len() < MANY_WALKS {
                break;
            }
            if let Some(old) = self.retained.pop_front()
                && self.subscriptions.has_walk(&old.filter)
            {
                self.retained.push_back(old);
            }
        }
        self.retained.push_back(cursor);
    }

    /// Whether messages are still to come that live ones must not overtake: retained ones, and
    /// those that hooks are being asked about.
    pub(crate) fn awaits_retained(&self) -> bool {
        self.paging || self.asking || !self.retained.is_empty() || !self.retained_backlog.is_empty()
    }

    /// Charges the session itself, with what is known of its client; `false` if no more may be held.
    pub(crate) fn admit(&mut self, budget: &Arc<Budget>, known: usize) -> bool {
        let charge = self
            .charge
            .get_or_insert_with(|| Charge::new(budget, Part::Sessions));
        charge.admit(SESSION + known)
    }

    /// The same for a session that was admitted before.
    pub(crate) fn restore(&mut self, budget: &Arc<Budget>, known: usize) {
        self.charge = Some(budget.hold(Part::Sessions, SESSION + known));
    }

    /// Whether nothing waits and nothing is in flight.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.attached {
            Some(attached) => {
                self.queue.is_empty()
                    && self.inflight.is_empty()
                    && !self.awaits_retained()
                    && attached.outbox.is_empty()
                    && !attached.held
                    && attached.in_write == 0
            }
            None => true,
        }
    }
}
