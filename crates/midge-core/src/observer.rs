//! In-process subscribers: the host's own view of the messages, without a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use midge_codec::QoS;

use crate::message::Message;
use crate::queue::Queue;

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
        let size = received.message.payload().len() + received.message.topic().len();
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

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}
