//! CONNECT: what is accepted and what is closed.

use std::sync::{Arc, Mutex};

use midge::{ConnectRequest, HookSet, Hooks, ReasonCode, Refusal, Verdict};
use midge_testkit::{Connect, Publish, Subscribe, Will, Wire, packet};

use crate::common::{Server, broker, broker_set, broker_with};
use crate::{ILL_FORMED, NUL, client, kept, v311, watcher};

/// These bytes as a first packet: the broker closes and says nothing.
#[track_caller]
fn closed_without_a_word(server: &Server, bytes: impl AsRef<[u8]>) {
    let mut client = server.open();
    client.send(&bytes);
    let answer = client.read_all();
    assert!(answer.is_empty(), "{:02x?}: {answer:02x?}", bytes.as_ref());
}

/// A CONNECT with everything in it.
fn full() -> Connect {
    v311("full")
        .will(Will::new("will/topic", "will message").qos(1).retain())
        .user("user")
        .password("password")
}

/// Connect Flags and the strings of a payload, whether they fit together or not.
fn by_hand(flags: u8, strings: &[&str]) -> Vec<u8> {
    let body = Wire::new().text("MQTT").u8(4).u8(flags).u16(0);
    let body = strings.iter().fold(body, Wire::text);
    body.packet(0x10)
}

/// Covers: v3:MQTT-3.1.0-1, v3:MQTT-4.8.0-1
#[test]
fn mqtt311_3_1_0_1_the_first_packet_has_to_be_connect() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    let others = [
        vec![0x00, 0],
        vec![0x20, 2, 0, 0],
        Publish::new("t", "p").retain().bytes_for(4),
        Publish::new("t", "p").qos(1, 1).bytes_for(4),
        Publish::new("t", "p").qos(2, 1).bytes_for(4),
        vec![0x40, 2, 0, 1],
        vec![0x50, 2, 0, 1],
        vec![0x62, 2, 0, 1],
        vec![0x70, 2, 0, 1],
        Subscribe::new(1).filter("t", 0).bytes_for(4),
        vec![0x90, 3, 0, 1, 0],
        vec![0xa2, 5, 0, 1, 0, 1, b't'],
        vec![0xb0, 2, 0, 1],
        vec![0xc0, 0],
        vec![0xd0, 0],
        vec![0xe0, 0],
        vec![0xf0, 0],
    ];

    for other in others {
        closed_without_a_word(&server, &other);
        // Nor does a CONNECT behind it help.
        closed_without_a_word(&server, [other, v311("late").bytes()].concat());
    }

    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
}

/// Covers: v3:MQTT-3.1.0-2, v3:MQTT-4.8.0-1
#[test]
fn mqtt311_3_1_0_2_a_second_connect_ends_the_connection() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    for second in [v311("client"), v311("another"), Connect::v5("client")] {
        let connect = v311("client").will(Will::new("will", "w"));
        let mut client = server.connect(&connect);
        client.send(second.bytes());
        client.expect_closed();
        watcher.expect_message("will", "w");
    }
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-1
#[test]
fn mqtt311_3_1_2_1_another_protocol_name_is_not_served() {
    let server = broker();
    for name in ["mqtt", "MQTTX", "", "MQT", "Mqtt", "MQIsdq"] {
        closed_without_a_word(&server, v311("client").bytes_with_protocol(name, 4));
    }
    assert!(server.clients().is_empty() && server.sessions().is_empty());
}

/// Covers: v3:MQTT-3.1.2-2, v3:MQTT-3.2.2-5, V31-01
#[test]
fn mqtt311_3_1_2_2_an_unknown_level_is_answered_with_code_1() {
    let server = broker();
    let mut refused: Vec<(&str, u8)> = [0, 1, 2, 3].map(|level| ("MQTT", level)).to_vec();
    refused.extend([6, 7, 127, 255].map(|level| ("MQTT", level)));
    for (name, level) in refused {
        let mut client = server.open();
        client.send(v311("client").bytes_with_protocol(name, level));
        let answer = client.read_all();
        // A later version may be answered in the form of the latest one that is known.
        let right = answer == [0x20, 2, 0, 1] || (level > 5 && answer == [0x20, 3, 0, 0x84, 0]);
        assert!(right, "level {level}: {answer:02x?}");
    }

    // The old name belongs to level 3 alone.
    for level in [0, 1, 2, 4, 5, 6, 127] {
        let mut client = server.open();
        client.send(v311("client").bytes_with_protocol("MQIsdp", level));
        let answer = client.read_all();
        let right = answer.is_empty() || answer == [0x20, 2, 0, 1];
        assert!(right, "level {level}: {answer:02x?}");
    }

    assert!(server.sessions().is_empty());
}

