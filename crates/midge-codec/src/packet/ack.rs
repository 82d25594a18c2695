//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7), which differ in number and reasons only.

use crate::properties::{self, Place, properties_len, put_properties};
use crate::reason::ReasonPacket;
use crate::wire::nonzero;
use crate::{
    Ack, DecodeError, DecodeLimits, EncodeError, Properties, RawPacket, ReasonCode, Side, Version,
};

pub(crate) fn decode<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
    carrier: ReasonPacket,
    limits: DecodeLimits,
) -> Result<Ack<'a>, DecodeError> {
    let place = match carrier {
        ReasonPacket::Pubrec => Place::Pubrec,
        ReasonPacket::Pubrel => Place::Pubrel,
        ReasonPacket::Pubcomp => Place::Pubcomp,
        _ => Place::Puback,
    };

    if carrier == ReasonPacket::Pubrel {
        super::expect_qos1_flags(&raw, version)?; // MQTT-3.6.1-1
    } else {
        raw.expect_flags(0)?;
    }

    let mut reader = raw.reader();
    let packet_id = reader.packet_id()?;
    let mut ack = Ack {
        packet_id,
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };

    if version == Version::V5 && !reader.is_empty() {
        // MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1
        ack.reason = super::reason(&mut reader, carrier, sender)?;
        if !reader.is_empty() {
            ack.properties = properties::read(&mut reader, place, limits)?.0;
        }
    }

    reader.finish("acknowledgement: bytes behind the end")?;
    Ok(ack)
}

/// The shortest of the three forms that says everything (section 3.4.2.1).
pub(crate) fn len(ack: &Ack<'_>, version: Version) -> Result<usize, EncodeError> {
    nonzero(ack.packet_id)?;
    Ok(2 + match (ack.reason, ack.properties.is_empty()) {
        _ if version != Version::V5 => 0,
        (ReasonCode::Success, true) => 0,
        (_, true) => 1,
        (_, false) => 1 + properties_len(ack.properties, version)?,
    })
}

pub(crate) fn put(ack: &Ack<'_>, version: Version, out: &mut Vec<u8>) {
    out.extend(ack.packet_id.to_be_bytes());
    if version != Version::V5 {
        return;
    }
    if ack.reason != ReasonCode::Success || !ack.properties.is_empty() {
        out.push(ack.reason as u8);
    }
    if !ack.properties.is_empty() {
        put_properties(ack.properties, version, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ALL_VERSIONS, V3, read, refused, write};
    use crate::{Packet, PropertiesBuf, Property};

    type Make = fn(Ack<'static>) -> Packet<'static>;

    const ALL: [(u8, Make); 4] = [
        (0x40, Packet::Puback),
        (0x50, Packet::Pubrec),
        (0x62, Packet::Pubrel),
        (0x70, Packet::Pubcomp),
    ];

    fn ack(reason: ReasonCode) -> Ack<'static> {
        Ack {
            packet_id: 0x1234,
            reason,
            properties: Properties::EMPTY,
        }
    }

    #[test]
    fn three_forms_are_read_and_the_shortest_is_written() {
        for (header, make) in ALL {
            let success = make(ack(ReasonCode::Success));
            for bytes in [
                &[header, 2, 0x12, 0x34][..],
                &[header, 3, 0x12, 0x34, 0],
                &[header, 4, 0x12, 0x34, 0, 0],
            ] {
                let packet = read(bytes, Version::V5, Side::Client);
                assert_eq!(packet.as_ref(), Ok(&success));
            }
            assert_eq!(
                write(&success, Version::V5),
                Ok(vec![header, 2, 0x12, 0x34])
            );
        }

        let refusal = Packet::Puback(ack(ReasonCode::NotAuthorized));
        assert_eq!(
            write(&refusal, Version::V5),
            Ok(vec![0x40, 3, 0x12, 0x34, 0x87])
        );
    }

    #[test]
    fn with_properties() {
        let mut properties = PropertiesBuf::new();
        properties.push(Property::ReasonString("no")).expect("fits");

        let ack = Ack {
            properties: properties.as_properties(),
            ..ack(ReasonCode::Success)
        };

        let bytes = b"\x40\x09\x12\x34\x00\x05\x1F\x00\x02no";
        assert_eq!(
            write(&Packet::Puback(ack), Version::V5).as_deref(),
            Ok(&bytes[..])
        );
        assert_eq!(
            read(bytes, Version::V5, Side::Client),
            Ok(Packet::Puback(ack))
        );

        // Before 5.0 they are left out.
        for version in V3 {
            assert_eq!(
                write(&Packet::Puback(ack), version),
                Ok(vec![0x40, 2, 0x12, 0x34])
            );
        }
    }

    #[test]
    fn mqtt_2_2_1_3_packet_identifier_0() {
        for (header, make) in ALL {
            for version in ALL_VERSIONS {
                let reason = refused(&[header, 2, 0, 0], version, Side::Client);
                assert_eq!(reason, ReasonCode::ProtocolError);
                let ack = Ack {
                    packet_id: 0,
                    ..ack(ReasonCode::Success)
                };
                assert_eq!(write(&make(ack), version), Err(EncodeError::PacketIdZero));
            }
        }
    }

    #[test]
    fn lengths() {
        for (header, _) in ALL {
            for version in ALL_VERSIONS {
                for bytes in [
                    &[header, 0][..],
                    &[header, 1, 0],
                    &[header, 5, 0, 1, 0, 0, 0],
                ] {
                    let reason = refused(bytes, version, Side::Client);
                    assert_eq!(reason, ReasonCode::MalformedPacket, "{bytes:?}");
                }
            }
            for version in V3 {
                for bytes in [&[header, 3, 0, 1, 0][..], &[header, 4, 0, 1, 0, 0]] {
                    let reason = refused(bytes, version, Side::Client);
                    assert_eq!(reason, ReasonCode::MalformedPacket);
                }
            }
        }
    }
}
