//! What a PUBLISH may do does not depend on the way that it takes.

use midge::{DisconnectReason, DropReason, QoS};
use midge_testkit::{Connect, Packet, Publish, Subscribe, Will};

use crate::world::{Client, START, hub};

/// Covers: v5:MQTT-3.2.2-11
#[test]
fn maximum_qos_holds_for_a_topic_that_is_remembered() {
    for (maximum, qos) in [
        (QoS::AtMostOnce, 1),
        (QoS::AtMostOnce, 2),
        (QoS::AtLeastOnce, 2),
    ] {
        let hub = hub(|config| config.mqtt.maximum_qos = maximum);
        let mut watcher = Client::plain(&hub, "watcher");
        watcher.say(Subscribe::new(1).filter("t", 2).bytes());
        watcher.read();
        let mut client = Client::plain(&hub, "client");
        for _ in 0..3 {
            client.say(Publish::new("t", "p").bytes());
        }
        assert_eq!(watcher.texts().len(), 3);

        client.say(Publish::new("t", "p").qos(qos, 1).bytes());
        let answer = client.read();
        assert!(
            matches!(&answer[..], [Packet::Disconnect(disconnect)] if disconnect.code == 0x9B),
            "{answer:?}"
        );
        assert!(watcher.read().is_empty());
    }
}

/// Covers: none
#[test]
fn a_message_that_waits_for_many_is_held_once() {
    // Four or more: the message is charged for itself, and each of them for its place.
    let hub = hub(|config| config.mqtt.queue_qos0_offline = true);
    for number in 0..8 {
        let connect = Connect::v5(format!("client {number}"))
            .clean(false)
            .expiry(9);
        let mut client = Client::connect(&hub, &connect);
        client.say(Subscribe::new(1).filter("t", 0).bytes());
        client.read();
        client.close();
    }

    let mut publisher = Client::plain(&hub, "publisher");
    let message = Publish::new("t", vec![b'x'; 1000]).bytes();
    let queued = || hub.stats(START).queued_bytes;
    publisher.say(&message);

    let one = queued();

    // The route is remembered from the second message on.
    publisher.say(&message);
    assert_eq!(queued(), 2 * one);
    publisher.say([&message[..], &message].concat());
    assert_eq!(queued(), 4 * one);
    assert_eq!(hub.stats(START).dropped_by(DropReason::QueueFull), 0);
}

/// Covers: v5:MQTT-2.1.3-1, v3:MQTT-2.2.2-2
#[test]
fn a_first_byte_that_cannot_be_right_ends_the_connection_at_once() {
    // A packet type that does not exist or that only servers send, a second CONNECT, flags that are not its own.
    let wrong = [
        0x00, 0x0F, 0x10, 0x20, 0x36, 0x38, 0x41, 0x60, 0x80, 0x90, 0xA1, 0xB0, 0xC4, 0xD0, 0xE2,
        0xF1,
    ];

    for version in [3, 4, 5] {
        let of_version: &[u8] = if version == 5 { &[] } else { &[0xF0] };
        for first in wrong.iter().chain(of_version) {
            for bytes in [&[*first][..], &[*first, 0xFF], &[*first, 0x10, 0x00]] {
                let hub = hub(|_| ());
                let mut client = Client::connect(&hub, &Connect::new(version, "client"));
                client.connection.receive(bytes, None, START);
                let ended = client.link.ended();
                assert!(
                    matches!(ended, Some(DisconnectReason::ProtocolViolation { .. })),
                    "{first:#04x}, {version}: {ended:?}"
                );
                let told = client.read();
                assert_eq!(told.len(), usize::from(version == 5), "{told:?}");
            }
        }
        // Others are waited for.
        for first in [0x30, 0x3D, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0] {
            let hub = hub(|_| ());
            let mut client = Client::connect(&hub, &Connect::new(version, "client"));
            assert_eq!(client.connection.receive(&[first], None, START), 0);
            assert!(client.link.ended().is_none(), "{first:#04x}");
        }
    }
}

/// Covers: none
#[test]
fn a_will_that_is_dropped_anyway_keeps_no_client_out() {
    let hub = hub(|config| {
        config.mqtt.maximum_qos = QoS::AtMostOnce;
        config.mqtt.retain_available = false;
    });
    let will = Will::new("$SYS/broker/connection/bridge/state", "0");
    let connect = Connect::new(4, "bridge").will(will.qos(1).retain());
    let mut bridge = Client::connect(&hub, &connect);

    // It is connected, and what it sends is taken.
    bridge.say(Subscribe::new(1).filter("t", 0).bytes_for(4));
    assert!(matches!(&bridge.read()[..], [Packet::Suback(_)]));
    assert_eq!(hub.stats(START).dropped_by(DropReason::ReservedTopic), 1);
}
