//! A hub with clients: each a `Connection` with the writing side that a driver has.

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use midge_core::{
    Batch, Config, Connection, Dirty, Flush, Hooks, Hub, Link, MemoryStats, NextOutput, Outbox,
    Store, Tick,
};
use midge_testkit::{Connect, Kind, Message, Packet, Publish, Subscribe, parse};
use shuttle::sync::Mutex;

pub(crate) const START: Tick = Tick(0);

/// A hub without `$SYS`.
pub(crate) fn hub(change: impl FnOnce(&mut Config), hooks: Option<Arc<dyn Hooks>>) -> Arc<Hub> {
    stored_hub(change, hooks, None)
}

pub(crate) fn stored_hub(
    change: impl FnOnce(&mut Config),
    hooks: Option<Arc<dyn Hooks>>,
    store: Option<Arc<dyn Store>>,
) -> Arc<Hub> {
    let mut config = Config::default();
    config.sys.interval_s = 0;
    change(&mut config);
    Hub::new(config, hooks, store, "test", START)
}

pub(crate) fn plain_hub() -> Arc<Hub> {
    hub(|_| (), None)
}

/// The writing side of a connection, and how it hears of output.
pub(crate) struct Outlet {
    hub: Weak<Hub>,
    state: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    link: Option<Arc<Link>>,
    out: Outbox,
    bytes: Vec<u8>,
    /// Only the connection's own thread writes, when it looks.
    lazy: bool,
    /// It was notified since output was last taken.
    told: bool,
    waker: Option<Waker>,
    /// What the client has sent lies unread, or is being handled.
    behind: bool,
    /// The client is to be judged when that has been handled.
    overdue: bool,
}

impl Outlet {
    /// Writes all there is, as often as the hub has something left to do.
    pub(crate) fn flush(&self, now: Tick) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        loop {
            let (leftovers, again) = self.write(&hub, now);
            if leftovers.is_empty() && !again {
                return;
            }
            for mut batch in leftovers {
                hub.finish(&mut batch);
            }
            if again {
                shuttle::thread::yield_now();
            }
        }
    }

    /// What the hub has left to do, and whether output is to be taken again.
    fn write(&self, hub: &Hub, now: Tick) -> (Vec<Batch>, bool) {
        let mut leftovers = Vec::new();
        let mut state = self.state.lock().unwrap();
        let Written {
            link: Some(link),
            out,
            bytes,
            told,
            ..
        } = &mut *state
        else {
            return (leftovers, false);
        };

        let mut wrote = false;
        loop {
            *told &= wrote;
            let next = hub.next_output(link, wrote, out, &mut leftovers, || now);
            if next != NextOutput::Bytes {
                return (leftovers, next == NextOutput::Later);
            }
            *told = false;
            assert!(
                out.len() <= hub.config().limits.session_queue_bytes,
                "too much for one client"
            );
            append(out, bytes);
            wrote = true;
        }
    }
}

/// Moves all bytes.
fn append(out: &mut Outbox, bytes: &mut Vec<u8>) {
    while !out.is_empty() {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = out.io_slices(&mut slices, usize::MAX);
        let before = bytes.len();
        for slice in &slices[..used] {
            bytes.extend_from_slice(slice);
        }
        out.advance(bytes.len() - before);
    }
}

impl Flush for Outlet {
    fn flush(&self) {
        assert_unlocked("a notification");
        let mut state = self.state.lock().unwrap();
        state.told = true;
        let (lazy, waker) = (state.lazy, state.waker.take());
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if !lazy {
            self.flush(START);
        }
    }

    fn is_behind(&self) -> bool {
        assert_unlocked("a question");
        let mut state = self.state.lock().unwrap();
        state.overdue |= state.behind;
        state.behind
    }
}

/// What runs without locks says so: a panic is counted by the hub, and the audit looks there.
pub(crate) fn assert_unlocked(what: &str) {
    assert_eq!(
        midge_core::exploration::locks_held(),
        0,
        "{what} under a lock"
    );
}

/// One connection.
pub(crate) struct Client {
    pub(crate) hub: Arc<Hub>,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) link: Arc<Link>,
    connection: Connection,
    client_id: String,
}

