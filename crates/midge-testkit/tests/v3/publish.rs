//! PUBLISH in both directions.

use midge::{ClientInfo, HookSet, Hooks, MessageRef, QoS, Verdict};
use midge_testkit::{Connect, Kind, Publish, Subscribe, Wire, ack, packet};

use crate::common::{broker, broker_with};
use crate::{ILL_FORMED, NUL, client, closes, kept, watcher};

/// Covers: v3:MQTT-3.3.1-1, v3:MQTT-3.3.1-3
#[test]
fn mqtt311_3_3_1_1_dup_is_set_when_the_broker_sends_again() {
    let server = broker();
    let mut publisher = client(&server, "publisher");

    for qos in 1..3 {
        let mut subscriber = server.begin(&kept("client"));
        subscriber.subscribe("t", qos);
        publisher.publish("t", "p", qos);
        let first = subscriber.expect_message("t", "p");
        assert!(!first.dup, "{first:?}");
        subscriber.cut();
        for _ in 0..3 {
            let mut subscriber = server.resume(&kept("client"));
            let again = subscriber.expect_message("t", "p");
            assert!(
                again.dup && again.id == first.id && again.qos == qos,
                "{again:?}"
            );
            subscriber.cut();
        }
        server.begin(&crate::v311("client")).disconnect();
    }
}

/// Covers: v3:MQTT-3.3.1-2, v3:MQTT-4.3.1-1
#[test]
fn mqtt311_3_3_1_2_dup_with_qos_0_is_a_violation() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    closes(&server, Publish::new("t", "p").dup().bytes_for(4));
    closes(&server, Publish::new("t", "p").dup().retain().bytes_for(4));
    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
}

/// Covers: v3:MQTT-3.3.1-3
#[test]
fn mqtt311_3_3_1_3_dup_of_the_publisher_goes_no_further() {
    let server = broker();
    let mut watcher = watcher(&server, "t");
    let mut publisher = client(&server, "publisher");
    for qos in 1..3 {
        publisher.deliver(&Publish::new("t", [qos]).qos(qos, 0).dup());
        let message = watcher.receive();
        assert!(!message.dup && message.qos == qos, "{message:?}");
    }
}

/// Covers: v3:MQTT-3.3.1-4
#[test]
fn mqtt311_3_3_1_4_qos_3_is_a_violation() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    for first in [0x36, 0x37, 0x3e, 0x3f] {
        closes(&server, Wire::new().text("t").u16(1).raw("p").packet(first));
    }
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.3.2-1, v3:MQTT-1.5.3-1, v3:MQTT-1.5.3-2, v3:MQTT-4.7.3-2, v3:MQTT-4.7.3-1
#[test]
fn mqtt311_3_3_2_1_the_topic_is_a_whole_well_formed_string() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    for qos in 0..3u8 {
        for bad in ILL_FORMED.into_iter().chain(NUL).chain([&b""[..]]) {
            closes(
                &server,
                Publish::new(bad, "p").qos(qos, 1).retain().bytes_for(4),
            );
        }
        // Cut off: within the length, the topic, the identifier.
        let body = Wire::new().text("topic").u16(1).0;
        let end = if qos > 0 { body.len() } else { body.len() - 2 };
        for length in 0..end {
            closes(&server, packet(0x30 | (qos << 1), &body[..length]));
        }
    }

    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
}

/// Covers: v3:MQTT-3.3.2-2, v3:MQTT-4.7.1-1
#[test]
fn mqtt311_3_3_2_2_a_topic_name_has_no_wildcards() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    for topic in ["#", "+", "a/+", "a/#", "+/a", "a/+/b", "a+", "a#b", "/+/"] {
        for qos in 0..3 {
            closes(
                &server,
                Publish::new(topic, "p").qos(qos, 1).retain().bytes_for(4),
            );
        }
    }
    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
}

/// Covers: v3:MQTT-1.5.3-3, v3:MQTT-4.7.3-4
#[test]
fn mqtt311_1_5_3_3_the_byte_order_mark_is_a_character() {
    let server = broker();
    let bom = "\u{feff}";
    let mut with = client(&server, "with");
    with.subscribe(&format!("{bom}t"), 1);
    let mut without = client(&server, "without");
    without.subscribe("t", 1);
    let mut everything = watcher(&server, "#");
    let mut publisher = client(&server, "publisher");
    for topic in [format!("{bom}t"), "t".to_owned(), format!("a{bom}b/{bom}")] {
        publisher.publish(&topic, bom, 1);
        let message = everything.receive();
        assert_eq!((&message.topic, message.text().as_str()), (&topic, bom));
    }
    assert_eq!(with.receive().topic, format!("{bom}t"));
    assert_eq!(without.receive().topic, "t");
    with.expect_nothing();
    without.expect_nothing();
}

