//! A hub with clients: each a `Connection` with the writing side that a driver has.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use midge_core::{Config, Connection, Flush, Hooks, Hub, Link, NextOutput, Outbox, Store, Tick};
use midge_testkit::{Connect, Kind, Packet, parse};

/// The moment of whatever happens at no other.
pub(crate) const START: Tick = Tick(0);

/// A hub without `$SYS`.
pub(crate) fn hub(change: impl FnOnce(&mut Config)) -> Arc<Hub> {
    hub_with(change, None, None)
}

/// A hub with defaults and a store.
pub(crate) fn stored_hub(store: Arc<dyn Store>) -> Arc<Hub> {
    hub_with(|_| (), None, Some(store))
}

pub(crate) fn hub_with(
    change: impl FnOnce(&mut Config),
    hooks: Option<Arc<dyn Hooks>>,
    store: Option<Arc<dyn Store>>,
) -> Arc<Hub> {
    hub_of(change, hooks.into_iter().collect(), store)
}

/// A hub with several sets of hooks.
pub(crate) fn hub_of(
    change: impl FnOnce(&mut Config),
    hooks: Vec<Arc<dyn Hooks>>,
    store: Option<Arc<dyn Store>>,
) -> Arc<Hub> {
    let mut config = Config::default();
    config.sys.interval_s = 0;
    change(&mut config);
    Hub::new(config, hooks, store, "test", START)
}

/// Counts what a connection is told.
#[derive(Default)]
struct Told(AtomicUsize);

impl Flush for Told {
    fn flush(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One connection. It writes only when a test says so.
pub(crate) struct Client {
    pub(crate) hub: Arc<Hub>,
    pub(crate) link: Arc<Link>,
    pub(crate) connection: Connection,
    told: Arc<Told>,
    version: u8,
    /// When it has said something last: that is when it reads, too.
    now: Tick,
}

impl Client {
    /// A connection that has said nothing yet, unless the hub accepts none.
    pub(crate) fn try_accept(hub: &Arc<Hub>) -> Option<Self> {
        let told = Arc::new(Told::default());
        let link = hub.accept("peer".into(), "test".into(), told.clone(), START)?;
        let connection = Connection::new(hub.clone(), link.clone());
        Some(Self {
            hub: hub.clone(),
            link,
            connection,
            told,
            version: 5,
            now: START,
        })
    }

    pub(crate) fn accept(hub: &Arc<Hub>) -> Self {
        Self::try_accept(hub).expect("accepted")
    }

    /// A client that has read its CONNACK, if there is one already.
    pub(crate) fn connect(hub: &Arc<Hub>, connect: &Connect) -> Self {
        let mut client = Self::accept(hub);
        client.version = connect.version;
        client.say(connect.bytes());
        client.read();
        client
    }

    /// A plain MQTT 5 client whose session ends with its connection.
    pub(crate) fn plain(hub: &Arc<Hub>, client_id: &str) -> Self {
        Self::connect(hub, &Connect::v5(client_id))
    }

    /// Feeds one read in. Nothing is written.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.say_at(bytes, START);
    }

    /// In as many turns as the connection wants, up to a hook that thinks.
    pub(crate) fn say_at(&mut self, bytes: impl AsRef<[u8]>, now: Tick) {
        self.now = now;
        let mut rest = bytes.as_ref();
        let mut context = Context::from_waker(Waker::noop());
        while !rest.is_empty() && self.link.ended().is_none() {
            let used = self.connection.receive(rest, None, now);
            let ended = self.link.ended().is_some();
            assert!(!ended || used == rest.len(), "what comes after the end");
            rest = &rest[used..];
            while self.connection.gives_way() {
                let _ = self.connection.poll(&mut context, now);
            }
            if self.connection.is_waiting() {
                break;
            }
            let goes_on = used > 0 || self.connection.is_interrupted();
            assert!(goes_on || ended, "half a packet");
        }
    }

    /// Takes output once, as a driver does before it writes.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.take_next(false).unwrap_or_default()
    }

    /// Takes output once, as a driver does before it writes, or after it has written. `None` if there is
    /// no more.
    pub(crate) fn take_next(&self, mut wrote: bool) -> Option<Vec<u8>> {
        let (mut bytes, mut out, mut work) = (Vec::new(), Outbox::default(), Vec::new());
        loop {
            let next = (self.hub).next_output(&self.link, wrote, &mut out, &mut work, || self.now);
            append(&mut out, &mut bytes);
            let again = !work.is_empty() || next == NextOutput::Later;
            for mut batch in work.drain(..) {
                self.hub.finish(&mut batch);
            }
            if !again {
                return (!bytes.is_empty()).then_some(bytes);
            }
            wrote = false;
        }
    }

    /// Writes all there is; the bytes.
    pub(crate) fn write(&mut self) -> Vec<u8> {
        let mut written = self.take();
        let mut wrote = !written.is_empty();
        while wrote {
            let more = self.take_next(true);
            wrote = more.is_some();
            written.extend(more.unwrap_or_default());
        }
        self.connection.output_written();
        written
    }

    /// Writes all there is; the packets.
    pub(crate) fn read(&mut self) -> Vec<Packet> {
        let bytes = self.write();
        let mut rest = &bytes[..];
        let mut packets = Vec::new();
        while let Some((packet, used)) = parse(rest, self.version).expect("a packet") {
            packets.push(packet);
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "half a packet");
        packets
    }

    /// Writes all there is; the packet identifiers of acknowledgements of one kind.
    pub(crate) fn acks(&mut self, kind: Kind) -> Vec<u16> {
        let ack = |packet| match packet {
            Packet::Ack(ack) if ack.kind == kind => Some(ack.id),
            _ => None,
        };
        self.read().into_iter().filter_map(ack).collect()
    }

    /// Writes all there is; the payloads of messages.
    pub(crate) fn texts(&mut self) -> Vec<String> {
        let text = |packet| match packet {
            Packet::Publish(message) => Some(message.text()),
            _ => None,
        };
        self.read().into_iter().filter_map(text).collect()
    }

    /// How often it was told that there is something to do, since the last time.
    pub(crate) fn told(&self) -> usize {
        self.told.0.swap(0, Ordering::Relaxed)
    }

    /// The transport is gone.
    pub(crate) fn close(self) {
        self.hub.closed(&self.link, START);
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
