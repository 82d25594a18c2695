//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).

use crate::properties::{self, Place, properties_len, put_properties};
use crate::reason::ReasonPacket;
use crate::wire::{Reader, nonzero, put_field, string_len};
use crate::{
    DecodeError, DecodeLimits, EncodeError, Properties, QoS, RawPacket, ReasonCode, RetainHandling,
    Side, Suback, Subscribe, SubscribeFilter, SubscriptionOptions, Version,
};

const QOS: u8 = 0x03;
const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING: u8 = 0x30;
const RESERVED: u8 = 0xC0;

pub(crate) fn decode(
    raw: RawPacket<'_>,
    version: Version,
    limits: DecodeLimits,
) -> Result<Subscribe<'_>, DecodeError> {
    super::expect_qos1_flags(&raw, version)?; // MQTT-3.8.1-1

    let mut reader = raw.reader();
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => properties::read(&mut reader, Place::Subscribe, limits)?.0,
        Version::V31 | Version::V311 => Properties::EMPTY,
    };

    if reader.is_empty() {
        return Err(reader.protocol_error("SUBSCRIBE: no filter")); // MQTT-3.8.3-2
    }

    let mut filters = Vec::new();
    while !reader.is_empty() {
        if filters.len() >= limits.filters as usize {
            return Err(reader.error("SUBSCRIBE: too many filters", ReasonCode::QuotaExceeded));
        }
        filters.push(read_filter(&mut reader, version)?);
    }

    Ok(Subscribe {
        packet_id,
        properties,
        filters,
    })
}

fn read_filter<'a>(
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<SubscribeFilter<'a>, DecodeError> {
    let filter = super::filter(reader)?;
    let start = *reader;
    let byte = reader.u8("subscription options: missing")?;
    let qos = QoS::from_u8(byte & QOS);
    if version != Version::V5 {
        // 3.1.1: MQTT-3.8.3-4
        return match qos {
            Some(qos) if byte & !QOS == 0 => Ok(SubscribeFilter {
                filter: filter.as_str(),
                options: SubscriptionOptions {
                    qos,
                    ..SubscriptionOptions::default()
                },
            }),
            _ => Err(start.malformed("requested QoS: above 2 or reserved bits")),
        };
    }

    if byte & RESERVED != 0 {
        return Err(start.malformed("subscription options: reserved bits")); // MQTT-3.8.3-5
    }

    let Some(qos) = qos else {
        return Err(start.protocol_error("subscription options: QoS 3"));
    };

    let retain_handling = match (byte & RETAIN_HANDLING) >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(start.protocol_error("subscription options: retain handling 3")),
    };

    let no_local = byte & NO_LOCAL != 0;
    if no_local && filter.share().is_some() {
        // MQTT-3.8.3-4
        return Err(start.protocol_error("subscription options: no local on a shared subscription"));
    }

    let options = SubscriptionOptions {
        qos,
        no_local,
        retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
        retain_handling,
    };

    Ok(SubscribeFilter {
        filter: filter.as_str(),
        options,
    })
}

fn options_byte(options: SubscriptionOptions, version: Version) -> u8 {
    let mut byte = options.qos as u8;
    if version == Version::V5 {
        if options.no_local {
            byte |= NO_LOCAL;
        }
        if options.retain_as_published {
            byte |= RETAIN_AS_PUBLISHED;
        }
        byte |= (options.retain_handling as u8) << 4;
    }
    byte
}

pub(crate) fn len(subscribe: &Subscribe<'_>, version: Version) -> Result<usize, EncodeError> {
    nonzero(subscribe.packet_id)?;
    if subscribe.filters.is_empty() {
        return Err(EncodeError::EmptyList);
    }
    let mut len = 2 + properties_len(subscribe.properties, version)?;
    for filter in &subscribe.filters {
        len = len.saturating_add(string_len(filter.filter)? + 1);
    }
    Ok(len)
}

