//! Fixed headers: reserved flags and packet types.

use midge_testkit::{Connect, Kind, Publish, Subscribe, Wire, ack};

use crate::common::broker;
use crate::{client, closes, kept, v311};

/// Covers: v3:MQTT-2.2.2-1
#[test]
fn mqtt311_2_2_2_1_the_broker_sets_reserved_flags_as_prescribed() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = server.say(v311("client").bytes());
    client.send(Subscribe::new(1).filter("t", 2).bytes_for(4));
    client.expect_connack();
    client.expect_suback(1);
    publisher.publish("t", "p", 2);

    let message = client.expect_message("t", "p");

    // Every type once; the first bytes are looked at.
    client.send(ack(Kind::Pubrec, message.id));
    client.send(ack(Kind::Pubcomp, message.id));
    client.send(Publish::new("x", "p").qos(1, 5).bytes_for(4));
    client.send(Publish::new("x", "p").qos(2, 6).bytes_for(4));
    client.send(ack(Kind::Pubrel, 6));
    client.send(Subscribe::new(7).filter("u", 1).bytes_for(4));
    client.send([0xa2, 5, 0, 8, 0, 1, b'u']);
    client.send([0xc0, 0]);
    client.end();

    let [high, low] = message.id.to_be_bytes();
    let expected = [
        &[0x62, 2, high, low][..],
        &[0x40, 2, 0, 5],
        &[0x50, 2, 0, 6],
        &[0x70, 2, 0, 6],
        &[0x90, 3, 0, 7, 1],
        &[0xb0, 2, 0, 8],
        &[0xd0, 0],
    ];
    let bytes = client.read_all();
    let mut rest = &bytes[..];
    let mut got = Vec::new();
    while rest.len() >= 2 {
        let (packet, after) = rest.split_at((2 + usize::from(rest[1])).min(rest.len()));
        got.push(packet);
        rest = after;
    }

    got.sort_unstable();

    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(got, expected);
}

/// Covers: v3:MQTT-2.2.2-2, v3:MQTT-3.6.1-1, v3:MQTT-4.8.0-1
#[test]
fn mqtt311_2_2_2_2_wrong_flags_end_the_connection() {
    let server = broker();
    let id = Wire::new().u16(1);
    let bodies = [
        (0x40, id.clone(), 0),
        (0x50, id.clone(), 0),
        (0x60, id.clone(), 2),
        (0x70, id.clone(), 0),
        (0x80, id.clone().text("t").u8(0), 2),
        (0xa0, id.text("t"), 2),
        (0xc0, Wire::new(), 0),
        (0xe0, Wire::new(), 0),
    ];

    for (kind, body, right) in bodies {
        for flags in (0..16).filter(|flags| *flags != right) {
            closes(&server, body.clone().packet(kind | flags));
        }
    }

    for flags in 1..16 {
        let mut client = server.say(midge_testkit::packet(0x10 | flags, v311("c").body()));
        client.expect_closed();
    }

    assert!(server.subscriptions(None).is_empty());
}

/// Covers: v3:MQTT-3.6.1-1, v3:MQTT-4.3.3-2
#[test]
fn mqtt311_3_6_1_1_a_pubrel_with_wrong_flags_releases_nothing() {
    let server = broker();
    let mut watcher = crate::watcher(&server, "t");
    let mut client = server.begin(&kept("client"));
    client.send(Publish::new("t", "once").qos(2, 1).bytes_for(4));
    client.expect_ack(Kind::Pubrec, 1);
    client.send([0x60, 2, 0, 1]);
    client.expect_closed();
    let mut client = server.resume(&kept("client"));
    client.send(Publish::new("t", "once").qos(2, 1).dup().bytes_for(4));
    client.expect_ack(Kind::Pubrec, 1);
    client.send(ack(Kind::Pubrel, 1));
    client.expect_ack(Kind::Pubcomp, 1);
    assert_eq!(watcher.receive().text(), "once");
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-2.2.2-2, v3:MQTT-4.8.0-1, v3:MQTT-3.1.0-2
#[test]
fn mqtt311_2_2_2_2_packet_types_of_a_server_are_none_of_a_client() {
    let server = broker();
    for bytes in [
        &[0x00, 0][..],
        &[0x20, 2, 0, 0],
        &[0x90, 3, 0, 1, 0],
        &[0xb0, 2, 0, 1],
        &[0xd0, 0],
        &[0xf0, 0],
        &[0xf0, 2, 0x18, 0],
    ] {
        closes(&server, bytes);
    }
    server.connect(&Connect::new(4, "client")).expect_nothing();
}
