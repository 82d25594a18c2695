//! Sessions and retained messages outlive a broker that has a store, or leaves them to the next one.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::join;
use midge::store::{Op, Position, Recovered};
use midge::{Broker, Builder, Handover, MemoryStore, QoS, Stop, Store, Tick};
use midge_testkit::store::{Bytewise, Disk, committing};
use midge_testkit::{Client, Connect, Kind, Publish, Subscribe, ack, id};

fn start(store: &Arc<MemoryStore>) -> Broker {
    Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .store(store.clone())
        .start()
        .unwrap()
}

/// A 3.1.1 client, and whether there was a session.
fn connect(broker: &Broker, client_id: &str, clean: bool) -> (Client, bool) {
    let client = Client::open(broker.addr().unwrap());
    join(client, &Connect::new(4, client_id).clean(clean))
}

/// As `connect`, with the socket.
fn connect_over(broker: &Broker, client_id: &str, clean: bool) -> (Client, TcpStream) {
    let socket = TcpStream::connect(broker.addr().unwrap()).unwrap();
    let client = Client::over(socket.try_clone().unwrap());
    let connect = Connect::new(4, client_id).clean(clean);
    (join(client, &connect).0, socket)
}

/// Nothing lies in the socket: no barrier, whose answer would have to wait, too.
fn expect_silence(socket: &TcpStream) {
    socket.set_nonblocking(true).unwrap();
    let nothing = socket.peek(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
}

#[test]
fn a_new_broker_goes_on_where_the_old_one_stopped() {
    let store = MemoryStore::new();
    goes_on(|builder| builder.store(store.clone()));
}

#[test]
fn a_new_broker_goes_on_with_bytes_alone() {
    let disk = Disk::default();
    goes_on(|builder| builder.store(Bytewise::open(&disk)));
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
    let (mut client, present) = connect(&broker, "s", false);
    assert!(!present);
    client.subscribe("q", 2);
    // One message stops at PUBREC, one is sent and not acknowledged, one waits.
    for payload in ["1", "2"] {
        broker
            .message("q")
            .payload(payload)
            .qos(QoS::ExactlyOnce)
            .send()
            .unwrap();
    }

    let first = client.expect_message("q", "1").id;
    let second = client.expect_message("q", "2").id;
    client.send(ack(Kind::Pubrec, first));
    client.expect_ack(Kind::Pubrel, first);
    // A QoS 2 message from the client that is open.
    let open = Publish::new("x", "!").qos(2, 9);
    client.send(open.bytes_for(4));
    client.expect_ack(Kind::Pubrec, 9);
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
    let (mut client, present) = connect(&broker, "s", false);
    assert!(present);
    client.expect_ack(Kind::Pubrel, first);
    let again = client.expect_message("q", "2");
    assert_eq!((again.id, again.qos, again.dup), (second, 2, true));
    let third = client.expect_message("q", "3");
    assert_eq!((third.qos, third.dup), (1, false));
    // The repetition of the open message is not delivered again.
    client.send(open.dup().bytes_for(4));
    client.expect_ack(Kind::Pubrec, 9);
    client.send(ack(Kind::Pubrel, 9));
    client.expect_ack(Kind::Pubcomp, 9);
    assert!(seen.try_recv().is_none());
    client.send(ack(Kind::Pubcomp, first));
    client.send(ack(Kind::Pubrec, second));
    client.send(ack(Kind::Puback, third.id));
    client.expect_ack(Kind::Pubrel, second);
    client.send(ack(Kind::Pubcomp, second));
    client.expect_nothing();
    drop(client);
    broker.stop(Stop::Now).unwrap();

    let broker = start();
    let (mut client, present) = connect(&broker, "s", false);
    assert!(present);
    client.expect_nothing();
    drop(client);
    let (_client, present) = connect(&broker, "s", true);
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
    let (mut durable, socket) = committing(&store, || connect_over(&broker, "d", false));
    durable.send(Subscribe::new(1).filter("q", 1).bytes_for(4));
    let events = broker.events_with(midge::EventMask::ALL, 100);
    // The SUBACK waits; the subscription is there.
    while broker.subscriptions(Some("d")).is_empty() {
        std::thread::yield_now();
    }
    expect_silence(&socket);
    store.commit();
    assert_eq!(durable.expect_suback(1).codes, [1]);

    let (mut publisher, socket) = connect_over(&broker, "p", true);
    publisher.send(Publish::new("q", "!").qos(1, 7).bytes_for(4));
    loop {
        let event = events.recv_timeout(Duration::from_secs(10)).unwrap().event;
        if matches!(event, midge::Event::Published { .. }) {
            break;
        }
    }
    expect_silence(&socket);
    store.commit();
    publisher.expect_ack(Kind::Puback, 7);
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn the_reason_of_the_end_is_told_while_acknowledgements_wait() {
    let store = MemoryStore::manual();
    let broker = start(&store);
    let connect = Connect::v5("d").clean(false).expiry(u32::MAX);
    let (mut client, _) = committing(&store, || {
        join(Client::open(broker.addr().unwrap()), &connect)
    });
    client.send(Subscribe::new(1).filter("q", 1).bytes());
    while broker.subscriptions(Some("d")).is_empty() {
        std::thread::yield_now();
    }

    client.send(b"\x36\x04\0\x01q!"); // QoS 3

    let disconnect = client.expect_disconnect(0x81);
    assert!(disconnect.props.has(id::REASON_STRING), "{disconnect:?}");
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
    let (mut client, socket) = connect_over(&broker, "c", false);
    client.subscribe("z", 0);

    store.fall_behind(&broker);
    client.send(Publish::new("q", "?").qos(1, 7).retain().bytes_for(4));
    client.expect_message("z", "!");
    store.catch_up();
    client.expect_ack(Kind::Puback, 7);

    let events = broker.events_with(midge::EventMask::SUBSCRIBED, 16);
    store.fall_behind(&broker);
    client.send(Subscribe::new(20).filter("y", 0).bytes_for(4));
    events.recv_timeout(Duration::from_secs(10)).unwrap();
    expect_silence(&socket);
    store.catch_up();
    assert_eq!(client.expect_suback(20).codes, [0]);
    client.expect_message("z", "!");
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