pub(crate) fn put(subscribe: &Subscribe<'_>, version: Version, out: &mut Vec<u8>) {
    out.extend(subscribe.packet_id.to_be_bytes());
    put_properties(subscribe.properties, version, out);
    for filter in &subscribe.filters {
        put_field(out, filter.filter.as_bytes());
        out.push(options_byte(filter.options, version));
    }
}

pub(crate) fn decode_ack(
    raw: RawPacket<'_>,
    version: Version,
    limits: DecodeLimits,
) -> Result<Suback<'_>, DecodeError> {
    raw.expect_flags(0)?;

    let mut reader = raw.reader();
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => properties::read(&mut reader, Place::Suback, limits)?.0,
        Version::V31 | Version::V311 => Properties::EMPTY,
    };

    if reader.is_empty() {
        return Err(reader.protocol_error("SUBACK: no reason code")); // MQTT-3.8.4-6
    }

    let mut reasons = Vec::with_capacity(reader.len());
    while !reader.is_empty() {
        let start = reader;
        reasons.push(if version == Version::V5 {
            super::reason(&mut reader, ReasonPacket::Suback, Side::Server)? // MQTT-3.9.3-2
        } else {
            match reader.u8("SUBACK: return code missing")? {
                0 => ReasonCode::Success,
                1 => ReasonCode::GrantedQoS1,
                2 => ReasonCode::GrantedQoS2,
                0x80 if version == Version::V311 => ReasonCode::UnspecifiedError,
                _ => return Err(start.malformed("SUBACK: reserved return code")),
            }
        });
    }

    Ok(Suback {
        packet_id,
        properties,
        reasons,
    })
}

/// The return code of 3.1.1 and 3.1 (3.1.1: MQTT-3.9.3-2). 3.1 cannot say that a subscription
/// failed.
fn v3_return_code(reason: ReasonCode, version: Version) -> Option<u8> {
    match reason {
        ReasonCode::Success | ReasonCode::GrantedQoS1 | ReasonCode::GrantedQoS2 => {
            Some(reason as u8)
        }
        _ if reason.is_error() && version == Version::V311 => Some(0x80),
        _ => None,
    }
}

pub(crate) fn ack_len(suback: &Suback<'_>, version: Version) -> Result<usize, EncodeError> {
    nonzero(suback.packet_id)?;
    if suback.reasons.is_empty() {
        return Err(EncodeError::EmptyList);
    }
    if version != Version::V5
        && suback
            .reasons
            .iter()
            .any(|reason| v3_return_code(*reason, version).is_none())
    {
        return Err(EncodeError::NotInVersion);
    }
    Ok(2 + properties_len(suback.properties, version)? + suback.reasons.len())
}

