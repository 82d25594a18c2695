//! A message on its way: immutable, shared between all its receivers.

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{MessageProperties, Properties, QoS};

use crate::payload::Payload;
use crate::receipt::Tracker;
use crate::shared_message::SharedMessage;
use crate::time::Tick;

/// Payloads from this size on are shared between receivers instead of copied.
pub(crate) const SHARE_FROM: usize = 8 * 1024;

/// What one queued message costs beyond its bytes, for the accounting of budgets.
pub(crate) const MESSAGE_OVERHEAD: usize = 160;

/// Where a message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Published by this client.
    Client(Arc<str>),
    /// Published by the host program.
    Host,
    /// The will of this client.
    Will(Arc<str>),
    /// Made by the broker itself: the `$SYS` topics.
    Broker,
    /// Brought by a bridge of this name.
    Bridge(Arc<str>),
}

impl Origin {
    /// The client in whose name the message was published.
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::Client(id) | Self::Will(id) => Some(id),
            Self::Host | Self::Broker | Self::Bridge(_) => None,
        }
    }
}

/// A message, never altered. [`SharedMessage`] is a reference to one.
#[derive(Debug)]
pub struct Message {
    topic: Option<Arc<str>>,
    /// Encoded properties, if there are any.
    block: Option<Box<[u8]>>,
    payload: Payload,
    origin: Origin,
    expires: Tick,
    id: u64,
    tracker: Option<Arc<Tracker>>,
    qos: QoS,
    retain: bool,
}

impl Message {
    /// What is in memory that waits for the next message.
    pub(crate) const NOTHING: Self = Self {
        topic: None,
        block: None,
        payload: Payload::EMPTY,
        origin: Origin::Broker,
        expires: Tick::NEVER,
        id: 0,
        tracker: None,
        qos: QoS::AtMostOnce,
        retain: false,
    };

    /// Lets go of everything. What is left of a payload is written over by the next one.
    pub(crate) fn clear(&mut self) {
        self.topic = None;
        self.block = None;
        self.payload.clear();
        self.origin = Origin::Broker;
        self.tracker = None;
    }

    /// Topic name.
    pub fn topic(&self) -> &str {
        self.topic.as_deref().unwrap_or_default()
    }

    pub(crate) fn shared_topic(&self) -> Option<&Arc<str>> {
        self.topic.as_ref()
    }

    /// Payload.
    pub fn payload(&self) -> &[u8] {
        self.payload.as_slice()
    }

    /// The payload as shared bytes; one that stands in the message itself is copied.
    pub fn payload_bytes(&self) -> Bytes {
        self.payload.to_bytes()
    }

    /// The buffer of the payload, if it has one.
    pub(crate) fn backing(&self) -> Option<&Bytes> {
        self.payload.shared()
    }

    /// QoS that it was published with.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// RETAIN flag that it was published with.
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Properties that are forwarded unaltered (section 3.3.2.3), in the order of the publisher.
    pub fn properties(&self) -> Properties<'_> {
        Properties::from_block(self.block())
    }

    /// Number of the message in this hub, ascending in the order of acceptance; 0 for messages
    /// that no session had to keep.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The moment when it expires, [`Tick::NEVER`] if it does not.
    pub fn expires(&self) -> Tick {
        self.expires
    }

    /// Remaining message expiry interval in seconds, rounded up (MQTT-3.3.2-6).
    pub fn remaining_expiry(&self, now: Tick) -> Option<u32> {
        (self.expires != Tick::NEVER)
            .then(|| u32::try_from(now.until(self.expires).div_ceil(1000)).unwrap_or(u32::MAX))
    }

    pub(crate) fn is_expired(&self, now: Tick) -> bool {
        now >= self.expires
    }

    pub(crate) fn block(&self) -> &[u8] {
        self.block.as_deref().unwrap_or_default()
    }

    pub(crate) fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.tracker.as_ref()
    }

    /// Bytes that it counts for in budgets.
    pub(crate) fn cost(&self) -> usize {
        self.topic().len() + self.block().len() + self.payload().len() + MESSAGE_OVERHEAD
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::NOTHING
    }
}

/// A message before it is routed: borrowed parts, made into a [`Message`] only when somebody has
/// to keep it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MessageRef<'a> {
    /// Topic name, valid and not empty.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// The buffer that holds `payload`, if it is worth sharing.
    pub backing: Option<&'a Bytes>,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Message expiry interval in seconds.
    pub expiry: Option<u32>,
    /// Properties; only those that are forwarded unaltered matter here.
    pub properties: MessageProperties<'a>,
}

impl<'a> MessageRef<'a> {
    /// A message at QoS 0 without properties.
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            topic,
            payload,
            backing: None,
            qos: QoS::AtMostOnce,
            retain: false,
            expiry: None,
            properties: MessageProperties::default(),
        }
    }
}

