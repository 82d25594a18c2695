//! What is different for MQTT 3.1 clients.

use midge::{ClientInfo, HookSet, Hooks, SubscriptionOptions, Verdict};
use midge_testkit::{Client, Connect, Kind, Publish, Subscribe, Will, Wire, ack, packet};

use crate::common::{Server, broker, broker_set, broker_with};
use crate::{ILL_FORMED, NUL, client, watcher};

fn v31(client_id: &str) -> Connect {
    Connect::new(3, client_id)
}

/// Covers: V31-01
#[test]
fn v31_01_name_and_level_belong_together() {
    let server = broker();
    // The header is that of the standard: 12 bytes.
    let bytes = v31("c").keep_alive(10).bytes();
    let expected = [&[0x10, 15, 0, 6][..], b"MQIsdp", &[3, 2, 0, 10, 0, 1, b'c']];
    assert_eq!(bytes, expected.concat());
    server.say(bytes).expect_connack();
    for (name, level) in [("MQTT", 3), ("MQIsdp", 4), ("MQIsdp", 5), ("MQIsdp", 2)] {
        let mut client = server.say(v31("client").bytes_with_protocol(name, level));
        assert_eq!(client.read_all(), [0x20, 2, 0, 1], "{name} {level}");
    }
}

/// Covers: V31-02
#[test]
fn v31_02_the_client_identifier_is_not_empty_and_may_be_long() {
    let server = broker();
    for clean in [true, false] {
        let mut client = server.say(v31("").clean(clean).bytes());
        assert_eq!(client.read_all(), [0x20, 2, 0, 2], "clean {clean}");
    }

    assert!(server.sessions().is_empty());
    for length in [1, 23, 24, 200] {
        server.connect(&v31(&"x".repeat(length))).disconnect();
    }

    let strict = broker_set(&[("strict.v31_client_id", "true")]);
    strict.connect(&v31(&"x".repeat(23))).disconnect();

    // Characters are counted, not bytes.
    strict.connect(&v31(&"\u{e9}".repeat(23))).disconnect();

    let mut client = strict.say(v31(&"x".repeat(24)).bytes());
    assert_eq!(client.read_all(), [0x20, 2, 0, 2]);
    strict
        .connect(&Connect::new(4, "x".repeat(24)))
        .disconnect();
}

/// Covers: V31-03
#[test]
fn v31_03_session_present_is_not_told() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let connect = v31("client").clean(false);
    let mut first = server.connect(&connect);
    first.subscribe("t", 1);
    first.disconnect();
    publisher.publish("t", "p", 1);

    let mut again = server.open();
    again.send(connect.bytes());

    let connack = again.expect_connack();
    assert!(connack.code == 0 && !connack.session_present, "{connack:?}");

    // And yet it was resumed.
    assert_eq!(again.receive().text(), "p");
    again.cut();

    let mut raw = server.say(connect.bytes());
    raw.end();
    assert_eq!(raw.read_all(), [0x20, 2, 0, 0]);
    server.resume(&Connect::new(4, "client").clean(false));
}

/// Covers: V31-04
#[test]
fn v31_04_return_codes_are_those_of_3_1_1() {
    let server = broker_set(&[("mqtt.versions", "3.1.1,5")]);
    let mut client = server.say(v31("client").bytes());
    assert_eq!(client.read_all(), [0x20, 2, 0, 1]);
}

/// Covers: V31-05
#[test]
fn v31_05_the_reserved_connect_flag_is_not_looked_at() {
    let server = broker();
    let mut client = server.connect(&v31("client").flags(0x03));
    client.publish("t", "p", 1);
    let mut new = server.say(Connect::new(4, "client").flags(0x03).bytes());
    new.expect_closed();
}

/// Covers: V31-06
#[test]
fn v31_06_the_flags_of_connects_first_byte_are_not_looked_at() {
    let server = broker();
    for flags in 0..16 {
        let mut client = server.say(packet(0x10 | flags, v31("client").body()));
        assert_eq!(client.expect_connack().code, 0, "{flags:#x}");
        client.disconnect();
    }
}

