//! Retained messages, found by topic, in the order of topics, and by any level of their topics, so
//! that every filter is answered page by page without a look at most of the others.

mod shelf;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::budget::{Budget, Charge, Part};
use crate::message::{Message, Origin, SharedMessage};
use crate::sync::Hashing;
use crate::time::TimerKey;
use shelf::Shelf;
pub(crate) use walk::Place;

/// Bytes for finding a message by one level of its topic.
const LEVEL_COST: usize = 20;

struct Entry {
    message: SharedMessage,
    stamp: u64,
    timer: Option<TimerKey>,
}

/// The last retained message of each topic (section 3.3.1.3).
#[derive(Default)]
pub(crate) struct Retained {
    /// Where on its shelf the message of each topic is. The keys are the topics of the messages;
    /// where one was replaced, that of the first one.
    places: BTreeMap<Arc<str>, u32>,
    /// By number of levels.
    shelves: Vec<Shelf>,
    /// The same for topics that begin with `$`, which leading wildcards do not match
    /// (MQTT-4.7.2-1).
    dollar_shelves: Vec<Shelf>,
    hasher: Hashing,
    bytes: usize,
    count: usize,
    stamp: u64,
    /// Bytes of the shelves, which a few messages may keep as large as they are.
    shelf_bytes: usize,
    charge: Charge,
}

/// The message does not fit into the bounds.
#[derive(Debug)]
pub(crate) struct Full;

/// The remains of a removed entry: a deadline to cancel.
pub(crate) struct Replaced {
    pub(crate) timer: Option<TimerKey>,
}

impl Retained {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            charge: Charge::new(budget, Part::Retained),
            ..Self::default()
        }
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges a shelf that has grown or shrunk.
    fn resize_shelf(&mut self, before: usize, after: usize) {
        if before != after {
            self.shelf_bytes = self.shelf_bytes + after - before;
            self.charge.set(self.shelf_bytes);
        }
    }

    /// The shelves on which the matches of a filter, or a topic, are.
    fn shelves(&self, filter: &str) -> &[Shelf] {
        if filter.starts_with('$') {
            &self.dollar_shelves
        } else {
            &self.shelves
        }
    }

    /// The shelf of a topic, made if it is not there.
    fn shelf_mut(&mut self, topic: &str) -> Option<&mut Shelf> {
        let levels = level_count(topic);
        let shelves = if topic.starts_with('$') {
            &mut self.dollar_shelves
        } else {
            &mut self.shelves
        };
        if shelves.len() <= levels {
            shelves.resize_with(levels + 1, Shelf::default);
        }
        shelves.get_mut(levels)
    }

    fn hash(&self, position: usize, level: &str) -> u32 {
        (self.hasher.hash_one((position, level)) >> 32) as u32
    }

    fn at(&self, topic: &str, at: u32) -> Option<&Entry> {
        self.shelves(topic).get(level_count(topic))?.get(at)
    }

    fn entry(&self, topic: &str) -> Option<&Entry> {
        self.at(topic, *self.places.get(topic)?)
    }

    /// Stores a message, in place of the one before it with this topic, unless there would be more
    /// than `max_count` or more than `max_bytes`. Those of the broker itself are not counted.
    pub(crate) fn insert(
        &mut self,
        message: SharedMessage,
        timer: Option<TimerKey>,
        (max_count, max_bytes): (usize, usize),
    ) -> Result<Option<Replaced>, Full> {
        let topic = message.shared_topic().cloned().unwrap_or_default();
        let known = self.places.get(&topic).copied();
        let (mut count, mut bytes) = (self.count, self.bytes);
        if let Some(known) = known.and_then(|at| self.at(&topic, at))
            && is_counted(&known.message)
        {
            count -= 1;
            bytes -= cost(&known.message);
        }
        if is_counted(&message) {
            count += 1;
            bytes += cost(&message);
            if count > max_count || bytes > max_bytes {
                return Err(Full);
            }
        }

        self.stamp += 1;
        (self.count, self.bytes) = (count, bytes);
        let entry = Entry {
            message,
            stamp: self.stamp,
            timer,
        };
        if let Some(known) = known {
            let place = (self.shelf_mut(&topic)).and_then(|shelf| shelf.get_mut(known));
            return Ok(place.map(|place| {
                let old = std::mem::replace(place, entry);
                Replaced { timer: old.timer }
            }));
        }
        let hasher = self.hasher.clone();
        if let Some(shelf) = self.shelf_mut(&topic) {
            let before = shelf.bytes();
            let at = shelf.insert(entry, hashes(&hasher, &topic));
            let after = shelf.bytes();
            self.resize_shelf(before, after);
            self.places.insert(topic.clone(), at);
        }
        Ok(None)
    }

    pub(crate) fn remove(&mut self, topic: &str) -> Option<Replaced> {
        let at = self.places.remove(topic)?;
        let hasher = self.hasher.clone();
        let shelf = self.shelf_mut(topic)?;
        let before = shelf.bytes();
        let entry = shelf.remove(at, hashes(&hasher, topic));
        let after = shelf.bytes();
        self.resize_shelf(before, after);
        let entry = entry?;
        if is_counted(&entry.message) {
            self.count -= 1;
            self.bytes -= cost(&entry.message);
        }
        Some(Replaced { timer: entry.timer })
    }

    /// Removes this very message, if it is still the one.
    pub(crate) fn remove_exact(&mut self, message: &SharedMessage) -> bool {
        let same = self
            .get(message.topic())
            .is_some_and(|known| known.ptr_eq(message));
        same && self.remove(message.topic()).is_some()
    }

    /// All, those of the broker itself included, ordered by topic.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SharedMessage> {
        let entry = |(topic, at): (&Arc<str>, &u32)| self.at(topic, *at);
        self.places
            .iter()
            .filter_map(entry)
            .map(|entry| &entry.message)
    }

    pub(crate) fn get(&self, topic: &str) -> Option<&SharedMessage> {
        self.entry(topic).map(|entry| &entry.message)
    }
}

fn is_counted(message: &Message) -> bool {
    *message.origin() != Origin::Broker
}

/// Bytes that a retained message counts for.
fn cost(message: &Message) -> usize {
    message.cost() + level_count(message.topic()) * LEVEL_COST
}

fn level_count(topic: &str) -> usize {
    topic.bytes().filter(|byte| *byte == b'/').count() + 1
}

/// The hashes of the levels of a topic.
fn hashes(hasher: &Hashing, topic: &str) -> impl Iterator<Item = u32> {
    let levels = topic.split('/').enumerate();
    levels.map(|level| (hasher.hash_one(level) >> 32) as u32)
}
