//! In-process subscribers: the host's own view of the messages, without a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use midge_codec::QoS;

use crate::message::Message;
use crate::queue::{Queue, QueueLimits};

/// A message as an in-process subscriber gets it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The message.
    pub message: Arc<Message>,
    /// Whether it was retained before the subscription was made (RETAIN flag of section 3.3.1.3).
    pub retained: bool,
    /// QoS of this delivery: the lower one of message and subscription.
    pub qos: QoS,
    /// Remaining message expiry interval in seconds when it was handed over.
    pub expiry: Option<u32>,
}

/// The hub's end of an in-process subscription.
pub(crate) struct Observer {
    pub(crate) queue: Arc<Queue<Received>>,
    /// Somebody has taken on to wake the reader.
    dirty: AtomicBool,
}

impl Observer {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            queue: Arc::new(Queue::new(limits)),
            dirty: AtomicBool::new(false),
        }
    }

    /// Appends; gives the number of messages lost by it and whether the caller has to wake.
    pub(crate) fn push(&self, received: Received) -> (usize, bool) {
        let size = received.message.payload().len() + received.message.topic().len();
        let (lost, awaited) = self.queue.push(received, size);
        (lost, awaited && !self.dirty.swap(true, Ordering::AcqRel))
    }

    pub(crate) fn wake(&self) {
        self.dirty.store(false, Ordering::Release);
        self.queue.wake();
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("queue", &self.queue)
            .finish()
    }
}
