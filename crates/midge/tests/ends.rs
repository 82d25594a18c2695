//! The end of a broker: dropped, stopped, on runtimes of the host, with hooks that use it.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{client, open};
use midge::{Broker, ClientInfo, HookSet, Hooks, MessageRef, RecvError, Stop, Verdict, WeakBroker};
use midge_testkit::{Client, Connect, Publish};
use tokio::runtime::{Builder, Runtime};

fn standing_still() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connection that has sent CONNECT as a 3.1.1 client.
fn connect(broker: &Broker) -> Client {
    let mut client = open(broker);
    client.send(Connect::new(4, "c").bytes());
    client
}

#[test]
fn dropping_a_broker_does_not_wait_for_a_runtime_that_stands_still() {
    let runtime = standing_still();
    let broker = Broker::builder()
        .runtime(runtime.handle().clone())
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let (subscription, events) = (broker.subscribe("t").unwrap(), broker.events());
    let mut waiting = TcpStream::connect(broker.addr().unwrap()).unwrap();
    let mut unread = connect(&broker);
    drop(broker);
    assert_eq!(subscription.recv().unwrap_err(), RecvError::Closed);
    while events.recv().is_ok() {}

    // The sockets go with the runtime, which may never run.
    drop(runtime);
    unread.expect_closed();
    let _ = waiting.read(&mut [0; 8]);
}

#[test]
fn what_a_dropped_broker_leaves_is_done_when_its_runtime_goes_on() {
    let runtime = standing_still();
    let broker = Broker::builder()
        .runtime(runtime.handle().clone())
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let address = broker.addr().unwrap();
    let mut client = connect(&broker);
    runtime.block_on(async {
        while broker.stats().clients == 0 {
            tokio::task::yield_now().await;
        }
    });

    assert_eq!(client.expect_connack().code, 0);
    drop(broker);
    runtime.block_on(async {
        while runtime.metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    });

    client.expect_closed();
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_broker_may_outlive_the_runtime_of_its_host() {
    let runtime = standing_still();
    let broker = Broker::builder()
        .runtime(runtime.handle().clone())
        .start()
        .unwrap();
    let subscription = broker.subscribe("t").unwrap();
    drop(runtime);
    assert_eq!(broker.publish("t", "x").unwrap().matched(), 1);
    broker.stop(Stop::Now).unwrap();
    assert_eq!(subscription.recv().unwrap().payload(), b"x");
    assert_eq!(subscription.recv().unwrap_err(), RecvError::Closed);
}

/// Has the broker count who connects.
struct Counter {
    broker: WeakBroker,
    alive: Arc<()>,
}

impl Hooks for Counter {
    fn set(&self) -> HookSet {
        HookSet::LIFE
    }

    fn connected(&self, client: &ClientInfo, _: bool) {
        let _alive = &self.alive;
        let broker = self.broker.upgrade().unwrap();
        let matched = broker.publish("connected", client.client_id.to_string());
        assert_eq!(matched.unwrap().matched(), 1);
    }
}

#[test]
fn hooks_that_use_their_broker_do_not_keep_it_alive() {
    let (alive, early) = (Arc::new(()), Arc::new(Mutex::new(None)));
    let broker = Broker::builder()
        .hooks_with({
            let (alive, early) = (alive.clone(), early.clone());
            move |broker| {
                assert!(broker.upgrade().is_none());
                *early.lock().unwrap() = Some(broker.clone());
                Counter { broker, alive }
            }
        })
        .start()
        .unwrap();
    let connected = broker.subscribe("connected").unwrap();
    let mut client = client(&broker, "c");
    assert_eq!(connected.recv().unwrap().payload(), b"c");

    let weak = early.lock().unwrap().take().unwrap();
    assert_eq!(weak.upgrade().unwrap().connections(), 1);
    assert!(broker.downgrade().upgrade().is_some());
    drop(broker);
    assert!(weak.upgrade().is_none());
    assert_eq!(connected.recv().unwrap_err(), RecvError::Closed);
    client.expect_closed();
    drop(connected);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Ends the broker from inside a hook, with the last handle.
struct Last {
    broker: Mutex<Option<Broker>>,
    calls: AtomicUsize,
}

impl Hooks for Last {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _: &ClientInfo, _: &MessageRef<'_>) -> Verdict {
        self.calls.fetch_add(1, Ordering::Relaxed);
        drop(self.broker.lock().unwrap().take());
        Verdict::Allow
    }
}

#[test]
fn the_last_handle_may_be_dropped_in_a_hook() {
    let hooks = Arc::new(Last {
        broker: Mutex::default(),
        calls: AtomicUsize::new(0),
    });
    let broker = Broker::builder()
        .shared_hooks(hooks.clone())
        .start()
        .unwrap();
    let events = broker.events();
    let mut client = client(&broker, "c");
    *hooks.broker.lock().unwrap() = Some(broker);
    client.send(Publish::new("t", "").bytes_for(4));
    client.expect_closed();
    while events.recv().is_ok() {}
    assert_eq!(hooks.calls.load(Ordering::Relaxed), 1);
}
