//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7), which differ in number and reasons only.

use crate::encode::{nonzero, properties_len, put_properties};
use crate::properties::{self, Place};
use crate::reason::Carrier;
use crate::{Ack, DecodeError, EncodeError, Properties, RawPacket, ReasonCode, Side, Version};

pub(crate) fn decode<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
    carrier: Carrier,
) -> Result<Ack<'a>, DecodeError> {
    let place = match carrier {
        Carrier::Pubrec => Place::Pubrec,
        Carrier::Pubrel => Place::Pubrel,
        Carrier::Pubcomp => Place::Pubcomp,
        _ => Place::Puback,
    };
    if carrier == Carrier::Pubrel {
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
            ack.properties = properties::read(&mut reader, place)?.0;
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
