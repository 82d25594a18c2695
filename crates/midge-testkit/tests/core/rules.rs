//! What a PUBLISH may do does not depend on the way that it takes.

use midge::{DropReason, QoS};
use midge_testkit::{Connect, Packet, Publish, Subscribe};

use crate::world::{Client, hub};

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
    let queued = || hub.stats(crate::world::START).queued_bytes;
    publisher.say(&message);
    let one = queued();
    // The route is remembered from the second message on.
    publisher.say(&message);
    assert_eq!(queued(), 2 * one);
    publisher.say([&message[..], &message].concat());
    assert_eq!(queued(), 4 * one);
    assert_eq!(
        hub.stats(crate::world::START)
            .dropped_by(DropReason::QueueFull),
        0
    );
}
