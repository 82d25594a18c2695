//! Chapter 4.8: errors end the connection on which they happen, and no other.

use midge::{Broker, ClientInfo, HookSet, Hooks, MessageRef, Verdict};
use midge_testkit::{Client, Kind, Publish, Will, ack, packet};

use crate::common::broker;
use crate::{v311, watcher};

/// Covers: v3:MQTT-4.8.0-1, V31-17
#[test]
fn mqtt311_4_8_0_1_a_violation_ends_its_connection_and_no_other() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let mut pair = crate::client(&server, "pair");
    pair.subscribe("pair", 2);

    let vectors: [&[u8]; 22] = [
        &[0x30, 0],
        &[0x30, 2, 0, 0],
        &[0x32, 3, 0, 1, b'a'],
        &[0x32, 5, 0, 1, b'a', 0, 0],
        &[0x36, 5, 0, 1, b'a', 0, 1],
        &[0x40, 0],
        &[0x40, 1, 0],
        // Acknowledgements with the reason codes of MQTT 5.
        &[0x40, 3, 0, 1, 0],
        &[0x40, 4, 0, 1, 0, 0],
        &[0x50, 3, 0, 1, 0],
        &[0x62, 3, 0, 1, 0],
        &[0x70, 3, 0, 1, 0],
        &[0x60, 2, 0, 1],
        &[0x82, 2, 0, 1],
        // A SUBSCRIBE and an UNSUBSCRIBE in the layout of MQTT 5.
        &[0x82, 7, 0, 1, 0, 0, 1, b't', 0],
        &[0xa2, 2, 0, 1],
        &[0xa2, 6, 0, 1, 0, 0, 1, b't'],
        &[0xc0, 1, 0],
        &[0xe0, 2, 0, 0],
        &[0xf0, 0],
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xc0, 0x80, 0x80, 0x80, 0x80, 0x00],
    ];

    for version in [3, 4] {
        for bytes in vectors {
            let connect = midge_testkit::Connect::new(version, "wrong");
            let mut client = server.connect(&connect.will(Will::new("will", "w")));
            client.send(bytes);
            client.expect_closed();
            watcher.expect_message("will", "w");
            pair.expect_nothing();
        }
    }

    pair.publish("pair", "p", 2);
    assert_eq!(pair.receive().text(), "p");
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-4.8.0-1
#[test]
fn mqtt311_4_8_0_1_what_came_before_the_violation_counts() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    let mut client = crate::client(&server, "client");
    let bytes = [
        Publish::new("t", "before").qos(1, 1).bytes_for(4),
        packet(0xf0, []),
        Publish::new("t", "behind").qos(1, 2).bytes_for(4),
    ];
    client.send(bytes.concat());
    while let Some(packet) = client.recv_or_end() {
        assert!(matches!(packet, midge_testkit::Packet::Ack(a) if a.id == 1));
    }
    assert_eq!(watcher.receive().text(), "before");
    watcher.expect_nothing();
}

/// A host whose code fails on one topic.
struct Broken;

impl Hooks for Broken {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        assert_ne!(message.topic, "broken", "this is what the test wants");
        Verdict::Allow
    }
}

/// Covers: v3:MQTT-4.8.0-2, U311-19
#[test]
fn mqtt311_4_8_0_2_an_error_inside_ends_the_connection_without_acknowledgement() {
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .hooks(Broken)
        .start()
        .expect("a broker");
    let listener = broker.addr().expect("a listener");
    let connect = |name: &str, will: bool| {
        let connect = v311(name);
        let connect = if will {
            connect.will(Will::new("will", "w"))
        } else {
            connect
        };
        Client::connect(listener, &connect).0
    };

    let mut other = connect("other", false);
    other.subscribe("#", 2);
    for (round, qos) in [(1, 0), (2, 1), (3, 2)] {
        let mut client = connect("client", true);
        client.send(Publish::new("broken", "p").qos(qos, 1).bytes_for(4));
        client.expect_closed();
        other.expect_message("will", "w");
        other.expect_nothing();
        assert_eq!(broker.stats().panics, round);
    }

    let mut client = connect("client", false);
    client.send(Publish::new("fine", "p").qos(2, 1).bytes_for(4));
    client.expect_ack(Kind::Pubrec, 1);
    client.send(ack(Kind::Pubrel, 1));
    client.expect_ack(Kind::Pubcomp, 1);
    assert_eq!(other.receive().topic, "fine");
}