/// Covers: v3:MQTT-3.1.2-2, V31-01
#[test]
fn mqtt311_3_1_2_2_a_version_that_is_switched_off_is_unknown() {
    let server = broker_set(&[("mqtt.versions", "5")]);
    for version in [3, 4] {
        let mut client = server.say(Connect::new(version, "client").bytes());
        assert_eq!(client.read_all(), [0x20, 2, 0, 1], "version {version}");
    }
    let server = broker_set(&[("mqtt.versions", "3.1.1")]);
    let mut client = server.say(Connect::new(3, "client").bytes());
    assert_eq!(client.read_all(), [0x20, 2, 0, 1]);
    server.connect(&v311("client")).expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-3
#[test]
fn mqtt311_3_1_2_3_the_reserved_connect_flag_is_zero() {
    let server = broker();
    closed_without_a_word(&server, v311("client").flags(0x03).bytes());
    closed_without_a_word(&server, v311("client").flags(0x01).bytes());
    closed_without_a_word(&server, full().flags(0xef).bytes());
    assert!(server.sessions().is_empty());
}

/// Covers: v3:MQTT-3.1.2-9, v3:MQTT-3.1.4-1
#[test]
fn mqtt311_3_1_2_9_a_will_has_topic_and_message() {
    let server = broker();
    closed_without_a_word(&server, by_hand(0x06, &["client"]));
    closed_without_a_word(&server, by_hand(0x06, &["client", "topic"]));
    // With a user name only one string is left for the will's two.
    closed_without_a_word(&server, by_hand(0x86, &["client", "topic", "user"]));
    let mut client = server.say(by_hand(0x06, &["client", "topic", ""]));
    assert_eq!(client.expect_connack().code, 0);
}

/// Covers: v3:MQTT-3.1.2-11, v3:MQTT-3.1.2-13, v3:MQTT-3.1.2-15
#[test]
fn mqtt311_3_1_2_11_without_will_flag_there_is_nothing_of_a_will() {
    let server = broker();
    for flags in [0x0a, 0x12, 0x1a, 0x22, 0x2a, 0x32, 0x3a] {
        closed_without_a_word(&server, by_hand(flags, &["client"]));
        closed_without_a_word(&server, by_hand(flags, &["client", "topic", "message"]));
    }
    closed_without_a_word(&server, by_hand(0x02, &["client", "topic", "message"]));
}

/// Covers: v3:MQTT-3.1.2-14
#[test]
fn mqtt311_3_1_2_14_will_qos_is_not_3() {
    let server = broker();
    for flags in [0x1e, 0x3e] {
        closed_without_a_word(&server, by_hand(flags, &["client", "topic", "message"]));
    }
    for flags in [0x06, 0x0e, 0x16, 0x26, 0x2e, 0x36] {
        let mut client = server.say(by_hand(flags, &["client", "topic", "message"]));
        assert_eq!(client.expect_connack().code, 0, "{flags:#04x}");
    }
}

/// Covers: v3:MQTT-3.1.2-18, v3:MQTT-3.1.2-19, v3:MQTT-3.1.2-20, v3:MQTT-3.1.2-21
#[test]
fn mqtt311_3_1_2_18_user_name_and_password_are_there_as_the_flags_say() {
    let server = broker();
    for (flags, strings) in [
        (0x02, &["client", "user"][..]),
        (0x02, &["client", "user", "password"]),
        (0x82, &["client"]),
        (0x82, &["client", "user", "password"]),
        (0xc2, &["client"]),
        (0xc2, &["client", "user"]),
        (0xc2, &["client", "user", "password", "more"]),
    ] {
        closed_without_a_word(&server, by_hand(flags, strings));
    }

    for (flags, strings) in [
        (0x02, &["client"][..]),
        (0x82, &["client", "user"]),
        (0x82, &["client", ""]),
        (0xc2, &["client", "user", "password"]),
        (0xc2, &["client", "", ""]),
    ] {
        let mut client = server.say(by_hand(flags, strings));
        assert_eq!(client.expect_connack().code, 0, "{flags:#04x} {strings:?}");
        // The session is this user's until it has ended, and no other user may take it over.
        client.disconnect();
    }
}

/// Covers: v3:MQTT-3.1.2-22, V31-08
#[test]
fn mqtt311_3_1_2_22_no_password_without_user_name() {
    let server = broker();
    closed_without_a_word(&server, by_hand(0x42, &["client", "password"]));
    closed_without_a_word(&server, Connect::new(3, "c").password("password").bytes());
    assert!(server.sessions().is_empty());
}

/// Notes each CONNECT, and refuses some of them.
#[derive(Default)]
struct Gate(Mutex<Vec<String>>);

impl Hooks for Gate {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        let password = request.password.as_deref().unwrap_or_default();
        let seen = format!(
            "{} {} {}",
            request.client.client_id,
            request.client.username.as_deref().unwrap_or("-"),
            String::from_utf8_lossy(password)
        );
        self.0.lock().expect("no panic before").push(seen);
        if request.client.client_id.starts_with("bad") {
            return Verdict::Deny(Refusal::new(ReasonCode::ClientIdentifierNotValid));
        }
        Verdict::Allow
    }
}

