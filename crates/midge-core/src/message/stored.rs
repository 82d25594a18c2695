//! A message in parts, for a store to keep.

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{MessageProperties, PropertiesBuf, QoS};

use super::{Message, MessageRef, Origin, SharedMessage};
use crate::time::Tick;

/// A message, part by part: what a store keeps of a [`SharedMessage`], and makes one of again.
///
/// ```
/// use midge_core::{Origin, SharedMessage, StoredMessage, Tick};
///
/// let mut stored = StoredMessage::new(7, "a/b", "21.5");
/// stored.origin = Origin::Client("sensor".into());
/// stored.expires = Tick(60_000);
/// let message = SharedMessage::from(stored);
/// assert_eq!((message.id(), message.topic(), message.payload()), (7, "a/b", &b"21.5"[..]));
/// assert_eq!(StoredMessage::from(&*message).origin, Origin::Client("sensor".into()));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredMessage {
    /// Number of the message, ascending in the order of acceptance; the same for all receivers.
    pub id: u64,
    /// Topic name.
    pub topic: Arc<str>,
    /// Payload.
    pub payload: Bytes,
    /// QoS that it was published with.
    pub qos: QoS,
    /// RETAIN flag that it was published with.
    pub retain: bool,
    /// Where it came from.
    pub origin: Origin,
    /// The moment when it expires, [`Tick::NEVER`] if it does not: in the time of the broker that
    /// wrote it.
    pub expires: Tick,
    /// Properties that are forwarded unaltered (section 3.3.2.3), in the order of the publisher. A
    /// store keeps [`Properties::as_bytes`](midge_codec::Properties::as_bytes), which
    /// [`Properties::from_block`](midge_codec::Properties::from_block) takes back.
    pub properties: PropertiesBuf,
}

impl StoredMessage {
    /// A message of the host at QoS 0, not retained, without expiry and properties.
    pub fn new(id: u64, topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> Self {
        Self {
            id,
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            origin: Origin::Host,
            expires: Tick::NEVER,
            properties: PropertiesBuf::new(),
        }
    }
}

impl From<&Message> for StoredMessage {
    fn from(message: &Message) -> Self {
        Self {
            id: message.id(),
            topic: message.shared_topic().map_or_else(|| "".into(), Arc::clone),
            payload: message.payload_bytes(),
            qos: message.qos(),
            retain: message.retain(),
            origin: message.origin().clone(),
            expires: message.expires(),
            properties: message.properties().into(),
        }
    }
}

impl From<StoredMessage> for SharedMessage {
    fn from(stored: StoredMessage) -> Self {
        // The forwarded ones alone: the block goes into packets as it is.
        let properties = MessageProperties::new(stored.properties.as_properties());
        let block = (properties.block_len() > 0).then(|| {
            let mut block = Vec::with_capacity(properties.block_len());
            properties.append_block(&mut block);
            block.into_boxed_slice()
        });

        let parts = MessageRef {
            backing: Some(&stored.payload),
            ..MessageRef::new(&stored.topic, &stored.payload)
        };
        Self::new(|message| {
            message.topic = Some(stored.topic.clone());
            message.block = block;
            message.payload.set(&parts, None);
            message.origin = stored.origin;
            message.expires = stored.expires;
            message.id = stored.id;
            message.qos = stored.qos;
            message.retain = stored.retain;
        })
    }
}
