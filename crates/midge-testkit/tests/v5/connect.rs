//! Chapter 3.1: CONNECT.

use midge_testkit::{
    Connect, Kind, PropsBuf, Publish, Subscribe, Will, Wire, ack, auth, disconnect, id, packet,
    unsubscribe,
};

use crate::common::{Holder, broker, broker_set, props};

/// Covers: v5:MQTT-3.1.0-1, v5:MQTT-3.14.0-1
#[test]
fn mqtt_3_1_0_1_nothing_but_connect_comes_first() {
    let server = broker();
    let mut watcher = server.watcher("#");
    let method = props().text(id::AUTHENTICATION_METHOD, "m");
    for first in [
        packet(0x20, [0, 0, 0]),
        Publish::new("t", "p").bytes(),
        Publish::new("t", "p").qos(1, 1).retain().bytes(),
        ack(Kind::Puback, 1),
        ack(Kind::Pubrec, 1),
        ack(Kind::Pubrel, 1),
        ack(Kind::Pubcomp, 1),
        Subscribe::new(1).filter("t", 0).bytes(),
        packet(0x90, [0, 1, 0, 0]),
        unsubscribe(5, 1, &props(), &["t"]),
        packet(0xb0, [0, 1, 0, 0]),
        packet(0xc0, []),
        packet(0xd0, []),
        disconnect(0, &props()),
        packet(0xe0, []),
        auth(0x18, &method),
        auth(0x19, &method),
        packet(0x00, []),
        [
            &b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\n"[..],
            &[b'x'; 99],
        ]
        .concat(),
        [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x55; 600]].concat(),
    ] {
        println!("{first:02x?}");
        let answer = server.say(&first).read_all();
        assert!(answer.is_empty(), "{answer:02x?} to {first:02x?}");
    }

    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.1.0-2, v5:MQTT-3.2.0-2
#[test]
fn mqtt_3_1_0_2_a_second_connect_is_a_protocol_error() {
    let server = broker();
    let mut watcher = server.watcher("will");
    for again in ["first", "second"] {
        let connect = Connect::v5("first").will(Will::new("will", again));
        let mut client = server.connect(&connect);
        client.send(Connect::v5(again).bytes());
        client.expect_disconnect(0x82);
        watcher.expect_message("will", again);
    }
}

/// Covers: v5:MQTT-3.1.2-1, v5:MQTT-3.14.0-1
#[test]
fn mqtt_3_1_2_1_another_protocol_name_is_refused() {
    let server = broker();
    for name in ["mqtt", "MQT", "MQTTT", "", "MQTt"] {
        let bytes = Connect::v5("name").bytes_with_protocol(name, 5);
        server.say(bytes).expect_closed_with(&[0x84]);
    }
    // The name of 3.1 gets the answer of 3.1.
    let bytes = Connect::v5("name").bytes_with_protocol("MQIsdp", 5);
    assert_eq!(server.say(bytes).read_all(), [0x20, 2, 0, 1]);
    let long = Connect::v5("name").bytes_with_protocol(vec![b'M'; 60_000], 5);
    server.say(long).expect_closed_with(&[0x84]);
}

/// What the broker says to a level of `MQTT` that it does not speak: CONNACK in the layout of 3.1.1
/// below 5, with and without the bit of a bridge, and in that of MQTT 5 from there on.
#[track_caller]
fn assert_unsupported(level: u8, answer: &[u8]) {
    let v5: &[u8] = &[0x20, 3, 0, 0x84, 0];
    let expected = if level & 0x7f < 5 {
        &[0x20, 2, 0, 1]
    } else {
        v5
    };
    assert_eq!(answer, expected, "{level:#x}");
}

