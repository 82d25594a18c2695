//! Retained messages.

use midge_testkit::{Client, Connect, Kind, Message, Publish, Subscribe, ack, id};

use crate::common::{Server, broker, props};

/// What a new subscriber finds.
#[track_caller]
fn found(server: &Server, filter: &str) -> Vec<Message> {
    let mut client = server.client("finder");
    client.subscribe(filter, 2);
    let found = client.drain();
    assert!(found.iter().all(|message| message.retain), "{found:?}");
    client.disconnect();
    found
}

/// Subscribes with an option byte and returns the retained messages that came.
#[track_caller]
fn again(client: &mut Client, filter: &str, options: u8) -> Vec<Message> {
    client.request(&Subscribe::new(0).filter(filter, options));
    client.drain()
}

/// Covers: v5:MQTT-3.3.1-5, NN5-056
#[test]
fn mqtt_3_3_1_5_a_retained_message_replaces_the_one_before() {
    let server = broker();
    let mut client = server.client("publisher");
    let mut number = 0;

    for first in 0..3 {
        for second in 0..3 {
            for qos in [first, second] {
                number += 1;
                let block = props().user("number", number.to_string());
                client.deliver(
                    &Publish::new("t", [number])
                        .qos(qos, 0)
                        .retain()
                        .props(block),
                );
                let found = found(&server, "t");
                assert_eq!(found.len(), 1);
                assert_eq!((found[0].qos, &found[0].payload[..]), (qos, &[number][..]));
                assert_eq!(
                    found[0].props.users(),
                    [("number", number.to_string().as_str())]
                );
            }
        }
    }
}

/// Covers: v5:MQTT-3.3.1-5
#[test]
fn mqtt_3_3_1_5_a_repeated_qos_2_message_does_not_replace_a_newer_one() {
    let server = broker();
    let mut client = server.client("client");
    let old = Publish::new("t", "old").qos(2, 7).retain();
    client.send(old.bytes());
    client.expect_ack(Kind::Pubrec, 7);
    client.send(ack(Kind::Pubrel, 7));
    client.expect_ack(Kind::Pubcomp, 7);
    client.send(Publish::new("t", "new").qos(2, 8).retain().bytes());
    client.expect_ack(Kind::Pubrec, 8);
    server.client("other").retain("t", "newest", 1);
    client.send(Publish::new("t", "new").qos(2, 8).retain().dup().bytes());
    client.expect_ack(Kind::Pubrec, 8);
    let text = found(&server, "t")[0].text();
    assert_eq!(text, "newest");
}

/// Covers: v5:MQTT-3.3.1-6, v5:MQTT-3.3.1-7
#[test]
fn mqtt_3_3_1_6_an_empty_retained_message_removes() {
    let server = broker();
    let mut live = server.client("live");
    live.request(&Subscribe::new(0).filter("t/#", 0x08 | 2));

    let mut client = server.client("publisher");
    for qos in 0..3 {
        client.retain("t/1", "r", 1);
        live.receive();
        let empty = Publish::new("t/1", "")
            .qos(qos, 0)
            .retain()
            .props(props().user("n", "v"));
        client.deliver(&empty);
        let message = live.receive();
        assert!(
            message.payload.is_empty() && message.retain && message.qos == qos,
            "{message:?}"
        );
        assert!(found(&server, "t/#").is_empty());
        client.retain("t/nothing", "", qos);
        live.receive();
        assert!(found(&server, "#").is_empty());
    }
}

/// Covers: v5:MQTT-3.3.1-8
#[test]
fn mqtt_3_3_1_8_a_plain_message_leaves_the_retained_one_alone() {
    let server = broker();
    let mut client = server.client("publisher");
    client.retain("t", "A", 1);
    for qos in 0..3 {
        client.publish("t", "B", qos);
        client.publish("t", "", qos);
        client.publish("u", "C", qos);
    }
    let found = found(&server, "#");
    assert_eq!((found.len(), found[0].text().as_str()), (1, "A"));
}

/// Covers: v5:MQTT-3.3.1-9, v5:MQTT-3.3.1-10, v5:MQTT-3.3.1-11
#[test]
fn mqtt_3_3_1_9_retain_handling_says_when_retained_messages_are_sent() {
    let server = broker();
    server.client("publisher").retain("t", "r", 1);

    for (handling, new, known) in [(0x00, 1, 1), (0x10, 1, 0), (0x20, 0, 0)] {
        let connect = Connect::v5("client").expiry(600);
        let mut client = server.begin(&connect);
        assert_eq!(again(&mut client, "t", handling).len(), new, "first time");
        assert_eq!(
            again(&mut client, "t", handling).len(),
            known,
            "second time"
        );
        assert_eq!(
            again(&mut client, "t", handling | 1).len(),
            known,
            "another QoS"
        );
        assert_eq!(
            again(&mut client, "+", handling).len(),
            new,
            "another filter"
        );

        client.unsubscribe(&["t"]);
        assert_eq!(
            again(&mut client, "t", handling).len(),
            new,
            "after UNSUBSCRIBE"
        );
        client.disconnect();
        let mut client = server.resume(&connect);
        assert_eq!(
            again(&mut client, "t", handling).len(),
            known,
            "in a resumed session"
        );
        server.client("publisher").publish("t", "live", 0);
        assert_eq!(client.receive().text(), "live");
        server.client("publisher").retain("t", "r", 1);
        assert_eq!(client.receive().text(), "r");
        client.expect_nothing();
    }
}

