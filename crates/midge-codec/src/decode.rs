//! From frames to packets, by their type.

use crate::packet::{ack, auth, connack, connect, disconnect, subscribe, unsubscribe};
use crate::publish;
use crate::reason::ReasonPacket;
use crate::{DecodeError, DecodeLimits, Packet, RawPacket, ReasonCode, Side, Version};

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

impl RawPacket<'_> {
    /// What is wrong with the first byte of a packet, whatever follows it: a type that `sender` never
    /// sends on a connection of this version, flags that the type never has. A caller that finds a packet
    /// incomplete need not wait for the rest of such a one. The flags of a CONNECT depend on the
    /// version that stands behind them.
    pub fn first_byte_fault(header: u8, version: Version, sender: Side) -> Option<DecodeError> {
        let raw = RawPacket {
            header,
            body: &[],
            len: 1,
        };

        // The first byte is judged before anything else.
        let error = decode(raw, version, sender).err()?;
        error.what.starts_with(FIXED_HEADER).then_some(error)
    }
}

/// How [`DecodeError::what`] begins if the first byte is at fault.
const FIXED_HEADER: &str = "fixed header";

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
        DecodeError, DecodeLimits, Packet, RawPacket, ReasonCode, Side, Version, decode_within,
        split,
    };

    fn reason<T>(result: Result<T, DecodeError>) -> Option<ReasonCode> {
        result.err().map(|error| error.reason)
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
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn what_the_first_byte_says_is_known_without_the_rest() {
        for version in ALL_VERSIONS {
            let good = |header: u8| {
                let (kind, flags) = (header >> 4, header & 0x0F);
                let qos1 = flags == 2 || (flags == 10 && version == Version::V31);

                match kind {
                    0 => false,
                    1 => true,
                    3 => flags & 6 != 6 && flags & 14 != 8,
                    6 | 8 | 10 => qos1,
                    4 | 5 | 7 | 12 | 14 => flags == 0,
                    15 => flags == 0 && version == Version::V5,
                    _ => false,
                }
            };
            for header in 0..=u8::MAX {
                let fault = RawPacket::first_byte_fault(header, version, Side::Client);
                assert_eq!(fault.is_none(), good(header), "{header:#04x} {version:?}");
                if let Some(fault) = fault {
                    // The same as with a body.
                    let bytes = packet(header, b"\0\x01a\0");
                    let whole = read(&bytes, version, Side::Client);
                    assert_eq!(whole, Err(fault), "{header:#04x} {version:?}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
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
