//! In-process subscribers: the host's own view of the messages, without a client.

use crate::sync::atomic::{AtomicBool, Ordering};
use std::num::NonZeroU64;
use std::sync::Arc;

use midge_codec::QoS;

use crate::queue::Queue;
use crate::shared_message::SharedMessage;

/// A message as an in-process subscriber gets it. Two words, so that it travels in registers.
#[derive(Clone)]
pub struct Received {
    message: SharedMessage,
    /// Expiry, whether there is one, RETAIN, QoS.
    terms: NonZeroU64,
}

const _: () = assert!(size_of::<Received>() == 16);

/// Always set: it makes room for what an `Option` or `enum` around it has to say.
const MARK: NonZeroU64 = NonZeroU64::new(1 << 40).unwrap();
const EXPIRES: u64 = 1 << 36;
const RETAINED: u64 = 1 << 35;
const QOS: u32 = 32;

impl Received {
    /// A message on its way to a subscription of the host.
    pub fn new(message: SharedMessage, retained: bool, qos: QoS, expiry: Option<u32>) -> Self {
        let expiry = expiry.map_or(0, |seconds| EXPIRES | u64::from(seconds));
        let retained = if retained { RETAINED } else { 0 };
        let terms = MARK | expiry | retained | (qos as u64) << QOS;
        Self { message, terms }
    }

    /// The message.
    pub fn message(&self) -> &SharedMessage {
        &self.message
    }

    /// Whether it was retained before the subscription was made (RETAIN flag of section 3.3.1.3).
    pub fn retained(&self) -> bool {
        self.terms.get() & RETAINED != 0
    }

    /// QoS of this delivery: the lower one of message and subscription.
    pub fn qos(&self) -> QoS {
        QoS::from_u8((self.terms.get() >> QOS) as u8 & 3).unwrap_or_default()
    }

    /// Remaining message expiry interval in seconds when it was handed over.
    pub fn expiry(&self) -> Option<u32> {
        (self.terms.get() & EXPIRES != 0).then_some(self.terms.get() as u32)
    }
}

/// What a push has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Messages lost by it: the new one, or older ones that made room.
    pub lost: usize,
    /// Somebody waits for it and has to be woken with [`Sink::wake`].
    pub awaited: bool,
}

/// Where the messages of an in-process subscription go. What it does not take in is lost.
pub trait Sink: Send + Sync {
    /// Takes a message. Runs on the thread that brought it, with locks of the engine held: it must
    /// not wait, nor call the engine.
    fn push(&self, received: Received) -> Pushed;

    /// Wakes whoever waits, once all is pushed. No lock is held.
    fn wake(&self);

    /// Nothing comes any more. Runs with locks of the engine held.
    fn close(&self);
}

impl Sink for Queue<Received> {
    fn push(&self, received: Received) -> Pushed {
        let size = received.message().payload().len() + received.message().topic().len();
        let (lost, awaited) = self.push(received, size);
        Pushed { lost, awaited }
    }

    fn wake(&self) {
        self.wake();
    }

    fn close(&self) {
        self.close();
    }
}

/// The hub's end of an in-process subscription.
pub(crate) struct Observer {
    sink: Arc<dyn Sink>,
    /// Somebody has taken on to wake the reader.
    dirty: AtomicBool,
}

impl Observer {
    pub(crate) fn new(sink: Arc<dyn Sink>) -> Self {
        Self {
            sink,
            dirty: AtomicBool::new(false),
        }
    }

    /// Appends; gives the number of messages lost by it and whether the caller has to wake.
    pub(crate) fn push(&self, received: Received) -> (usize, bool) {
        let Pushed { lost, awaited } = self.sink.push(received);
        (lost, awaited && !self.dirty.swap(true, Ordering::AcqRel))
    }

    pub(crate) fn wake(&self) {
        self.dirty.store(false, Ordering::Release);
        self.sink.wake();
    }

    pub(crate) fn close(&self) {
        self.sink.close();
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("message", &self.message)
            .field("retained", &self.retained())
            .field("qos", &self.qos())
            .field("expiry", &self.expiry())
            .finish()
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::OwnedMessage;

    #[test]
    fn the_terms_of_a_delivery_are_kept() {
        let message = OwnedMessage::new("t", "x").prepare().unwrap();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for retained in [false, true] {
                for expiry in [None, Some(0), Some(1), Some(u32::MAX)] {
                    let received = Received::new(message.clone(), retained, qos, expiry);
                    let terms = (received.retained(), received.qos(), received.expiry());
                    assert_eq!(terms, (retained, qos, expiry));
                }
            }
        }
        assert_eq!(size_of::<Option<Received>>(), 16);
    }
}
