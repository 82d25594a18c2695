//! What a queue takes in: subscriptions and the broker's events.

use broker::{Event, Events, Message, Subscription};

/// Where the items of a queue come from. The engine's own queue behind it is empty but for the
/// moment between an arrival and [`crate::queue::QueueObject::pump`], on the same thread.
pub(crate) enum Source {
    Messages(Subscription),
    Events(Events),
}

/// Something that waits in a queue.
pub(crate) enum Item {
    Message(Message),
    Event(Event),
}

impl Item {
    /// Bytes that it counts for in the bound of a queue.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Message(message) => message.topic().len() + message.payload().len(),
            Self::Event(event) => match event {
                Event::Published { message, .. }
                | Event::Delivered { message, .. }
                | Event::Acknowledged { message, .. }
                | Event::RetainedExpired { message } => {
                    message.topic().len() + message.payload().len()
                }
                _ => 0,
            },
        }
    }
}

impl Source {
    pub(crate) fn next(&self) -> Option<Item> {
        match self {
            Self::Messages(subscription) => subscription.try_recv().map(Item::Message),
            Self::Events(events) => events
                .try_recv()
                .map(|observed| Item::Event(observed.event)),
        }
    }

    /// Lost on the way here so far.
    pub(crate) fn lost(&self) -> u64 {
        match self {
            Self::Messages(subscription) => subscription.lost(),
            Self::Events(events) => events.lost(),
        }
    }

    pub(crate) fn on_ready(&self, notify: impl Fn() + Send + Sync + 'static) {
        match self {
            Self::Messages(subscription) => subscription.on_ready(notify),
            Self::Events(events) => events.on_ready(notify),
        }
    }
}
