//! PUBLISH (section 3.3): the packet as decoded, and the frame that a server builds for a receiver.

use crate::encode::{nonzero, properties_len, put_properties};
use crate::properties::{self, Place, id};
use crate::wire::{MAX_VARINT, put_field, put_varint, string_len, varint_bytes, varint_len};
use crate::{
    DecodeError, EncodeError, MAX_TOPIC_BYTES, Properties, QoS, RawPacket, Side, TopicError,
    TopicName, Version,
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

#[inline]
pub(crate) fn decode<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
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
        let (properties, seen) = properties::read(&mut reader, Place::publish(sender))?;
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
