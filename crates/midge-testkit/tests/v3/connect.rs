//! CONNECT and CONNACK.

use midge::{Clock, ConnectRequest, HookSet, Hooks, ReasonCode, Refusal, Verdict};
use midge_testkit::{Connect, Publish, Subscribe, Will, Wire, packet};

use crate::common::{broker, broker_with};
use crate::{old, v4, watcher};

/// Lets nobody in but those with the right password, and no identifier that begins with x.
struct Door;

impl Hooks for Door {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        if request.client.client_id.starts_with('x') {
            return Verdict::Deny(Refusal::new(ReasonCode::ClientIdentifierNotValid));
        }
        match (
            request.client.username.as_deref(),
            request.password.as_deref(),
        ) {
            (Some("user"), Some(b"password")) => Verdict::Allow,
            (Some(_), _) => Verdict::Deny(Refusal::new(ReasonCode::BadUserNameOrPassword)),
            (None, _) => Verdict::Deny(Refusal::new(ReasonCode::NotAuthorized)),
        }
    }
}

fn good(id: &str) -> Connect {
    v4(id).user("user").password("password")
}

/// Covers: v3:MQTT-3.1.0-1
#[test]
fn mqtt311_3_1_0_1_the_first_packet_is_connect() {
    let server = broker();
    for kind in 0..16_u8 {
        if kind != 1 {
            assert!(server.say(packet(kind << 4, [0, 1])).read_all().is_empty());
        }
    }
    assert!(server.say(b"GET / HTTP/1.1\r\n\r\n").read_all().is_empty());
}

/// Covers: v3:MQTT-3.1.0-2
#[test]
fn mqtt311_3_1_0_2_a_second_connect_closes() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let mut client = server.connect(&v4("c").will(Will::new("will", "w")));
    client.send(v4("c").bytes());
    client.expect_closed_with(&[]);
    watcher.expect_message("will", "w");
}

/// Covers: v3:MQTT-3.1.2-1, V31-01
#[test]
fn mqtt311_3_1_2_1_names_and_levels_go_together() {
    let server = broker();
    for (name, level) in [
        ("mqtt", 4),
        ("MQTTX", 4),
        ("", 4),
        ("MQIsdp", 4),
        ("MQIsdp", 5),
        ("mqisdp", 3),
    ] {
        let bytes = v4("c").bytes_with_protocol(name, level);
        assert!(server.say(bytes).read_all().is_empty(), "{name} {level}");
    }
    server.connect(&Connect::new(3, "c")).expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-2, V31-18
#[test]
fn mqtt311_3_1_2_2_an_unknown_level_is_refused_with_1() {
    let server = broker();
    for level in [0, 1, 2, 3] {
        let bytes = v4("c").bytes_with_protocol("MQTT", level);
        assert_eq!(server.say(bytes).read_all(), [0x20, 2, 0, 1], "{level}");
    }
    for level in [6, 127, 0x83, 0x84, 255] {
        // A level above 5 is answered in the form of 5.
        let bytes = v4("c").bytes_with_protocol("MQTT", level);
        assert_eq!(
            server.say(bytes).read_all(),
            [0x20, 3, 0, 0x84, 0],
            "{level}"
        );
    }
}

/// Covers: v3:MQTT-3.1.2-3, v3:MQTT-3.1.2-9, v3:MQTT-3.1.2-11, v3:MQTT-3.1.2-13, v3:MQTT-3.1.2-14, v3:MQTT-3.1.2-15, v3:MQTT-3.1.2-18, v3:MQTT-3.1.2-19, v3:MQTT-3.1.2-20, v3:MQTT-3.1.2-21, v3:MQTT-3.1.2-22
#[test]
fn mqtt311_3_1_2_3_flags_and_fields_go_together() {
    let server = broker();
    let will = |qos| v4("c").will(Will::new("t", "w").qos(qos));
    let mut broken = vec![
        v4("c").flags(0x03).bytes(),
        will(3).bytes(),
        v4("c").user("u").flags(0x02).bytes(),
        v4("c").flags(0x82).bytes(),
        v4("c").user("u").password("p").flags(0x82).bytes(),
        v4("c").user("u").flags(0xc2).bytes(),
        v4("c").password("p").flags(0x42).bytes(),
    ];
    for flags in [0x0a, 0x12, 0x1a, 0x22, 0x06] {
        broken.push(v4("c").flags(flags).bytes());
    }
    let head = Wire(v4("c").flags(0x06).header()).text("c");
    broken.push(head.text("topic").packet(0x10));
    for bytes in broken {
        assert!(server.say(&bytes).read_all().is_empty(), "{bytes:02x?}");
    }
    for qos in 0..3 {
        server.connect(&will(qos)).disconnect();
    }
}

/// Covers: v3:MQTT-3.1.4-1, v3:MQTT-3.1.3-3
#[test]
fn mqtt311_3_1_4_1_a_connect_of_another_form_gets_no_answer() {
    let server = broker();
    let full = v4("c").will(Will::new("t", "w")).user("u").password("p");
    let body = full.body();
    for end in 0..body.len() {
        let bytes = packet(0x10, &body[..end]);
        assert!(server.say(bytes).read_all().is_empty(), "{end}");
    }
    let trailing = packet(0x10, [&body[..], &[0]].concat());
    assert!(server.say(trailing).read_all().is_empty());
    assert!(server.sessions().is_empty());
}

/// Covers: v3:MQTT-3.1.3-1, v3:MQTT-3.1.3-2, U311-01, U311-10, v3:MQTT-3.2.2-4, v3:MQTT-3.2.2-5
#[test]
fn mqtt311_3_1_3_1_the_fields_arrive_where_they_belong() {
    let server = broker_with(|builder| builder.hooks(Door));
    let mut watcher = server.connect(&good("watcher"));
    watcher.subscribe("will", 0);
    server
        .connect(&good("c").will(Will::new("will", "the will")))
        .cut();
    watcher.expect_message("will", "the will");
    server.connect(&good("kept").clean(false)).disconnect();
    for (connect, code) in [
        (v4("c").user("user").password("wrong"), 4),
        (v4("c"), 5),
        (good("x"), 2),
        (v4("kept").clean(false).user("user"), 4),
    ] {
        assert_eq!(server.say(connect.bytes()).read_all(), [0x20, 2, 0, code]);
    }
    server.resume(&good("kept"));
}

/// Covers: v3:MQTT-3.1.3-9
#[test]
fn mqtt311_3_1_3_9_a_refused_identifier_gets_2() {
    let server = broker_with(|builder| builder.set("limits.client_id_bytes", "23").unwrap());
    let long = server.say(v4(&"i".repeat(24)).bytes()).read_all();
    assert_eq!(long, [0x20, 2, 0, 2]);
}

/// Covers: v3:MQTT-3.1.3-5, U311-07
#[test]
fn mqtt311_3_1_3_5_ordinary_identifiers_are_accepted() {
    let server = broker();
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for id in [
        &alphabet[..1],
        &alphabet[..22],
        &alphabet[..23],
        &alphabet[39..],
        "a-b_c.d:e/f g",
    ] {
        old(&server, id).expect_nothing();
    }
    old(&server, &"x-".repeat(128)).expect_nothing();
}

/// Covers: v3:MQTT-3.1.3-6, v3:MQTT-3.1.3-7, v3:MQTT-3.1.3-8
#[test]
fn mqtt311_3_1_3_6_an_empty_identifier_wants_a_clean_session() {
    let server = broker();
    let (mut one, mut two) = (old(&server, ""), old(&server, ""));
    one.expect_nothing();
    two.expect_nothing();
    assert_eq!(
        server.say(v4("").clean(false).bytes()).read_all(),
        [0x20, 2, 0, 2]
    );
}

/// Covers: v3:MQTT-3.1.4-2, v3:MQTT-3.1.4-4, U311-02, v3:MQTT-3.2.0-1
#[test]
fn mqtt311_3_1_4_2_a_new_connection_takes_over() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let connect = v4("c").clean(false).will(Will::new("will", "w"));
    let mut first = server.connect(&connect);
    let mut second = server.open();
    second.send(connect.bytes());
    assert!(second.expect_connack().session_present);
    first.expect_closed_with(&[]);
    watcher.expect_message("will", "w");
    second.expect_nothing();
    assert_eq!(server.clients().len(), 2);
}

