//! Packet sizes, and limits that the broker sets.

use midge_testkit::{
    Client, Connect, Kind, Publish, Subscribe, Will, ack, disconnect, id, unsubscribe,
};

use crate::common::{Server, broker, broker_set, props};

/// Bytes of a QoS 0 PUBLISH to "t" without properties, its payload not counted, for payloads that
/// make a Remaining Length of one byte.
const FRAME: usize = 2 + 3 + 1;

/// A subscriber to "t" that takes packets of so many bytes.
#[track_caller]
fn limited(server: &Server, bytes: u32) -> Client {
    let connect = Connect::v5("limited")
        .maximum_packet_size(bytes)
        .expiry(600)
        .clean(false);
    let mut client = server.connect(&connect);
    client.subscribe("t", 2);
    client
}

/// Covers: v5:MQTT-3.1.2-24, NN5-003
#[test]
fn mqtt_3_1_2_24_no_packet_is_larger_than_the_client_takes() {
    let server = broker();
    let mut publisher = server.client("publisher");

    // Size of the whole packet and length of its payload, around lengths of one, two, three bytes.
    for (size, payload) in [
        (20, 20 - FRAME),
        (129, 127 - 4),
        (131, 128 - 4),
        (16_386, 16_383 - 4),
        (16_388, 16_384 - 4),
    ] {
        println!("{size}");
        let mut client = limited(&server, size);
        publisher.publish("t", vec![b'x'; payload], 0);
        client.expect_message("t", vec![b'x'; payload]);
        publisher.publish("t", vec![b'x'; payload + 1], 0);
        client.expect_nothing();
        // A packet identifier takes two more bytes.
        for qos in 1..3 {
            publisher.publish("t", vec![b'x'; payload - 2], qos);
            assert_eq!(client.receive().payload.len(), payload - 2);
            publisher.publish("t", vec![b'x'; payload - 1], qos);
            client.expect_nothing();
        }
        // What the broker adds counts as well.
        client.request(&Subscribe::new(0).filter("t", 0).subscription_id(5));
        publisher.publish("t", vec![b'x'; payload - 2], 0);
        client.receive();
        publisher.publish("t", vec![b'x'; payload - 1], 0);
        client.expect_nothing();
        client.disconnect();
        server.connect(&Connect::v5("limited")).disconnect();
    }
}

/// Covers: v5:MQTT-3.1.2-25
#[test]
fn mqtt_3_1_2_25_what_is_too_large_counts_as_sent() {
    let server = broker();
    let connect = Connect::v5("limited").clean(false).expiry(600);
    let connect = connect.maximum_packet_size(100).receive_maximum(2);
    let mut client = server.begin(&connect);
    client.subscribe("t/#", 2);

    let mut watcher = server.watcher("t/#");
    let mut publisher = server.client("publisher");
    let huge = vec![b'x'; 1000];
    for round in 0..10u8 {
        for qos in 0..3 {
            publisher.publish("t/1", [round], qos);
            publisher.publish("t/1", &huge, qos);
            publisher.publish("t/1", [round, 1], qos);
            for payload in [&[round][..], &huge, &[round, 1]] {
                assert_eq!(watcher.receive().payload, payload);
            }
            assert_eq!(client.receive().payload, [round]);
            assert_eq!(client.receive().payload, [round, 1]);
        }
    }

    client.expect_nothing();

    // While the quota is used up, too.
    publisher.publish("t/1", "1", 1);
    publisher.publish("t/1", "2", 1);
    for payload in ["3", "4"] {
        publisher.publish("t/1", &huge, 1);
        publisher.publish("t/1", payload, 1);
    }

    for payload in ["1", "2", "3", "4"] {
        assert_eq!(client.receive().text(), payload);
    }

    client.expect_nothing();
    client.disconnect();

    // From the queue of a session, and from the retained messages.
    publisher.publish("t/1", &huge, 2);
    publisher.publish("t/1", "queued", 2);
    publisher.retain("r/1", &huge, 1);
    publisher.retain("r/2", "small", 1);

    let mut client = server.resume(&connect);
    assert_eq!(client.receive().text(), "queued");
    client.subscribe("r/#", 1);
    assert_eq!(client.receive().text(), "small");
    client.expect_nothing();
    assert_eq!(client.unfinished(), 0);
}

