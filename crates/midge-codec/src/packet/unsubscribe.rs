//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use crate::properties::{self, Place, properties_len, put_properties};
use crate::reason::ReasonPacket;
use crate::wire::{nonzero, put_field, string_len};
use crate::{
    DecodeError, DecodeLimits, EncodeError, Properties, RawPacket, ReasonCode, Side, Unsuback,
    Unsubscribe, Version,
};

pub(crate) fn decode(
    raw: RawPacket<'_>,
    version: Version,
    limits: DecodeLimits,
) -> Result<Unsubscribe<'_>, DecodeError> {
    super::expect_qos1_flags(&raw, version)?; // MQTT-3.10.1-1

    let mut reader = raw.reader();
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => properties::read(&mut reader, Place::Unsubscribe, limits)?.0,
        Version::V31 | Version::V311 => Properties::EMPTY,
    };

    if reader.is_empty() {
        return Err(reader.protocol_error("UNSUBSCRIBE: no filter")); // MQTT-3.10.3-2
    }

    let mut filters = Vec::new();
    while !reader.is_empty() {
        if filters.len() >= limits.filters as usize {
            return Err(reader.error("UNSUBSCRIBE: too many filters", ReasonCode::QuotaExceeded));
        }
        filters.push(super::filter(&mut reader)?.as_str()); // MQTT-3.10.3-1
    }

    Ok(Unsubscribe {
        packet_id,
        properties,
        filters,
    })
}

pub(crate) fn len(unsubscribe: &Unsubscribe<'_>, version: Version) -> Result<usize, EncodeError> {
    nonzero(unsubscribe.packet_id)?;
    if unsubscribe.filters.is_empty() {
        return Err(EncodeError::EmptyList);
    }
    let mut len = 2 + properties_len(unsubscribe.properties, version)?;
    for filter in &unsubscribe.filters {
        len = len.saturating_add(string_len(filter)?);
    }
    Ok(len)
}

pub(crate) fn put(unsubscribe: &Unsubscribe<'_>, version: Version, out: &mut Vec<u8>) {
    out.extend(unsubscribe.packet_id.to_be_bytes());
    put_properties(unsubscribe.properties, version, out);
    for filter in &unsubscribe.filters {
        put_field(out, filter.as_bytes());
    }
}

pub(crate) fn decode_ack(
    raw: RawPacket<'_>,
    version: Version,
    limits: DecodeLimits,
) -> Result<Unsuback<'_>, DecodeError> {
    raw.expect_flags(0)?;

    let mut reader = raw.reader();
    let packet_id = reader.packet_id()?;
    let mut unsuback = Unsuback {
        packet_id,
        properties: Properties::EMPTY,
        reasons: Vec::new(),
    };

    if version == Version::V5 {
        unsuback.properties = properties::read(&mut reader, Place::Unsuback, limits)?.0;
        if reader.is_empty() {
            return Err(reader.protocol_error("UNSUBACK: no reason code")); // MQTT-3.11.3-2
        }
        unsuback.reasons.reserve_exact(reader.len());
        while !reader.is_empty() {
            unsuback.reasons.push(super::reason(
                &mut reader,
                ReasonPacket::Unsuback,
                Side::Server,
            )?);
        }
    }

    reader.finish("UNSUBACK: bytes behind the end")?;
    Ok(unsuback)
}

pub(crate) fn ack_len(unsuback: &Unsuback<'_>, version: Version) -> Result<usize, EncodeError> {
    nonzero(unsuback.packet_id)?;
    if version != Version::V5 {
        return Ok(2);
    }
    if unsuback.reasons.is_empty() {
        return Err(EncodeError::EmptyList);
    }
    Ok(2 + properties_len(unsuback.properties, version)? + unsuback.reasons.len())
}

