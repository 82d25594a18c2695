//! Chapters 1 and 2: text, lengths, flags, packet identifiers.

use midge_testkit::{
    Connect, Kind, Publish, Subscribe, Will, Wire, ack, ack_full, disconnect, id, packet,
    unsubscribe,
};

use crate::common::{Holder, Server, broker, broker_set, props};

/// What is no well-formed UTF-8: surrogates, long forms, beyond U+10FFFF, parts.
const ILL_FORMED: [&[u8]; 9] = [
    &[0xed, 0xa0, 0x80],
    &[0xed, 0xbf, 0xbf],
    &[0xc0, 0x80],
    &[0xc1, 0xbf],
    &[0xe0, 0x80, 0xaf],
    &[0xf5, 0x80, 0x80, 0x80],
    &[0xf4, 0x90, 0x80, 0x80],
    &[0x80],
    &[0xe2, 0x82],
];

/// Packets with this text in one string field after the other.
fn with_text(text: &[u8]) -> Vec<(&'static str, Holder, Vec<u8>)> {
    let connect = Connect::v5("text");
    let will = |will: Will| connect.clone().will(will).bytes();
    let publish = Publish::new("t", "p");
    let reason = props().text(id::REASON_STRING, text);

    vec![
        ("client id", Holder::Connect, Connect::v5(text).bytes()),
        (
            "user name",
            Holder::Connect,
            connect.clone().user(text).bytes(),
        ),
        (
            "authentication method",
            Holder::Connect,
            connect
                .clone()
                .props(props().text(id::AUTHENTICATION_METHOD, text))
                .bytes(),
        ),
        ("will topic", Holder::Will, will(Will::new(text, "w"))),
        (
            "will content type",
            Holder::Will,
            will(Will::new("w", "w").props(props().text(id::CONTENT_TYPE, text))),
        ),
        (
            "will response topic",
            Holder::Will,
            will(Will::new("w", "w").props(props().text(id::RESPONSE_TOPIC, text))),
        ),
        ("topic", Holder::Publish, Publish::new(text, "p").bytes()),
        (
            "response topic",
            Holder::Publish,
            publish
                .clone()
                .props(props().text(id::RESPONSE_TOPIC, text))
                .bytes(),
        ),
        (
            "content type",
            Holder::Publish,
            publish.props(props().text(id::CONTENT_TYPE, text)).bytes(),
        ),
        (
            "filter",
            Holder::Subscribe,
            Subscribe::new(1).filter(text, 0).bytes(),
        ),
        (
            "second filter",
            Holder::Subscribe,
            Subscribe::new(1).filter("t", 0).filter(text, 0).bytes(),
        ),
        (
            "filter",
            Holder::Unsubscribe,
            unsubscribe(5, 1, &props(), &[text]),
        ),
        (
            "second filter",
            Holder::Unsubscribe,
            unsubscribe(5, 1, &props(), &[b"t", text]),
        ),
        (
            "reason string",
            Holder::Puback,
            ack_full(Kind::Puback, 1, 0, &reason),
        ),
        (
            "reason string",
            Holder::Pubrec,
            ack_full(Kind::Pubrec, 1, 0, &reason),
        ),
        (
            "reason string",
            Holder::Pubrel,
            ack_full(Kind::Pubrel, 1, 0, &reason),
        ),
        (
            "reason string",
            Holder::Pubcomp,
            ack_full(Kind::Pubcomp, 1, 0, &reason),
        ),
        ("reason string", Holder::Disconnect, disconnect(0, &reason)),
    ]
}

#[track_caller]
fn refuses_text(server: &Server, text: &[u8]) {
    for (field, holder, packet) in with_text(text) {
        println!("{field} of {holder:?}: {text:02x?}");
        server.refuses(holder, &packet, &[0x81]);
    }
}