impl Client {
    /// A connection that has said nothing yet, unless the hub accepts none.
    pub(crate) fn try_accept(hub: &Arc<Hub>) -> Option<Self> {
        let outlet = Arc::new(Outlet {
            hub: Arc::downgrade(hub),
            state: Mutex::default(),
        });
        let link = hub.accept("peer".into(), "test".into(), outlet.clone(), START)?;
        outlet.state.lock().unwrap().link = Some(link.clone());
        let connection = Connection::new(hub.clone(), link.clone());
        Some(Self {
            hub: hub.clone(),
            outlet,
            link,
            connection,
            client_id: String::new(),
        })
    }

    pub(crate) fn accept(hub: &Arc<Hub>) -> Self {
        Self::try_accept(hub).expect("accepted")
    }

    pub(crate) fn connect(hub: &Arc<Hub>, connect: &Connect) -> Self {
        let mut client = Self::accept(hub);
        client.client_id = String::from_utf8_lossy(&connect.client_id).into_owned();
        client.say(&connect.bytes());
        client
    }

    /// A client with one subscription.
    pub(crate) fn subscriber(hub: &Arc<Hub>, client_id: &str, filter: &str, options: u8) -> Self {
        let mut client = Self::connect(hub, &Connect::v5(client_id));
        client.say(&Subscribe::new(1).filter(filter, options).bytes());
        client
    }

    /// From now on only this connection's own thread writes, when it looks.
    pub(crate) fn lazy(self) -> Self {
        self.outlet.state.lock().unwrap().lazy = true;
        self
    }

    /// Feeds one read in.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.say_at(bytes, START);
    }

    pub(crate) fn say_at(&mut self, bytes: &[u8], now: Tick) {
        self.guarded(now, |client| {
            let mut rest = bytes;
            while !rest.is_empty() && client.link.ended().is_none() {
                if client.connection.is_waiting() {
                    client.wait(now);
                    continue;
                }
                let used = client.connection.receive(rest, None, now);
                rest = &rest[used..];
                client.write(now);
            }
            while client.connection.is_waiting() {
                client.wait(now);
            }
        });
    }

    /// As a driver that begins late: what comes lies unread before it is handled, and a client that was
    /// found to be overdue meanwhile is judged then.
    pub(crate) fn say_late(&mut self, bytes: &[u8], now: Tick) {
        self.guarded(now, |client| {
            let used = client.connection.receive(bytes, None, now);
            if used == 0 {
                client.connection.note_partial_packet(bytes.len(), now);
            }
            client.write(now);
        });
        self.outlet.state.lock().unwrap().behind = false;
        self.judge_if_overdue(now);
    }

    pub(crate) fn lie_unread(&self) {
        self.outlet.state.lock().unwrap().behind = true;
    }

    pub(crate) fn judge_if_overdue(&self, now: Tick) {
        let overdue = std::mem::take(&mut self.outlet.state.lock().unwrap().overdue);
        if overdue {
            self.hub.judge(&self.link, now);
        }
    }

    /// Feeds one read in, and leaves the flush to a later call.
    pub(crate) fn say_quietly(&mut self, bytes: &[u8], dirty: &mut Dirty) {
        self.guarded(START, |client| {
            let used = client.connection.receive_unflushed(bytes, None, START);
            assert_eq!(used, bytes.len());
            client.write(START);
            client.connection.take_dirty(dirty);
        });
    }

    /// As a driver does: a panic ends the connection, and what others are owed is paid.
    fn guarded(&mut self, now: Tick, work: impl FnOnce(&mut Self)) {
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        if done.is_err() {
            self.hub.caught_panic(&self.link, now);
            self.connection.flush_dirty();
        }
    }

    fn write(&mut self, now: Tick) {
        if self.connection.has_output() {
            self.outlet.flush(now);
            self.connection.output_written();
        }
    }

    /// Waits for a hook's answer, as a task that is woken by it and by notifications.
    fn wait(&mut self, now: Tick) {
        let Self {
            connection, outlet, ..
        } = self;
        shuttle::future::block_on(std::future::poll_fn(|cx| {
            outlet.state.lock().unwrap().waker = Some(cx.waker().clone());
            match connection.poll(cx, now) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        }));
        self.write(now);
    }

    /// Writes if it was notified. Whether anything may still be unwritten.
    pub(crate) fn look(&self) {
        let told = self.outlet.state.lock().unwrap().told;
        if told {
            self.outlet.flush(START);
        }
    }

    /// Everything that was written to the client so far.
    pub(crate) fn packets(&self) -> Vec<Packet> {
        let bytes = self.outlet.state.lock().unwrap().bytes.clone();
        let mut rest = &bytes[..];
        let mut packets = Vec::new();
        while let Some((packet, used)) = parse(rest, 5).expect("a packet of MQTT 5") {
            packets.push(packet);
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "half a packet");
        packets
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        let message = |packet| match packet {
            Packet::Publish(message) => Some(message),
            _ => None,
        };
        self.packets().into_iter().filter_map(message).collect()
    }

    /// Payloads received so far.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.messages().iter().map(Message::text).collect()
    }

    /// Payloads received so far that are numbers.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        let texts = self.texts();
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Whether an acknowledgement of success has come.
    pub(crate) fn has_ack(&self, kind: Kind, id: u16) -> bool {
        self.packets().iter().any(|packet| match packet {
            Packet::Ack(ack) => ack.kind == kind && ack.id == id && ack.code < 0x80,
            _ => false,
        })
    }

    /// Session Present of a CONNACK of success.
    pub(crate) fn connack(&self) -> Option<bool> {
        self.packets().iter().find_map(|packet| match packet {
            Packet::Connack(connack) if connack.code == 0 => Some(connack.session_present),
            _ => None,
        })
    }

    /// What it called itself.
    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn is_open(&self) -> bool {
        self.link.has_session() && self.link.ended().is_none()
    }

    /// The transport is gone.
    pub(crate) fn close(mut self, now: Tick) {
        self.connection.flush_dirty();
        self.hub.closed(&self.link, now);
        self.outlet.state.lock().unwrap().link = None;
    }
}

