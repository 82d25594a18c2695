//! Bytes of a broker to a packet, with every rule that the bytes alone can break.

use crate::packet::{Ack, Auth, Codes, Connack, Disconnect, Kind, Message, Packet};
use crate::props::{Props, id, read};
use crate::reader::Reader;

const CONNACK_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
];
const PUBLISH_ACK_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASE_CODES: &[u8] = &[0x00, 0x92];
const SUBACK_CODES: &[u8] = &[
    0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2,
];
const UNSUBACK_CODES: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
const DISCONNECT_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];
const AUTH_CODES: &[u8] = &[0x00, 0x18];

const CONNACK_PROPS: &[u8] = &[
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2a,
];
const PUBLISH_PROPS: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26];
const ACK_PROPS: &[u8] = &[0x1f, 0x26];
const DISCONNECT_PROPS: &[u8] = &[0x1c, 0x1f, 0x26];
const AUTH_PROPS: &[u8] = &[0x15, 0x16, 0x1f, 0x26];

/// Takes one packet from the front of `bytes` and tells how long it was; `None` if it is not all
/// there yet.
///
/// # Errors
///
/// What the broker did wrong.
pub fn parse(bytes: &[u8], version: u8) -> Result<Option<(Packet, usize)>, String> {
    let Some((&first, _)) = bytes.split_first() else {
        return Ok(None);
    };

    let mut reader = Reader::new(&bytes[1..]);
    let length_bytes = bytes[1..]
        .iter()
        .take(4)
        .take_while(|byte| **byte & 0x80 != 0)
        .count()
        + 1;

    if length_bytes < 5 && bytes.len() < 1 + length_bytes {
        return Ok(None);
    }

    let length = reader.var()? as usize;
    let total = 1 + length_bytes + length;
    if bytes.len() < total {
        return Ok(None);
    }

    let body = &bytes[1 + length_bytes..total];
    let packet = body_of(first, &mut Reader::new(body), version)
        .map_err(|what| format!("{what} in {first:#04x} {body:02x?}"))?;
    Ok(Some((packet, total)))
}

fn body_of(first: u8, body: &mut Reader<'_>, version: u8) -> Result<Packet, String> {
    let kind = first >> 4;
    let flags = if kind == 6 { 2 } else { 0 };
    if kind != 3 && first & 0x0f != flags {
        return Err("wrong reserved flags".into());
    }

    let packet = match kind {
        2 => Packet::Connack(connack(body, version)?),
        3 => Packet::Publish(publish(first, body, version)?),
        4 => Packet::Ack(ack(Kind::Puback, body, version, PUBLISH_ACK_CODES)?),
        5 => Packet::Ack(ack(Kind::Pubrec, body, version, PUBLISH_ACK_CODES)?),
        6 => Packet::Ack(ack(Kind::Pubrel, body, version, RELEASE_CODES)?),
        7 => Packet::Ack(ack(Kind::Pubcomp, body, version, RELEASE_CODES)?),
        9 => Packet::Suback(suback(body, version)?),
        11 => Packet::Unsuback(unsuback(body, version)?),
        13 => Packet::Pingresp,
        14 if version == 5 => Packet::Disconnect(goodbye(body)?),
        15 if version == 5 => Packet::Auth(auth(body)?),
        _ => return Err(format!("a broker does not send packet type {kind}")),
    };

    body.end()?;
    Ok(packet)
}

fn legal(code: u8, table: &[u8]) -> Result<u8, String> {
    if table.contains(&code) {
        Ok(code)
    } else {
        Err(format!("reason code {code:#04x}"))
    }
}

fn props(body: &mut Reader<'_>, version: u8, allowed: &[u8]) -> Result<Props, String> {
    if version == 5 {
        read(body, allowed)
    } else {
        Ok(Props::default())
    }
}

fn connack(body: &mut Reader<'_>, version: u8) -> Result<Connack, String> {
    let flags = body.u8()?;
    let largest = u8::from(version != 3);
    if flags > largest {
        return Err(format!("CONNACK flags {flags:#04x}"));
    }

    let code = body.u8()?;
    if version == 5 {
        legal(code, CONNACK_CODES)?;
    } else if code > 5 {
        return Err(format!("return code {code}"));
    }

    if code != 0 && flags != 0 {
        return Err("Session Present in a refusal".into());
    }

    let props = props(body, version, CONNACK_PROPS)?;
    if props.has(id::SERVER_REFERENCE) && !matches!(code, 0x9c | 0x9d) {
        return Err(format!("Server Reference with code {code:#04x}"));
    }

    Ok(Connack {
        session_present: flags == 1,
        code,
        props,
    })
}

