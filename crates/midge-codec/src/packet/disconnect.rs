//! DISCONNECT (section 3.14).

use crate::encode::{properties_len, put_properties};
use crate::properties::{self, Place};
use crate::reason::Carrier;
use crate::{
    DecodeError, Disconnect, EncodeError, Properties, RawPacket, ReasonCode, Side, Version,
};

pub(crate) fn decode<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
) -> Result<Disconnect<'a>, DecodeError> {
    raw.expect_flags(0)?; // MQTT-3.14.1-1
    let mut reader = raw.reader();
    let mut disconnect = Disconnect {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    if version == Version::V5 && !reader.is_empty() {
        // MQTT-3.14.2-1
        disconnect.reason = super::reason(&mut reader, Carrier::Disconnect, sender)?;
        if !reader.is_empty() {
            disconnect.properties = properties::read(&mut reader, Place::disconnect(sender))?.0;
        }
    }
    reader.finish("DISCONNECT: bytes behind the end")?;
    Ok(disconnect)
}

/// The shortest of the three forms that says everything (section 3.14.2.1).
pub(crate) fn len(disconnect: &Disconnect<'_>, version: Version) -> Result<usize, EncodeError> {
    match (disconnect.reason, disconnect.properties.is_empty()) {
        // Before 5.0 a DISCONNECT says that all is well and nothing else.
        (ReasonCode::Success, _) if version != Version::V5 => Ok(0),
        _ if version != Version::V5 => Err(EncodeError::NotInVersion),
        (ReasonCode::Success, true) => Ok(0),
        (_, true) => Ok(1),
        (_, false) => Ok(1 + properties_len(disconnect.properties, version)?),
    }
}

pub(crate) fn put(disconnect: &Disconnect<'_>, version: Version, out: &mut Vec<u8>) {
    if version != Version::V5 {
        return;
    }
    if disconnect.reason != ReasonCode::Success || !disconnect.properties.is_empty() {
        out.push(disconnect.reason as u8);
    }
    if !disconnect.properties.is_empty() {
        put_properties(disconnect.properties, version, out);
    }
}
