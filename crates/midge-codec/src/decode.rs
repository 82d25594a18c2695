//! From bytes to packets: find the end of a packet, then read it by its type.

use crate::packet::{ack, auth, connack, connect, disconnect, subscribe, unsubscribe};
use crate::publish;
use crate::reason::ReasonPacket;
use crate::wire::{Reader, Varint, varint};
use crate::{DecodeError, Packet, ReasonCode, Version};

/// Who sent some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client: a server decodes.
    Client,
    /// The server: a client decodes.
    Server,
}

/// How many entries a packet may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// User properties of a packet. Those of a will are counted for themselves.
    pub user_properties: u32,
    /// Topic filters of SUBSCRIBE or UNSUBSCRIBE.
    pub filters: u32,
}

impl DecodeLimits {
    /// As many as fit into a packet.
    pub const NONE: Self = Self {
        user_properties: u32::MAX,
        filters: u32::MAX,
    };
}

/// One packet whose end is known, but whose content has not been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPacket<'a> {
    /// First byte: packet type and flags.
    pub header: u8,
    /// Everything behind the remaining length.
    pub body: &'a [u8],
    /// Length of the whole packet, fixed header included.
    pub len: usize,
}

impl<'a> RawPacket<'a> {
    #[inline]
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::new(self.body, self.len)
    }

    /// Low four bits of the header.
    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        self.header & 0x0F
    }

    /// Checks flags that have a fixed value (MQTT-2.1.3-1, MQTT-2.2.2-2).
    #[inline]
    pub(crate) fn expect_flags(&self, flags: u8) -> Result<(), DecodeError> {
        if self.flags() == flags {
            Ok(())
        } else {
            Err(self.bad_flags())
        }
    }

    #[cold]
    pub(crate) fn bad_flags(&self) -> DecodeError {
        DecodeError {
            what: "fixed header: flags",
            offset: 0,
            reason: ReasonCode::MalformedPacket,
        }
    }

    #[cold]
    fn error(&self, what: &'static str, reason: ReasonCode) -> DecodeError {
        DecodeError {
            what,
            offset: 0,
            reason,
        }
    }
}

/// Splits the first packet off `bytes`; it ends at [`RawPacket::len`]. `None` means that more bytes
/// are needed.
///
/// `max` is the length of the longest packet that is taken, fixed header included. A longer one is
/// refused as soon as its length is there (MQTT-3.2.2-15), and so is an ill-formed length
/// (MQTT-1.5.5-1): nobody waits for the body of a packet that will not be read.
#[inline]
pub fn split(bytes: &[u8], max: u32) -> Result<Option<RawPacket<'_>>, DecodeError> {
    let Some((&header, tail)) = bytes.split_first() else {
        return Ok(None);
    };
    let (remaining, tail) = match varint(tail) {
        Varint::Value(remaining, tail) => (remaining as usize, tail),
        Varint::Partial => return Ok(None),
        Varint::Bad => {
            return Err(DecodeError {
                what: "remaining length: ill-formed",
                offset: 1,
                reason: ReasonCode::MalformedPacket,
            });
        }
    };
    let len = bytes.len() - tail.len() + remaining;
    if len > max as usize {
        return Err(DecodeError {
            what: "packet: longer than allowed",
            offset: 1,
            reason: ReasonCode::PacketTooLarge,
        });
    }
    Ok(tail
        .get(..remaining)
        .map(|body| RawPacket { header, body, len }))
}

/// Reads a packet that `sender` sent on a connection of this version. The version of a CONNECT is
/// its own, whatever `version` says.
///
/// Packets that `sender` never sends are Protocol Errors. After an error the connection has to be
/// closed (MQTT-4.8.0-1, MQTT-4.13.1-1).
#[inline]
pub fn decode<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
) -> Result<Packet<'a>, DecodeError> {
    decode_within(raw, version, sender, DecodeLimits::NONE)
}

