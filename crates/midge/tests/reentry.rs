//! Hooks may call the broker, wherever they are called from.

#![allow(clippy::unwrap_used)] // a test may fail

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use midge::{
    Broker, Feed, HookSet, Hooks, Interception, Message, MessageRef, Origin, Pushed, QoS,
    ReasonCode, Sink, Stop,
};

/// Tells a receiver about each retained message that it gets, from inside the hook that is asked
/// whether it may.
#[derive(Default)]
struct Announcer {
    broker: OnceLock<Broker>,
    inside: AtomicBool,
}

impl Hooks for Announcer {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_RECEIVE
    }

    fn authorize_receive(&self, client_id: &str, message: &MessageRef<'_>) -> bool {
        if message.topic == "state/a" && !self.inside.swap(true, Ordering::AcqRel) {
            let broker = self.broker.get().unwrap();
            assert_eq!(broker.publish("state/b", "x").unwrap().matched(), 1);
            assert_eq!(&*broker.clients()[0].info.client_id, client_id);
            self.inside.store(false, Ordering::Release);
        }
        if message.topic == "state/end" {
            let broker = self.broker.get().unwrap();
            let reason = ReasonCode::AdministrativeAction;
            assert!(broker.disconnect(client_id, reason));
        }
        true
    }
}

fn retain(broker: &Broker, topic: &str) {
    let message = broker.message(topic).payload("1").retain(true);
    message.send().unwrap();
}

fn start() -> (Broker, Arc<Announcer>) {
    let hooks = Arc::new(Announcer::default());
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .shared_hooks(hooks.clone())
        .start()
        .unwrap();
    assert!(hooks.broker.set(broker.clone()).is_ok());
    (broker, hooks)
}

/// A 3.1.1 client that has sent CONNECT and SUBSCRIBE to `state/#`.
fn subscribe(broker: &Broker) -> TcpStream {
    let mut client = TcpStream::connect(broker.addr().unwrap()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
    let subscribe = b"\x82\x0c\x00\x01\x00\x07state/#\x00";
    client
        .write_all(&[&connect[..], subscribe].concat())
        .unwrap();
    client
}

#[test]
fn a_hook_publishes_to_the_receiver_of_a_retained_message() {
    let (broker, _hooks) = start();
    retain(&broker, "state/a");
    let mut client = subscribe(&broker);
    let answers = b"\x20\x02\x00\x00\x90\x03\x00\x01\x00";
    // What the hook publishes does not overtake the retained message that it is asked about.
    let messages = b"\x31\x0a\x00\x07state/a1\x30\x0a\x00\x07state/bx";
    let expected = [&answers[..], messages].concat();
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
    drop(client);
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn a_hook_disconnects_the_receiver_of_a_retained_message() {
    let (broker, _hooks) = start();
    retain(&broker, "state/end");
    let mut client = subscribe(&broker);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(broker.clients().is_empty());
    drop(client);
    broker.stop(Stop::Now).unwrap();
}

/// Publishes when nobody has it any more.
struct Farewell(Broker);

impl Sink for Farewell {
    fn push(&self, _message: Message) -> Pushed {
        Pushed::default()
    }

    fn wake(&self) {}
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.publish("farewell", "x").unwrap();
    }
}

/// Publishes to a subscription from inside another publish, and ends it.
#[derive(Default)]
struct Ender {
    broker: OnceLock<Broker>,
    feed: Mutex<Option<Feed>>,
}

impl Hooks for Ender {
    fn set(&self) -> HookSet {
        HookSet::INTERCEPT_PUBLISH
    }

    fn intercept_publish(&self, _origin: &Origin, message: &MessageRef<'_>) -> Interception {
        if message.topic == "outer" {
            let broker = self.broker.get().unwrap();
            assert_eq!(broker.publish("inner", "x").unwrap().matched(), 1);
            drop(self.feed.lock().unwrap().take());
        }
        Interception::Forward
    }
}

#[test]
fn the_last_owner_of_a_sink_may_be_a_publish_that_ends() {
    let hooks = Arc::new(Ender::default());
    let broker = Broker::builder()
        .shared_hooks(hooks.clone())
        .start()
        .unwrap();
    let farewells = broker.subscribe("farewell").unwrap();
    assert!(hooks.broker.set(broker.clone()).is_ok());
    let feed = broker
        .subscribe_to(&["inner"], QoS::AtMostOnce, false, Farewell(broker.clone()))
        .unwrap();
    *hooks.feed.lock().unwrap() = Some(feed);
    broker.publish("outer", "x").unwrap();
    let farewell = farewells.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(farewell.topic(), "farewell");
    broker.stop(Stop::Now).unwrap();
}