/// Covers: v5:MQTT-3.1.2-2, NN5-142
#[test]
fn mqtt_3_1_2_2_another_protocol_version_is_refused() {
    let server = broker();
    for version in [0, 1, 2, 3, 6, 7, 0x80, 0x83, 0x85, 255] {
        for layout in [4, 5] {
            let bytes = Connect::new(layout, "v").bytes_with_protocol("MQTT", version);
            assert_unsupported(version, &server.say(bytes).read_all());
        }
    }

    let only_5 = broker_set(&[("mqtt.versions", "5")]);
    assert_eq!(
        only_5.say(Connect::new(4, "v").bytes()).read_all(),
        [0x20, 2, 0, 1]
    );
    assert_eq!(
        only_5.say(Connect::new(3, "v").bytes()).read_all(),
        [0x20, 2, 0, 1]
    );
    only_5.client("v").expect_nothing();

    let only_3 = broker_set(&[("mqtt.versions", "3.1,3.1.1")]);
    let mut refused = only_3.say(Connect::v5("v").bytes());
    refused.expect_refused(0x84);
    only_3.connect(&Connect::new(4, "v")).expect_nothing();
    only_3.connect(&Connect::new(3, "v")).expect_nothing();
}

/// Covers: v5:MQTT-3.1.2-3
#[test]
fn mqtt_3_1_2_3_the_reserved_connect_flag_is_0() {
    let server = broker();
    for flags in [0x03, 0x01] {
        server
            .say(Connect::v5("flag").flags(flags).bytes())
            .expect_closed_with(&[0x81]);
    }
}

/// Covers: v5:MQTT-3.1.2-9
#[test]
fn mqtt_3_1_2_9_the_will_flag_wants_properties_topic_and_payload() {
    let server = broker();
    let head = Wire(Connect::v5("will").flags(0x06).header()).text("will");
    for body in [
        head.clone(),
        head.clone().u8(0),
        head.clone().u8(0).text("topic"),
        head.clone().u8(0).text("topic").u16(3).raw("ab"),
        head.text("topic").text("payload"),
    ] {
        server.say(body.packet(0x10)).expect_closed_with(&[0x81]);
        server.begin(&Connect::v5("will").clean(false)).disconnect();
    }
}

/// Covers: v5:MQTT-3.1.2-11, v5:MQTT-3.1.2-12, v5:MQTT-3.1.2-13
#[test]
fn mqtt_3_1_2_11_will_qos_and_retain_fit_the_will_flag() {
    let server = broker();
    for flags in [0x0a, 0x12, 0x1a, 0x22, 0x2a] {
        let connect = Connect::v5("flags").flags(flags).bytes();
        server.say(connect).expect_closed_with(&[0x81, 0x82]);
    }
    let will = |qos| Connect::v5("flags").will(Will::new("t", "w").qos(qos));
    server.say(will(3).bytes()).expect_closed_with(&[0x81]);
    for qos in 0..3 {
        server.connect(&will(qos)).disconnect();
    }
}

/// Covers: v5:MQTT-3.1.2-16, v5:MQTT-3.1.2-17, v5:MQTT-3.1.2-18, v5:MQTT-3.1.2-19, NN5-012
#[test]
fn mqtt_3_1_2_16_user_name_and_password_fit_their_flags() {
    let server = broker();
    let connect = || Connect::v5("flags");
    for broken in [
        connect().user("u").flags(0x02),
        connect().password("p").flags(0x02),
        connect().user("u").password("p").flags(0x82),
        connect().user("u").password("p").flags(0x42),
        connect().user("u").flags(0xc2),
        connect().password("p").flags(0xc2),
        connect().flags(0x82),
        connect().flags(0x42),
    ] {
        server.say(broken.bytes()).expect_closed_with(&[0x81]);
    }

    let trailing = packet(0x10, [connect().body(), vec![0]].concat());
    server.say(trailing).expect_closed_with(&[0x81]);
    server
        .begin(&connect().user("u").password("p"))
        .disconnect();
    server.begin(&connect().user("")).disconnect();
}