/// Covers: v3:MQTT-3.1.4-5
#[test]
fn mqtt311_3_1_4_5_nothing_behind_a_refused_connect_counts() {
    let server = broker_with(|builder| builder.hooks(Door));
    let mut bytes = v4("c").bytes();
    bytes.extend(Publish::new("t", "p").retain().bytes_for(4));
    assert_eq!(server.say(bytes).read_all(), [0x20, 2, 0, 5]);
    assert!(server.retained("#").is_empty());
}

/// Covers: U311-09
#[test]
fn u311_09_packets_may_follow_connect_at_once() {
    let server = broker();
    let mut bytes = v4("c").bytes();
    bytes.extend(Subscribe::new(1).filter("t", 0).bytes_for(4));
    bytes.extend(Publish::new("t", "p").qos(1, 2).bytes_for(4));
    assert_eq!(
        server.say(bytes).cut().len(),
        4,
        "CONNACK, SUBACK, PUBLISH and PUBACK"
    );
}

/// Covers: v3:MQTT-3.1.2-24, v3:MQTT-3.1.2-8, U311-06
#[test]
fn mqtt311_3_1_2_24_silence_for_one_and_a_half_keep_alive_ends_it() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let connect = v4("c").keep_alive(2).will(Will::new("will", "w"));
    let mut client = server.connect(&connect);
    server.pass_ms(2999);
    client.expect_nothing(); // it sends PINGREQ
    server.pass_ms(2999);
    client.send([0xc0]); // half a packet is none
    server.pass_ms(1);
    client.expect_closed_with(&[]);
    watcher.expect_message("will", "w");
    let mut endless = server.connect(&v4("c").keep_alive(0));
    server.pass(1_000_000);
    endless.expect_nothing();
}

/// Covers: U311-03
#[test]
fn u311_03_a_connection_without_connect_is_closed() {
    let server = broker_with(|builder| builder.clock(Clock::Manual));
    let mut silent = server.open();
    let half = v4("c").bytes();
    let mut halting = server.say(&half[..7]);
    while server.stats().connections < 2 {
        std::thread::yield_now();
    }
    server.pass_ms(10_000);
    assert!(silent.read_all().is_empty());
    assert!(halting.read_all().is_empty());
}
