//! Keep alive, ping, and the end of a connection.

use midge::ReasonCode;
use midge_testkit::{Connect, Kind, Publish, Subscribe, Will, ack};

use crate::common::{broker, broker_set};
use crate::{client, v311, watcher};

/// Covers: v3:MQTT-3.1.2-24, v3:MQTT-3.1.2-8
#[test]
fn mqtt311_3_1_2_24_silence_of_one_and_a_half_intervals_ends_the_connection() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    for seconds in [1u16, 2, 60, 65_535] {
        let will = Will::new("will", "w");
        let mut silent = server.connect(&v311("silent").keep_alive(seconds).will(will));
        let limit = u64::from(seconds) * 1500;
        server.pass_ms(limit - 1);
        watcher.expect_nothing();
        server.pass_ms(2);
        watcher.expect_message("will", "w");
        silent.expect_closed();
    }
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-24
#[test]
fn mqtt311_3_1_2_24_without_keep_alive_silence_is_no_end() {
    let server = broker();
    let mut silent = server.connect(&v311("silent").keep_alive(0));
    server.pass(10_000_000);
    silent.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-24
#[test]
fn mqtt311_3_1_2_24_the_brokers_limit_holds_for_who_cannot_be_told() {
    let server = broker_set(&[("limits.keep_alive_s", "2")]);
    for version in [3, 4] {
        for asked in [0, 3, 60, 65_535] {
            let connect = Connect::new(version, "silent").keep_alive(asked);
            let mut silent = server.connect(&connect);
            server.pass_ms(2_900);
            silent.expect_nothing();
            server.pass_ms(3_001);
            silent.expect_closed();
        }
        let mut shorter = server.connect(&Connect::new(version, "shorter").keep_alive(1));
        server.pass_ms(1_499);
        shorter.expect_nothing();
        server.pass_ms(1_501);
        shorter.expect_closed();
    }
}

/// Covers: v3:MQTT-3.1.2-24
#[test]
fn mqtt311_3_1_2_24_every_packet_of_the_client_counts() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = server.connect(&v311("client").keep_alive(2));
    let step = || server.pass_ms(2_900);
    for round in 0..2 {
        step();
        client.expect_nothing();
        step();
        client.send(Publish::new("other", "").qos(2, 100).bytes_for(4));
        client.expect_ack(Kind::Pubrec, 100);
        step();
        client.send(ack(Kind::Pubrel, 100));
        client.expect_ack(Kind::Pubcomp, 100);
        step();
        client.send(Subscribe::new(101).filter("t", 1).bytes_for(4));
        client.expect_suback(101);
        step();
        publisher.publish("t", [round], 1);
        let message = client.expect_message("t", [round]);
        client.acknowledge(&message);
        client.barrier();
        step();
        client.unsubscribe(&["t"]);
    }

    server.pass_ms(3_100);
    client.expect_closed();
}

/// Covers: v3:MQTT-3.1.2-24
#[test]
fn mqtt311_3_1_2_24_what_the_broker_sends_does_not_count() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = server.connect(&v311("client").keep_alive(2));
    client.subscribe("t", 0);
    for number in 0..3u8 {
        server.pass_ms(1_010);
        publisher.publish("t", [number], 0);
        if number < 2 {
            client.expect_message("t", [number]);
        }
    }
    client.expect_closed();
}

/// Covers: v3:MQTT-3.12.4-1
#[test]
fn mqtt311_3_12_4_1_ping_is_answered() {
    let server = broker();
    let mut client = client(&server, "client");
    client.send([0xc0, 0].repeat(50));
    for _ in 0..50 {
        client.expect_pingresp();
    }
    client.send([0xe0, 0]);
    assert_eq!(client.read_all(), [0u8; 0]);
}

/// Covers: U311-16
#[test]
fn u311_16_the_broker_closes_after_disconnect() {
    let server = broker();
    let mut client = client(&server, "client");
    client.send([0xe0, 0]);
    // The client keeps its side open, and the clock stands still.
    client.expect_closed();
    assert!(server.clients().is_empty());
}

/// Covers: v3:MQTT-3.14.1-1
#[test]
fn mqtt311_3_14_1_1_disconnect_with_flags_is_a_violation() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    for first in 0xe1..=0xef {
        let mut client = server.connect(&v311("client").will(Will::new("will", "w")));
        client.send([first, 0]);
        client.expect_closed();
        watcher.expect_message("will", "w");
    }
    // A body is no part of it either.
    let mut client = server.connect(&v311("client").will(Will::new("will", "w")));
    client.send([0xe0, 1, 0]);
    client.expect_closed();
    watcher.expect_message("will", "w");
}

/// Covers: v3:MQTT-3.14.4-2
#[test]
fn mqtt311_3_14_4_2_what_follows_disconnect_is_ignored() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    let mut client = client(&server, "client");
    let behind = [
        vec![0xe0, 0],
        Publish::new("t", "p").retain().bytes_for(4),
        Publish::new("t", "p").qos(1, 1).bytes_for(4),
        vec![0xc0, 0],
    ];
    client.send(behind.concat());
    client.expect_closed();
    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
}

/// Covers: U311-06
#[test]
fn u311_06_the_host_may_end_a_connection_at_any_time() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let mut client = server.connect(&v311("client").will(Will::new("will", "w")));
    assert!(server.disconnect("client", ReasonCode::AdministrativeAction));
    // A 3.1.1 client has no packet for it.
    client.expect_closed();
    watcher.expect_message("will", "w");
}