/// Covers: V31-07
#[test]
fn v31_07_user_name_and_password_may_be_missing_at_the_end() {
    let server = broker();
    let with = |flags: u8, strings: &[&str]| {
        let body = Wire::new().text("MQIsdp").u8(3).u8(flags).u16(0);
        strings.iter().fold(body, Wire::text).packet(0x10)
    };

    for (flags, strings) in [
        (0x82, &["client"][..]),
        (0xc2, &["client"]),
        (0xc2, &["client", "user"]),
        (0xc2, &["client", "user", "password"]),
    ] {
        let mut client = server.say(with(flags, strings));
        assert_eq!(client.expect_connack().code, 0, "{flags:#x} {strings:?}");
        client.disconnect();
    }

    // Half a string is another matter, and so is one too many.
    let cut = Wire::new()
        .text("MQIsdp")
        .u8(3)
        .u8(0x82)
        .u16(0)
        .text("client");
    server.say(cut.u8(0).packet(0x10)).expect_closed();
    server.say(with(0x02, &["client", "user"])).expect_closed();
    server.say(with(0x06, &["client"])).expect_closed();
}

/// Covers: V31-08
#[test]
fn v31_08_a_password_needs_a_user_name() {
    let server = broker();
    let mut client = server.say(v31("client").password("password").bytes());
    client.expect_closed();
    assert!(server.sessions().is_empty());
}

/// Covers: V31-09, V31-11
#[test]
fn v31_09_requests_may_say_that_they_are_sent_again() {
    let server = broker();
    let mut client = server.connect(&v31("client"));
    let request = Wire::new().u16(1).text("t").u8(2);
    for first in [0x82, 0x8a] {
        client.send(request.clone().packet(first));
        assert_eq!(client.expect_suback(1).codes, [2]);
    }

    client.send(Publish::new("other", "p").qos(2, 7).bytes_for(3));
    client.expect_ack(Kind::Pubrec, 7);
    for first in [0x62, 0x6a] {
        client.send([first, 2, 0, 7]);
        client.expect_ack(Kind::Pubcomp, 7);
    }

    for first in [0xa2, 0xaa] {
        client.send(Wire::new().u16(2).text("t").packet(first));
        client.expect_unsuback(2);
    }

    // QoS 1 is demanded even so, and 3.1.1 clients may not.
    for first in [0x80, 0x84, 0x88] {
        let mut client = server.connect(&v31("wrong"));
        client.send(request.clone().packet(first));
        client.expect_closed();
    }

    crate::closes(&server, request.packet(0x8a));
    crate::closes(&server, [0x6a, 2, 0, 7]);
}

/// Denies filters that begin with "denied".
struct Rules;

impl Hooks for Rules {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_SUBSCRIBE
    }

    fn authorize_subscribe(
        &self,
        _client: &ClientInfo,
        filter: &str,
        _options: &SubscriptionOptions,
    ) -> Verdict {
        if filter.starts_with("denied") {
            Verdict::deny()
        } else {
            Verdict::Allow
        }
    }
}

/// Covers: V31-10
#[test]
fn v31_10_a_denied_subscription_looks_granted_and_is_not() {
    let server = broker_with(|builder| builder.hooks(Rules));
    let mut client = server.connect(&v31("client"));
    let mixed = Subscribe::new(0)
        .filter("denied/1", 0)
        .filter("t", 1)
        .filter("denied/2", 2);

    // There is no code for a failure; the reader of these tests knows that too.
    assert_eq!(client.request(&mixed).codes, [0, 1, 2]);

    let filters: Vec<String> = server
        .subscriptions(Some("client"))
        .iter()
        .map(|subscription| subscription.filter.to_string())
        .collect();
    assert_eq!(filters, ["t"]);
    for topic in ["denied/1", "denied/2", "t"] {
        server.publish(topic, "p").expect("a host may");
    }

    client.expect_message("t", "p");
    client.expect_nothing();
}

/// Covers: V31-11, v3:MQTT-4.3.3-2
#[test]
fn v31_11_what_a_client_sends_again_is_taken() {
    let server = broker();
    let mut watcher = watcher(&server, "t");
    let mut client = server.connect(&v31("client"));
    let publish = Publish::new("t", "two").qos(2, 1);
    client.send(publish.bytes_for(3));
    client.expect_ack(Kind::Pubrec, 1);
    for _ in 0..4 {
        client.send(publish.clone().dup().bytes_for(3));
        client.expect_ack(Kind::Pubrec, 1);
    }
    for first in [0x62, 0x6a, 0x6a] {
        client.send([first, 2, 0, 1]);
        client.expect_ack(Kind::Pubcomp, 1);
    }
    assert_eq!(watcher.receive().text(), "two");
    watcher.expect_nothing();
}

