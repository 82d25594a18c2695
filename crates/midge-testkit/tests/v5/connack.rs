//! Chapter 3.2: CONNACK.

use std::sync::atomic::{AtomicBool, Ordering};

use midge_testkit::{Connect, Kind, Packet, Publish, Subscribe, Will, ack_code, id};

use crate::common::{broker, broker_set, props};

/// Covers: v5:MQTT-3.2.0-1
#[test]
fn mqtt_3_2_0_1_connack_comes_before_what_is_queued() {
    let server = broker();
    let connect = Connect::v5("sleeper").clean(false).expiry(600);
    let mut sleeper = server.begin(&connect);
    sleeper.subscribe("t", 2);
    sleeper.disconnect();
    let mut publisher = server.client("publisher");
    for number in 0..20u8 {
        publisher.publish("t", [number], 1 + number % 2);
    }
    // That CONNACK is first is what the client checks.
    let mut sleeper = server.resume(&connect);
    for number in 0..20u8 {
        assert_eq!(sleeper.receive().payload, [number]);
    }
}

/// Covers: v5:MQTT-3.2.0-1
#[test]
fn mqtt_3_2_0_1_connack_comes_before_what_is_published_meanwhile() {
    let server = broker();
    let connect = Connect::v5("comes and goes").clean(false).expiry(600);
    let mut client = server.begin(&connect);
    client.subscribe("t", 0);
    drop(client);

    let done = AtomicBool::new(false);
    let mut publisher = server.client("publisher");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                publisher.publish("t", "p", 0);
            }
        });
        for _ in 0..200 {
            let mut client = server.resume(&connect);
            client.expect_publish();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Covers: v5:MQTT-3.2.2-1, v5:MQTT-3.2.2-6, v5:MQTT-3.2.2-7, v5:MQTT-3.2.2-8
#[test]
fn mqtt_3_2_2_6_a_refusal_has_no_session_present() {
    let server = broker_set(&[("limits.client_id_bytes", "30"), ("mqtt.maximum_qos", "1")]);
    let connect = Connect::v5("present").expiry(600);
    server.begin(&connect).disconnect();

    let method = props().text(id::AUTHENTICATION_METHOD, "unknown");
    for (refused, code) in [
        (connect.clone().clean(false).props(method), 0x8c),
        (
            connect.clone().clean(false).will(Will::new("t", "").qos(2)),
            0x9b,
        ),
        (
            connect
                .clone()
                .clean(false)
                .props(props().u16(id::RECEIVE_MAXIMUM, 0)),
            0x82,
        ),
        (Connect::v5("x".repeat(31)).clean(false), 0x85),
    ] {
        let mut client = server.say(refused.bytes());
        let answer = client.read_all();
        assert_eq!(
            (answer[0], answer[2], answer[3]),
            (0x20, 0, code),
            "{answer:02x?}"
        );
    }

    server.resume(&connect);
}

/// Covers: v5:MQTT-3.2.2-2, v5:MQTT-3.2.2-3, v5:MQTT-3.1.2-6
#[test]
fn mqtt_3_2_2_3_session_present_tells_whether_there_was_a_session() {
    let server = broker();
    let connect = Connect::v5("client").clean(false).expiry(60);
    server.begin(&connect).disconnect();
    server.resume(&connect).disconnect();
    server.begin(&connect.clone().clean(true)).disconnect();
    server.resume(&connect).disconnect();
    server.pass(61);
    server.begin(&connect).disconnect();
    // A session of a 3.1.1 client is one too.
    server
        .begin(&Connect::new(4, "old").clean(false))
        .disconnect();
    server.resume(&Connect::v5("old"));
}

/// Covers: v5:MQTT-3.1.2-28, NN5-052
#[test]
fn mqtt_3_1_2_28_response_information_is_only_for_those_who_ask() {
    let server = broker_set(&[("mqtt.response_information", "answers/")]);
    let ask = |value| props().u8(id::REQUEST_RESPONSE_INFORMATION, value);
    for (connect, expected) in [
        (Connect::v5("a"), None),
        (Connect::v5("a").props(ask(0)), None),
        (Connect::v5("a").props(ask(1)), Some("answers/")),
    ] {
        let (_client, connack) = server.answer(&connect);
        assert_eq!(connack.props.text(id::RESPONSE_INFORMATION), expected);
    }
    let (_client, connack) = broker().answer(&Connect::v5("a").props(ask(1)));
    assert!(!connack.props.has(id::RESPONSE_INFORMATION));
}

/// Covers: v5:MQTT-3.1.2-29
#[test]
fn mqtt_3_1_2_29_problem_information_is_not_sent_to_those_who_refuse_it() {
    let server = broker();
    let refuse = props().u8(id::REQUEST_PROBLEM_INFORMATION, 0);
    let mut client = server.connect(&Connect::v5("client").props(refuse));

    // The client checks that no answer has a Reason String or User Property.
    client.subscribe("t", 1);
    assert_eq!(client.unsubscribe(&["nothing"]), [0x11]);
    client.send(Publish::new("$SYS/x", "p").qos(1, 5).bytes());
    client.expect_ack(Kind::Puback, 5);
    client.send(Publish::new("$SYS/x", "p").qos(2, 6).bytes());
    client.expect_ack(Kind::Pubrec, 6);
    client.send(ack_code(Kind::Pubrel, 77, 0));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 77).code, 0x92);
    client.send(ack_code(Kind::Pubrec, 78, 0));
    assert_eq!(client.expect_ack(Kind::Pubrel, 78).code, 0x92);

    // Those of a message are forwarded all the same.
    client.deliver(
        &Publish::new("t", "p")
            .qos(1, 0)
            .props(props().user("n", "v")),
    );
    assert_eq!(client.receive().props.users(), [("n", "v")]);
}

