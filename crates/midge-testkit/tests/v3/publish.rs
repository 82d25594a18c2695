//! PUBLISH, retained messages, topics.

use midge::{ClientInfo, HookSet, Hooks, MessageRef, Verdict};
use midge_testkit::Publish;

use crate::common::{broker, broker_with};
use crate::{old, watcher};

/// Nobody publishes to `denied`.
struct Denied;

impl Hooks for Denied {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        if message.topic == "denied" {
            Verdict::deny()
        } else {
            Verdict::Allow
        }
    }
}

/// Covers: v3:MQTT-3.3.1-2, v3:MQTT-3.3.1-3, v3:MQTT-4.3.1-1
#[test]
fn mqtt311_3_3_1_3_dup_is_not_forwarded() {
    let server = broker();
    let mut watcher = watcher(&server, "t");
    let mut client = old(&server, "c");
    for qos in 1..3 {
        client.deliver(&Publish::new("t", "p").qos(qos, 9).dup());
        assert!(!watcher.receive().dup);
    }
    client.send(Publish::new("t", "p").dup().bytes_for(4));
    client.expect_closed_with(&[]);
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.3.1-4, v3:MQTT-3.3.2-2, v3:MQTT-4.7.1-1, v3:MQTT-4.7.3-1
#[test]
fn mqtt311_3_3_2_2_bad_publishes_close_and_go_nowhere() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    for topic in ["a/+", "#", "a/#", "+", "a+", ""] {
        let mut client = old(&server, "c");
        client.send(Publish::new(topic, "p").bytes_for(4));
        client.expect_closed_with(&[]);
    }
    let mut client = old(&server, "c");
    client.send([0x36, 5, 0, 1, b't', 0, 1]);
    client.expect_closed_with(&[]);
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.3.4-1, v3:MQTT-3.3.2-3, v3:MQTT-3.8.4-6
#[test]
fn mqtt311_3_3_4_1_each_qos_has_its_answer_and_its_limit() {
    let server = broker();
    let mut publisher = old(&server, "publisher");
    for granted in 0..3 {
        let mut client = old(&server, "c");
        client.subscribe("a/+", granted);
        for published in 0..3 {
            publisher.publish("a/b", "p", published);
            let message = client.receive();
            assert_eq!(
                (message.qos, &*message.topic),
                (granted.min(published), "a/b")
            );
        }
        publisher.publish("a/b/c", "p", 1);
        client.expect_nothing();
    }
}

/// Covers: v3:MQTT-3.3.1-5, v3:MQTT-3.3.1-6, v3:MQTT-3.3.1-8, v3:MQTT-3.3.1-12, U311-11
#[test]
fn mqtt311_3_3_1_6_a_new_subscription_gets_the_last_retained_messages() {
    let server = broker();
    let mut publisher = old(&server, "publisher");
    for n in 1..=100 {
        publisher.retain(&format!("a/{n}"), "first", n % 3);
        publisher.retain(&format!("a/{n}"), n.to_string(), n % 3);
        publisher.publish(&format!("a/{n}"), "not retained", 0);
    }
    let mut late = old(&server, "late");
    late.subscribe("a/#", 2);
    let mut seen: Vec<u8> = Vec::new();
    for message in late.drain() {
        assert!(message.retain && format!("a/{}", message.text()) == message.topic);
        let number: u8 = message.text().parse().unwrap();
        assert_eq!(message.qos, number % 3);
        seen.push(number);
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
}

/// Covers: v3:MQTT-3.3.1-7, v3:MQTT-3.3.1-9, v3:MQTT-3.3.1-10, v3:MQTT-3.3.1-11
#[test]
fn mqtt311_3_3_1_10_an_empty_payload_removes_the_retained_message() {
    let server = broker();
    let mut live = watcher(&server, "t");
    let mut client = old(&server, "c");
    client.retain("t", "A", 1);
    client.retain("t", "B", 0);
    for payload in ["A", "B"] {
        assert!(!live.expect_message("t", payload).retain);
    }
    assert_eq!(&server.retained("t")[0].payload()[..], b"B");
    client.retain("t", "", 1);
    assert!(!live.expect_message("t", "").retain);
    assert_eq!(server.stats().retained, 0);
    let mut late = old(&server, "late");
    late.subscribe("t", 0);
    late.expect_nothing();
}

/// Covers: v3:MQTT-3.3.5-2, V31-12
#[test]
fn mqtt311_3_3_5_2_an_unauthorized_publish_is_acknowledged_and_dropped() {
    let server = broker_with(|builder| builder.hooks(Denied));
    let mut watcher = watcher(&server, "#");
    let mut client = old(&server, "c");
    for qos in 0..3 {
        client.publish("denied", "p", qos);
        client.publish("allowed", "p", qos);
        watcher.expect_message("allowed", "p");
    }
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.3.5-1, U311-12
#[test]
fn mqtt311_3_3_5_1_overlapping_subscriptions_give_the_highest_qos_once() {
    let server = broker();
    let mut client = old(&server, "c");
    client.subscribe("a/+", 0);
    client.subscribe("a/b", 2);
    client.subscribe("a/#", 1);
    old(&server, "publisher").publish("a/b", "p", 2);
    assert_eq!(client.receive().qos, 2);
    client.expect_nothing();
}

/// Covers: v3:MQTT-4.7.2-1, V31-13
#[test]
fn mqtt311_4_7_2_1_wildcards_do_not_match_dollar_topics() {
    let server = broker_with(|b| {
        b.set("lenient.dollar_publish", "true")
            .and_then(|b| b.set("sys.interval_s", "10"))
            .unwrap()
    });
    let mut general = old(&server, "general");
    for filter in ["#", "+/x", "+/#", "+"] {
        general.subscribe(filter, 0);
    }
    general.expect_nothing();
    let mut special = old(&server, "special");
    special.subscribe("$foo/#", 0);
    special.subscribe("$SYS/broker/version", 0);
    assert!(special.expect_publish().text().starts_with("midge"));
    let mut client = old(&server, "c");
    client.publish("$foo/x", "p", 1);
    special.expect_message("$foo/x", "p");
    client.publish("$SYS/x", "p", 1);
    general.expect_nothing();
    special.expect_nothing();
}
