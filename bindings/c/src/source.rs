//! What a queue takes in: subscriptions and the broker's events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker::{Event, Events, Feed, Message, Pushed, Sink};

use crate::queue::QueueObject;

/// Where the items of a queue come from; dropping it ends that.
pub(crate) enum Source {
    /// Messages come through an [`Inlet`].
    Messages { _feed: Feed },
    /// Events wait in a queue of the engine between their arrival and [`QueueObject::pump`], which
    /// runs on the same thread.
    Events(Events),
}

/// Something that waits in a queue.
pub(crate) enum Item {
    Message(Message),
    /// Boxed: messages are the frequent case, and items are moved about.
    Event(Box<Event>),
}

const _: () = assert!(size_of::<Item>() == 16);

impl Item {
    /// Bytes that it counts for in the bound of a queue.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Message(message) => {
                let properties = message.properties().as_bytes().len();
                message.topic().len() + properties + message.payload().len()
            }
            Self::Event(event) => event.size(),
        }
    }
}

/// The way of one subscription into a queue.
pub(crate) struct Inlet {
    queue: Arc<QueueObject>,
    number: u64,
    tag: u32,
    /// Changed under the lock of the queue only.
    gone: Arc<AtomicBool>,
    /// No Local: whose messages do not come in.
    not_from: Option<Box<str>>,
}

impl Inlet {
    pub(crate) fn new(
        queue: Arc<QueueObject>,
        number: u64,
        tag: u32,
        gone: Arc<AtomicBool>,
        not_from: Option<Box<str>>,
    ) -> Self {
        Self {
            queue,
            number,
            tag,
            gone,
            not_from,
        }
    }
}

impl Sink for Inlet {
    fn push(&self, message: Message) -> Pushed {
        if let Some(id) = &self.not_from
            && message.origin().client_id() == Some(&**id)
        {
            return Pushed::default();
        }
        let gone = || self.gone.load(Ordering::Relaxed);
        self.queue
            .push(Item::Message(message), self.number, self.tag, gone)
    }

    fn wake(&self) {
        self.queue.notify();
    }
}