pub(crate) fn put_ack(unsuback: &Unsuback<'_>, version: Version, out: &mut Vec<u8>) {
    out.extend(unsuback.packet_id.to_be_bytes());
    if version == Version::V5 {
        put_properties(unsuback.properties, version, out);
        out.extend(unsuback.reasons.iter().map(|reason| *reason as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ALL_VERSIONS, V3, packet, read, refused, write};
    use crate::{Packet, ReasonCode};

    #[test]
    fn forms_of_the_versions() {
        let unsubscribe = Packet::Unsubscribe(Unsubscribe {
            packet_id: 7,
            properties: Properties::EMPTY,
            filters: vec!["a", "$share/g/#"],
        });
        let v3 = b"\xA2\x11\x00\x07\x00\x01a\x00\x0A$share/g/#";
        let v5 = b"\xA2\x12\x00\x07\x00\x00\x01a\x00\x0A$share/g/#";
        for version in V3 {
            assert_eq!(write(&unsubscribe, version).as_deref(), Ok(&v3[..]));
            assert_eq!(read(v3, version, Side::Client), Ok(unsubscribe.clone()));
        }
        assert_eq!(write(&unsubscribe, Version::V5).as_deref(), Ok(&v5[..]));
        assert_eq!(read(v5, Version::V5, Side::Client), Ok(unsubscribe));
    }

    #[test]
    fn mqtt_3_10_3_2_at_least_one_filter() {
        for (body, version) in [
            (&[0, 1][..], Version::V31),
            (&[0, 1], Version::V311),
            (&[0, 1, 0], Version::V5),
        ] {
            let reason = refused(&packet(0xA2, body), version, Side::Client);
            assert_eq!(reason, ReasonCode::ProtocolError);
            let packet = Unsubscribe {
                packet_id: 1,
                properties: Properties::EMPTY,
                filters: Vec::new(),
            };
            let result = write(&Packet::Unsubscribe(packet), version);
            assert_eq!(result, Err(EncodeError::EmptyList));
        }
    }

    #[test]
    fn bad_filters_and_identifier_0() {
        for (body, reason) in [
            (&b"\x00\x01\x00\x02a#"[..], ReasonCode::TopicFilterInvalid),
            (b"\x00\x01\x00\x00", ReasonCode::MalformedPacket),
            (b"\x00\x01\x00\x01\xFF", ReasonCode::MalformedPacket), // MQTT-3.10.3-1
            (b"\x00\x01\x00\x02a", ReasonCode::MalformedPacket),
            (b"\x00\x00\x00\x01a", ReasonCode::ProtocolError),
        ] {
            let bytes = packet(0xA2, body);
            assert_eq!(refused(&bytes, Version::V311, Side::Client), reason);
        }
    }

    #[test]
    fn unsuback_has_codes_in_5_only() {
        let reasons = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        let unsuback = Unsuback {
            packet_id: 7,
            properties: Properties::EMPTY,
            reasons,
        };

        let packet = Packet::Unsuback(unsuback.clone());
        let bytes = [0xB0, 5, 0, 7, 0, 0, 0x11];
        assert_eq!(write(&packet, Version::V5).as_deref(), Ok(&bytes[..]));
        assert_eq!(read(&bytes, Version::V5, Side::Server), Ok(packet.clone()));

        let bare = Packet::Unsuback(Unsuback {
            reasons: Vec::new(),
            ..unsuback
        });

        for version in V3 {
            assert_eq!(write(&packet, version), Ok(vec![0xB0, 2, 0, 7]));
            assert_eq!(
                read(&[0xB0, 2, 0, 7], version, Side::Server),
                Ok(bare.clone())
            );
            let reason = refused(&bytes, version, Side::Server);
            assert_eq!(reason, ReasonCode::MalformedPacket);
        }

        assert_eq!(write(&bare, Version::V5), Err(EncodeError::EmptyList));

        let reason = refused(&[0xB0, 3, 0, 7, 0], Version::V5, Side::Server);
        assert_eq!(reason, ReasonCode::ProtocolError);
        for version in ALL_VERSIONS {
            let reason = refused(&[0xB0, 2, 0, 0], version, Side::Server);
            assert_eq!(reason, ReasonCode::ProtocolError);
        }
    }
}
