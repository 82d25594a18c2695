//! Chapter 3.3: PUBLISH.

use midge::{DropReason, Event, EventMask};
use midge_testkit::{Connect, DEADLINE, Kind, Publish, Subscribe, Will, id};

use crate::common::{Holder, broker, broker_set, props};

/// Covers: v5:MQTT-3.3.1-1, v5:MQTT-4.3.2-2, v5:MQTT-4.3.3-2, v5:MQTT-4.3.3-3
#[test]
fn mqtt_3_3_1_1_dup_marks_a_publish_that_was_sent_before() {
    let server = broker();
    let connect = Connect::v5("client").clean(false).expiry(600);
    let mut publisher = server.client("publisher");
    publisher.retain("r", "retained", 1);

    let mut client = server.begin(&connect);
    client.subscribe("t", 2);
    client.disconnect();
    publisher.publish("t", "offline", 1);

    let mut client = server.resume(&connect);
    publisher.publish("t", "live 1", 1);
    publisher.publish("t", "live 2", 2);
    client.send(Subscribe::new(9).filter("r", 1).bytes());

    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(client.expect_publish());
    }

    client.expect_suback(9);
    first.push(client.expect_publish());
    assert!(first.iter().all(|message| !message.dup), "{first:?}");
    client.cut();

    let mut client = server.resume(&connect);
    for before in first {
        let again = client.expect_publish();
        assert!(again.dup, "{again:?}");
        assert_eq!(
            (again.id, again.qos, again.retain),
            (before.id, before.qos, before.retain)
        );
        assert_eq!((again.topic, again.payload), (before.topic, before.payload));
    }

    client.expect_nothing();
}