fn publish(first: u8, body: &mut Reader<'_>, version: u8) -> Result<Message, String> {
    let qos = first >> 1 & 3;
    let dup = first & 8 != 0;
    if qos == 3 {
        return Err("QoS 3".into());
    }
    if dup && qos == 0 {
        return Err("DUP with QoS 0".into());
    }

    let topic = body.text()?;
    if topic.contains(['+', '#']) {
        return Err(format!("wildcard in topic name {topic:?}"));
    }

    let id = if qos > 0 { body.id()? } else { 0 };
    let props = props(body, version, PUBLISH_PROPS)?;
    if topic.is_empty() && !props.has(id::TOPIC_ALIAS) {
        return Err("empty topic name".into());
    }

    let retain = first & 1 != 0;
    let payload = body.all().to_vec();
    Ok(Message {
        dup,
        qos,
        retain,
        written_topic: topic.clone(),
        topic,
        id,
        props,
        payload,
    })
}

fn ack(kind: Kind, body: &mut Reader<'_>, version: u8, codes: &[u8]) -> Result<Ack, String> {
    let id = body.id()?;
    let mut ack = Ack {
        kind,
        id,
        code: 0,
        props: Props::default(),
    };
    if version == 5 && !body.is_empty() {
        ack.code = legal(body.u8()?, codes)?;
        if !body.is_empty() {
            ack.props = read(body, ACK_PROPS)?;
        }
    }
    Ok(ack)
}

fn suback(body: &mut Reader<'_>, version: u8) -> Result<Codes, String> {
    let id = body.id()?;
    let props = props(body, version, ACK_PROPS)?;
    let codes = body.all().to_vec();
    let table = match version {
        5 => SUBACK_CODES,
        4 => &[0, 1, 2, 0x80],
        _ => &[0, 1, 2],
    };
    for code in &codes {
        legal(*code, table)?;
    }
    Ok(Codes { id, codes, props })
}

fn unsuback(body: &mut Reader<'_>, version: u8) -> Result<Codes, String> {
    let id = body.id()?;
    let mut ack = Codes {
        id,
        codes: Vec::new(),
        props: Props::default(),
    };
    if version == 5 {
        ack.props = read(body, ACK_PROPS)?;
        ack.codes = body.all().to_vec();
        for code in &ack.codes {
            legal(*code, UNSUBACK_CODES)?;
        }
    }
    Ok(ack)
}

fn goodbye(body: &mut Reader<'_>) -> Result<Disconnect, String> {
    let mut packet = Disconnect {
        code: 0,
        props: Props::default(),
    };
    if !body.is_empty() {
        packet.code = legal(body.u8()?, DISCONNECT_CODES)?;
    }
    if !body.is_empty() {
        packet.props = read(body, DISCONNECT_PROPS)?;
    }
    if packet.props.has(id::SERVER_REFERENCE) && !matches!(packet.code, 0x9c | 0x9d) {
        return Err(format!("Server Reference with code {:#04x}", packet.code));
    }
    Ok(packet)
}

