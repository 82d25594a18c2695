//! A message that is being routed: kept and encoded at most once for all of its receivers.

use std::sync::Arc;

use midge_codec::{PublishFrame, QoS, Version};

use super::Hub;
use super::publish::Publisher;
use crate::hub::Batch;
use crate::message::{Account, MessageRef, SHARE_FROM, SharedMessage, Tracker};
use crate::session::Deliverable;
use crate::time::Tick;

/// From so many receivers on a message is charged once, and not to each of them.
const CROWD: usize = 4;

impl Hub {
    /// The account that a message to so many receivers is charged to.
    pub(super) fn account(&self, receivers: usize) -> Account<'_> {
        let budget = &self.env.budget;
        if receivers < CROWD {
            Account::Receivers(budget)
        } else {
            Account::Once(budget)
        }
    }
}

/// A message that is being routed.
pub(super) struct RoutedMessage<'a> {
    pub(super) message: MessageRef<'a>,
    pub(super) publisher: &'a Publisher<'a>,
    hub: &'a Hub,
    now: Tick,
    kept: Option<SharedMessage>,
    /// Number of the message; 0 if it has none yet.
    number: u64,
    /// The topic, to be shared by the messages that are kept.
    pub(super) topic: Option<Arc<str>>,
    pub(super) tracker: Option<Arc<Tracker>>,
    /// How many there are. To encode once for all pays from the second one on.
    pub(super) receivers: usize,
    v3: Vec<u8>,
    v5: Vec<u8>,
}

impl<'a> RoutedMessage<'a> {
    #[inline]
    pub(super) fn new(
        message: MessageRef<'a>,
        publisher: &'a Publisher<'a>,
        hub: &'a Hub,
        now: Tick,
    ) -> Self {
        Self {
            message,
            publisher,
            hub,
            now,
            kept: None,
            number: 0,
            topic: None,
            tracker: None,
            receivers: 1,
            v3: Vec::new(),
            v5: Vec::new(),
        }
    }

    /// As [`RoutedMessage::new`], with buffers of the batch, which [`RoutedMessage::end`] gives back.
    #[inline]
    pub(super) fn begin(
        message: &MessageRef<'a>,
        publisher: &'a Publisher<'a>,
        hub: &'a Hub,
        batch: &mut Batch,
    ) -> Self {
        let mut routed = Self::new(*message, publisher, hub, batch.now);
        routed.v3 = std::mem::take(&mut batch.frame_v3);
        routed.v5 = std::mem::take(&mut batch.frame_v5);
        routed.v3.clear();
        routed.v5.clear();
        routed
    }

    /// Gives the buffers back; nothing more is encoded.
    #[inline]
    pub(super) fn end(&mut self, batch: &mut Batch) {
        std::mem::swap(&mut batch.frame_v3, &mut self.v3);
        std::mem::swap(&mut batch.frame_v5, &mut self.v5);
    }
}

impl RoutedMessage<'_> {
    /// The message as the retained store keeps it: a receipt of the host is about the receivers of
    /// now, not about later subscriptions.
    pub(super) fn keep_untracked(&mut self) -> SharedMessage {
        let kept = self.keep();
        if kept.tracker().is_none() {
            return kept;
        }

        let (id, origin) = (kept.id(), kept.origin().clone());
        let account = self.hub.account(self.receivers);
        (self.message).keep(self.topic.as_ref(), id, origin, self.now, None, account)
    }
}

impl Deliverable for RoutedMessage<'_> {
    fn parts(&self) -> MessageRef<'_> {
        self.message
    }

    fn keep(&mut self) -> SharedMessage {
        if let Some(kept) = &self.kept {
            return kept.clone();
        }
        let tracker = self.tracker.clone();
        let id = self.number();
        let kept = self.message.keep(
            self.topic.as_ref(),
            id,
            self.publisher.origin(),
            self.now,
            tracker,
            self.hub.account(self.receivers),
        );
        self.kept.insert(kept).clone()
    }

    fn kept(&self) -> Option<&SharedMessage> {
        self.kept.as_ref()
    }

    fn number(&mut self) -> u64 {
        if self.number == 0 {
            self.number = self.hub.next_message_id();
        }
        self.number
    }

    fn frame(&mut self, version: Version) -> Option<&[u8]> {
        let buffer = if version == Version::V5 {
            &mut self.v5
        } else {
            &mut self.v3
        };

        if buffer.is_empty() {
            let size = self.message.payload.len() + self.message.properties.block_len();
            if self.receivers < 2 || size >= SHARE_FROM {
                return None;
            }

            let mut block = Vec::new();
            if version == Version::V5 {
                self.message.properties.append_block(&mut block);
            }
            let frame = PublishFrame {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: self.message.topic,
                packet_id: 0,
                topic_alias: None,
                message_expiry: self.message.expiry,
                subscription_ids: &[],
                block: &block,
                payload_len: self.message.payload.len(),
            };
            frame.encode_with(version, self.message.payload, buffer);
        }

        Some(buffer)
    }
}

/// A kept message that is offered again: a retained one, one whose receiver left.
pub(super) struct Kept<'a> {
    pub(super) message: &'a SharedMessage,
    pub(super) now: Tick,
}

impl Deliverable for Kept<'_> {
    fn parts(&self) -> MessageRef<'_> {
        self.message.parts(self.now)
    }

    fn keep(&mut self) -> SharedMessage {
        self.message.clone()
    }

    fn kept(&self) -> Option<&SharedMessage> {
        Some(self.message)
    }

    fn number(&mut self) -> u64 {
        self.message.id()
    }

    fn frame(&mut self, _: Version) -> Option<&[u8]> {
        None
    }
}
