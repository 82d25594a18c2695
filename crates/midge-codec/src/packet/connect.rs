//! CONNECT (section 3.1).

use crate::properties::{self, Place, properties_len, put_properties};
use crate::wire::{Reader, field_len, put_field, string_len};
use crate::{
    Connect, DecodeError, DecodeLimits, EncodeError, Properties, QoS, RawPacket, ReasonCode,
    TopicName, Version, Will,
};

const USERNAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// Bit of the protocol level that marks a bridge before 5.0: a convention of mosquitto.
const BRIDGE: u8 = 0x80;

impl Version {
    /// Version that a CONNECT with this protocol name and level asks for. No other pairs are
    /// taken (MQTT-3.1.2-1, MQTT-3.1.2-2). That of 3.1 needs the feature `mqtt31`.
    pub const fn from_protocol(name: &[u8], level: u8) -> Option<Self> {
        match (name, level) {
            (b"MQIsdp", 3) if Self::V31.is_v31() => Some(Self::V31),
            (b"MQTT", 4) => Some(Self::V311),
            (b"MQTT", 5) => Some(Self::V5),
            _ => None,
        }
    }

    /// Protocol name and level in CONNECT.
    pub const fn protocol(self) -> (&'static str, u8) {
        match self {
            Self::V31 => ("MQIsdp", 3),
            Self::V311 => ("MQTT", 4),
            Self::V5 => ("MQTT", 5),
        }
    }
}

/// Protocol name and level of a CONNECT, also of one that [`crate::decode`] refuses: the answer to
/// it depends on them. `None` if it is no CONNECT or does not go that far.
pub fn connect_protocol<'a>(raw: &RawPacket<'a>) -> Option<(&'a [u8], u8)> {
    if raw.header >> 4 != 1 {
        return None;
    }
    let mut reader = raw.reader();
    let name = reader.binary("").ok()?;
    Some((name, reader.u8("").ok()?))
}

pub(crate) fn decode(raw: RawPacket<'_>, limits: DecodeLimits) -> Result<Connect<'_>, DecodeError> {
    let mut reader = raw.reader();
    let (version, bridge) = read_version(&mut reader)?;

    // A 3.1 client may set bits that 3.1.1 reserved later, here and in the connect flags.
    if !version.is_v31() {
        raw.expect_flags(0)?;
    }

    let start = reader;
    let flags = reader.u8("connect flags: missing")?;
    if let Some(what) = flags_fault(flags, version) {
        return Err(start.malformed(what));
    }

    let Some(will_qos) = QoS::from_u8((flags & WILL_QOS) >> 3) else {
        return Err(start.malformed("connect flags: will QoS 3")); // MQTT-3.1.2-12
    };

    let keep_alive = reader.u16("keep alive: missing")?;
    let properties = match version {
        Version::V5 => properties::read(&mut reader, Place::Connect, limits)?.0,
        Version::V31 | Version::V311 => Properties::EMPTY,
    };

    // MQTT-3.1.3-1: client identifier, will, user name, password.
    let client_id = reader.string("client identifier: missing or ill-formed")?; // MQTT-3.1.3-4
    let will = if flags & WILL == 0 {
        None
    } else {
        Some(read_will(
            &mut reader,
            version,
            will_qos,
            flags & WILL_RETAIN != 0,
            limits,
        )?)
    };

    let mut username = None;
    let mut password = None;

    // In 3.1 the remaining length takes precedence over the flags.
    let may_end = version.is_v31();
    if flags & USERNAME != 0 && !(may_end && reader.is_empty()) {
        username = Some(reader.string("user name: missing or ill-formed")?); // MQTT-3.1.3-12
    }
    if flags & PASSWORD != 0 && !(may_end && reader.is_empty()) {
        password = Some(reader.binary("password: missing or cut off")?);
    }

    reader.finish("CONNECT: bytes behind the end")?; // MQTT-3.1.2-16, MQTT-3.1.2-18
    Ok(Connect {
        version,
        bridge,
        clean_start: flags & CLEAN_START != 0,
        keep_alive,
        client_id,
        properties,
        will,
        username,
        password,
    })
}

/// Reads the version, and whether the bit of a bridge is set.
fn read_version(reader: &mut Reader<'_>) -> Result<(Version, bool), DecodeError> {
    let start = *reader;
    let name = reader.binary("protocol name: missing or cut off")?;
    let level = reader.u8("protocol level: missing")?;
    let bridge = level & BRIDGE != 0;
    match Version::from_protocol(name, level & !BRIDGE) {
        // 5.0 has subscription options instead of the bit.
        Some(version) if !bridge || version != Version::V5 => Ok((version, bridge)),
        _ if std::str::from_utf8(name).is_err() || name.contains(&0) => {
            Err(start.malformed("protocol name: ill-formed"))
        }
        _ => Err(start.error(
            "protocol name or level: unknown",
            ReasonCode::UnsupportedProtocolVersion,
        )),
    }
}

fn flags_fault(flags: u8, version: Version) -> Option<&'static str> {
    if flags & RESERVED != 0 && !version.is_v31() {
        return Some("connect flags: reserved bit"); // MQTT-3.1.2-3
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        // MQTT-3.1.2-11, MQTT-3.1.2-13
        return Some("connect flags: will QoS or retain without will");
    }
    if flags & PASSWORD != 0 && flags & USERNAME == 0 && version != Version::V5 {
        return Some("connect flags: password without user name"); // 3.1.1: MQTT-3.1.2-22
    }
    None
}

