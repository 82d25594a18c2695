//! QoS 1 and QoS 2 flows in both directions.

use midge_testkit::{Kind, Publish, Subscribe, ack};

use crate::common::broker;
use crate::{client, kept, v311, watcher};

/// Covers: v3:MQTT-3.3.4-1, v3:MQTT-2.3.1-6, v3:MQTT-2.2.2-1
#[test]
fn mqtt311_3_3_4_1_each_qos_has_its_answer() {
    let server = broker();
    let mut client = client(&server, "client");
    client.send(Publish::new("t", "0").bytes_for(4));
    client.expect_nothing();
    client.send(Publish::new("t", "1").qos(1, 0x1234).bytes_for(4));
    client.send(Publish::new("t", "2").qos(2, 0xffff).bytes_for(4));
    client.expect_ack(Kind::Puback, 0x1234);
    client.expect_ack(Kind::Pubrec, 0xffff);
    client.send(ack(Kind::Pubrel, 0xffff));
    client.expect_ack(Kind::Pubcomp, 0xffff);
    client.expect_nothing();

    // Byte by byte: acknowledgements of 3.1.1 have two bytes.
    client.send(Publish::new("t", "1").qos(1, 7).bytes_for(4));
    client.send(Publish::new("t", "2").qos(2, 8).bytes_for(4));
    client.send(ack(Kind::Pubrel, 8));
    client.end();

    let expected = [0x40, 2, 0, 7, 0x50, 2, 0, 8, 0x70, 2, 0, 8];
    assert_eq!(client.read_all(), expected);
}

/// Covers: v3:MQTT-2.3.1-6, v3:MQTT-4.6.0-2, v3:MQTT-4.6.0-3
#[test]
fn mqtt311_2_3_1_6_interleaved_flows_keep_their_identifiers() {
    let server = broker();
    let mut client = client(&server, "client");
    let publishes: Vec<_> = (1..=60u16)
        .map(|id| Publish::new("t", id.to_be_bytes()).qos(1 + (id % 2) as u8, id * 11))
        .collect();
    let bytes: Vec<u8> = publishes.iter().flat_map(|p| p.bytes_for(4)).collect();
    client.send(bytes);
    for publish in &publishes {
        let kind = if publish.qos == 1 {
            Kind::Puback
        } else {
            Kind::Pubrec
        };
        client.expect_ack(kind, publish.id);
    }

    for publish in publishes.iter().rev().filter(|publish| publish.qos == 2) {
        client.send(ack(Kind::Pubrel, publish.id));
    }

    for publish in publishes.iter().rev().filter(|publish| publish.qos == 2) {
        client.expect_ack(Kind::Pubcomp, publish.id);
    }

    client.expect_nothing();
}

/// Covers: v3:MQTT-4.3.1-1, v3:MQTT-3.3.1-2, v3:MQTT-2.3.1-5
#[test]
fn mqtt311_4_3_1_1_qos_0_has_neither_dup_nor_identifier() {
    let server = broker();
    let mut watcher = client(&server, "watcher");
    watcher.subscribe("t", 0);
    let mut publisher = client(&server, "publisher");
    for qos in 0..3 {
        publisher.publish("t", "payload", qos);
    }
    watcher.end();
    let one = [&[0x30, 10, 0, 1, b't'][..], b"payload"].concat();
    assert_eq!(watcher.read_all(), one.repeat(3));
}

/// Covers: v3:MQTT-4.3.2-1, v3:MQTT-4.3.3-1, v3:MQTT-2.3.1-1
#[test]
fn mqtt311_4_3_2_1_the_broker_sends_new_messages_with_new_identifiers() {
    let server = broker();
    let mut watcher = watcher(&server, "t");
    let mut publisher = client(&server, "publisher");
    let mut used = Vec::new();
    for number in 0..40u8 {
        publisher.publish("t", [number], 1 + number % 2);
        let message = watcher.expect_message("t", [number]);
        assert!(!message.dup && message.id != 0, "{message:?}");
        assert!(!used.contains(&message.id), "{message:?}");
        used.push(message.id);
    }
    assert_eq!(watcher.unfinished(), 40);
}

