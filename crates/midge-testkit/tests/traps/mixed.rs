//! Clients of MQTT 3.1, 3.1.1 and 5 on one port.

use midge_testkit::{Connect, Kind, Packet, Publish, Subscribe, Will, ack, id};

use crate::common::{broker, broker_set, props};
use crate::{VERSIONS, client, kept};

/// A PUBLISH with everything that only version 5 has.
fn rich(topic: &str, payload: &str, qos: u8) -> Publish {
    let said = props()
        .u8(id::PAYLOAD_FORMAT_INDICATOR, 1)
        .text(id::CONTENT_TYPE, "text/plain")
        .text(id::RESPONSE_TOPIC, "answer/here")
        .text(id::CORRELATION_DATA, "\x01\x02")
        .user("name", "value");
    Publish::new(topic, payload).qos(qos, 0).props(said)
}

/// Covers: NN5-037, v3:MQTT-3.1.2-1, V31-01
#[test]
fn every_version_reaches_every_other() {
    let server = broker();
    let mut clients: Vec<_> = VERSIONS
        .iter()
        .map(|version| {
            let mut client = client(&server, *version, &format!("client {version}"));
            client.subscribe("t", 2);
            client
        })
        .collect();

    for publisher in 0..3 {
        for qos in 0..3 {
            let payload = [publisher as u8, qos];
            clients[publisher].publish("t", payload, qos);
            for client in &mut clients {
                let message = client.receive();
                assert_eq!((message.qos, &message.payload[..]), (qos, &payload[..]));
            }
        }
    }

    for client in &mut clients {
        client.expect_nothing();
    }
}

/// Covers: NN5-033, v3:MQTT-4.4.0-1, v5:MQTT-4.4.0-1, v5:MQTT-3.2.2-3
#[test]
fn a_session_goes_on_in_any_version() {
    let server = broker();
    let mut publisher = client(&server, 5, "publisher");
    let mut subscriber = server.begin(&kept(4, "client"));
    subscriber.subscribe("t", 2);
    for (text, qos) in [("released", 2), ("two", 2), ("one", 1)] {
        publisher.deliver(&rich("t", text, qos));
    }

    let sent: Vec<_> = (0..3).map(|_| subscriber.expect_publish()).collect();
    subscriber.send(ack(Kind::Pubrec, sent[0].id));
    subscriber.expect_ack(Kind::Pubrel, sent[0].id);
    subscriber.cut();
    publisher.deliver(&rich("t", "queued", 1));
    for version in [5, 3, 4, 5, 4, 3, 5] {
        let (mut subscriber, connack) = server.answer(&kept(version, "client"));
        assert_eq!(connack.session_present, version != 3, "{version}");
        subscriber.expect_ack(Kind::Pubrel, sent[0].id);
        for (number, text) in [(1, "two"), (2, "one")] {
            let again = subscriber.expect_message("t", text);
            assert!(again.dup && again.id == sent[number].id, "{again:?}");
        }
        let queued = subscriber.expect_message("t", "queued");
        // What version 5 has is lost to no one but the others.
        let told = queued.props.users() == [("name", "value")];
        assert_eq!(told, version == 5, "{queued:?}");
        subscriber.cut();
    }

    let mut subscriber = server.connect(&kept(3, "client"));
    subscriber.expect_ack(Kind::Pubrel, sent[0].id);
    subscriber.send(ack(Kind::Pubcomp, sent[0].id));
    for text in ["two", "one", "queued"] {
        assert_eq!(subscriber.receive().text(), text);
    }

    subscriber.expect_nothing();
}

/// Covers: NN5-033, v5:MQTT-4.3.3-10, v3:MQTT-4.3.3-2
#[test]
fn half_a_qos_2_flow_of_the_client_goes_on_in_any_version() {
    let server = broker();
    let mut watcher = client(&server, 5, "watcher");
    watcher.subscribe("t", 2);
    for (before, after) in [(4, 5), (5, 4), (3, 5), (5, 3)] {
        let mut publisher = server.connect(&kept(before, "publisher"));
        publisher.send(Publish::new("t", "once").qos(2, 9).bytes_for(before));
        publisher.expect_ack(Kind::Pubrec, 9);
        publisher.cut();
        let mut publisher = server.connect(&kept(after, "publisher"));
        publisher.send(Publish::new("t", "once").qos(2, 9).dup().bytes_for(after));
        assert_eq!(publisher.expect_ack(Kind::Pubrec, 9).code, 0);
        publisher.send(ack(Kind::Pubrel, 9));
        assert_eq!(publisher.expect_ack(Kind::Pubcomp, 9).code, 0);
        publisher.disconnect();
        assert_eq!(watcher.receive().text(), "once");
        watcher.expect_nothing();
    }
}