/// Covers: v5:MQTT-3.3.1-9
#[test]
fn mqtt_3_3_1_9_every_matching_retained_message_is_sent() {
    let server = broker();
    let mut client = server.client("publisher");
    let topics = ["a", "a/b", "a/b/c", "a/", "/a", "b/b", "b"];
    for topic in topics {
        client.retain(topic, topic, 0);
    }

    for (filter, mut expected) in [
        ("#", topics.to_vec()),
        ("a/#", vec!["a", "a/b", "a/b/c", "a/"]),
        ("+", vec!["a", "b"]),
        ("+/b", vec!["a/b", "b/b"]),
        ("a/+", vec!["a/b", "a/"]),
        ("/+", vec!["/a"]),
        ("+/+", vec!["a/b", "a/", "/a", "b/b"]),
        ("+/b/#", vec!["a/b", "a/b/c", "b/b"]),
        ("a/b/c/#", vec!["a/b/c"]),
        ("nothing/#", vec![]),
    ] {
        let mut topics: Vec<String> = found(&server, filter)
            .into_iter()
            .map(|message| message.topic)
            .collect();
        topics.sort_unstable();
        expected.sort_unstable();
        assert_eq!(topics, expected, "{filter}");
    }
}

/// Covers: v5:MQTT-3.3.1-12, v5:MQTT-3.3.1-13, NN5-058
#[test]
fn mqtt_3_3_1_12_retain_as_published_rules_live_messages() {
    let server = broker();
    let mut publisher = server.client("publisher");

    for (options, kept) in [(0x00, false), (0x08, true)] {
        let connect = Connect::v5("client").expiry(600);
        let mut client = server.begin(&connect);
        client.request(&Subscribe::new(0).filter("t", options | 2));
        for qos in 0..3 {
            publisher.publish("t", "p", qos);
            assert!(!client.receive().retain);
            publisher.retain("t", "r", qos);
            assert_eq!(client.receive().retain, kept);
        }
        let repeated = again(&mut client, "t", options | 2);
        assert!(repeated.len() == 1 && repeated[0].retain, "{repeated:?}");
        client.disconnect();
        publisher.retain("t", "queued", 1);
        publisher.publish("t", "queued", 1);
        let mut client = server.resume(&connect);
        assert_eq!(client.receive().retain, kept);
        assert!(!client.receive().retain);
        client.expect_nothing();
        publisher.retain("t", "", 0);
    }
}

/// Covers: v5:MQTT-3.3.1-12, v5:MQTT-3.3.1-13
#[test]
fn mqtt_3_3_1_12_overlapping_filters_keep_retain_if_one_of_them_says_so() {
    let server = broker();
    let mut client = server.client("client");
    client.request(&Subscribe::new(0).filter("t/+", 0x00).filter("t/#", 0x08));
    client.retain("t/x", "r", 0);
    assert!(client.expect_message("t/x", "r").retain);
    client.expect_nothing();
}

/// Covers: NN5-059, v5:MQTT-3.8.4-8, v5:MQTT-3.3.2-6
#[test]
fn nn5_059_a_retained_message_comes_with_everything() {
    let server = broker();
    let block = props()
        .u32(id::MESSAGE_EXPIRY_INTERVAL, 60)
        .text(id::CONTENT_TYPE, "c")
        .text(id::RESPONSE_TOPIC, "r")
        .text(id::CORRELATION_DATA, "d")
        .u8(id::PAYLOAD_FORMAT_INDICATOR, 1)
        .user("n", "v");
    let retained = Publish::new("t", "p").qos(2, 0).retain().props(block);
    server.client("publisher").deliver(&retained);
    server.pass(20);

    for qos in 0..3 {
        let mut client = server.client("client");
        client.request(&Subscribe::new(0).filter("t", qos).subscription_id(5));
        let message = client.receive();
        assert!(
            message.retain && message.qos == qos && message.payload == b"p",
            "{message:?}"
        );
        let props = &message.props;
        assert_eq!(props.subscription_ids(), [5]);
        assert_eq!(props.number(id::MESSAGE_EXPIRY_INTERVAL), Some(40));
        assert_eq!(props.text(id::CONTENT_TYPE), Some("c"));
        assert_eq!(props.text(id::RESPONSE_TOPIC), Some("r"));
        assert_eq!(props.binary(id::CORRELATION_DATA), Some(&b"d"[..]));
        assert_eq!(props.number(id::PAYLOAD_FORMAT_INDICATOR), Some(1));
        assert_eq!(props.users(), [("n", "v")]);
    }
}

/// Covers: NN5-061
#[test]
fn nn5_061_no_local_does_not_hide_ones_own_retained_message() {
    let server = broker();
    let mut client = server.client("client");
    client.retain("t", "mine", 1);
    client.request(&Subscribe::new(0).filter("t", 0x04));
    client.expect_message("t", "mine");
    client.retain("t", "mine too", 1);
    client.expect_nothing();
}

/// Covers: NN5-094
#[test]
fn nn5_094_suback_comes_before_the_retained_messages() {
    let server = broker();
    let mut client = server.client("client");
    for number in 0..10u8 {
        client.retain(&format!("t/{number}"), [number], 1);
    }
    client.send(Subscribe::new(4).filter("t/#", 0).filter("t/1", 0).bytes());
    assert_eq!(client.expect_suback(4).codes, [0, 0]);
    for _ in 0..11 {
        client.expect_publish();
    }
    client.expect_nothing();
}