/// Covers: v3:MQTT-2.3.1-4, v3:MQTT-2.3.1-1
#[test]
fn mqtt311_2_3_1_4_identifiers_in_use_are_left_out() {
    let server = broker();
    let mut watcher = server.begin(&kept("watcher"));
    watcher.subscribe("t", 1);

    let mut held = Vec::new();
    let mut expected = 0u32;
    while expected < 70_000 {
        for number in expected..expected + 1000 {
            let message = server.message("t").payload(number.to_be_bytes().to_vec());
            message
                .qos(midge::QoS::AtLeastOnce)
                .send()
                .expect("a message");
        }
        let mut acks = Vec::new();
        for number in expected..expected + 1000 {
            // The client fails if an identifier is 0 or in use.
            let message = watcher.expect_message("t", number.to_be_bytes());
            if number % 7000 == 1 {
                held.push(message);
            } else {
                acks.extend(ack(Kind::Puback, message.id));
            }
        }
        watcher.send(acks);
        expected += 1000;
    }

    assert_eq!((held.len(), watcher.unfinished()), (10, 10));
    watcher.cut();

    let mut watcher = server.resume(&kept("watcher"));
    for old in held {
        let again = watcher.receive();
        assert!(again.dup, "{again:?}");
        assert_eq!((again.id, again.payload), (old.id, old.payload));
    }

    watcher.expect_nothing();
}

/// Covers: v3:MQTT-4.3.2-2, v3:MQTT-2.3.1-3
#[test]
fn mqtt311_4_3_2_2_after_puback_the_identifier_means_a_new_message() {
    let server = broker();
    let mut watcher = watcher(&server, "t");
    let mut client = client(&server, "client");
    for number in 0..5u8 {
        let publish = Publish::new("t", [number]).qos(1, 3);
        let publish = if number % 2 == 1 {
            publish.dup()
        } else {
            publish
        };
        client.send(publish.bytes_for(4));
        client.expect_ack(Kind::Puback, 3);
        assert_eq!(watcher.receive().payload, [number]);
    }

    // Even if nothing else is new about it.
    for _ in 0..2 {
        client.send(Publish::new("t", "same").qos(1, 3).dup().bytes_for(4));
        client.expect_ack(Kind::Puback, 3);
        assert_eq!(watcher.receive().text(), "same");
    }

    watcher.expect_nothing();
}

/// Covers: v3:MQTT-4.3.3-2, v3:MQTT-2.3.1-2, V31-11
#[test]
fn mqtt311_4_3_3_2_repeated_qos_2_messages_are_delivered_once() {
    for version in [3, 4] {
        let server = broker();
        let mut watcher = watcher(&server, "t");
        let connect = midge_testkit::Connect::new(version, "client").clean(false);
        let mut client = server.begin(&connect);
        let publish = Publish::new("t", "once").qos(2, 4);
        client.send(publish.bytes_for(4));
        client.expect_ack(Kind::Pubrec, 4);
        for _ in 0..5 {
            client.send(publish.clone().dup().bytes_for(4));
            client.expect_ack(Kind::Pubrec, 4);
        }
        for _ in 0..3 {
            client.cut();
            client = server.connect(&connect);
            client.send(publish.clone().dup().bytes_for(4));
            client.expect_ack(Kind::Pubrec, 4);
        }
        client.send(ack(Kind::Pubrel, 4));
        client.expect_ack(Kind::Pubcomp, 4);
        // PUBREL is answered as often as it comes.
        client.send(ack(Kind::Pubrel, 4));
        client.expect_ack(Kind::Pubcomp, 4);
        assert_eq!(watcher.receive().text(), "once");
        watcher.expect_nothing();
        client.send(publish.bytes_for(4));
        client.expect_ack(Kind::Pubrec, 4);
        assert_eq!(watcher.receive().text(), "once");
        watcher.expect_nothing();
    }
}

/// Covers: v3:MQTT-4.3.3-1
#[test]
fn mqtt311_4_3_3_1_after_pubrec_only_pubrel_is_sent() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = server.begin(&kept("client"));
    client.subscribe("t", 2);
    publisher.publish("t", "p", 2);

    let message = client.expect_message("t", "p");
    client.send(ack(Kind::Pubrec, message.id));
    client.expect_ack(Kind::Pubrel, message.id);

    // A repeated PUBREC is answered again.
    client.send(ack(Kind::Pubrec, message.id));
    client.expect_ack(Kind::Pubrel, message.id);
    for _ in 0..2 {
        client.cut();
        client = server.resume(&kept("client"));
        client.expect_ack(Kind::Pubrel, message.id);
        client.expect_nothing();
    }

    client.send(ack(Kind::Pubcomp, message.id));
    client.cut();
    server.resume(&kept("client")).expect_nothing();
}