/// Covers: v5:MQTT-3.1.2-25, v5:MQTT-4.4.0-1
#[test]
fn mqtt_3_1_2_25_a_smaller_limit_of_the_next_connection_counts() {
    let server = broker();
    let connect = Connect::v5("limited").clean(false).expiry(600);
    let mut client = server.begin(&connect);
    client.subscribe("t", 1);
    let mut publisher = server.client("publisher");
    publisher.publish("t", vec![b'x'; 1000], 1);
    publisher.publish("t", "small", 1);
    client.expect_publish();
    client.expect_message("t", "small");
    client.cut();
    let mut client = server.resume(&connect.clone().maximum_packet_size(100));
    let again = client.expect_message("t", "small");
    assert!(again.dup);
    client.acknowledge(&again);
    client.expect_nothing();
    client.cut();
    server.resume(&connect).expect_nothing();
}

/// Covers: v5:MQTT-3.2.2-15, NN5-003
#[test]
fn mqtt_3_2_2_15_a_packet_beyond_the_announced_size_is_refused() {
    for limit in [128, 129, 131, 16_386, 16_388] {
        let server = broker_set(&[("limits.packet_bytes", &limit.to_string())]);
        let mut watcher = server.watcher("t");
        let (mut client, connack) = server.answer(&Connect::v5("client"));
        assert_eq!(connack.props.number(id::MAXIMUM_PACKET_SIZE), Some(limit));
        let limit = limit as usize;
        let publish = |size: usize| {
            let payload =
                (0..).find(|payload| Publish::new("t", vec![0; *payload]).bytes().len() >= size);
            Publish::new("t", vec![0; payload.expect("some size")]).bytes()
        };
        let largest = publish(limit);
        assert_eq!(largest.len(), limit);
        client.send(&largest);
        watcher.expect_publish();
        client.send(publish(limit + 1));
        client.expect_disconnect(0x95);
        // The header is enough to know: the body is not waited for.
        let mut client = server.client("client");
        client.send([0x30, 0x80, 0x80, 0x80, 0x01]);
        client.expect_disconnect(0x95);
        let connect = Connect::v5("client").user("x".repeat(limit));
        server.say(connect.bytes()).expect_closed_with(&[0x95]);
        server
            .say(&connect.bytes()[..60])
            .expect_closed_with(&[0x95]);
        watcher.expect_nothing();
    }
}

/// Does something wrong or pointless that each kind of answer has a reason string for, and says
/// how many of the answers had one.
fn provoke(server: &Server, connect: &Connect) -> usize {
    let mut client = server.connect(connect);
    let mut told = 0;
    let mut count = |props: &midge_testkit::Props| {
        told += usize::from(props.has(id::REASON_STRING));
        assert!(!props.has(id::USER_PROPERTY), "{props:?}");
    };

    client.send(Publish::new("$SYS/x", "p").qos(1, 1).bytes());

    let puback = client.expect_ack(Kind::Puback, 1);
    assert!(puback.code >= 0x80);
    count(&puback.props);
    client.send(Publish::new("$SYS/x", "p").qos(2, 2).bytes());

    let pubrec = client.expect_ack(Kind::Pubrec, 2);
    assert!(pubrec.code >= 0x80);
    count(&pubrec.props);
    client.send(ack(Kind::Pubrel, 3));

    let pubcomp = client.expect_ack(Kind::Pubcomp, 3);
    assert_eq!(pubcomp.code, 0x92);
    count(&pubcomp.props);
    client.send(ack(Kind::Pubrec, 4));

    let pubrel = client.expect_ack(Kind::Pubrel, 4);
    assert_eq!(pubrel.code, 0x92);
    count(&pubrel.props);

    let suback = client.request(&Subscribe::new(5).filter("a/b/c/d/e", 1));
    assert_eq!(suback.codes, [0x8f]);
    count(&suback.props);
    client.send(unsubscribe(5, 6, &props(), &["nothing"]));

    let unsuback = client.expect_unsuback(6);
    assert_eq!(unsuback.codes, [0x11]);
    count(&unsuback.props);
    client.send([0x00, 0x00]);
    count(&client.expect_disconnect(0x81).props);
    told
}