/// As [`decode`], for a packet that may have only so many entries. One with more is refused with
/// [`ReasonCode::QuotaExceeded`] at the first entry that is too many: what is behind it is not
/// looked at, and no memory is allocated for it.
#[inline]
pub fn decode_within<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
    limits: DecodeLimits,
) -> Result<Packet<'a>, DecodeError> {
    if raw.header >> 4 == 3 {
        return publish::decode(raw, version, sender, limits).map(Packet::Publish);
    }
    decode_other(raw, version, sender, limits)
}

#[inline(never)]
fn decode_other<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
    limits: DecodeLimits,
) -> Result<Packet<'a>, DecodeError> {
    use Side::{Client, Server};
    match (raw.header >> 4, sender) {
        (1, Client) => connect::decode(raw, limits).map(Packet::Connect),
        (2, Server) => connack::decode(raw, version, limits).map(Packet::Connack),
        (4, _) => {
            ack::decode(raw, version, sender, ReasonPacket::Puback, limits).map(Packet::Puback)
        }
        (5, _) => {
            ack::decode(raw, version, sender, ReasonPacket::Pubrec, limits).map(Packet::Pubrec)
        }
        (6, _) => {
            ack::decode(raw, version, sender, ReasonPacket::Pubrel, limits).map(Packet::Pubrel)
        }
        (7, _) => {
            ack::decode(raw, version, sender, ReasonPacket::Pubcomp, limits).map(Packet::Pubcomp)
        }
        (8, Client) => subscribe::decode(raw, version, limits).map(Packet::Subscribe),
        (9, Server) => subscribe::decode_ack(raw, version, limits).map(Packet::Suback),
        (10, Client) => unsubscribe::decode(raw, version, limits).map(Packet::Unsubscribe),
        (11, Server) => unsubscribe::decode_ack(raw, version, limits).map(Packet::Unsuback),
        (12, Client) => decode_ping(raw).map(|()| Packet::Pingreq),
        (13, Server) => decode_ping(raw).map(|()| Packet::Pingresp),
        (14, _) if version == Version::V5 || sender == Client => {
            disconnect::decode(raw, version, sender, limits).map(Packet::Disconnect)
        }
        (15, _) if version == Version::V5 => auth::decode(raw, sender, limits).map(Packet::Auth),
        (0 | 15.., _) => Err(raw.error("fixed header: reserved type", ReasonCode::MalformedPacket)),
        _ => Err(raw.error(
            "fixed header: packet of the other side",
            ReasonCode::ProtocolError,
        )),
    }
}

fn decode_ping(raw: RawPacket<'_>) -> Result<(), DecodeError> {
    raw.expect_flags(0)?;
    raw.reader().finish("ping: bytes behind the end")
}

#[cfg(test)]
mod tests {
    use crate::testing::{ALL_VERSIONS, V3, packet, read, refused};
    use crate::{
        DecodeError, DecodeLimits, Packet, ReasonCode, Side, Version, decode_within, split,
    };

    fn reason<T>(result: Result<T, DecodeError>) -> Option<ReasonCode> {
        result.err().map(|error| error.reason)
    }

    #[test]
    fn split_is_incremental() {
        let bytes = [0x30, 0x05, 0x00, 0x01, b'a', 1, 2, 0xC0, 0x00];
        for cut in 0..7 {
            assert_eq!(split(&bytes[..cut], 100), Ok(None));
        }
        for end in 7..bytes.len() {
            let raw = split(&bytes[..end], 100)
                .expect("well formed")
                .expect("whole");
            assert_eq!((raw.header, raw.len, raw.body), (0x30, 7, &bytes[2..7]));
        }
    }

    #[test]
    fn mqtt_1_5_5_1_remaining_length_is_minimal() {
        for bytes in [
            &[0xC0, 0x80, 0x00][..],
            &[0x30, 0xFF, 0x80, 0x00],
            &[0x30, 0x80, 0x80, 0x80, 0x00],
        ] {
            assert_eq!(
                reason(split(bytes, u32::MAX)),
                Some(ReasonCode::MalformedPacket)
            );
        }
    }

