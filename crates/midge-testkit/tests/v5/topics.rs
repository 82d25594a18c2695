//! Chapter 4.7: topic names and filters.

use midge_testkit::{Connect, Subscribe, Will, unsubscribe};

use crate::common::{Holder, broker, props};

/// The rules of section 4.7, written once more.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topics = topic.split('/');
    for level in filter.split('/') {
        match (level, topics.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topics.next().is_none()
}

/// All topics of one to three levels of these.
fn names(levels: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    let mut last = vec![String::new()];
    for depth in 0..3 {
        let mut next = Vec::new();
        for front in &last {
            for level in levels {
                next.push(if depth == 0 {
                    (*level).to_owned()
                } else {
                    format!("{front}/{level}")
                });
            }
        }
        all.extend(next.iter().filter(|name| !name.is_empty()).cloned());
        last = next;
    }
    all
}

/// Covers: v5:MQTT-3.3.2-3, v5:MQTT-4.7.1-1, v5:MQTT-4.7.1-2, v5:MQTT-4.7.2-1, v5:MQTT-4.7.3-4
#[test]
fn mqtt_3_3_2_3_a_message_goes_to_the_filters_that_match() {
    let server = broker();
    let mut client = server.client("client");
    let mut filters = names(&["", "a", "b", "+"]);
    let with_hash: Vec<String> = filters.iter().map(|filter| format!("{filter}/#")).collect();
    filters.extend(with_hash);
    filters.push("#".to_owned());
    for (index, filter) in filters.iter().enumerate() {
        let subscribe = Subscribe::new(0)
            .filter(filter, 0)
            .subscription_id(index + 1);
        assert_eq!(client.request(&subscribe).codes, [0], "{filter}");
    }

    let mut publisher = server.client("publisher");
    for topic in names(&["", "a", "b", "c"]) {
        publisher.publish(&topic, "p", 0);
        let expected: Vec<u32> = (1..)
            .zip(&filters)
            .filter_map(|(index, filter)| matches(filter, &topic).then_some(index))
            .collect();
        // "#" matches them all, so there is always one copy.
        let message = client.expect_message(&topic, "p");
        assert_eq!(message.props.subscription_ids(), expected, "{topic}");
    }

    client.expect_nothing();
}

/// Covers: v5:MQTT-4.7.1-1, v5:MQTT-4.7.1-2, NN5-096
#[test]
fn mqtt_4_7_1_1_wildcards_stand_where_they_may() {
    let server = broker();
    for filter in [
        "a#", "a/#/b", "#/a", "##", "a/##", "#a", "/#a", "a/b#", "+#", "#+", "a+", "+a", "a/b+",
        "a/+b/c", "++", "a/++", "+/a+",
    ] {
        println!("{filter}");
        let bytes = Subscribe::new(1).filter(filter, 0).bytes();
        server.refuses(Holder::Subscribe, &bytes, &[0x8f]);
        let second = Subscribe::new(1).filter("t", 0).filter(filter, 0).bytes();
        server.refuses(Holder::Subscribe, &second, &[0x8f]);
        let shared = Subscribe::new(1)
            .filter(format!("$share/g/{filter}"), 0)
            .bytes();
        server.refuses(Holder::Subscribe, &shared, &[0x8f]);
        let bytes = unsubscribe(5, 1, &props(), &[filter]);
        server.refuses(Holder::Unsubscribe, &bytes, &[0x8f]);
    }

    let mut client = server.client("client");
    for filter in [
        "#",
        "a/#",
        "/#",
        "+",
        "/+",
        "+/+",
        "a/+/b",
        "+/#",
        "+/a/+/b/#",
        "a/+/",
    ] {
        client.subscribe(filter, 0);
    }
}

/// Covers: v5:MQTT-4.7.2-1
#[test]
fn mqtt_4_7_2_1_wildcards_in_front_do_not_match_dollar_topics() {
    let server = broker();
    let mut wild = server.client("wild");
    for filter in ["#", "+/x", "+/#", "$share/g/#", "$share/g/+/x"] {
        wild.subscribe(filter, 0);
    }

    let mut named = server.client("named");
    named.request(&Subscribe::new(0).filter("$foo/#", 0).filter("$bar/+", 0));
    server.publish("$SYS/x", "host").expect("a host may");

    let mut publisher = server.client("publisher");
    for topic in ["$foo/x", "$bar/x", "$foo"] {
        publisher.publish(topic, "p", 1);
        named.expect_message(topic, "p");
        publisher.retain(topic, "r", 1);
        named.expect_message(topic, "r");
    }

    wild.expect_nothing();
    for filter in ["#", "+/x", "+/#", "+"] {
        let mut late = server.client("late");
        late.subscribe(filter, 0);
        late.expect_nothing();
    }

    let mut late = server.client("late");
    late.subscribe("$foo/#", 0);
    late.expect_message("$foo", "r");
    late.expect_message("$foo/x", "r");

    let mut sys = server.client("sys");
    sys.subscribe("$SYS/#", 0);
    server.publish("$SYS/x", "host").expect("a host may");
    sys.expect_message("$SYS/x", "host");
}

/// Covers: v5:MQTT-4.7.3-1
#[test]
fn mqtt_4_7_3_1_topics_and_filters_are_not_empty() {
    let server = broker();
    let codes = [0x81, 0x82, 0x8f, 0x90];
    for bytes in [
        Subscribe::new(1).filter("", 0).bytes(),
        Subscribe::new(1).filter("t", 0).filter("", 0).bytes(),
        unsubscribe(5, 1, &props(), &[""]),
        unsubscribe(5, 1, &props(), &["t", ""]),
    ] {
        server.refuses(Holder::Subscribe, &bytes, &codes);
    }
    let will = Connect::v5("will").will(Will::new("", "w"));
    server.say(will.bytes()).expect_closed_with(&codes);
}

/// Covers: v5:MQTT-4.7.3-4
#[test]
fn mqtt_4_7_3_4_characters_are_compared_as_they_are() {
    let server = broker();
    let names = [
        "e\u{301}", "\u{e9}", "E\u{301}", "A", "a", "a ", " a", "a//b", "a/b", "a/", "/a", "/",
        "//", "\u{212b}", "\u{c5}", "\u{df}", "ss", "\u{131}", "i", "I",
    ];
    let mut client = server.client("client");
    for (index, name) in names.iter().enumerate() {
        client.request(&Subscribe::new(0).filter(name, 0).subscription_id(index + 1));
    }

    let mut publisher = server.client("publisher");
    for (index, name) in names.iter().enumerate() {
        publisher.retain(name, name, 1);
        let message = client.expect_message(name, name);
        assert_eq!(message.props.subscription_ids(), [index as u32 + 1]);
    }

    client.expect_nothing();
    for name in names {
        let mut late = server.client("late");
        late.subscribe(name, 0);
        late.expect_message(name, name);
        late.expect_nothing();
    }
}

/// Covers: v5:MQTT-4.7.3-3
#[test]
fn mqtt_4_7_3_3_more_levels_than_allowed_are_refused() {
    let server = crate::common::broker_set(&[("limits.topic_levels", "4")]);
    let mut client = server.client("client");
    client.subscribe("a/b/c/d", 1);
    client.publish("a/b/c/d", "p", 1);
    client.receive();
    // Levels may be empty (section 4.7.1.1).
    let subscribe = Subscribe::new(0).filter("a/b/c/d/e", 1).filter("////", 1);
    let suback = client.request(&subscribe.filter("t", 1));
    assert_eq!(suback.codes, [0x8f, 0x8f, 1]);
    client.publish("t", "p", 1);
    client.receive();
    for topic in ["a/b/c/d/e", "////"] {
        let bytes = midge_testkit::Publish::new(topic, "p").qos(1, 1).bytes();
        server.refuses(Holder::Publish, &bytes, &[0x90]);
    }
}
