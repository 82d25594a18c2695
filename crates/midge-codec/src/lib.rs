//! MQTT 5.0, 3.1.1 and 3.1 packets: bytes to packets and back.
//!
//! No IO, no state, no clock. Decoding borrows: a [`Packet`] points into the bytes it was read
//! from, nothing is copied and (but for the lists of SUBSCRIBE, UNSUBSCRIBE and their answers)
//! nothing is allocated. Encoding computes the exact size first.
//!
//! ```text
//!   bytes --split()--> RawPacket --decode()--> Packet<'_> --encode()--> bytes
//! ```
//!
//! ```
//! use midge_codec::{Packet, Publish, QoS, Properties, Side, Version, decode, encode, split};
//!
//! let publish = Publish {
//!     dup: false,
//!     qos: QoS::AtMostOnce,
//!     retain: false,
//!     topic: "kitchen/temperature",
//!     packet_id: 0,
//!     properties: Properties::EMPTY,
//!     payload: b"21.5",
//! };
//! let mut bytes = Vec::new();
//! encode(&Packet::Publish(publish), Version::V311, &mut bytes)?;
//!
//! // Half a packet is no error, but no packet either.
//! assert!(split(&bytes[..10], 1024)?.is_none());
//! if let Some(raw) = split(&bytes, 1024)? {
//!     let packet = decode(raw, Version::V311, Side::Client)?;
//!     assert_eq!(packet, Packet::Publish(publish));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Decoding is as strict as the specification allows, and [`DecodeError::reason`] is the reason code
//! that it names. What is not a matter of bytes (identifiers of clients, limits, the state of a
//! connection) is not looked at here.

#![forbid(unsafe_code)]

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod properties;
mod protocol;
mod publish;
mod reason;
#[cfg(test)]
mod testing;
mod topic;
mod wire;

pub use decode::{decode, decode_within};
pub use encode::{encode, encoded_len};
pub use error::{DecodeError, EncodeError};
pub use frame::{DecodeLimits, RawPacket, split};
pub use packet::connect::connect_protocol;
pub use packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, RetainHandling, Suback, Subscribe,
    SubscribeFilter, SubscriptionOptions, Unsuback, Unsubscribe, Will,
};
pub use properties::{MessageProperties, Properties, PropertiesBuf, PropertiesIter, Property};
pub use protocol::{QoS, Side, Version};
pub use publish::{Publish, PublishFrame};
pub use reason::{ReasonCode, ReasonPacket};
pub use topic::{MAX_TOPIC_BYTES, TopicError, TopicFilter, TopicName};
pub use wire::{MAX_PACKET_BYTES, MAX_VARINT};