fn read_will<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    qos: QoS,
    retain: bool,
    limits: DecodeLimits,
) -> Result<Will<'a>, DecodeError> {
    let properties = match version {
        Version::V5 => properties::read(reader, Place::Will, limits)?.0,
        Version::V31 | Version::V311 => Properties::EMPTY,
    };

    let start = *reader;
    let topic = reader.text("will topic: missing or ill-formed")?; // MQTT-3.1.3-11
    if let Err(error) = TopicName::new(topic) {
        return Err(start.error(error.what(), error.reason()));
    }

    let payload = reader.binary("will payload: missing or cut off")?; // MQTT-3.1.2-9
    Ok(Will {
        qos,
        retain,
        topic,
        payload,
        properties,
    })
}

fn flags(connect: &Connect<'_>) -> u8 {
    let mut flags = 0;
    if connect.clean_start {
        flags |= CLEAN_START;
    }
    if let Some(will) = &connect.will {
        flags |= WILL | (will.qos as u8) << 3;
        if will.retain {
            flags |= WILL_RETAIN;
        }
    }
    if connect.username.is_some() {
        flags |= USERNAME;
    }
    if connect.password.is_some() {
        flags |= PASSWORD;
    }
    flags
}

pub(crate) fn len(connect: &Connect<'_>) -> Result<usize, EncodeError> {
    let version = connect.version;
    let password_alone = connect.password.is_some() && connect.username.is_none();
    let v5 = version == Version::V5;
    if !v5 && password_alone || v5 && connect.bridge {
        return Err(EncodeError::NotInVersion);
    }

    let mut len = field_len(version.protocol().0.as_bytes())?
        + 4
        + properties_len(connect.properties, version)?
        + string_len(connect.client_id)?;

    if let Some(will) = &connect.will {
        len += properties_len(will.properties, version)?
            + string_len(will.topic)?
            + field_len(will.payload)?;
    }

    if let Some(username) = connect.username {
        len += string_len(username)?;
    }
    if let Some(password) = connect.password {
        len += field_len(password)?;
    }

    Ok(len)
}