/// Covers: v5:MQTT-1.5.4-1, v5:MQTT-3.1.3-4, v5:MQTT-3.1.3-11, v5:MQTT-3.1.3-12, v5:MQTT-3.3.2-1, v5:MQTT-3.3.2-13, v5:MQTT-3.3.2-19, v5:MQTT-3.8.3-1, v5:MQTT-3.10.3-1
#[test]
fn mqtt_1_5_4_1_ill_formed_text_is_malformed() {
    let server = broker();
    let mut watcher = server.watcher("#");
    for bytes in ILL_FORMED {
        refuses_text(&server, bytes);
        refuses_text(&server, &[b"a/", bytes, b"/b"].concat());
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-1.5.4-2, v5:MQTT-4.7.3-2, v5:MQTT-3.1.3-4, v5:MQTT-3.1.3-11, v5:MQTT-3.1.3-12, v5:MQTT-3.3.2-1, v5:MQTT-3.3.2-13, v5:MQTT-3.3.2-19, v5:MQTT-3.8.3-1, v5:MQTT-3.10.3-1
#[test]
fn mqtt_1_5_4_2_u_0000_is_malformed() {
    let server = broker();
    let mut watcher = server.watcher("#");
    for text in [&b"\0"[..], b"a\0", b"\0a", b"a/\0/b"] {
        refuses_text(&server, text);
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-1.5.4-1
#[test]
fn mqtt_1_5_4_1_every_well_formed_text_is_forwarded() {
    let server = broker();
    let topic = "t/\u{10ffff}\u{1f980}/\u{d7ff}\u{e000}\u{fffd}";
    let mut watcher = server.watcher("t/#");
    let mut client = server.connect(&Connect::v5("\u{1f980}").user("\u{1f980}"));
    let text = "\u{1f980} \u{7ff}\u{800}\u{ffff}";
    let sent = props()
        .text(id::CONTENT_TYPE, text)
        .text(id::RESPONSE_TOPIC, text)
        .user(text, text);
    client.send(Publish::new(topic, "p").props(sent).bytes());
    let message = watcher.expect_message(topic, "p");
    assert_eq!(message.props.text(id::CONTENT_TYPE), Some(text));
    assert_eq!(message.props.text(id::RESPONSE_TOPIC), Some(text));
    assert_eq!(message.props.users(), [(text, text)]);
}

/// Covers: v5:MQTT-1.5.4-3
#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_is_a_character() {
    let server = broker();
    let mut subscriber = server.client("subscriber");
    let filters = ["\u{feff}a", "a", "a\u{feff}b", "ab"];
    for (index, filter) in filters.iter().enumerate() {
        subscriber.request(
            &Subscribe::new(0)
                .filter(filter, 0)
                .subscription_id(index + 1),
        );
    }

    let mut publisher = server.client("publisher");
    for (index, topic) in filters.iter().enumerate() {
        let sent = props().user("\u{feff}n", "v\u{feff}");
        publisher.send(Publish::new(topic, "\u{feff}").props(sent).bytes());
        let message = subscriber.expect_message(topic, "\u{feff}");
        assert_eq!(message.props.subscription_ids(), [index as u32 + 1]);
        assert_eq!(message.props.users(), [("\u{feff}n", "v\u{feff}")]);
    }

    publisher.barrier();
    subscriber.expect_nothing();
}

/// Covers: v5:MQTT-1.5.5-1, NN5-002
#[test]
fn mqtt_1_5_5_1_lengths_have_their_shortest_form() {
    let server = broker();
    let filter = Wire::new().text("t").u8(0);
    let subscribe = |block: &[u8]| Wire::new().u16(1).raw(block).raw(&filter.0).packet(0x82);
    for bytes in [
        vec![0xc0, 0x80, 0x00],
        vec![0xc0, 0x80, 0x80, 0x00],
        vec![0xc0, 0x80, 0x80, 0x80, 0x00],
        subscribe(&[0x80, 0x00]),
        subscribe(&[0x03, 0x0b, 0x81, 0x00]),
        // The fifth byte is not waited for: four that go on are wrong already.
        vec![0x30, 0x80, 0x80, 0x80, 0x80],
        vec![0xc0, 0x80, 0x80, 0x80, 0x80, 0x01],
        vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
    ] {
        println!("{bytes:02x?}");
        server.refuses(Holder::Publish, &bytes, &[0x81]);
    }

    let connect = Connect::v5("a").bytes();
    let long = [&[0x10, connect[1] | 0x80, 0x00], &connect[2..]].concat();
    server.say(long).expect_closed_with(&[0x81]);
    server
        .say([0x10, 0xff, 0xff, 0xff, 0xff, 0x01])
        .expect_closed_with(&[0x81]);
}

/// Covers: v5:MQTT-1.5.7-1
#[test]
fn mqtt_1_5_7_1_both_halves_of_a_user_property_are_text() {
    let server = broker();
    for bad in [&[0xff][..], &[0], &[0xed, 0xa0, 0x80]] {
        for holder in Holder::ALL {
            // AUTH is of no use without a method, so it would be refused for that.
            let method = if holder == Holder::Auth {
                props().text(id::AUTHENTICATION_METHOD, "m")
            } else {
                props()
            };
            for pair in [props().user(bad, "v"), props().user("n", bad)] {
                println!("{holder:?} {pair:02x?}");
                let packet = holder.packet(&method.clone().raw(&pair.0));
                server.refuses(holder, &packet, &[0x81]);
            }
        }
    }
}

/// Covers: v5:MQTT-2.1.3-1, v5:MQTT-3.6.1-1, v5:MQTT-3.8.1-1, v5:MQTT-3.10.1-1, v5:MQTT-3.14.1-1, v5:MQTT-3.15.1-1
#[test]
fn mqtt_2_1_3_1_reserved_flags_have_their_value() {
    let server = broker();
    let method = props().text(id::AUTHENTICATION_METHOD, "m");
    for holder in Holder::ALL {
        if matches!(holder, Holder::Will | Holder::Publish) {
            continue;
        }
        let block = if holder == Holder::Auth {
            method.clone()
        } else {
            props()
        };
        let right = holder.packet(&block);
        for flags in (0..16).filter(|flags| *flags != right[0] & 0x0f) {
            let mut wrong = right.clone();
            wrong[0] = right[0] & 0xf0 | flags;
            println!("{holder:?}: {:#04x}", wrong[0]);
            server.refuses(holder, &wrong, &[0x81]);
        }
    }

    for flags in 1..16 {
        server.refuses(Holder::Publish, &[0xc0 | flags, 0], &[0x81]);
    }
}

/// Covers: v5:MQTT-3.14.1-1
#[test]
fn mqtt_3_14_1_1_a_broken_disconnect_does_not_delete_the_will() {
    let server = broker();
    let mut watcher = server.watcher("will");
    for flags in 1..16 {
        let mut client = server.connect(&Connect::v5("broken").will(Will::new("will", "w")));
        client.send([0xe0 | flags, 0]);
        client.expect_disconnect(0x81);
        watcher.expect_message("will", "w");
    }
}

/// Covers: v5:MQTT-2.2.1-2, v5:MQTT-4.3.1-1
#[test]
fn mqtt_2_2_1_2_qos_0_has_no_packet_identifier() {
    let server = broker();
    let mut watcher = server.watcher("t");
    let mut client = server.client("publisher");
    // If an identifier was read or written, these bytes would move.
    let payload = [0, 0, 0, 1, 0, 5, b'h'];
    client.send(Publish::new("t", payload).bytes());
    let message = watcher.expect_message("t", payload);
    assert!(
        message.qos == 0 && !message.dup && message.props.is_empty(),
        "{message:?}"
    );
    client.expect_nothing();
}

/// Covers: v5:MQTT-2.2.1-3
#[test]
fn mqtt_2_2_1_3_packet_identifier_0_is_refused() {
    let server = broker();
    let mut watcher = server.watcher("t");
    for packet in [
        Subscribe::new(0).filter("t", 0).bytes(),
        unsubscribe(5, 0, &props(), &["t"]),
        Publish::new("t", "p").qos(1, 0).bytes(),
        Publish::new("t", "p").qos(2, 0).bytes(),
    ] {
        server.refuses(Holder::Publish, &packet, &[0x81, 0x82]);
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-2.2.1-3, NN5-006
#[test]
fn mqtt_2_2_1_3_an_identifier_in_use_does_not_mix_flows() {
    let server = broker();
    let mut watcher = server.watcher("open");
    let mut client = server.client("client");
    client.send(Publish::new("open", "p").qos(2, 9).bytes());
    assert!(client.expect_ack(Kind::Pubrec, 9).code < 0x80);

    let suback = client.request(&Subscribe::new(9).filter("other", 1));
    assert!(matches!(suback.codes[..], [1 | 0x91]), "{suback:?}");
    client.send(unsubscribe(5, 9, &props(), &["nothing"]));

    let unsuback = client.expect_unsuback(9);
    assert!(matches!(unsuback.codes[..], [0x11 | 0x91]), "{unsuback:?}");
    client.send(ack(Kind::Pubrel, 9));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 9).code, 0);
    watcher.expect_message("open", "p");
    client.publish("other", "q", 1);
    if suback.codes == [1] {
        client.expect_message("other", "q");
    }

    client.expect_nothing();
}

/// Covers: v5:MQTT-2.2.1-4, v5:MQTT-4.3.2-1, v5:MQTT-4.3.3-1
#[test]
fn mqtt_2_2_1_4_identifiers_of_the_broker_are_unused_ones() {
    const BATCH: u32 = 500;

    let server = broker();
    let mut subscriber = server.watcher("t/#");
    let mut publisher = server.client("publisher");
    let mut held = Vec::new();
    for qos in [1, 2, 1] {
        publisher.publish("t/held", "", qos);
        held.push(subscriber.expect_message("t/held", "").id);
    }

    let mut seen = vec![0u32; 1 << 16];
    let mut number: u32 = 0;
    while number < 66_000 {
        let mut bytes = Vec::new();
        for offset in 0..BATCH {
            let payload = (number + offset).to_be_bytes();
            bytes.extend(
                Publish::new("t/x", payload)
                    .qos(1, 1 + offset as u16)
                    .bytes(),
            );
        }
        publisher.send(bytes);
        for offset in 0..BATCH {
            publisher.expect_ack(Kind::Puback, 1 + offset as u16);
        }
        let mut acks = Vec::new();
        for offset in 0..BATCH {
            // That no identifier is 0 or in use is what every read of the client checks.
            let message = subscriber.expect_message("t/x", (number + offset).to_be_bytes());
            seen[usize::from(message.id)] += 1;
            acks.extend(ack(Kind::Puback, message.id));
        }
        subscriber.send(acks);
        number += BATCH;
        // The client's own identifiers are another space.
        subscriber.send(Publish::new("elsewhere", "").qos(1, held[0]).bytes());
        subscriber.expect_ack(Kind::Puback, held[0]);
    }

    for id in held {
        assert_eq!(
            seen[usize::from(id)],
            0,
            "{id} was given to another message"
        );
    }

    assert!(
        seen.iter().any(|count| *count > 1),
        "66000 messages need some identifier twice"
    );
    assert_eq!(subscriber.unfinished(), 3);
}

/// Covers: v5:MQTT-2.2.1-5
#[test]
fn mqtt_2_2_1_5_acknowledgements_carry_the_identifier_of_the_publish() {
    let server = broker();
    let mut client = server.client("publisher");
    let ids = [1, 0x1234, 0xffff];
    for id in ids {
        client.send(Publish::new("t", "1").qos(1, id).bytes());
    }
    for id in ids {
        client.expect_ack(Kind::Puback, id);
        client.send(Publish::new("t", "2").qos(2, id).bytes());
    }
    for id in ids {
        client.expect_ack(Kind::Pubrec, id);
    }
    for id in ids {
        client.send(ack(Kind::Pubrel, id));
    }
    for id in ids {
        assert_eq!(client.expect_ack(Kind::Pubcomp, id).code, 0);
    }

    let mut subscriber = server.watcher("t");
    for _ in 0..3 {
        client.publish("t", "3", 2);
    }
    let ids = [(); 3].map(|()| subscriber.expect_message("t", "3").id);
    for id in [ids[2], ids[0], ids[1]] {
        subscriber.send(ack(Kind::Pubrec, id));
        assert_eq!(subscriber.expect_ack(Kind::Pubrel, id).code, 0);
    }
}

/// Covers: v5:MQTT-2.2.1-6, v5:MQTT-3.8.4-2, v5:MQTT-3.10.4-5
#[test]
fn mqtt_2_2_1_6_suback_and_unsuback_carry_the_identifier_of_the_request() {
    let server = broker();
    let mut client = server.client("subscriber");
    client.send(
        [
            Subscribe::new(1).filter("a", 0).bytes(),
            Subscribe::new(65_535).filter("b", 0).bytes(),
            unsubscribe(5, 2, &props(), &["a"]),
            unsubscribe(5, 256, &props(), &["nothing"]),
        ]
        .concat(),
    );
    client.expect_suback(1);
    client.expect_suback(65_535);
    assert_eq!(client.expect_unsuback(2).codes, [0]);
    assert_eq!(client.expect_unsuback(256).codes, [0x11]);
}

/// Covers: v5:MQTT-2.2.2-1
#[test]
fn mqtt_2_2_2_1_the_property_length_is_never_left_out() {
    let server = broker();
    let connect = Wire::new()
        .text("MQTT")
        .u8(5)
        .u8(2)
        .u16(0)
        .text("a")
        .packet(0x10);
    server.refuses(Holder::Connect, &connect, &[0x81]);

    let publish = Wire::new().text("t").packet(0x30);
    server.refuses(Holder::Publish, &publish, &[0x81]);

    let publish = Wire::new().text("t").u16(7).packet(0x32);
    server.refuses(Holder::Publish, &publish, &[0x81]);

    let subscribe = Wire::new().u16(1).text("a/b").u8(0).packet(0x82);
    server.refuses(Holder::Subscribe, &subscribe, &[0x81]);

    let unsubscribe = Wire::new().u16(1).text("a/b").packet(0xa2);
    server.refuses(Holder::Unsubscribe, &unsubscribe, &[0x81]);

    let will = Connect::v5("a").flags(0x06).header();
    let will = Wire(will)
        .text("a")
        .text("topic")
        .text("payload")
        .packet(0x10);
    server.refuses(Holder::Will, &will, &[0x81]);
}

/// Covers: NN5-001
#[test]
fn nn5_001_control_characters_pass_unless_the_option_forbids_them() {
    let server = broker();
    for text in [
        "a\u{1}",
        "a\u{1f}",
        "a\u{7f}",
        "a\u{9f}",
        "a\u{fdd0}",
        "a\u{fffe}",
    ] {
        let mut client = server.client(text);
        client.subscribe(text, 0);
        client.publish(text, "p", 0);
        client.expect_message(text, "p");
    }

    let strict = broker_set(&[("strict.control_characters", "true")]);
    for text in ["a\u{1}", "a\u{1f}", "a\u{7f}", "a\u{9f}"] {
        strict
            .say(Connect::v5(text).bytes())
            .expect_closed_with(&[0x81, 0x85]);
        strict.refuses(
            Holder::Publish,
            &Publish::new(text, "p").bytes(),
            &[0x81, 0x90],
        );
        let subscribe = Subscribe::new(1).filter(text, 0).bytes();
        strict.refuses(Holder::Subscribe, &subscribe, &[0x81, 0x8f]);
        let bytes = unsubscribe(5, 1, &props(), &["t", text]);
        strict.refuses(Holder::Unsubscribe, &bytes, &[0x81]);
        strict.refuses(
            Holder::Connect,
            &Connect::v5("c").user(text).bytes(),
            &[0x81],
        );
        let will = Connect::v5("c").will(Will::new(text, "w"));
        strict.refuses(Holder::Will, &will.bytes(), &[0x81]);
    }
}

/// Covers: NN5-001
#[test]
fn nn5_001_control_characters_among_the_properties_where_the_option_forbids_them() {
    let texts = [
        id::CONTENT_TYPE,
        id::RESPONSE_TOPIC,
        id::AUTHENTICATION_METHOD,
        id::REASON_STRING,
    ];
    let free = broker();
    let strict = broker_set(&[("strict.control_characters", "true")]);
    let mut tried = 0;
    for holder in Holder::ALL {
        let own = holder.allowed();
        // What AUTH is not complete without.
        let begun = match holder {
            Holder::Auth => props().text(id::AUTHENTICATION_METHOD, "m"),
            _ => props(),
        };

        let texts = texts.iter().filter(|id| own.contains(id));
        let mut cases: Vec<_> = texts
            .map(|id| match *id {
                id::AUTHENTICATION_METHOD => props().text(*id, "a\u{7}"),
                _ => begun.clone().text(*id, "a\u{7}"),
            })
            .collect();
        cases.extend([
            begun.clone().user("a\u{7}", "v"),
            begun.clone().user("k", "a\u{7}"),
        ]);
        for case in cases {
            tried += 1;
            strict.refuses(holder, &holder.packet(&case), &[0x81]);
            if matches!(
                holder,
                Holder::Publish | Holder::Subscribe | Holder::Unsubscribe
            ) {
                let mut client = free.client("free");
                client.send(holder.packet(&case));
                match holder {
                    Holder::Subscribe => client.expect_suback(1).codes.clear(),
                    Holder::Unsubscribe => client.expect_unsuback(1).codes.clear(),
                    _ => {}
                }
                client.expect_nothing();
            }
        }
    }

    assert!(tried > 2 * Holder::ALL.len());
}

/// Covers: NN5-004
#[test]
fn nn5_004_packets_of_the_other_direction_are_refused() {
    let server = broker();
    for (bytes, code) in [
        (packet(0x20, [0, 0, 0]), 0x82),
        (packet(0x90, [0, 1, 0, 0]), 0x82),
        (packet(0xb0, [0, 1, 0, 0]), 0x82),
        (packet(0xd0, []), 0x82),
        (packet(0x00, []), 0x81),
    ] {
        println!("{bytes:02x?}");
        server.refuses(Holder::Publish, &bytes, &[code]);
    }
}

/// Covers: v5:MQTT-4.2.0-1
#[test]
fn mqtt_4_2_0_1_packets_arrive_in_any_pieces() {
    let server = broker();
    let mut watcher = server.watcher("t");
    let mut client = server.open();
    client.send_in_pieces(Connect::v5("pieces").bytes(), 1);
    assert_eq!(client.expect_connack().code, 0);
    client.send_in_pieces(Subscribe::new(1).filter("many", 1).bytes(), 1);
    client.expect_suback(1);
    let payload = vec![b'x'; 300];
    client.send_in_pieces(Publish::new("t", &payload).qos(1, 2).bytes(), 1);
    client.expect_ack(Kind::Puback, 2);
    watcher.expect_message("t", &payload);

    let mut many = Vec::new();
    for number in 0..100u8 {
        many.extend(Publish::new("many", [number]).bytes());
        many.extend(packet(0xc0, []));
    }
    client.send(many);
    let mut pings = 0;
    let mut number = 0;
    while pings < 100 || number < 100 {
        match client.recv() {
            midge_testkit::Packet::Pingresp => pings += 1,
            midge_testkit::Packet::Publish(message) => {
                assert_eq!(message.payload, [number]);
                number += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    client.expect_nothing();
}