/// Covers: v3:MQTT-3.3.2-3
#[test]
fn mqtt311_3_3_2_3_a_message_keeps_its_topic_and_payload() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    let mut publisher = client(&server, "publisher");
    let any: Vec<u8> = (0..=255).collect();
    let long = vec![7u8; 300_000];
    for topic in ["t", "/", "//", "a//b", " a/ b ", "\u{1f600}/\u{e9}", "A/a"] {
        for payload in [&b""[..], &any, &long] {
            for qos in 0..3 {
                publisher.publish(topic, payload, qos);
                let message = watcher.receive();
                assert_eq!((message.topic.as_str(), message.qos), (topic, qos));
                assert!(message.payload == payload, "{topic}");
            }
        }
    }
}

/// Covers: v3:MQTT-3.3.5-1, U311-12
#[test]
fn mqtt311_3_3_5_1_overlapping_filters_deliver_with_the_highest_qos() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    for options in [[0, 2, 1], [2, 0, 1], [1, 0, 2]] {
        let mut subscriber = client(&server, "client");
        let filters = ["a/+", "a/b", "#"].into_iter().zip(options);
        let request = filters.fold(Subscribe::new(0), |request, (filter, qos)| {
            request.filter(filter, qos)
        });
        assert_eq!(subscriber.request(&request).codes, options);
        for qos in 0..3 {
            publisher.publish("a/b", [qos], qos);
            let message = subscriber.receive();
            assert_eq!((message.qos, &message.payload[..]), (qos, &[qos][..]));
            // One copy is what other brokers send and what clients expect.
            subscriber.expect_nothing();
        }
    }
}

/// Denies all topics below "denied".
struct Rules;

impl Hooks for Rules {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        if message.topic.starts_with("denied") {
            Verdict::deny()
        } else {
            Verdict::Allow
        }
    }
}

/// Covers: v3:MQTT-3.3.5-2, V31-12
#[test]
fn mqtt311_3_3_5_2_a_denied_publish_is_acknowledged_and_dropped() {
    let server = broker_with(|builder| builder.hooks(Rules));
    let mut watcher = watcher(&server, "#");
    for version in [3, 4] {
        let mut client = server.connect(&Connect::new(version, "client"));
        client.send(Publish::new("denied", "p").retain().bytes_for(version));
        client.send(
            Publish::new("denied/x", "p")
                .qos(1, 1)
                .retain()
                .bytes_for(version),
        );
        client.expect_ack(Kind::Puback, 1);
        client.send(Publish::new("denied/x", "p").qos(2, 2).bytes_for(version));
        client.expect_ack(Kind::Pubrec, 2);
        client.send(ack(Kind::Pubrel, 2));
        client.expect_ack(Kind::Pubcomp, 2);
        client.expect_nothing();
        watcher.expect_nothing();
        client.publish("allowed", "p", 2);
        assert_eq!(watcher.receive().topic, "allowed");
    }

    assert!(server.retained("#").is_empty());
}

/// Covers: v3:MQTT-2.3.1-1
#[test]
fn mqtt311_2_3_1_1_identifier_0_is_a_violation() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    for qos in 1..3 {
        closes(&server, Publish::new("t", "p").qos(qos, 0).bytes_for(4));
    }

    closes(&server, Subscribe::new(0).filter("t", 0).bytes_for(4));
    closes(
        &server,
        midge_testkit::unsubscribe(4, 0, &midge_testkit::PropsBuf::new(), &["t"]),
    );
    for kind in [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp] {
        closes(&server, ack(kind, 0));
    }

    watcher.expect_nothing();

    // Towards clients: the host's messages have identifiers too.
    for number in 0..10u8 {
        let message = server.message("t").payload(vec![number]);
        message.qos(QoS::ExactlyOnce).send().expect("a message");
        assert_ne!(watcher.receive().id, 0);
    }
}
