//! MQTT 3.1: what it does in another way.

use midge_testkit::{Connect, Kind, Publish, Subscribe, Will, Wire, ack, packet};

use crate::common::{broker, broker_set};

fn v3(client_id: &str) -> Connect {
    Connect::new(3, client_id)
}

/// Covers: V31-02
#[test]
fn v31_02_client_identifiers() {
    let server = broker();
    assert_eq!(server.say(v3("").bytes()).read_all(), [0x20, 2, 0, 2]);
    let long = "i".repeat(24);
    server.connect(&v3(&long)).expect_nothing();
    let strict = broker_set(&[("strict.v31_client_id", "true")]);
    assert_eq!(strict.say(v3(&long).bytes()).read_all(), [0x20, 2, 0, 2]);
    strict.connect(&v3(&long[1..])).expect_nothing();
}

/// Covers: V31-03, V31-04
#[test]
fn v31_03_connack_has_no_session_present() {
    let server = broker();
    server.connect(&v3("c").clean(false)).disconnect();
    let mut again = server.open();
    again.send(v3("c").clean(false).bytes());
    assert!(!again.expect_connack().session_present);
    assert_eq!(server.sessions().len(), 1);
}

/// Covers: V31-05, V31-06
#[test]
fn v31_05_reserved_bits_of_connect_are_not_looked_at() {
    let server = broker();
    server.connect(&v3("c").flags(0x03)).expect_nothing();
    let mut bytes = v3("d").bytes();
    bytes[0] |= 0x0b;
    let mut client = server.say(bytes);
    client.expect_connack();
}

/// Covers: V31-07, V31-08
#[test]
fn v31_07_strings_that_flags_announce_may_be_missing() {
    let server = broker();
    for flags in [0x82, 0xc2] {
        let bytes = Wire(v3("c").flags(flags).header()).text("c").packet(0x10);
        server.say(bytes).expect_connack();
    }
    assert!(
        server
            .say(v3("c").password("p").flags(0x42).bytes())
            .read_all()
            .is_empty()
    );
}

/// Covers: V31-09
#[test]
fn v31_09_dup_is_allowed_where_qos_1_is_written() {
    let server = broker();
    let mut client = server.connect(&v3("c"));
    let mut subscribe = Subscribe::new(1).filter("t", 2).bytes_for(3);
    subscribe[0] = 0x8a;
    client.send(subscribe);
    client.expect_suback(1);
    client.send(Publish::new("t", "p").qos(2, 5).bytes_for(3));
    let mut seen = vec![client.recv(), client.recv()];
    seen.retain(|packet| matches!(packet, midge_testkit::Packet::Ack(ack) if ack.id == 5));
    assert_eq!(seen.len(), 1);
    client.send(packet(0x6a, [0, 5]));
    client.expect_ack(Kind::Pubcomp, 5);
    client.send(packet(0xaa, [0, 2, 0, 1, b't']));
    client.expect_unsuback(2);
    client.send(ack(Kind::Pubrec, 1));
    client.expect_ack(Kind::Pubrel, 1);
}

/// Covers: V31-10
#[test]
fn v31_10_a_refused_subscription_cannot_be_told() {
    let server = broker_set(&[("mqtt.wildcard_available", "false")]);
    let mut client = server.connect(&v3("c"));
    client.send(Subscribe::new(1).filter("a/+", 1).bytes_for(3));
    assert_eq!(client.expect_suback(1).codes, [1]);
    client.publish("a/b", "p", 1);
    client.expect_nothing();
}

/// Covers: V31-17
#[test]
fn v31_17_malformed_packets_close() {
    let server = broker();
    for bytes in [
        &[0x36, 5, 0, 1, b't', 0, 1][..],
        &[0x82, 2, 0, 1],
        &[0x30, 0xff, 0xff, 0xff, 0xff],
    ] {
        let mut client = server.connect(&v3("c").will(Will::new("w", "w")));
        client.send(bytes);
        client.expect_closed_with(&[]);
    }
}
