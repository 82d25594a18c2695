//! SUBSCRIBE and SUBACK.

use midge::{ClientInfo, HookSet, Hooks, SubscriptionOptions, Verdict};
use midge_testkit::{Connect, Packet, Publish, Subscribe, Wire};

use crate::common::{broker, broker_set, broker_with};
use crate::{ILL_FORMED, NUL, client, closes, kept};

/// Covers: v3:MQTT-3.8.1-1, v3:MQTT-2.2.2-2
#[test]
fn mqtt311_3_8_1_1_the_flags_of_subscribe_are_fixed() {
    let server = broker();
    let body = Wire::new().u16(1).text("t").u8(0);
    for flags in (0..16).filter(|flags| *flags != 2) {
        closes(&server, body.clone().packet(0x80 | flags));
    }
    assert!(server.subscriptions(None).is_empty());
}

/// Covers: v3:MQTT-3.8.3-1, v3:MQTT-1.5.3-1, v3:MQTT-1.5.3-2, v3:MQTT-4.7.3-2
#[test]
fn mqtt311_3_8_3_1_filters_are_well_formed() {
    let server = broker();
    for bad in ILL_FORMED.into_iter().chain(NUL) {
        closes(&server, Subscribe::new(1).filter(bad, 0).bytes_for(4));
        let second = Subscribe::new(1).filter("good", 0).filter(bad, 0);
        closes(&server, second.bytes_for(4));
    }
    let bytes = Subscribe::new(1).filter("topic", 0).bytes_for(4);
    for length in 2..bytes.len() - 2 {
        closes(&server, midge_testkit::packet(0x82, &bytes[2..2 + length]));
    }
    assert!(server.subscriptions(None).is_empty());
}

/// Covers: v3:MQTT-3.8.3-2
#[test]
fn mqtt311_3_8_3_2_wildcards_may_be_switched_off() {
    let server = broker_set(&[("mqtt.wildcard_available", "false")]);
    let mut client = client(&server, "client");
    let request = Subscribe::new(0)
        .filter("a/+", 1)
        .filter("plain", 1)
        .filter("#", 2)
        .filter("a/#", 0);
    assert_eq!(client.request(&request).codes, [0x80, 1, 0x80, 0x80]);
    client.publish("a/b", "p", 1);
    client.publish("plain", "p", 1);
    assert_eq!(client.receive().topic, "plain");
    client.expect_nothing();
}

/// Covers: U311-13
#[test]
fn u311_13_wildcards_are_supported() {
    let server = broker();
    let mut client = client(&server, "client");
    for filter in ["+", "#", "a/+/b", "a/#", "+/+", "/+", "+/#"] {
        client.subscribe(filter, 2);
    }
}

/// Covers: v3:MQTT-3.8.3-3
#[test]
fn mqtt311_3_8_3_3_a_subscribe_has_a_filter() {
    let server = broker();
    closes(&server, Subscribe::new(1).bytes_for(4));
    closes(&server, [0x82, 0]);
    closes(&server, [0x82, 1, 0]);
}

/// Covers: v3:MQTT-3.8.3-4
#[test]
fn mqtt311_3_8_3_4_the_qos_byte_is_0_1_or_2() {
    let server = broker();
    // Among them the options of MQTT 5.
    for options in 3..=255u8 {
        closes(&server, Subscribe::new(1).filter("t", options).bytes_for(4));
    }
    let second = Subscribe::new(1).filter("t", 0).filter("u", 3);
    closes(&server, second.bytes_for(4));
    assert!(server.subscriptions(None).is_empty());
}

/// Covers: v3:MQTT-3.8.4-1, v3:MQTT-3.8.4-2, v3:MQTT-2.3.1-7, v3:MQTT-3.10.4-4
#[test]
fn mqtt311_3_8_4_2_answers_carry_the_identifier_of_the_request() {
    let server = broker();
    let mut client = client(&server, "client");
    let none = midge_testkit::PropsBuf::new();
    let mut bytes = Vec::new();
    for id in [7, 1, 0xffff, 7, 300] {
        bytes.extend(Subscribe::new(id).filter("t", 1).bytes_for(4));
        bytes.extend(midge_testkit::unsubscribe(4, id, &none, &["t"]));
    }
    client.send(bytes);
    for id in [7, 1, 0xffff, 7, 300] {
        assert_eq!(client.expect_suback(id).codes, [1]);
        client.expect_unsuback(id);
    }
    client.expect_nothing();
}

