//! A hub with clients: each a `Connection` with the writing side that a driver has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};

use midge_core::{Config, Connection, Hooks, Hub, Link, Notify, Outbox, Tick};
use midge_testkit::{Connect, Message, Packet, Publish, Subscribe, parse};
use shuttle::sync::Mutex;

pub(crate) const START: Tick = Tick(0);

/// A hub without `$SYS`.
pub(crate) fn hub(change: impl FnOnce(&mut Config), hooks: Option<Arc<dyn Hooks>>) -> Arc<Hub> {
    let mut config = Config::default();
    config.sys.interval_s = 0;
    change(&mut config);
    Hub::new(config, hooks, None, "test", START)
}

pub(crate) fn plain_hub() -> Arc<Hub> {
    hub(|_| (), None)
}

/// The writing side of a connection: what is notified is written at once, on the notifying thread.
pub(crate) struct Outlet {
    hub: Weak<Hub>,
    link: OnceLock<Arc<Link>>,
    state: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    out: Outbox,
    bytes: Vec<u8>,
    closed: bool,
}

impl Outlet {
    fn flush(&self, now: Tick) {
        let (Some(hub), Some(link)) = (self.hub.upgrade(), self.link.get()) else {
            return;
        };
        loop {
            let leftovers = self.write(&hub, link, now);
            if leftovers.is_empty() {
                return;
            }
            for mut batch in leftovers {
                hub.finish(&mut batch);
            }
        }
    }

    fn write(&self, hub: &Hub, link: &Link, now: Tick) -> Vec<midge_core::Batch> {
        let mut leftovers = Vec::new();
        let mut state = self.state.lock().unwrap();
        let mut written = false;
        while !state.closed {
            if state.out.is_empty() {
                if written && !hub.output_written(link) {
                    break;
                }
                leftovers.extend(hub.take_output(link, &mut state.out, || now));
                if state.out.is_empty() {
                    break;
                }
            }
            written = true;
            let Written { out, bytes, .. } = &mut *state;
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let used = out.io_slices(&mut slices, usize::MAX);
            let before = bytes.len();
            slices[..used]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            let count = bytes.len() - before;
            out.advance(count);
        }
        leftovers
    }
}

impl Notify for Outlet {
    fn notify(&self) {
        self.flush(START);
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) hub: Arc<Hub>,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) link: Arc<Link>,
    connection: Connection,
}

impl Client {
    /// A connection that has said nothing yet.
    pub(crate) fn accept(hub: &Arc<Hub>) -> Self {
        let outlet = Arc::new(Outlet {
            hub: Arc::downgrade(hub),
            link: OnceLock::new(),
            state: Mutex::default(),
        });
        let link = hub
            .accept("peer".into(), "test".into(), outlet.clone(), START)
            .expect("accepted");
        let _ = outlet.link.set(link.clone());
        let connection = Connection::new(hub.clone(), link.clone());
        Self {
            hub: hub.clone(),
            outlet,
            link,
            connection,
        }
    }

    pub(crate) fn connect(hub: &Arc<Hub>, connect: &Connect) -> Self {
        let mut client = Self::accept(hub);
        client.say(&connect.bytes());
        client
    }

    /// A client with one subscription.
    pub(crate) fn subscriber(hub: &Arc<Hub>, client_id: &str, filter: &str, options: u8) -> Self {
        let mut client = Self::connect(hub, &Connect::v5(client_id));
        client.say(&Subscribe::new(1).filter(filter, options).bytes());
        client
    }

    /// Feeds in one read, as a driver does: a panic ends the connection.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.say_at(bytes, START);
    }

    pub(crate) fn say_at(&mut self, bytes: &[u8], now: Tick) {
        let mut rest = bytes;
        let read = catch_unwind(AssertUnwindSafe(|| {
            while !rest.is_empty() && self.link.ended().is_none() && !self.connection.is_waiting() {
                let used = self.connection.receive(rest, None, now);
                rest = &rest[used..];
                if self.connection.has_output() {
                    self.outlet.flush(now);
                    self.connection.output_written();
                }
            }
        }));
        if read.is_err() {
            self.hub.caught_panic(&self.link, now);
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

    /// Session Present of a CONNACK of success.
    pub(crate) fn connack(&self) -> Option<bool> {
        self.packets().iter().find_map(|packet| match packet {
            Packet::Connack(connack) if connack.code == 0 => Some(connack.session_present),
            _ => None,
        })
    }

    /// The transport is gone.
    pub(crate) fn close(self, now: Tick) {
        self.hub.closed(&self.link, now);
        self.outlet.state.lock().unwrap().closed = true;
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
/// what the links say, and when all transports are closed nothing is left.
pub(crate) fn audit(hub: &Arc<Hub>, clients: Vec<Client>) {
    for client in &clients {
        let had_session = client.link.has_session();
        assert_eq!(
            client.connack().is_some(),
            had_session,
            "CONNACK of success"
        );
    }
    let open = |client: &&Client| client.link.has_session() && client.link.ended().is_none();
    assert_eq!(
        hub.clients().len(),
        clients.iter().filter(open).count(),
        "connected clients and open links"
    );
    assert_eq!(hub.stats(START).clients as usize, hub.clients().len());
    for client in clients {
        client.close(START);
    }
    for session in hub.sessions() {
        hub.clear_session(&session.client_id, START);
    }
    while hub.work() {}
    let stats = hub.stats(START);
    let left = (
        (stats.connections, stats.clients, stats.sessions),
        (stats.subscriptions, stats.shared_subscriptions),
        (stats.queued_messages, stats.queued_bytes),
    );
    assert_eq!(left, ((0, 0, 0), (0, 0), (0, 0)), "left behind");
    hub.dispose();
}
