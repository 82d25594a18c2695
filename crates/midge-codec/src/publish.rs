//! PUBLISH (section 3.3): the packet as decoded, and the frame that a server builds for a receiver.

use crate::properties::{self, Place, id, properties_len, put_properties};
use crate::wire::{
    MAX_VARINT, nonzero, put_field, put_varint, string_len, varint_bytes, varint_len,
};
use crate::{
    DecodeError, DecodeLimits, EncodeError, MAX_TOPIC_BYTES, Properties, QoS, RawPacket, Side,
    TopicError, TopicName, Version,
};

const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

/// PUBLISH as decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// DUP flag.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic name: a valid [`crate::TopicName`], or empty (5.0 only) when a topic alias stands for it.
    pub topic: &'a str,
    /// Packet identifier; 0 if and only if the QoS is 0.
    pub packet_id: u16,
    /// Properties, validated for PUBLISH; empty before 5.0.
    pub properties: Properties<'a>,
    /// Payload.
    pub payload: &'a [u8],
}

/// A PUBLISH put together for one receiver from a message's parts, without building a property list.
///
/// The properties of the message itself travel as an encoded block (`block`, see
/// [`crate::MessageProperties`]); expiry, alias and subscription identifiers, which differ by
/// receiver or time, stand beside it.
#[derive(Clone, Copy, Debug)]
pub struct PublishFrame<'a> {
    /// DUP flag.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic name, empty when `topic_alias` stands for it.
    pub topic: &'a str,
    /// Packet identifier, ignored at QoS 0.
    pub packet_id: u16,
    /// Topic alias for this receiver.
    pub topic_alias: Option<u16>,
    /// Remaining message expiry interval in seconds.
    pub message_expiry: Option<u32>,
    /// Subscription identifiers of this receiver.
    pub subscription_ids: &'a [u32],
    /// Encoded properties that are forwarded unaltered, without length prefix.
    pub block: &'a [u8],
    /// Length of the payload in bytes; the payload itself is appended by the caller or by
    /// [`PublishFrame::encode_with`].
    pub payload_len: usize,
}

// The hot path of a broker. As a call it costs twice as much, because the result is copied into
// the `Packet`.
#[inline(always)]
pub(crate) fn decode<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
    limits: DecodeLimits,
) -> Result<Publish<'a>, DecodeError> {
    let Some(qos) = QoS::from_u8((raw.header >> 1) & 3) else {
        return Err(raw.bad_flags()); // MQTT-3.3.1-4
    };

    let dup = raw.header & DUP != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(raw.bad_flags()); // MQTT-3.3.1-2
    }

    let mut reader = raw.reader();
    let start = reader;
    let topic = reader.text("topic name: missing or ill-formed")?; // MQTT-3.3.2-1
    match TopicName::new(topic) {
        Ok(_) | Err(TopicError::Empty) => {}
        Err(error) => return Err(start.error(error.what(), error.reason())), // MQTT-3.3.2-2
    }

    let packet_id = if qos == QoS::AtMostOnce {
        0
    } else {
        reader.packet_id()?
    };

    let mut aliased = false;
    let properties = if version == Version::V5 {
        let (properties, seen) = properties::read(&mut reader, Place::publish(sender), limits)?;
        aliased = seen.topic_alias();
        properties
    } else {
        Properties::EMPTY
    };

    // An alias may stand for the topic.
    if topic.is_empty() && !aliased {
        return Err(start.protocol_error("topic name: empty without alias"));
    }

    let retain = raw.header & RETAIN != 0;
    Ok(Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

pub(crate) fn header(dup: bool, qos: QoS, retain: bool) -> u8 {
    // DUP is never set at QoS 0 (MQTT-3.3.1-2).
    let dup = dup && qos != QoS::AtMostOnce;
    0x30 | (u8::from(dup) << 3) | ((qos as u8) << 1) | u8::from(retain)
}

pub(crate) fn len(publish: &Publish<'_>, version: Version) -> Result<usize, EncodeError> {
    let id_len = match publish.qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce | QoS::ExactlyOnce => {
            nonzero(publish.packet_id)?;
            2
        }
    };
    Ok(string_len(publish.topic)?
        + id_len
        + properties_len(publish.properties, version)?
        + publish.payload.len())
}

