//! Chapters 3.8 to 3.11: SUBSCRIBE and UNSUBSCRIBE.

use midge_testkit::{
    Client, Connect, Kind, Packet, Publish, Subscribe, Wire, ack, id, packet, unsubscribe,
};

use crate::common::{Holder, broker, props};

/// Covers: v5:MQTT-3.8.3-2
#[test]
fn mqtt_3_8_3_2_subscribe_has_a_filter_with_options() {
    let server = broker();
    let nothing = Subscribe::new(1).bytes();
    server.refuses(Holder::Subscribe, &nothing, &[0x82]);
    let no_options = Wire::new().u16(1).u8(0).text("t").packet(0x82);
    server.refuses(Holder::Subscribe, &no_options, &[0x81]);
    let second = Wire::new()
        .u16(1)
        .u8(0)
        .text("t")
        .u8(0)
        .text("u")
        .packet(0x82);
    server.refuses(Holder::Subscribe, &second, &[0x81]);
    let cut = Wire::new().u16(1).u8(0).raw([0, 9, b't']).packet(0x82);
    server.refuses(Holder::Subscribe, &cut, &[0x81]);
    server.refuses(Holder::Subscribe, &packet(0x82, [0, 1]), &[0x81]);
    server.refuses(Holder::Subscribe, &packet(0x82, []), &[0x81]);
}

/// Covers: v5:MQTT-3.8.3-3
#[test]
fn mqtt_3_8_3_3_no_local_hides_ones_own_messages() {
    let server = broker();
    let connect = Connect::v5("client").clean(false).expiry(600);
    let mut client = server.begin(&connect);
    let mut other = server.client("other");
    client.request(
        &Subscribe::new(0)
            .filter("hidden/#", 0x04 | 2)
            .filter("shown", 2),
    );
    for qos in 0..3 {
        client.publish("hidden/x", "mine", qos);
        client.expect_nothing();
        other.publish("hidden/x", "other's", qos);
        assert_eq!(client.receive().text(), "other's");
        client.publish("shown", "mine", qos);
        assert_eq!(client.receive().text(), "mine");
    }

    // The client identifier counts, not the connection.
    client.disconnect();

    let mut client = server.resume(&connect);
    client.publish("hidden/x", "mine", 1);
    client.expect_nothing();

    // Another filter of the same client that wants its own messages.
    client.request(
        &Subscribe::new(0)
            .filter("hidden/+", 0x01)
            .subscription_id(5),
    );
    client.publish("hidden/x", "mine", 1);
    assert_eq!(client.receive().props.subscription_ids(), [5]);
    client.expect_nothing();
    client.unsubscribe(&["hidden/+"]);
    client.request(&Subscribe::new(0).filter("hidden/#", 0x00));
    client.publish("hidden/x", "now shown", 1);
    client.expect_message("hidden/x", "now shown");
}

/// Covers: v5:MQTT-3.8.3-4
#[test]
fn mqtt_3_8_3_4_no_local_is_not_for_shared_subscriptions() {
    let server = broker();
    for options in [0x04, 0x05, 0x06] {
        let bytes = Subscribe::new(1).filter("$share/g/t", options).bytes();
        server.refuses(Holder::Subscribe, &bytes, &[0x82]);
        let second = Subscribe::new(1)
            .filter("t", 0)
            .filter("$share/g/t", options)
            .bytes();
        server.refuses(Holder::Subscribe, &second, &[0x82]);
    }
}

/// Covers: v5:MQTT-3.8.3-5, NN5-093
#[test]
fn mqtt_3_8_3_5_reserved_option_bits_are_0() {
    let server = broker();
    for (options, code) in [
        (0x40, 0x81),
        (0x80, 0x81),
        (0xc0, 0x81),
        (0x03, 0x82),
        (0x30, 0x82),
        (0x33, 0x82),
    ] {
        let bytes = Subscribe::new(1).filter("t", options).bytes();
        server.refuses(Holder::Subscribe, &bytes, &[code]);
        let second = Subscribe::new(1)
            .filter("t", 0)
            .filter("u", options)
            .bytes();
        server.refuses(Holder::Subscribe, &second, &[code]);
    }
}

