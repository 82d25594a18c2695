//! CONNECT (section 3.1).

use crate::encode::{properties_len, put_properties};
use crate::properties::{self, Place};
use crate::wire::{Reader, field_len, put_field, string_len};
use crate::{
    Connect, DecodeError, EncodeError, Properties, QoS, RawPacket, ReasonCode, TopicName, Version,
    Will,
};

const USERNAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

impl Version {
    /// Version that a CONNECT with this protocol name and level asks for. No other pairs are
    /// taken (MQTT-3.1.2-1, MQTT-3.1.2-2).
    pub const fn from_protocol(name: &[u8], level: u8) -> Option<Self> {
        match (name, level) {
            (b"MQIsdp", 3) => Some(Self::V31),
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

pub(crate) fn decode(raw: RawPacket<'_>) -> Result<Connect<'_>, DecodeError> {
    let mut reader = raw.reader();
    let version = read_version(&mut reader)?;
    // A 3.1 client may set bits that 3.1.1 reserved later, here and in the connect flags.
    if version != Version::V31 {
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
        Version::V5 => properties::read(&mut reader, Place::Connect)?.0,
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
        )?)
    };
    let mut username = None;
    let mut password = None;
    // In 3.1 the remaining length takes precedence over the flags.
    let may_end = version == Version::V31;
    if flags & USERNAME != 0 && !(may_end && reader.is_empty()) {
        username = Some(reader.string("user name: missing or ill-formed")?); // MQTT-3.1.3-12
    }
    if flags & PASSWORD != 0 && !(may_end && reader.is_empty()) {
        password = Some(reader.binary("password: missing or cut off")?);
    }
    reader.finish("CONNECT: bytes behind the end")?; // MQTT-3.1.2-16, MQTT-3.1.2-18
    Ok(Connect {
        version,
        clean_start: flags & CLEAN_START != 0,
        keep_alive,
        client_id,
        properties,
        will,
        username,
        password,
    })
}

fn read_version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let start = *reader;
    let name = reader.binary("protocol name: missing or cut off")?;
    let level = reader.u8("protocol level: missing")?;
    match Version::from_protocol(name, level) {
        Some(version) => Ok(version),
        None if std::str::from_utf8(name).is_err() || name.contains(&0) => {
            Err(start.malformed("protocol name: ill-formed"))
        }
        None => Err(start.error(
            "protocol name or level: unknown",
            ReasonCode::UnsupportedProtocolVersion,
        )),
    }
}

fn flags_fault(flags: u8, version: Version) -> Option<&'static str> {
    if flags & RESERVED != 0 && version != Version::V31 {
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
) -> Result<Will<'a>, DecodeError> {
    let properties = match version {
        Version::V5 => properties::read(reader, Place::Will)?.0,
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
    if version != Version::V5 && connect.password.is_some() && connect.username.is_none() {
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
