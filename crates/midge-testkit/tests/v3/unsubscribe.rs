//! UNSUBSCRIBE and UNSUBACK.

use midge_testkit::{Kind, Packet, PropsBuf, Subscribe, Wire, ack, packet, unsubscribe};

use crate::common::broker;
use crate::{ILL_FORMED, NUL, client, closes};

fn request(id: u16, filters: &[&str]) -> Vec<u8> {
    unsubscribe(4, id, &PropsBuf::new(), filters)
}

/// Covers: v3:MQTT-3.10.1-1, v3:MQTT-2.2.2-2
#[test]
fn mqtt311_3_10_1_1_the_flags_of_unsubscribe_are_fixed() {
    let server = broker();
    for flags in (0..16).filter(|flags| *flags != 2) {
        closes(&server, Wire::new().u16(1).text("t").packet(0xa0 | flags));
    }
}

/// Covers: v3:MQTT-3.10.3-1, v3:MQTT-1.5.3-1, v3:MQTT-1.5.3-2
#[test]
fn mqtt311_3_10_3_1_filters_are_well_formed() {
    let server = broker();
    for bad in ILL_FORMED.into_iter().chain(NUL) {
        closes(&server, unsubscribe(4, 1, &PropsBuf::new(), &[bad]));
        closes(&server, unsubscribe(4, 1, &PropsBuf::new(), &[b"t", bad]));
    }
    let bytes = request(1, &["topic"]);
    for length in 2..bytes.len() - 2 {
        closes(&server, packet(0xa2, &bytes[2..2 + length]));
    }
}

/// Covers: v3:MQTT-3.10.3-2
#[test]
fn mqtt311_3_10_3_2_an_unsubscribe_has_a_filter() {
    let server = broker();
    closes(&server, request(1, &[]));
    closes(&server, [0xa2, 0]);
}

/// Covers: v3:MQTT-3.10.4-1, v3:MQTT-3.10.4-2
#[test]
fn mqtt311_3_10_4_1_filters_are_compared_character_by_character() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = client(&server, "client");
    client.subscribe("a/#", 1);

    // These match the same topics, or look alike, and are other filters.
    client.unsubscribe(&["a/b", "a/+", "#", "a", "A/#", "a/", "/a/#", "+/#"]);
    publisher.publish("a/b", "1", 1);
    assert_eq!(client.receive().text(), "1");
    client.unsubscribe(&["a/#"]);
    publisher.publish("a/b", "2", 1);
    client.expect_nothing();

    // Only the one that is named goes.
    let both = Subscribe::new(0).filter("a/#", 1).filter("a/+", 1);
    client.request(&both);
    client.unsubscribe(&["a/#"]);
    publisher.publish("a/b", "3", 1);
    publisher.publish("a/b/c", "4", 1);
    assert_eq!(client.receive().text(), "3");
    client.expect_nothing();
}

/// Covers: v3:MQTT-3.10.4-2, U311-15
#[test]
fn mqtt311_3_10_4_2_nothing_comes_after_unsuback() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = client(&server, "client");

    for round in 0..20 {
        client.subscribe("t", 0);
        let flood: Vec<u8> = (0..50u8)
            .flat_map(|n| midge_testkit::Publish::new("t", [n]).bytes_for(4))
            .collect();
        publisher.send(flood);
        client.send(request(500 + round, &["t"]));
        loop {
            match client.recv() {
                Packet::Publish(message) => assert_eq!(message.topic, "t"),
                Packet::Unsuback(codes) => {
                    assert_eq!(codes.id, 500 + round);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        publisher.barrier();
        client.expect_nothing();
    }
}

/// Covers: v3:MQTT-3.10.4-3, U311-15
#[test]
fn mqtt311_3_10_4_3_begun_deliveries_are_finished() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = server.begin(&crate::kept("client"));
    client.subscribe("t", 2);
    publisher.publish("t", "two", 2);
    publisher.publish("t", "one", 1);

    let two = client.expect_message("t", "two");
    let one = client.expect_message("t", "one");
    client.unsubscribe(&["t"]);
    client.send(ack(Kind::Pubrec, two.id));
    client.expect_ack(Kind::Pubrel, two.id);

    // The flows outlive the connection as ever.
    client.cut();

    let mut client = server.resume(&crate::kept("client"));
    client.expect_ack(Kind::Pubrel, two.id);
    client.send(ack(Kind::Pubcomp, two.id));

    let again = client.receive();
    assert!(again.dup && again.id == one.id, "{again:?}");
    publisher.publish("t", "new", 2);
    client.expect_nothing();
}

/// Covers: v3:MQTT-3.10.4-4, v3:MQTT-3.10.4-5, v3:MQTT-3.10.4-6
#[test]
fn mqtt311_3_10_4_5_unsuback_always_comes_and_only_once() {
    let server = broker();
    let mut client = client(&server, "client");
    client.subscribe("b", 1);
    for filters in [&["unknown"][..], &["a", "b", "c"], &["b"], &["x/+", "x/+"]] {
        client.send(request(0x0a0b, filters));
        client.expect_unsuback(0x0a0b);
        client.expect_nothing();
    }
    // Without any code of MQTT 5.
    client.send(request(0x0c0d, &["a", "b", "c"]));
    client.end();
    assert_eq!(client.read_all(), [0xb0, 2, 0x0c, 0x0d]);
}
