//! Options of MQTT 5 that are often ignored.

use midge_testkit::{Connect, Packet, Publish, Subscribe};

use crate::client;
use crate::common::broker;

/// No Local.
const NO_LOCAL: u8 = 0x04;
/// Retain As Published.
const AS_PUBLISHED: u8 = 0x08;

/// Covers: v5:MQTT-3.8.3-3
#[test]
fn no_local_is_kept() {
    let server = broker();
    let mut one = client(&server, 5, "one");
    let mut other = client(&server, 5, "other");
    one.request(&Subscribe::new(0).filter("t", 2 | NO_LOCAL));
    other.request(&Subscribe::new(0).filter("t", 2));
    for qos in 0..3 {
        one.publish("t", [qos], qos);
        assert_eq!(other.receive().payload, [qos]);
        one.expect_nothing();
        other.publish("t", [qos], qos);
        assert_eq!(one.receive().payload, [qos]);
        assert_eq!(other.receive().payload, [qos]);
    }

    // A second subscription without the option lets it through.
    one.request(&Subscribe::new(0).filter("+", 1));
    one.publish("t", "again", 1);
    assert_eq!(one.receive().text(), "again");
    one.expect_nothing();
}

/// Covers: v5:MQTT-3.3.1-12, v5:MQTT-3.3.1-13
#[test]
fn retain_as_published_is_kept() {
    let server = broker();
    let mut with = client(&server, 5, "with");
    with.request(&Subscribe::new(0).filter("t", 2 | AS_PUBLISHED));
    let mut without = client(&server, 5, "without");
    without.request(&Subscribe::new(0).filter("t", 2));
    for version in [3, 4, 5] {
        let mut publisher = client(&server, version, "publisher");
        for retain in [true, false] {
            let publish = Publish::new("t", "p").qos(1, 0);
            publisher.deliver(&if retain { publish.retain() } else { publish });
            assert_eq!(with.receive().retain, retain);
            assert!(!without.receive().retain);
        }
    }
}

/// Covers: v5:MQTT-3.3.1-9, v5:MQTT-3.3.1-10, v5:MQTT-3.3.1-11
#[test]
fn retain_handling_is_kept() {
    let server = broker();
    client(&server, 5, "publisher").retain("t", "r", 1);
    for (option, at_first, again) in [
        (0x00, true, true),
        (0x10, true, false),
        (0x20, false, false),
    ] {
        let mut subscriber = client(&server, 5, "client");
        for expected in [at_first, again] {
            subscriber.request(&Subscribe::new(0).filter("t", 1 | option));
            let got = subscriber.drain();
            assert_eq!(got.len(), usize::from(expected), "{option:#x}");
            assert!(got.iter().all(|message| message.retain));
        }
    }
}

/// Covers: v5:MQTT-3.3.4-9, v5:MQTT-4.9.0-1
#[test]
fn receive_maximum_is_kept() {
    let server = broker();
    let mut publisher = client(&server, 5, "publisher");
    let mut subscriber = server.connect(&Connect::v5("client").receive_maximum(3));
    subscriber.subscribe("t", 2);
    for number in 0..20u8 {
        publisher.publish("t", [number], 1 + number % 2);
    }
    let mut held = std::collections::VecDeque::new();
    for number in 0..20u8 {
        if number >= 3 {
            subscriber.expect_nothing();
            let message = held.pop_front().expect("three of them");
            subscriber.acknowledge(&message);
        }
        held.push_back(subscriber.expect_message("t", [number]));
        assert!(subscriber.unfinished() <= 3);
    }
}

/// Covers: v5:MQTT-3.1.2-24, v5:MQTT-3.1.2-25
#[test]
fn maximum_packet_size_is_kept() {
    let server = broker();
    let mut publisher = client(&server, 5, "publisher");
    let connect = Connect::v5("client").maximum_packet_size(100);
    let mut subscriber = server.connect(&connect);
    subscriber.subscribe("t", 2);
    for qos in 0..3 {
        for size in [10, 2_000, 91, 100, 90 - 2, 1_000_000, 5] {
            publisher.publish("t", vec![b'x'; size], qos);
            // Header, topic, properties, and an identifier if there is one.
            let whole = 2 + 3 + 1 + size + if qos > 0 { 2 } else { 0 };
            if whole <= 100 {
                assert_eq!(subscriber.receive().payload.len(), size);
            }
            subscriber.expect_nothing();
        }
    }
}

/// Covers: v5:MQTT-3.3.4-3, v5:MQTT-3.3.4-4, v5:MQTT-3.3.4-5
#[test]
fn all_subscription_identifiers_are_told() {
    let server = broker();
    let mut publisher = client(&server, 5, "publisher");
    let mut subscriber = client(&server, 5, "client");
    let filters = [
        ("a/b", 1),
        ("a/+", 300),
        ("a/#", 268_435_455),
        ("+/b", 1),
        ("other", 9),
    ];

    for (filter, identifier) in filters {
        let request = Subscribe::new(0)
            .filter(filter, 2)
            .subscription_id(identifier);
        subscriber.request(&request);
    }

    subscriber.subscribe("#", 0);
    publisher.publish("a/b", "p", 1);

    // Copies may be one or several; together they name every subscription that matches.
    let copies = subscriber.drain();
    let mut told: Vec<u32> = copies
        .iter()
        .flat_map(|copy| copy.props.subscription_ids())
        .collect();
    told.dedup();
    assert!(
        told == [1, 300, 268_435_455] || told == [1, 1, 300, 268_435_455],
        "{told:?}"
    );
    assert_eq!(copies.len(), 1, "this broker sends one copy");
    assert_eq!(copies[0].qos, 1);

    // Retained messages name the subscription that they come for.
    publisher.retain("other", "r", 1);
    subscriber.drain();

    let request = Subscribe::new(7).filter("other", 1).subscription_id(10);
    subscriber.send(request.bytes());
    assert!(matches!(subscriber.recv(), Packet::Suback(_)));
    assert_eq!(subscriber.receive().props.subscription_ids(), [10]);
}
