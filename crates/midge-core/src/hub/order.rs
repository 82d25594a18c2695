//! One order for what is stored as retained and what subscribers see.

use std::hash::BuildHasher;

use crate::sync::{Hashing, Mutex, MutexGuard};

/// Topics that may be published to at the same time, on average.
const PLACES: usize = 64;

/// The right to publish with RETAIN to some topics.
pub(crate) struct Turn;

/// Publishes with RETAIN to one topic go one after the other, from storing the message to its last
/// receiver: the message that is stored is the one that subscribers have seen last. Topics share a
/// fixed number of locks.
pub(super) struct TopicOrder {
    hasher: Hashing,
    places: [Mutex<Turn>; PLACES],
}

impl Default for TopicOrder {
    fn default() -> Self {
        Self {
            hasher: Hashing::default(),
            places: std::array::from_fn(|_| Mutex::new(Turn)),
        }
    }
}

impl TopicOrder {
    /// Waits for the publishes to this topic that are under way.
    pub(super) fn lock(&self, topic: &str) -> MutexGuard<'_, Turn> {
        let at = self.hasher.hash_one(topic) as usize % PLACES;

        self.places[at].lock()
    }
}
