//! Sessions and retained messages outlive a broker that has a store, or leaves them to the next one.

#![allow(clippy::unwrap_used)] // a test may fail

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::store::{Op, Position, Recovered};
use midge::{Broker, Builder, Handover, MemoryStore, QoS, Stop, Store, Tick};

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
    goes_on(|builder| builder.store(store.clone()));
}

#[test]
fn a_new_broker_goes_on_with_what_the_old_one_left() {
    let handover = Handover::new();
    let running = goes_on(|builder| builder.handover(handover.clone()));
    assert!(handover.is_empty());
    running.stop(Stop::Now).unwrap();
    assert!(!handover.is_empty());
}

fn goes_on(keeping: impl Fn(Builder) -> Builder) -> Broker {
    let start = || {
        let builder = Broker::builder().listen("tcp://127.0.0.1:0");
        keeping(builder).start().unwrap()
    };
    let broker = start();
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
    let events = broker.events_with(midge::EventMask::CLIENT_DISCONNECTED, 16);
    drop(client);
    events.recv_timeout(Duration::from_secs(10)).unwrap();
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

    let broker = start();
    assert_eq!(broker.retained("#")[0].payload(), b"kept");
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

    let broker = start();
    let (mut client, present) = Client::connect(&broker, b's', false);
    assert!(present);
    client.send(&[0xC0, 0]);
    client.expect(&[0xD0, 0]);
    drop(client);
    let (_client, present) = Client::connect(&broker, b's', true);
    assert!(!present);
    broker.stop(Stop::Now).unwrap();
    let last = start();
    assert!(last.sessions().is_empty());
    last
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
fn the_reason_of_the_end_is_told_while_acknowledgements_wait() {
    let store = MemoryStore::manual();
    let broker = start(&store);
    let mut stream = TcpStream::connect(broker.addr().unwrap()).unwrap();
    let read_packet = |stream: &mut TcpStream| {
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; usize::from(head[1])];
        stream.read_exact(&mut body).unwrap();
        (head[0], body)
    };

    let connect = b"\x10\x13\0\x04MQTT\x05\0\0\0\x05\x11\xFF\xFF\xFF\xFF\0\x01d";
    stream.write_all(connect).unwrap();
    assert_eq!(read_packet(&mut stream).0, 0x20);
    stream.write_all(b"\x82\x07\0\x01\0\0\x01q\x01").unwrap();
    while broker.subscriptions(Some("d")).is_empty() {
        std::thread::yield_now();
    }

    stream.write_all(b"\x36\x04\0\x01q!").unwrap(); // QoS 3

    let (header, body) = read_packet(&mut stream);
    assert_eq!((header, body[0]), (0xE0, 0x81));
    assert_eq!(body[2], 0x1F, "a reason string");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    broker.stop(Stop::Now).unwrap();
}

/// A store that can fall behind, and that publishes to a client just when the broker looks how far
/// it is: that must not take acknowledgements along.
#[derive(Default)]
struct Prying {
    broker: Mutex<Option<Broker>>,
    behind: AtomicBool,
    applied: AtomicU64,
    notify: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl Prying {
    fn fall_behind(&self, broker: &Broker) {
        *self.broker.lock().unwrap() = Some(broker.clone());
        self.behind.store(true, Ordering::Release);
    }

    fn catch_up(&self) {
        self.behind.store(false, Ordering::Release);
        let notify = self.notify.lock().unwrap().clone();
        notify.unwrap()();
    }
}

impl Store for Prying {
    fn load(&self) -> Recovered {
        Recovered::default()
    }

    fn apply(&self, _: Vec<Op>, _: Tick) -> Position {
        self.applied.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn committed(&self) -> Position {
        if !self.behind.load(Ordering::Acquire) {
            return self.applied.load(Ordering::Acquire);
        }
        let broker = self.broker.lock().unwrap().take();
        if let Some(broker) = broker {
            broker.publish("z", "!").unwrap();
        }
        0
    }

    fn on_commit(&self, notify: Arc<dyn Fn() + Send + Sync>) {
        *self.notify.lock().unwrap() = Some(notify);
    }
}

#[test]
fn nothing_takes_an_acknowledgement_along_before_the_commit() {
    let store = Arc::new(Prying::default());
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .store(store.clone())
        .start()
        .unwrap();
    let message = [0x30, 4, 0, 1, b'z', b'!'];
    let (mut client, _) = Client::connect(&broker, b'c', false);
    client.send(&[0x82, 6, 0, 1, 0, 1, b'z', 0]);
    client.expect(&[0x90, 3, 0, 1, 0]);

    store.fall_behind(&broker);
    client.send(&[0x32, 6, 0, 1, b'q', 0, 7, b'?']);
    client.expect(&message);
    store.catch_up();
    client.expect(&[0x40, 2, 0, 7]);

    let events = broker.events_with(midge::EventMask::SUBSCRIBED, 16);
    store.fall_behind(&broker);
    client.send(&[0x82, 6, 0, 2, 0, 1, b'y', 0]);
    events.recv_timeout(Duration::from_secs(10)).unwrap();
    client.0.set_nonblocking(true).unwrap();
    let nothing = client.0.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    client.0.set_nonblocking(false).unwrap();
    store.catch_up();
    client.expect(&[0x90, 3, 0, 2, 0]);
    client.expect(&message);
    drop(client);
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
