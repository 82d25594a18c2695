//! AUTH (section 3.15), 5.0 only.

use crate::encode::{properties_len, put_properties};
use crate::properties::{self, Place};
use crate::reason::Carrier;
use crate::{Auth, DecodeError, EncodeError, Properties, RawPacket, ReasonCode, Side, Version};

pub(crate) fn decode(raw: RawPacket<'_>, sender: Side) -> Result<Auth<'_>, DecodeError> {
    raw.expect_flags(0)?; // MQTT-3.15.1-1
    let mut reader = raw.reader();
    let start = reader;
    if reader.is_empty() {
        // Allowed by section 3.15.2.1, but the method is mandatory by section 3.15.2.2.2.
        return Err(start.protocol_error("authentication method: missing"));
    }
    let reason = super::reason(&mut reader, Carrier::Auth, sender)?; // MQTT-3.15.2-1
    let (properties, seen) = properties::read(&mut reader, Place::Auth)?;
    reader.finish("AUTH: bytes behind the end")?;
    if !seen.authentication_method() {
        return Err(start.protocol_error("authentication method: missing"));
    }
    Ok(Auth { reason, properties })
}

fn is_short(auth: &Auth<'_>) -> bool {
    auth.reason == ReasonCode::Success && auth.properties == Properties::EMPTY
}

pub(crate) fn len(auth: &Auth<'_>, version: Version) -> Result<usize, EncodeError> {
    if version != Version::V5 {
        return Err(EncodeError::NotInVersion);
    }
    Ok(if is_short(auth) {
        0
    } else {
        1 + properties_len(auth.properties, version)?
    })
}

pub(crate) fn put(auth: &Auth<'_>, out: &mut Vec<u8>) {
    if !is_short(auth) {
        out.push(auth.reason as u8);
        put_properties(auth.properties, Version::V5, out);
    }
}
