//! Chapter 4.12: enhanced authentication.

use std::sync::Mutex;

use midge::{AuthReply, AuthStep, EnhancedVerdict, HookSet, Hooks, ReasonCode, Refusal};
use midge_testkit::{Auth, Client, Connect, Packet, PropsBuf, Publish, Subscribe, auth, id};

use crate::common::{Holder, Server, broker, broker_with, props};

/// Asks for "one" and then for "two"; anything else is refused.
#[derive(Default)]
struct TwoRounds {
    round: Mutex<u32>,
}

impl Hooks for TwoRounds {
    fn set(&self) -> HookSet {
        HookSet::ENHANCED_AUTH
    }

    fn enhanced_auth(&self, step: &AuthStep) -> EnhancedVerdict {
        if &*step.method != "rounds" {
            let refusal = Refusal::new(ReasonCode::BadAuthenticationMethod);
            return EnhancedVerdict::Now(AuthReply::Refuse(refusal));
        }
        let mut round = self.round.lock().expect("no panic before");
        *round = if step.first { 0 } else { *round + 1 };
        let data = step.data.as_deref().unwrap_or_default();
        EnhancedVerdict::Now(match (*round, data) {
            (0, b"start") => AuthReply::Continue(Some("first?".into())),
            (1, b"one") => AuthReply::Continue(Some("second?".into())),
            (2, b"two") => AuthReply::Accept(Some("welcome".into())),
            _ => AuthReply::Refuse(Refusal::new(ReasonCode::NotAuthorized)),
        })
    }
}

fn server() -> Server {
    broker_with(|builder| builder.hooks(TwoRounds::default()))
}

fn with(method: &str, data: &str) -> PropsBuf {
    let method = props().text(id::AUTHENTICATION_METHOD, method);
    method.text(id::AUTHENTICATION_DATA, data)
}

fn connect() -> Connect {
    Connect::v5("client").props(with("rounds", "start"))
}

#[track_caller]
fn expect_auth(client: &mut Client, code: u8, data: &str) -> Auth {
    match client.recv() {
        Packet::Auth(auth) if auth.code == code => {
            assert_eq!(auth.props.text(id::AUTHENTICATION_METHOD), Some("rounds"));
            assert_eq!(
                auth.props.binary(id::AUTHENTICATION_DATA),
                Some(data.as_bytes())
            );
            auth
        }
        other => panic!("{other:?} instead of AUTH {code:#04x}"),
    }
}

/// A client in the middle of its authentication.
#[track_caller]
fn halfway(server: &Server, connect: &Connect) -> Client {
    let mut client = server.say(connect.bytes());
    expect_auth(&mut client, 0x18, "first?");
    client.send(auth(0x18, &with("rounds", "one")));
    expect_auth(&mut client, 0x18, "second?");
    client
}

/// A client that has authenticated.
#[track_caller]
fn authenticated(server: &Server, connect: &Connect) -> Client {
    let mut client = halfway(server, connect);
    client.send(auth(0x18, &with("rounds", "two")));
    let connack = client.expect_connack();
    assert_eq!(connack.code, 0, "{connack:?}");
    assert_eq!(
        connack.props.text(id::AUTHENTICATION_METHOD),
        Some("rounds")
    );
    assert_eq!(
        connack.props.binary(id::AUTHENTICATION_DATA),
        Some(&b"welcome"[..])
    );
    client
}

/// Covers: v5:MQTT-4.12.0-1, NN5-120
#[test]
fn mqtt_4_12_0_1_an_unknown_method_is_refused() {
    let stock = broker();
    for method in ["X", "SCRAM-SHA-256", ""] {
        let connect = Connect::v5("client").props(with(method, "data"));
        stock.say(connect.bytes()).expect_refused(0x8c);
        server().say(connect.bytes()).expect_refused(0x8c);
    }
}

/// Covers: v5:MQTT-4.12.0-2, v5:MQTT-4.12.0-5, v5:MQTT-3.2.0-1
#[test]
fn mqtt_4_12_0_2_auth_goes_back_and_forth_until_connack() {
    let server = server();
    let mut client = authenticated(&server, &connect());
    client.subscribe("t", 1);
    client.publish("t", "p", 1);
    client.expect_message("t", "p");
    client.expect_nothing();
}