/// Covers: v5:MQTT-3.2.2-9, v5:MQTT-3.2.2-10, v5:MQTT-3.2.2-11, v5:MQTT-3.2.2-12, NN5-044, NN5-055
#[test]
fn mqtt_3_2_2_9_a_broker_without_high_qos_says_so() {
    for maximum in [0, 1] {
        let server = broker_set(&[("mqtt.maximum_qos", &maximum.to_string())]);
        let (mut client, connack) = server.answer(&Connect::v5("client"));
        assert_eq!(connack.props.number(id::MAXIMUM_QOS), Some(maximum.into()));
        for qos in 0..3 {
            let suback = client.request(&Subscribe::new(0).filter(format!("t/{qos}"), qos));
            assert_eq!(suback.codes, [qos.min(maximum)]);
        }
        client.publish("t/2", "p", maximum);
        assert_eq!(client.receive().qos, maximum);
        for qos in maximum + 1..3 {
            let mut client = server.client("too much");
            client.send(Publish::new("t/2", "p").qos(qos, 1).bytes());
            client.expect_disconnect(0x9b);
            let will = Connect::v5("too much").will(Will::new("t", "w").qos(qos));
            server.say(will.bytes()).expect_refused(0x9b);
        }
        client.expect_nothing();
    }

    let (_client, connack) = broker().answer(&Connect::v5("client"));
    assert!(!connack.props.has(id::MAXIMUM_QOS));
}

/// Covers: v5:MQTT-3.2.2-13, v5:MQTT-3.2.2-14, NN5-045
#[test]
fn mqtt_3_2_2_13_a_broker_without_retain_says_so() {
    let server = broker_set(&[("mqtt.retain_available", "false")]);
    let (mut client, connack) = server.answer(&Connect::v5("client"));
    assert_eq!(connack.props.number(id::RETAIN_AVAILABLE), Some(0));

    let will = Connect::v5("refused").will(Will::new("t", "w").retain());
    server.say(will.bytes()).expect_refused(0x9a);
    for qos in 0..3 {
        let mut refused = server.client("refused");
        refused.send(Publish::new("t", "p").qos(qos, 1).retain().bytes());
        refused.expect_disconnect(0x9a);
    }

    for options in [0x00, 0x08, 0x10, 0x18, 0x20, 0x28] {
        let suback = client.request(&Subscribe::new(0).filter("t", options));
        assert_eq!(suback.codes, [0]);
        client.publish("t", "p", 0);
        assert!(!client.expect_message("t", "p").retain);
        client.expect_nothing();
    }

    let (_client, connack) = broker().answer(&Connect::v5("client"));
    assert!(!connack.props.has(id::RETAIN_AVAILABLE));
}