pub(crate) fn put_ack(suback: &Suback<'_>, version: Version, out: &mut Vec<u8>) {
    out.extend(suback.packet_id.to_be_bytes());
    put_properties(suback.properties, version, out);
    out.extend(suback.reasons.iter().map(|reason| match version {
        Version::V5 => *reason as u8,
        // `ack_len` has seen that there is one.
        Version::V31 | Version::V311 => v3_return_code(*reason, version).unwrap_or(0x80),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ALL_VERSIONS, V3, packet, read, refused, write};
    use crate::{Packet, PropertiesBuf, Property};

    /// SUBSCRIBE with one filter.
    fn bytes(version: Version, filter: &[u8], options: u8) -> Vec<u8> {
        let mut body = vec![0, 9];
        if version == Version::V5 {
            body.push(0);
        }
        put_field(&mut body, filter);
        body.push(options);
        packet(0x82, &body)
    }

    fn options(bytes: &[u8], version: Version) -> SubscriptionOptions {
        match read(bytes, version, Side::Client) {
            Ok(Packet::Subscribe(subscribe)) => subscribe.filters[0].options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_options() {
        for byte in 0..=255 {
            let bytes = bytes(Version::V5, b"a", byte);
            let expected = match byte {
                0x40.. => Err(ReasonCode::MalformedPacket), // MQTT-3.8.3-5
                _ if byte & 0x03 == 0x03 => Err(ReasonCode::ProtocolError),
                0x30.. => Err(ReasonCode::ProtocolError),
                _ => Ok(()),
            };

            match expected {
                Err(reason) => assert_eq!(refused(&bytes, Version::V5, Side::Client), reason),
                Ok(()) => {
                    let options = options(&bytes, Version::V5);
                    assert_eq!(options.qos as u8, byte & 3);
                    assert_eq!(options.no_local, byte & 4 != 0);
                    assert_eq!(options.retain_as_published, byte & 8 != 0);
                    assert_eq!(options.retain_handling as u8, byte >> 4);
                }
            }
        }
    }

    #[test]
    fn v3_requested_qos() {
        // 3.1.1: MQTT-3.8.3-4
        for version in V3 {
            for byte in 0..=255 {
                let bytes = bytes(version, b"a", byte);
                if byte <= 2 {
                    assert_eq!(options(&bytes, version).qos as u8, byte);
                } else {
                    let reason = refused(&bytes, version, Side::Client);
                    assert_eq!(reason, ReasonCode::MalformedPacket);
                }
            }
        }
    }

    #[test]
    fn mqtt_3_8_3_4_no_local_on_a_shared_subscription() {
        let bytes = |filter| bytes(Version::V5, filter, 0x05);
        let reason = refused(&bytes(b"$share/g/a"), Version::V5, Side::Client);
        assert_eq!(reason, ReasonCode::ProtocolError);
        assert!(options(&bytes(b"$sharex/g"), Version::V5).no_local);
    }

    #[test]
    fn bad_filters() {
        for (filter, reason) in [
            (&b"a/#/b"[..], ReasonCode::TopicFilterInvalid), // MQTT-4.7.1-1
            (b"a+", ReasonCode::TopicFilterInvalid),         // MQTT-4.7.1-2
            (b"", ReasonCode::MalformedPacket),              // MQTT-4.7.3-1
            (b"a\x00", ReasonCode::MalformedPacket),         // MQTT-4.7.3-2
            (b"\xFF", ReasonCode::MalformedPacket),          // MQTT-3.8.3-1
            (b"$share//a", ReasonCode::MalformedPacket),     // MQTT-4.8.2-1
            (b"$share/g", ReasonCode::MalformedPacket),      // MQTT-4.8.2-2
            (b"$share/g/a#", ReasonCode::TopicFilterInvalid),
        ] {
            for version in ALL_VERSIONS {
                let bytes = bytes(version, filter, 0);
                assert_eq!(refused(&bytes, version, Side::Client), reason, "{filter:?}");
            }
        }
    }

    #[test]
    fn mqtt_3_8_3_2_at_least_one_filter() {
        for (body, version) in [
            (&[0, 1][..], Version::V31),
            (&[0, 1], Version::V311),
            (&[0, 1, 0], Version::V5),
        ] {
            let reason = refused(&packet(0x82, body), version, Side::Client);
            assert_eq!(reason, ReasonCode::ProtocolError);
            let subscribe = Subscribe {
                packet_id: 1,
                properties: Properties::EMPTY,
                filters: Vec::new(),
            };
            let result = write(&Packet::Subscribe(subscribe), version);
            assert_eq!(result, Err(EncodeError::EmptyList));
        }

        // A filter without options is cut off.
        let reason = refused(b"\x82\x05\x00\x01\x00\x01a", Version::V311, Side::Client);
        assert_eq!(reason, ReasonCode::MalformedPacket);
    }

    #[test]
    fn mqtt_2_2_1_3_packet_identifier_0() {
        for version in ALL_VERSIONS {
            let mut bytes = bytes(version, b"a", 0);
            bytes[3] = 0;
            assert_eq!(
                refused(&bytes, version, Side::Client),
                ReasonCode::ProtocolError
            );
        }
    }

    #[test]
    fn several_filters_and_an_identifier() {
        let mut properties = PropertiesBuf::new();
        properties
            .push(Property::SubscriptionIdentifier(200))
            .expect("fits");

        let filter = |filter, qos, retain_handling| SubscribeFilter {
            filter,
            options: SubscriptionOptions {
                qos,
                retain_handling,
                ..Default::default()
            },
        };

        let subscribe = Packet::Subscribe(Subscribe {
            packet_id: 0x0102,
            properties: properties.as_properties(),
            filters: vec![
                filter("a", QoS::AtLeastOnce, RetainHandling::Send),
                filter("#", QoS::ExactlyOnce, RetainHandling::DoNotSend),
            ],
        });

        let bytes = b"\x82\x0E\x01\x02\x03\x0B\xC8\x01\x00\x01a\x01\x00\x01#\x22";
        assert_eq!(write(&subscribe, Version::V5).as_deref(), Ok(&bytes[..]));
        assert_eq!(
            read(bytes, Version::V5, Side::Client),
            Ok(subscribe.clone())
        );

        // Before 5.0 there is only the QoS.
        let bytes = b"\x82\x0A\x01\x02\x00\x01a\x01\x00\x01#\x02";
        assert_eq!(write(&subscribe, Version::V311).as_deref(), Ok(&bytes[..]));
    }

    fn suback(reasons: Vec<ReasonCode>) -> Packet<'static> {
        Packet::Suback(Suback {
            packet_id: 1,
            properties: Properties::EMPTY,
            reasons,
        })
    }

    #[test]
    fn v3_suback_codes() {
        use ReasonCode::{GrantedQoS1, GrantedQoS2, NotAuthorized, Success, UnspecifiedError};
        let mixed = suback(vec![GrantedQoS2, NotAuthorized, Success, GrantedQoS1]);
        let bytes = [0x90, 6, 0, 1, 2, 0x80, 0, 1]; // 3.1.1: MQTT-3.9.3-1, MQTT-3.9.3-2
        assert_eq!(write(&mixed, Version::V311).as_deref(), Ok(&bytes[..]));
        let read_back = suback(vec![GrantedQoS2, UnspecifiedError, Success, GrantedQoS1]);
        assert_eq!(read(&bytes, Version::V311, Side::Server), Ok(read_back));
        for code in (0..=255).filter(|code| !matches!(code, 0..=2 | 0x80)) {
            let reason = refused(&[0x90, 3, 0, 1, code], Version::V311, Side::Server);
            assert_eq!(reason, ReasonCode::MalformedPacket);
        }
    }

    #[test]
    fn v31_10_no_failure_code() {
        let failure = suback(vec![ReasonCode::NotAuthorized]);
        assert_eq!(
            write(&failure, Version::V31),
            Err(EncodeError::NotInVersion)
        );
        let reason = refused(&[0x90, 3, 0, 1, 0x80], Version::V31, Side::Server);
        assert_eq!(reason, ReasonCode::MalformedPacket);
    }

    #[test]
    fn suback_of_5() {
        let packet = suback(vec![ReasonCode::Success, ReasonCode::NotAuthorized]);
        let bytes = [0x90, 5, 0, 1, 0, 0, 0x87];
        assert_eq!(write(&packet, Version::V5).as_deref(), Ok(&bytes[..]));
        assert_eq!(read(&bytes, Version::V5, Side::Server), Ok(packet));
        let reason = refused(&[0x90, 3, 0, 1, 0], Version::V5, Side::Server);
        assert_eq!(reason, ReasonCode::ProtocolError);
        assert_eq!(
            write(&suback(Vec::new()), Version::V5),
            Err(EncodeError::EmptyList)
        );
    }
}