/// Covers: v3:MQTT-3.1.3-1, U311-08
#[test]
fn mqtt311_3_1_3_1_the_payload_is_read_in_its_order() {
    let gate = Arc::new(Gate::default());
    let server = broker_with(|builder| builder.shared_hooks(gate.clone()));
    let mut watcher = watcher(&server, "#");
    server.connect(&full()).cut();
    let will = watcher.receive();
    assert_eq!(will.topic, "will/topic");
    assert_eq!(will.payload, b"will message");
    assert_eq!(will.qos, 1);
    assert_eq!(server.retained("will/topic").len(), 1);
    let seen = gate.0.lock().expect("no panic before").clone();
    assert_eq!(seen, ["watcher - ", "full user password"]);
}

/// Covers: v3:MQTT-3.1.3-9, v3:MQTT-3.2.2-5
#[test]
fn mqtt311_3_1_3_9_a_refused_client_identifier_gets_code_2() {
    let server = broker_with(|builder| builder.hooks(Gate::default()));
    let mut client = server.say(kept("bad id").bytes());
    assert_eq!(client.read_all(), [0x20, 2, 0, 2]);
    assert!(server.sessions().is_empty());
    // So does one that is longer than the broker takes.
    let server = broker_set(&[("limits.client_id_bytes", "30")]);
    let mut client = server.say(kept(&"x".repeat(31)).bytes());
    assert_eq!(client.read_all(), [0x20, 2, 0, 2]);
    server.connect(&kept(&"x".repeat(30))).expect_nothing();
}

/// Covers: v3:MQTT-3.1.3-2
#[test]
fn mqtt311_3_1_3_2_the_client_identifier_names_the_session() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let names = [
        "client",
        "Client",
        "client ",
        " client",
        "clien",
        "cli\u{e9}nt",
    ];

    for name in names {
        let mut client = server.begin(&kept(name));
        client.subscribe(&format!("for/{name}"), 1);
        client.disconnect();
    }

    for name in names {
        publisher.publish(&format!("for/{name}"), name, 1);
    }

    for name in names {
        let mut client = server.resume(&kept(name));
        assert_eq!(client.receive().text(), name);
        client.expect_nothing();
    }
}

/// Covers: v3:MQTT-3.1.3-3, v3:MQTT-3.1.4-1
#[test]
fn mqtt311_3_1_3_3_the_client_identifier_is_there() {
    let server = broker();
    closed_without_a_word(&server, packet(0x10, v311("").header()));
    closed_without_a_word(&server, packet(0x10, kept("").header()));
}

/// Covers: v3:MQTT-3.1.3-4, v3:MQTT-3.1.3-10, v3:MQTT-3.1.3-11, v3:MQTT-1.5.3-1, v3:MQTT-1.5.3-2
#[test]
fn mqtt311_3_1_3_4_strings_of_connect_are_well_formed() {
    let server = broker();
    for bad in ILL_FORMED.into_iter().chain(NUL) {
        closed_without_a_word(&server, Connect::new(4, bad).bytes());
        let will = Will::new(bad, "message");
        closed_without_a_word(&server, v311("client").will(will).bytes());
        closed_without_a_word(&server, v311("client").user(bad).password("p").bytes());
    }

    assert!(server.sessions().is_empty());

    // Neither a will message nor a password is a string.
    for any in ILL_FORMED.into_iter().chain(NUL) {
        let connect = v311("client").will(Will::new("topic", any));
        server.connect(&connect.user("user").password(any));
    }

    // Four bytes, the largest value, and what is no character but allowed.
    for good in ["\u{1f600}", "\u{10ffff}", "\u{d7ff}\u{e000}"] {
        let will = Will::new(good, "message");
        let connect = v311(good).will(will).user(good).password("p");
        server.connect(&connect).expect_nothing();
    }
}

/// Covers: v3:MQTT-3.1.3-5
#[test]
fn mqtt311_3_1_3_5_plain_client_identifiers_are_accepted() {
    let server = broker();
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for id in [&all[..1], &all[..23], &all[23..46], &all[39..], "z"] {
        server.begin(&kept(id)).disconnect();
        server.resume(&kept(id)).disconnect();
    }
}

/// Covers: U311-07
#[test]
fn u311_07_longer_and_stranger_client_identifiers_are_accepted() {
    let server = broker();
    for id in [
        "/.+#$ -_:;,'\"\\",
        &"x/".repeat(128),
        &"\u{1f600}".repeat(200),
    ] {
        server.begin(&kept(id)).disconnect();
        server.resume(&kept(id)).disconnect();
    }
}

