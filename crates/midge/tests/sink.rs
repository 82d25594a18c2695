//! A subscription that ends in the host's own queue.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use midge::{Broker, Message, Pushed, QoS, Sink, Stop};
use midge_testkit::{Client, Publish};

/// Takes up to three messages.
#[derive(Default)]
struct Own {
    got: Mutex<Vec<(String, bool)>>,
    waiting: AtomicBool,
    wakes: AtomicUsize,
    closes: AtomicUsize,
}

struct Entrance(Arc<Own>);

impl Sink for Entrance {
    fn push(&self, message: Message) -> Pushed {
        let mut got = self.0.got.lock().unwrap();
        if got.len() == 3 {
            return Pushed::new(1, false);
        }
        got.push((message.topic().to_owned(), message.retain()));
        Pushed::new(0, self.0.waiting.load(Ordering::Relaxed))
    }

    fn wake(&self) {
        self.0.wakes.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self) {
        self.0.closes.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn messages_go_straight_into_the_hosts_own_queue() {
    let broker = Broker::builder().start().unwrap();
    let own = Arc::new(Own::default());
    broker
        .message("t/kept")
        .payload("x")
        .retain(true)
        .send()
        .unwrap();
    let feed = broker
        .subscribe_to(&["t/#"], QoS::AtLeastOnce, true, Entrance(own.clone()))
        .unwrap();
    let woken = own.wakes.load(Ordering::Relaxed);
    broker.publish("t/1", "nobody waits").unwrap();
    broker.publish("other", "x").unwrap();
    assert_eq!(own.wakes.load(Ordering::Relaxed), woken);
    own.waiting.store(true, Ordering::Relaxed);
    broker.publish("t/2", "somebody waits").unwrap();
    assert_eq!(own.wakes.load(Ordering::Relaxed), woken + 1);
    for _ in 0..2 {
        broker.publish("t/3", "full").unwrap();
    }
    let expected = [("t/kept", true), ("t/1", false), ("t/2", false)];
    let got = own.got.lock().unwrap().clone();
    assert_eq!(got, expected.map(|(topic, kept)| (topic.to_owned(), kept)));
    let full = midge::DropReason::ObserverFull;
    assert_eq!(broker.stats().dropped_by(full), 2);

    drop(feed);
    assert_eq!(own.closes.load(Ordering::Relaxed), 1);
    own.got.lock().unwrap().clear();
    assert_eq!(broker.publish("t/4", "after the end").unwrap().matched(), 0);
    assert!(own.got.lock().unwrap().is_empty());
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn a_sink_is_closed_with_its_broker_and_a_wrong_filter_names_itself() {
    let broker = Broker::builder().start().unwrap();
    let own = Arc::new(Own::default());
    let wrong = broker.subscribe_to(&["t/#/x"], QoS::AtMostOnce, true, Entrance(own.clone()));
    assert!(wrong.unwrap_err().to_string().contains("t/#/x"));
    let feed = broker.subscribe_to(&["t/#"], QoS::AtMostOnce, false, Entrance(own.clone()));
    broker.stop(Stop::Now).unwrap();
    assert!(own.closes.load(Ordering::Relaxed) >= 1);
    drop(feed);
    assert_eq!(Arc::strong_count(&own), 1);
}

/// A connected 3.1.1 client that has sent three messages, which are routed when this returns.
fn client_that_published(broker: &Broker, topic: &str) -> Client {
    let mut client = common::client(broker, "c");
    client.send(Publish::new(topic, "").bytes_for(4).repeat(3));
    client.barrier();
    client
}

/// Subscribes, has this thread and a connection remember the way, and ends the subscription with
/// `end`: the sink must be gone then.
fn nothing_keeps_the_sink(filters: &[&str], end: impl FnOnce(&Broker, midge::Feed)) {
    let broker = Broker::builder().start().unwrap();
    let own = Arc::new(Own::default());
    let feed = broker
        .subscribe_to(filters, QoS::AtLeastOnce, false, Entrance(own.clone()))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(broker.publish("t/1", "x").unwrap().matched(), filters.len());
    }
    let client = client_that_published(&broker, "t/1");
    assert_eq!(own.got.lock().unwrap().len(), 3);
    assert_eq!(Arc::strong_count(&own), 2);

    end(&broker, feed);
    assert_eq!(own.closes.load(Ordering::Relaxed), 1);
    assert_eq!(Arc::strong_count(&own), 1, "the sink is kept");
    drop(client);
}

#[test]
fn a_remembered_route_does_not_keep_a_sink() {
    for filters in [&["t/1"][..], &["t/+"], &["$share/g/t/1"]] {
        nothing_keeps_the_sink(filters, |broker, feed| {
            drop(feed);
            assert_eq!(broker.publish("t/1", "after the end").unwrap().matched(), 0);
        });
        nothing_keeps_the_sink(filters, |_, feed| drop(feed));
        nothing_keeps_the_sink(filters, |broker, feed| {
            broker.stop(Stop::Now).unwrap();
            std::mem::forget(feed); // a host may leak it
        });
    }
}

#[test]
fn what_is_subscribed_or_observed_after_the_end_is_closed() {
    let broker = Broker::builder().start().unwrap();
    broker.stop(Stop::Now).unwrap();
    let own = Arc::new(Own::default());
    let feed = broker.subscribe_to(&["t"], QoS::AtMostOnce, true, Entrance(own.clone()));
    assert_eq!(own.closes.load(Ordering::Relaxed), 1);
    assert_eq!(Arc::strong_count(&own), 1);
    drop(feed);
    let closed = midge::RecvError::Closed;
    assert_eq!(broker.subscribe("t").unwrap().recv().unwrap_err(), closed);
    assert_eq!(broker.events().recv().unwrap_err(), closed);
}

#[test]
fn what_a_host_gave_to_be_called_goes_with_what_it_was_given_to() {
    let broker = Broker::builder().start().unwrap();
    let told = Arc::new(());
    let events = broker.events();
    let subscription = broker.subscribe("t").unwrap();
    let other = broker.subscribe("t").unwrap();
    for ready in [told.clone(), told.clone()] {
        events.on_ready({
            let ready = ready.clone();
            move || _ = &ready
        });
        subscription.on_ready({
            let ready = ready.clone();
            move || _ = &ready
        });
        other.on_ready(move || _ = &ready);
    }

    for _ in 0..3 {
        broker.publish("t", "x").unwrap();
    }

    assert_eq!(Arc::strong_count(&told), 4);
    drop(events);
    drop(subscription);
    other.close();
    assert_eq!(Arc::strong_count(&told), 1);
}
