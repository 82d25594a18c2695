//! Subscriptions of the host: its options are kept as those of a client are.

use std::time::Duration;

use midge::{Message, QoS, SubscribeOptions, Subscription};

use midge_testkit::Subscribe;

use crate::common::{Server, broker};

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn subscribe(server: &Server, filters: &[&str], options: SubscribeOptions) -> Subscription {
    server
        .subscribe_with(filters, options)
        .expect("a subscription")
}

fn options() -> SubscribeOptions {
    SubscribeOptions::default()
}

/// All messages that wait.
fn all(subscription: &Subscription) -> Vec<Message> {
    std::iter::from_fn(|| subscription.try_recv()).collect()
}

/// Topics of all messages that wait, and whether they were retained before.
fn topics(subscription: &Subscription) -> Vec<(String, bool)> {
    let topic = |message: &Message| (message.topic().to_owned(), message.retain());
    all(subscription).iter().map(topic).collect()
}

fn publish(server: &Server, topic: &str, qos: QoS, retain: bool) {
    let message = server.message(topic).payload("x").qos(qos).retain(retain);
    message.send().expect("a message");
}

/// Covers: none
#[test]
fn the_lower_qos_of_message_and_subscription_counts() {
    let server = broker();
    let mut client = server.client("client");
    for kept in ALL {
        publish(&server, &format!("kept/{}", kept as u8), kept, true);
    }

    for most in ALL {
        let subscription = subscribe(&server, &["live", "kept/+"], options().qos(most));
        for message in all(&subscription) {
            let published = message.kept().qos();
            assert_eq!(message.qos(), published.min(most), "{}", message.topic());
            assert!(message.topic().ends_with(&(published as u8).to_string()));
        }
        // More than once each, so that the route is remembered; by the host and by a client.
        for published in ALL.repeat(3) {
            publish(&server, "live", published, false);
            client.publish("live", "x", published as u8);
            client.barrier();
            for message in [&subscription; 2].map(|s| s.try_recv().expect("a message")) {
                let qos = (message.kept().qos(), message.qos());
                assert_eq!(qos, (published, published.min(most)));
                assert!(!message.retain());
            }
        }
        assert!(all(&subscription).is_empty());
    }
}

/// Covers: none
#[test]
fn overlapping_filters_of_one_subscription_are_one_message() {
    let server = broker();
    let subscription = subscribe(&server, &["a/#", "a/+", "a/b"], options());
    for _ in 0..3 {
        publish(&server, "a/b", QoS::AtLeastOnce, false);
        assert_eq!(topics(&subscription), [("a/b".to_owned(), false)]);
    }
}

/// Covers: none
#[test]
fn retained_messages_come_first_if_they_are_wanted() {
    let server = broker();
    for topic in ["a/1", "a/2", "b"] {
        publish(&server, topic, QoS::AtLeastOnce, true);
    }
    let kept = |topics: &[&str]| -> Vec<(String, bool)> {
        topics
            .iter()
            .map(|&topic| (topic.to_owned(), true))
            .collect()
    };
    // By default they are.
    let wanted = subscribe(&server, &["a/#"], options());
    assert_eq!(topics(&wanted), kept(&["a/1", "a/2"]));
    let both = subscribe(&server, &["b", "a/+"], options().retained(true));
    assert_eq!(topics(&both), kept(&["b", "a/1", "a/2"]));
    let unwanted = subscribe(&server, &["#"], options().retained(false));
    // A group gets none (MQTT-4.8.2: a shared subscription starts with what comes).
    let group = subscribe(&server, &["$share/g/#"], options().retained(true));
    let group_without = subscribe(&server, &["$share/h/#"], options().retained(false));
    for subscription in [&unwanted, &group, &group_without] {
        assert!(all(subscription).is_empty());
    }

    // What is published with RETAIN after that is as live as anything else.
    publish(&server, "a/1", QoS::AtLeastOnce, true);
    for subscription in [&wanted, &both, &unwanted, &group, &group_without] {
        let messages = all(subscription);
        assert_eq!(messages.len(), 1);
        assert!(!messages[0].retain() && messages[0].published_retained());
    }
}

