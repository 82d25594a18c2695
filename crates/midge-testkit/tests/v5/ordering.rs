//! Chapter 4.6: message ordering.

use std::collections::HashMap;

use midge::{Handover, Stop};
use midge_testkit::{Connect, Kind, Message, Packet, Publish, Subscribe, ack};

use crate::common::{broker, broker_set, broker_with};

/// Publishers, topics and QoS of the big test.
const PUBLISHERS: u8 = 2;
const TOPICS: u8 = 3;
const EACH: u16 = 300;

/// What is to be ascending: the numbers of one publisher on one topic with one QoS.
type Stream = (u8, u8, u8);

/// Checks that numbers ascend once what was sent again is left out, and that of QoS 1 and 2 none
/// is missing.
#[derive(Default)]
struct Order(HashMap<Stream, Vec<u16>>);

impl Order {
    #[track_caller]
    fn note(&mut self, message: &Message) {
        let [publisher, topic, qos, high, low] = message.payload[..] else {
            panic!("{message:?}");
        };
        let number = u16::from_be_bytes([high, low]);
        let seen = self.0.entry((publisher, topic, qos)).or_default();
        if message.dup && seen.contains(&number) {
            return;
        }
        let last = seen.last().copied();
        assert!(
            last < Some(number),
            "{number} behind {last:?} of {publisher} {topic} {qos}"
        );
        seen.push(number);
    }

    fn is_complete(&self) -> bool {
        let streams = self.0.iter().filter(|((_, _, qos), _)| *qos > 0);
        let whole = streams
            .filter(|(_, seen)| seen.len() == usize::from(EACH))
            .count();
        whole == usize::from(PUBLISHERS * TOPICS * 2)
    }
}

/// Covers: v5:MQTT-4.6.0-5, v5:MQTT-4.6.0-6, NN5-112, NN5-135
#[test]
fn mqtt_4_6_0_5_messages_of_a_publisher_arrive_in_order() {
    for maximum in [1, 10, 65_535] {
        let server = broker();
        let listener = server.listener();
        let connect = Connect::v5("subscriber").clean(false).expiry(600);
        let connect = connect.receive_maximum(maximum).topic_alias_maximum(2);
        let mut client = server.begin(&connect);
        client.subscribe("t/#", 2);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                std::thread::spawn(move || {
                    let name = format!("publisher {publisher}");
                    let mut client = midge_testkit::Client::connect_v5(listener, &name);
                    for number in 0..EACH {
                        for topic in 0..TOPICS {
                            for qos in 0..3 {
                                let [high, low] = number.to_be_bytes();
                                let payload = [publisher, topic, qos, high, low];
                                client.publish(&format!("t/{topic}"), payload, qos);
                            }
                        }
                    }
                })
            })
            .collect();

        let mut order = Order::default();
        let mut received = 0u32;
        while !order.is_complete() {
            let message = match client.recv() {
                Packet::Publish(message) => message,
                Packet::Ack(release) => {
                    // Of an exchange whose end was lost with its connection.
                    assert_eq!(release.kind, Kind::Pubrel);
                    client.send(ack(Kind::Pubcomp, release.id));
                    continue;
                }
                other => panic!("{other:?}"),
            };
            order.note(&message);
            received += 1;
            if received.is_multiple_of(1000) {
                // Gone without acknowledging, and back.
                drop(client);
                client = server.resume(&connect);
            } else {
                client.acknowledge(&message);
            }
        }
        for publisher in publishers {
            publisher.join().expect("a publisher");
        }
    }
}

