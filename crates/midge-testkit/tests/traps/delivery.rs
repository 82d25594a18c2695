//! Messages lost, doubled, out of order, or not as they were sent.

use midge_testkit::{Kind, Message, Publish, Subscribe, ack, id};

use crate::common::{broker, props};
use crate::{VERSIONS, client, kept};

/// Covers: v3:MQTT-3.3.1-1, v5:MQTT-3.3.1-1, v5:MQTT-4.4.0-1
#[test]
fn redelivery_carries_dup() {
    for version in VERSIONS {
        let server = broker();
        let mut publisher = client(&server, version, "publisher");
        let mut subscriber = server.connect(&kept(version, "client"));
        subscriber.subscribe("t", 2);
        publisher.publish("t", "one", 1);
        publisher.publish("t", "two", 2);
        let first = [subscriber.expect_publish(), subscriber.expect_publish()];
        assert!(first.iter().all(|message| !message.dup), "{first:?}");
        for _ in 0..3 {
            subscriber.cut();
            subscriber = server.connect(&kept(version, "client"));
            for message in &first {
                let again = subscriber.expect_publish();
                assert!(again.dup, "{again:?}");
                assert_eq!((again.id, &again.payload), (message.id, &message.payload));
            }
        }
    }
}

/// Covers: NN5-114, v3:MQTT-4.6.0-6, v5:MQTT-4.6.0-5
#[test]
fn offline_messages_are_replayed_in_order() {
    for version in VERSIONS {
        let server = broker();
        let mut publisher = client(&server, version, "publisher");
        let mut subscriber = server.connect(&kept(version, "client"));
        subscriber.subscribe("t/#", 2);
        subscriber.disconnect();
        // More than one-byte numbers would sort right by accident.
        for number in 0..300u16 {
            let topic = format!("t/{}", number % 7);
            publisher.publish(&topic, number.to_be_bytes(), 1 + (number % 2) as u8);
        }
        let mut subscriber = server.connect(&kept(version, "client"));
        for number in 0..300u16 {
            assert_eq!(subscriber.receive().payload, number.to_be_bytes());
        }
        subscriber.expect_nothing();
    }
}

/// Covers: v3:MQTT-4.3.3-2, v5:MQTT-4.3.3-10
#[test]
fn a_third_identical_qos_2_publish_is_answered_and_not_delivered() {
    for version in VERSIONS {
        let server = broker();
        let mut watcher = client(&server, 5, "watcher");
        watcher.subscribe("t", 2);
        let mut publisher = server.connect(&kept(version, "publisher"));
        let publish = Publish::new("t", "once").qos(2, 1);
        publisher.send(publish.bytes_for(version));
        publisher.expect_ack(Kind::Pubrec, 1);
        for round in 0..6 {
            if round == 3 {
                publisher.cut();
                publisher = server.connect(&kept(version, "publisher"));
            }
            // With and without DUP.
            let repeated = if round % 2 == 0 {
                publish.clone().dup()
            } else {
                publish.clone()
            };
            publisher.send(repeated.bytes_for(version));
            assert!(publisher.expect_ack(Kind::Pubrec, 1).code < 0x80);
        }
        publisher.send(ack(Kind::Pubrel, 1));
        assert_eq!(publisher.expect_ack(Kind::Pubcomp, 1).code, 0);
        assert_eq!(watcher.receive().text(), "once");
        watcher.expect_nothing();
    }
}

/// Covers: v3:MQTT-3.3.2-3, v5:MQTT-3.3.2-6
#[test]
fn payloads_over_20_kilobytes_pass() {
    let server = broker();
    for version in VERSIONS {
        let mut subscriber = client(&server, version, "client");
        subscriber.subscribe("t", 2);
        let mut publisher = client(&server, version, "publisher");
        for size in [19_999, 20_000, 20_001, 65_536, 262_144, 2_097_152] {
            let payload: Vec<u8> = (0..size).map(|n: u32| (n / 251) as u8).collect();
            for qos in 0..3 {
                publisher.publish("t", &payload, qos);
                let message = subscriber.receive();
                assert!(message.payload == payload, "{size} QoS {qos}");
            }
        }
    }
}

