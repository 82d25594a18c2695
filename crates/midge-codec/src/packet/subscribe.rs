//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).

use crate::encode::{nonzero, properties_len, put_properties};
use crate::properties::{self, Place};
use crate::reason::Carrier;
use crate::wire::{Reader, put_field, string_len};
use crate::{
    DecodeError, EncodeError, Properties, QoS, RawPacket, ReasonCode, RetainHandling, Side, Suback,
    Subscribe, SubscribeFilter, SubscriptionOptions, Version,
};

const QOS: u8 = 0x03;
const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING: u8 = 0x30;
const RESERVED: u8 = 0xC0;

pub(crate) fn decode(raw: RawPacket<'_>, version: Version) -> Result<Subscribe<'_>, DecodeError> {
    super::expect_qos1_flags(&raw, version)?; // MQTT-3.8.1-1
    let mut reader = raw.reader();
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => properties::read(&mut reader, Place::Subscribe)?.0,
        Version::V31 | Version::V311 => Properties::EMPTY,
    };
    if reader.is_empty() {
        return Err(reader.protocol_error("SUBSCRIBE: no filter")); // MQTT-3.8.3-2
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
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
        len += string_len(filter.filter)? + 1;
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

pub(crate) fn decode_ack(raw: RawPacket<'_>, version: Version) -> Result<Suback<'_>, DecodeError> {
    raw.expect_flags(0)?;
    let mut reader = raw.reader();
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => properties::read(&mut reader, Place::Suback)?.0,
        Version::V31 | Version::V311 => Properties::EMPTY,
    };
    if reader.is_empty() {
        return Err(reader.protocol_error("SUBACK: no reason code")); // MQTT-3.8.4-6
    }
    let mut reasons = Vec::with_capacity(reader.len());
    while !reader.is_empty() {
        let start = reader;
        reasons.push(if version == Version::V5 {
            super::reason(&mut reader, Carrier::Suback, Side::Server)? // MQTT-3.9.3-2
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
