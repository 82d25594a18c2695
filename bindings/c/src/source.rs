//! Sources of a queue: subscriptions and the broker's events.

use broker::{Event, Events, Feed, Message};

/// Where the items of a queue come from; dropping it ends that.
pub(crate) enum Source {
    /// Messages are pushed into the queue.
    Messages { _feed: Feed },
    /// Events wait in a queue of the engine between their arrival and the moment when the
    /// queue takes them in, which
    /// runs on the same thread.
    Events(Events),
}

/// Something that waits in a queue.
pub(crate) enum Item {
    Message(Message),
    /// Boxed: messages are the frequent case, and items are moved about.
    Event(Box<Event>),
}

const _: () = assert!(size_of::<Item>() <= 16);

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
