//! A message on its way: immutable, shared between all its receivers.

mod payload;
mod receipt;
mod shared_message;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{MessageProperties, Properties, QoS};

use payload::Payload;
pub(crate) use receipt::Hold;
pub use receipt::{Acknowledged, Outcome, Receipt, Tracker};
pub use shared_message::SharedMessage;
pub(crate) use shared_message::{empty_depot, prepare_thread};
pub use stored::StoredMessage;

use crate::budget::{Budget, Charge, Part};
use crate::time::Tick;

/// Payloads from this size on are shared between receivers instead of copied.
pub(crate) const SHARE_FROM: usize = 8 * 1024;

/// Memory of a kept message beyond its topic, properties and payload: itself, and what an allocator
/// adds to each of its pieces.
const MESSAGE: usize = size_of::<Message>() + 80;
/// Memory that one receiver adds to a message: places in its queue and among what is in flight,
/// each in a list that may be half empty.
const RECEIVER: usize = 2 * 40 + 2 * 64;

/// Memory that an expiry adds for each receiver: a place in the order of expiry.
const EXPIRES: usize = 48;

/// The most that a receiver is charged for a message of a run, beyond the packet.
pub(crate) const SMALL_MESSAGE: usize = MESSAGE + RECEIVER + 1024;

/// Memory that a retained message adds: a place in the store, perhaps a deadline, each in a tree
/// whose nodes may be half empty.
const RETAINED: usize = 320;

/// The same for each level of its topic.
const LEVEL: usize = 40;

/// The account that the memory of a kept message is charged to.
#[derive(Clone, Copy)]
pub(crate) enum Account<'a> {
    /// To no client: it is the host's own.
    Host,
    /// Each receiver is charged for it as if it were the only one.
    Receivers(&'a Arc<Budget>),
    /// It is charged once for all its receivers, until the last one lets go of it.
    Once(&'a Arc<Budget>),
}

impl<'a> Account<'a> {
    fn budget(self) -> Option<&'a Arc<Budget>> {
        match self {
            Self::Host => None,
            Self::Receivers(budget) | Self::Once(budget) => Some(budget),
        }
    }
}

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
    /// Charge for its memory, unless each receiver is charged for that. A large payload has its own
    /// charge.
    charge: Option<Charge>,
    /// Bytes that it counts for in the queue of one receiver.
    cost: u32,
    /// Bytes that each receiver is charged for.
    share: u32,
    qos: QoS,
    retain: bool,
}

impl Message {
    /// The content of memory that waits for the next message.
    pub(crate) const NOTHING: Self = Self {
        topic: None,
        block: None,
        payload: Payload::EMPTY,
        origin: Origin::Broker,
        expires: Tick::NEVER,
        id: 0,
        tracker: None,
        charge: None,
        cost: 0,
        share: 0,
        qos: QoS::AtMostOnce,
        retain: false,
    };

    /// Lets go of everything. The next payload is written over the rest of this one.
    pub(crate) fn clear(&mut self) {
        self.topic = None;
        self.block = None;
        self.payload.clear();
        self.origin = Origin::Broker;
        self.tracker = None;
        self.charge = None;
        (self.cost, self.share) = (0, 0);
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

    /// Bytes of topic, properties and payload.
    pub fn size(&self) -> usize {
        self.topic().len() + self.block().len() + self.payload().len()
    }

    /// Bytes that it counts for among what waits for one receiver.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        self.cost as usize
    }

    /// Bytes of it that are copied into each encoded packet, about.
    #[inline]
    pub(crate) fn copied(&self) -> usize {
        self.payload().len().min(SHARE_FROM) + self.block().len()
    }

    /// Bytes that each receiver is charged for: its place, and the message unless that has a charge of
    /// its own. The encoded packet is output.
    #[inline]
    pub(crate) fn share(&self) -> usize {
        self.share as usize
    }

    /// Charges what it takes, once it is complete.
    #[inline]
    fn account(&mut self, account: Account<'_>) {
        if let Account::Receivers(budget) | Account::Once(budget) = account {
            let (topic, block) = (self.topic().len(), self.block().len());
            let payload = self.payload().len();
            self.account_of(
                topic + block,
                payload,
                budget,
                matches!(account, Account::Once(_)),
            );
        }
    }

    /// The same, of a message with so many bytes of topic and properties, and of payload.
    #[inline]
    fn account_of(&mut self, head: usize, payload: usize, budget: &Arc<Budget>, once: bool) {
        let client = self.origin.client_id().map_or(0, str::len);
        let copied = if payload >= SHARE_FROM { 0 } else { payload };
        let place = self.place();
        let whole = MESSAGE + head + client + copied;
        // No message comes near to 4 GiB: it was one packet.
        self.share = (place + whole) as u32;
        self.cost = self.share + (payload - copied) as u32;
        if once || self.retain || head >= SHARE_FROM {
            self.charge_once(whole, budget);
        }
    }

