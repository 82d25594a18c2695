//! Every property in every packet and every reason code in every packet, against tables that were
//! written down apart from the code.

#![allow(clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use midge_codec::{DecodeError, Packet, ReasonCode, Side, Version, decode, split};
use support::table::{CARRIERS, PLACES, PROPERTIES, Place, REASONS, Row, packet_with_block};

fn read(bytes: &[u8], sender: Side) -> Result<Packet<'_>, DecodeError> {
    let raw = split(bytes, u32::MAX)?.expect("a whole packet");
    decode(raw, Version::V5, sender)
}

fn refused(bytes: &[u8], sender: Side) -> Option<ReasonCode> {
    read(bytes, sender).err().map(|error| error.reason)
}

fn property(row: &Row) -> Vec<u8> {
    [&[row.id], row.value].concat()
}

/// What has to stand beside a property for the block to be valid.
fn company(place: Place, id: u8) -> Vec<u8> {
    if (place == Place::Auth || id == 22) && id != 21 {
        return b"\x15\x00\x01m".to_vec();
    }
    Vec::new()
}

#[test]
fn nn5_007_every_property_in_every_packet() {
    let mut accepted = 0;
    for place in PLACES {
        for row in &PROPERTIES {
            let block = [property(row), company(place, row.id)].concat();
            let (bytes, sender) = packet_with_block(place, &block);
            let expected = match (row.cell(place), row.id, place) {
                ('1' | 'N', _, _) => None,
                // MQTT-3.3.4-6 and MQTT-3.14.2-2 speak of Protocol Errors.
                (_, 11, Place::PublishFromClient) | (_, 17, Place::DisconnectFromServer) => {
                    Some(ReasonCode::ProtocolError)
                }
                _ => Some(ReasonCode::MalformedPacket),
            };
            assert_eq!(refused(&bytes, sender), expected, "{place:?} {row:?}");
            accepted += usize::from(expected.is_none());
        }
    }

    assert_eq!(accepted, 73);
}

#[test]
fn nn5_007_unknown_properties() {
    for place in PLACES {
        for id in (0..=255).filter(|id| PROPERTIES.iter().all(|row| row.id != *id)) {
            for value in [&[0, 0, 0, 0][..], &[0, 1, b'a'], &[]] {
                let (bytes, sender) = packet_with_block(place, &[&[id][..], value].concat());
                let reason = refused(&bytes, sender);
                assert_eq!(reason, Some(ReasonCode::MalformedPacket), "{place:?} {id}");
            }
        }
    }
}

#[test]
fn nn5_009_every_property_twice() {
    for place in PLACES {
        for row in PROPERTIES.iter().filter(|row| row.cell(place) != '-') {
            let block = [property(row), company(place, row.id), property(row)].concat();
            let (bytes, sender) = packet_with_block(place, &block);
            let expected = match row.cell(place) {
                '1' => Some(ReasonCode::ProtocolError),
                _ => None,
            };
            assert_eq!(refused(&bytes, sender), expected, "{place:?} {row:?}");
        }
    }
}

#[test]
fn nn5_011_every_value_cut_off() {
    for place in PLACES {
        for row in PROPERTIES.iter().filter(|row| row.cell(place) != '-') {
            let whole = property(row);
            for len in 1..whole.len() {
                let (bytes, sender) = packet_with_block(place, &whole[..len]);
                let reason = refused(&bytes, sender);
                assert_eq!(
                    reason,
                    Some(ReasonCode::MalformedPacket),
                    "{place:?} {row:?}"
                );
            }
        }
    }
}

#[test]
fn nn5_010_values_out_of_range() {
    let alias = ReasonCode::TopicAliasInvalid;
    let error = ReasonCode::ProtocolError;
    let table: [(u8, &[u8], ReasonCode); 19] = [
        (1, &[2], error),
        (1, &[255], error),
        (11, &[0], error),
        (23, &[2], error),
        (23, &[255], error),
        (25, &[2], error),
        (25, &[255], error),
        (33, &[0, 0], error),
        (35, &[0, 0], alias),
        (36, &[2], error),
        (37, &[2], error),
        (39, &[0, 0, 0, 0], error),
        (40, &[2], error),
        (41, &[2], error),
        (42, &[2], error),
        (8, b"\x00\x03a/#", error),
        (8, b"\x00\x01+", error),
        (8, b"\x00\x00", error),
        (8, b"\x00\x01\x00", ReasonCode::MalformedPacket),
    ];

    for (id, value, expected) in table {
        let row = PROPERTIES
            .iter()
            .find(|row| row.id == id)
            .expect("a property");
        for place in PLACES.into_iter().filter(|place| row.cell(*place) != '-') {
            let (bytes, sender) = packet_with_block(place, &[&[id], value].concat());
            assert_eq!(
                refused(&bytes, sender),
                Some(expected),
                "{place:?} {id} {value:?}"
            );
        }
    }

    // The ends of the ranges.
    for (id, values) in [
        (33, [&[0, 1][..], &[255, 255]]),
        (35, [&[0, 1], &[255, 255]]),
        (39, [&[0, 0, 0, 1], &[255, 255, 255, 255]]),
        (11, [&[1], &[0xFF, 0xFF, 0xFF, 0x7F]]),
        (2, [&[0, 0, 0, 0], &[255, 255, 255, 255]]),
    ] {
        let row = PROPERTIES
            .iter()
            .find(|row| row.id == id)
            .expect("a property");
        for value in values {
            for place in PLACES.into_iter().filter(|place| row.cell(*place) != '-') {
                let (bytes, sender) = packet_with_block(place, &[&[id], value].concat());
                assert_eq!(refused(&bytes, sender), None, "{place:?} {id} {value:?}");
            }
        }
    }
}

/// A packet of 5.0 with this reason code.
fn carrier(name: &str, code: u8) -> Vec<u8> {
    let (header, body): (u8, Vec<u8>) = match name {
        "CONNACK" => (0x20, vec![0, code, 0]),
        "PUBACK" => (0x40, vec![0, 1, code]),
        "PUBREC" => (0x50, vec![0, 1, code]),
        "PUBREL" => (0x62, vec![0, 1, code]),
        "PUBCOMP" => (0x70, vec![0, 1, code]),
        "SUBACK" => (0x90, vec![0, 1, 0, code]),
        "UNSUBACK" => (0xB0, vec![0, 1, 0, code]),
        "DISCONNECT" => (0xE0, vec![code]),
        _ => (0xF0, vec![code, 4, 0x15, 0, 1, b'm']),
    };
    [&[header, body.len() as u8][..], &body].concat()
}

/// MQTT-3.2.2-8, MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2,
/// MQTT-3.11.3-2, MQTT-3.14.2-1, MQTT-3.15.2-1.
#[test]
fn every_reason_code_in_every_packet() {
    for name in CARRIERS {
        let both_sides = !matches!(name, "CONNACK" | "SUBACK" | "UNSUBACK");
        let client = both_sides.then_some(Side::Client);
        for sender in client.into_iter().chain([Side::Server]) {
            for code in 0..=255 {
                let row = REASONS.iter().find(|row| row.code == code);
                assert_eq!(
                    ReasonCode::from_u8(code).is_some(),
                    row.is_some(),
                    "{code:02X}"
                );
                let expected = match row {
                    None => Some(ReasonCode::MalformedPacket),
                    Some(row) if row.allows(name, sender) => None,
                    Some(_) => Some(ReasonCode::ProtocolError),
                };
                let bytes = carrier(name, code);
                assert_eq!(
                    refused(&bytes, sender),
                    expected,
                    "{name} {sender:?} {code:02X}"
                );
            }
        }
    }
}
