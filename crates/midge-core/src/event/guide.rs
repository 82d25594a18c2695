//! The table of events in the guide says of each kind what the code says.

use std::collections::BTreeSet;

use midge_codec::{QoS, ReasonCode, ReasonPacket, Version};

use super::{Event, EventKind};
use crate::message::{Account, Origin, OwnedMessage, SharedMessage};
use crate::reason::{DisconnectReason, DropReason};
use crate::time::Tick;

const GUIDE: &str = include_str!("../../../../docs/rust.md");

fn message() -> SharedMessage {
    let message = OwnedMessage::new("t", "x");
    let origin = Origin::Client("c".into());
    message
        .parts()
        .keep(None, 0, origin, Tick::NEVER, None, Account::Host)
}

/// An event with all that its kind can have.
fn sample(kind: EventKind) -> Event {
    let (connection, session, message_number) = (1, 1, 1);
    let client_id = "c".into();
    let refused = DisconnectReason::Refused(ReasonCode::Banned);

    match kind {
        EventKind::ClientConnected => Event::ClientConnected {
            client_id,
            username: Some("u".into()),
            version: Version::V5,
            peer: "p".into(),
            session_present: false,
            connection,
            session,
        },
        EventKind::ConnectionRefused => Event::ConnectionRefused {
            client_id,
            peer: "p".into(),
            reason: refused,
            username: Some("u".into()),
            text: Some("x".into()),
            connection,
        },
        EventKind::ClientDisconnected => Event::ClientDisconnected {
            client_id,
            reason: refused,
            connection,
            session,
        },

        EventKind::Subscribed => Event::Subscribed {
            client_id,
            filter: "f".into(),
            qos: QoS::AtMostOnce,
            connection,
            session,
        },
        EventKind::SubscribeRefused => Event::SubscribeRefused {
            client_id,
            filter: "f".into(),
            reason: ReasonCode::NotAuthorized,
            connection,
            session,
        },
        EventKind::Unsubscribed => Event::Unsubscribed {
            client_id,
            filter: "f".into(),
            connection,
            session,
        },

        EventKind::Published => Event::Published {
            message: message(),
            matched: 1,
            connection: Some(connection),
            session: Some(session),
        },
        EventKind::Delivered => Event::Delivered {
            client_id,
            message: message(),
            qos: QoS::AtMostOnce,
            connection,
            session,
        },
        EventKind::Acknowledged => Event::Acknowledged {
            client_id,
            message: message(),
            connection,
            session,
        },

        EventKind::Dropped => Event::Dropped {
            client_id: Some(client_id),
            topic: "t".into(),
            reason: DropReason::QueueFull,
            connection: Some(connection),
            session: Some(session),
            message_number: Some(message_number),
        },
        EventKind::RetainedExpired => Event::RetainedExpired { message: message() },
        EventKind::SessionEnded => Event::SessionEnded { client_id, session },
        EventKind::WillSent => Event::WillSent {
            client_id,
            topic: "t".into(),
            session,
            message_number,
        },
        EventKind::ReasonReplaced => Event::ReasonReplaced {
            client_id: Some(client_id),
            packet: ReasonPacket::Puback,
            given: ReasonCode::PacketTooLarge,
            sent: ReasonCode::NotAuthorized,
            connection: Some(connection),
            session: Some(session),
        },
    }
}

fn accessors(event: &Event) -> BTreeSet<&'static str> {
    let all = [
        ("client_id", event.client_id().is_some()),
        ("topic", event.topic().is_some()),
        ("message", event.message().is_some()),
        ("message_number", event.message_number().is_some()),
        ("disconnect_reason", event.disconnect_reason().is_some()),
        ("drop_reason", event.drop_reason().is_some()),
        ("packet", event.packet().is_some()),
        ("reason", event.reason().is_some()),
        ("code", event.code().is_some()),
        ("given_code", event.given_code().is_some()),
        ("text", event.text().is_some()),
        ("username", event.username().is_some()),
        ("peer", event.peer().is_some()),
        ("version", event.version().is_some()),
        ("session_present", event.session_present().is_some()),
        ("qos", event.qos().is_some()),
        ("matched", event.matched().is_some()),
        ("connection", event.connection().is_some()),
        ("session", event.session().is_some()),
    ];
    let there = all.into_iter().filter(|(_, is_there)| *is_there);
    there.map(|(name, _)| name).collect()
}

/// The words in backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_guide_says_what_each_event_has() {
    for kind in EventKind::ALL {
        let begin = format!("| `{kind:?}`, `{}`", kind.name());
        let row = GUIDE.lines().find_map(|line| line.strip_prefix(&begin));
        let (mark, said) = row.unwrap().split_once('|').unwrap();

        let of_each_message = !super::EventMask::LIFECYCLE.contains(*kind);
        assert_eq!(mark.contains('*'), of_each_message, "{kind:?}");
        assert_eq!(quoted(said), accessors(&sample(*kind)), "{kind:?}");
    }
}