/// Covers: NN5-139, NN5-140, v3:MQTT-3.3.2-3
#[test]
fn properties_of_version_5_are_no_part_of_an_older_packet() {
    let server = broker();
    let mut publisher = client(&server, 5, "publisher");
    for version in [3, 4] {
        let mut old = client(&server, version, "old");
        old.subscribe("live", 0);
        publisher.deliver(&rich("live", "payload", 0).expiry(60));
        let retained = rich("kept", "payload", 0).expiry(60).retain();
        publisher.deliver(&retained);
        old.barrier();
        assert_eq!(old.receive().text(), "payload");
        old.send(Subscribe::new(9).filter("kept", 0).bytes_for(version));
        old.end();
        let expected = [&[0x90, 3, 0, 9, 0][..], &[0x31, 13, 0, 4], b"keptpayload"];
        assert_eq!(old.read_all(), expected.concat());
    }

    // In the other direction a retained message has none to begin with.
    client(&server, 3, "old").retain("from old", "p", 1);

    let mut new = client(&server, 5, "new");
    new.subscribe("from old", 1);

    let message = new.receive();
    assert!(message.retain && message.props.is_empty(), "{message:?}");
}

/// Covers: NN5-139, v5:MQTT-3.3.2-5
#[test]
fn message_expiry_counts_for_older_clients_too() {
    for version in [3, 4] {
        let server = broker();
        let mut publisher = client(&server, 5, "publisher");
        publisher.deliver(&rich("kept/short", "r", 1).expiry(5).retain());
        publisher.deliver(&rich("kept/long", "r", 1).expiry(500).retain());
        let mut old = server.connect(&kept(version, "old"));
        old.subscribe("t", 1);
        old.cut();
        publisher.deliver(&rich("t", "short", 1).expiry(5));
        publisher.deliver(&rich("t", "long", 1).expiry(500));
        server.pass(6);
        let mut old = server.connect(&kept(version, "old"));
        assert_eq!(old.receive().text(), "long");
        old.expect_nothing();
        old.subscribe("kept/#", 1);
        assert_eq!(old.receive().topic, "kept/long");
        old.expect_nothing();
        server.pass(600);
        assert!(server.retained("#").is_empty());
    }
}

/// Covers: NN5-033, NN5-029, v5:MQTT-4.1.0-2
#[test]
fn session_expiry_follows_the_version_of_the_last_connection() {
    let server = broker();
    let short = Connect::v5("client").clean(false).expiry(10);
    server.begin(&short).disconnect();
    server.pass(9);

    // A session of 3.1.1 that is kept never ends,
    server.resume(&kept(4, "client")).disconnect();
    server.pass(1_000_000);
    server.resume(&kept(4, "client")).disconnect();

    // one of version 5 ends when it said,
    server.resume(&short).disconnect();
    server.pass(11);
    server.begin(&short).disconnect();

    // and one without expiry with its connection, whichever version began it.
    server.resume(&kept(4, "client")).disconnect();
    server.resume(&Connect::v5("client")).disconnect();
    server.begin(&kept(4, "client")).disconnect();

    // A clean session of 3.1.1 takes an older one away.
    server.begin(&Connect::new(3, "client")).disconnect();
    server.begin(&short);
}

/// Covers: NN5-141, v3:MQTT-3.9.3-2, v3:MQTT-3.2.2-6, V31-10
#[test]
fn no_code_of_version_5_reaches_an_older_client() {
    // Every limit that has a reason code of its own.
    let server = broker_set(&[
        ("limits.subscriptions_per_client", "1"),
        ("limits.topic_levels", "3"),
        ("limits.sessions", "2"),
        ("mqtt.wildcard_available", "false"),
        ("mqtt.shared_available", "false"),
    ]);

    for version in [3, 4] {
        let mut old = client(&server, version, "old");
        let request = Subscribe::new(1)
            .filter("a", 1)
            .filter("b", 1)
            .filter("a/b/c/d", 2)
            .filter("#", 2)
            .filter("$share/g/t", 0);
        old.send(request.bytes_for(version));
        let codes = old.expect_suback(1).codes;
        let expected = if version == 4 {
            [1, 0x80, 0x80, 0x80, 0x80]
        } else {
            // There is no code for a failure.
            [1, 1, 2, 2, 0]
        };

        assert_eq!(codes, expected);
        assert_eq!(server.subscriptions(Some("old")).len(), 1);
        let mut second = client(&server, version, "second");
        let mut refused = server.say(Connect::new(version, "third").bytes());
        let answer = refused.read_all();
        let right = answer.is_empty() || matches!(answer[..], [0x20, 2, 0, 1..=5]);
        assert!(right, "{answer:02x?}");
        second.expect_nothing();
        // Acknowledgements have no code at all.
        old.send(Publish::new("nobody", "p").qos(1, 5).bytes_for(version));
        old.send([0xa2, 5, 0, 6, 0, 1, b'x']);
        old.send([0x62, 2, 0, 7]);
        old.end();
        let expected = [0x40, 2, 0, 5, 0xb0, 2, 0, 6, 0x70, 2, 0, 7];
        assert_eq!(old.read_all(), expected);
        second.disconnect();
    }
}

