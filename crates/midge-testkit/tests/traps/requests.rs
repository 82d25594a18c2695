//! Requests that were granted, answered or left alone, each wrongly.

use midge_testkit::{Connect, Kind, PropsBuf, Publish, Subscribe, Will, id, unsubscribe};

use crate::common::{broker, broker_set, props};
use crate::{VERSIONS, client, ended, kept};

/// Covers: v3:MQTT-3.1.4-2, v5:MQTT-3.1.4-3
#[test]
fn after_a_takeover_one_client_is_connected() {
    for old_version in VERSIONS {
        for new_version in VERSIONS {
            let server = broker();
            let mut old = server.connect(&kept(old_version, "client"));
            old.subscribe("t", 1);
            let mut new = server.connect(&kept(new_version, "client"));
            ended(&mut old, &[0x8e]);
            assert_eq!(server.clients().len(), 1);
            let mut publisher = client(&server, 4, "publisher");
            publisher.publish("t", "p", 1);
            assert_eq!(new.receive().text(), "p");
            new.expect_nothing();
        }
    }
}

/// Covers: NN5-141, NN5-127, v3:MQTT-4.8.0-1
#[test]
fn a_client_before_version_5_never_gets_a_disconnect() {
    use midge::ReasonCode;

    for version in [3, 4] {
        let server = broker_set(&[
            ("limits.topic_levels", "3"),
            ("mqtt.maximum_qos", "1"),
            ("mqtt.retain_available", "false"),
        ]);
        let connect = Connect::new(version, "client").keep_alive(5);
        let wrong = [
            Publish::new("a/b/c/d", "p").bytes_for(version),
            Publish::new("t", "p").qos(2, 1).bytes_for(version),
            Publish::new("t", "p").retain().bytes_for(version),
            Publish::new("#", "p").bytes_for(version),
            vec![0x82, 2, 0, 1],
            vec![0xf0, 0],
            vec![0xe0, 1, 0],
        ];
        for bytes in wrong {
            let mut client = server.connect(&connect);
            client.send(&bytes);
            assert!(client.read_all().is_empty(), "{bytes:02x?}");
        }

        let mut client = server.connect(&connect);
        server.pass(8);
        assert!(client.read_all().is_empty());
        for reason in (0x80..=0xa2).filter_map(ReasonCode::from_u8) {
            let mut client = server.connect(&connect);
            assert!(server.disconnect("client", reason));
            assert!(client.read_all().is_empty(), "{reason:?}");
        }
        let mut client = server.connect(&connect);
        assert!(server.clear_session("client"));
        assert!(client.read_all().is_empty());
        for how in [
            midge::Stop::Drain(std::time::Duration::from_secs(5)),
            midge::Stop::Now,
        ] {
            let server = broker();
            let mut client = server.connect(&connect);
            server.stop(how).expect("no thread of the broker");
            assert!(client.read_all().is_empty());
        }
    }
}

/// Covers: v3:MQTT-3.1.2-24, v5:MQTT-3.1.2-22
#[test]
fn keep_alive_is_enforced_on_time() {
    for version in VERSIONS {
        for (seconds, limit) in [(1u16, 1_500), (2, 3_000), (10, 15_000), (300, 450_000)] {
            let server = broker();
            let mut watcher = client(&server, 5, "watcher");
            watcher.subscribe("will", 0);
            let connect = Connect::new(version, "client").keep_alive(seconds);
            let mut client = server.connect(&connect.will(Will::new("will", "w")));
            server.pass_ms(limit - 1);
            watcher.expect_nothing();
            server.pass_ms(1);
            // To the millisecond, whatever interval timers may have.
            watcher.expect_message("will", "w");
            ended(&mut client, &[0x8d]);
        }
    }
}

/// Covers: U311-03, NN5-040
#[test]
fn a_socket_that_never_sends_connect_is_not_kept() {
    let server = broker_set(&[("limits.connect_timeout_ms", "500")]);
    let mut silent = server.open();
    let mut slow = server.say([0x10]);
    #[cfg(unix)]
    let mut pair = midge_testkit::Client::over(std::os::unix::net::UnixStream::from(
        server.connect_fd().expect("a connection"),
    ));
    #[cfg(not(unix))]
    let mut pair = server.open();
    let mut other = client(&server, 5, "other");
    while server.stats().connections < 4 {
        other.expect_nothing();
    }

    server.pass_ms(499);
    other.expect_nothing();
    assert_eq!(server.stats().connections, 4);

    // A byte now and then does not help.
    slow.send([0x20]);
    server.pass_ms(2);
    for client in [&mut silent, &mut slow, &mut pair] {
        assert!(client.read_all().is_empty());
    }

    while server.stats().connections > 1 {
        other.expect_nothing();
    }
}

/// Covers: v3:MQTT-4.7.1-2, v3:MQTT-4.7.1-3, v3:MQTT-4.7.3-1, v5:MQTT-4.7.1-1, v5:MQTT-4.7.1-2, v5:MQTT-4.7.3-1
#[test]
fn malformed_filters_are_not_granted() {
    let server = broker();
    for version in VERSIONS {
        for filter in ["a+/b", "a/#/b", "", "a#", "#/", "+a", "a/b+", "##", "++"] {
            let mut client = client(&server, version, "client");
            client.send(Subscribe::new(1).filter(filter, 0).bytes_for(version));
            ended(&mut client, &[0x81, 0x82, 0x8f]);
            let mut client = crate::client(&server, version, "client");
            client.send(unsubscribe(version, 1, &PropsBuf::new(), &[filter]));
            ended(&mut client, &[0x81, 0x82, 0x8f]);
        }
    }
    assert!(server.subscriptions(None).is_empty());
}