/// Covers: v5:MQTT-3.1.2-19, NN5-013
#[test]
fn mqtt_3_1_2_19_a_password_needs_no_user_name() {
    let server = broker();
    let mut client = server.connect(&Connect::v5("password").password([0xff, 0, 0x80]));
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.1.3-1
#[test]
fn mqtt_3_1_3_1_payload_fields_come_in_their_order() {
    let server = broker();
    let mut watcher = server.watcher("#");
    let will = Will::new("the/topic", "the payload")
        .qos(1)
        .props(props().user("n", "v"));
    let connect = Connect::v5("order")
        .will(will)
        .user("user")
        .password("password");
    server.connect(&connect).cut();

    let message = watcher.expect_message("the/topic", "the payload");
    assert_eq!(message.props.users(), [("n", "v")]);

    // Payload before topic: the topic of the will is then another one.
    let head = Wire(connect.header()).text("order").props(&props());
    let swapped = head
        .text("payload")
        .text("topic")
        .text("user")
        .text("password");
    let mut client = server.open();
    client.send(swapped.packet(0x10));
    assert_eq!(client.expect_connack().code, 0);
    client.cut();
    watcher.expect_message("payload", "topic");
}

/// A CONNECT in which every field is used.
fn full() -> Connect {
    let all = props()
        .u32(id::SESSION_EXPIRY_INTERVAL, 600)
        .u16(id::RECEIVE_MAXIMUM, 5)
        .u32(id::MAXIMUM_PACKET_SIZE, 5000)
        .u16(id::TOPIC_ALIAS_MAXIMUM, 3)
        .u8(id::REQUEST_RESPONSE_INFORMATION, 1)
        .u8(id::REQUEST_PROBLEM_INFORMATION, 1)
        .user("n", "v");
    let of_will = props()
        .u8(id::PAYLOAD_FORMAT_INDICATOR, 1)
        .u32(id::MESSAGE_EXPIRY_INTERVAL, 60)
        .text(id::CONTENT_TYPE, "c")
        .text(id::RESPONSE_TOPIC, "r")
        .text(id::CORRELATION_DATA, "d")
        .user("n", "v");
    let will = Will::new("will", "payload").qos(1).props(of_will);

    Connect::v5("full")
        .props(all)
        .will(will)
        .user("user")
        .password("password")
        .keep_alive(60)
}

/// Covers: v5:MQTT-3.1.4-1, NN5-012, v5:MQTT-4.13.1-1, v5:MQTT-3.14.0-1
#[test]
fn mqtt_3_1_4_1_a_connect_of_another_form_closes() {
    let server = broker();
    let mut watcher = server.watcher("#");
    let body = full().body();
    for end in 0..body.len() {
        println!("truncated to {end} of {}", body.len());
        server
            .say(packet(0x10, &body[..end]))
            .expect_closed_with(&[0x81, 0x84]);
    }

    for extra in [&[0][..], b"abc"] {
        let long = packet(0x10, [&body, extra].concat());
        server.say(long).expect_closed_with(&[0x81]);
    }

    // The stream ends within the packet.
    let whole = full().bytes();
    for end in 0..whole.len() {
        let packets = server.say(&whole[..end]).cut();
        assert!(packets.is_empty(), "{packets:?}");
    }

    // No session and no will came of it.
    watcher.expect_nothing();
    server.begin(&full().clean(false)).cut();
    watcher.expect_message("will", "payload");
}

/// Covers: v5:MQTT-3.1.4-2, v5:MQTT-3.2.2-7
#[test]
fn mqtt_3_1_4_2_a_refused_will_topic_closes() {
    let server = broker();
    for topic in ["", "a/+", "#", "a/#/b", "a+"] {
        let connect = Connect::v5("refused")
            .will(Will::new(topic, "w"))
            .expiry(60);
        server
            .say(connect.bytes())
            .expect_closed_with(&[0x81, 0x82, 0x90]);
        server
            .begin(&Connect::v5("refused").clean(false))
            .disconnect();
    }
}

/// Covers: v5:MQTT-3.1.4-3, v5:MQTT-3.2.0-2
#[test]
fn mqtt_3_1_4_3_a_new_connection_takes_the_session_over() {
    let server = broker();
    for (clean, present) in [(true, false), (false, true)] {
        let connect = Connect::v5("twin").expiry(60);
        let mut old = server.begin(&connect);
        old.subscribe("t", 1);
        let (mut new, connack) = server.answer(&connect.clean(clean));
        assert_eq!((connack.code, connack.session_present), (0, present));
        old.expect_disconnect(0x8e);
        server.client("publisher").publish("t", "p", 1);
        if present {
            new.receive();
        }
        new.expect_nothing();
        new.send([0xe0, 5, 0, 3, 0x1f, 0, 0]);
        new.expect_closed();
    }

    let mut old = server.connect(&Connect::new(4, "twin").clean(false));
    let _new = server.resume(&Connect::v5("twin"));
    old.expect_closed();
}

/// Covers: v5:MQTT-3.1.4-3
#[test]
fn mqtt_3_1_4_3_one_of_many_connections_stays() {
    let server = broker();
    let listener = server.listener();
    let threads: Vec<_> = (0..10)
        .map(|_| {
            std::thread::spawn(move || {
                let (client, connack) =
                    midge_testkit::Client::connect(listener, &Connect::v5("many"));
                assert_eq!(connack.code, 0);
                client
            })
        })
        .collect();
    let clients: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().expect("a client"))
        .collect();
    let mut staying = 0;
    for mut client in clients {
        client.send([0xc0, 0]);
        match client.recv_or_end() {
            Some(midge_testkit::Packet::Pingresp) => staying += 1,
            Some(midge_testkit::Packet::Disconnect(gone)) => {
                assert_eq!(gone.code, 0x8e);
                client.expect_closed();
            }
            other => panic!("{other:?}"),
        }
    }

    assert_eq!(staying, 1);
}

