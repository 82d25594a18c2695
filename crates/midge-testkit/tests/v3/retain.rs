//! Retained messages.

use midge_testkit::{Connect, Subscribe};

use crate::common::broker;
use crate::{client, kept, v311, watcher};

/// Covers: v3:MQTT-3.3.1-5, v3:MQTT-3.3.1-8, U311-11
#[test]
fn mqtt311_3_3_1_5_a_retained_message_is_stored_with_its_qos() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    for qos in 0..3 {
        publisher.retain(&format!("t/{qos}"), [qos], qos);
    }

    publisher.disconnect();
    for granted in 0..3 {
        let mut late = client(&server, "late");
        late.subscribe("t/+", granted);
        let mut seen = [false; 3];
        for _ in 0..3 {
            let message = late.receive();
            let stored = message.payload[0];
            assert_eq!(message.topic, format!("t/{stored}"));
            assert!(message.retain && !message.dup, "{message:?}");
            assert_eq!(message.qos, stored.min(granted));
            seen[usize::from(stored)] = true;
        }
        assert_eq!(seen, [true; 3]);
        late.expect_nothing();
    }
}

/// Covers: v3:MQTT-3.3.1-6
#[test]
fn mqtt311_3_3_1_6_a_new_subscription_gets_the_last_one_of_each_topic() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    for round in 0..2 {
        for number in 0..100 {
            publisher.retain(&format!("a/{number}"), format!("{number} {round}"), 1);
        }
    }

    publisher.retain("b/1", "other", 1);
    for filter in ["a/#", "a/+"] {
        let mut late = client(&server, "late");
        late.subscribe(filter, 1);
        let mut topics = Vec::new();
        for _ in 0..100 {
            let message = late.receive();
            assert_eq!(message.text(), format!("{} 1", &message.topic[2..]));
            topics.push(message.topic);
        }
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), 100);
        late.expect_nothing();
    }

    let mut late = client(&server, "late");
    late.subscribe("a/7", 1);
    assert_eq!(late.receive().text(), "7 1");
    late.subscribe("nothing/here", 1);
    late.expect_nothing();
}

/// Covers: v3:MQTT-3.3.1-7, U311-11
#[test]
fn mqtt311_3_3_1_7_a_qos_0_message_takes_the_place_of_the_old_one() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    publisher.retain("t", "A", 1);
    publisher.retain("t", "B", 0);
    let mut late = watcher(&server, "t");
    let message = late.receive();
    assert_eq!((message.text().as_str(), message.qos), ("B", 0));
    late.expect_nothing();
}

/// Covers: v3:MQTT-3.3.1-9
#[test]
fn mqtt311_3_3_1_9_a_live_message_comes_without_retain() {
    let server = broker();
    let mut live = watcher(&server, "t");
    let mut publisher = client(&server, "publisher");
    for qos in 0..3 {
        publisher.retain("t", [qos], qos);
        let message = live.receive();
        assert!(!message.retain && message.qos == qos, "{message:?}");
    }
    // Also when it had to wait.
    let mut sleeper = server.begin(&kept("sleeper"));
    sleeper.subscribe("u", 1);
    sleeper.disconnect();
    publisher.retain("u", "x", 1);
    let mut sleeper = server.resume(&kept("sleeper"));
    let message = sleeper.receive();
    assert!(!message.retain, "{message:?}");
    sleeper.expect_nothing();
}

/// Covers: v3:MQTT-3.3.1-10, v3:MQTT-3.3.1-11
#[test]
fn mqtt311_3_3_1_10_an_empty_payload_clears() {
    let server = broker();
    let mut live = watcher(&server, "t");
    let mut publisher = client(&server, "publisher");
    for qos in 0..3 {
        publisher.retain("t", "x", 1);
        live.receive();
        assert_eq!(server.stats().retained, 1);
        publisher.retain("t", "", qos);
        let message = live.receive();
        assert!(message.payload.is_empty() && !message.retain, "{message:?}");
        assert_eq!(server.stats().retained, 0);
        let mut late = client(&server, "late");
        late.subscribe("t", 2);
        late.expect_nothing();
    }

    // With nothing to clear it is a message like any other, and not stored.
    publisher.retain("never/used", "", 1);
    assert!(server.retained("#").is_empty());
}

/// Covers: v3:MQTT-3.3.1-12
#[test]
fn mqtt311_3_3_1_12_a_message_without_retain_touches_nothing() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    publisher.retain("t", "kept", 1);
    publisher.publish("t", "passing", 1);
    publisher.publish("t", "", 1);
    let mut late = watcher(&server, "t");
    assert_eq!(late.receive().text(), "kept");
    late.expect_nothing();
}

/// Covers: v3:MQTT-3.3.1-6, v3:MQTT-3.8.4-3
#[test]
fn mqtt311_3_8_4_3_each_subscribe_brings_retained_messages_and_resuming_does_not() {
    let server = broker();
    client(&server, "publisher").retain("t", "r", 1);
    let mut subscriber = server.begin(&kept("client"));
    for qos in [1, 0, 2, 2] {
        subscriber.subscribe("t", qos);
        let message = subscriber.receive();
        assert!(message.retain && message.qos == qos.min(1), "{message:?}");
    }
    subscriber.disconnect();
    let mut subscriber = server.resume(&kept("client"));
    subscriber.expect_nothing();
    // Two filters that match are two subscriptions, each brings it.
    let both = Subscribe::new(0).filter("t", 1).filter("#", 1);
    subscriber.request(&both);
    assert_eq!(subscriber.drain().len(), 2);
}

/// Covers: U311-17
#[test]
fn u311_17_retained_messages_stay_until_cleared() {
    let server = broker();
    let mut publisher = server.connect(&Connect::new(3, "publisher"));
    publisher.retain("t", "r", 0);
    publisher.cut();
    for _ in 0..3 {
        server.pass(u64::from(u32::MAX));
        server.connect(&v311("publisher")).disconnect();
    }
    assert_eq!(watcher(&server, "t").receive().text(), "r");
}