/// Covers: v3:MQTT-3.3.2-2, v5:MQTT-3.3.2-2
#[test]
fn a_publish_to_a_wildcard_topic_is_not_acknowledged() {
    let server = broker();
    let mut watcher = client(&server, 5, "watcher");
    watcher.subscribe("#", 2);
    for version in VERSIONS {
        for topic in ["a/+", "#", "a/#", "+"] {
            for qos in 0..3 {
                let mut client = client(&server, version, "client");
                client.send(Publish::new(topic, "p").qos(qos, 1).bytes_for(version));
                ended(&mut client, &[0x81, 0x82, 0x90]);
            }
        }
    }
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-1.5.3-1, v3:MQTT-1.5.3-2, v5:MQTT-1.5.4-1, v5:MQTT-1.5.4-2
#[test]
fn text_that_is_no_utf_8_is_not_forwarded() {
    let server = broker();
    let mut watcher = client(&server, 5, "watcher");
    watcher.subscribe("#", 2);
    for version in VERSIONS {
        for bad in [
            &b"\xff"[..],
            b"a\x80",
            b"\xed\xa0\x80",
            b"\xc0\xaf",
            b"a\0b",
        ] {
            let mut wrong = client(&server, version, "client");
            wrong.send(Publish::new(bad, "p").qos(1, 1).bytes_for(version));
            ended(&mut wrong, &[0x81, 0x82, 0x90]);
            let will = Connect::new(version, "client").will(Will::new(bad, "w"));
            server
                .say(will.bytes())
                .expect_closed_with(&[0x81, 0x82, 0x90]);
        }
    }

    for bad in [&b"\xff"[..], b"\xed\xa0\x80", b"a\0b"] {
        for properties in [
            props().user(bad, "v"),
            props().user("n", bad),
            props().text(id::CONTENT_TYPE, bad),
            props().text(id::RESPONSE_TOPIC, bad),
        ] {
            let mut wrong = client(&server, 5, "client");
            wrong.send(Publish::new("t", "p").props(properties).bytes());
            wrong.expect_disconnect_of(&[0x81, 0x82]);
        }
    }

    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.10.4-5, v5:MQTT-3.10.4-5
#[test]
fn unsubscribe_of_an_unknown_filter_is_answered() {
    let server = broker();
    for version in VERSIONS {
        let mut client = client(&server, version, "client");
        let codes = client.unsubscribe(&["unknown", "a/#"]);
        let expected: &[u8] = if version == 5 { &[0x11, 0x11] } else { &[] };
        assert_eq!(codes, expected);
        client.expect_nothing();
    }
}

/// Covers: v3:MQTT-4.7.2-1, v5:MQTT-4.7.2-1
#[test]
fn a_leading_wildcard_does_not_show_dollar_topics() {
    let server = broker_set(&[("sys.interval_s", "1")]);
    for version in VERSIONS {
        let mut client = client(&server, version, "client");
        for filter in ["#", "+/broker/#", "+/#", "+/broker/uptime"] {
            client.subscribe(filter, 1);
        }
        server.set_retained("$x/y", "p").expect("a host may");
        server.pass(5);
        client.subscribe("#", 1);
        client.expect_nothing();
        // They are there for requests by name.
        client.subscribe("$SYS/#", 0);
        assert!(!client.drain().is_empty());
    }
}

/// Covers: v5:MQTT-3.4.2-1, v5:MQTT-3.5.2-1, v5:MQTT-4.3.2-4
#[test]
fn puback_says_when_there_is_no_subscriber() {
    let server = broker();
    let mut publisher = client(&server, 5, "publisher");
    for qos in 1..3 {
        assert_eq!(publisher.deliver(&Publish::new("t", "p").qos(qos, 0)), 0x10);
    }
    // An offline subscriber counts, a subscriber of another topic does not.
    let mut subscriber = server.connect(&kept(4, "client"));
    subscriber.request(&Subscribe::new(0).filter("t", 1).filter("u/+", 1));
    subscriber.disconnect();
    for qos in 1..3 {
        assert_eq!(publisher.deliver(&Publish::new("t", "p").qos(qos, 0)), 0);
        assert_eq!(publisher.deliver(&Publish::new("u", "p").qos(qos, 0)), 0x10);
    }
    // There is no such code before version 5.
    let mut old = client(&server, 4, "old");
    old.send(Publish::new("u", "p").qos(1, 1).bytes_for(4));
    assert_eq!(old.expect_ack(Kind::Puback, 1).code, 0);
}

/// Covers: v5:MQTT-4.12.0-1
#[test]
fn an_unknown_authentication_method_is_refused() {
    let server = broker();
    for method in ["unknown", "SCRAM-SHA-256", ""] {
        for data in [props(), props().text(id::AUTHENTICATION_DATA, "data")] {
            let with = props().text(id::AUTHENTICATION_METHOD, method).raw(data.0);
            let connect = Connect::v5("client").props(with);
            server.say(connect.bytes()).expect_refused(0x8c);
        }
    }
    assert!(server.sessions().is_empty());
}
