//! Hooks may call the broker, wherever they are called from.

#![allow(clippy::unwrap_used)] // a test may fail

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use midge::{
    Broker, ClientInfo, Feed, HookSet, Hooks, Interception, Message, MessageRef, Origin, Pushed,
    QoS, ReasonCode, Sink, Stop,
};
use midge_testkit::{Client, Connect, Subscribe};

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

    fn authorize_receive(&self, client: &ClientInfo, message: &MessageRef<'_>) -> bool {
        if message.topic == "state/a" && !self.inside.swap(true, Ordering::AcqRel) {
            let broker = self.broker.get().unwrap();
            assert_eq!(broker.publish("state/b", "x").unwrap().matched(), 1);
            assert_eq!(broker.clients()[0].info.client_id, client.client_id);
            self.inside.store(false, Ordering::Release);
        }
        if message.topic == "state/end" {
            let broker = self.broker.get().unwrap();
            let reason = ReasonCode::AdministrativeAction;
            assert!(broker.disconnect(&client.client_id, reason));
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

/// A 3.1.1 client that has sent CONNECT and SUBSCRIBE to `state/#` at once.
fn subscribe(broker: &Broker) -> Client {
    let mut client = Client::open(broker.addr().unwrap());
    let subscribe = Subscribe::new(1).filter("state/#", 0).bytes_for(4);
    client.send([Connect::new(4, "c").bytes(), subscribe].concat());
    client
}

#[test]
fn a_hook_publishes_to_the_receiver_of_a_retained_message() {
    let (broker, _hooks) = start();
    retain(&broker, "state/a");
    let mut client = subscribe(&broker);
    assert_eq!(client.expect_connack().code, 0);
    assert_eq!(client.expect_suback(1).codes, [0]);
    // What the hook publishes does not overtake the retained message that it is asked about.
    assert!(client.expect_message("state/a", "1").retain);
    assert!(!client.expect_message("state/b", "x").retain);
    drop(client);
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn a_hook_disconnects_the_receiver_of_a_retained_message() {
    let (broker, _hooks) = start();
    retain(&broker, "state/end");
    // Whatever has left before the end.
    subscribe(&broker).read_all();
    assert!(broker.clients().is_empty());
    broker.stop(Stop::Now).unwrap();
}

/// Publishes when it is dropped.
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