/// Covers: NN5-113, v5:MQTT-4.6.0-5
#[test]
fn nn5_113_with_one_message_in_flight_nothing_is_ever_passed() {
    let server = broker();
    let connect = Connect::v5("client")
        .clean(false)
        .expiry(600)
        .receive_maximum(1);
    let mut client = server.begin(&connect);
    client.subscribe("t", 1);

    let mut publisher = server.client("publisher");
    for number in 0..30u8 {
        publisher.publish("t", [number], 1);
    }

    for number in 0..30u8 {
        let mut message = client.expect_message("t", [number]);
        for _ in 0..number % 3 {
            client.cut();
            client = server.resume(&connect);
            message = client.expect_message("t", [number]);
            assert!(message.dup, "{message:?}");
        }
        client.acknowledge(&message);
    }

    client.expect_nothing();
}

/// Covers: NN5-114, v5:MQTT-4.6.0-1
#[test]
fn nn5_114_what_was_sent_before_comes_before_what_waits() {
    let server = broker();
    let connect = Connect::v5("client")
        .clean(false)
        .expiry(600)
        .receive_maximum(4);
    let mut client = server.begin(&connect);
    client.subscribe("t", 2);

    let mut publisher = server.client("publisher");
    for number in 0..10u8 {
        publisher.publish("t", [number], 1 + number % 2);
    }

    let sent: Vec<Message> = (0..4u8)
        .map(|number| client.expect_message("t", [number]))
        .collect();

    // The second and the third are done, so two more were sent.
    client.acknowledge(&sent[2]);
    client.acknowledge(&sent[1]);
    client.expect_message("t", [4]);
    client.expect_message("t", [5]);
    client.cut();
    for number in 10..12u8 {
        publisher.publish("t", [number], 1);
    }

    let mut client = server.resume(&connect);
    for number in [0, 3, 4, 5, 6, 7, 8, 9, 10, 11] {
        let message = client.expect_message("t", [number]);
        assert_eq!(message.dup, number < 6, "{message:?}");
        client.acknowledge(&message);
    }

    client.expect_nothing();
}

/// Covers: v5:MQTT-4.6.0-5
#[test]
fn mqtt_4_6_0_5_a_refused_or_expired_message_leaves_the_order_alone() {
    let server = broker();
    let connect = Connect::v5("client").receive_maximum(1);
    let mut client = server.connect(&connect);
    client.subscribe("t", 2);

    let mut publisher = server.client("publisher");
    for number in 0..9u8 {
        let publish = Publish::new("t", [number]).qos(1 + number % 2, 0);
        let publish = if number % 3 == 1 {
            publish.expiry(1)
        } else {
            publish
        };
        publisher.deliver(&publish);
    }

    server.pass(2);
    for number in [0, 2, 3, 5, 6, 8] {
        let message = client.expect_message("t", [number]);
        if number == 5 {
            let kind = if message.qos == 1 {
                Kind::Puback
            } else {
                Kind::Pubrec
            };
            client.send(midge_testkit::ack_code(kind, message.id, 0x80));
        } else if message.qos == 1 {
            client.send(ack(Kind::Puback, message.id));
        } else {
            client.acknowledge(&message);
        }
    }

    client.expect_nothing();
}

/// Covers: v5:MQTT-4.6.0-5, NN5-034
#[test]
fn mqtt_4_6_0_5_what_is_queued_is_not_overtaken_by_what_is_live() {
    let server = broker_set(&[("mqtt.queue_qos0_offline", "true")]);
    let connect = Connect::v5("client")
        .clean(false)
        .expiry(600)
        .receive_maximum(1);
    let mut client = server.begin(&connect);
    client.subscribe("t", 1);
    client.disconnect();

    let mut publisher = server.client("publisher");
    publisher.publish("t", "first of QoS 1", 1);
    publisher.publish("t", "second of QoS 1", 1);
    publisher.publish("t", "first of QoS 0", 0);

    let mut client = server.resume(&connect);
    let first = client.expect_message("t", "first of QoS 1");
    publisher.publish("t", "second of QoS 0", 0);
    publisher.publish("t", "third of QoS 1", 1);
    client.barrier();
    client.acknowledge(&first);

    let mut arrived = [Vec::new(), Vec::new()];
    for message in client.drain() {
        arrived[usize::from(message.qos)].push(message.text());
    }

    assert_eq!(arrived[0], ["first of QoS 0", "second of QoS 0"]);
    assert_eq!(arrived[1], ["second of QoS 1", "third of QoS 1"]);
}