/// Covers: none
#[test]
fn a_retained_message_that_is_too_old_is_not_given_to_the_host() {
    let server = broker();
    for (topic, seconds) in [("t/5", 5), ("t/9", 9)] {
        let message = server.message(topic).payload("x").retain(true);
        let message = message.message_expiry(Duration::from_secs(seconds));
        message.send().expect("a message");
    }

    publish(&server, "t/ever", QoS::AtMostOnce, true);

    let read = |expected: &[(&str, Option<u32>)]| {
        let subscription = subscribe(&server, &["t/+"], options());
        let messages = all(&subscription);
        let got: Vec<_> = messages
            .iter()
            .map(|message| (message.topic(), message.message_expiry()))
            .collect();
        assert_eq!(got, expected);
        let same: Vec<_> = server
            .retained("t/+")
            .iter()
            .map(|m| m.topic().to_owned())
            .collect();
        assert_eq!(same.len(), expected.len());
    };

    read(&[("t/5", Some(5)), ("t/9", Some(9)), ("t/ever", None)]);
    server.pass(4);
    read(&[("t/5", Some(1)), ("t/9", Some(5)), ("t/ever", None)]);
    server.pass(1);
    read(&[("t/9", Some(4)), ("t/ever", None)]);
    server.pass(4);
    read(&[("t/ever", None)]);
}

/// Covers: none
#[test]
fn what_the_host_subscribes_to_is_counted_and_named() {
    let server = broker();
    let before = server.stats();
    let subscription = subscribe(&server, &["a", "$share/g/a"], options());
    assert_eq!(server.publish("a", "x").expect("a message").matched(), 2);
    // They are no subscriptions of sessions.
    assert_eq!(server.stats().subscriptions, before.subscriptions);
    assert!(server.subscriptions(None).is_empty());
    drop(subscription);
    assert_eq!(server.publish("a", "x").expect("a message").matched(), 0);
    for wrong in ["", "a/#/b", "a+", "$share/g", "$share//a", "$share/+/a"] {
        let error = server.subscribe_with(&["fine", wrong], options());
        assert!(error.is_err(), "{wrong}");
    }
    assert_eq!(server.publish("fine", "x").expect("a message").matched(), 0);
}

/// Covers: none
#[test]
fn messages_of_several_topics_reach_their_own_subscriptions() {
    let server = broker();
    let topics = ["a", "b", "c"];
    let subscriptions = topics.map(|topic| subscribe(&server, &[topic], options()));

    // Each route is remembered, and another topic comes behind it.
    for round in 0..4 {
        for topic in topics {
            for _ in 0..round {
                let matched = server.publish(topic, topic).expect("a message").matched();
                assert_eq!(matched, 1);
            }
        }
    }

    assert_eq!(server.publish("none", "x").expect("a message").matched(), 0);
    for (topic, subscription) in topics.iter().zip(&subscriptions) {
        let messages = all(subscription);
        assert_eq!(messages.len(), 6);
        assert!(messages.iter().all(|message| message.topic() == *topic));
    }
}

/// Covers: none
#[test]
fn a_queue_of_the_host_is_bounded_in_bytes_of_topic_and_payload() {
    let server = broker();
    // Fifteen bytes each.
    let two = subscribe(&server, &["t/abc"], options().bytes(30));
    let one = subscribe(&server, &["t/abc"], options().bytes(29));
    for number in 0..5 {
        server
            .publish("t/abc", format!("message {number}."))
            .expect("a message");
    }
    assert_eq!((two.lost(), one.lost()), (3, 4));
    let left = |subscription| all(subscription).last().map(|last| last.payload().to_vec());
    assert_eq!(left(&two), Some(b"message 4.".to_vec()));
    assert_eq!(left(&one), Some(b"message 4.".to_vec()));
}

/// Covers: none
#[test]
fn what_clients_subscribe_to_is_named() {
    let server = broker();
    let mut client = server.client("client");
    let request = |filter: &str| Subscribe::new(0).filter(filter, 1);
    client.request(&request("numbered").subscription_id(7));
    client.request(&request("plain"));
    let mut found: Vec<_> = (server.subscriptions(Some("client")).into_iter())
        .map(|view| (view.filter.to_string(), view.id, view.options.qos))
        .collect();
    found.sort();
    let expected = [("numbered", Some(7)), ("plain", None)];
    let expected = expected.map(|(filter, id)| (filter.to_owned(), id, QoS::AtLeastOnce));
    assert_eq!(found, expected);
    assert!(server.subscriptions(Some("nobody")).is_empty());
}

/// Covers: none
#[test]
fn as_many_retained_messages_are_cleared_as_is_said() {
    let server = broker();
    for topic in ["a/1", "a/2", "a/3", "b"] {
        server.set_retained(topic, "x").expect("room");
    }
    for (filter, cleared, left) in [("none", 0, 4), ("a/+", 3, 1), ("a/+", 0, 1), ("#", 1, 0)] {
        assert_eq!(server.clear_retained(filter), cleared, "{filter}");
        assert_eq!(server.retained("#").len(), left, "{filter}");
    }
}
