//! The broker of a script, what looks at it, and the end of the script.

use std::sync::{Arc, Mutex, PoisonError};

use midge_codec::{QoS, ReasonCode};
use midge_core::{
    Config, Event, EventMask, Hub, Limits, MemoryStore, Observed, ObserverHandle, Overflow,
    OwnedMessage, Pushed, Queue, QueueLimits, Received, Store, Tick,
};

use super::fates::Fates;
use super::peer::{Peer, Wire};
use super::{Entry, Trace, Way};
use crate::build::Connect;

/// Clients of a script.
const PEERS: usize = 6;

/// A script at work.
pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) hub: Arc<Hub>,
    pub(super) peers: Vec<Peer>,
    pub(super) now: Tick,
    /// Messages may be retained. Without, the fates of all messages add up.
    pub(super) retains: bool,
    /// The topic that most messages have at present.
    pub(super) topic: usize,
    pub(super) trace: Trace,
    /// Number of the next message.
    pub(super) number: u32,
    way: Way,
    events: Arc<Queue<Observed>>,
    inbox: Inbox,
    watching: Option<ObserverHandle>,
    fates: Fates,
}

/// What the host got.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<String>>>);

impl midge_core::Sink for Inbox {
    fn push(&self, received: Received) -> Pushed {
        let message = received.message();
        let payload = message.payload();
        let told = format!(
            "{} {:?} {} {:?} {}, {:02x?}",
            message.topic(),
            received.qos(),
            received.retained(),
            received.expiry(),
            payload.len(),
            &payload[..payload.len().min(8)],
        );
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        Pushed::new(0, false)
    }

    fn wake(&self) {}

    fn close(&self) {}
}

impl Inbox {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Settings that a script of this seed runs with.
fn settings(random: &mut fastrand::Rng) -> Config {
    let mut config = Config::default();
    config.sys.interval_s = 0;

    let mut some = |one_in: u32| random.u32(..one_in) == 0;
    let (low, full, small, old) = (some(3), some(2), some(3), some(3));
    let (no_retain, narrow, few, strict) = (some(6), some(4), some(4), some(5));
    let (keeps, slow, aliases) = (some(3), some(12), some(3));
    if low {
        config.mqtt.maximum_qos = QoS::from_u8(random.u8(..2)).unwrap_or_default();
    }
    if full {
        config.limits.session_queue_messages = random.usize(1..12);
    }
    if small {
        config.limits.session_queue_bytes = random.usize(70_000..400_000);
    }
    if narrow {
        config.limits.total_queue_bytes = random.usize(2_000..200_000);
    }

    if few {
        config.limits.receive_maximum = random.u16(1..8);
        config.limits.user_properties = random.usize(0..3);
    }
    if strict {
        config.strict.control_characters = true;
        config.strict.payload_format = true;
    }
    if slow {
        config.limits.publish_rate = random.u32(3..60);
    }
    if aliases {
        config.mqtt.topic_alias_outbound = random.u16(..4);
        config.mqtt.topic_alias_maximum = random.u16(..4);
    }

    config.mqtt.retain_available = !no_retain;
    config.mqtt.queue_qos0_offline = keeps;
    config.limits.packet_bytes = if small { 30_000 } else { 200_000 };
    config.limits.topic_levels = if few { 3 } else { 8 };
    config.limits.inflight = if full { random.u16(1..6) } else { 100 };
    config.lenient.receive_maximum = old;
    config.overflow.session = match random.u8(..5) {
        0 => Overflow::DropOldest,
        1 => Overflow::Disconnect,
        _ => Overflow::DropNewest,
    };

    config
}

/// What a client says of itself.
fn connect(random: &mut fastrand::Rng, number: usize) -> Connect {
    let version = [3, 4, 5, 5][random.usize(..4)];
    let mut connect = Connect::new(version, format!("client {number}"));
    connect = connect.clean(random.u8(..3) > 0);
    if version < 5 {
        return connect;
    }
    if random.u8(..3) > 0 {
        connect = connect.expiry([5, 60, u32::MAX][random.usize(..3)]);
    }
    if random.u8(..3) == 0 {
        connect = connect.receive_maximum(random.u16(1..5));
    }
    if random.u8(..5) == 0 {
        connect = connect.topic_alias_maximum(random.u16(1..3));
    }
    if random.u8(..5) == 0 {
        connect = connect.maximum_packet_size(random.u32(30..200));
    }

    connect
}

impl World {
    pub(super) fn new(seed: u64, way: Way) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut config = settings(&mut random);
        if way == Way::Counted && config.limits.publish_rate == 0 {
            config.limits.publish_rate = u32::MAX;
        }
        let mut trace = Trace::default();
        trace.step(format!("{config:?}"));
        trace.is_narrow = config.limits.total_queue_bytes < Limits::default().total_queue_bytes;

        let store: Option<Arc<dyn Store>> = match way {
            Way::Stored => Some(MemoryStore::new()),
            Way::Short | Way::Counted | Way::Watched => None,
        };
        let hub = Hub::new(config, None, store, "script", Tick(0));
        // The end of one session may tell of all that waited for it: nothing is to be lost.
        let mut unbounded = QueueLimits::default();
        (unbounded.items, unbounded.bytes) = (usize::MAX, usize::MAX);
        let events = Arc::new(Queue::new(unbounded));
        let messages = EventMask::PUBLISHED.union(EventMask::DELIVERED);
        let mask = match way {
            Way::Watched => EventMask::ALL,
            Way::Short | Way::Counted | Way::Stored => EventMask(EventMask::ALL.0 & !messages.0),
        };