fn auth(body: &mut Reader<'_>) -> Result<Auth, String> {
    let code = legal(body.u8()?, AUTH_CODES)?;
    let props = read(body, AUTH_PROPS)?;
    if !props.has(id::AUTHENTICATION_METHOD) {
        return Err("AUTH without Authentication Method".into());
    }
    Ok(Auth { code, props })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PropsBuf, Wire, packet};

    fn refused(bytes: &[u8], version: u8) -> bool {
        parse(bytes, version).is_err()
    }

    #[test]
    fn packets_within_the_rules_are_read() {
        for (bytes, version) in [
            (&[0xd0, 0][..], 5),
            (&[0x20, 3, 1, 0, 0], 5),
            (&[0x20, 2, 1, 0], 4),
            (&[0x20, 2, 0, 0], 3),
            (&[0x40, 2, 0, 1], 5),
            (&[0x40, 3, 0, 1, 0x10], 5),
            (&[0x40, 4, 0, 1, 0x87, 0], 5),
            (&[0x62, 2, 0, 1], 5),
            (&[0x30, 5, 0, 1, b'a', 0, b'x'], 5),
            (&[0x3b, 6, 0, 1, b'a', 0, 7, 0], 5),
            (&[0xe0, 0], 5),
            (&[0xe0, 1, 0x8e], 5),
            (&[0xb0, 2, 0, 1], 4),
        ] {
            let (_, size) = parse(bytes, version).expect("legal").expect("whole");
            assert_eq!(size, bytes.len());
            for end in 0..bytes.len() {
                assert_eq!(
                    parse(&bytes[..end], version),
                    Ok(None),
                    "{bytes:02x?} up to {end}"
                );
            }
        }
    }

    #[test]
    fn every_rule_of_the_bytes_is_checked() {
        for (bytes, version, what) in [
            (&[0xd0, 0x80, 0][..], 5, "long form of a length"),
            (
                &[0xd0, 0x80, 0x80, 0x80, 0x80, 1],
                5,
                "five bytes of length",
            ),
            (&[0xd1, 0], 5, "flags of PINGRESP"),
            (&[0xd0, 1, 0], 5, "body of PINGRESP"),
            (&[0x60, 2, 0, 1], 5, "flags of PUBREL"),
            (&[0x21, 3, 0, 0, 0], 5, "flags of CONNACK"),
            (&[0x20, 3, 2, 0, 0], 5, "acknowledge flags"),
            (&[0x20, 2, 1, 0], 3, "session present in 3.1"),
            (&[0x20, 2, 0, 0], 5, "no property length"),
            (&[0x20, 3, 1, 0x87, 0], 5, "session present in a refusal"),
            (&[0x20, 3, 0, 0x8b, 0], 5, "code of another packet"),
            (&[0x20, 2, 0, 6], 4, "reserved return code"),
            (&[0x36, 6, 0, 1, b'a', 0, 1, 0], 5, "QoS 3"),
            (&[0x38, 4, 0, 1, b'a', 0], 5, "DUP with QoS 0"),
            (&[0x32, 6, 0, 1, b'a', 0, 0, 0], 5, "packet identifier 0"),
            (&[0x30, 4, 0, 1, b'#', 0], 5, "wildcard"),
            (&[0x30, 4, 0, 1, 0, 0], 5, "U+0000"),
            (&[0x30, 4, 0, 1, 0xff, 0], 5, "bad UTF-8"),
            (&[0x30, 3, 0, 0, 0], 5, "empty topic"),
            (&[0x30, 4, 0, 3, b'a', 0], 5, "topic beyond the packet"),
            (&[0x40, 2, 0, 0], 5, "PUBACK 0"),
            (&[0x40, 3, 0, 1, 0x92], 5, "code of PUBREL"),
            (&[0x70, 3, 0, 1, 0x10], 5, "code of PUBACK"),
            (&[0x40, 3, 0, 1, 0], 4, "PUBACK with a code"),
            (&[0x40, 5, 0, 1, 0, 0, 0], 5, "trailing byte"),
            (&[0x90, 4, 0, 1, 0, 3], 5, "SUBACK code 3"),
            (&[0x90, 3, 0, 1, 0x80], 3, "failure in 3.1"),
            (&[0x90, 3, 0, 1, 0x87], 4, "SUBACK code of MQTT 5"),
            (&[0xb0, 4, 0, 1, 0, 1], 5, "UNSUBACK code 1"),
            (&[0xb0, 3, 0, 1, 0], 4, "UNSUBACK with a code"),
            (&[0xe0, 0], 4, "DISCONNECT before MQTT 5"),
            (&[0xe0, 1, 4], 5, "DISCONNECT code of a client"),
            (
                &[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1],
                5,
                "session expiry of a broker",
            ),
            (&[0xf0, 0], 5, "short AUTH"),
            (&[0xf0, 2, 0x18, 0], 5, "AUTH without method"),
            (&[0x10, 0], 5, "CONNECT"),
            (&[0x00, 0], 5, "type 0"),
        ] {
            assert!(refused(bytes, version), "{what}: {bytes:02x?}");
        }
    }

    #[test]
    fn properties_are_checked() {
        let publish = |props: PropsBuf| Wire::new().text("a").props(&props).packet(0x30);
        let one = PropsBuf::new;
        assert!(!refused(
            &publish(one().u8(0x01, 1).user("a", "b").user("a", "b")),
            5
        ));
        for props in [
            one().u8(0x01, 2),
            one().u8(0x01, 0).u8(0x01, 0),
            one().u16(0x23, 0),
            one().var(0x0b, 0),
            one().raw([0x0b, 0x81, 0x00]),
            one().text(0x08, "a/#"),
            one().text(0x03, [0xed, 0xa0, 0x80]),
            one().user("a", "\0"),
            one().u32(0x18, 1),
            one().u32(0x11, 1),
            one().u8(0x04, 1),
            one().raw([0x02, 0, 0]),
        ] {
            assert!(refused(&publish(props.clone()), 5), "{props:02x?}");
        }

        let connack = |code, props: PropsBuf| Wire::new().u8(0).u8(code).props(&props).packet(0x20);
        assert!(!refused(&connack(0x9c, one().text(0x1c, "other:1883")), 5));
        for (code, props) in [
            (0, one().u8(0x24, 2)),
            (0, one().u16(0x21, 0)),
            (0, one().u32(0x27, 0)),
            (0, one().text(0x1c, "other:1883")),
            (0, one().u8(0x17, 1)),
        ] {
            assert!(refused(&connack(code, props.clone()), 5), "{props:02x?}");
        }

        assert!(
            refused(&packet(0x30, [0, 1, b'a', 9, 0x01, 1]), 5),
            "block beyond the packet"
        );
    }
}