/// Covers: v5:MQTT-3.1.4-4
#[test]
fn mqtt_3_1_4_4_clean_start_acts_after_validation() {
    let server = broker();
    let connect = Connect::v5("kept").expiry(600);
    let mut client = server.begin(&connect);
    client.subscribe("t", 1);
    client.disconnect();

    let method = connect
        .clone()
        .props(props().text(id::AUTHENTICATION_METHOD, "unknown"));
    server.say(method.bytes()).expect_closed_with(&[0x8c, 0x87]);

    let will = connect.clone().will(Will::new("a/#", "w"));
    server
        .say(will.bytes())
        .expect_closed_with(&[0x81, 0x82, 0x90]);
    server
        .say(connect.clone().flags(0x03).bytes())
        .expect_closed_with(&[0x81]);

    let mut client = server.resume(&connect);
    server.client("publisher").publish("t", "still here", 1);
    client.expect_message("t", "still here");

    // Takeover with Clean Start comes first, then the session is new.
    let mut fresh = server.begin(&connect);
    client.expect_disconnect(0x8e);
    server.client("publisher").publish("t", "gone", 1);
    fresh.expect_nothing();
}

/// Covers: v5:MQTT-3.1.4-5, v5:MQTT-3.2.2-1
#[test]
fn mqtt_3_1_4_5_a_valid_connect_is_answered_with_0() {
    let server = broker();
    for connect in [
        Connect::v5("a"),
        Connect::v5("b").clean(false),
        full(),
        full(),
    ] {
        let (_client, connack) = server.answer(&connect);
        assert_eq!((connack.code, connack.session_present), (0, false));
    }
}

