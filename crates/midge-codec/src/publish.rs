//! PUBLISH (section 3.3): the packet as decoded, and the frame that a server builds for a receiver.

use crate::{Properties, QoS, Version};

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

impl PublishFrame<'_> {
    /// Length of the whole packet in bytes, fixed header included; properties count only for 5.0.
    pub fn encoded_len(&self, version: Version) -> usize {
        crate::encode::publish_frame_len(self, version)
    }

    /// Appends everything but the payload. The caller appends exactly `payload_len` bytes.
    pub fn encode_head(&self, version: Version, out: &mut Vec<u8>) {
        crate::encode::publish_frame_head(self, version, out);
    }

    /// Appends the whole packet.
    pub fn encode_with(&self, version: Version, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert_eq!(payload.len(), self.payload_len);
        self.encode_head(version, out);
        out.extend_from_slice(payload);
    }
}
