//! What the refusals of hooks look like on the wire: every reason code in every packet that a hook
//! can refuse. The client of these tests lets a packet pass only with the codes of its table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use midge::{
    AuthReply, AuthStep, ClientInfo, ConnectRequest, EnhancedVerdict, Event, EventMask, HookSet,
    Hooks, Interception, MessageRef, Origin, ReasonCode, ReasonPacket, Refusal,
    SubscriptionOptions, Verdict,
};
use midge_testkit::{Connect, Kind, Publish, Subscribe, Will, auth, id};

use crate::common::{Server, broker_with, props};

/// Refuses what has "no" in its name, with the code that is set.
#[derive(Default)]
struct Refuser {
    code: AtomicU8,
    later: bool,
}

impl Refuser {
    fn refusal(&self) -> Refusal {
        let code = ReasonCode::from_u8(self.code.load(Ordering::Relaxed));
        let refusal = Refusal::new(code.expect("a code of the table"));
        refusal.text("a text").server_reference("another")
    }

    fn verdict(&self, name: &str) -> Verdict {
        if !name.starts_with("no") {
            return Verdict::Allow;
        }
        if self.later {
            let (resolver, verdict) = Verdict::defer();
            resolver.deny(self.refusal());
            return verdict;
        }
        Verdict::Deny(self.refusal())
    }
}

impl Hooks for Refuser {
    fn set(&self) -> HookSet {
        HookSet::ALL
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        self.verdict(&request.client.client_id)
    }

    fn enhanced_auth(&self, step: &AuthStep) -> EnhancedVerdict {
        EnhancedVerdict::Now(match step.data.as_deref() {
            Some(b"no") => AuthReply::Refuse(self.refusal()),
            _ => AuthReply::Accept(None),
        })
    }

    fn authorize_publish(&self, _: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        self.verdict(message.topic)
    }

    fn authorize_subscribe(
        &self,
        _: &ClientInfo,
        filter: &str,
        _: &SubscriptionOptions,
    ) -> Verdict {
        self.verdict(filter)
    }

    fn intercept_publish(&self, _: &Origin, message: &MessageRef<'_>) -> Interception {
        match message.topic {
            "intercepted" => Interception::Refuse(self.refusal()),
            _ => Interception::Forward,
        }
    }
}

fn refusing(later: bool) -> (Server, Arc<Refuser>) {
    let hooks = Arc::new(Refuser {
        later,
        ..Refuser::default()
    });
    let server = broker_with(|builder| builder.shared_hooks(hooks.clone()));
    (server, hooks)
}

/// The code that `packet` is to carry for each code that a hook gives.
fn expected(code: u8, packet: ReasonPacket) -> u8 {
    let reason = ReasonCode::from_u8(code).expect("a code of the table");
    let column = packet.name();
    let table = include_str!("../../../../tests/conformance/spec/reason_codes.tsv");
    let mut lines = table
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let at = header.iter().position(|cell| *cell == column);
    let at = at.expect("a column for each packet");
    let number = code.to_string();
    let row = lines.find(|row| row[0] == "v5" && row[1] == number);
    let allowed = row.is_some_and(|row| matches!(row[at], "S" | "CS"));

    match reason {
        reason if reason.is_error() && allowed => code,
        ReasonCode::ClientIdentifierNotValid
        | ReasonCode::BadUserNameOrPassword
        | ReasonCode::Banned
        | ReasonCode::BadAuthenticationMethod => 0x87,
        reason if !reason.is_error() => 0x87,
        _ => 0x83,
    }
}

/// Covers: v5:MQTT-3.2.2-8, v5:MQTT-3.4.2-1, v5:MQTT-3.5.2-1, v5:MQTT-3.9.3-2, v5:MQTT-3.14.2-1
#[test]
fn mqtt_3_4_2_1_a_hook_cannot_put_a_code_where_it_does_not_belong() {
    for later in [false, true] {
        let (server, hooks) = refusing(later);
        let method = |data| {
            let method = props().text(id::AUTHENTICATION_METHOD, "m");
            method.text(id::AUTHENTICATION_DATA, data)
        };
        for code in ReasonCode::ALL.iter().map(|reason| *reason as u8) {
            hooks.code.store(code, Ordering::Relaxed);
            let connack = expected(code, ReasonPacket::Connack);
            let will = Connect::v5("yes").will(Will::new("no", "w"));
            let enhanced = Connect::v5("yes").props(method("no"));
            for connect in [Connect::v5("no"), will, enhanced] {
                let connack = server.say(connect.bytes()).expect_refused(connack);
                let moved = matches!(connack.code, 0x9c | 0x9d);
                assert_eq!(connack.props.has(id::SERVER_REFERENCE), moved);
            }

            let mut client = server.connect(&Connect::v5("yes").props(method("yes")));
            for topic in ["no", "intercepted"] {
                client.send(Publish::new(topic, "x").bytes());
                client.send(Publish::new(topic, "x").qos(1, 1).bytes());
                let puback = expected(code, ReasonPacket::Puback);
                assert_eq!(client.expect_ack(Kind::Puback, 1).code, puback);
                client.send(Publish::new(topic, "x").qos(2, 2).bytes());
                let pubrec = expected(code, ReasonPacket::Pubrec);
                assert_eq!(client.expect_ack(Kind::Pubrec, 2).code, pubrec);
            }
            client.send(Subscribe::new(3).filter("yes", 1).filter("no", 2).bytes());
            let suback = expected(code, ReasonPacket::Suback);
            assert_eq!(client.expect_suback(3).codes, [1, suback]);
            // What was refused was not done.
            assert_eq!(client.unsubscribe(&["no", "yes"]), [0x11, 0]);

            client.send(auth(0x19, &method("no")));
            let disconnect = client.expect_disconnect(expected(code, ReasonPacket::Disconnect));
            let moved = matches!(disconnect.code, 0x9c | 0x9d);
            assert_eq!(disconnect.props.has(id::SERVER_REFERENCE), moved);
        }
    }
}

