//! UNSUBSCRIBE and UNSUBACK (sections 3.10 and 3.11).

use crate::encode::{nonzero, properties_len, put_properties};
use crate::properties::{self, Place};
use crate::reason::Carrier;
use crate::wire::{put_field, string_len};
use crate::{
    DecodeError, EncodeError, Properties, RawPacket, Side, Unsuback, Unsubscribe, Version,
};

pub(crate) fn decode(raw: RawPacket<'_>, version: Version) -> Result<Unsubscribe<'_>, DecodeError> {
    super::expect_qos1_flags(&raw, version)?; // MQTT-3.10.1-1
    let mut reader = raw.reader();
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => properties::read(&mut reader, Place::Unsubscribe)?.0,
        Version::V31 | Version::V311 => Properties::EMPTY,
    };
    if reader.is_empty() {
        return Err(reader.protocol_error("UNSUBSCRIBE: no filter")); // MQTT-3.10.3-2
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
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
        len += string_len(filter)?;
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
        unsuback.properties = properties::read(&mut reader, Place::Unsuback)?.0;
        if reader.is_empty() {
            return Err(reader.protocol_error("UNSUBACK: no reason code")); // MQTT-3.11.3-2
        }
        unsuback.reasons.reserve_exact(reader.len());
        while !reader.is_empty() {
            unsuback
                .reasons
                .push(super::reason(&mut reader, Carrier::Unsuback, Side::Server)?);
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