/// Covers: v5:MQTT-4.12.0-3, v5:MQTT-3.15.2-1
#[test]
fn mqtt_4_12_0_3_the_client_continues_with_0x18() {
    let server = server();
    for code in [0x00, 0x19] {
        let mut client = server.say(connect().bytes());
        expect_auth(&mut client, 0x18, "first?");
        client.send(auth(code, &with("rounds", "one")));
        client.expect_closed_with(&[0x81, 0x82]);
    }
}

/// Covers: v5:MQTT-4.12.0-4
#[test]
fn mqtt_4_12_0_4_a_refusal_in_the_middle_closes() {
    let server = server();
    let mut client = halfway(&server, &connect());
    client.send(auth(0x18, &with("rounds", "wrong")));
    client.expect_refused(0x87);
    let refused = Connect::v5("client").props(with("rounds", "wrong"));
    server.say(refused.bytes()).expect_refused(0x87);
    server.begin(&Connect::v5("client").clean(false));
}

/// Covers: v5:MQTT-4.12.0-5
#[test]
fn mqtt_4_12_0_5_the_method_stays_the_same() {
    let server = server();
    for block in [with("other", "one"), with("Rounds", "one")] {
        let mut client = server.say(connect().bytes());
        expect_auth(&mut client, 0x18, "first?");
        client.send(auth(0x18, &block));
        client.expect_closed_with(&[0x82, 0x8c]);
    }
}

/// Covers: NN5-122
#[test]
fn nn5_122_auth_has_a_method() {
    let server = server();
    let data = props().text(id::AUTHENTICATION_DATA, "one");
    for bytes in [
        vec![0xf0, 0],
        vec![0xf0, 1, 0x18],
        auth(0x18, &props()),
        auth(0x18, &data),
    ] {
        let mut client = server.say(connect().bytes());
        expect_auth(&mut client, 0x18, "first?");
        client.send(&bytes);
        client.expect_closed_with(&[0x81, 0x82]);
        let mut client = authenticated(&server, &connect());
        client.send(&bytes);
        client.expect_disconnect_of(&[0x81, 0x82]);
    }
    broker().refuses(Holder::Auth, &[0xf0, 0], &[0x82]);
}

/// Covers: v5:MQTT-3.1.2-30
#[test]
fn mqtt_3_1_2_30_nothing_but_auth_and_disconnect_comes_before_connack() {
    let server = server();
    let mut watcher = server.watcher("#");
    for bytes in [
        Subscribe::new(1).filter("t", 0).bytes(),
        Publish::new("t", "p").retain().bytes(),
        Publish::new("t", "p").qos(1, 1).bytes(),
        vec![0xc0, 0],
        connect().bytes(),
    ] {
        let mut client = halfway(&server, &connect());
        client.send(&bytes);
        client.expect_closed_with(&[0x82]);
        let mut client = server.say([connect().bytes(), bytes].concat());
        expect_auth(&mut client, 0x18, "first?");
        client.expect_closed_with(&[0x82]);
    }

    let mut client = halfway(&server, &connect());
    client.send([0xe0, 0]);
    client.expect_closed();
    watcher.expect_nothing();
    server.watcher("#").expect_nothing();
}

/// Covers: v5:MQTT-4.12.0-6, v5:MQTT-4.12.0-7
#[test]
fn mqtt_4_12_0_7_without_a_method_there_is_no_auth() {
    for server in [broker(), server()] {
        // That there is no AUTH and no method in CONNACK is what the client checks.
        let mut client = server.connect(&Connect::v5("client").user("u").password("p"));
        client.expect_nothing();
        for code in [0x18, 0x19] {
            let mut client = server.client("other");
            client.send(auth(code, &with("rounds", "start")));
            client.expect_disconnect(0x82);
        }
    }
}

