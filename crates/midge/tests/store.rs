//! Sessions and retained messages outlive a broker that has a store.

#![allow(clippy::unwrap_used)] // a test may fail

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use midge::{Broker, MemoryStore, QoS, Stop};

fn start(store: &Arc<MemoryStore>) -> Broker {
    Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .store(store.clone())
        .start()
        .unwrap()
}

/// A 3.1.1 client made of bytes.
struct Client(TcpStream);

impl Client {
    fn connect(broker: &Broker, id: u8, clean: bool) -> (Self, bool) {
        let stream = TcpStream::connect(broker.addr().unwrap()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut client = Self(stream);
        let flags = if clean { 2 } else { 0 };
        client.send(&[
            0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 0, 0, 1, id,
        ]);
        let connack = client.read(4);
        assert_eq!((connack[0], connack[3]), (0x20, 0));
        (client, connack[2] == 1)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn expect(&mut self, bytes: &[u8]) {
        assert_eq!(self.read(bytes.len()), bytes);
    }
}

#[test]
fn a_new_broker_goes_on_where_the_old_one_stopped() {
    let store = MemoryStore::new();
    let broker = start(&store);
    let (mut client, present) = Client::connect(&broker, b's', false);
    assert!(!present);
    client.send(&[0x82, 6, 0, 1, 0, 1, b'q', 2]);
    client.expect(&[0x90, 3, 0, 1, 2]);
    // One message stops at PUBREC, one is sent and not acknowledged, one waits.
    for payload in ["1", "2"] {
        broker
            .message("q")
            .payload(payload)
            .qos(QoS::ExactlyOnce)
            .send()
            .unwrap();
    }
    client.expect(&[0x34, 6, 0, 1, b'q', 0, 1, b'1']);
    client.expect(&[0x34, 6, 0, 1, b'q', 0, 2, b'2']);
    client.send(&[0x50, 2, 0, 1]);
    client.expect(&[0x62, 2, 0, 1]);
    // A QoS 2 message from the client that is open.
    client.send(&[0x34, 6, 0, 1, b'x', 0, 9, b'!']);
    client.expect(&[0x50, 2, 0, 9]);
    drop(client);
    broker
        .message("r")
        .payload("kept")
        .retain(true)
        .send()
        .unwrap();
    broker
        .message("q")
        .payload("3")
        .qos(QoS::AtLeastOnce)
        .send()
        .unwrap();
    broker.stop(Stop::Now).unwrap();

    let broker = start(&store);
    assert_eq!(&broker.retained("#")[0].payload()[..], b"kept");
    assert_eq!(broker.subscriptions(Some("s")).len(), 1);
    let seen = broker.subscribe("x").unwrap();
    let (mut client, present) = Client::connect(&broker, b's', false);
    assert!(present);
    client.expect(&[0x62, 2, 0, 1]);
    client.expect(&[0x3C, 6, 0, 1, b'q', 0, 2, b'2']);
    client.expect(&[0x32, 6, 0, 1, b'q', 0, 3, b'3']);
    // The repetition of the open message is not delivered again.
    client.send(&[0x3C, 6, 0, 1, b'x', 0, 9, b'!']);
    client.expect(&[0x50, 2, 0, 9]);
    client.send(&[0x62, 2, 0, 9]);
    client.expect(&[0x70, 2, 0, 9]);
    assert!(seen.try_recv().is_none());
    client.send(&[0x70, 2, 0, 1, 0x50, 2, 0, 2, 0x40, 2, 0, 3]);
    client.expect(&[0x62, 2, 0, 2]);
    client.send(&[0x70, 2, 0, 2, 0xC0, 0]);
    client.expect(&[0xD0, 0]);
    drop(client);
    broker.stop(Stop::Now).unwrap();

    let broker = start(&store);
    let (mut client, present) = Client::connect(&broker, b's', false);
    assert!(present);
    client.send(&[0xC0, 0]);
    client.expect(&[0xD0, 0]);
    drop(client);
    let (_client, present) = Client::connect(&broker, b's', true);
    assert!(!present);
    broker.stop(Stop::Now).unwrap();
    assert!(start(&store).sessions().is_empty());
}

#[test]
fn acknowledgements_wait_for_the_commit() {
    let store = MemoryStore::manual();
    let broker = start(&store);
    let (mut durable, _) = Client::connect(&broker, b'd', false);
    store.commit();
    durable.send(&[0x82, 6, 0, 1, 0, 1, b'q', 1]);
    let events = broker.events_with(midge::EventMask::ALL, 100);
    // The SUBACK waits; the subscription is there.
    while broker.subscriptions(Some("d")).is_empty() {
        std::thread::yield_now();
    }
    durable.0.set_nonblocking(true).unwrap();
    let mut byte = [0];
    assert_eq!(
        durable.0.read(&mut byte).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    durable.0.set_nonblocking(false).unwrap();
    store.commit();
    durable.expect(&[0x90, 3, 0, 1, 1]);

    let (mut publisher, _) = Client::connect(&broker, b'p', true);
    publisher.send(&[0x32, 6, 0, 1, b'q', 0, 7, b'!']);
    loop {
        let event = events.recv_timeout(Duration::from_secs(10)).unwrap().event;
        if matches!(event, midge::Event::Published { .. }) {
            break;
        }
    }
    publisher.0.set_nonblocking(true).unwrap();
    assert_eq!(
        publisher.0.read(&mut byte).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    publisher.0.set_nonblocking(false).unwrap();
    store.commit();
    publisher.expect(&[0x40, 2, 0, 7]);
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn expiry_goes_on_across_a_restart() {
    let store = MemoryStore::new();
    let manual = || {
        Broker::builder()
            .clock(midge::Clock::Manual)
            .store(store.clone())
    };
    let broker = manual().start().unwrap();
    let message = broker.message("t").payload("x").retain(true);
    message
        .message_expiry(Duration::from_secs(10))
        .send()
        .unwrap();
    broker.clock().advance(Duration::from_secs(4));
    broker.set_retained("other", "y").unwrap();
    broker.stop(Stop::Now).unwrap();

    let broker = manual().start().unwrap();
    assert_eq!(broker.retained("t")[0].message_expiry(), Some(6));
    broker.clock().advance(Duration::from_secs(6));
    assert!(broker.retained("t").is_empty());
    assert_eq!(broker.retained("#").len(), 1);
    broker.stop(Stop::Now).unwrap();
}