    #[test]
    fn a_fifth_length_byte_is_not_waited_for() {
        assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF], u32::MAX), Ok(None));
        assert_eq!(
            reason(split(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], u32::MAX)),
            Some(ReasonCode::MalformedPacket)
        );
    }

    #[test]
    fn mqtt_3_2_2_15_too_large_before_the_body_is_there() {
        // 127 and 128 bytes behind the header: 129 and 131 bytes in all.
        assert_eq!(split(&[0x30, 0x7F], 129), Ok(None));
        assert_eq!(
            reason(split(&[0x30, 0x7F], 128)),
            Some(ReasonCode::PacketTooLarge)
        );
        assert_eq!(split(&[0x30, 0x80, 0x01], 131), Ok(None));
        assert_eq!(
            reason(split(&[0x30, 0x80, 0x01], 130)),
            Some(ReasonCode::PacketTooLarge)
        );
        assert_eq!(
            split(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 268_435_460),
            Ok(None)
        );
    }

    #[test]
    fn mqtt_2_1_3_1_flags_of_every_packet() {
        // Bodies are fine, or fail later than the flags.
        let table: [(u8, u8, Side, &[u8]); 13] = [
            (1, 0, Side::Client, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"),
            (2, 0, Side::Server, &[0, 0]),
            (4, 0, Side::Client, &[0, 1]),
            (5, 0, Side::Client, &[0, 1]),
            (6, 2, Side::Client, &[0, 1]),
            (7, 0, Side::Client, &[0, 1]),
            (8, 2, Side::Client, b"\x00\x01\x00\x01a\x00"),
            (9, 0, Side::Server, &[0, 1, 0]),
            (10, 2, Side::Client, b"\x00\x01\x00\x01a"),
            (11, 0, Side::Server, &[0, 1]),
            (12, 0, Side::Client, &[]),
            (13, 0, Side::Server, &[]),
            (14, 0, Side::Client, &[]),
        ];
        for (kind, good, sender, body) in table {
            for flags in 0..16 {
                let bytes = packet(kind << 4 | flags, body);
                if flags == good {
                    assert!(read(&bytes, Version::V311, sender).is_ok(), "{bytes:02X?}");
                } else {
                    let reason = refused(&bytes, Version::V311, sender);
                    assert_eq!(reason, ReasonCode::MalformedPacket, "{bytes:02X?}");
                    let reason = refused(&bytes, Version::V5, sender);
                    assert_eq!(reason, ReasonCode::MalformedPacket, "{bytes:02X?}");
                }
            }
        }
        for flags in 1..16 {
            // MQTT-3.15.1-1
            let bytes = packet(0xF0 | flags, b"\x18\x04\x15\x00\x01a");
            assert_eq!(
                refused(&bytes, Version::V5, Side::Client),
                ReasonCode::MalformedPacket
            );
        }
    }

    #[test]
    fn v31_09_dup_of_pubrel_subscribe_and_unsubscribe() {
        for (header, body) in [
            (0x6A, &b"\x00\x01"[..]),
            (0x8A, b"\x00\x01\x00\x01a\x00"),
            (0xAA, b"\x00\x01\x00\x01a"),
        ] {
            let bytes = packet(header, body);
            assert!(read(&bytes, Version::V31, Side::Client).is_ok());
            assert_eq!(
                refused(&bytes, Version::V311, Side::Client),
                ReasonCode::MalformedPacket
            );
        }
    }

    #[test]
    fn packets_of_the_other_side_are_protocol_errors() {
        for version in ALL_VERSIONS {
            for header in [0x20, 0x90, 0xB0, 0xD0] {
                let bytes = packet(header, &[]);
                assert_eq!(
                    refused(&bytes, version, Side::Client),
                    ReasonCode::ProtocolError
                );
            }
            for header in [0x10, 0x82, 0xA2, 0xC0] {
                let bytes = packet(header, &[]);
                assert_eq!(
                    refused(&bytes, version, Side::Server),
                    ReasonCode::ProtocolError
                );
            }
        }
        for version in V3 {
            let bytes = packet(0xE0, &[]);
            assert_eq!(
                refused(&bytes, version, Side::Server),
                ReasonCode::ProtocolError
            );
        }
    }

    #[test]
    fn reserved_types_are_malformed() {
        for sender in [Side::Client, Side::Server] {
            for version in ALL_VERSIONS {
                let bytes = packet(0x00, &[]);
                assert_eq!(
                    refused(&bytes, version, sender),
                    ReasonCode::MalformedPacket
                );
            }
            for version in V3 {
                let bytes = packet(0xF0, b"\x18\x04\x15\x00\x01a");
                assert_eq!(
                    refused(&bytes, version, sender),
                    ReasonCode::MalformedPacket
                );
            }
        }
    }

    #[test]
    fn mqtt_3_12_4_1_pings_are_empty() {
        for version in ALL_VERSIONS {
            assert_eq!(read(&[0xC0, 0], version, Side::Client), Ok(Packet::Pingreq));
            assert_eq!(
                read(&[0xD0, 0], version, Side::Server),
                Ok(Packet::Pingresp)
            );
            let reason = refused(&[0xC0, 1, 0], version, Side::Client);
            assert_eq!(reason, ReasonCode::MalformedPacket);
        }
    }

    #[test]
    fn entries_are_limited_before_they_are_read() {
        let limits = DecodeLimits {
            user_properties: 2,
            filters: 2,
        };
        let decode = |bytes: &[u8]| {
            let raw = split(bytes, u32::MAX).expect("well formed");
            decode_within(raw.expect("whole"), Version::V5, Side::Client, limits).map(|_| ())
        };
        let subscribe = |count| [&[0, 1, 0][..], &b"\x00\x01a\x00".repeat(count)].concat();
        let unsubscribe = |count| [&[0, 1, 0][..], &b"\x00\x01a".repeat(count)].concat();
        let properties = |count: usize| {
            let block = b"\x26\x00\x00\x00\x00".repeat(count);
            [&[block.len() as u8][..], &block].concat()
        };
        let connect = |count, of_will| {
            let head = &b"\x00\x04MQTT\x05\x06\x00\x00"[..];
            let id = &b"\x00\x01a"[..];
            let will = &b"\x00\x01w\x00\x00"[..];
            [head, &properties(count), id, &properties(of_will), will].concat()
        };
        let publish = |count| [b"\x00\x01t", &properties(count)[..]].concat();
        for (header, few, many) in [
            (0x82, subscribe(2), subscribe(3)),
            (0xA2, unsubscribe(2), unsubscribe(3)),
            (0x10, connect(2, 2), connect(3, 0)),
            (0x10, connect(0, 0), connect(0, 3)),
            (0x30, publish(2), publish(3)),
        ] {
            let [few, many] = [few, many].map(|body| packet(header, &body));
            assert!(decode(&few).is_ok(), "{few:02X?}");
            assert!(read(&many, Version::V5, Side::Client).is_ok());
            let refused = reason(decode(&many));
            assert_eq!(refused, Some(ReasonCode::QuotaExceeded), "{many:02X?}");
        }
        // What comes behind is not looked at.
        let mut broken = subscribe(2);
        broken.extend([0xFF; 50]);
        let refused = reason(decode(&packet(0x82, &broken)));
        assert_eq!(refused, Some(ReasonCode::QuotaExceeded));
    }

    #[test]
    fn errors_say_where() {
        let error = read(b"\x30\x05\x00\x03a/#", Version::V5, Side::Client).expect_err("wildcard");
        assert_eq!(
            (error.offset, error.reason),
            (2, ReasonCode::TopicNameInvalid)
        );
        assert_eq!(
            error.to_string(),
            "Topic Name invalid (0x90): topic name: wildcard (at byte 2)"
        );
    }
}