/// Covers: v5:MQTT-3.8.4-1, v5:MQTT-3.8.4-2, v5:MQTT-3.8.4-6, v5:MQTT-3.8.4-7, v5:MQTT-3.9.3-1
#[test]
fn mqtt_3_8_4_6_suback_has_one_code_for_each_filter_in_order() {
    let server = broker();
    let mut client = server.client("client");
    for count in [1, 2, 100, 1000] {
        let mut subscribe = Subscribe::new(0);
        let mut expected = Vec::new();
        for number in 0..count {
            let qos = [2, 0, 1][number % 3];
            subscribe = subscribe.filter(format!("t/{number}"), qos);
            expected.push(qos);
        }
        assert_eq!(client.request(&subscribe).codes, expected);
    }
}

/// Covers: v5:MQTT-3.8.4-3, NN5-076
#[test]
fn mqtt_3_8_4_3_the_same_filter_replaces_the_subscription() {
    let server = broker();
    let mut client = server.client("client");
    let mut publisher = server.client("publisher");
    for (options, subscription_id) in [
        (0, None),
        (2, Some(5)),
        (1, Some(6)),
        (1, None),
        (0x08 | 2, Some(268_435_455)),
    ] {
        let mut subscribe = Subscribe::new(0).filter("t/+", options);
        if let Some(value) = subscription_id {
            subscribe = subscribe.subscription_id(value);
        }
        client.request(&subscribe);
        publisher.deliver(&Publish::new("t/x", "p").qos(2, 0).retain());
        let message = client.receive();
        assert_eq!(
            (message.qos, message.retain),
            (options & 3, options & 8 != 0)
        );
        let expected: Vec<u32> = subscription_id.iter().map(|value| *value as u32).collect();
        assert_eq!(message.props.subscription_ids(), expected);
        client.expect_nothing();
        publisher.retain("t/x", "", 0);
        client.receive();
    }

    assert_eq!(client.unsubscribe(&["t/+", "t/+"]), [0, 0x11]);
}