/// Covers: v3:MQTT-3.8.4-3
#[test]
fn mqtt311_3_8_4_3_the_flow_goes_on_while_a_subscription_is_replaced() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    publisher.retain("t", "r", 1);

    let mut subscriber = client(&server, "client");
    subscriber.subscribe("t", 1);
    assert_eq!(subscriber.receive().text(), "r");
    for round in 0..20u16 {
        let requests: Vec<u8> = (0..5)
            .flat_map(|id| Subscribe::new(900 + id).filter("t", 1).bytes_for(4))
            .collect();
        let publishes: Vec<u8> = (0..10u16)
            .flat_map(|number| {
                let payload = (round * 10 + number).to_be_bytes();
                Publish::new("t", payload).qos(1, number + 1).bytes_for(4)
            })
            .collect();
        // Both at once.
        publisher.send(publishes);
        subscriber.send(requests);
        // Each SUBSCRIBE brings the retained message once.
        let (mut subacks, mut retained, mut live) = (0, 0, Vec::new());

        while subacks < 5 || retained < 5 || live.len() < 10 {
            match subscriber.recv() {
                Packet::Suback(codes) => {
                    assert_eq!((codes.id, codes.codes), (900 + subacks, vec![1]));
                    subacks += 1;
                }
                Packet::Publish(message) => {
                    subscriber.acknowledge(&message);
                    if message.retain {
                        assert_eq!(message.text(), "r");
                        retained += 1;
                    } else {
                        live.push(message.payload);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(retained, 5);
        let expected: Vec<Vec<u8>> = (0..10)
            .map(|number| (round * 10 + number).to_be_bytes().to_vec())
            .collect();
        assert_eq!(live, expected);
        for number in 0..10 {
            publisher.expect_ack(midge_testkit::Kind::Puback, number + 1);
        }
    }

    assert_eq!(server.subscriptions(Some("client")).len(), 1);
    subscriber.expect_nothing();
}

/// Covers: v3:MQTT-3.8.4-3
#[test]
fn mqtt311_3_8_4_3_the_same_filter_is_replaced_not_added() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut subscriber = client(&server, "client");
    for qos in [0, 2, 1] {
        subscriber.subscribe("t/#", qos);
        publisher.publish("t/x", "p", 2);
        assert_eq!(subscriber.receive().qos, qos);
        subscriber.expect_nothing();
    }
    // Twice in one packet: the last one counts.
    let twice = Subscribe::new(0).filter("t/#", 2).filter("t/#", 0);
    assert_eq!(subscriber.request(&twice).codes, [2, 0]);
    publisher.publish("t/x", "p", 2);
    assert_eq!(subscriber.receive().qos, 0);
    subscriber.expect_nothing();
}

/// Covers: v3:MQTT-3.8.4-4, v3:MQTT-3.8.4-5, v3:MQTT-3.9.3-1
#[test]
fn mqtt311_3_8_4_4_many_filters_get_one_suback() {
    let server = broker();
    let mut subscriber = client(&server, "client");
    let request = (0..10u8).fold(Subscribe::new(0), |request, number| {
        request.filter(format!("t/{number}"), number % 3)
    });
    let codes: Vec<u8> = (0..10).map(|number| number % 3).collect();
    assert_eq!(subscriber.request(&request).codes, codes);
    let mut publisher = client(&server, "publisher");
    for number in 0..10u8 {
        publisher.publish(&format!("t/{number}"), "p", 2);
        assert_eq!(subscriber.receive().qos, number % 3);
    }
    subscriber.expect_nothing();
}

/// Covers: v3:MQTT-3.8.4-6
#[test]
fn mqtt311_3_8_4_6_the_lower_qos_counts() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    for granted in 0..3 {
        let mut subscriber = client(&server, "client");
        subscriber.subscribe("t", granted);
        for published in 0..3 {
            publisher.publish("t", "p", published);
            assert_eq!(subscriber.receive().qos, published.min(granted));
        }
        subscriber.expect_nothing();
    }
}

/// Denies filters that begin with "denied".
struct Rules;

impl Hooks for Rules {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_SUBSCRIBE
    }

    fn authorize_subscribe(
        &self,
        _client: &ClientInfo,
        filter: &str,
        _options: &SubscriptionOptions,
    ) -> Verdict {
        if filter.starts_with("denied") {
            Verdict::deny()
        } else {
            Verdict::Allow
        }
    }
}