    /// Bytes of its place at each receiver.
    #[inline]
    fn place(&self) -> usize {
        match self.expires {
            Tick::NEVER => RECEIVER,
            _ => RECEIVER + EXPIRES,
        }
    }

    #[cold]
    fn charge_once(&mut self, whole: usize, budget: &Arc<Budget>) {
        self.share = self.place() as u32;
        self.charge = Some(match self.retain {
            true => {
                let levels = 1 + self.topic().bytes().filter(|byte| *byte == b'/').count();
                budget.hold(Part::Retained, whole + RETAINED + levels * LEVEL)
            }
            false => budget.hold(Part::Queues, whole),
        });
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::NOTHING
    }
}

/// A message before it is routed: borrowed parts, made into a [`Message`] only when it has to be
/// kept.
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

impl<'a> MessageRef<'a> {
    /// A large payload that is the host's own memory is charged to `budget`, because receivers may hold
    /// it for long. Buffers that were read into have a charge already.
    pub(crate) fn charge(&mut self, budget: &Arc<Budget>, place: &'a mut Option<Bytes>) {
        if let Some(backing) = self.backing.filter(|_| self.is_large_and_own()) {
            let shared = place.insert(budget.share(backing.clone()));
            self.payload = shared;
            self.backing = Some(shared);
        }
    }

    /// Whether it has to be charged: see [`MessageRef::charge`].
    #[inline]
    pub(crate) fn is_large_and_own(&self) -> bool {
        self.payload.len() >= SHARE_FROM && self.has_own_buffer()
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
    /// A large copy is charged to `budget`, as the buffers are that something is read into.
    pub(crate) fn share_payload(&self, budget: Option<&Arc<Budget>>) -> Bytes {
        match self.backing {
            Some(backing) if self.payload.len() >= SHARE_FROM || self.has_own_buffer() => {
                backing.slice_ref(self.payload)
            }
            _ if self.payload.len() >= SHARE_FROM => self.copy_large(budget),
            _ => Bytes::copy_from_slice(self.payload),
        }
    }

    #[cold]
    fn copy_large(&self, budget: Option<&Arc<Budget>>) -> Bytes {
        match budget {
            Some(budget) => budget
                .hold(Part::Payloads, self.payload.len())
                .share(self.payload.to_vec()),
            None => Bytes::copy_from_slice(self.payload),
        }
    }

    /// Makes the message that is kept. `topic` is its topic, if there is one to share.
    pub(crate) fn keep(
        &self,
        topic: Option<&Arc<str>>,
        id: u64,
        origin: Origin,
        now: Tick,
        tracker: Option<Arc<Tracker>>,
        account: Account<'_>,
    ) -> SharedMessage {
        let block = (self.properties.block_len() > 0).then(|| {
            let mut block = Vec::with_capacity(self.properties.block_len());
            self.properties.append_block(&mut block);
            block.into_boxed_slice()
        });

        SharedMessage::new(|message| {
            message.topic = Some(topic.map_or_else(|| self.topic.into(), Arc::clone));
            message.block = block;
            message.payload.set(self, account.budget());
            message.origin = origin;
            message.expires = self.expires(now);
            message.id = id;
            message.tracker = tracker;
            message.qos = self.qos;
            message.retain = self.retain;
            if let Some(budget) = account.budget() {
                let head = self.topic.len() + self.properties.block_len();
                let once = matches!(account, Account::Once(_));
                message.account_of(head, self.payload.len(), budget, once);
            }
        })
    }
}

impl Message {
    /// The same message in the time of another broker.
    pub(crate) fn moved(&self, from: Tick, to: Tick, account: Account<'_>) -> SharedMessage {
        let expires = match self.expires {
            Tick::NEVER => Tick::NEVER,
            expires => to.after_ms(from.until(expires)),
        };

        SharedMessage::new(|message| {
            *message = Self {
                topic: self.topic.clone(),
                block: self.block.clone(),
                payload: self.payload.charged(account.budget()),
                origin: self.origin.clone(),
                expires,
                id: self.id,
                qos: self.qos,
                retain: self.retain,
                ..Self::NOTHING
            };
            message.account(account);
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
        let message = || {
            self.parts()
                .keep(None, 0, Origin::Host, Tick::NEVER, None, Account::Host)
        };
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
            // A decoded block fits again.
            let _ = properties.push(property);
        }
        Self {
            topic: message.topic.to_owned(),
            payload: message.share_payload(None),
            qos: message.qos,
            retain: message.retain,
            expiry: message.expiry,
            properties,
        }
    }
}
