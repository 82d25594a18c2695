//! CONNACK (section 3.2).

use crate::properties::{self, Place, properties_len, put_properties};
use crate::reason::ReasonPacket;
use crate::{
    Connack, DecodeError, DecodeLimits, EncodeError, Properties, RawPacket, ReasonCode, Side,
    Version,
};

pub(crate) fn decode(
    raw: RawPacket<'_>,
    version: Version,
    limits: DecodeLimits,
) -> Result<Connack<'_>, DecodeError> {
    raw.expect_flags(0)?;

    let mut reader = raw.reader();
    let start = reader;
    let flags = reader.u8("CONNACK: flags missing")?;
    let session_present = match version {
        _ if version.is_v31() => false, // the byte is reserved and not looked at
        // MQTT-3.2.2-1
        _ if flags > 1 => return Err(start.malformed("CONNACK: reserved flags")),
        _ => flags == 1,
    };

    let (reason, properties) = if version == Version::V5 {
        let reason = super::reason(&mut reader, ReasonPacket::Connack, Side::Server)?; // MQTT-3.2.2-8
        (
            reason,
            properties::read(&mut reader, Place::Connack, limits)?.0,
        )
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
        connack.session_present && connack.reason == ReasonCode::Success && !version.is_v31();
    let code = match version {
        Version::V5 => connack.reason as u8,
        // `len` has seen that there is one.
        Version::V31 | Version::V311 => connack.reason.v3_connack().unwrap_or_default(),
    };
    out.extend([u8::from(session_present), code]);
    put_properties(connack.properties, version, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::testing::{ALL_VERSIONS, V3, read, refused, write};

    fn connack(session_present: bool, reason: ReasonCode) -> Packet<'static> {
        Packet::Connack(Connack {
            session_present,
            reason,
            properties: Properties::EMPTY,
        })
    }

    #[test]
    fn forms_of_the_versions() {
        let packet = connack(true, ReasonCode::Success);
        assert_eq!(write(&packet, Version::V311), Ok(vec![0x20, 2, 1, 0]));
        assert_eq!(write(&packet, Version::V5), Ok(vec![0x20, 3, 1, 0, 0]));
        assert_eq!(
            read(&[0x20, 2, 1, 0], Version::V311, Side::Server),
            Ok(packet.clone())
        );
        assert_eq!(
            read(&[0x20, 3, 1, 0, 0], Version::V5, Side::Server),
            Ok(packet)
        );
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn v31_03_session_present_does_not_exist() {
        let packet = connack(true, ReasonCode::Success);
        assert_eq!(write(&packet, Version::V31), Ok(vec![0x20, 2, 0, 0]));
        let packet = connack(false, ReasonCode::Success);
        assert_eq!(
            read(&[0x20, 2, 0xFF, 0], Version::V31, Side::Server),
            Ok(packet)
        );
    }

    #[test]
    fn mqtt_3_2_2_1_reserved_flags() {
        for (bytes, version) in [
            (&[0x20, 2, 2, 0][..], Version::V311),
            (&[0x20, 3, 0x80, 0, 0], Version::V5),
        ] {
            assert_eq!(
                refused(bytes, version, Side::Server),
                ReasonCode::MalformedPacket
            );
        }
    }

    #[test]
    fn mqtt_3_2_2_6_no_session_in_a_refusal() {
        let packet = connack(true, ReasonCode::NotAuthorized);
        assert_eq!(write(&packet, Version::V311), Ok(vec![0x20, 2, 0, 5]));
        assert_eq!(write(&packet, Version::V5), Ok(vec![0x20, 3, 0, 0x87, 0]));
        let reason = refused(&[0x20, 3, 1, 0x87, 0], Version::V5, Side::Server);
        assert_eq!(reason, ReasonCode::ProtocolError);
        let reason = refused(&[0x20, 2, 1, 5], Version::V311, Side::Server);
        assert_eq!(reason, ReasonCode::ProtocolError);
    }

    #[test]
    fn v3_return_codes() {
        for version in V3 {
            for code in 0..=255 {
                let bytes = [0x20, 2, 0, code];
                if code <= 5 {
                    let packet = read(&bytes, version, Side::Server).expect("a return code");
                    assert_eq!(write(&packet, version).as_deref(), Ok(&bytes[..]));
                } else {
                    let reason = refused(&bytes, version, Side::Server);
                    assert_eq!(reason, ReasonCode::MalformedPacket);
                }
            }
            // No code says it: closed without CONNACK (3.1.1: MQTT-3.2.2-6).
            let packet = connack(false, ReasonCode::MalformedPacket);
            assert_eq!(write(&packet, version), Err(EncodeError::NotInVersion));
            let packet = connack(false, ReasonCode::ServerBusy);
            assert_eq!(write(&packet, version), Ok(vec![0x20, 2, 0, 3]));
        }
    }

    #[test]
    fn lengths() {
        for version in ALL_VERSIONS {
            for bytes in [&[0x20, 0][..], &[0x20, 1, 0], &[0x20, 4, 0, 0, 0, 0]] {
                let reason = refused(bytes, version, Side::Server);
                assert_eq!(reason, ReasonCode::MalformedPacket);
            }
        }
        let reason = refused(&[0x20, 2, 0, 0], Version::V5, Side::Server); // MQTT-2.2.2-1
        assert_eq!(reason, ReasonCode::MalformedPacket);
    }
}