/// Covers: v3:MQTT-4.3.3-1, v3:MQTT-4.3.2-1
#[test]
fn mqtt311_4_3_3_1_acknowledgements_for_nothing_do_no_harm() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = client(&server, "client");
    client.subscribe("t", 2);
    publisher.publish("t", "p", 2);
    let message = client.expect_message("t", "p");
    client.send(ack(Kind::Puback, 999));
    client.send(ack(Kind::Pubcomp, 999));
    client.expect_nothing();
    client.send(ack(Kind::Pubrel, 998));
    client.expect_ack(Kind::Pubcomp, 998);
    client.send(ack(Kind::Pubrec, message.id));
    client.expect_ack(Kind::Pubrel, message.id);
    client.send(ack(Kind::Pubcomp, message.id));
    client.expect_nothing();
    publisher.publish("t", "q", 1);
    assert_eq!(client.receive().text(), "q");
}

/// Covers: v3:MQTT-4.3.3-1, v3:MQTT-4.8.0-1
#[test]
fn mqtt311_4_3_3_1_an_acknowledgement_of_another_kind_finishes_nothing() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    for (qos, kind) in [(1, Kind::Pubrec), (2, Kind::Puback), (2, Kind::Pubcomp)] {
        let mut client = server.begin(&kept("client"));
        client.subscribe("t", qos);
        publisher.publish("t", "p", qos);
        let message = client.expect_message("t", "p");
        client.send(ack(kind, message.id));
        client.expect_closed();
        let mut client = server.resume(&kept("client"));
        let again = client.receive();
        assert!(again.dup && again.id == message.id, "{again:?}");
        client.disconnect();
        server.begin(&v311("client")).disconnect();
    }
}

/// Covers: v3:MQTT-4.3.3-2, v3:MQTT-4.3.3-1, v3:MQTT-2.3.1-4
#[test]
fn mqtt311_4_3_3_1_the_two_directions_have_their_own_identifiers() {
    let server = broker();
    let mut client = client(&server, "client");
    client.request(&Subscribe::new(1).filter("t", 2));

    // The broker's first identifiers and the client's are the same numbers.
    for id in 1..=3 {
        client.send(Publish::new("t", [id as u8]).qos(2, id).bytes_for(4));
    }

    let mut from_broker = Vec::new();
    let mut answers = 0;
    while from_broker.len() < 3 || answers < 3 {
        match client.recv() {
            midge_testkit::Packet::Publish(message) => from_broker.push(message),
            midge_testkit::Packet::Ack(got) => {
                answers += 1;
                assert_eq!((got.kind, got.id), (Kind::Pubrec, answers));
            }
            other => panic!("{other:?}"),
        }
    }

    let message = &from_broker[0];
    client.send(ack(Kind::Pubrec, message.id));
    client.expect_ack(Kind::Pubrel, message.id);

    // PUBREL of the client is about the client's message.
    client.send(ack(Kind::Pubrel, message.id));
    client.expect_ack(Kind::Pubcomp, message.id);
    client.send(ack(Kind::Pubcomp, message.id));
    client.expect_nothing();
    assert_eq!(client.unfinished(), 2);
    for message in &from_broker[1..] {
        client.acknowledge(message);
    }

    client.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-6
#[test]
fn mqtt311_3_1_2_6_a_clean_session_forgets_half_a_flow() {
    let server = broker();
    let mut watcher = watcher(&server, "t");
    let mut client = client(&server, "client");
    client.send(Publish::new("t", "first").qos(2, 1).bytes_for(4));
    client.expect_ack(Kind::Pubrec, 1);
    client.cut();
    assert_eq!(watcher.drain().len(), 1);
    let mut client = server.begin(&v311("client"));
    client.send(Publish::new("t", "second").qos(2, 1).dup().bytes_for(4));
    client.expect_ack(Kind::Pubrec, 1);
    assert_eq!(watcher.receive().text(), "second");
}
