//! Keep alive and ping.

use midge_testkit::{Connect, Kind, Publish, Will, ack, id};

use crate::common::{broker, broker_set};

/// Covers: v5:MQTT-3.1.2-22, v5:MQTT-3.2.2-22
#[test]
fn mqtt_3_1_2_22_a_silent_client_is_closed_after_one_and_a_half_intervals() {
    let server = broker();
    let mut watcher = server.watcher("will");
    let connect = Connect::v5("silent")
        .keep_alive(2)
        .will(Will::new("will", "w"));
    let (mut client, connack) = server.answer(&connect);
    assert!(!connack.props.has(id::SERVER_KEEP_ALIVE), "{connack:?}");
    server.pass_ms(2_900);
    watcher.expect_nothing();
    server.pass_ms(200);
    client.expect_disconnect(0x8d);
    watcher.expect_message("will", "w");

    let mut old = server.connect(&Connect::new(4, "silent").keep_alive(2));
    server.pass_ms(2_900);
    old.expect_nothing();
    server.pass_ms(3_100);
    old.expect_closed();
}

/// Covers: v5:MQTT-3.1.2-22
#[test]
fn mqtt_3_1_2_22_any_packet_of_the_client_starts_the_interval_anew() {
    let server = broker();
    let mut watcher = server.watcher("alive");
    let mut publisher = server.client("publisher");
    let connect = Connect::v5("client").keep_alive(2).receive_maximum(1);
    let mut client = server.connect(&connect);
    client.subscribe("t", 1);
    publisher.publish("t", "1", 1);
    publisher.publish("t", "2", 1);

    let first = client.expect_message("t", "1");
    for _ in 0..3 {
        server.pass_ms(2_900);
        client.expect_nothing();
        server.pass_ms(2_900);
        client.send(Publish::new("alive", "").bytes());
        watcher.expect_message("alive", "");
    }

    server.pass_ms(2_900);
    client.send(ack(Kind::Puback, first.id));
    client.expect_message("t", "2");
    server.pass_ms(2_900);
    client.expect_nothing();
    server.pass_ms(3_100);
    client.expect_disconnect(0x8d);
}

/// Covers: v5:MQTT-3.1.2-22
#[test]
fn mqtt_3_1_2_22_a_few_bytes_of_a_packet_do_not_count() {
    let server = broker();
    let mut publisher = server.client("publisher");
    let mut client = server.connect(&Connect::v5("client").keep_alive(2));
    client.subscribe("t", 0);
    server.pass_ms(2_000);
    client.send(&Publish::new("x", "half of a packet").bytes()[..9]);
    publisher.publish("t", "to the client", 0);
    client.expect_message("t", "to the client");
    server.pass_ms(1_100);
    client.expect_disconnect(0x8d);
}

/// Covers: v5:MQTT-3.1.2-22, NN5-026
#[test]
fn mqtt_3_1_2_22_keep_alive_0_never_ends_and_the_largest_is_long() {
    let server = broker();
    let mut never = server.connect(&Connect::v5("never").keep_alive(0));
    let mut long = server.connect(&Connect::v5("long").keep_alive(65_535));
    server.pass(98_301);
    long.expect_nothing();
    server.pass(98_304);
    long.expect_disconnect(0x8d);
    server.pass(10_000_000);
    never.expect_nothing();
    let mut short = server.connect(&Connect::v5("short").keep_alive(1));
    server.pass_ms(1_400);
    short.expect_nothing();
    server.pass_ms(1_600);
    short.expect_disconnect(0x8d);
}

/// Covers: v5:MQTT-3.2.2-22, NN5-051
#[test]
fn mqtt_3_2_2_22_the_broker_may_set_the_interval() {
    let server = broker_set(&[("limits.keep_alive_s", "2")]);
    for asked in [0, 3, 60] {
        let (mut client, connack) = server.answer(&Connect::v5("client").keep_alive(asked));
        assert_eq!(
            connack.props.number(id::SERVER_KEEP_ALIVE),
            Some(2),
            "{asked}"
        );
        server.pass_ms(2_900);
        client.expect_nothing();
        server.pass_ms(3_100);
        client.expect_disconnect(0x8d);
    }
    for asked in [1, 2] {
        let (_client, connack) = server.answer(&Connect::v5("client").keep_alive(asked));
        assert!(!connack.props.has(id::SERVER_KEEP_ALIVE), "{asked}");
    }
}

/// Covers: v5:MQTT-3.12.4-1
#[test]
fn mqtt_3_12_4_1_pingreq_is_answered_by_pingresp() {
    let server = broker();
    let mut client = server.client("client");
    client.expect_nothing();
    client.send([0xc0, 0].repeat(1000));
    for _ in 0..1000 {
        client.expect_pingresp();
    }
    client.expect_nothing();
    client.send([0xc0, 1, 0]);
    client.expect_disconnect(0x81);
}