impl MessageRef<'_> {
    pub(crate) fn expires(&self, now: Tick) -> Tick {
        self.expiry
            .map_or(Tick::NEVER, |seconds| now.after_s(u64::from(seconds)))
    }

    /// Whether the buffer of the payload holds nothing else.
    pub(crate) fn has_own_buffer(&self) -> bool {
        self.backing
            .is_some_and(|backing| backing.len() == self.payload.len())
    }

    /// The payload as shared bytes: a large one shares the buffer it was read into, a small one is
    /// copied, so that it does not keep a whole read buffer alive. A buffer of its own is shared.
    pub(crate) fn share_payload(&self) -> Bytes {
        match self.backing {
            Some(backing) if self.payload.len() >= SHARE_FROM || self.has_own_buffer() => {
                backing.slice_ref(self.payload)
            }
            _ => Bytes::copy_from_slice(self.payload),
        }
    }

    /// Makes the message that is kept. `topic` is its topic, if somebody has it to share.
    pub(crate) fn keep(
        &self,
        topic: Option<&Arc<str>>,
        id: u64,
        origin: Origin,
        now: Tick,
        tracker: Option<Arc<Tracker>>,
    ) -> SharedMessage {
        let block = (self.properties.block_len() > 0).then(|| {
            let mut block = Vec::with_capacity(self.properties.block_len());
            self.properties.append_block(&mut block);
            block.into_boxed_slice()
        });
        SharedMessage::new(|message| {
            message.topic = Some(topic.map_or_else(|| self.topic.into(), Arc::clone));
            message.block = block;
            message.payload.set(self);
            message.origin = origin;
            message.expires = self.expires(now);
            message.id = id;
            message.tracker = tracker;
            message.qos = self.qos;
            message.retain = self.retain;
        })
    }
}

impl Message {
    /// The same message in the time of another broker.
    pub(crate) fn moved(&self, from: Tick, to: Tick) -> SharedMessage {
        let expires = match self.expires {
            Tick::NEVER => Tick::NEVER,
            expires => to.after_ms(from.until(expires)),
        };
        SharedMessage::new(|message| {
            *message = Self {
                topic: self.topic.clone(),
                block: self.block.clone(),
                payload: self.payload.clone(),
                origin: self.origin.clone(),
                expires,
                id: self.id,
                tracker: None,
                qos: self.qos,
                retain: self.retain,
            };
        })
    }

    /// This message as borrowed parts, for publishing it again.
    pub fn parts(&self, now: Tick) -> MessageRef<'_> {
        MessageRef {
            topic: self.topic(),
            payload: self.payload(),
            backing: self.backing(),
            qos: self.qos,
            retain: self.retain,
            expiry: self.remaining_expiry(now),
            properties: MessageProperties::new(self.properties()),
        }
    }
}

/// An owned message for publishing: what a host builds, a hook puts in place of another, or a
/// connection keeps while a hook thinks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OwnedMessage {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Message expiry interval in seconds.
    pub expiry: Option<u32>,
    /// Forwarded properties as an encoded block.
    pub properties: midge_codec::PropertiesBuf,
}

impl OwnedMessage {
    /// A message at QoS 0 without properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            expiry: None,
            properties: midge_codec::PropertiesBuf::new(),
        }
    }

    /// As a message of the host that can be published again and again. `None` if it expires: then
    /// each one has a moment of its own.
    pub fn prepare(&self) -> Option<SharedMessage> {
        let whole = self.expiry.is_none();
        let message = || self.parts().keep(None, 0, Origin::Host, Tick::NEVER, None);
        whole.then(message)
    }

    /// Its parts, borrowed.
    pub fn parts(&self) -> MessageRef<'_> {
        MessageRef {
            topic: &self.topic,
            payload: &self.payload,
            backing: Some(&self.payload),
            qos: self.qos,
            retain: self.retain,
            expiry: self.expiry,
            properties: MessageProperties::new(self.properties.as_properties()),
        }
    }
}

impl From<&MessageRef<'_>> for OwnedMessage {
    fn from(message: &MessageRef<'_>) -> Self {
        let mut block = Vec::with_capacity(message.properties.block_len());
        message.properties.append_block(&mut block);
        let mut properties = midge_codec::PropertiesBuf::new();
        for property in Properties::from_block(&block).iter() {
            // What was decoded fits again.
            let _ = properties.push(property);
        }
        Self {
            topic: message.topic.to_owned(),
            payload: message.share_payload(),
            qos: message.qos,
            retain: message.retain,
            expiry: message.expiry,
            properties,
        }
    }
}
