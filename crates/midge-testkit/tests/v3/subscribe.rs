//! SUBSCRIBE and UNSUBSCRIBE.

use midge_testkit::{Kind, Subscribe, ack, packet, unsubscribe};

use crate::common::{broker, broker_set, props};
use crate::{old, watcher};

/// Covers: v3:MQTT-3.8.4-1, v3:MQTT-3.8.4-4, v3:MQTT-3.8.4-5, v3:MQTT-3.9.3-1, U311-13, U311-14
#[test]
fn mqtt311_3_8_4_5_one_code_for_each_filter_in_order() {
    let server = broker();
    let mut client = old(&server, "c");
    client.retain("a/0", "retained", 0);
    let mut subscribe = Subscribe::new(7);
    for n in 0..10 {
        subscribe = subscribe.filter(format!("a/{n}"), n % 3);
    }
    client.send(subscribe.filter("+/x/#", 2).bytes_for(4));
    let codes = client.expect_suback(7).codes;
    assert_eq!(codes, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 2]);
    client.expect_message("a/0", "retained");
}

/// Covers: v3:MQTT-3.8.3-2, v3:MQTT-3.9.3-2
#[test]
fn mqtt311_3_8_3_2_what_is_not_supported_is_refused_with_0x80() {
    let server = broker_set(&[
        ("mqtt.wildcard_available", "false"),
        ("mqtt.shared_available", "false"),
        ("limits.subscriptions_per_client", "2"),
    ]);
    let mut client = old(&server, "c");
    let subscribe = Subscribe::new(1)
        .filter("a/+", 2)
        .filter("a", 2)
        .filter("$share/g/a", 0)
        .filter("b", 1)
        .filter("c", 0);
    client.send(subscribe.bytes_for(4));
    assert_eq!(client.expect_suback(1).codes, [0x80, 2, 0x80, 1, 0x80]);
}

/// Covers: v3:MQTT-3.8.3-3, v3:MQTT-3.8.3-4, v3:MQTT-3.10.3-2, v3:MQTT-4.7.1-2, v3:MQTT-4.7.1-3, v3:MQTT-4.7.3-1
#[test]
fn mqtt311_3_8_3_4_malformed_requests_close() {
    let server = broker();
    let mut broken = vec![packet(0x82, [0, 1]), packet(0xa2, [0, 1])];
    for options in [3, 4, 0x80, 0xff] {
        broken.push(Subscribe::new(1).filter("t", options).bytes_for(4));
    }
    for filter in [
        "a#", "a/#/b", "#/a", "##", "a/##", "a+", "+a", "a/b+", "a/+b/c", "",
    ] {
        broken.push(Subscribe::new(1).filter(filter, 0).bytes_for(4));
        broken.push(unsubscribe(4, 1, &props(), &[filter]));
    }
    for bytes in broken {
        let mut client = old(&server, "c");
        client.send(&bytes);
        client.expect_closed_with(&[]);
    }
    assert!(server.subscriptions(None).is_empty());
    let mut client = old(&server, "c");
    for filter in ["#", "a/#", "/#", "+", "/+", "+/+", "a/+/b", "+/#", "/"] {
        client.subscribe(filter, 0);
    }
}

/// Covers: v3:MQTT-3.8.4-3
#[test]
fn mqtt311_3_8_4_3_the_same_filter_replaces_the_subscription() {
    let server = broker();
    let mut client = old(&server, "c");
    let mut publisher = old(&server, "publisher");
    publisher.retain("t", "retained", 1);
    for qos in [0, 1, 0] {
        client.subscribe("t", qos);
        assert!(client.receive().retain);
        publisher.publish("t", "live", 1);
        let message = client.receive();
        assert_eq!((message.qos, message.retain), (qos, false));
        client.expect_nothing();
    }
    assert_eq!(server.subscriptions(Some("c")).len(), 1);
}

/// Covers: v3:MQTT-3.10.4-1, v3:MQTT-3.10.4-2, v3:MQTT-3.10.4-5, v3:MQTT-3.10.4-6, U311-15
#[test]
fn mqtt311_3_10_4_1_unsubscribe_compares_exactly() {
    let server = broker();
    let mut client = old(&server, "c");
    client.subscribe("a/#", 0);
    client.subscribe("b", 0);
    client.unsubscribe(&["a/b", "never", "b", "b"]);
    let mut publisher = old(&server, "publisher");
    publisher.publish("b", "p", 1);
    publisher.publish("a/b", "p", 1);
    client.expect_message("a/b", "p");
    client.expect_nothing();
    client.unsubscribe(&["a/#"]);
    publisher.publish("a/b", "p", 1);
    client.expect_nothing();
}

/// Covers: v3:MQTT-3.10.4-3
#[test]
fn mqtt311_3_10_4_3_begun_deliveries_are_completed() {
    let server = broker();
    let mut client = watcher(&server, "t");
    old(&server, "publisher").publish("t", "p", 2);
    let message = client.expect_message("t", "p");
    client.unsubscribe(&["t"]);
    client.send(ack(Kind::Pubrec, message.id));
    client.expect_ack(Kind::Pubrel, message.id);
    client.send(ack(Kind::Pubcomp, message.id));
    client.expect_nothing();
}