/// Covers: v5:MQTT-3.1.4-6
#[test]
fn mqtt_3_1_4_6_nothing_behind_a_refused_connect_is_processed() {
    let server = broker();
    let mut watcher = server.watcher("#");
    let behind = [
        Publish::new("t", "p").retain().bytes(),
        Publish::new("t", "p").qos(1, 1).retain().bytes(),
        Subscribe::new(2).filter("t", 0).bytes(),
        vec![0xc0, 0],
    ]
    .concat();
    let method = props().text(id::AUTHENTICATION_METHOD, "unknown");
    for (connect, codes) in [
        (Connect::v5("refused").props(method), &[0x8c, 0x87][..]),
        (Connect::v5("refused").flags(0x03), &[0x81]),
        (
            Connect::v5("refused").will(Will::new("#", "")),
            &[0x81, 0x82, 0x90],
        ),
        (Connect::v5("x".repeat(2000)), &[0x85]),
    ] {
        server
            .say([connect.bytes(), behind.clone()].concat())
            .expect_closed_with(codes);
    }

    watcher.expect_nothing();
    server.watcher("t").expect_nothing();
}

/// Covers: NN5-037
#[test]
fn nn5_037_all_versions_share_one_listener() {
    let server = broker();
    let mut clients = [3, 4, 5].map(|version| {
        let mut client = server.connect(&Connect::new(version, format!("v{version}")));
        client.subscribe("t", 2);
        client
    });
    for sender in 0..3 {
        for qos in 0..3 {
            let payload = [sender as u8, qos];
            clients[sender].publish("t", payload, qos);
            for client in &mut clients {
                let message = client.receive();
                assert_eq!((&message.payload[..], message.qos), (&payload[..], qos));
            }
        }
    }
}

/// Covers: NN5-038
#[test]
fn nn5_038_a_connection_without_connect_is_closed() {
    let server = broker();
    let mut silent = server.open();
    let mut half = server.say(&Connect::v5("half").bytes()[..9]);
    // Connections are accepted in order, so those before this one are known now.
    let mut other = server.client("other");
    server.pass_ms(9_900);
    other.expect_nothing();
    server.pass_ms(200);
    assert!(silent.read_all().is_empty());
    assert!(half.read_all().is_empty());
    other.expect_nothing();
}

/// Covers: NN5-039
#[test]
fn nn5_039_packets_may_follow_connect_at_once() {
    let server = broker();
    let mut client = server.open();
    client.send(
        [
            Connect::v5("hasty").bytes(),
            Subscribe::new(1).filter("t", 0).bytes(),
            Publish::new("u", "p").qos(1, 2).bytes(),
            vec![0xc0, 0],
        ]
        .concat(),
    );
    assert_eq!(client.expect_connack().code, 0);
    client.expect_suback(1);
    client.expect_ack(Kind::Puback, 2);
    client.expect_pingresp();
}

/// Covers: NN5-082, NN5-083
#[test]
fn nn5_082_receive_maximum_and_maximum_packet_size_are_not_0() {
    let server = broker();
    for block in [
        props().u16(id::RECEIVE_MAXIMUM, 0),
        props().u32(id::MAXIMUM_PACKET_SIZE, 0),
    ] {
        server.refuses(Holder::Connect, &Holder::Connect.packet(&block), &[0x82]);
    }
}

/// Covers: NN5-121
#[test]
fn nn5_121_authentication_data_wants_a_method() {
    let server = broker();
    let data: PropsBuf = props().text(id::AUTHENTICATION_DATA, "data");
    server.refuses(Holder::Connect, &Holder::Connect.packet(&data), &[0x82]);
}

/// Covers: NN5-134
#[test]
fn nn5_134_port_0_gives_each_broker_its_own() {
    let servers = [broker(), broker(), broker()];
    let ports = servers.each_ref().map(|server| server.listener().port());
    assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2] && ports[0] != 0);
    let mut subscribers = servers.each_ref().map(|server| server.watcher("t"));
    for (number, server) in (0u8..).zip(&servers) {
        server.client("publisher").publish("t", [number], 1);
        subscribers[usize::from(number)].expect_message("t", [number]);
    }
    for subscriber in &mut subscribers {
        subscriber.expect_nothing();
    }
}