        hub.observe(mask, events.clone());
        let peers = (0..PEERS).map(|number| Peer::new(connect(&mut random, number)));
        let peers = peers.collect();
        Self {
            retains: random.bool(),
            random,
            hub,
            peers,
            now: Tick(1000),
            topic: 0,
            trace,
            number: 0,
            way,
            events,
            inbox: Inbox::default(),
            watching: None,
            fates: Fates::default(),
        }
    }

    /// Notes what has happened since the last time. What happens to different clients may come in
    /// any order.
    pub(super) fn look(&mut self) {
        let mut facts = Vec::new();
        while let Ok(Some(observed)) = self.events.try_recv() {
            self.fates.note(&observed.event);
            if let Event::Published { .. } | Event::Delivered { .. } = observed.event {
                continue;
            }
            facts.push(tell(&observed.event));
        }
        facts.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (client, fact) in facts {
            self.trace.fact(format!("{client}: {fact}"));
        }
        for told in self.inbox.take() {
            self.fates.delivered += 1;
            self.trace.fact(format!("host: {told}"));
        }
    }

    /// A client reads all there is for it; one whose connection has ended is gone.
    pub(super) fn read(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        let Some(wire) = &mut peer.wire else { return };
        let bytes = wire.read(self.now);
        let ended = wire.ended();
        if !bytes.is_empty() {
            let bytes = peer.identifiers.counted(bytes);
            self.trace.entries.push(Entry::Bytes(number, bytes));
        }
        peer.note();
        if ended && let Some(wire) = peer.wire.take() {
            wire.close(self.now);
            peer.forget();
        }
    }

    pub(super) fn open(&mut self, number: usize) {
        let bytes = self.peers[number].connect.bytes();
        if let Some(mut wire) = Wire::open(&self.hub, self.now) {
            wire.say(&bytes, self.now);
            self.peers[number].forget();
            self.peers[number].wire = Some(wire);
        }
    }

    pub(super) fn say(&mut self, number: usize, bytes: &[u8]) {
        if let Some(wire) = &mut self.peers[number].wire {
            wire.say(bytes, self.now);
        }
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.now = self.now.after_ms(ms);
        self.hub.fire(self.now);
    }

    /// The host subscribes, or does not any more.
    pub(super) fn watch(&mut self, filters: &[&str], qos: QoS, retained: bool) {
        let sink = self.inbox.clone();
        let before = self.watching.take();
        drop(before);
        if !filters.is_empty() {
            let retained = retained && self.retains;
            let handle = (self.hub).observe_messages(filters, qos, retained, sink, self.now);
            self.watching = handle.ok();
        }
    }

    pub(super) fn publish_from_host(
        &mut self,
        message: &OwnedMessage,
        count: usize,
        receipt: bool,
    ) {
        for _ in 0..count {
            let now = self.now;
            let result = (self.hub).publish_from_host(message.parts(), None, || now, receipt);
            let told = match result {
                Ok(receipt) => format!("{}, {:?}", receipt.matched(), receipt.outcomes()),
                Err(error) => error.to_string(),
            };
            self.trace.fact(told);
        }
    }

    /// Ends a session, as the host asks.
    pub(super) fn clear(&mut self, number: usize) {
        let client = format!("client {number}");
        self.hub.clear_session(&client, self.now);
    }

    /// Ends a connection, as the host asks.
    pub(super) fn disconnect(&mut self, number: usize) {
        let client = format!("client {number}");
        let reason = ReasonCode::AdministrativeAction;
        self.hub.disconnect(&client, reason, self.now);
    }

    /// What is counted. Memory depends on the way: what is shared and what copied.
    pub(super) fn count(&mut self) {
        let mut stats = self.hub.stats(self.now);
        stats.memory = midge_core::MemoryStats::default();
        self.trace.fact(format!("{stats:?}"));
        let mut sessions = self.hub.sessions();
        sessions.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        self.trace.fact(format!("{sessions:?}"));
    }

    /// Every client reads what there is; then come the sums.
    pub(super) fn end(mut self) -> Trace {
        if !self.trace.is_cut {
            for number in 0..PEERS {
                self.read(number);
            }
            self.look();
            self.count();
        }

        let stats = self.hub.stats(self.now);
        self.trace.published = stats.publish_received;
        self.trace.received = self.peers.iter().map(|peer| peer.received).sum();
        self.trace.dropped = stats.dropped_total();
        if self.way == Way::Watched {
            let sessions = self.hub.sessions();
            let waits = sessions
                .iter()
                .map(|session| session.queued + session.inflight);
            self.fates.waiting = waits.sum::<usize>() as u64;
            self.trace.fault = self.fates.fault(&stats, !self.retains);
        }
        for peer in &mut self.peers {
            if let Some(wire) = peer.wire.take() {
                wire.close(self.now);
            }
        }
        self.hub.shut_down(self.now);
        self.hub.dispose(self.now);
        self.trace
    }
}

/// An event and the client that it is about.
fn tell(event: &Event) -> (String, String) {
    let client = event.client_id().unwrap_or_default().to_owned();
    let kind = event.kind();
    let what = match &mut event.clone() {
        // The number of a message depends on which receivers keep it.
        Event::Acknowledged { message, .. } | Event::RetainedExpired { message, .. } => {
            let payload = message.payload();
            let start = &payload[..payload.len().min(8)];
            format!("{kind:?} {} {start:02x?}", message.topic())
        }
        event @ (Event::Dropped { .. } | Event::WillSent { .. }) => {
            if let Event::Dropped { message_number, .. } = event {
                *message_number = None;
            }
            if let Event::WillSent { message_number, .. } = event {
                *message_number = 0;
            }
            format!("{event:?}")
        }
        event => format!("{event:?}"),
    };

    (client, what)
}