pub(crate) fn publish(topic: &str, payload: impl ToString) -> Publish {
    Publish::new(topic, payload.to_string())
}

/// Whether a client is connected, as the host sees it.
pub(crate) fn is_connected(hub: &Hub, client_id: &str) -> bool {
    let clients = hub.clients();
    clients
        .iter()
        .any(|client| &*client.info.client_id == client_id)
}

/// What must be so when no thread does anything any more: what the hub says of connected clients is
/// what the links say, no output waits for a connection that was not told, and when all transports
/// are closed and all sessions ended nothing is left.
pub(crate) fn audit(hub: Arc<Hub>, clients: Vec<Client>) {
    audit_with_panics(hub, clients, 0);
}

pub(crate) fn audit_with_panics(hub: Arc<Hub>, clients: Vec<Client>, panics: u64) {
    for client in &clients {
        client.look();
        let before = client.packets().len();
        client.outlet.flush(START);
        assert_eq!(client.packets().len(), before, "output without a notice");
        let had_session = client.link.has_session();
        assert_eq!(
            client.connack().is_some(),
            had_session,
            "CONNACK of success"
        );
    }

    let open = clients.iter().filter(|client| client.is_open()).count();
    assert_eq!(hub.clients().len(), open, "clients, and open links");
    assert_eq!(hub.stats(START).clients, open as u64);

    let links: Vec<Weak<Link>> = clients.iter().map(|c| Arc::downgrade(&c.link)).collect();
    for client in clients {
        client.close(START);
    }

    for session in hub.sessions() {
        hub.clear_session(&session.client_id, START);
    }

    hub.clear_retained("#", START);
    while hub.work() {}

    let stats = hub.stats(START);
    let left = (
        (stats.connections, stats.clients, stats.sessions),
        (stats.subscriptions, stats.shared_subscriptions),
        (stats.queued_messages, stats.queued_bytes),
        hub.next_deadline(),
    );
    assert_eq!(left, ((0, 0, 0), (0, 0), (0, 0), None), "left behind");
    assert_eq!(stats.panics, panics, "panics");
    assert!(links.iter().all(|link| link.upgrade().is_none()), "a link");
    assert_eq!(stats.memory, MemoryStats::default(), "memory");
    assert_eq!(Arc::strong_count(&hub), 1, "the hub");
    hub.dispose(START);
}