/// Covers: v5:MQTT-3.4.2-2, v5:MQTT-3.4.2-3, v5:MQTT-3.5.2-2, v5:MQTT-3.5.2-3, v5:MQTT-3.6.2-2, v5:MQTT-3.6.2-3, v5:MQTT-3.7.2-2, v5:MQTT-3.7.2-3, v5:MQTT-3.9.2-1, v5:MQTT-3.9.2-2, v5:MQTT-3.11.2-1, v5:MQTT-3.11.2-2, v5:MQTT-3.14.2-3, v5:MQTT-3.14.2-4, NN5-085
#[test]
fn mqtt_3_4_2_2_reasons_in_words_are_left_out_where_they_do_not_fit() {
    let server = broker_set(&[("limits.topic_levels", "4")]);
    // CONNACK is the largest packet that must fit.
    for limit in 13..=80 {
        // Each read checks the size; each answer has its code.
        let told = provoke(&server, &Connect::v5("client").maximum_packet_size(limit));
        assert!(
            limit > 13 || told == 0,
            "{told} reason strings in {limit} bytes"
        );
    }
}

/// Covers: NN5-047, NN5-126
#[test]
fn nn5_047_refusals_say_why() {
    let server = broker_set(&[("limits.topic_levels", "4")]);
    // PUBACK, PUBREC, SUBACK and DISCONNECT have something to say beyond their code.
    assert!(provoke(&server, &Connect::v5("client")) >= 4);
    let refuse = props().u8(id::REQUEST_PROBLEM_INFORMATION, 0);
    // Here only DISCONNECT may.
    assert!(provoke(&server, &Connect::v5("client").props(refuse)) <= 1);
}

/// Covers: NN5-086
#[test]
fn nn5_086_an_absurd_maximum_packet_size_breaks_nothing() {
    let server = broker();
    for limit in 1..20 {
        println!("{limit}");
        let mut client = server.say(Connect::v5("absurd").maximum_packet_size(limit).bytes());
        match client.recv_or_end() {
            None => continue,
            Some(midge_testkit::Packet::Connack(connack)) if connack.code == 0 => {}
            other => panic!("{other:?}"),
        }
        // What does not fit is not sent; at the worst the connection ends.
        client.send(
            Subscribe::new(1)
                .filter("t", 0)
                .filter("u", 0)
                .filter("v", 0)
                .bytes(),
        );
        client.send(
            Publish::new("t", "a long payload for this")
                .qos(1, 2)
                .bytes(),
        );
        client.send([0xe0, 0]);
        while client.recv_or_end().is_some() {}
    }

    server.client("other").expect_nothing();
}

/// Covers: NN5-145
#[test]
fn nn5_145_publishing_too_fast_is_refused() {
    let server = broker_set(&[("limits.publish_rate", "10")]);
    let mut client = server.client("client");
    for _ in 0..3 {
        for _ in 0..10 {
            client.publish("t", "p", 1);
        }
        server.pass(1);
    }
    for _ in 0..10 {
        client.publish("t", "p", 0);
    }
    client.send(Publish::new("t", "p").bytes());
    client.expect_disconnect(0x96);
}

/// Covers: NN5-145
#[test]
fn nn5_145_sessions_and_subscriptions_have_their_limits() {
    let server = broker_set(&[
        ("limits.sessions", "2"),
        ("limits.subscriptions_per_client", "2"),
    ]);
    let mut client = server.begin(&Connect::v5("one").expiry(60));
    server.begin(&Connect::v5("two").expiry(60)).disconnect();
    server
        .say(Connect::v5("three").bytes())
        .expect_refused(0x97);
    server.resume(&Connect::v5("two").expiry(60));

    let three = Subscribe::new(0)
        .filter("a", 0)
        .filter("b", 1)
        .filter("c", 2);
    assert_eq!(client.request(&three).codes, [0, 1, 0x97]);

    // Replacing one is no further one.
    assert_eq!(client.request(&Subscribe::new(0).filter("a", 2)).codes, [2]);
    client.unsubscribe(&["b"]);
    assert_eq!(client.request(&Subscribe::new(0).filter("c", 2)).codes, [2]);
}