/// Covers: v5:MQTT-3.3.1-2, NN5-148
#[test]
fn mqtt_3_3_1_2_qos_0_has_no_dup() {
    let server = broker();
    let mut watcher = server.watcher("t");
    for retain in [0x00, 0x01] {
        let mut bytes = Publish::new("t", "p").bytes();
        bytes[0] = 0x38 | retain;
        server.refuses(Holder::Publish, &bytes, &[0x81]);
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.3.1-3, NN5-148
#[test]
fn mqtt_3_3_1_3_dup_of_the_publisher_is_not_forwarded() {
    let server = broker();
    for granted in 0..3 {
        let mut subscriber = server.client("subscriber");
        subscriber.subscribe("t", granted);
        let mut publisher = server.client("publisher");
        for qos in 1..3 {
            publisher.deliver(&Publish::new("t", "p").qos(qos, 0).dup());
            let message = subscriber.receive();
            assert!(
                !message.dup && message.qos == qos.min(granted),
                "{message:?}"
            );
        }
    }
}

/// Covers: v5:MQTT-3.3.1-4
#[test]
fn mqtt_3_3_1_4_qos_3_is_malformed() {
    let server = broker();
    let mut watcher = server.watcher("t");
    for flags in [0x06, 0x07, 0x0e, 0x0f] {
        let mut bytes = Publish::new("t", "p").qos(1, 1).bytes();
        bytes[0] = 0x30 | flags;
        server.refuses(Holder::Publish, &bytes, &[0x81]);
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.3.2-1
#[test]
fn mqtt_3_3_2_1_the_topic_name_is_within_the_packet() {
    let server = broker();
    for body in [&[][..], &[0], &[0, 2, b'a'], &[0xff, 0xff, b'a', 0]] {
        let bytes = midge_testkit::packet(0x30, body);
        server.refuses(Holder::Publish, &bytes, &[0x81]);
    }
    for body in [&[0, 1, b'a'][..], &[0, 1, b'a', 0], &[0, 1, b'a', 0, 1]] {
        let bytes = midge_testkit::packet(0x32, body);
        server.refuses(Holder::Publish, &bytes, &[0x81]);
    }
}

/// Covers: v5:MQTT-3.3.2-2, v5:MQTT-4.7.0-1
#[test]
fn mqtt_3_3_2_2_a_topic_name_has_no_wildcards() {
    let server = broker();
    let mut watcher = server.watcher("#");
    for topic in ["a/+", "a/#", "#", "+", "a+b", "a#", "a/+/b"] {
        for qos in 0..3 {
            let bytes = Publish::new(topic, "p").qos(qos, 1).bytes();
            server.refuses(Holder::Publish, &bytes, &[0x90]);
        }
        let will = Connect::v5("will").will(Will::new(topic, "w"));
        server
            .say(will.bytes())
            .expect_closed_with(&[0x81, 0x82, 0x90]);
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.3.2-14
#[test]
fn mqtt_3_3_2_14_a_response_topic_has_no_wildcards() {
    let server = broker();
    let mut watcher = server.watcher("#");
    for topic in ["a/#", "a/+", "#", "a+"] {
        let block = props().text(id::RESPONSE_TOPIC, topic);
        server.refuses(Holder::Publish, &Holder::Publish.packet(&block), &[0x82]);
        server.refuses(Holder::Will, &Holder::Will.packet(&block), &[0x82]);
    }
    watcher.expect_nothing();
}

/// Covers: NN5-063, v5:MQTT-4.7.3-1
#[test]
fn nn5_063_an_empty_topic_wants_an_alias() {
    let server = broker();
    let mut watcher = server.watcher("#");
    for qos in 0..3 {
        let bytes = Publish::new("", "p").qos(qos, 1).bytes();
        server.refuses(Holder::Publish, &bytes, &[0x82]);
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.3.4-1, v5:MQTT-4.3.2-4, v5:MQTT-4.3.3-8, NN5-088
#[test]
fn mqtt_3_3_4_1_the_answer_depends_on_the_qos() {
    let server = broker();
    let mut client = server.client("client");
    client.send(Publish::new("t", "p").bytes());
    client.expect_nothing();
    client.send(Publish::new("t", "p").qos(1, 5).bytes());
    assert_eq!(client.expect_ack(Kind::Puback, 5).code, 0x10);
    client.expect_nothing();
    client.send(Publish::new("t", "p").qos(2, 6).bytes());
    assert_eq!(client.expect_ack(Kind::Pubrec, 6).code, 0x10);
    client.expect_nothing();

    // Any session that matches makes it a success, also one without a connection.
    let sleeper = Connect::v5("sleeper").expiry(60);
    let mut sleeping = server.connect(&sleeper);
    sleeping.subscribe("t", 1);
    for _ in 0..2 {
        client.send(Publish::new("t", "p").qos(1, 7).bytes());
        assert_eq!(client.expect_ack(Kind::Puback, 7).code, 0);
        client.send(Publish::new("t", "p").qos(2, 8).bytes());
        assert_eq!(client.expect_ack(Kind::Pubrec, 8).code, 0);
        client.send(midge_testkit::ack(Kind::Pubrel, 8));
        assert_eq!(client.expect_ack(Kind::Pubcomp, 8).code, 0);
        server.connect(&sleeper.clone().clean(false)).cut();
    }
}

/// Covers: v5:MQTT-3.3.4-2, v5:MQTT-3.3.4-3, v5:MQTT-3.3.4-4, v5:MQTT-3.3.4-5, NN5-080
#[test]
fn mqtt_3_3_4_2_overlapping_subscriptions_get_one_copy_with_the_highest_qos() {
    let server = broker();
    let filters = [("a/+", 0), ("a/b", 2), ("#", 1)];

    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut client = server.client("overlap");
        let mut other = server.client("other");
        other.request(&Subscribe::new(0).filter("a/b", 2).subscription_id(99));
        for index in order {
            let (filter, qos) = filters[index];
            client.request(
                &Subscribe::new(0)
                    .filter(filter, qos)
                    .subscription_id(index + 1),
            );
        }
        // A match without identifier adds none.
        client.subscribe("a/#", 0);
        let mut publisher = server.client("publisher");
        for qos in 0..3 {
            publisher.publish("a/b", "p", qos);
            let message = client.receive();
            assert_eq!(message.qos, qos);
            assert_eq!(message.props.subscription_ids(), [1, 2, 3], "{order:?}");
            assert_eq!(other.receive().props.subscription_ids(), [99]);
        }

        publisher.publish("a/c", "p", 2);
        let message = client.receive();
        assert_eq!(
            (message.qos, message.props.subscription_ids()),
            (1, vec![1, 3])
        );
        client.expect_nothing();
        other.expect_nothing();
    }
}

/// Covers: NN5-079, v5:MQTT-3.3.4-4
#[test]
fn nn5_079_equal_subscription_identifiers_are_repeated() {
    let server = broker();
    let mut client = server.client("client");
    let both = Subscribe::new(0)
        .filter("a/+", 0)
        .filter("a/#", 0)
        .subscription_id(7);
    client.request(&both);
    client.publish("a/b", "p", 0);
    assert_eq!(client.expect_publish().props.subscription_ids(), [7, 7]);
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.3.4-6
#[test]
fn mqtt_3_3_4_6_a_publish_of_a_client_has_no_subscription_identifier() {
    let server = broker();
    let mut watcher = server.watcher("#");
    let block = props().var(id::SUBSCRIPTION_IDENTIFIER, 1);
    server.refuses(Holder::Publish, &Holder::Publish.packet(&block), &[0x82]);
    watcher.expect_nothing();
}

/// Covers: NN5-064
#[test]
fn nn5_064_the_payload_format_is_checked_on_demand() {
    let text = |payload: &[u8], qos| {
        let format = props().u8(id::PAYLOAD_FORMAT_INDICATOR, 1);
        Publish::new("t", payload).qos(qos, 0).props(format)
    };

    let bad = [0xff, 0xfe];
    let server = broker();
    let mut watcher = server.watcher("t");
    let mut client = server.client("client");
    for qos in 0..3 {
        client.deliver(&text(&bad, qos));
        assert_eq!(watcher.receive().payload, bad);
    }

    let server = broker_set(&[("strict.payload_format", "true")]);
    let mut watcher = server.watcher("t");
    let mut client = server.client("client");
    for qos in 1..3 {
        assert_eq!(client.deliver(&text(&bad, qos)), 0x99);
        assert_eq!(client.deliver(&text("\u{e9}".as_bytes(), qos)), 0);
        assert_eq!(watcher.receive().text(), "\u{e9}");
    }

    client.send(text(&bad, 0).bytes());
    client.expect_disconnect(0x99);
    watcher.expect_nothing();
}

/// Covers: NN5-110
#[test]
fn nn5_110_clients_do_not_publish_to_reserved_topics() {
    let reserved = ["$SYS", "$SYS/x", "$share", "$share/g/x"];
    let free = [
        "$",
        "$foo",
        "$foo/x",
        "$SYSTEM",
        "$aws/things/t/shadow/update",
    ];

    for (option, refused, taken) in [
        ("false", &reserved[..], &free[..]),
        ("true", &[&reserved[..], &free].concat(), &[]),
    ] {
        let server = broker_set(&[("strict.dollar_publish", option)]);
        let mut watcher = server.client("watcher");
        let filters = ["$SYS/#", "$", "$foo/#", "$SYSTEM", "$aws/#"];
        let subscribe = |request: Subscribe, filter| request.filter(filter, 2);
        watcher.request(&filters.into_iter().fold(Subscribe::new(0), subscribe));
        for version in [4, 5] {
            let client_id = format!("client {version}");
            let mut client = server.connect(&Connect::new(version, client_id));
            for topic in refused {
                for qos in 1..3 {
                    let code = client.deliver(&Publish::new(topic, "p").qos(qos, 0).retain());
                    // Before 5.0 a client cannot be told.
                    let expected = if version == 5 { 0x87 } else { 0 };
                    assert_eq!(code, expected, "{topic}, {version}");
                }
                client.send(Publish::new(topic, "p").retain().bytes_for(version));
            }

            client.expect_nothing();
            watcher.expect_nothing();
            for topic in taken {
                for qos in 0..3 {
                    client.publish(topic, "p", qos);
                    watcher.expect_message(topic, "p");
                }
            }
        }
        // Each drop has its name, and none is silent.
        let dropped = |reason| server.stats().dropped_by(reason);
        let system = match option {
            "true" => 0,
            _ => 2 * 2 * 3,
        };
        let all = 2 * 3 * refused.len() as u64;
        assert_eq!(dropped(DropReason::ReservedTopic), system);
        assert_eq!(dropped(DropReason::NotAuthorized), all - system);
    }
}

/// Covers: NN5-110
#[test]
fn nn5_110_a_will_to_the_topics_of_the_broker_is_dropped_alone() {
    let server = broker();
    let events = server.events_with(EventMask::DROPPED, 16);
    let mut watcher = server.client("watcher");
    watcher.subscribe("$SYS/#", 2);
    let topic = "$SYS/broker/connection/bridge/state";
    for version in [3, 4, 5] {
        let client_id = format!("bridge {version}");
        let will = Will::new(topic, "0").qos(1).retain();
        let client = server.connect(&Connect::new(version, &client_id).will(will));
        let event = events.recv_timeout(DEADLINE).expect("a drop").event;
        let Event::Dropped {
            client_id: who,
            topic: of,
            reason,
            ..
        } = event
        else {
            panic!("{event:?}");
        };
        assert_eq!(who.as_deref(), Some(&*client_id));
        assert_eq!((&*of, reason), (topic, DropReason::ReservedTopic));
        client.cut();
    }
    watcher.expect_nothing();
    assert_eq!(server.stats().dropped_by(DropReason::ReservedTopic), 3);

    // What is refused with PUBLISH is refused with CONNECT.
    let strict = broker_set(&[("strict.dollar_publish", "true")]);
    for (server, topic) in [(&server, "$share/g/x"), (&strict, topic), (&strict, "$foo")] {
        let (_, connack) = server.answer(&Connect::v5("client").will(Will::new(topic, "w")));
        assert_eq!(connack.code, 0x87);
    }
}

/// Covers: v5:MQTT-4.7.3-3
#[test]
fn mqtt_4_7_3_3_the_longest_topic_works() {
    let server = broker();
    let topic = "x".repeat(65_535);
    let mut client = server.client("client");
    client.subscribe(&topic, 1);
    client.publish(&topic, "p", 1);
    assert_eq!(client.receive().topic.len(), 65_535);
    client.retain(&topic, "r", 0);
    client.expect_message(&topic, "r");
    let mut late = server.watcher("+");
    late.expect_message(&topic, "r");
    assert_eq!(client.unsubscribe(&[&topic]), [0]);
    let will = Will::new(&topic, "w");
    server.connect(&Connect::v5("mortal").will(will)).cut();
    late.expect_message(&topic, "w");
}