/// Covers: v3:MQTT-3.9.3-1, v3:MQTT-3.9.3-2, v3:MQTT-3.8.4-5
#[test]
fn mqtt311_3_9_3_2_a_denied_filter_gets_0x80() {
    let server = broker_with(|builder| builder.hooks(Rules));
    server.publish("denied/x", "p").expect("a host may");
    let mut client = client(&server, "client");
    let mixed = Subscribe::new(0)
        .filter("a", 2)
        .filter("denied/#", 1)
        .filter("b", 0)
        .filter("denied", 2)
        .filter("c", 1);
    assert_eq!(client.request(&mixed).codes, [2, 0x80, 0, 0x80, 1]);
    server.publish("denied/x", "p").expect("a host may");
    server.publish("denied", "p").expect("a host may");
    client.expect_nothing();
    server.publish("a", "p").expect("a host may");
    client.expect_message("a", "p");
}

/// Covers: v3:MQTT-3.9.3-2
#[test]
fn mqtt311_3_9_3_2_refusals_of_mqtt_5_become_0x80() {
    let server = broker_set(&[
        ("mqtt.shared_available", "false"),
        ("limits.subscriptions_per_client", "2"),
        ("limits.topic_levels", "4"),
    ]);
    let mut client = client(&server, "client");
    let request = Subscribe::new(0)
        .filter("$share/g/t", 1)
        .filter("a/b/c/d/e", 1)
        .filter("a", 1)
        .filter("b", 1)
        .filter("c", 1);
    assert_eq!(client.request(&request).codes, [0x80, 0x80, 1, 1, 0x80]);
    client.expect_nothing();
}

/// Covers: v3:MQTT-3.9.3-2
#[test]
fn mqtt311_3_9_3_2_limits_of_one_client_become_0x80() {
    let server = broker_set(&[
        ("limits.shared_subscriptions_per_client", "1"),
        ("limits.wildcard_patterns_per_client", "1"),
        ("limits.filters_per_packet", "5"),
        ("limits.connect_bytes", "1000"),
    ]);
    let mut client = client(&server, "client");
    let request = Subscribe::new(0)
        .filter("$share/g/t", 1)
        .filter("$share/h/t", 1)
        .filter("a/+", 1)
        .filter("+/a", 1)
        .filter("a", 1);
    assert_eq!(client.request(&request).codes, [1, 0x80, 1, 0x80, 1]);

    // One filter more than a packet may have ends the connection without a word.
    client.send(request.filter("b", 1).bytes_for(4));
    client.expect_closed();

    let connect = Connect::new(4, "client").user("u").password([b'x'; 1000]);
    server.say(connect.bytes()).expect_closed();
}

/// Covers: U311-14
#[test]
fn u311_14_suback_comes_before_the_messages() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    for number in 0..30 {
        publisher.retain(&format!("t/{number}"), "r", 1);
    }
    for version in [3, 4] {
        let mut client = server.connect(&Connect::new(version, "client"));
        client.send(Subscribe::new(1).filter("t/#", 1).bytes_for(version));
        client.expect_suback(1);
        for _ in 0..30 {
            client.receive();
        }
        client.expect_nothing();
    }
}

/// Covers: v3:MQTT-3.8.4-3, v3:MQTT-3.1.2-4
#[test]
fn mqtt311_3_8_4_3_a_replaced_subscription_is_the_one_that_is_stored() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut subscriber = server.begin(&kept("client"));
    subscriber.subscribe("t", 0);
    subscriber.subscribe("t", 1);
    subscriber.disconnect();
    publisher.publish("t", "p", 2);
    let mut subscriber = server.resume(&kept("client"));
    assert_eq!(subscriber.receive().qos, 1);
    subscriber.expect_nothing();
}