/// Covers: NN5-145
#[test]
fn nn5_145_shared_subscriptions_and_patterns_of_wildcards_have_their_limits() {
    for few in [2, 12] {
        let limit = few.to_string();
        let server = broker_set(&[
            ("limits.shared_subscriptions_per_client", &limit),
            ("limits.wildcard_patterns_per_client", &limit),
        ]);
        let mut client = server.client("client");
        for number in 0..few {
            client.subscribe(&format!("$share/g{number}/+/#"), 1);
            client.subscribe(&format!("{}#", "+/".repeat(number)), 1);
        }

        let more = Subscribe::new(0)
            .filter("$share/more/t", 1)
            .filter("t/+", 1)
            .filter("t", 1)
            .filter("a/#", 1)
            .filter("$share/g1/+/#", 2)
            .filter("+/#", 2);
        let codes = client.request(&more).codes;
        // "a/#" is a pattern of its own: its first level is no wildcard.
        assert_eq!(codes, [0x97, 0x97, 1, 0x97, 2, 2]);
        // The limits are those of one client.
        server.client("other").subscribe("t/+", 1);
        client.unsubscribe(&["$share/g1/+/#", "+/#"]);
        let more = Subscribe::new(0)
            .filter("$share/more/t", 1)
            .filter("t/+", 1)
            .filter("u/+", 1)
            .filter("a/#", 1);
        assert_eq!(client.request(&more).codes, [1, 1, 1, 0x97]);
    }
}

/// Covers: NN5-145
#[test]
fn nn5_145_packets_with_too_many_filters_end_the_connection() {
    let server = broker_set(&[("limits.filters_per_packet", "3")]);
    let filters = ["a", "b", "c", "d"];
    let subscribe = |count| {
        let add = |subscribe: Subscribe, filter: &&str| subscribe.filter(filter, 0);
        filters[..count].iter().fold(Subscribe::new(7), add).bytes()
    };

    let unsubscribe = |count| unsubscribe(5, 8, &props(), &filters[..count]);
    let mut client = server.client("client");
    client.send(subscribe(3));
    assert_eq!(client.expect_suback(7).codes, [0; 3]);
    client.send(unsubscribe(3));
    assert_eq!(client.expect_unsuback(8).codes, [0; 3]);
    client.send(subscribe(4));
    client.expect_disconnect(0x97);
    assert_eq!(server.stats().subscriptions, 0);

    let mut client = server.client("client");
    client.send(unsubscribe(4));
    client.expect_disconnect(0x97);
}

/// Covers: NN5-145
#[test]
fn nn5_145_user_properties_have_a_limit() {
    let server = broker_set(&[("limits.user_properties", "2")]);
    let users = |count| (0..count).fold(props(), |props, _| props.user("name", "value"));
    let connect = |own, of_will| {
        let will = Will::new("will", "w").props(users(of_will));
        Connect::v5("client").props(users(own)).will(will)
    };

    server.connect(&connect(2, 2)).disconnect();
    for (own, of_will) in [(3, 0), (0, 3)] {
        let bytes = connect(own, of_will).bytes();
        server.say(bytes).expect_refused(0x97);
    }

    let packets = |count| {
        [
            Publish::new("t", "p").props(users(count)).bytes(),
            Subscribe::new(7).filter("t", 0).props(users(count)).bytes(),
            unsubscribe(5, 8, &users(count), &["t"]),
            disconnect(4, &users(count)),
        ]
    };

    for packet in packets(3) {
        let mut client = server.client("client");
        client.send(packet);
        client.expect_disconnect(0x97);
    }

    let mut client = server.client("client");
    for packet in packets(2) {
        client.send(packet);
    }

    client.expect_suback(7);
    client.expect_unsuback(8);
    client.expect_closed();
}

