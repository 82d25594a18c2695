//! The tables of sections 2.2.2.2 and 2.4 once more, written down apart from the code.

use midge_codec::Side;

/// Where properties stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Connect,
    Will,
    Connack,
    PublishFromClient,
    PublishFromServer,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    DisconnectFromClient,
    DisconnectFromServer,
    Auth,
}

pub const PLACES: [Place; 16] = [
    Place::Connect,
    Place::Will,
    Place::Connack,
    Place::PublishFromClient,
    Place::PublishFromServer,
    Place::Puback,
    Place::Pubrec,
    Place::Pubrel,
    Place::Pubcomp,
    Place::Subscribe,
    Place::Suback,
    Place::Unsubscribe,
    Place::Unsuback,
    Place::DisconnectFromClient,
    Place::DisconnectFromServer,
    Place::Auth,
];

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub id: u8,
    /// For each place: `-` not allowed, `1` once, `N` any number.
    pub places: &'static str,
    /// A valid value.
    pub value: &'static [u8],
}

impl Row {
    pub fn cell(&self, place: Place) -> char {
        char::from(self.places.as_bytes()[place as usize])
    }
}

const fn row(id: u8, places: &'static str, value: &'static [u8]) -> Row {
    Row { id, places, value }
}

/// Places in the order of [`PLACES`].
#[rustfmt::skip]
pub const PROPERTIES: [Row; 27] = [
    row(1, "-1-11-----------", b"\x01"),
    row(2, "-1-11-----------", b"\x00\x00\x00\x01"),
    row(3, "-1-11-----------", b"\x00\x01c"),
    row(8, "-1-11-----------", b"\x00\x01r"),
    row(9, "-1-11-----------", b"\x00\x01\xFF"),
    row(11, "----N----1------", b"\x05"),
    row(17, "1-1----------1--", b"\x00\x00\x00\x09"),
    row(18, "--1-------------", b"\x00\x02id"),
    row(19, "--1-------------", b"\x00\x1E"),
    row(21, "1-1------------1", b"\x00\x01m"),
    row(22, "1-1------------1", b"\x00\x01d"),
    row(23, "1---------------", b"\x01"),
    row(24, "-1--------------", b"\x00\x00\x00\x02"),
    row(25, "1---------------", b"\x00"),
    row(26, "--1-------------", b"\x00\x01i"),
    row(28, "--1-----------1-", b"\x00\x01h"),
    row(31, "--1--1111-1-1111", b"\x00\x01w"),
    row(33, "1-1-------------", b"\x00\x01"),
    row(34, "1-1-------------", b"\x00\x00"),
    row(35, "---11-----------", b"\x00\x01"),
    row(36, "--1-------------", b"\x01"),
    row(37, "--1-------------", b"\x00"),
    row(38, "NNNNNNNNNNNNNNNN", b"\x00\x01k\x00\x01v"),
    row(39, "1-1-------------", b"\x00\x00\x00\x01"),
    row(40, "--1-------------", b"\x01"),
    row(41, "--1-------------", b"\x01"),
    row(42, "--1-------------", b"\x00"),
];

/// A packet of 5.0 with this block of properties in this place.
pub fn packet_with_block(place: Place, block: &[u8]) -> (Vec<u8>, Side) {
    let connect = |flags: u8| [b"\x00\x04MQTT\x05", &[flags, 0, 0][..]].concat();
    let (header, before, after, sender): (u8, Vec<u8>, &[u8], Side) = match place {
        Place::Connect => (0x10, connect(0x02), b"\x00\x01a", Side::Client),
        Place::Will => {
            let before = [connect(0x06), b"\x00\x00\x01a".to_vec()].concat();
            (0x10, before, b"\x00\x01w\x00\x00", Side::Client)
        }
        Place::Connack => (0x20, vec![0, 0], b"", Side::Server),
        Place::PublishFromClient => (0x30, b"\x00\x01t".to_vec(), b"payload", Side::Client),
        Place::PublishFromServer => (0x32, b"\x00\x01t\x00\x09".to_vec(), b"", Side::Server),
        Place::Puback => (0x40, vec![0, 1, 0], b"", Side::Client),
        Place::Pubrec => (0x50, vec![0, 1, 0], b"", Side::Server),
        Place::Pubrel => (0x62, vec![0, 1, 0], b"", Side::Client),
        Place::Pubcomp => (0x70, vec![0, 1, 0], b"", Side::Server),
        Place::Subscribe => (0x82, vec![0, 1], b"\x00\x01f\x00", Side::Client),
        Place::Suback => (0x90, vec![0, 1], b"\x00", Side::Server),
        Place::Unsubscribe => (0xA2, vec![0, 1], b"\x00\x01f", Side::Client),
        Place::Unsuback => (0xB0, vec![0, 1], b"\x00", Side::Server),
        Place::DisconnectFromClient => (0xE0, vec![0], b"", Side::Client),
        Place::DisconnectFromServer => (0xE0, vec![0], b"", Side::Server),
        Place::Auth => (0xF0, vec![0x18], b"", Side::Client),
    };

    let body = [&before[..], &[block.len() as u8], block, after].concat();
    assert!(block.len() < 128 && body.len() < 128);
    ([&[header, body.len() as u8][..], &body].concat(), sender)
}

