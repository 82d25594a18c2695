//! Chapter 4.7: topic names and filters.

use midge_testkit::{PropsBuf, Publish, Subscribe, unsubscribe};

use crate::common::{Server, broker};
use crate::{client, closes};

/// A filter that is no filter: closed, or refused with 0x80.
#[track_caller]
fn refused(server: &Server, filter: &str) {
    let mut client = client(server, "refused");
    client.send(Subscribe::new(1).filter(filter, 0).bytes_for(4));
    match client.recv_or_end() {
        None => {}
        Some(midge_testkit::Packet::Suback(codes)) => assert_eq!(codes.codes, [0x80], "{filter}"),
        Some(other) => panic!("{other:?} for {filter}"),
    }
    assert!(server.subscriptions(None).is_empty(), "{filter}");
}

/// Covers: v3:MQTT-4.7.1-2
#[test]
fn mqtt311_4_7_1_2_the_number_sign_is_alone_and_last() {
    let server = broker();
    for filter in [
        "a#", "#a", "a/#/b", "#/a", "##", "a/b#", "/#/", "#/", "a/##", "+#", "#+",
    ] {
        refused(&server, filter);
    }
}

/// Covers: v3:MQTT-4.7.1-3
#[test]
fn mqtt311_4_7_1_3_the_plus_sign_fills_a_level() {
    let server = broker();
    for filter in ["a+", "+a", "a/+b", "a/b+/c", "++", "a/++", "+a/b", "a/+b/#"] {
        refused(&server, filter);
    }
}

/// Covers: v3:MQTT-4.7.3-1, v3:MQTT-4.7.3-2
#[test]
fn mqtt311_4_7_3_1_topics_and_filters_are_not_empty() {
    let server = broker();
    refused(&server, "");
    closes(&server, unsubscribe(4, 1, &PropsBuf::new(), &[""]));
    for qos in 0..3 {
        closes(&server, Publish::new("", "p").qos(qos, 1).bytes_for(4));
    }
}

/// Covers: v3:MQTT-3.3.2-3, v3:MQTT-4.7.3-4
#[test]
fn mqtt311_3_3_2_3_filters_match_what_the_standard_says() {
    let topics = [
        "a",
        "b",
        "/",
        "/a",
        "a/",
        "a/b",
        "a//b",
        "a/b/c",
        "A",
        "a b",
        "sport/tennis",
        "//",
    ];

    let table: [(&str, &[&str]); 13] = [
        ("#", &topics),
        ("+", &["a", "b", "A", "a b"]),
        ("a", &["a"]),
        ("a/#", &["a", "a/", "a/b", "a//b", "a/b/c"]),
        ("a/+", &["a/", "a/b"]),
        ("+/b", &["a/b"]),
        ("+/+", &["/", "/a", "a/", "a/b", "sport/tennis"]),
        ("/+", &["/", "/a"]),
        ("/#", &["/", "/a", "//"]),
        ("a/+/b", &["a//b"]),
        ("+/b/#", &["a/b", "a/b/c"]),
        ("+/+/+", &["a//b", "a/b/c", "//"]),
        ("sport/+", &["sport/tennis"]),
    ];
    let server = broker();
    let mut publisher = client(&server, "publisher");

    for (filter, matching) in table {
        let mut subscriber = client(&server, "client");
        subscriber.subscribe(filter, 1);
        for topic in topics {
            publisher.publish(topic, "p", 1);
        }
        let got: Vec<String> = subscriber.drain().into_iter().map(|m| m.topic).collect();
        assert_eq!(got, matching, "{filter}");
    }
}