/// Covers: V31-14, v3:MQTT-1.5.3-1
#[test]
fn v31_14_text_is_checked_for_all_versions() {
    let server = broker();
    for bad in ILL_FORMED.into_iter().chain(NUL) {
        server.say(Connect::new(3, bad).bytes()).expect_closed();
        let mut client = server.connect(&v31("client"));
        client.send(Publish::new(bad, "p").bytes_for(3));
        client.expect_closed();
        let mut client = server.connect(&v31("client"));
        client.send(Subscribe::new(1).filter(bad, 0).bytes_for(3));
        client.expect_closed();
    }
}

/// Covers: V31-15, U311-08
#[test]
fn v31_15_a_will_message_is_any_data() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    for payload in [&b"\xff\x00\xc0"[..], b"", "\u{e9}".as_bytes()] {
        let connect = v31("client").will(Will::new("will", payload));
        server.connect(&connect).cut();
        watcher.expect_message("will", payload);
    }
}

/// Covers: V31-17
#[test]
fn v31_17_malformed_packets_end_the_connection() {
    let server = broker();
    for bytes in [
        &[0x30, 0][..],
        &[0x36, 5, 0, 1, b't', 0, 1],
        &[0x82, 2, 0, 1],
        &[0x82, 6, 0, 1, 0, 1, b't', 3],
        &[0xc0, 1, 0],
        &[0xf0, 0],
        &[0x00, 0],
    ] {
        let mut client = server.connect(&v31("client"));
        client.send(bytes);
        client.expect_closed();
    }
}

/// A connection whose protocol level has the bit of a bridge.
fn bridge(server: &Server, version: u8, client_id: &str) -> Client {
    let connect = Connect::new(version, client_id);
    let bytes = connect.bytes_with_protocol(connect.name.clone(), version | 0x80);
    server.say(bytes)
}

/// Covers: V31-18
#[test]
fn v31_18_a_bridge_gets_nothing_of_its_own_and_the_retain_flag_as_published() {
    let server = broker();
    let mut other = server.client("other");

    for version in [3, 4] {
        let mut bridge = bridge(&server, version, "bridge");
        assert_eq!(bridge.expect_connack().code, 0);
        bridge.subscribe("#", 1);
        bridge.publish("t", "of its own", 1);
        bridge.expect_nothing();
        for retain in [true, false] {
            let publish = Publish::new("t", "x").qos(1, 1);
            let publish = if retain { publish.retain() } else { publish };
            other.send(publish.bytes());
            other.expect_ack(Kind::Puback, 1);
            let message = bridge.expect_message("t", "x");
            assert_eq!(message.retain, retain);
            bridge.acknowledge(&message);
        }
        // A message to a group is for any member of it.
        bridge.unsubscribe(&["#"]);
        bridge.subscribe("$share/group/t", 0);
        bridge.publish("t", "shared", 0);
        bridge.expect_message("t", "shared");
        server.clear_retained("#");
    }
}

/// Covers: V31-18
#[test]
fn v31_18_a_bridge_is_told_in_two_bytes_what_is_not_spoken() {
    let only_5 = broker_set(&[("mqtt.versions", "5")]);
    let server = broker();
    for version in [3, 4] {
        let answer = bridge(&only_5, version, "bridge").read_all();
        assert_eq!(answer, [0x20, 2, 0, 1], "{version}");
    }
    // Names and levels that do not belong together.
    for (name, level) in [
        ("MQTT", 0x83),
        ("MQIsdp", 0x84),
        ("MQIsdp", 0x85),
        ("MQIsdp", 4),
    ] {
        let connect = Connect::new(4, "bridge").bytes_with_protocol(name, level);
        assert_eq!(server.say(connect).read_all(), [0x20, 2, 0, 1], "{name}");
    }
    assert!(server.sessions().is_empty());
}

/// Covers: V31-13, V31-12
#[test]
fn v31_13_an_old_client_takes_part_like_any_other() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    let mut client = server.connect(&v31("client").clean(false));
    client.subscribe("+/t", 2);
    for qos in 0..3 {
        client.publish("a/t", [qos], qos);
        let message = client.receive();
        assert_eq!((message.qos, message.payload), (qos, vec![qos]));
        assert_eq!(watcher.receive().qos, qos);
    }
    client.publish("$SYS/t", "p", 1);
    client.expect_nothing();
    watcher.expect_nothing();
    client.send(ack(Kind::Pubrel, 99));
    client.expect_ack(Kind::Pubcomp, 99);
}
