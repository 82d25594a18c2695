//! Strings, fixed headers, packet identifiers.

use midge_testkit::{Kind, Publish, Subscribe, Will, Wire, ack, packet, unsubscribe};

use crate::common::{broker, props};
use crate::{old, v4, watcher};

const ILL_FORMED: [&[u8]; 9] = [
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xf5\x80\x80\x80",
    b"\x80",
    b"\xe2\x82",
    b"\0",
];

/// Covers: v3:MQTT-1.5.3-1, v3:MQTT-1.5.3-2, v3:MQTT-3.1.3-4, v3:MQTT-3.1.3-10, v3:MQTT-3.1.3-11, v3:MQTT-3.3.2-1, v3:MQTT-3.8.3-1, v3:MQTT-3.10.3-1, v3:MQTT-4.7.3-2, v3:MQTT-3.2.2-6, V31-14
#[test]
fn mqtt311_1_5_3_1_ill_formed_text_closes_without_a_word() {
    let server = broker();
    for text in ILL_FORMED {
        let id = midge_testkit::Connect::new(4, text).bytes();
        assert!(server.say(id).read_all().is_empty());
        let will = v4("c").will(Will::new(text, "w")).bytes();
        assert!(server.say(will).read_all().is_empty());
        assert!(server.say(v4("c").user(text).bytes()).read_all().is_empty());
        for bytes in [
            Publish::new(text, "p").bytes_for(4),
            Subscribe::new(1).filter(text, 0).bytes_for(4),
            unsubscribe(4, 1, &props(), &[text]),
        ] {
            let mut client = old(&server, "c");
            client.send(bytes);
            client.expect_closed_with(&[]);
        }
    }
    let mut client = old(&server, "\u{10348}");
    client.subscribe("\u{10348}", 0);
    client.publish("\u{10348}", "p", 0);
    client.expect_message("\u{10348}", "p");
}

/// Covers: v3:MQTT-1.5.3-3, v3:MQTT-4.7.3-4
#[test]
fn mqtt311_1_5_3_3_nothing_is_normalized_or_left_out() {
    let server = broker();
    let names = [
        "a",
        "\u{feff}a",
        "A",
        "e\u{301}",
        "\u{e9}",
        "a/",
        "/a",
        "a//b",
        "a/b",
        "a ",
        "a\u{feff}",
    ];
    let mut client = old(&server, "c");
    for name in names {
        client.subscribe(name, 0);
    }
    for name in names {
        client.publish(name, name, 1);
        assert_eq!(client.receive().topic, name);
        client.expect_nothing();
    }
}

/// Covers: v3:MQTT-2.2.2-2, v3:MQTT-3.6.1-1, v3:MQTT-3.8.1-1, v3:MQTT-3.10.1-1, v3:MQTT-3.14.1-1, v3:MQTT-4.8.0-1
#[test]
fn mqtt311_2_2_2_2_wrong_flags_close() {
    let server = broker();
    for low in 0..16 {
        if low != 0 {
            let mut connect = v4("c").bytes();
            connect[0] |= low;
            assert!(server.say(connect).read_all().is_empty());
        }
        for (right, body) in [
            (0x40, &[0, 1][..]),
            (0x50, &[0, 1]),
            (0x62, &[0, 1]),
            (0x70, &[0, 1]),
            (0x82, &[0, 1, 0, 1, b'a', 0]),
            (0xa2, &[0, 1, 0, 1, b'a']),
            (0xc0, &[]),
            (0xe0, &[]),
        ] {
            let first = (right & 0xf0) | low;
            if first == right {
                continue;
            }
            let mut client = old(&server, "c");
            client.send(packet(first, body));
            client.expect_closed_with(&[]);
        }
    }
    // A DISCONNECT with wrong flags is none: the will is published.
    let mut watcher = watcher(&server, "will");
    let mut client = server.connect(&v4("c").will(Will::new("will", "w")));
    client.send([0xe1, 0]);
    client.expect_closed_with(&[]);
    watcher.expect_message("will", "w");
}

/// Covers: v3:MQTT-2.3.1-1
#[test]
fn mqtt311_2_3_1_1_packet_identifier_0_closes() {
    let server = broker();
    for bytes in [
        Publish::new("t", "p").qos(1, 0).bytes_for(4),
        Publish::new("t", "p").qos(2, 0).bytes_for(4),
        Subscribe::new(0).filter("t", 0).bytes_for(4),
        unsubscribe(4, 0, &props(), &["t"]),
        ack(Kind::Puback, 0),
    ] {
        let mut client = old(&server, "c");
        client.send(bytes);
        client.expect_closed_with(&[]);
    }
}

/// Covers: v3:MQTT-2.2.2-1, v3:MQTT-2.3.1-5, v3:MQTT-2.3.1-6, v3:MQTT-2.3.1-7, v3:MQTT-3.8.4-2, v3:MQTT-3.10.4-4
#[test]
fn mqtt311_2_3_1_6_answers_carry_the_identifier_of_their_request() {
    let server = broker();
    let mut client = old(&server, "c");
    let mut all = Subscribe::new(65_535).filter("t", 2).bytes_for(4);
    all.extend(Publish::new("t", "0").bytes_for(4));
    all.extend(Publish::new("t", "1").qos(1, 0x1234).bytes_for(4));
    all.extend(Publish::new("t", "2").qos(2, 1).bytes_for(4));
    all.extend(ack(Kind::Pubrel, 1));
    all.extend(unsubscribe(4, 256, &props(), &["t"]));
    client.send(all);
    // The strict parser checks flags and the missing identifier of QoS 0.
    client.expect_suback(65_535);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let message = client.expect_publish();
        seen.push((message.text(), message.qos));
        client.acknowledge(&message);
    }
    assert_eq!(seen, [("0".into(), 0), ("1".into(), 1), ("2".into(), 2)]);
}

/// Covers: v3:MQTT-4.7.3-3
#[test]
fn mqtt311_4_7_3_3_the_longest_topic_works() {
    let server = broker();
    let topic = "t".repeat(65_535);
    let mut client = old(&server, "c");
    client.subscribe(&topic, 1);
    client.publish(&topic, "p", 1);
    assert_eq!(client.receive().topic.len(), 65_535);
}

/// Covers: v3:MQTT-3.12.4-1
#[test]
fn mqtt311_3_12_4_1_pingreq_is_answered() {
    let server = broker();
    let mut client = old(&server, "c");
    for _ in 0..100 {
        client.send([0xc0, 0]);
    }
    for _ in 0..100 {
        client.expect_pingresp();
    }
    client.send(Wire::new().u8(0).packet(0xc0));
    client.expect_closed_with(&[]);
}
