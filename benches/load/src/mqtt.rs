//! The few packets that a load generator writes, and the one property that it reads.

/// PINGREQ.
pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
/// DISCONNECT, normal.
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// What a CONNECT says.
pub(crate) struct Connect<'a> {
    pub(crate) version: u8,
    pub(crate) id: &'a str,
    pub(crate) clean: bool,
    /// Session expiry interval in seconds (5.0 only; 0 is left out).
    pub(crate) expiry: u32,
    pub(crate) user: Option<(&'a str, &'a str)>,
}

fn varint(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let byte = (n & 0x7f) as u8;
        n >>= 7;
        out.push(if n > 0 { byte | 0x80 } else { byte });
        if n == 0 {
            return;
        }
    }
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

fn frame(header: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 5);
    out.push(header);
    varint(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

/// Encodes a CONNECT with a keep alive of 15 minutes.
pub(crate) fn connect(c: &Connect<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, b"MQTT");
    body.push(c.version);
    body.push((u8::from(c.clean) << 1) | if c.user.is_some() { 0xc0 } else { 0 });
    body.extend_from_slice(&900u16.to_be_bytes());
    if c.version == 5 {
        if c.expiry > 0 {
            body.extend_from_slice(&[5, 0x11]);
            body.extend_from_slice(&c.expiry.to_be_bytes());
        } else {
            body.push(0);
        }
    }

    string(&mut body, c.id.as_bytes());
    if let Some((user, password)) = c.user {
        string(&mut body, user.as_bytes());
        string(&mut body, password.as_bytes());
    }

    frame(0x10, &body)
}

/// Encodes a SUBSCRIBE of several filters with one maximum quality of service.
pub(crate) fn subscribe<S: AsRef<str>>(version: u8, id: u16, filters: &[S], qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    for filter in filters {
        string(&mut body, filter.as_ref().as_bytes());
        body.push(qos);
    }
    frame(0x82, &body)
}

/// Encodes a SUBSCRIBE of 5.0 with a subscription identifier, which is the packet's.
pub(crate) fn subscribe_with_id<S: AsRef<str>>(id: u16, filters: &[S]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    let mut property = vec![0x0b];
    varint(&mut property, usize::from(id));
    varint(&mut body, property.len());
    body.extend(property);
    for filter in filters {
        string(&mut body, filter.as_ref().as_bytes());
        body.push(0);
    }
    frame(0x82, &body)
}

/// Encodes a CONNECT of 5.0 with so many empty user properties.
pub(crate) fn connect_of_properties(count: usize) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x05\x02\0\0".to_vec();
    varint(&mut body, 5 * count);
    body.extend(b"\x26\0\0\0\0".repeat(count));
    string(&mut body, b"properties");
    frame(0x10, &body)
}

/// The start of a PUBLISH, up to its payload.
pub(crate) struct PublishHead {
    pub(crate) bytes: Vec<u8>,
    pub(crate) topic_at: usize,
    pub(crate) packet_id_at: usize,
}

/// Encodes all of a PUBLISH but its payload.
pub(crate) fn publish_head(
    version: u8,
    topic: &str,
    qos: u8,
    retain: bool,
    payload_len: usize,
) -> PublishHead {
    let id_len = if qos > 0 { 2 } else { 0 };
    let properties_len = usize::from(version == 5);
    let mut bytes = vec![0x30 | (qos << 1) | u8::from(retain)];
    varint(
        &mut bytes,
        2 + topic.len() + id_len + properties_len + payload_len,
    );

    let topic_at = bytes.len() + 2;
    string(&mut bytes, topic.as_bytes());

    let packet_id_at = bytes.len();
    if qos > 0 {
        bytes.extend_from_slice(&1u16.to_be_bytes());
    }
    if version == 5 {
        bytes.push(0);
    }

    PublishHead {
        bytes,
        topic_at,
        packet_id_at,
    }
}

/// The receive maximum in the property block of a 5.0 CONNACK, if it is there.
pub(crate) fn receive_maximum(block: &[u8]) -> Option<u16> {
    let mut rest = block.get(1..)?;
    while let Some((&id, value)) = rest.split_first() {
        let string_len =
            |b: &[u8]| Some(2 + usize::from(u16::from_be_bytes([*b.first()?, *b.get(1)?])));
        let len = match id {
            0x21 => return Some(u16::from_be_bytes([*value.first()?, *value.get(1)?])),
            0x11 | 0x27 => 4,
            0x22 | 0x13 => 2,
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x12 | 0x1f | 0x1a | 0x1c | 0x15 | 0x16 => string_len(value)?,
            0x26 => {
                let key = string_len(value)?;
                key + string_len(value.get(key..)?)?
            }
            _ => return None,
        };
        rest = value.get(len..)?;
    }

    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_bytes() {
        let mut c = Connect {
            version: 4,
            id: "a",
            clean: true,
            expiry: 9,
            user: None,
        };
        assert_eq!(connect(&c), b"\x10\x0d\0\x04MQTT\x04\x02\x03\x84\0\x01a");
        c.version = 5;
        assert_eq!(
            connect(&c),
            b"\x10\x13\0\x04MQTT\x05\x02\x03\x84\x05\x11\0\0\0\x09\0\x01a"
        );
    }

    #[test]
    fn packets_of_attacks() {
        let subscribe = subscribe_with_id(200, &["a"]);
        assert_eq!(subscribe, b"\x82\x0a\0\xc8\x03\x0b\xc8\x01\0\x01a\0");
        let connect = connect_of_properties(1);
        assert_eq!(
            connect,
            b"\x10\x1c\0\x04MQTT\x05\x02\0\0\x05\x26\0\0\0\0\0\x0aproperties"
        );
    }

    #[test]
    fn publish_offsets() {
        let h = publish_head(5, "t/1", 1, true, 200);
        assert_eq!(h.bytes, b"\x33\xd0\x01\0\x03t/1\0\x01\0");
        assert_eq!(&h.bytes[h.topic_at..h.topic_at + 3], b"t/1");
        assert_eq!(&h.bytes[h.packet_id_at..h.packet_id_at + 2], b"\0\x01");
    }

    #[test]
    fn receive_maximum_among_others() {
        let block = b"\x0d\x24\x01\x26\0\x01k\0\x01v\x21\0\x14";
        assert_eq!(receive_maximum(block), Some(20));
        assert_eq!(receive_maximum(&block[..9]), None);
        assert_eq!(receive_maximum(b"\0"), None);
    }
}
