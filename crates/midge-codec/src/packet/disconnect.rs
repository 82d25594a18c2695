//! DISCONNECT (section 3.14).

use crate::properties::{self, Place, properties_len, put_properties};
use crate::reason::ReasonPacket;
use crate::{
    DecodeError, DecodeLimits, Disconnect, EncodeError, Properties, RawPacket, ReasonCode, Side,
    Version,
};

pub(crate) fn decode<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
    limits: DecodeLimits,
) -> Result<Disconnect<'a>, DecodeError> {
    raw.expect_flags(0)?; // MQTT-3.14.1-1

    let mut reader = raw.reader();
    let mut disconnect = Disconnect {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };

    if version == Version::V5 && !reader.is_empty() {
        // MQTT-3.14.2-1
        disconnect.reason = super::reason(&mut reader, ReasonPacket::Disconnect, sender)?;
        if !reader.is_empty() {
            disconnect.properties =
                properties::read(&mut reader, Place::disconnect(sender), limits)?.0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::testing::{V3, read, refused, write};

    fn disconnect(reason: ReasonCode) -> Packet<'static> {
        Packet::Disconnect(Disconnect {
            reason,
            properties: Properties::EMPTY,
        })
    }

    #[test]
    fn three_forms_are_read_and_the_shortest_is_written() {
        let normal = disconnect(ReasonCode::Success);
        for bytes in [&[0xE0, 0][..], &[0xE0, 1, 0], &[0xE0, 2, 0, 0]] {
            assert_eq!(read(bytes, Version::V5, Side::Client), Ok(normal.clone()));
        }
        assert_eq!(write(&normal, Version::V5), Ok(vec![0xE0, 0]));
        let with_will = disconnect(ReasonCode::DisconnectWithWill);
        assert_eq!(write(&with_will, Version::V5), Ok(vec![0xE0, 1, 4]));
        assert_eq!(
            read(&[0xE0, 1, 4], Version::V5, Side::Client),
            Ok(with_will)
        );
    }

    #[test]
    fn before_5_it_says_one_thing_only() {
        for version in V3 {
            assert_eq!(
                write(&disconnect(ReasonCode::Success), version),
                Ok(vec![0xE0, 0])
            );
            let with_will = disconnect(ReasonCode::DisconnectWithWill);
            assert_eq!(write(&with_will, version), Err(EncodeError::NotInVersion));
            let reason = refused(&[0xE0, 1, 0], version, Side::Client);
            assert_eq!(reason, ReasonCode::MalformedPacket);
        }
    }

    #[test]
    fn mqtt_3_14_2_1_codes_of_the_other_side() {
        let reason = refused(&[0xE0, 1, 0x8E], Version::V5, Side::Client);
        assert_eq!(reason, ReasonCode::ProtocolError);
        assert!(read(&[0xE0, 1, 0x8E], Version::V5, Side::Server).is_ok());
        let reason = refused(&[0xE0, 1, 0x04], Version::V5, Side::Server);
        assert_eq!(reason, ReasonCode::ProtocolError);
        let reason = refused(&[0xE0, 1, 0xFF], Version::V5, Side::Client);
        assert_eq!(reason, ReasonCode::MalformedPacket);
    }

    #[test]
    fn mqtt_3_14_2_2_session_expiry_is_for_the_client_to_say() {
        let bytes = b"\xE0\x07\x00\x05\x11\x00\x00\x00\x09";
        assert!(read(bytes, Version::V5, Side::Client).is_ok());
        assert_eq!(
            refused(bytes, Version::V5, Side::Server),
            ReasonCode::ProtocolError
        );
    }
}
