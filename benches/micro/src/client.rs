//! A client of the core without a socket: bytes in, bytes out.

use std::sync::Arc;
use std::task::{Context, Waker};

use midge_codec::{
    Connect, Packet, Properties, Publish, QoS, Subscribe, SubscribeFilter, SubscriptionOptions,
    Version,
};
use midge_core::{Connection, Flush, Hub, Link, Outbox, Tick};

const NOW: Tick = Tick(1);

/// No notification: the paths take the output themselves.
struct Quiet;

impl Flush for Quiet {
    fn flush(&self) {}
}

/// One connected client.
pub(crate) struct Client {
    hub: Arc<Hub>,
    link: Arc<Link>,
    connection: Connection,
    version: Version,
    outbox: Outbox,
}

impl Client {
    /// Connects with a clean session.
    pub(crate) fn connect(hub: &Arc<Hub>, id: &str, version: Version) -> Self {
        let link = hub
            .accept("bench".into(), "bench".into(), Arc::new(Quiet), NOW)
            .expect("the hub takes connections");
        let connection = Connection::new(hub.clone(), link.clone());
        let outbox = Outbox::default();
        let mut client = Self {
            hub: hub.clone(),
            link,
            connection,
            version,
            outbox,
        };

        let connect = Connect {
            version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::EMPTY,
            client_id: id,
            will: None,
            username: None,
            password: None,
        };

        client.send(&encode(&Packet::Connect(connect), version));
        assert!(client.take() > 0, "no CONNACK");
        client
    }

    /// Subscribes to some filters.
    pub(crate) fn subscribe<S: AsRef<str>>(&mut self, filters: &[S], qos: QoS) {
        let options = SubscriptionOptions {
            qos,
            ..SubscriptionOptions::default()
        };

        let filters = filters
            .iter()
            .map(|filter| SubscribeFilter {
                filter: filter.as_ref(),
                options,
            })
            .collect();
        let subscribe = Subscribe {
            packet_id: 7,
            properties: Properties::EMPTY,
            filters,
        };

        self.send(&encode(&Packet::Subscribe(subscribe), self.version));
        assert!(self.take() > 0, "no SUBACK");
    }

    /// Hands bytes to the protocol machine, as a driver does after a read.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let used = self.connection.receive(rest, None, NOW);
            rest = &rest[used..];
            // Large packets, and very many, take several turns.
            while self.connection.gives_way() {
                let mut cx = Context::from_waker(Waker::noop());
                assert!(self.connection.poll(&mut cx, NOW).is_ready());
            }
            if rest.is_empty() {
                return;
            }
            assert!(used > 0, "the connection took all of it");
        }
    }

    /// Takes what is to be written, as a driver does; its length.
    pub(crate) fn take(&mut self) -> usize {
        self.output(<[u8]>::len)
    }

    /// Takes what is to be written and looks at it.
    pub(crate) fn output<R>(&mut self, look: impl FnOnce(&[u8]) -> R) -> R {
        let mut work = Vec::new();
        let (link, outbox) = (&self.link, &mut self.outbox);
        loop {
            self.hub.next_output(link, false, outbox, &mut work, || NOW);
            if work.is_empty() {
                break;
            }
            for mut batch in work.drain(..) {
                self.hub.finish(&mut batch);
            }
        }
        let result = look(self.outbox.chunk());
        let len = self.outbox.len();
        self.outbox.advance(len);
        result
    }
}

impl Client {
    /// The transport is gone, as a driver says last.
    pub(crate) fn closed(mut self) {
        self.take();
        self.hub.closed(&self.link, NOW);
    }
}

/// The bytes of a packet.
pub(crate) fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    midge_codec::encode(packet, version, &mut bytes).expect("a valid packet");
    bytes
}

/// The bytes of a PUBLISH.
pub(crate) fn publish_bytes(
    version: Version,
    topic: &str,
    qos: QoS,
    packet_id: u16,
    properties: Properties<'_>,
    payload: &[u8],
) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        properties,
        payload,
    };
    encode(&Packet::Publish(publish), version)
}
