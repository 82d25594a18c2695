//! Chapter 3.14 and 4.13: the end of a connection.

use std::time::Duration;

use midge::{ReasonCode, Stop};
use midge_testkit::{Connect, Packet, Publish, Subscribe, Will, disconnect, id, packet};

use crate::common::{Holder, broker, broker_set, props};

/// Covers: v5:MQTT-3.14.2-1, NN5-130
#[test]
fn mqtt_3_14_2_1_a_client_uses_codes_of_clients() {
    let server = broker();

    // Codes of servers, of other packets, and codes that do not exist.
    for code in [
        0x01, 0x10, 0x18, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x91, 0x9a,
        0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2, 0xa3, 0xff,
    ] {
        println!("{code:#04x}");
        server.refuses(
            Holder::Disconnect,
            &disconnect(code, &props()),
            &[0x81, 0x82],
        );
    }

    for code in [
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ] {
        println!("{code:#04x}");
        let mut client = server.client("client");
        client.send(disconnect(code, &props()));
        client.expect_closed();
    }
}

/// Covers: v5:MQTT-3.14.2-1, v5:MQTT-3.14.2-2
#[test]
fn mqtt_3_14_2_2_a_disconnect_of_the_broker_has_no_expiry() {
    // That the property is absent and the code in the table is what each read checks; here are
    // the ways to get a DISCONNECT that no other test of this file has.
    let server = broker_set(&[("limits.session_expiry_s", "10")]);
    for end in [packet(0x10, []), vec![0x00, 0x00], vec![0xc0, 0x80, 0x00]] {
        let mut client = server.connect(&Connect::v5("client").expiry(60));
        client.send(end);
        let gone = client.expect_disconnect_of(&[0x81, 0x82]);
        assert!(!gone.props.has(id::SESSION_EXPIRY_INTERVAL));
    }
}

/// Covers: v5:MQTT-3.14.4-1
#[test]
fn mqtt_3_14_4_1_nothing_behind_disconnect_is_processed() {
    let server = broker();
    let mut watcher = server.watcher("#");
    let behind = [
        Publish::new("t", "p").retain().bytes(),
        Publish::new("t", "p").qos(1, 1).bytes(),
        Subscribe::new(2).filter("t", 0).bytes(),
        vec![0xc0, 0],
    ]
    .concat();

    for end in [&[0xe0, 0][..], &[0xe0, 1, 4], &[0xe0, 1, 0x80]] {
        let mut client = server.client("client");
        client.send([end, &behind].concat());
        client.expect_closed();
        watcher.expect_nothing();
    }

    // Nor anything behind a packet that the broker answers with DISCONNECT.
    let mut client = server.client("client");
    client.send([&[0x00, 0x00][..], &behind].concat());
    client.expect_disconnect(0x81);
    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
}

/// Covers: v5:MQTT-3.14.4-1
#[test]
fn mqtt_3_14_4_1_nothing_is_sent_behind_the_brokers_disconnect() {
    let server = broker();
    let listener = server.listener();
    let mut publisher = server.client("publisher");

    std::thread::scope(|scope| {
        let publishing = scope.spawn(move || {
            for _ in 0..2000 {
                publisher.publish("t", "p", 0);
            }
        });
        while !publishing.is_finished() {
            let mut client = midge_testkit::Client::connect_v5(listener, "client");
            client.subscribe("t", 0);
            client.send([0x00, 0x00]);
            // The client fails if anything follows the DISCONNECT.
            let mut last = None;
            while let Some(packet) = client.recv_or_end() {
                last = Some(packet);
            }
            assert!(matches!(last, Some(Packet::Disconnect(_))), "{last:?}");
        }
    });
}

/// Covers: v5:MQTT-3.14.4-2, NN5-129, v5:MQTT-4.13.2-1
#[test]
fn mqtt_3_14_4_2_the_broker_closes_though_the_client_does_not() {
    let server = broker();
    // The client's side stays open in all of these.
    for end in [
        &[0xe0, 0][..],
        &[0xe0, 1, 4],
        &[0xe0, 1, 0x98],
        &[0xe0, 2, 0, 0],
    ] {
        let mut client = server.client("client");
        client.send(end);
        client.expect_closed();
    }
    let mut client = server.client("client");
    client.send([0x00, 0x00]);
    client.expect_disconnect(0x81);
}

/// Covers: NN5-128, v5:MQTT-3.1.2-8
#[test]
fn nn5_128_the_host_can_end_a_connection() {
    let server = broker();
    let mut watcher = server.watcher("will");
    let connect = Connect::v5("kicked")
        .will(Will::new("will", "w"))
        .expiry(60);
    let mut client = server.connect(&connect);
    assert!(server.disconnect("kicked", ReasonCode::AdministrativeAction));
    client.expect_disconnect(0x98);
    watcher.expect_message("will", "w");
    assert!(!server.disconnect("kicked", ReasonCode::AdministrativeAction));
    server.resume(&connect);
    let mut old = server.connect(&Connect::new(4, "old"));
    assert!(server.disconnect("old", ReasonCode::AdministrativeAction));
    old.expect_closed();
}

/// Covers: NN5-127, NN5-014
#[test]
fn nn5_127_a_broker_that_stops_says_so() {
    for (option, wills) in [("true", 1), ("false", 0)] {
        let server = broker_set(&[("shutdown.wills", option)]);
        let mut watcher = server.watcher("will");
        let mut client = server.connect(&Connect::v5("mortal").will(Will::new("will", "w")));
        let mut old = server.connect(&Connect::new(4, "old"));
        server
            .stop(Stop::Drain(Duration::from_secs(5)))
            .expect("a stop");
        client.expect_disconnect(0x8b);
        old.expect_closed();
        for _ in 0..wills {
            watcher.expect_message("will", "w");
        }
        watcher.expect_disconnect(0x8b);
    }
}
