//! Flow control: Receive Maximum of both sides.

use midge_testkit::{Client, Connect, Kind, Publish, Subscribe, ack, ack_code, id, unsubscribe};

use crate::common::{Server, broker, broker_set, props};

/// Covers: v5:MQTT-3.3.4-7, NN5-081
#[test]
fn mqtt_3_3_4_7_a_client_that_exceeds_receive_maximum_is_disconnected() {
    let server = broker_set(&[("limits.receive_maximum", "3")]);
    let (mut client, connack) = server.answer(&Connect::v5("client"));
    assert_eq!(connack.props.number(id::RECEIVE_MAXIMUM), Some(3));
    let publish = |id| Publish::new("t", "p").qos(2, id);
    let open = |client: &mut Client, id| {
        client.send(publish(id).bytes());
        assert!(client.expect_ack(Kind::Pubrec, id).code < 0x80);
    };
    for id in 1..=3 {
        open(&mut client, id);
    }
    // A repetition is no further message.
    client.send(publish(2).dup().bytes());
    client.expect_ack(Kind::Pubrec, 2);
    // A finished one makes room.
    client.send(ack(Kind::Pubrel, 1));
    client.expect_ack(Kind::Pubcomp, 1);
    open(&mut client, 4);
    // QoS 0 does not count.
    client.publish("t", "p", 0);
    client.send(publish(5).bytes());
    client.expect_disconnect(0x93);

    // Each connection counts for itself.
    let connect = Connect::v5("resumes").clean(false).expiry(60);
    let mut client = server.begin(&connect);
    for id in 1..=3 {
        open(&mut client, id);
    }
    client.cut();
    let mut client = server.resume(&connect);
    for id in 1..=3 {
        client.send(publish(id).dup().bytes());
        client.expect_ack(Kind::Pubrec, id);
    }
    client.expect_nothing();
}

/// Covers: NN5-081
#[test]
fn nn5_081_leniency_is_an_option() {
    let server = broker_set(&[
        ("limits.receive_maximum", "3"),
        ("lenient.receive_maximum", "true"),
    ]);
    let mut client = server.client("client");
    for id in 1..=10 {
        client.send(Publish::new("t", "p").qos(2, id).bytes());
        client.expect_ack(Kind::Pubrec, id);
    }
    client.expect_nothing();
}

/// A subscriber with a Receive Maximum, and a publisher of numbers.
fn pair(server: &Server, maximum: u16) -> (Client, Client) {
    let connect = Connect::v5("client")
        .clean(false)
        .expiry(600)
        .receive_maximum(maximum);
    let mut client = server.begin(&connect);
    client.subscribe("t", 2);
    (client, server.client("publisher"))
}

/// Covers: v5:MQTT-3.3.4-9, v5:MQTT-4.9.0-1, v5:MQTT-4.9.0-2
#[test]
fn mqtt_3_3_4_9_the_broker_keeps_to_receive_maximum() {
    for maximum in [1, 2, 5] {
        let server = broker();
        let (mut client, mut publisher) = pair(&server, maximum);
        for number in 0..20u8 {
            publisher.publish("t", [number], 1 + number % 2);
        }
        let mut next = 0;
        let mut held = std::collections::VecDeque::new();
        while next < 20 || !held.is_empty() {
            // As many as there is room for, and the client checks that they are no more.
            while held.len() < usize::from(maximum) && next < 20 {
                held.push_back(client.expect_message("t", [next]));
                next += 1;
            }
            client.expect_nothing();
            let message = held.pop_front().expect("a message");
            if message.qos == 2 {
                // The slot is free with PUBCOMP, not before.
                client.send(ack(Kind::Pubrec, message.id));
                client.expect_ack(Kind::Pubrel, message.id);
                client.expect_nothing();
                client.send(ack(Kind::Pubcomp, message.id));
            } else {
                client.send(ack(Kind::Puback, message.id));
            }
        }
        client.expect_nothing();
    }
}