/// Covers: NN5-142, v5:MQTT-3.3.4-3
#[test]
fn subscription_options_wait_for_version_5_to_come_back() {
    let server = broker();
    let mut publisher = client(&server, 5, "publisher");
    let mut session = server.begin(&kept(5, "client"));

    // No Local, Retain As Published, and an identifier.
    let request = Subscribe::new(0).filter("t", 0x0d).subscription_id(77);
    session.request(&request);
    session.disconnect();

    let mut session = server.resume(&kept(4, "client"));
    publisher.retain("t", "p", 1);

    let message = session.receive();
    assert!(message.props.is_empty(), "{message:?}");
    session.publish("t", "own", 1);
    session.expect_nothing();
    session.disconnect();

    let mut session = server.resume(&kept(5, "client"));
    publisher.publish("t", "p", 1);
    assert_eq!(session.receive().props.subscription_ids(), [77]);

    // An older client that subscribes again has none of them.
    session.disconnect();

    let mut session = server.resume(&kept(4, "client"));
    session.subscribe("t", 1);
    assert!(session.receive().retain, "the retained message");
    session.publish("t", "own", 1);
    assert_eq!(session.receive().text(), "own");
    session.disconnect();

    let mut session = server.resume(&kept(5, "client"));
    publisher.publish("t", "p", 1);
    assert!(session.receive().props.is_empty());
}

/// Covers: NN5-108, NN5-100
#[test]
fn members_of_a_group_may_have_any_version() {
    let server = broker();
    let mut members: Vec<_> = VERSIONS
        .iter()
        .map(|version| {
            let mut member = client(&server, *version, &format!("member {version}"));
            member.subscribe("$share/g/t/#", 1);
            member
        })
        .collect();
    let mut publisher = client(&server, 4, "publisher");
    for number in 0..30u8 {
        publisher.publish("t/x", [number], 1);
    }

    let mut all = Vec::new();
    for member in &mut members {
        let got = member.drain();
        assert_eq!(got.len(), 10, "each takes its share");
        all.extend(got.into_iter().map(|message| message.payload[0]));
    }

    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<u8>>());
}

/// Covers: v5:MQTT-3.1.2-8, v3:MQTT-3.1.2-8, NN5-017
#[test]
fn wills_cross_versions() {
    let server = broker();
    let mut watchers: Vec<_> = VERSIONS
        .iter()
        .map(|version| {
            let mut watcher = client(&server, *version, &format!("watcher {version}"));
            watcher.subscribe("will/#", 1);
            watcher
        })
        .collect();

    for version in VERSIONS {
        let will = Will::new(format!("will/{version}"), "w").qos(1);
        let said = props().user("n", "v").text(id::CONTENT_TYPE, "c");
        let will = if version == 5 { will.props(said) } else { will };
        server
            .connect(&Connect::new(version, "mortal").will(will))
            .cut();
        for watcher in &mut watchers {
            let message = watcher.receive();
            assert_eq!(message.topic, format!("will/{version}"));
            let told = message.props.users() == [("n", "v")];
            assert_eq!(told, version == 5 && watcher.version() == 5);
        }
    }

    // A will that waits for its delay ends its waiting when the session is taken away by 3.1.1.
    let will = Will::new("will/late", "w").delay(60);
    server.begin(&kept(5, "mortal").will(will)).cut();
    for watcher in &mut watchers {
        watcher.expect_nothing();
    }

    let mut next = server.begin(&Connect::new(4, "mortal"));
    for watcher in &mut watchers {
        watcher.expect_message("will/late", "w");
    }

    next.send([0xc0, 0]);
    assert_eq!(next.recv(), Packet::Pingresp);
}