/// Covers: v5:MQTT-3.2.2-17, v5:MQTT-3.2.2-18, v5:MQTT-3.3.2-9, NN5-069
#[test]
fn mqtt_3_2_2_17_an_alias_beyond_the_maximum_is_refused() {
    for (option, maximum) in [("7", 7), ("0", 0), ("65535", 65_535)] {
        let server = broker_set(&[("mqtt.topic_alias_maximum", option)]);
        let (_client, connack) = server.answer(&Connect::v5("client"));
        assert_eq!(
            connack.props.number(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0),
            maximum
        );
        let mut watcher = server.watcher("t");
        for alias in [0, maximum + 1, 65_535] {
            let Ok(alias) = u16::try_from(alias) else {
                continue;
            };
            if u32::from(alias) == maximum && alias != 0 {
                continue;
            }
            let mut refused = server.client("refused");
            refused.send(Publish::new("t", "p").alias(alias).bytes());
            refused.expect_disconnect(0x94);
        }
        watcher.expect_nothing();
    }
}

/// Covers: v5:MQTT-3.2.2-19, v5:MQTT-3.2.2-20
#[test]
fn mqtt_3_2_2_19_a_refusal_fits_into_the_maximum_packet_size() {
    let server = broker();
    for limit in [5, 6, 10, 20, 40] {
        let method = props().text(id::AUTHENTICATION_METHOD, "unknown");
        let connect = Connect::v5("small")
            .maximum_packet_size(limit)
            .props(method);
        // The size is what the client checks; five bytes are enough for the code.
        server.say(connect.bytes()).expect_refused(0x8c);
    }
}

/// Covers: NN5-042, NN5-043
#[test]
fn nn5_042_the_stock_connack_has_only_what_differs_from_the_defaults() {
    let server = broker();
    let own = Connect::v5("client")
        .receive_maximum(5)
        .topic_alias_maximum(7)
        .expiry(60);
    let (_client, connack) = server.answer(&own.maximum_packet_size(1000));
    let mut properties: Vec<u8> = connack.props.0.iter().map(|prop| prop.id).collect();
    properties.sort_unstable();
    assert_eq!(
        properties,
        [id::TOPIC_ALIAS_MAXIMUM, id::MAXIMUM_PACKET_SIZE]
    );
    assert_eq!(connack.props.number(id::TOPIC_ALIAS_MAXIMUM), Some(32));
    assert_eq!(
        connack.props.number(id::MAXIMUM_PACKET_SIZE),
        Some(16 << 20)
    );

    let server = broker_set(&[("limits.receive_maximum", "9")]);
    let (_client, connack) = server.answer(&Connect::v5("client").receive_maximum(5));
    assert_eq!(connack.props.number(id::RECEIVE_MAXIMUM), Some(9));
}

/// Covers: NN5-048
#[test]
fn nn5_048_wildcards_can_be_off() {
    let server = broker_set(&[("mqtt.wildcard_available", "false")]);
    let (mut client, connack) = server.answer(&Connect::v5("client"));
    assert_eq!(
        connack.props.number(id::WILDCARD_SUBSCRIPTION_AVAILABLE),
        Some(0)
    );
    client.subscribe("plain", 1);
    for filter in ["#", "a/+", "$share/g/+"] {
        let mut refused = server.client("refused");
        refused.send(Subscribe::new(1).filter(filter, 0).bytes());
        assert_off(&mut refused, 0xa2);
    }
}

/// Covers: NN5-049
#[test]
fn nn5_049_subscription_identifiers_can_be_off() {
    let server = broker_set(&[("mqtt.subscription_identifiers_available", "false")]);
    let (mut client, connack) = server.answer(&Connect::v5("client"));
    assert_eq!(
        connack.props.number(id::SUBSCRIPTION_IDENTIFIER_AVAILABLE),
        Some(0)
    );
    client.subscribe("plain", 1);
    client.send(Subscribe::new(1).filter("t", 0).subscription_id(1).bytes());
    assert_off(&mut client, 0xa1);
}

/// Covers: NN5-050
#[test]
fn nn5_050_shared_subscriptions_can_be_off() {
    let server = broker_set(&[("mqtt.shared_available", "false")]);
    let (mut client, connack) = server.answer(&Connect::v5("client"));
    assert_eq!(
        connack.props.number(id::SHARED_SUBSCRIPTION_AVAILABLE),
        Some(0)
    );
    client.subscribe("plain", 1);
    client.send(Subscribe::new(1).filter("$share/g/t", 0).bytes());
    assert_off(&mut client, 0x9e);
}

/// A feature that is off is refused with its code, in a DISCONNECT or a SUBACK.
#[track_caller]
fn assert_off(client: &mut midge_testkit::Client, code: u8) {
    match client.recv() {
        Packet::Suback(suback) => assert_eq!(suback.codes, [code]),
        Packet::Disconnect(gone) => {
            assert_eq!(gone.code, code);
            client.expect_closed();
        }
        other => panic!("{other:?}"),
    }
}