/// Covers: v3:MQTT-3.3.2-3
#[test]
fn mqtt311_3_3_2_3_forwarded_topics_match_the_filter_whatever_they_are() {
    /// The definition of chapter 4.7, written down once more.
    fn matches(filter: &[&str], topic: &[&str]) -> bool {
        match (filter.first(), topic.first()) {
            (Some(&"#"), _) => true,
            (Some(&"+"), Some(_)) => matches(&filter[1..], &topic[1..]),
            (Some(one), Some(other)) => one == other && matches(&filter[1..], &topic[1..]),
            (None, None) => true,
            _ => false,
        }
    }

    let mut state = 0x1234_5678_9abc_def1u64;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };

    let mut levels = |words: &[&'static str]| -> Vec<&'static str> {
        let count = 1 + below(4);
        (0..count)
            .map(|_| words[below(words.len() as u64) as usize])
            .collect()
    };

    let server = broker();
    let mut publisher = client(&server, "publisher");
    for _ in 0..60 {
        let mut filter = levels(&["a", "b", "", "+", "+"]);
        if filter.len() % 2 == 0 {
            filter.push("#");
        }
        let written = filter.join("/");
        if written.is_empty() {
            continue;
        }
        let mut subscriber = client(&server, "client");
        subscriber.subscribe(&written, 1);
        let mut expected = Vec::new();
        for _ in 0..25 {
            let topic = levels(&["a", "b", ""]);
            let name = topic.join("/");
            if name.is_empty() {
                continue;
            }
            publisher.publish(&name, "p", 1);
            if matches(&filter, &topic) {
                expected.push(name);
            }
        }
        let got: Vec<String> = subscriber.drain().into_iter().map(|m| m.topic).collect();
        assert_eq!(got, expected, "{written}");
    }
}

/// Covers: v3:MQTT-4.7.2-1, V31-13
#[test]
fn mqtt311_4_7_2_1_leading_wildcards_do_not_see_dollar_topics() {
    let server = broker();

    for version in [3, 4] {
        let mut client = server.connect(&midge_testkit::Connect::new(version, "client"));
        for filter in ["#", "+/x", "+/#", "+", "+/+"] {
            client.subscribe(filter, 1);
        }
        for topic in ["$SYS/x", "$x/x", "$x", "$"] {
            server.publish(topic, "p").expect("a host may");
            server.set_retained(topic, "p").expect("a host may");
        }
        client.expect_nothing();
        client.subscribe("#", 1);
        client.expect_nothing();
        client.subscribe("$SYS/#", 1);
        client.subscribe("$x/+", 1);
        let mut topics: Vec<String> = client.drain().into_iter().map(|m| m.topic).collect();
        topics.sort();
        assert_eq!(topics, ["$SYS/x", "$x/x"]);
        // Only the first character of the whole topic is special.
        server.publish("a/$x", "p").expect("a host may");
        client.expect_message("a/$x", "p");
    }
}

/// Covers: v3:MQTT-4.7.3-3
#[test]
fn mqtt311_4_7_3_3_the_longest_topic() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut client = client(&server, "client");
    for length in [65_534, 65_535] {
        let topic = "t".repeat(length);
        client.subscribe(&topic, 1);
        publisher.publish(&topic, "p", 1);
        let message = client.receive();
        assert_eq!(message.topic.len(), length);
        client.unsubscribe(&[&topic]);
        publisher.publish(&topic, "p", 1);
        client.expect_nothing();
    }
}

/// Covers: v3:MQTT-4.7.3-4
#[test]
fn mqtt311_4_7_3_4_no_topic_is_changed_to_match_another() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    // Case, composed and decomposed, white space, empty levels, look-alikes.
    let topics = [
        "\u{e9}", "e\u{301}", "\u{c9}", "a", "A", "a ", " a", "a/", "/a", "a//b", "a/b", "\u{430}",
        "\u{fb01}", "fi", "a/./b", "a/../a/b", "\u{212b}", "\u{c5}",
    ];
    for topic in topics {
        let mut subscriber = client(&server, "client");
        subscriber.subscribe(topic, 1);
        for other in topics {
            publisher.publish(other, "p", 1);
        }
        assert_eq!(subscriber.receive().topic, topic);
        subscriber.expect_nothing();
    }
}