/// Covers: v3:MQTT-3.1.3-6
#[test]
fn mqtt311_3_1_3_6_clients_without_identifier_get_one_each() {
    let server = broker();
    let mut clients: Vec<_> = (0..5).map(|_| server.begin(&v311(""))).collect();
    let mut publisher = client(&server, "publisher");
    for client in &mut clients {
        client.subscribe("t", 0);
    }

    publisher.publish("t", "p", 1);
    for client in &mut clients {
        client.expect_message("t", "p");
        client.expect_nothing();
    }

    let mut names: Vec<_> = server
        .clients()
        .iter()
        .map(|c| c.info.client_id.clone())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 6, "{names:?}");
}

/// Covers: v3:MQTT-3.1.3-7, v3:MQTT-3.1.3-8, v3:MQTT-3.2.2-5
#[test]
fn mqtt311_3_1_3_8_no_identifier_and_no_clean_session_is_refused() {
    let server = broker();
    let mut client = server.say(kept("").bytes());
    assert_eq!(client.read_all(), [0x20, 2, 0, 2]);
    assert!(server.sessions().is_empty());
}

/// Covers: v3:MQTT-3.1.4-1, v3:MQTT-3.2.2-6, V31-17
#[test]
fn mqtt311_3_1_4_1_a_connect_out_of_shape_is_closed() {
    let server = broker();
    let body = full().body();
    for length in 0..body.len() {
        closed_without_a_word(&server, packet(0x10, &body[..length]));
    }

    for more in [&b"x"[..], b"\0\0", b"\0\x01x"] {
        closed_without_a_word(&server, packet(0x10, [&body, more].concat()));
    }

    // The same cut off by the end of the stream.
    let bytes = full().bytes();
    for length in 0..bytes.len() {
        let mut client = server.open();
        client.send(&bytes[..length]);
        client.end();
        assert!(client.read_all().is_empty(), "{length}");
    }

    assert!(server.sessions().is_empty());
    server.connect(&full()).expect_nothing();
}

/// Covers: v3:MQTT-3.1.4-5
#[test]
fn mqtt311_3_1_4_5_nothing_behind_a_refused_connect_is_processed() {
    let server = broker_with(|builder| builder.hooks(Gate::default()));
    let mut watcher = watcher(&server, "#");
    let will = Will::new("will", "w");
    let behind = [
        Publish::new("t", "p").retain().bytes_for(4),
        Publish::new("t", "p").qos(1, 1).bytes_for(4),
        Subscribe::new(1).filter("#", 0).bytes_for(4),
        vec![0xc0, 0],
    ]
    .concat();

    for (refused, answer) in [
        (kept("bad id").will(will.clone()), &[0x20, 2, 0, 2][..]),
        (kept("").will(will.clone()), &[0x20, 2, 0, 2]),
        (kept("client").will(will).flags(0x07), &[]),
    ] {
        let mut client = server.say([refused.bytes(), behind.clone()].concat());
        assert_eq!(client.read_all(), answer);
    }

    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
    assert_eq!(server.sessions().len(), 1);
}

/// Covers: U311-09
#[test]
fn u311_09_packets_may_follow_connect_at_once() {
    let server = broker();
    let packets = [
        v311("client").bytes(),
        Subscribe::new(1).filter("t", 1).bytes_for(4),
        Publish::new("t", "p").qos(1, 2).bytes_for(4),
        vec![0xc0, 0],
    ];

    for size in [1, 7, 1000] {
        let mut client = server.open();
        client.send_in_pieces(packets.concat(), size);
        assert_eq!(client.expect_connack().code, 0);
        client.expect_suback(1);
        let mut arrived = [false; 3];
        for _ in 0..3 {
            match client.recv() {
                midge_testkit::Packet::Publish(message) => {
                    assert_eq!(message.text(), "p");
                    arrived[0] = true;
                }
                midge_testkit::Packet::Ack(ack) => arrived[1] = ack.id == 2,
                midge_testkit::Packet::Pingresp => arrived[2] = true,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(arrived, [true; 3]);
    }
}

/// Covers: U311-03
#[test]
fn u311_03_a_connection_without_connect_is_closed() {
    let server = broker();
    let mut silent = server.open();
    let mut slow = server.open();
    let bytes = v311("slow").bytes();
    slow.send(&bytes[..bytes.len() - 1]);
    // Both are accepted once the broker counts them.
    let mut other = client(&server, "other");
    while server.stats().connections < 3 {
        other.expect_nothing();
    }
    server.pass_ms(9_900);
    other.expect_nothing();
    assert_eq!(server.stats().connections, 3);
    server.pass_ms(10_100);
    assert!(silent.read_all().is_empty());
    assert!(slow.read_all().is_empty());
    other.expect_nothing();
}