/// Covers: v5:MQTT-3.8.4-4, v5:MQTT-3.3.1-9
#[test]
fn mqtt_3_8_4_4_replacing_a_subscription_loses_nothing() {
    const COUNT: u16 = 2000;

    let server = broker();
    let mut publisher = server.client("publisher");
    publisher.retain("t", "retained", 1);

    let mut client = server.client("client");
    client.subscribe("t", 1);
    client.receive();

    let mut subscribed = 0;
    let mut retained = 0;
    let mut next: u16 = 0;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..COUNT {
                publisher.publish("t", number.to_be_bytes(), 1);
            }
        });
        while next < COUNT || retained < 100 {
            if subscribed < 100 && retained == subscribed && next >= subscribed * 15 {
                subscribed += 1;
                client.send(Subscribe::new(subscribed).filter("t", 1).bytes());
            }
            match client.recv() {
                Packet::Publish(message) => {
                    client.send(ack(Kind::Puback, message.id));
                    if message.retain {
                        retained += 1;
                    } else {
                        assert_eq!(message.payload, next.to_be_bytes(), "a gap");
                        next += 1;
                    }
                }
                Packet::Suback(suback) => assert_eq!(suback.codes, [1]),
                other => panic!("{other:?}"),
            }
        }
    });

    assert_eq!((subscribed, retained), (100, 100));
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.8.4-4, v5:MQTT-3.3.1-9
#[test]
fn mqtt_3_3_1_9_each_of_several_subscribes_in_a_row_brings_the_retained_messages() {
    let server = broker();
    let mut publisher = server.client("publisher");
    publisher.retain("r", "retained", 1);
    let mut client = server.connect(&Connect::v5("client").receive_maximum(1));
    client.subscribe("t", 1);
    publisher.publish("t", "held", 1);
    let held = client.expect_message("t", "held");
    for _ in 0..3 {
        client.subscribe("r", 1);
        client.expect_nothing();
    }
    client.acknowledge(&held);
    for _ in 0..3 {
        assert_eq!(client.receive().text(), "retained");
    }
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.8.4-5
#[test]
fn mqtt_3_8_4_5_many_filters_act_like_many_subscribes() {
    let server = broker();
    let mut client = server.client("client");
    let subscribe = Subscribe::new(0)
        .filter("a", 0)
        .filter("b", 1)
        .filter("a", 2)
        .filter("$share/g/c", 1)
        .filter("d/#", 1)
        .filter("a", 1);
    assert_eq!(client.request(&subscribe).codes, [0, 1, 2, 1, 1, 1]);

    let mut publisher = server.client("publisher");
    for (topic, qos) in [("a", 1), ("b", 1), ("c", 1), ("d", 1)] {
        publisher.publish(topic, "p", 2);
        let message = client.receive();
        assert_eq!((message.topic.as_str(), message.qos), (topic, qos));
        client.expect_nothing();
    }

    // Retained messages are sent for each of them.
    publisher.retain("r", "r", 1);
    client.request(
        &Subscribe::new(0)
            .filter("r", 0)
            .filter("+", 1)
            .filter("r", 1),
    );

    let qos: Vec<u8> = (0..3).map(|_| client.receive().qos).collect();
    assert_eq!(qos, [0, 1, 1]);
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.8.4-8, v5:MQTT-3.8.4-7
#[test]
fn mqtt_3_8_4_8_the_delivery_qos_is_the_smaller_one() {
    let server = broker();
    let mut publisher = server.client("publisher");

    for granted in 0..3 {
        let connect = Connect::v5("client").clean(false).expiry(600);
        let mut client = server.begin(&connect);
        client.subscribe("t/#", granted);
        for sent in 0..3 {
            publisher.publish("t/live", "p", sent);
            assert_eq!(client.receive().qos, granted.min(sent));
            publisher.retain(&format!("r/{sent}"), "p", sent);
            client.subscribe(&format!("r/{sent}"), granted);
            assert_eq!(client.receive().qos, granted.min(sent));
        }
        client.disconnect();
        for sent in 1..3 {
            publisher.publish("t/queued", [sent], sent);
        }
        let mut client = server.resume(&connect);
        if granted > 0 {
            for sent in 1..3 {
                assert_eq!(client.receive().qos, granted.min(sent));
            }
        }
        client.expect_nothing();
        client.disconnect();
        server.begin(&connect.clean(true)).disconnect();
        server.begin(&Connect::v5("client")).disconnect();
    }
}

/// Covers: v5:MQTT-3.10.3-2
#[test]
fn mqtt_3_10_3_2_unsubscribe_has_a_filter() {
    let server = broker();
    let nothing: [&str; 0] = [];
    let bytes = unsubscribe(5, 1, &props(), &nothing);
    server.refuses(Holder::Unsubscribe, &bytes, &[0x82]);
    let cut = Wire::new().u16(1).u8(0).raw([0, 9, b't']).packet(0xa2);
    server.refuses(Holder::Unsubscribe, &cut, &[0x81]);
    server.refuses(Holder::Unsubscribe, &packet(0xa2, [0, 1]), &[0x81]);
}

/// Covers: v5:MQTT-3.10.4-1, NN5-099
#[test]
fn mqtt_3_10_4_1_filters_are_compared_character_by_character() {
    let server = broker();
    let mut client = server.client("client");
    let mut publisher = server.client("publisher");
    client.subscribe("a/#", 0);
    for other in ["a/b", "a/+", "#", "a", "A/#", "/a/#", "a/#/"] {
        // One of them is no filter at all, and that may end the connection.
        if other != "a/#/" {
            assert_eq!(client.unsubscribe(&[other]), [0x11], "{other}");
        }
    }
    publisher.publish("a/b", "p", 0);
    client.expect_message("a/b", "p");
    assert_eq!(client.unsubscribe(&["a/#"]), [0]);
    publisher.publish("a/b", "p", 1);
    client.expect_nothing();

    client.request(&Subscribe::new(0).filter("s", 0).filter("$share/g/s", 0));
    assert_eq!(
        client.unsubscribe(&["$share/h/s", "$share/g/t", "$share/g/s"]),
        [0x11, 0x11, 0]
    );
    publisher.publish("s", "p", 0);
    client.expect_message("s", "p");
    client.expect_nothing();
    client.subscribe("$share/g/s", 0);
    assert_eq!(client.unsubscribe(&["s", "g/s"]), [0, 0x11]);
    publisher.publish("s", "p", 0);
    client.expect_message("s", "p");
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.10.4-2, v5:MQTT-3.10.4-4
#[test]
fn mqtt_3_10_4_2_after_unsubscribe_nothing_new_arrives() {
    let server = broker();
    let mut client = server.client("client");
    let mut publisher = server.client("publisher");
    client.request(
        &Subscribe::new(0)
            .filter("t/+", 2)
            .filter("t/x", 1)
            .subscription_id(3),
    );
    assert_eq!(client.unsubscribe(&["t/+"]), [0]);
    for qos in 0..3 {
        publisher.publish("t/y", "p", qos);
        publisher.publish("t/x", "p", qos);
        let message = client.receive();
        assert_eq!((message.topic.as_str(), message.qos), ("t/x", qos.min(1)));
        client.expect_nothing();
    }

    publisher.retain("t/x", "r", 1);
    client.receive();
    assert_eq!(client.unsubscribe(&["t/x"]), [0]);
    publisher.publish("t/x", "p", 1);
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.10.4-2
#[test]
fn mqtt_3_10_4_2_nothing_arrives_behind_the_unsuback() {
    let server = broker();
    let mut client = server.client("client");
    let mut publisher = server.client("publisher");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..1000 {
                publisher.publish("t", "p", 0);
            }
        });
        for _ in 0..50 {
            client.subscribe("t", 0);
            // The client keeps what comes before the UNSUBACK.
            client.unsubscribe(&["t"]);
            client.discard();
            client.expect_nothing();
        }
    });
}