/// What is told of a message besides topic and payload.
fn rest(message: &Message) -> (u8, bool, bool, bool) {
    let plain = message.props.is_empty();
    (message.qos, message.retain, message.dup, plain)
}

/// Covers: v5:MQTT-3.3.2-6, v5:MQTT-3.3.2-18
#[test]
fn nothing_is_added_to_a_forwarded_message() {
    let server = broker();
    let mut subscriber = client(&server, 5, "client");
    subscriber.subscribe("t/#", 2);
    for version in VERSIONS {
        let mut publisher = client(&server, version, "publisher");
        for qos in 0..3 {
            publisher.publish("t/live", "p", qos);
            assert_eq!(rest(&subscriber.receive()), (qos, false, false, true));
        }
    }

    let mut publisher = client(&server, 5, "publisher");
    publisher.retain("t/retained", "p", 1);
    subscriber.receive();

    let mut late = client(&server, 5, "late");
    late.subscribe("t/#", 2);
    assert_eq!(rest(&late.receive()), (1, true, false, true));

    // What the publisher said comes whole and in its order.
    let said = props()
        .user("b", "1")
        .user("a", "2")
        .user("b", "1")
        .text(id::CONTENT_TYPE, "text")
        .user("c", "");
    publisher.deliver(&Publish::new("t/said", "p").qos(1, 0).props(said));

    let message = subscriber.receive();
    let users = [("b", "1"), ("a", "2"), ("b", "1"), ("c", "")];
    assert_eq!(message.props.users(), users);
    assert_eq!(message.props.text(id::CONTENT_TYPE), Some("text"));
    assert_eq!(message.props.0.len(), 5);
}

/// Covers: v5:MQTT-3.3.2-5, v5:MQTT-3.3.2-6
#[test]
fn messages_that_expired_in_a_queue_are_not_delivered() {
    for version in VERSIONS {
        let server = broker();
        let mut publisher = client(&server, 5, "publisher");
        let mut subscriber = server.connect(&kept(version, "client"));
        subscriber.subscribe("t", 2);
        subscriber.disconnect();
        let expiring =
            |payload: &str, seconds| Publish::new("t", payload).qos(1, 0).expiry(seconds);
        publisher.deliver(&expiring("short", 5));
        publisher.deliver(&expiring("long", 60));
        publisher.deliver(&Publish::new("t", "for ever").qos(2, 0));
        publisher.deliver(&expiring("short too", 5));
        server.pass(10);
        let mut subscriber = server.connect(&kept(version, "client"));
        let message = subscriber.receive();
        assert_eq!(message.text(), "long");
        if version == 5 {
            // Counted down, and no more than is left.
            let left = message.props.number(id::MESSAGE_EXPIRY_INTERVAL);
            assert_eq!(left, Some(50));
        }
        assert_eq!(subscriber.receive().text(), "for ever");
        subscriber.expect_nothing();
        assert!(server.stats().dropped_by(midge::DropReason::Expired) >= 2);
    }
}

/// Covers: v5:MQTT-3.1.2-23, v5:MQTT-4.1.0-2
#[test]
fn a_session_does_not_outlive_its_expiry() {
    let server = broker();
    let connect = midge_testkit::Connect::v5("client").clean(false).expiry(30);
    let mut client = server.begin(&connect);
    client.request(&Subscribe::new(0).filter("t", 2).filter("$share/g/t", 1));
    client.cut();
    let mut publisher = crate::client(&server, 5, "publisher");
    publisher.publish("t", "queued", 1);
    server.pass_ms(29_999);
    assert_eq!(server.sessions().len(), 2);
    server.pass_ms(2);
    // It is gone without a request, with what it held.
    assert_eq!(server.sessions().len(), 1);
    assert!(server.subscriptions(None).is_empty());
    assert_eq!(server.stats().queued_messages, 0);
    assert_eq!(publisher.deliver(&Publish::new("t", "p").qos(1, 0)), 0x10);
    server.begin(&connect).expect_nothing();
}
