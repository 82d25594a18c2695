//! Chapter 4.6: message ordering.

use midge_testkit::{Kind, Message, Packet, Publish, Subscribe, ack};

use crate::common::broker;
use crate::{client, kept, watcher};

/// Covers: v3:MQTT-4.6.0-1, v3:MQTT-4.4.0-1
#[test]
fn mqtt311_4_6_0_1_messages_are_sent_again_in_their_order() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut subscriber = server.begin(&kept("client"));
    subscriber.subscribe("t", 2);
    for number in 0..30u8 {
        publisher.publish("t", [number], 1 + number % 2);
    }

    let sent: Vec<Message> = (0..30).map(|_| subscriber.expect_publish()).collect();

    // Some in the middle are done, out of order.
    for number in [17, 4, 5, 29, 0] {
        subscriber.acknowledge(&sent[number]);
    }

    subscriber.cut();
    publisher.publish("t", [30], 1);
    for _ in 0..2 {
        let mut subscriber = server.resume(&kept("client"));
        for number in (0..31).filter(|number| ![17, 4, 5, 29, 0].contains(number)) {
            let message = subscriber.expect_message("t", [number as u8]);
            if number < 30 {
                assert!(message.dup && message.id == sent[number].id, "{message:?}");
            }
        }
        subscriber.cut();
    }
}

/// Covers: v3:MQTT-4.6.0-2, v3:MQTT-4.6.0-3
#[test]
fn mqtt311_4_6_0_2_acknowledgements_follow_the_order_of_the_messages() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let ids: Vec<u16> = (0..200).map(|n| n * 37 % 1009 + 1).collect();
    for qos in [1, 2] {
        let kind = if qos == 1 { Kind::Puback } else { Kind::Pubrec };
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|id| Publish::new("t", "p").qos(qos, *id).bytes_for(4))
            .collect();
        publisher.send(bytes);
        for id in &ids {
            publisher.expect_ack(kind, *id);
        }
    }
}

/// Covers: v3:MQTT-4.6.0-4
#[test]
fn mqtt311_4_6_0_4_pubrels_follow_the_order_of_pubrecs() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut subscriber = server.begin(&kept("client"));
    subscriber.subscribe("t", 2);
    for number in 0..20u8 {
        publisher.publish("t", [number], 2);
    }

    let ids: Vec<u16> = (0..20).map(|_| subscriber.expect_publish().id).collect();
    let order: Vec<u16> = (0..20).map(|n| ids[n * 7 % 20]).collect();
    let bytes: Vec<u8> = order.iter().flat_map(|id| ack(Kind::Pubrec, *id)).collect();
    subscriber.send(bytes);
    for id in &order {
        subscriber.expect_ack(Kind::Pubrel, *id);
    }

    subscriber.cut();

    // None is lost with the connection.
    let mut subscriber = server.resume(&kept("client"));
    let mut again: Vec<u16> = (0..20)
        .map(|_| match subscriber.recv() {
            Packet::Ack(ack) if ack.kind == Kind::Pubrel => ack.id,
            other => panic!("{other:?}"),
        })
        .collect();
    again.sort_unstable();

    let mut ids = ids;
    ids.sort_unstable();
    assert_eq!(again, ids);
}

/// Covers: v3:MQTT-4.6.0-5, v3:MQTT-4.6.0-6
#[test]
fn mqtt311_4_6_0_6_messages_of_one_client_arrive_in_order() {
    let server = broker();
    let mut plain = client(&server, "plain");
    plain.subscribe("t/1", 2);

    let mut wild = client(&server, "wild");
    wild.request(&Subscribe::new(0).filter("t/+", 2).filter("t/#", 1));

    let mut publisher = client(&server, "publisher");
    for qos in 0..3 {
        let numbers = 0..150u16;
        let bytes: Vec<u8> = numbers
            .clone()
            .flat_map(|number| {
                Publish::new("t/1", number.to_be_bytes())
                    .qos(qos, number + 1)
                    .bytes_for(4)
            })
            .collect();
        publisher.send(bytes);
        if qos == 2 {
            // Released in another order, which changes nothing about the messages.
            for number in numbers.clone().rev() {
                publisher.send(ack(Kind::Pubrel, number + 1));
            }
        }
        publisher.barrier();
        for subscriber in [&mut plain, &mut wild] {
            for number in numbers.clone() {
                let message = subscriber.receive();
                assert_eq!(message.payload, number.to_be_bytes(), "QoS {qos}");
                assert_eq!(message.qos, qos);
            }
        }
    }
}

/// Covers: v3:MQTT-4.6.0-6, v3:MQTT-4.6.0-5
#[test]
fn mqtt311_4_6_0_6_mixed_qos_is_held_in_one_order_for_an_absent_session() {
    let server = broker();
    let mut subscriber = server.begin(&kept("client"));
    subscriber.subscribe("#", 2);
    subscriber.disconnect();

    let mut publishers: Vec<_> = (0..3)
        .map(|number| client(&server, &format!("publisher {number}")))
        .collect();
    let mut live = watcher(&server, "#");
    let mut expected = Vec::new();
    for number in 0..60u8 {
        let publisher = &mut publishers[usize::from(number % 3)];
        publisher.publish(
            ["a", "b", "c/d"][usize::from(number / 2 % 3)],
            [number],
            1 + number % 2,
        );
        expected.push(vec![number]);
    }

    let payloads = |messages: Vec<Message>| -> Vec<Vec<u8>> {
        messages
            .into_iter()
            .map(|message| message.payload)
            .collect()
    };

    assert_eq!(payloads(live.drain()), expected);

    let mut subscriber = server.resume(&kept("client"));
    assert_eq!(payloads(subscriber.drain()), expected);
}