/// Covers: NN5-145, v5:MQTT-3.2.2-15
#[test]
fn nn5_145_connect_has_a_limit_of_its_own() {
    let server = broker_set(&[("limits.connect_bytes", "1000")]);
    let connect = |bytes| {
        Connect::v5("client")
            .user("user")
            .password(vec![b'x'; bytes])
    };

    let overhead = connect(0).bytes().len() + 1; // a Remaining Length of two bytes
    server.connect(&connect(1000 - overhead)).disconnect();
    server
        .say(connect(1001 - overhead).bytes())
        .expect_refused(0x95);

    // It is refused by its length alone.
    server
        .say(&connect(60_000).bytes()[..20])
        .expect_refused(0x95);

    let mut client = server.client("client");
    client.subscribe("t", 0);
    client.publish("t", vec![b'x'; 5000], 1);
    client.receive();
}

/// Covers: NN5-036
#[test]
fn nn5_036_retained_messages_have_a_limit() {
    let server = broker_set(&[("limits.retained_messages", "2")]);
    let mut client = server.client("client");
    let mut watcher = server.watcher("#");
    for number in 0..4u8 {
        client.deliver(&Publish::new(format!("t/{number}"), "r").qos(1, 0).retain());
        watcher.receive();
    }
    let mut late = server.client("late");
    late.subscribe("#", 0);
    late.expect_message("t/0", "r");
    late.expect_message("t/1", "r");
    late.expect_nothing();
}

/// Covers: NN5-135, NN5-036
#[test]
fn nn5_135_a_reader_that_stops_holds_up_no_other() {
    const COUNT: u32 = 3000;

    let server = broker_set(&[("limits.session_queue_bytes", "1048576")]);
    let mut stopped = server.client("stopped");
    stopped.subscribe("t", 0);

    let mut reader = server.client("reader");
    reader.subscribe("t", 0);

    let mut publisher = server.client("publisher");
    for number in 0..COUNT {
        let payload = [&number.to_be_bytes()[..], &[b'x'; 10_000]].concat();
        publisher.publish("t", &payload, 0);
        reader.expect_message("t", &payload);
    }

    // It gets a beginning, and is still a client; then it may go on.
    let got = stopped.drain();
    assert!(
        got.len() < COUNT as usize,
        "30 MB do not fit into sockets and 1 MB of queue"
    );

    let numbers: Vec<&[u8]> = got.iter().map(|message| &message.payload[..4]).collect();
    assert!(numbers.is_sorted());
    publisher.publish("t", "again", 0);
    stopped.expect_message("t", "again");
}

/// Covers: NN5-111
#[test]
fn nn5_111_statistics_are_retained_under_sys() {
    let server = broker_set(&[("sys.interval_s", "10")]);
    let mut client = server.client("client");
    client.subscribe("$SYS/#", 0);

    let messages = client.drain();
    let value = |name: &str| {
        let topic = format!("$SYS/broker/{name}");
        let message = messages.iter().find(|message| message.topic == topic);
        message
            .unwrap_or_else(|| panic!("{topic} is missing"))
            .text()
    };

    assert!(value("version").starts_with("midge"));
    for name in [
        "uptime",
        "clients/connected",
        "messages/received",
        "messages/sent",
    ] {
        assert!(!value(name).is_empty());
    }

    assert!(messages.iter().all(|message| message.retain));

    // Statistics go on with the clock.
    let mut other = server.client("other");
    other.publish("t", "p", 1);
    server.pass(11);

    let later = client.drain();
    let connected = later
        .iter()
        .rfind(|m| m.topic == "$SYS/broker/clients/connected");
    assert_eq!(connected.expect("a new value").text(), "2");
    assert!(later.iter().all(|message| !message.retain));
}

/// Covers: v5:MQTT-3.2.2-19
#[test]
fn mqtt_3_2_2_19_will_and_limits_are_checked_before_anything_is_stored() {
    let server = broker_set(&[("limits.sessions", "1")]);
    let _one = server.client("one");
    let watcher = server.subscribe("#").expect("a filter");
    let connect = Connect::v5("two")
        .will(Will::new("will", "w"))
        .maximum_packet_size(6);
    server.say(connect.bytes()).expect_refused(0x97);
    assert!(watcher.try_recv().is_none());
}