/// Covers: v5:MQTT-3.10.4-3
#[test]
fn mqtt_3_10_4_3_a_delivery_that_has_begun_is_completed() {
    let server = broker();
    let connect = Connect::v5("client").clean(false).expiry(600);
    let mut client = server.begin(&connect);
    client.subscribe("t", 2);

    let mut publisher = server.client("publisher");
    for qos in [1, 2, 2] {
        publisher.publish("t", [qos], qos);
    }

    let [first, second, third] = [1, 2, 2].map(|qos| client.expect_message("t", [qos]));
    assert_eq!(client.unsubscribe(&["t"]), [0]);
    client.send(ack(Kind::Pubrec, second.id));
    client.expect_ack(Kind::Pubrel, second.id);
    client.cut();

    let mut client = server.resume(&connect);
    let mut publishes = Vec::new();
    let mut releases = Vec::new();
    for _ in 0..3 {
        match client.recv() {
            Packet::Publish(message) => publishes.push(message),
            Packet::Ack(release) => releases.push(release.id),
            other => panic!("{other:?}"),
        }
    }

    assert_eq!(releases, [second.id]);

    let ids: Vec<u16> = publishes.iter().map(|message| message.id).collect();
    assert_eq!(ids, [first.id, third.id]);
    client.send(ack(Kind::Pubcomp, second.id));
    for message in &publishes {
        client.acknowledge(message);
    }

    client.expect_nothing();
    client.cut();
    server.resume(&connect).expect_nothing();
}

