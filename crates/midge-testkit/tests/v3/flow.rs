//! Packet identifiers of the broker, order, containment.

use midge_testkit::{Kind, Publish, ack};

use crate::common::{broker, broker_set};
use crate::{old, v4, watcher};

/// Covers: v3:MQTT-2.3.1-4, v3:MQTT-2.3.1-3
#[test]
fn mqtt311_2_3_1_4_identifiers_in_flight_are_not_used_again() {
    let server = broker();
    let mut client = watcher(&server, "t");
    for _ in 0..3 {
        server
            .message("t")
            .payload("held")
            .qos(midge::QoS::AtLeastOnce)
            .send()
            .unwrap();
    }
    let held: Vec<u16> = (0..3).map(|_| client.expect_publish().id).collect();
    // The ledger of the client fails on an identifier that is 0 or still open.
    for round in 0..70 {
        for _ in 0..1000 {
            server
                .message("t")
                .payload("p")
                .qos(midge::QoS::AtLeastOnce)
                .send()
                .unwrap();
        }
        for _ in 0..1000 {
            let message = client.expect_publish();
            assert!(!held.contains(&message.id), "{round}");
            client.acknowledge(&message);
        }
    }
    for id in held {
        client.send(ack(Kind::Puback, id));
    }
    client.expect_nothing();
}

/// Covers: v3:MQTT-4.6.0-2, v3:MQTT-4.6.0-3, v3:MQTT-4.6.0-4, v3:MQTT-4.6.0-5, v3:MQTT-4.6.0-6
#[test]
fn mqtt311_4_6_0_6_messages_and_acknowledgements_keep_their_order() {
    let server = broker_set(&[("limits.inflight", "3")]);
    let connect = v4("slow").clean(false);
    let mut slow = server.connect(&connect);
    slow.subscribe("o/#", 2);
    let mut publishers: Vec<_> = (0..2).map(|n| old(&server, &format!("p{n}"))).collect();
    let mut id = 0;
    for number in 0..300_u16 {
        for (who, client) in publishers.iter_mut().enumerate() {
            let qos = 1 + u8::try_from((number + u16::try_from(who).unwrap()) % 2).unwrap();
            id += 1;
            let topic = format!("o/{who}/{}", number % 3);
            client.send(
                Publish::new(topic, number.to_string())
                    .qos(qos, id)
                    .bytes_for(4),
            );
            client.expect_ack(if qos == 1 { Kind::Puback } else { Kind::Pubrec }, id);
            if qos == 2 {
                client.send(ack(Kind::Pubrel, id));
                client.expect_ack(Kind::Pubcomp, id);
            }
        }
    }
    let mut last = std::collections::HashMap::new();
    for taken in 0..600 {
        if taken == 250 {
            slow.cut();
            slow = server.resume(&connect);
        }
        let message = slow.receive();
        let number: i32 = message.text().parse().unwrap();
        let before = last
            .insert((message.topic.clone(), message.qos), number)
            .unwrap_or(-1);
        assert!(before < number || message.dup, "{message:?} after {before}");
    }
    slow.expect_nothing();
}

/// Covers: U311-04, U311-19, v3:MQTT-4.8.0-2
#[test]
fn u311_19_one_broken_connection_does_not_touch_the_others() {
    let server = broker();
    let mut one = watcher(&server, "t");
    let kept = v4("kept").clean(false);
    let mut client = server.connect(&kept);
    client.subscribe("t", 2);
    client.cut();
    let mut publisher = old(&server, "publisher");
    for bad in [
        &[0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0x30, 0],
        &[0x00, 0],
        &[0xf0, 0],
    ] {
        let mut broken = old(&server, "broken");
        broken.send(bad);
        broken.expect_closed_with(&[]);
        publisher.publish("t", "p", 0);
        one.expect_message("t", "p");
    }
    // QoS 0 is not kept for who is away.
    server.resume(&kept).expect_nothing();
}

/// Covers: v3:MQTT-7.0.0-2, v3:MQTT-7.1.1-1
#[test]
fn mqtt311_7_1_1_1_any_split_of_the_stream_is_the_same() {
    let server = broker();
    let mut client = server.open();
    let mut bytes = v4("pieces").bytes();
    bytes.extend(midge_testkit::Subscribe::new(1).filter("t", 1).bytes_for(4));
    bytes.extend(Publish::new("t", "x".repeat(300)).qos(1, 2).bytes_for(4));
    client.send_in_pieces(bytes, 1);
    client.expect_connack();
    client.expect_suback(1);
    assert_eq!(client.receive().payload.len(), 300);
}

/// Covers: v3:MQTT-4.3.2-2
#[test]
fn mqtt_4_3_2_2_after_puback_the_identifier_stands_for_a_new_message() {
    let server = broker();
    let mut watcher = watcher(&server, "t");
    let mut client = old(&server, "client");
    for (payload, dup) in [("1", false), ("2", true), ("3", false)] {
        let mut publish = Publish::new("t", payload).qos(1, 7);
        publish.dup = dup;
        client.send(publish.bytes_for(4));
        client.expect_ack(Kind::Puback, 7);
        watcher.expect_message("t", payload);
    }
    watcher.expect_nothing();
}
