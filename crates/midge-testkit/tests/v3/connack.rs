//! CONNACK: Session Present and return codes.

use midge::{ConnectRequest, HookSet, Hooks, ReasonCode, Refusal, Verdict};
use midge_testkit::{Connack, Connect, Packet, Props};

use crate::common::{Server, broker, broker_with};
use crate::{client, kept, v311};

/// Answers a user name that is a number with the refusal of this number.
struct Refuser;

impl Hooks for Refuser {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        let user = request.client.username.as_deref().unwrap_or_default();
        match user.parse().ok().and_then(ReasonCode::from_u8) {
            Some(reason) => Verdict::Deny(Refusal::new(reason).text("a text")),
            None => Verdict::Allow,
        }
    }
}

/// What the broker says to a client that it refuses with this reason.
#[track_caller]
fn refusal(server: &Server, connect: &Connect, reason: ReasonCode) -> Vec<u8> {
    let user = (reason as u8).to_string();
    server.say(connect.clone().user(user).bytes()).read_all()
}

/// Covers: v3:MQTT-3.1.4-4, v3:MQTT-3.2.0-1, U311-02
#[test]
fn mqtt311_3_1_4_4_success_is_answered_with_code_0() {
    let server = broker();
    for (connect, present) in [
        (v311("client"), 0),
        (kept("client"), 0),
        (kept("client"), 1),
        (v311("client"), 0),
    ] {
        let mut client = server.say(connect.bytes());
        client.end();
        assert_eq!(client.read_all(), [0x20, 2, present, 0]);
    }
}

/// Covers: v3:MQTT-3.2.2-1, v3:MQTT-3.2.2-2, v3:MQTT-3.2.2-3
#[test]
fn mqtt311_3_2_2_1_session_present_tells_of_stored_state() {
    let server = broker();
    server.begin(&kept("client")).disconnect();
    server.resume(&kept("client")).cut();
    server.resume(&kept("client")).disconnect();
    server.begin(&kept("another")).disconnect();
    server.begin(&v311("client")).disconnect();
    server.begin(&kept("client")).disconnect();
    server.resume(&kept("another")).disconnect();
}

/// Covers: v3:MQTT-3.2.0-1
#[test]
fn mqtt311_3_2_0_1_connack_comes_before_everything_else() {
    let server = broker();
    let mut subscriber = server.begin(&kept("client"));
    subscriber.subscribe("t", 2);
    subscriber.disconnect();
    let mut publisher = client(&server, "publisher");
    for number in 0..100u8 {
        publisher.publish("t", [number], 1 + number % 2);
    }
    let (mut subscriber, connack) = server.answer(&kept("client"));
    assert!(connack.session_present);
    for number in 0..100u8 {
        assert_eq!(subscriber.receive().payload, [number]);
    }
}

/// Covers: v3:MQTT-3.2.2-4, v3:MQTT-3.2.2-5, U311-01
#[test]
fn mqtt311_3_2_2_4_a_refusal_says_nothing_of_the_session() {
    let server = broker_with(|builder| builder.hooks(Refuser));
    server.begin(&kept("client")).disconnect();
    for clean in [false, true] {
        let connect = kept("client").clean(clean);
        let answer = refusal(&server, &connect, ReasonCode::BadUserNameOrPassword);
        assert_eq!(answer, [0x20, 2, 0, 4]);
    }
    // Nor does it touch the session.
    server.resume(&kept("client"));
}

/// Covers: U311-10, U311-01, V31-04, v3:MQTT-3.2.2-5, v3:MQTT-3.2.2-6
#[test]
fn u311_10_reasons_get_the_return_code_that_fits() {
    let server = broker_with(|builder| builder.hooks(Refuser));
    for version in [3, 4] {
        let connect = Connect::new(version, "client");
        for (reason, code) in [
            (ReasonCode::UnsupportedProtocolVersion, 1),
            (ReasonCode::ClientIdentifierNotValid, 2),
            (ReasonCode::ServerUnavailable, 3),
            (ReasonCode::BadUserNameOrPassword, 4),
            (ReasonCode::NotAuthorized, 5),
        ] {
            assert_eq!(refusal(&server, &connect, reason), [0x20, 2, 0, code]);
        }
        // All others become one of the five, or none at all; never a code of MQTT 5.
        for reason in (0x80..=0xa2).filter_map(ReasonCode::from_u8) {
            let answer = refusal(&server, &connect, reason);
            let right = answer.is_empty() || matches!(answer[..], [0x20, 2, 0, 1..=5]);
            assert!(right, "{reason:?}: {answer:02x?}");
        }
    }

    assert!(server.sessions().is_empty());
}

/// Covers: U311-02, v3:MQTT-3.1.2-4
#[test]
fn u311_02_nothing_but_bit_0_is_set_in_the_flags() {
    // The reader of these tests refuses any other flag; here is the proof that it does.
    for flags in 2..=255u8 {
        assert!(midge_testkit::parse(&[0x20, 2, flags, 0], 4).is_err());
    }
    let (packet, _) = midge_testkit::parse(&[0x20, 2, 1, 0], 4)
        .expect("legal")
        .expect("whole");
    let expected = Connack {
        session_present: true,
        code: 0,
        props: Props::default(),
    };
    assert_eq!(packet, Packet::Connack(expected));
    let server = broker();
    server.begin(&kept("client")).disconnect();
    server.resume(&kept("client"));
}