/// Covers: v5:MQTT-3.10.4-4, v5:MQTT-3.10.4-5, v5:MQTT-3.10.4-6, v5:MQTT-3.11.3-1, v5:MQTT-3.11.3-2
#[test]
fn mqtt_3_10_4_6_unsuback_has_one_code_for_each_filter_in_order() {
    let server = broker();
    let mut client = server.client("client");
    client.request(
        &Subscribe::new(0)
            .filter("a", 0)
            .filter("b", 0)
            .filter("$share/g/c", 0),
    );
    assert_eq!(client.unsubscribe(&["a", "nothing", "a"]), [0, 0x11, 0x11]);
    assert_eq!(client.unsubscribe(&["nothing"]), [0x11]);
    assert_eq!(client.unsubscribe(&["c", "$share/g/c", "b"]), [0x11, 0, 0]);

    let many: Vec<String> = (0..1000).map(|number| format!("t/{number}")).collect();
    let mut subscribe = Subscribe::new(0);
    for filter in many.iter().step_by(2) {
        subscribe = subscribe.filter(filter, 0);
    }

    client.request(&subscribe);

    let filters: Vec<&str> = many.iter().map(String::as_str).collect();
    let expected: Vec<u8> = (0..1000).map(|number| [0, 0x11][number % 2]).collect();
    assert_eq!(client.unsubscribe(&filters), expected);
}

/// Covers: NN5-075
#[test]
fn nn5_075_a_subscription_identifier_is_1_to_268435455() {
    let server = broker();
    let zero = Subscribe::new(1).filter("t", 0).subscription_id(0).bytes();
    server.refuses(Holder::Subscribe, &zero, &[0x82]);

    let mut client = server.client("client");
    for value in [
        1,
        127,
        128,
        16_383,
        16_384,
        2_097_151,
        2_097_152,
        268_435_455,
    ] {
        client.request(&Subscribe::new(0).filter("t", 0).subscription_id(value));
        client.publish("t", "p", 0);
        assert_eq!(client.receive().props.subscription_ids(), [value as u32]);
    }

    let long = props().raw([id::SUBSCRIPTION_IDENTIFIER, 0x80, 0x80, 0x80, 0x80, 0x01]);
    let bytes = Subscribe::new(1).filter("t", 0).props(long).bytes();
    server.refuses(Holder::Subscribe, &bytes, &[0x81]);
}

/// Covers: NN5-077
#[test]
fn nn5_077_subscription_identifiers_belong_to_the_session() {
    let server = broker();
    let connect = Connect::v5("client").clean(false).expiry(600);
    let mut client = server.begin(&connect);
    client.request(&Subscribe::new(0).filter("t", 1).subscription_id(7));
    client.disconnect();

    let mut publisher = server.client("publisher");
    publisher.publish("t", "queued", 1);

    let mut client = server.resume(&connect);
    let queued = client.expect_message("t", "queued");
    assert_eq!(queued.props.subscription_ids(), [7]);
    publisher.publish("t", "new", 1);
    assert_eq!(
        client.expect_message("t", "new").props.subscription_ids(),
        [7]
    );
    client.cut();

    let mut client = server.resume(&connect);
    for _ in 0..2 {
        assert_eq!(client.receive().props.subscription_ids(), [7]);
    }
}

/// Covers: NN5-098
#[test]
fn nn5_098_messages_that_wait_are_not_lost_by_unsubscribe() {
    let server = broker();
    let mut client: Client = server.connect(&Connect::v5("client").receive_maximum(1));
    client.subscribe("t", 1);
    let mut publisher = server.client("publisher");
    publisher.publish("t", "sent", 1);
    publisher.publish("t", "waits", 1);
    let sent = client.expect_message("t", "sent");
    assert_eq!(client.unsubscribe(&["t"]), [0]);
    client.acknowledge(&sent);
    assert_eq!(client.receive().text(), "waits");
    client.expect_nothing();
}
