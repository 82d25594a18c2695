//! AUTH (section 3.15), 5.0 only.

use crate::properties::{self, Place, properties_len, put_properties};
use crate::reason::ReasonPacket;
use crate::{
    Auth, DecodeError, DecodeLimits, EncodeError, Properties, RawPacket, ReasonCode, Side, Version,
};

pub(crate) fn decode(
    raw: RawPacket<'_>,
    sender: Side,
    limits: DecodeLimits,
) -> Result<Auth<'_>, DecodeError> {
    raw.expect_flags(0)?; // MQTT-3.15.1-1

    let mut reader = raw.reader();
    let start = reader;
    if reader.is_empty() {
        // Allowed by section 3.15.2.1, but the method is mandatory by section 3.15.2.2.2.
        return Err(start.protocol_error("authentication method: missing"));
    }

    let reason = super::reason(&mut reader, ReasonPacket::Auth, sender)?; // MQTT-3.15.2-1
    let (properties, seen) = properties::read(&mut reader, Place::Auth, limits)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{V3, read, refused, write};
    use crate::{Packet, PropertiesBuf, Property};

    #[test]
    fn round_trip() {
        let mut properties = PropertiesBuf::new();
        properties
            .push(Property::AuthenticationMethod("m"))
            .expect("fits");
        let auth = Packet::Auth(Auth {
            reason: ReasonCode::ContinueAuthentication,
            properties: properties.as_properties(),
        });
        let bytes = b"\xF0\x06\x18\x04\x15\x00\x01m";
        assert_eq!(write(&auth, Version::V5).as_deref(), Ok(&bytes[..]));
        assert_eq!(read(bytes, Version::V5, Side::Client), Ok(auth.clone()));
        for version in V3 {
            assert_eq!(write(&auth, version), Err(EncodeError::NotInVersion));
        }
    }

    #[test]
    fn mqtt_3_15_2_1_success_is_for_the_server_to_say() {
        let bytes = b"\xF0\x06\x00\x04\x15\x00\x01m";
        assert_eq!(
            refused(bytes, Version::V5, Side::Client),
            ReasonCode::ProtocolError
        );
        assert!(read(bytes, Version::V5, Side::Server).is_ok());
        let bytes = b"\xF0\x06\x19\x04\x15\x00\x01m";
        assert!(read(bytes, Version::V5, Side::Client).is_ok());
        assert_eq!(
            refused(bytes, Version::V5, Side::Server),
            ReasonCode::ProtocolError
        );
    }

    #[test]
    fn method_is_mandatory() {
        for bytes in [
            &b"\xF0\x00"[..],
            b"\xF0\x02\x18\x00",
            b"\xF0\x06\x18\x04\x1F\x00\x01m",
        ] {
            assert_eq!(
                refused(bytes, Version::V5, Side::Client),
                ReasonCode::ProtocolError
            );
        }
        assert_eq!(
            refused(b"\xF0\x01\x18", Version::V5, Side::Client),
            ReasonCode::MalformedPacket
        );
    }
}