/// Covers: v5:MQTT-4.12.1-1
#[test]
fn mqtt_4_12_1_1_re_authentication_keeps_the_method() {
    let server = server();
    for bytes in [
        auth(0x19, &with("other", "start")),
        auth(0x19, &props()),
        auth(0x18, &with("rounds", "one")),
        auth(0x00, &with("rounds", "start")),
    ] {
        let mut client = authenticated(&server, &connect());
        client.send(bytes);
        client.expect_disconnect_of(&[0x81, 0x82]);
    }
}

/// Covers: NN5-123, NN5-124, v5:MQTT-3.15.2-1
#[test]
fn nn5_123_other_packets_go_on_during_re_authentication() {
    let server = server();
    let mut watcher = server.watcher("t");
    let mut client = authenticated(&server, &connect());
    for _ in 0..2 {
        client.send(auth(0x19, &with("rounds", "start")));
        expect_auth(&mut client, 0x18, "first?");
        client.publish("t", "meanwhile", 1);
        watcher.expect_message("t", "meanwhile");
        client.subscribe("u", 0);
        client.send(auth(0x18, &with("rounds", "one")));
        expect_auth(&mut client, 0x18, "second?");
        client.publish("u", "for me", 1);
        client.expect_message("u", "for me");
        client.send(auth(0x18, &with("rounds", "two")));
        expect_auth(&mut client, 0x00, "welcome");
        client.publish("t", "after", 1);
        watcher.expect_message("t", "after");
    }

    client.expect_nothing();
}

/// Covers: v5:MQTT-4.12.1-2, v5:MQTT-3.2.0-2
#[test]
fn mqtt_4_12_1_2_failed_re_authentication_ends_the_connection() {
    let server = server();
    let mut client = authenticated(&server, &connect());
    client.send(auth(0x19, &with("rounds", "wrong")));
    client.expect_disconnect(0x87);
    let mut client = authenticated(&server, &connect());
    client.send(auth(0x19, &with("rounds", "start")));
    expect_auth(&mut client, 0x18, "first?");
    client.send(auth(0x18, &with("rounds", "wrong")));
    client.expect_disconnect(0x87);
}

/// Covers: v5:MQTT-3.15.2-1
#[test]
fn mqtt_3_15_2_1_auth_has_codes_of_its_table() {
    let server = server();
    for code in [0x01, 0x17, 0x1a, 0x80, 0x87, 0xff] {
        let mut client = authenticated(&server, &connect());
        client.send(auth(code, &with("rounds", "start")));
        client.expect_disconnect_of(&[0x81, 0x82]);
        let mut client = server.say(connect().bytes());
        expect_auth(&mut client, 0x18, "first?");
        client.send(auth(code, &with("rounds", "one")));
        client.expect_closed_with(&[0x81, 0x82]);
    }
}

/// Covers: v5:MQTT-3.15.2-2, v5:MQTT-3.15.2-3
#[test]
fn mqtt_3_15_2_2_auth_fits_into_the_maximum_packet_size() {
    let server = server();

    // The largest packet of the exchange is the CONNACK; AUTH is what comes before it.
    for limit in 5..60 {
        let mut client = server.say(connect().maximum_packet_size(limit).bytes());
        // The size is what each read checks. An AUTH that does not fit ends the attempt.
        match client.recv_or_end() {
            Some(Packet::Auth(auth)) => {
                assert!(auth.props.has(id::AUTHENTICATION_DATA), "{auth:?}");
                client.send(midge_testkit::auth(0x18, &with("rounds", "wrong")));
                client.expect_refused(0x87);
            }
            Some(Packet::Connack(connack)) => {
                assert!(limit < 30 && connack.code >= 0x80, "{connack:?} in {limit}");
                client.expect_closed();
            }
            None => assert!(limit < 30, "closed with {limit}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Covers: v5:MQTT-3.15.1-1
#[test]
fn mqtt_3_15_1_1_the_flags_of_auth_are_0() {
    let server = server();
    for flags in 1..16 {
        let mut client = authenticated(&server, &connect());
        let mut bytes = auth(0x19, &with("rounds", "start"));
        bytes[0] = 0xf0 | flags;
        client.send(bytes);
        client.expect_disconnect(0x81);
    }
}
