//! What can be observed: one list of events.

use crate::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use crate::sync::{Mutex, RwLock};
use midge_codec::{QoS, ReasonCode, ReasonPacket, Version};

use crate::message::SharedMessage;
use crate::queue::Queue;
use crate::reason::{DisconnectReason, DropReason};
use crate::time::Tick;

/// What happened, as seen by an observer.
///
/// Connections and sessions are told of in the order in which they begin and end, whichever threads
/// that happens on; so are subscriptions. A message that is just being handled for a connection when
/// that ends may be told of afterwards. Each connection and each session has a number of its own,
/// from 1 on and never used again: where two have the same client identifier, the numbers tell them
/// apart.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client was accepted (CONNACK with success).
    #[non_exhaustive]
    ClientConnected {
        /// Client identifier.
        client_id: Arc<str>,
        /// User name.
        username: Option<Arc<str>>,
        /// Protocol version.
        version: Version,
        /// Where it came from, as the transport names it.
        peer: Arc<str>,
        /// Whether a session was resumed.
        session_present: bool,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A connection was refused or given up before a session was attached.
    #[non_exhaustive]
    ConnectionRefused {
        /// Client identifier as sent, empty if CONNECT did not come or could not be read.
        client_id: Arc<str>,
        /// Where it came from.
        peer: Arc<str>,
        /// Why.
        reason: DisconnectReason,
        /// User name, if CONNECT has one.
        username: Option<Arc<str>>,
        /// What the refusal says beyond the reason, if it comes with a text.
        text: Option<Arc<str>>,
        /// Number of the connection.
        connection: u64,
    },
    /// A connected client's connection ended.
    #[non_exhaustive]
    ClientDisconnected {
        /// Client identifier.
        client_id: Arc<str>,
        /// Why.
        reason: DisconnectReason,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A subscription was made or replaced.
    #[non_exhaustive]
    Subscribed {
        /// Client identifier.
        client_id: Arc<str>,
        /// Topic filter as sent.
        filter: Arc<str>,
        /// Granted QoS.
        qos: QoS,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A subscription was refused.
    #[non_exhaustive]
    SubscribeRefused {
        /// Client identifier.
        client_id: Arc<str>,
        /// Topic filter as sent.
        filter: Arc<str>,
        /// Reason code in SUBACK.
        reason: ReasonCode,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A subscription was removed.
    #[non_exhaustive]
    Unsubscribed {
        /// Client identifier.
        client_id: Arc<str>,
        /// Topic filter as sent.
        filter: Arc<str>,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A message was accepted and routed.
    #[non_exhaustive]
    Published {
        /// The message.
        message: SharedMessage,
        /// Receivers that matched.
        matched: usize,
        /// Number of the publisher's connection, if a client published it.
        connection: Option<u64>,
        /// Number of the publisher's session, if a client published it.
        session: Option<u64>,
    },
    /// A message was written towards a client.
    #[non_exhaustive]
    Delivered {
        /// Receiver.
        client_id: Arc<str>,
        /// The message.
        message: SharedMessage,
        /// QoS of this delivery.
        qos: QoS,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A client finished the acknowledgement of a QoS 1 or 2 message.
    #[non_exhaustive]
    Acknowledged {
        /// Receiver.
        client_id: Arc<str>,
        /// The message.
        message: SharedMessage,
        /// Number of the connection.
        connection: u64,
        /// Number of the session.
        session: u64,
    },
    /// A message was dropped, for one receiver or (without one) altogether.
    #[non_exhaustive]
    Dropped {
        /// Receiver, if it is about one.
        client_id: Option<Arc<str>>,
        /// Topic name.
        topic: Arc<str>,
        /// Why.
        reason: DropReason,
        /// Number of the connection, if a message of a client was not taken.
        connection: Option<u64>,
        /// Number of the session, if it is about one.
        session: Option<u64>,
    },
    /// A retained message expired.
    #[non_exhaustive]
    RetainedExpired {
        /// The message.
        message: SharedMessage,
    },
    /// A session ended: its expiry interval passed, or it was cleared or replaced.
    #[non_exhaustive]
    SessionEnded {
        /// Client identifier.
        client_id: Arc<str>,
        /// Number of the session.
        session: u64,
    },
    /// A will was published.
    #[non_exhaustive]
    WillSent {
        /// Whose will.
        client_id: Arc<str>,
        /// Its topic name.
        topic: Arc<str>,
        /// Number of the session.
        session: u64,
    },
    /// A reason code that a hook or the host gave cannot stand in the packet that it was given for:
    /// the client got another one. See [`Refusal`](crate::Refusal).
    #[non_exhaustive]
    ReasonReplaced {
        /// The client that got it, unless it is not known yet.
        client_id: Option<Arc<str>>,
        /// The packet.
        packet: ReasonPacket,
        /// The code as given.
        given: ReasonCode,
        /// The code that was sent.
        sent: ReasonCode,
        /// Number of its connection, if it has one.
        connection: Option<u64>,
    },
}

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMask(pub u32);

#[allow(missing_docs)] // named like the events
impl EventMask {
    pub const NONE: Self = Self(0);
    pub const CLIENT_CONNECTED: Self = Self(1);
    pub const CONNECTION_REFUSED: Self = Self(1 << 1);
    pub const CLIENT_DISCONNECTED: Self = Self(1 << 2);
    pub const SUBSCRIBED: Self = Self(1 << 3);
    pub const UNSUBSCRIBED: Self = Self(1 << 4);
    pub const PUBLISHED: Self = Self(1 << 5);
    pub const DELIVERED: Self = Self(1 << 6);
    pub const ACKNOWLEDGED: Self = Self(1 << 7);
    pub const DROPPED: Self = Self(1 << 8);
    pub const EXPIRED: Self = Self(1 << 9);
    pub const SESSION_ENDED: Self = Self(1 << 10);
    pub const WILL_SENT: Self = Self(1 << 11);
    pub const SUBSCRIBE_REFUSED: Self = Self(1 << 12);
    pub const REASON_REPLACED: Self = Self(1 << 13);
    /// Everything.
    pub const ALL: Self = Self((1 << 14) - 1);
    /// Everything but the events that come with each message.
    pub const LIFECYCLE: Self =
        Self(Self::ALL.0 & !(Self::PUBLISHED.0 | Self::DELIVERED.0 | Self::ACKNOWLEDGED.0));

    /// Whether any kind of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Event {
    /// The kind of this event.
    pub fn kind(&self) -> EventMask {
        match self {
            Self::ClientConnected { .. } => EventMask::CLIENT_CONNECTED,
            Self::ConnectionRefused { .. } => EventMask::CONNECTION_REFUSED,
            Self::ClientDisconnected { .. } => EventMask::CLIENT_DISCONNECTED,
            Self::Subscribed { .. } => EventMask::SUBSCRIBED,
            Self::SubscribeRefused { .. } => EventMask::SUBSCRIBE_REFUSED,
            Self::Unsubscribed { .. } => EventMask::UNSUBSCRIBED,
            Self::Published { .. } => EventMask::PUBLISHED,
            Self::Delivered { .. } => EventMask::DELIVERED,
            Self::Acknowledged { .. } => EventMask::ACKNOWLEDGED,
            Self::Dropped { .. } => EventMask::DROPPED,
            Self::RetainedExpired { .. } => EventMask::EXPIRED,
            Self::SessionEnded { .. } => EventMask::SESSION_ENDED,
            Self::WillSent { .. } => EventMask::WILL_SENT,
            Self::ReasonReplaced { .. } => EventMask::REASON_REPLACED,
        }
    }

    /// The number of the connection that it concerns, if any.
    pub fn connection(&self) -> Option<u64> {
        match self {
            Self::ClientConnected { connection, .. }
            | Self::ConnectionRefused { connection, .. }
            | Self::ClientDisconnected { connection, .. }
            | Self::Subscribed { connection, .. }
            | Self::SubscribeRefused { connection, .. }
            | Self::Unsubscribed { connection, .. }
            | Self::Delivered { connection, .. }
            | Self::Acknowledged { connection, .. } => Some(*connection),
            Self::Published { connection, .. }
            | Self::Dropped { connection, .. }
            | Self::ReasonReplaced { connection, .. } => *connection,
            Self::RetainedExpired { .. } | Self::SessionEnded { .. } | Self::WillSent { .. } => {
                None
            }
        }
    }

    /// The number of the session that it concerns, if any.
    pub fn session(&self) -> Option<u64> {
        match self {
            Self::ClientConnected { session, .. }
            | Self::ClientDisconnected { session, .. }
            | Self::Subscribed { session, .. }
            | Self::SubscribeRefused { session, .. }
            | Self::Unsubscribed { session, .. }
            | Self::Delivered { session, .. }
            | Self::Acknowledged { session, .. }
            | Self::SessionEnded { session, .. }
            | Self::WillSent { session, .. } => Some(*session),
            Self::Published { session, .. } | Self::Dropped { session, .. } => *session,
            Self::ConnectionRefused { .. }
            | Self::RetainedExpired { .. }
            | Self::ReasonReplaced { .. } => None,
        }
    }

    /// Bytes of the message or text that it keeps alive.
    pub fn size(&self) -> usize {
        match self {
            Self::Published { message, .. }
            | Self::Delivered { message, .. }
            | Self::Acknowledged { message, .. }
            | Self::RetainedExpired { message } => message.size(),
            Self::ClientConnected { username, .. } => {
                username.as_ref().map_or(0, |name| name.len())
            }
            Self::ConnectionRefused {
                client_id,
                username,
                text,
                ..
            } => {
                let texts = [username.as_ref(), text.as_ref()].into_iter().flatten();
                client_id.len() + texts.map(|text| text.len()).sum::<usize>()
            }
            Self::Dropped { topic, .. } | Self::WillSent { topic, .. } => topic.len(),
            Self::Subscribed { filter, .. }
            | Self::SubscribeRefused { filter, .. }
            | Self::Unsubscribed { filter, .. } => filter.len(),
            _ => 0,
        }
    }
}

/// An event with the moment when it happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Observed {
    /// When it happened.
    pub at: Tick,
    /// What happened.
    pub event: Event,
}

/// The observers of a hub. When nobody looks, an event costs one atomic load.
#[derive(Default)]
pub(crate) struct Taps {
    mask: AtomicU32,
    taps: RwLock<TapList>,
    /// Events that have a place among those of other threads, in that order, with what led to them.
    recorded: Mutex<Vec<(Tick, Event)>>,
    /// Recorded events are handed on by one thread at a time, so that they stay in order.
    handing_on: Mutex<()>,
}

/// Whom an event is about, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whom<'a> {
    pub(crate) client_id: Option<&'a Arc<str>>,
    pub(crate) connection: Option<u64>,
    pub(crate) session: Option<u64>,
}

impl<'a> Whom<'a> {
    pub(crate) const NOBODY: Self = Self {
        client_id: None,
        connection: None,
        session: None,
    };

    pub(crate) fn client(client_id: &'a Arc<str>) -> Self {
        Self {
            client_id: Some(client_id),
            ..Self::NOBODY
        }
    }
}

#[derive(Default)]
pub(crate) struct TapList {
    open: Vec<(EventMask, Arc<Queue<Observed>>)>,
    /// The hub has ended: no more are taken.
    ended: bool,
}

/// What is to be done for observers once events have been pushed.
#[derive(Default)]
struct Ready {
    queues: Vec<Arc<Queue<Observed>>>,
    closed: bool,
}

impl Taps {
    #[inline]
    pub(crate) fn mask(&self) -> u32 {
        self.mask.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, mask: EventMask, queue: Arc<Queue<Observed>>) {
        let mut taps = self.taps.write();
        if taps.ended {
            drop(taps);
            return queue.close();
        }
        taps.open.push((mask, queue));
        self.refresh(&taps);
    }

    /// Lets go of an observer.
    pub(crate) fn remove(&self, queue: &Arc<Queue<Observed>>) {
        self.remove_all(|known| Arc::ptr_eq(known, queue));
    }

    fn remove_all(&self, gone: impl Fn(&Arc<Queue<Observed>>) -> bool) {
        let mut taps = self.taps.write();
        let (removed, open): (Vec<_>, Vec<_>) =
            (taps.open.drain(..)).partition(|(_, queue)| gone(queue));
        taps.open = open;
        self.refresh(&taps);
        drop(taps);

        // What waits in it, and what the host gave it to call, may run code of the host.
        drop(removed);
    }

    fn refresh(&self, taps: &TapList) {
        let mask = taps.open.iter().fold(0, |all, (mask, _)| all | mask.0);
        self.mask.store(mask, Ordering::Relaxed);
    }

    /// Notes events, with the lock held that guards what they tell of.
    pub(crate) fn record(&self, at: Tick, events: impl Iterator<Item = Event>) {
        let mut recorded = self.recorded.lock();
        recorded.extend(events.map(|event| (at, event)));
    }

    /// Hands on what was recorded, also by others, with no lock held.
    pub(crate) fn hand_on(&self) {
        let mut ready = Ready::default();
        {
            let _turn = self.handing_on.lock();
            let recorded = std::mem::take(&mut *self.recorded.lock());
            for (at, event) in recorded {
                self.push(at, &event, &mut ready);
            }
        }
        self.wake(ready);
    }

    /// Hands an event to everybody who wants it, with no lock held.
    pub(crate) fn emit(&self, at: Tick, event: &Event) {
        let mut ready = Ready::default();
        self.push(at, event, &mut ready);
        self.wake(ready);
    }

    fn push(&self, at: Tick, event: &Event, ready: &mut Ready) {
        let kind = event.kind();
        for (mask, queue) in &self.taps.read().open {
            if mask.intersects(kind) {
                let bytes = event.size();
                let event = event.clone();
                let (_, is_ready) = queue.push(Observed { at, event }, bytes);
                if is_ready {
                    ready.queues.push(queue.clone());
                }
            }
            ready.closed |= queue.is_closed();
        }
    }

    fn wake(&self, ready: Ready) {
        for queue in ready.queues {
            queue.wake();
        }
        if ready.closed {
            self.remove_all(|queue| queue.is_closed());
        }
    }

    pub(crate) fn close(&self) {
        let taps = {
            let mut taps = self.taps.write();
            taps.ended = true;
            std::mem::take(&mut taps.open)
        };
        self.mask.store(0, Ordering::Relaxed);
        for (_, queue) in taps {
            queue.close();
        }
    }
}