pub(crate) fn put(connect: &Connect<'_>, out: &mut Vec<u8>) {
    let version = connect.version;
    let (name, level) = version.protocol();
    put_field(out, name.as_bytes());

    let level = if connect.bridge {
        level | BRIDGE
    } else {
        level
    };

    out.extend([level, flags(connect)]);
    out.extend(connect.keep_alive.to_be_bytes());
    put_properties(connect.properties, version, out);
    put_field(out, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        put_properties(will.properties, version, out);
        put_field(out, will.topic.as_bytes());
        put_field(out, will.payload);
    }

    if let Some(username) = connect.username {
        put_field(out, username.as_bytes());
    }
    if let Some(password) = connect.password {
        put_field(out, password);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{V3, packet, read, refused, write};
    use crate::{Packet, PropertiesBuf, Property, Side, split};

    /// CONNECT of this version with these flags and payload, without properties.
    fn connect(version: Version, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        let (name, level) = version.protocol();
        put_field(&mut body, name.as_bytes());
        body.extend([level, flags, 0, 60]);
        if version == Version::V5 {
            body.push(0);
        }
        body.extend(payload);
        packet(0x10, &body)
    }

    fn accepted(bytes: &[u8]) -> Connect<'_> {
        match read(bytes, Version::V5, Side::Client) {
            Ok(Packet::Connect(connect)) => connect,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn malformed(bytes: &[u8]) {
        assert_eq!(
            refused(bytes, Version::V5, Side::Client),
            ReasonCode::MalformedPacket
        );
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn a_plain_connect() {
        for version in [Version::V31, Version::V311, Version::V5] {
            let bytes = connect(version, CLEAN_START, b"\x00\x02me");
            let connect = accepted(&bytes);
            let expected = Connect {
                version,
                bridge: false,
                clean_start: true,
                keep_alive: 60,
                client_id: "me",
                properties: Properties::EMPTY,
                will: None,
                username: None,
                password: None,
            };
            assert_eq!(connect, expected);
            assert_eq!(write(&Packet::Connect(connect), Version::V311), Ok(bytes));
        }
    }

    #[test]
    fn mqtt_3_1_3_1_order_of_the_payload() {
        let mut properties = PropertiesBuf::new();
        properties
            .push(Property::SessionExpiryInterval(7))
            .expect("fits");

        let mut will_properties = PropertiesBuf::new();
        will_properties
            .push(Property::WillDelayInterval(9))
            .expect("fits");

        let mut body = b"\x00\x04MQTT\x05\xEE\x00\x0A\x05\x11\x00\x00\x00\x07".to_vec();
        body.extend(
            b"\x00\x02id\x05\x18\x00\x00\x00\x09\x00\x01w\x00\x01\xFF\x00\x01u\x00\x01\x00",
        );

        let bytes = packet(0x10, &body);
        let connect = accepted(&bytes);
        let expected = Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 10,
            client_id: "id",
            properties: properties.as_properties(),
            will: Some(Will {
                qos: QoS::AtLeastOnce,
                retain: true,
                topic: "w",
                payload: &[0xFF],
                properties: will_properties.as_properties(),
            }),
            username: Some("u"),
            password: Some(&[0]),
        };

        assert_eq!(connect, expected);
        assert_eq!(write(&Packet::Connect(connect), Version::V5), Ok(bytes));
    }

    #[test]
    fn mqtt_3_1_2_1_protocol_name() {
        for (name, level) in [
            ("mqtt", 5),
            ("MQT", 5),
            ("MQTTT", 4),
            ("", 4),
            ("MQIsdp", 4),
            ("MQIsdp", 5),
            ("MQTT", 3),
            ("MQTT", 0x83),
            ("MQIsdp", 0x84),
            ("MQTT", 0x85),
        ] {
            let mut body = Vec::new();
            put_field(&mut body, name.as_bytes());
            body.extend(b"\x00\x02\x00\x00\x00\x00\x01a");
            body[name.len() + 2] = level;

            let bytes = packet(0x10, &body);
            let reason = refused(&bytes, Version::V5, Side::Client);

            assert_eq!(
                reason,
                ReasonCode::UnsupportedProtocolVersion,
                "{name} {level}"
            );
        }
    }

    #[test]
    fn mqtt_3_1_2_2_protocol_version() {
        for level in [0, 1, 2, 6, 0x83, 0x85, 255] {
            let mut body = b"\x00\x04MQTT\x00\x02\x00\x00\x00\x00\x01a".to_vec();
            body[6] = level;
            let bytes = packet(0x10, &body);
            let reason = refused(&bytes, Version::V5, Side::Client);
            assert_eq!(reason, ReasonCode::UnsupportedProtocolVersion, "{level}");
            let raw = split(&bytes, 100).expect("well formed").expect("whole");
            assert_eq!(connect_protocol(&raw), Some((&b"MQTT"[..], level)));
        }
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn the_bit_of_a_bridge() {
        for version in V3 {
            let mut bytes = connect(version, CLEAN_START, b"\x00\x02me");
            let level = 4 + version.protocol().0.len();
            bytes[level] |= BRIDGE;
            let bridge = accepted(&bytes);
            assert_eq!((bridge.version, bridge.bridge), (version, true));
            assert_eq!(write(&Packet::Connect(bridge), version), Ok(bytes.clone()));
            let v5 = Connect {
                version: Version::V5,
                ..bridge
            };
            let refused = Err(EncodeError::NotInVersion);
            assert_eq!(write(&Packet::Connect(v5), Version::V5), refused);
        }
    }

    #[test]
    fn protocol_of_what_is_no_connect() {
        for bytes in [
            &b"\x10\x05\x00\x04MQT"[..],
            b"\x10\x06\x00\x04MQTT",
            b"\xC0\x00",
        ] {
            let raw = split(bytes, 100).expect("well formed").expect("whole");
            assert_eq!(connect_protocol(&raw), None);
        }
        malformed(b"\x10\x06\x00\x04MQTT");
        malformed(b"\x10\x07\x00\x04MQT\xFF\x04");
    }

    #[test]
    fn mqtt_3_1_2_3_reserved_connect_flag() {
        for version in [Version::V311, Version::V5] {
            malformed(&connect(version, CLEAN_START | RESERVED, b"\x00\x01a"));
        }
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn v31_05_reserved_connect_flag_is_tolerated() {
        assert!(accepted(&connect(Version::V31, CLEAN_START | RESERVED, b"\x00\x01a")).clean_start);
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn v31_06_fixed_header_flags_are_tolerated() {
        for flags in 0..16 {
            let mut bytes = connect(Version::V31, CLEAN_START, b"\x00\x01a");
            bytes[0] |= flags;
            accepted(&bytes);
        }
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn v31_07_remaining_length_takes_precedence() {
        let bytes = connect(Version::V31, USERNAME | PASSWORD, b"\x00\x01a");
        assert_eq!(
            (accepted(&bytes).username, accepted(&bytes).password),
            (None, None)
        );
        let bytes = connect(Version::V31, USERNAME | PASSWORD, b"\x00\x01a\x00\x01u");
        assert_eq!(
            (accepted(&bytes).username, accepted(&bytes).password),
            (Some("u"), None)
        );
        // But a string that is cut off is none that is missing.
        malformed(&connect(Version::V31, USERNAME, b"\x00\x01a\x00"));
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn mqtt_3_1_2_9_will_needs_topic_and_payload() {
        for version in [Version::V31, Version::V311] {
            malformed(&connect(version, WILL, b"\x00\x01a"));
            malformed(&connect(version, WILL, b"\x00\x01a\x00\x01t"));
            accepted(&connect(version, WILL, b"\x00\x01a\x00\x01t\x00\x00"));
        }
        malformed(&connect(Version::V5, WILL, b"\x00\x01a"));
        malformed(&connect(Version::V5, WILL, b"\x00\x01a\x00"));
        malformed(&connect(Version::V5, WILL, b"\x00\x01a\x00\x00\x01t"));
        accepted(&connect(
            Version::V5,
            WILL,
            b"\x00\x01a\x00\x00\x01t\x00\x00",
        ));
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn mqtt_3_1_2_11_and_13_no_will_no_will_flags() {
        for version in [Version::V31, Version::V311, Version::V5] {
            for flags in [0x0A, 0x12, 0x22] {
                malformed(&connect(version, flags, b"\x00\x01a"));
            }
        }
    }

    #[test]
    fn mqtt_3_1_2_12_will_qos_3() {
        malformed(&connect(
            Version::V5,
            0x1E,
            b"\x00\x01a\x00\x00\x01t\x00\x00",
        ));
        malformed(&connect(Version::V311, 0x1E, b"\x00\x01a\x00\x01t\x00\x00"));
    }

    #[test]
    fn mqtt_3_1_2_16_to_19_user_name_and_password() {
        for version in [Version::V311, Version::V5] {
            malformed(&connect(version, CLEAN_START, b"\x00\x01a\x00\x01u"));
            malformed(&connect(version, USERNAME, b"\x00\x01a"));
            malformed(&connect(version, USERNAME, b"\x00\x01a\x00\x01u\x00\x01p"));
            malformed(&connect(
                version,
                USERNAME | PASSWORD,
                b"\x00\x01a\x00\x01u",
            ));
        }
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn password_without_user_name() {
        let bytes = connect(Version::V5, PASSWORD, b"\x00\x01a\x00\x01p");
        let only_password = accepted(&bytes);
        assert_eq!(
            (only_password.username, only_password.password),
            (None, Some(&b"p"[..]))
        );

        for version in V3 {
            // 3.1.1: MQTT-3.1.2-22
            malformed(&connect(version, PASSWORD, b"\x00\x01a\x00\x01p"));
            let connect = Connect {
                version,
                ..only_password
            };
            assert_eq!(
                write(&Packet::Connect(connect), version),
                Err(EncodeError::NotInVersion)
            );
        }
    }

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn mqtt_3_1_3_3_client_identifier_is_there() {
        for version in [Version::V31, Version::V311, Version::V5] {
            malformed(&connect(version, CLEAN_START, b""));
            assert_eq!(
                accepted(&connect(version, CLEAN_START, b"\x00\x00")).client_id,
                ""
            );
        }
    }

    #[test]
    fn mqtt_3_1_3_11_will_topic() {
        for (topic, reason) in [
            (&b"\x00\x03a/#"[..], ReasonCode::TopicNameInvalid),
            (b"\x00\x01+", ReasonCode::TopicNameInvalid),
            (b"\x00\x00", ReasonCode::MalformedPacket),
            (b"\x00\x01\x00", ReasonCode::MalformedPacket),
            (b"\x00\x01\xFF", ReasonCode::MalformedPacket),
        ] {
            let payload = [b"\x00\x01a", topic, b"\x00\x00"].concat();
            let bytes = connect(Version::V311, WILL, &payload);
            assert_eq!(refused(&bytes, Version::V311, Side::Client), reason);
        }
    }

    #[test]
    fn mqtt_3_1_4_1_truncated_anywhere() {
        let mut body = b"\x00\x04MQTT\x05\xEE\x00\x0A\x05\x11\x00\x00\x00\x07".to_vec();
        body.extend(
            b"\x00\x02id\x05\x18\x00\x00\x00\x09\x00\x01w\x00\x01\xFF\x00\x01u\x00\x01\x00",
        );
        accepted(&packet(0x10, &body));
        for len in 0..body.len() {
            malformed(&packet(0x10, &body[..len]));
        }
        body.push(0);
        malformed(&packet(0x10, &body));
    }

    #[test]
    fn fields_that_cannot_be_encoded() {
        let long = "x".repeat(65_536);
        let bytes = connect(Version::V5, CLEAN_START, b"\x00\x01a");
        let good = accepted(&bytes);

        for (connect, error) in [
            (
                Connect {
                    client_id: &long,
                    ..good
                },
                EncodeError::FieldTooLong,
            ),
            (
                Connect {
                    username: Some(&long),
                    ..good
                },
                EncodeError::FieldTooLong,
            ),
            (
                Connect {
                    password: Some(long.as_bytes()),
                    ..good
                },
                EncodeError::FieldTooLong,
            ),
            (
                Connect {
                    client_id: "a\0",
                    ..good
                },
                EncodeError::NulCharacter,
            ),
        ] {
            assert_eq!(write(&Packet::Connect(connect), Version::V5), Err(error));
        }
    }
}
