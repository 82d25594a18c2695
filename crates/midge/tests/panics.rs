//! Hooks that panic, and hooks that move the clock: what they break is theirs alone.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{join, open};
use midge::{
    Broker, ClientInfo, Clock, DeliveryVerdict, DisconnectReason, HookSet, Hooks, KeptMessage, QoS,
    Stop,
};
use midge_testkit::{Client, Connect};

/// Panics over one client, and moves the clock when another one is gone.
#[derive(Clone, Default)]
struct Careless(Arc<Mutex<Option<Broker>>>);

impl Hooks for Careless {
    fn set(&self) -> HookSet {
        HookSet::LIFE.union(HookSet::INTERCEPT_DELIVERY)
    }

    fn disconnected(&self, client: &ClientInfo, _: &DisconnectReason) {
        assert_ne!(&*client.client_id, "p", "on purpose");
        if &*client.client_id == "m" {
            let broker = self.0.lock().unwrap().clone();
            broker.unwrap().clock().advance(Duration::from_secs(100));
        }
    }

    fn intercept_delivery(&self, client_id: &str, _: &KeptMessage, _: QoS) -> DeliveryVerdict {
        assert_ne!(client_id, "p", "on purpose");
        DeliveryVerdict::Deliver
    }
}

fn start() -> (Broker, Careless) {
    let hooks = Careless::default();
    let broker = Broker::builder()
        .hooks(hooks.clone())
        .clock(Clock::Manual)
        .start()
        .unwrap();
    *hooks.0.lock().unwrap() = Some(broker.clone());
    (broker, hooks)
}

fn stop(broker: &Broker, hooks: &Careless) {
    *hooks.0.lock().unwrap() = None;
    broker.stop(Stop::Now).unwrap();
}

/// A connected 3.1.1 client.
fn client(broker: &Broker, client_id: &str, keep_alive: u16) -> Client {
    let connect = Connect::new(4, client_id).keep_alive(keep_alive);
    join(open(broker), &connect).0
}

#[test]
fn a_panic_at_a_deadline_stops_no_other_deadline() {
    let (broker, hooks) = start();
    let mut panics = client(&broker, "p", 10);
    let mut other = client(&broker, "o", 20);
    broker.clock().advance(Duration::from_secs(16));
    panics.expect_closed();
    broker.clock().advance(Duration::from_secs(16));
    other.expect_closed();
    assert_eq!(broker.stats().panics, 1);
    stop(&broker, &hooks);
}

#[test]
fn a_panic_over_a_receiver_keeps_the_message_from_that_one_only() {
    let (broker, hooks) = start();
    let retained = broker.message("t").payload("x").retain(true);
    retained.send().unwrap();
    let (mut panics, mut other) = (client(&broker, "p", 0), client(&broker, "q", 0));
    for client in [&mut panics, &mut other] {
        client.subscribe("t", 0);
    }
    assert!(other.expect_message("t", "x").retain);
    broker.publish("t", "y").unwrap();
    assert!(!other.expect_message("t", "y").retain);
    panics.expect_nothing();
    assert_eq!(broker.stats().panics, 2);
    stop(&broker, &hooks);
}

#[test]
fn a_hook_that_a_moving_clock_calls_moves_it_further() {
    let (broker, hooks) = start();
    let mut moves = client(&broker, "m", 10);
    let mut other = client(&broker, "o", 60);
    broker.clock().advance(Duration::from_secs(16));
    assert_eq!(broker.clock().now(), Duration::from_secs(116));
    moves.expect_closed();
    other.expect_closed(); // its keep alive ended on the way
    stop(&broker, &hooks);
}