pub(crate) fn put(publish: &Publish<'_>, version: Version, out: &mut Vec<u8>) {
    put_field(out, publish.topic.as_bytes());
    if publish.qos != QoS::AtMostOnce {
        out.extend(publish.packet_id.to_be_bytes());
    }
    put_properties(publish.properties, version, out);
    out.extend_from_slice(publish.payload);
}

impl PublishFrame<'_> {
    /// Length of the whole packet in bytes, fixed header included; properties count only for 5.0.
    #[inline]
    pub fn encoded_len(&self, version: Version) -> usize {
        let remaining = self.lengths(version).remaining;
        1 + varint_len(clamp(remaining)) + remaining
    }

    /// Appends everything but the payload. The caller appends exactly `payload_len` bytes.
    ///
    /// The topic has to be a valid [`TopicName`] or empty, and the whole packet no longer than
    /// [`crate::MAX_PACKET_BYTES`]: this is not checked again for every receiver.
    #[inline]
    pub fn encode_head(&self, version: Version, out: &mut Vec<u8>) {
        let lengths = self.lengths(version);
        out.reserve(5 + lengths.remaining - self.payload_len);
        self.put_head(lengths, out);
    }

    /// Appends the whole packet; see [`PublishFrame::encode_head`].
    #[inline]
    pub fn encode_with(&self, version: Version, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert_eq!(payload.len(), self.payload_len);
        let lengths = self.lengths(version);
        out.reserve(5 + lengths.remaining);
        self.put_head(lengths, out);
        out.extend_from_slice(payload);
    }

    #[inline]
    fn lengths(&self, version: Version) -> Lengths {
        let id_len = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let remaining = 2 + self.topic.len() + id_len + self.payload_len;
        if version != Version::V5 {
            return Lengths {
                remaining,
                properties: None,
            };
        }
        let properties = self.properties_len();
        let prefix = varint_len(clamp(properties));
        Lengths {
            remaining: remaining + prefix + properties,
            properties: Some(properties),
        }
    }

    #[inline]
    fn properties_len(&self) -> usize {
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry.is_some() { 5 } else { 0 };
        let ids: usize = self
            .subscription_ids
            .iter()
            .map(|id| 1 + varint_len(*id))
            .sum();
        self.block.len() + alias + expiry + ids
    }

    /// Appends the head to a buffer that has room for it.
    #[inline]
    fn put_head(&self, lengths: Lengths, out: &mut Vec<u8>) {
        debug_assert!(lengths.remaining <= MAX_VARINT as usize);
        debug_assert!(self.topic.len() <= MAX_TOPIC_BYTES);

        let header = header(self.dup, self.qos, self.retain);
        let [t0, t1] = (self.topic.len() as u16).to_be_bytes();
        let ([a, b, c, d], len) = varint_bytes(clamp(lengths.remaining));

        // Whole arrays, because every append has a price here.
        match len {
            1 => out.extend_from_slice(&[header, a, t0, t1]),
            2 => out.extend_from_slice(&[header, a, b, t0, t1]),
            3 => out.extend_from_slice(&[header, a, b, c, t0, t1]),
            _ => out.extend_from_slice(&[header, a, b, c, d, t0, t1]),
        }

        out.extend_from_slice(self.topic.as_bytes());
        if self.qos != QoS::AtMostOnce {
            out.extend_from_slice(&self.packet_id.to_be_bytes());
        }

        if let Some(properties) = lengths.properties {
            if properties == 0 {
                out.push(0); // MQTT-2.2.2-1
            } else {
                self.put_properties(properties, out);
            }
        }
    }

    #[inline(never)]
    fn put_properties(&self, len: usize, out: &mut Vec<u8>) {
        put_varint(out, clamp(len));
        if let Some(alias) = self.topic_alias {
            let [a, b] = alias.to_be_bytes();
            out.extend_from_slice(&[id::TOPIC_ALIAS, a, b]);
        }
        if let Some(expiry) = self.message_expiry {
            let [a, b, c, d] = expiry.to_be_bytes();
            out.extend_from_slice(&[id::MESSAGE_EXPIRY_INTERVAL, a, b, c, d]);
        }
        for subscription_id in self.subscription_ids {
            out.push(id::SUBSCRIPTION_IDENTIFIER);
            put_varint(out, *subscription_id);
        }
        out.extend_from_slice(self.block);
    }
}

