//! What is stored is what a subscriber saw last.

use std::sync::Arc;

use midge_codec::QoS;
use midge_core::{Hub, Queue, QueueLimits, Received, Tick};
use midge_testkit::{Connect, Subscribe};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, audit, plain_hub, publish};

fn stored(hub: &Arc<Hub>) -> Option<String> {
    let message = hub.retained_on("t", START)?;
    Some(String::from_utf8_lossy(message.payload()).into_owned())
}

/// Two clients set, or set and remove, the retained message of a topic.
fn two_publishers(qos: u8, second: &'static str) {
    let hub = plain_hub();
    let subscriber = Client::subscriber(&hub, "subscriber", "t", 2);
    let [mut one, mut other] = ["one", "other"].map(|id| Client::connect(&hub, &Connect::v5(id)));

    let publishes = thread::spawn(move || {
        one.say(&publish("t", "one").qos(qos, 1).retain().bytes());
        one
    });
    other.say(&publish("t", second).qos(qos, 1).retain().bytes());
    let one = publishes.join().unwrap();

    let seen = subscriber.texts();
    assert_eq!(seen.len(), 2);
    let last = seen.last().filter(|text| !text.is_empty());
    assert_eq!(stored(&hub), last.cloned(), "{seen:?}");
    audit(hub, vec![subscriber, one, other]);
}

#[test]
fn two_set_a_retained_message() {
    explore(|| two_publishers(0, "other"));
}

#[test]
fn two_set_a_retained_message_at_qos1() {
    explore(|| two_publishers(1, "other"));
}

#[test]
fn one_sets_and_one_removes_a_retained_message() {
    explore(|| two_publishers(0, ""));
}

/// A new subscriber gets the message stored before or the live one or both in this order, never the
/// old one alone or after the new one.
#[test]
fn subscribe_meets_publish() {
    explore(|| {
        let hub = plain_hub();
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
        publisher.say(&publish("t", 1).retain().bytes());
        let mut subscriber = Client::connect(&hub, &Connect::v5("subscriber"));

        let publishes = thread::spawn(move || {
            publisher.say(&publish("t", 2).retain().bytes());
            publisher
        });
        subscriber.say(&Subscribe::new(1).filter("t", 0).bytes());
        let publisher = publishes.join().unwrap();

        let seen = subscriber.texts();
        assert_eq!(seen.last().map(String::as_str), Some("2"), "{seen:?}");
        assert!(seen.is_sorted() && seen.len() <= 2, "{seen:?}");
        audit(hub, vec![publisher, subscriber]);
    });
}

/// The host subscribes, with retained messages, while a client publishes.
#[test]
fn a_host_subscription_meets_publish() {
    explore(|| {
        let hub = plain_hub();
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
        publisher.say(&publish("t", 1).retain().bytes());
        let queue = Arc::new(Queue::<Received>::new(QueueLimits::default()));

        let publishes = thread::spawn(move || {
            publisher.say(&publish("t", 2).retain().bytes());
            publisher.say(&publish("t", 3).retain().bytes());
            publisher
        });
        let handle = hub
            .observe_messages(&["t"], QoS::AtMostOnce, true, queue.clone(), START)
            .unwrap();
        let publisher = publishes.join().unwrap();

        let mut seen = Vec::new();
        while let Ok(Some(received)) = queue.try_recv() {
            seen.push(received.message().payload().to_vec());
        }
        assert_eq!(seen.last().map(Vec::as_slice), Some(&b"3"[..]), "{seen:?}");
        assert!(seen.is_sorted() && seen.len() <= 3, "{seen:?}");
        drop(handle);
        audit(hub, vec![publisher]);
    });
}

/// A retained message expires at the moment when another one takes its place: that one stays.
#[test]
fn an_expiry_meets_a_new_retained_message() {
    explore(|| {
        let hub = plain_hub();
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
        publisher.say(&publish("t", 1).retain().expiry(1).bytes());
        let timer = hub.clone();

        let fires = thread::spawn(move || timer.fire(Tick(1_000)));
        publisher.say(&publish("t", 2).retain().bytes());
        fires.join().unwrap();

        assert_eq!(stored(&hub).as_deref(), Some("2"));
        hub.clear_retained("t", START);
        assert_eq!(hub.stats(START).retained_bytes, 0);
        audit(hub, vec![publisher]);
    });
}