/// Covers: v5:MQTT-4.6.0-5, NN5-034
#[test]
fn mqtt_4_6_0_5_what_waited_before_a_restart_is_not_overtaken_after_it() {
    let handover = Handover::new();
    let keeping = || {
        broker_with(|builder| {
            let builder = builder.handover(handover.clone());
            builder.config(|config| config.mqtt.queue_qos0_offline = true)
        })
    };
    let connect = Connect::v5("client")
        .clean(false)
        .expiry(6000)
        .receive_maximum(1);

    let first = keeping();
    let mut client = first.begin(&connect);
    client.subscribe("t", 1);
    client.disconnect();
    let mut publisher = first.client("publisher");
    publisher.publish("t", "first of QoS 1", 1);
    publisher.publish("t", "second of QoS 1", 1);
    publisher.publish("t", "first of QoS 0", 0);
    first.stop(Stop::Now).expect("a stop");
    drop(first);

    let second = keeping();
    let mut publisher = second.client("publisher");
    let mut client = second.resume(&connect);
    let held = client.expect_message("t", "first of QoS 1");
    publisher.publish("t", "second of QoS 0", 0);
    client.barrier();
    client.acknowledge(&held);

    let arrived: Vec<String> = (client.drain().iter())
        .filter(|message| message.qos == 0)
        .map(|message| message.text().to_owned())
        .collect();
    assert_eq!(arrived, ["first of QoS 0", "second of QoS 0"]);
}

/// Covers: v5:MQTT-4.6.0-5, v5:MQTT-4.6.0-6
#[test]
fn mqtt_4_6_0_5_a_retained_message_comes_before_what_was_published_later() {
    let server = broker();
    let mut publisher = server.client("publisher");
    publisher.retain("r", "retained", 1);
    let mut client = server.connect(&Connect::v5("client").receive_maximum(1));
    client.subscribe("t", 1);
    publisher.publish("t", "held", 1);
    let held = client.expect_message("t", "held");
    client.subscribe("r", 1);
    publisher.publish("r", "live", 1);
    client.expect_nothing();
    client.acknowledge(&held);
    assert_eq!(client.receive().text(), "retained");
    assert_eq!(client.receive().text(), "live");
    client.expect_nothing();
}

/// Covers: v5:MQTT-4.6.0-5, v5:MQTT-4.6.0-6
#[test]
fn mqtt_4_6_0_5_many_retained_messages_come_before_what_was_published_later() {
    const COUNT: u16 = 4000;

    let server = broker();
    let mut publisher = server.client("publisher");
    for number in 0..COUNT {
        let mut payload = vec![b'x'; 4000];
        payload[0] = b'r';
        publisher.retain(&format!("r/{number}"), payload, 0);
    }

    // 16 MB do not fit into the sockets: they wait while this client reads nothing.
    let mut client = server.client("client");
    client.send(Subscribe::new(1).filter("r/#", 0).bytes());

    let mut other = server.client("other");
    while server.subscriptions(Some("client")).is_empty() {
        other.expect_nothing();
    }

    for number in 0..COUNT {
        publisher.publish(&format!("r/{number}"), "live", 0);
    }

    assert_eq!(client.expect_suback(1).codes, [0]);

    let mut retained = vec![false; usize::from(COUNT)];
    for message in client.drain() {
        let number: usize = message.topic["r/".len()..].parse().expect("a number");
        if message.retain {
            retained[number] = true;
        } else {
            assert!(retained[number], "the live message of {number} came first");
        }
    }

    assert!(retained.iter().all(|came| *came));
}