/// Covers: v5:MQTT-3.14.2-1
#[test]
fn mqtt_3_14_2_1_the_host_disconnects_with_a_code_of_a_server() {
    let (server, _) = refusing(false);
    for reason in ReasonCode::ALL {
        let mut client = server.client("yes");
        assert!(server.disconnect("yes", *reason));
        let sent = match reason {
            ReasonCode::Success => 0,
            reason => expected(*reason as u8, ReasonPacket::Disconnect),
        };
        client.expect_disconnect(sent);
    }
}

/// Covers: NN5-141, v3:MQTT-3.9.3-2, v3:MQTT-3.2.2-6
#[test]
fn nn5_141_every_refusal_of_a_hook_is_one_that_older_clients_know() {
    let (server, hooks) = refusing(false);
    for reason in ReasonCode::ALL {
        hooks.code.store(*reason as u8, Ordering::Relaxed);
        let connect = Connect::new(4, "no").bytes();
        let carried = expected(*reason as u8, ReasonPacket::Connack);
        match ReasonCode::from_u8(carried).and_then(ReasonCode::v3_connack) {
            Some(code) => drop(server.say(connect).expect_refused(code)),
            None => server.say(connect).expect_closed(),
        }
        let mut client = server.connect(&Connect::new(4, "yes"));
        client.send(Publish::new("no", "x").qos(1, 1).bytes_for(4));
        client.expect_ack(Kind::Puback, 1);
        client.send(Subscribe::new(2).filter("no", 2).bytes_for(4));
        assert_eq!(client.expect_suback(2).codes, [0x80]);
        client.disconnect();
    }
}

/// Covers: v5:MQTT-3.4.2-1
#[test]
fn mqtt_3_4_2_1_a_code_that_was_replaced_is_told() {
    let (server, hooks) = refusing(false);
    let events = server.events_with(EventMask::REASON_REPLACED, 10);
    let mut client = server.client("yes");
    for code in [0x95, 0x97, 0x00] {
        hooks.code.store(code, Ordering::Relaxed);
        client.send(Publish::new("no", "x").qos(1, 1).bytes());
        client.expect_ack(Kind::Puback, 1);
    }

    client.barrier();

    let told: Vec<_> = std::iter::from_fn(|| events.try_recv())
        .map(|observed| match observed.event {
            Event::ReasonReplaced {
                client_id,
                packet,
                given,
                sent,
                ..
            } => (
                client_id.as_deref().map(str::to_owned),
                packet,
                given as u8,
                sent as u8,
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    let puback = |given, sent| (Some("yes".to_owned()), ReasonPacket::Puback, given, sent);
    assert_eq!(told, [puback(0x95, 0x83), puback(0x00, 0x87)]);
}

/// Covers: v5:MQTT-3.4.2-1, NN5-141
#[test]
fn nn5_141_what_an_older_client_cannot_be_told_is_no_replacement() {
    let (server, hooks) = refusing(false);
    let events = server.events_with(EventMask::REASON_REPLACED, 10);
    // No code that a SUBACK can carry, in any version.
    hooks.code.store(0x95, Ordering::Relaxed);
    let mut client = server.connect(&Connect::new(4, "yes"));
    let suback = client.request(&Subscribe::new(0).filter("no", 0));
    assert_eq!(suback.codes, [0x80]);
    client.barrier();
    assert!(events.try_recv().is_none());

    // A refused CONNECT has a code in every version.
    hooks.code.store(0x00, Ordering::Relaxed);
    let (_, connack) = server.answer(&Connect::new(4, "no"));
    assert_eq!(connack.code, 5);
    let told = events.try_recv().expect("an event").event;
    let Event::ReasonReplaced { packet, given, .. } = told else {
        panic!("{told:?}")
    };
    assert_eq!((packet, given as u8), (ReasonPacket::Connack, 0));
}
