//! MQTT 5.0, 3.1.1 and 3.1 packets: bytes to packets and back.
//!
//! No IO, no state, no clock. Decoding borrows: a [`Packet`] points into the bytes it was read
//! from, nothing is copied and (but for the lists of SUBSCRIBE, UNSUBSCRIBE and their answers)
//! nothing is allocated. Encoding computes the exact size first.
//!
//! ```text
//!   bytes --split()--> RawPacket --decode()--> Packet<'_> --encode()--> bytes
//! ```

#![forbid(unsafe_code)]

mod decode;
mod encode;
mod error;
mod packet;
mod properties;
mod publish;
mod reason;
#[cfg(test)]
mod testing;
mod topic;
mod wire;

pub use decode::{RawPacket, Side, decode, split};
pub use encode::{encode, encoded_len};
pub use error::{DecodeError, EncodeError};
pub use packet::connect::connect_protocol;
pub use packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, QoS, RetainHandling, Suback, Subscribe,
    SubscribeFilter, SubscriptionOptions, Unsuback, Unsubscribe, Version, Will,
};
pub use properties::{MessageProperties, Properties, PropertiesBuf, PropertiesIter, Property};
pub use publish::{Publish, PublishFrame};
pub use reason::ReasonCode;
pub use topic::{MAX_TOPIC_BYTES, TopicError, TopicFilter, TopicName};
pub use wire::{MAX_PACKET_BYTES, MAX_VARINT};