/// Covers: v5:MQTT-3.3.4-9, NN5-090, v5:MQTT-4.4.0-2
#[test]
fn mqtt_3_3_4_9_a_refusal_of_the_client_frees_the_slot() {
    let server = broker();
    let (mut client, mut publisher) = pair(&server, 1);
    for number in 0..8u8 {
        publisher.publish("t", [number], 1 + number % 2);
    }
    for number in 0..8u8 {
        let message = client.expect_message("t", [number]);
        client.expect_nothing();
        let kind = if message.qos == 1 {
            Kind::Puback
        } else {
            Kind::Pubrec
        };
        let code = [0x80, 0x83, 0x87, 0x97][usize::from(number / 2)];
        client.send(ack_code(kind, message.id, code));
    }
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.3.4-9, v5:MQTT-4.9.0-1, NN5-116, NN5-114
#[test]
fn mqtt_4_9_0_1_the_quota_begins_anew_with_each_connection() {
    let server = broker();
    let (mut client, mut publisher) = pair(&server, 5);
    publisher.retain("r/1", "", 1);
    for number in 0..10u8 {
        publisher.publish("t", [number], 1);
    }

    for number in 0..5u8 {
        client.expect_message("t", [number]);
    }

    client.cut();

    let resume = Connect::v5("client").clean(false).expiry(600);
    let mut client = server.resume(&resume.clone().receive_maximum(2));
    client.expect_message("t", [0]);
    client.expect_message("t", [1]);
    client.expect_nothing();
    client.cut();

    let mut client = server.resume(&resume);
    for number in 0..10u8 {
        let message = client.expect_message("t", [number]);
        assert_eq!(message.dup, number < 5, "{message:?}");
    }

    client.expect_nothing();
}

/// Covers: v5:MQTT-3.3.4-9
#[test]
fn mqtt_3_3_4_9_retained_messages_keep_to_receive_maximum() {
    let server = broker();
    let mut publisher = server.client("publisher");
    for number in 0..10u8 {
        publisher.retain(&format!("t/{number}"), "r", 1);
    }
    let mut client = server.connect(&Connect::v5("client").receive_maximum(3));
    client.subscribe("t/#", 1);
    let mut held: Vec<_> = (0..3).map(|_| client.expect_publish()).collect();
    client.expect_nothing();
    for _ in 0..7 {
        let message = held.remove(0);
        client.acknowledge(&message);
        held.push(client.expect_publish());
    }
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.3.4-10, v5:MQTT-4.9.0-3, v5:MQTT-4.9.0-2, NN5-118
#[test]
fn mqtt_3_3_4_10_without_quota_only_publish_waits() {
    let server = broker();
    let (mut client, mut publisher) = pair(&server, 1);
    publisher.publish("t", "held", 1);
    publisher.publish("t", "waits", 1);

    let held = client.expect_message("t", "held");
    client.expect_nothing();
    client.send(Subscribe::new(500).filter("u", 0).bytes());
    client.expect_suback(500);
    client.send(unsubscribe(5, 501, &props(), &["nothing"]));
    client.expect_unsuback(501);
    client.send(Publish::new("v", "p").qos(1, 502).bytes());
    client.expect_ack(Kind::Puback, 502);
    client.send(Publish::new("v", "p").qos(2, 503).bytes());
    client.expect_ack(Kind::Pubrec, 503);
    client.send(ack(Kind::Pubrel, 503));
    client.expect_ack(Kind::Pubcomp, 503);
    client.send(ack(Kind::Pubrec, 999));
    client.expect_ack(Kind::Pubrel, 999);
    client.expect_nothing();
    client.acknowledge(&held);
    assert_eq!(client.receive().text(), "waits");
}

/// Covers: v5:MQTT-4.9.0-2, NN5-118
#[test]
fn nn5_118_qos_0_flows_while_the_quota_is_used_up() {
    let server = broker();
    let (mut client, mut publisher) = pair(&server, 1);
    publisher.publish("t", "held", 1);
    client.expect_message("t", "held");
    publisher.publish("t", "waits", 1);
    client.subscribe("u", 0);
    publisher.publish("u", "flows", 0);
    client.expect_message("u", "flows");
    client.expect_nothing();
}

/// Covers: NN5-117, NN5-092, v5:MQTT-4.9.0-1
#[test]
fn nn5_117_stray_acknowledgements_do_not_raise_the_quota() {
    let server = broker();
    let (mut client, mut publisher) = pair(&server, 2);
    for id in [1, 2, 999] {
        client.send(ack(Kind::Puback, id));
        client.send(ack(Kind::Pubcomp, id));
        client.send(ack_code(Kind::Pubcomp, id, 0x92));
    }

    client.expect_nothing();
    for number in 0..6u8 {
        publisher.publish("t", [number], 2);
    }

    let first = client.expect_message("t", [0]);
    let second = client.expect_message("t", [1]);

    // None of these ends a QoS 2 exchange that has not got its PUBREC.
    client.expect_nothing();
    client.send(ack(Kind::Pubcomp, 998));
    client.send(ack(Kind::Puback, 997));
    client.expect_nothing();
    client.send(ack(Kind::Pubrec, first.id));
    client.expect_ack(Kind::Pubrel, first.id);
    client.send(ack(Kind::Pubcomp, first.id));
    client.send(ack(Kind::Pubcomp, first.id));
    client.expect_message("t", [2]);
    client.expect_nothing();
    client.acknowledge(&second);
    client.expect_message("t", [3]);
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.3.4-9
#[test]
fn mqtt_3_3_4_9_the_broker_has_a_limit_of_its_own() {
    let server = broker_set(&[("limits.inflight", "4")]);
    let mut client = server.client("client");
    client.subscribe("t", 1);
    let mut publisher = server.client("publisher");
    for number in 0..10u8 {
        publisher.publish("t", [number], 1);
    }
    let first = client.expect_message("t", [0]);
    for number in 1..4u8 {
        client.expect_message("t", [number]);
    }
    client.expect_nothing();
    client.acknowledge(&first);
    client.expect_message("t", [4]);
    client.expect_nothing();
}
