//! Every string field with every kind of bad text (MQTT-1.5.4-1, MQTT-1.5.4-2, MQTT-1.5.7-1; before
//! 5.0 MQTT-1.5.3-1, MQTT-1.5.3-2).

#![allow(clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use midge_codec::{ReasonCode, Side, Version, decode, split};
use support::table::{PLACES, PROPERTIES};

const BAD: [&[u8]; 13] = [
    b"\xED\xA0\x80",     // U+D800
    b"\xED\xBF\xBF",     // U+DFFF
    b"\xC0\x80",         // U+0000, overlong
    b"\xC1\xBF",         // U+007F, overlong
    b"\xE0\x80\xAF",     // '/', overlong
    b"\xF0\x82\x82\xAC", // U+20AC, overlong
    b"\xF5\x80\x80\x80", // above U+10FFFF
    b"\xF4\x90\x80\x80", // U+110000
    b"\x80",             // a continuation byte alone
    b"\xE2\x82",         // cut off
    b"\xFF\xFE",
    b"\x00",
    b"a\x00b",
];

const GOOD: [&str; 4] = [
    "\u{10FFFF}",
    "\u{1D11E}x",
    "\u{FEFF}a",
    "a\u{1}\u{7F}\u{FFFF}",
];

fn field(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text].concat()
}

fn packet(header: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    assert!(body.len() < 128);
    [&[header, body.len() as u8][..], &body].concat()
}

fn connect(version: Version, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let (name, level) = version.protocol();
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    let head = [
        &field(name.as_bytes())[..],
        &[level, flags, 0, 0],
        properties,
    ]
    .concat();
    packet(0x10, &[&head, &payload.concat()])
}

/// A name, the sender and the packet with this text in the field.
type Field = (&'static str, Side, Vec<u8>);

fn fields(version: Version, text: &[u8]) -> Vec<Field> {
    let text = &field(text)[..];
    let empty: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    let client = Side::Client;

    vec![
        ("client identifier", client, connect(version, 0x02, &[text])),
        (
            "will topic",
            client,
            connect(version, 0x06, &[b"\0\x01a", empty, text, b"\0\0"]),
        ),
        (
            "user name",
            client,
            connect(version, 0x82, &[b"\0\x01a", text]),
        ),
        ("topic", client, packet(0x30, &[text, empty])),
        (
            "topic",
            Side::Server,
            packet(0x32, &[text, b"\0\x01", empty]),
        ),
        (
            "filter",
            client,
            packet(0x82, &[b"\0\x01", empty, text, b"\0"]),
        ),
        (
            "second filter",
            client,
            packet(0x82, &[b"\0\x01", empty, b"\0\x01f\0", text, b"\0"]),
        ),
        (
            "unsubscribe",
            client,
            packet(0xA2, &[b"\0\x01", empty, text]),
        ),
        (
            "second",
            client,
            packet(0xA2, &[b"\0\x01", empty, b"\0\x01f", text]),
        ),
    ]
}

fn check(version: Version, text: &[u8], (name, sender, bytes): &Field) {
    let raw = split(bytes, u32::MAX).expect("well formed").expect("whole");
    let result = decode(raw, version, *sender);
    match std::str::from_utf8(text) {
        Ok(good) if !good.contains('\0') => {
            assert!(result.is_ok(), "{name} {version:?} {text:02X?} {result:?}");
        }
        _ => {
            let reason = result.err().map(|error| error.reason);
            assert_eq!(
                reason,
                Some(ReasonCode::MalformedPacket),
                "{name} {version:?} {text:02X?}"
            );
        }
    }
}

#[test]
fn mqtt_1_5_4_1_and_2_every_field() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for text in BAD.into_iter().chain(GOOD.map(str::as_bytes)) {
            for field in fields(version, text) {
                check(version, text, &field);
            }
        }
    }
}

#[test]
fn mqtt_1_5_7_1_every_property() {
    // The same places as in tests/tables.rs, reduced to what has text properties.
    for text in BAD.into_iter().chain(GOOD.map(str::as_bytes)) {
        let value = field(text);
        let mut count = 0;
        for place in PLACES {
            let texts = [3, 8, 18, 21, 26, 28, 31]
                .map(|id| (id, value.clone()))
                .into_iter();
            let name = [&value[..], b"\0\x01v"].concat();
            let pair = [b"\0\x01k", &value[..]].concat();
            for (id, value) in texts.chain([(38, name), (38, pair)]) {
                let row = PROPERTIES
                    .iter()
                    .find(|row| row.id == id)
                    .expect("a property");
                if row.cell(place) == '-' {
                    continue;
                }
                let mut block = [&[id], &value[..]].concat();
                if place == support::table::Place::Auth && id != 21 {
                    block.extend(b"\x15\0\x01m");
                }
                let (bytes, sender) = support::table::packet_with_block(place, &block);
                check(Version::V5, text, &("property", sender, bytes));
                count += 1;
            }
        }
        assert_eq!(count, 6 + 1 + 3 + 1 + 2 + 10 + 32);
    }
}

#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_stays() {
    let bytes = packet(0x30, &[&field("\u{FEFF}a\u{FEFF}".as_bytes()), b"\0"]);
    let raw = split(&bytes, u32::MAX)
        .expect("well formed")
        .expect("whole");
    match decode(raw, Version::V5, Side::Client) {
        Ok(midge_codec::Packet::Publish(publish)) => {
            assert_eq!(publish.topic.as_bytes(), b"\xEF\xBB\xBFa\xEF\xBB\xBF");
        }
        other => panic!("{other:?}"),
    }
}