/// Lengths that are needed before the first byte is written.
#[derive(Clone, Copy)]
struct Lengths {
    remaining: usize,
    /// Of the properties without their length; `None` before 5.0.
    properties: Option<usize>,
}

/// A length as an integer of the wire. None of those that can be sent is cut.
#[inline]
fn clamp(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ALL_VERSIONS, V3, packet, read, refused, write};
    use crate::{Packet, PropertiesBuf, Property, ReasonCode};

    const PLAIN: Publish<'static> = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a/b",
        packet_id: 0,
        properties: Properties::EMPTY,
        payload: b"hi",
    };

    const FRAME: PublishFrame<'static> = PublishFrame {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a/b",
        packet_id: 7,
        topic_alias: None,
        message_expiry: None,
        subscription_ids: &[],
        block: &[],
        payload_len: 2,
    };

    #[test]
    fn mqtt_2_2_1_2_no_identifier_at_qos_0() {
        for version in V3 {
            let bytes = b"\x30\x07\x00\x03a/bhi";
            assert_eq!(
                write(&Packet::Publish(PLAIN), version).as_deref(),
                Ok(&bytes[..])
            );
            assert_eq!(
                read(bytes, version, Side::Client),
                Ok(Packet::Publish(PLAIN))
            );
        }

        let bytes = b"\x30\x08\x00\x03a/b\x00hi";
        assert_eq!(
            write(&Packet::Publish(PLAIN), Version::V5).as_deref(),
            Ok(&bytes[..])
        );
        assert_eq!(
            read(bytes, Version::V5, Side::Server),
            Ok(Packet::Publish(PLAIN))
        );
    }

    #[test]
    fn all_flags() {
        for flags in 0..16 {
            let qos = (flags >> 1) & 3;
            let mut body = b"\x00\x03a/b".to_vec();

            if qos > 0 {
                body.extend([0x12, 0x34]);
            }

            let bytes = packet(0x30 | flags, &body);

            for version in V3 {
                // MQTT-3.3.1-4, MQTT-3.3.1-2
                if qos == 3 || flags & 0x0E == 0x08 {
                    let reason = refused(&bytes, version, Side::Client);
                    assert_eq!(reason, ReasonCode::MalformedPacket);
                    continue;
                }
                let Ok(Packet::Publish(publish)) = read(&bytes, version, Side::Client) else {
                    panic!("{bytes:02X?}");
                };
                assert_eq!(publish.dup, flags & 8 != 0);
                assert_eq!(publish.qos as u8, qos);
                assert_eq!(publish.retain, flags & 1 != 0);
                assert_eq!(publish.packet_id, if qos > 0 { 0x1234 } else { 0 });
                assert!(publish.payload.is_empty());
                assert_eq!(write(&Packet::Publish(publish), version), Ok(bytes.clone()));
            }
        }
    }

    #[test]
    fn mqtt_2_2_1_3_packet_identifier_0() {
        for version in ALL_VERSIONS {
            for header in [0x32, 0x34] {
                let bytes = packet(header, b"\x00\x01a\x00\x00\x00");
                assert_eq!(
                    refused(&bytes, version, Side::Client),
                    ReasonCode::ProtocolError
                );
            }
            let publish = Publish {
                qos: QoS::AtLeastOnce,
                ..PLAIN
            };
            let result = write(&Packet::Publish(publish), version);
            assert_eq!(result, Err(EncodeError::PacketIdZero));
        }
    }

    #[test]
    fn topics() {
        for (topic, reason) in [
            (&b"\x00\x03a/+\x00"[..], ReasonCode::TopicNameInvalid), // MQTT-3.3.2-2
            (b"\x00\x01#\x00", ReasonCode::TopicNameInvalid),
            (b"\x00\x03a+b\x00", ReasonCode::TopicNameInvalid),
            (b"\x00\x02a\x00\x00", ReasonCode::MalformedPacket), // MQTT-4.7.3-2
            (b"\x00\x02\xC0\x80\x00", ReasonCode::MalformedPacket), // MQTT-3.3.2-1
            (b"\x00\x09a\x00", ReasonCode::MalformedPacket),
            (b"\x00", ReasonCode::MalformedPacket),
            (b"", ReasonCode::MalformedPacket),
            (b"\x00\x00\x00", ReasonCode::ProtocolError), // MQTT-4.7.3-1
        ] {
            for version in ALL_VERSIONS {
                let bytes = packet(0x30, topic);
                assert_eq!(refused(&bytes, version, Side::Client), reason, "{topic:?}");
            }
        }
    }

    #[test]
    fn an_alias_stands_for_a_topic() {
        let bytes = b"\x30\x08\x00\x00\x03\x23\x00\x05hi";
        let Ok(Packet::Publish(publish)) = read(bytes, Version::V5, Side::Client) else {
            panic!("refused");
        };
        assert_eq!(
            (publish.topic, publish.properties.topic_alias()),
            ("", Some(5))
        );
        // MQTT-3.3.2-8
        let bytes = b"\x30\x08\x00\x00\x03\x23\x00\x00hi";
        let reason = refused(bytes, Version::V5, Side::Client);
        assert_eq!(reason, ReasonCode::TopicAliasInvalid);
    }

    #[test]
    fn mqtt_3_3_4_6_no_subscription_identifier_from_a_client() {
        let bytes = b"\x30\x06\x00\x01a\x02\x0B\x05";
        assert_eq!(
            refused(bytes, Version::V5, Side::Client),
            ReasonCode::ProtocolError
        );
        assert!(read(bytes, Version::V5, Side::Server).is_ok());
    }

    #[test]
    fn mqtt_2_2_2_1_property_length_is_there() {
        let reason = refused(b"\x30\x03\x00\x01a", Version::V5, Side::Client);
        assert_eq!(reason, ReasonCode::MalformedPacket);
        let reason = refused(b"\x32\x05\x00\x01a\x00\x01", Version::V5, Side::Client);
        assert_eq!(reason, ReasonCode::MalformedPacket);
    }

    #[test]
    fn frames_before_5_have_no_properties() {
        let frame = PublishFrame {
            qos: QoS::ExactlyOnce,
            retain: true,
            dup: true,
            topic_alias: Some(1),
            message_expiry: Some(2),
            subscription_ids: &[3],
            block: &[0x01, 0x01],
            ..FRAME
        };
        for version in V3 {
            let mut out = Vec::new();
            frame.encode_with(version, b"hi", &mut out);
            assert_eq!(out, b"\x3D\x09\x00\x03a/b\x00\x07hi");
            assert_eq!(frame.encoded_len(version), out.len());
        }
    }

    #[test]
    fn frames_of_5_decode_to_their_parts() {
        let mut block = PropertiesBuf::new();
        block
            .push(Property::ContentType("text/plain"))
            .expect("fits");
        block.push(Property::UserProperty("k", "v")).expect("fits");

        let frame = PublishFrame {
            qos: QoS::AtLeastOnce,
            topic: "",
            topic_alias: Some(1),
            message_expiry: Some(2),
            subscription_ids: &[3, 200, 268_435_455],
            block: block.as_properties().as_bytes(),
            ..FRAME
        };

        let mut out = Vec::new();
        frame.encode_with(Version::V5, b"hi", &mut out);
        assert_eq!(frame.encoded_len(Version::V5), out.len());

        let Ok(Packet::Publish(publish)) = read(&out, Version::V5, Side::Server) else {
            panic!("refused: {out:02X?}");
        };

        assert_eq!((publish.packet_id, publish.payload), (7, &b"hi"[..]));

        let properties: Vec<_> = publish.properties.iter().collect();
        assert_eq!(
            properties,
            [
                Property::TopicAlias(1),
                Property::MessageExpiryInterval(2),
                Property::SubscriptionIdentifier(3),
                Property::SubscriptionIdentifier(200),
                Property::SubscriptionIdentifier(268_435_455),
                Property::ContentType("text/plain"),
                Property::UserProperty("k", "v"),
            ]
        );
    }

    #[test]
    fn frames_of_every_length_of_length() {
        for payload_len in [
            0, 1, 121, 122, 123, 16_376, 16_377, 16_378, 2_097_144, 2_097_145,
        ] {
            let payload = vec![9; payload_len];
            for version in ALL_VERSIONS {
                let frame = PublishFrame {
                    payload_len,
                    ..FRAME
                };
                let mut out = Vec::new();
                frame.encode_with(version, &payload, &mut out);

                let publish = Packet::Publish(Publish {
                    payload: &payload,
                    ..PLAIN
                });
                assert_eq!(write(&publish, version).as_ref(), Ok(&out));
                assert_eq!(frame.encoded_len(version), out.len());
            }
        }
    }

    #[test]
    fn mqtt_3_3_1_2_dup_is_never_sent_at_qos_0() {
        let mut out = Vec::new();
        PublishFrame { dup: true, ..FRAME }.encode_with(Version::V311, b"hi", &mut out);
        assert_eq!(out[0], 0x30);
        let publish = Publish { dup: true, ..PLAIN };
        assert!(write(&Packet::Publish(publish), Version::V5).is_ok_and(|bytes| bytes[0] == 0x30));
    }

    #[test]
    fn a_head_reserves_once() {
        let mut out = Vec::new();
        FRAME.encode_with(Version::V5, b"hi", &mut out);
        let capacity = out.capacity();
        let mut head = Vec::with_capacity(capacity);
        FRAME.encode_head(Version::V5, &mut head);
        assert_eq!(head.capacity(), capacity);
        assert_eq!(out.strip_suffix(b"hi"), Some(&head[..]));
    }

    #[test]
    fn too_long_to_be_sent() {
        let topic = "x".repeat(65_536);
        let publish = Publish {
            topic: &topic,
            ..PLAIN
        };

        let result = write(&Packet::Publish(publish), Version::V311);
        assert_eq!(result, Err(EncodeError::FieldTooLong));

        // 5 bytes are the topic; the longest payload of 3.1.1 fits, of 5.0 it does not.
        let payload = vec![0; MAX_VARINT as usize - 5];
        let packet = Packet::Publish(Publish {
            payload: &payload,
            ..PLAIN
        });

        let len = crate::encoded_len(&packet, Version::V311);
        assert_eq!(len, Ok(crate::MAX_PACKET_BYTES));
        assert_eq!(
            write(&packet, Version::V5),
            Err(EncodeError::PacketTooLarge)
        );

        let frame = PublishFrame {
            payload_len: payload.len(),
            ..FRAME
        };

        assert!(frame.encoded_len(Version::V5) > crate::MAX_PACKET_BYTES);
    }
}
