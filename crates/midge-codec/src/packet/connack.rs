//! CONNACK (section 3.2).

use crate::encode::{properties_len, put_properties};
use crate::properties::{self, Place};
use crate::reason::Carrier;
use crate::{Connack, DecodeError, EncodeError, Properties, RawPacket, ReasonCode, Side, Version};

pub(crate) fn decode(raw: RawPacket<'_>, version: Version) -> Result<Connack<'_>, DecodeError> {
    raw.expect_flags(0)?;
    let mut reader = raw.reader();
    let start = reader;
    let flags = reader.u8("CONNACK: flags missing")?;
    let session_present = match version {
        Version::V31 => false, // the byte is reserved and not looked at
        // MQTT-3.2.2-1
        Version::V311 | Version::V5 if flags > 1 => {
            return Err(start.malformed("CONNACK: reserved flags"));
        }
        Version::V311 | Version::V5 => flags == 1,
    };
    let (reason, properties) = if version == Version::V5 {
        let reason = super::reason(&mut reader, Carrier::Connack, Side::Server)?; // MQTT-3.2.2-8
        (reason, properties::read(&mut reader, Place::Connack)?.0)
    } else {
        let at = reader;
        let code = reader.u8("CONNACK: return code missing")?;
        let Some(reason) = ReasonCode::from_v3_connack(code) else {
            return Err(at.malformed("CONNACK: reserved return code"));
        };
        (reason, Properties::EMPTY)
    };
    reader.finish("CONNACK: bytes behind the end")?;
    // MQTT-3.2.2-6 (3.1.1: MQTT-3.2.2-4)
    if session_present && reason != ReasonCode::Success {
        return Err(start.protocol_error("CONNACK: session present in a refusal"));
    }
    Ok(Connack {
        session_present,
        reason,
        properties,
    })
}

pub(crate) fn len(connack: &Connack<'_>, version: Version) -> Result<usize, EncodeError> {
    if version != Version::V5 && connack.reason.v3_connack().is_none() {
        return Err(EncodeError::NotInVersion);
    }
    Ok(2 + properties_len(connack.properties, version)?)
}

pub(crate) fn put(connack: &Connack<'_>, version: Version, out: &mut Vec<u8>) {
    // A refusal never says that there is a session (MQTT-3.2.2-6; 3.1.1: MQTT-3.2.2-4), and a 3.1
    // client is never told.
    let session_present =
        connack.session_present && connack.reason == ReasonCode::Success && version != Version::V31;
    let code = match version {
        Version::V5 => connack.reason as u8,
        // `len` has seen that there is one.
        Version::V31 | Version::V311 => connack.reason.v3_connack().unwrap_or_default(),
    };
    out.extend([u8::from(session_present), code]);
    put_properties(connack.properties, version, out);
}