/// Packets with reason codes, in the order of the columns of [`REASONS`].
pub const CARRIERS: [&str; 9] = [
    "CONNACK",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBACK",
    "UNSUBACK",
    "DISCONNECT",
    "AUTH",
];

/// One reason code.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    pub code: u8,
    /// For each carrier: `C` sent by clients, `S` by servers, `-` by neither.
    pub carriers: &'static str,
}

impl Reason {
    pub fn allows(&self, carrier: &str, sender: Side) -> bool {
        let column = CARRIERS
            .iter()
            .position(|name| *name == carrier)
            .expect("a carrier");
        let cell = self
            .carriers
            .split_whitespace()
            .nth(column)
            .expect("a cell");
        cell.contains(match sender {
            Side::Client => 'C',
            Side::Server => 'S',
        })
    }
}

const fn reasons(code: u8, carriers: &'static str) -> Reason {
    Reason { code, carriers }
}

#[rustfmt::skip]
pub const REASONS: [Reason; 43] = [
    reasons(0x00, "S  CS CS CS CS S  S  CS S"),
    reasons(0x01, "-  -  -  -  -  S  -  -  -"),
    reasons(0x02, "-  -  -  -  -  S  -  -  -"),
    reasons(0x04, "-  -  -  -  -  -  -  C  -"),
    // Clients have no use for it, but it is a success and passes (MQTT-4.3.3-4).
    reasons(0x10, "-  CS CS -  -  -  -  -  -"),
    reasons(0x11, "-  -  -  -  -  -  S  -  -"),
    reasons(0x18, "-  -  -  -  -  -  -  -  CS"),
    reasons(0x19, "-  -  -  -  -  -  -  -  C"),
    reasons(0x80, "S  CS CS -  -  S  S  CS -"),
    reasons(0x81, "S  -  -  -  -  -  -  CS -"),
    reasons(0x82, "S  -  -  -  -  -  -  CS -"),
    reasons(0x83, "S  CS CS -  -  S  S  CS -"),
    reasons(0x84, "S  -  -  -  -  -  -  -  -"),
    reasons(0x85, "S  -  -  -  -  -  -  -  -"),
    reasons(0x86, "S  -  -  -  -  -  -  -  -"),
    reasons(0x87, "S  CS CS -  -  S  S  S  -"),
    reasons(0x88, "S  -  -  -  -  -  -  -  -"),
    reasons(0x89, "S  -  -  -  -  -  -  S  -"),
    reasons(0x8A, "S  -  -  -  -  -  -  -  -"),
    reasons(0x8B, "-  -  -  -  -  -  -  S  -"),
    reasons(0x8C, "S  -  -  -  -  -  -  -  -"),
    reasons(0x8D, "-  -  -  -  -  -  -  S  -"),
    reasons(0x8E, "-  -  -  -  -  -  -  S  -"),
    reasons(0x8F, "-  -  -  -  -  S  S  S  -"),
    reasons(0x90, "S  CS CS -  -  -  -  CS -"),
    reasons(0x91, "-  CS CS -  -  S  S  -  -"),
    reasons(0x92, "-  -  -  CS CS -  -  -  -"),
    reasons(0x93, "-  -  -  -  -  -  -  CS -"),
    reasons(0x94, "-  -  -  -  -  -  -  CS -"),
    reasons(0x95, "S  -  -  -  -  -  -  CS -"),
    reasons(0x96, "-  -  -  -  -  -  -  CS -"),
    reasons(0x97, "S  CS CS -  -  S  -  CS -"),
    reasons(0x98, "-  -  -  -  -  -  -  CS -"),
    reasons(0x99, "S  CS CS -  -  -  -  CS -"),
    reasons(0x9A, "S  -  -  -  -  -  -  S  -"),
    reasons(0x9B, "S  -  -  -  -  -  -  S  -"),
    reasons(0x9C, "S  -  -  -  -  -  -  S  -"),
    reasons(0x9D, "S  -  -  -  -  -  -  S  -"),
    reasons(0x9E, "-  -  -  -  -  S  -  S  -"),
    reasons(0x9F, "S  -  -  -  -  -  -  S  -"),
    reasons(0xA0, "-  -  -  -  -  -  -  S  -"),
    reasons(0xA1, "-  -  -  -  -  S  -  S  -"),
    reasons(0xA2, "-  -  -  -  -  S  -  S  -"),
];
