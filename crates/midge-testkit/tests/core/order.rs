//! What waits is not overtaken on any of the short ways.

use midge::QoS;
use midge_core::MessageRef;
use midge_testkit::{Connect, Kind, Packet, Publish, Subscribe, ack};

use crate::world::{Client, START, hub};

/// Payloads, and the packet identifier of the last.
fn read(client: &mut Client) -> (Vec<String>, u16) {
    let mut texts = Vec::new();
    let mut last = 0;
    for packet in client.read() {
        if let Packet::Publish(message) = packet {
            texts.push(message.text());
            last = message.id;
        }
    }
    (texts, last)
}

/// Covers: v5:MQTT-4.6.0-5
#[test]
fn nothing_overtakes_what_waits_for_a_window_that_has_just_opened() {
    for run in [1, 3] {
        let hub = hub(|_| ());
        let mut client = Client::connect(&hub, &Connect::v5("client").receive_maximum(1));
        client.say(Subscribe::new(1).filter("t", 1).bytes());
        client.read();
        let mut publisher = Client::plain(&hub, "publisher");
        let message = |number: u16| Publish::new("t", number.to_string()).qos(1, number).bytes();
        // The route is remembered; the first is in flight, the others wait.
        for number in 1..4 {
            publisher.say(message(number));
        }
        let (texts, id) = read(&mut client);
        assert_eq!(texts, ["1"]);

        // There is room for the next, which has not left, when more come.
        client.say(ack(Kind::Puback, id));
        publisher.say((4..4 + run).flat_map(message).collect::<Vec<_>>());
        let mut expected = 2;
        while expected < 4 + run {
            let (texts, id) = read(&mut client);
            assert_eq!(texts, [expected.to_string()]);
            client.say(ack(Kind::Puback, id));
            expected += 1;
        }
        assert!(read(&mut client).0.is_empty());
    }
}

/// Covers: v5:MQTT-4.6.0-5
#[test]
fn nothing_overtakes_what_is_sent_again() {
    let hub = hub(|_| ());
    let connect = Connect::v5("client").clean(false).expiry(9);
    let mut client = Client::connect(&hub, &connect);
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();
    let mut publisher = Client::plain(&hub, "publisher");
    let message = |number: u16| Publish::new("t", number.to_string()).qos(1, number).bytes();
    for number in 1..4 {
        publisher.say(message(number));
    }
    assert_eq!(client.texts(), ["1", "2", "3"]);
    client.close();

    // It has not been written to yet when more come.
    let mut client = Client::accept(&hub);
    client.say(connect.bytes());
    publisher.say([message(4), message(5)].concat());
    assert_eq!(client.texts(), ["1", "2", "3", "4", "5"]);
}

/// Covers: v5:MQTT-4.6.0-5
#[test]
fn nothing_overtakes_what_was_retained() {
    let hub = hub(|_| ());
    let mut publisher = Client::plain(&hub, "publisher");
    let message = |text: &str, id| Publish::new("t", text).qos(1, id).bytes();
    publisher.say(Publish::new("t", "retained").qos(1, 1).retain().bytes());
    // The route is remembered from another subscriber on.
    let mut other = Client::plain(&hub, "other");
    other.say(Subscribe::new(1).filter("t", 1).bytes());
    publisher.say(message("a", 2));
    publisher.say(message("b", 3));

    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    publisher.say([message("c", 4), message("d", 5)].concat());
    publisher.say([message("e", 6), message("f", 7)].concat());
    let mut live = MessageRef::new("t", b"host");
    live.qos = QoS::AtLeastOnce;
    hub.publish_from_host(live, None, || START, false).unwrap();
    let expected = ["retained", "c", "d", "e", "f", "host"];
    assert_eq!(client.texts(), expected);
}

/// Covers: v5:MQTT-4.6.0-5
#[test]
fn what_is_sent_again_is_in_order_whatever_the_identifiers() {
    let hub = hub(|_| ());
    let connect = Connect::v5("client").clean(false).expiry(9);
    let mut client = Client::connect(&hub, &connect);
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();
    let mut publisher = Client::plain(&hub, "publisher");
    let mut send = |texts: std::ops::Range<u32>| {
        let message = |text: u32| Publish::new("t", text.to_string()).qos(1, 1).bytes();
        publisher.say(texts.flat_map(message).collect::<Vec<_>>());
        publisher.write();
    };
    // As long as one is not acknowledged the identifiers of others do not begin anew.
    send(100..101);
    client.read();
    // One by one and in runs, until later ones have the lower identifiers: those are used again in the
    // order in which they became free.
    let mut rounds = 0..1_000;

    loop {
        for texts in [0..1, 1..30, 30..31, 31..50, 50..61] {
            send(texts);
        }
        let packets = client.read();
        let id = |packet: &Packet| match packet {
            Packet::Publish(message) => message.id,
            other => panic!("{other:?}"),
        };
        let ids: Vec<u16> = packets.iter().map(id).collect();
        assert_eq!(ids.len(), 61);
        if !ids.is_sorted() {
            break;
        }
        let acks = ids.into_iter().rev().flat_map(|id| ack(Kind::Puback, id));
        client.say(acks.collect::<Vec<_>>());
        rounds.next().expect("identifiers in another order");
    }

    client.close();
    let mut client = Client::accept(&hub);
    client.say(connect.bytes());
    let expected: Vec<_> = (100..101)
        .chain(0..61)
        .map(|text: u32| text.to_string())
        .collect();
    assert_eq!(client.texts(), expected);
}

/// Covers: v5:MQTT-3.3.4-3
#[test]
fn a_member_of_a_group_gets_its_identifier_and_only_if_it_has_one() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    let request = |id, filter: &str| Subscribe::new(id).filter(filter, 1);
    client.say(request(1, "$share/g/numbered").subscription_id(7).bytes());
    client.say(request(2, "$share/g/plain").bytes());
    client.say(request(3, "both").subscription_id(8).bytes());
    client.say(request(4, "$share/g/both").subscription_id(9).bytes());
    client.read();

    for (topic, expected) in [
        ("numbered", vec![vec![7]]),
        ("plain", vec![vec![]]),
        ("both", vec![vec![8], vec![9]]),
    ] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut message = MessageRef::new(topic, b"x");
            message.qos = qos;
            hub.publish_from_host(message, None, || START, false)
                .unwrap();
            let mut ids: Vec<_> = (client.read().into_iter())
                .map(|packet| match packet {
                    Packet::Publish(message) => message.props.subscription_ids(),
                    other => panic!("{other:?}"),
                })
                .collect();
            ids.sort();
            assert_eq!(ids, expected, "{topic}, {qos:?}");
        }
    }
}
