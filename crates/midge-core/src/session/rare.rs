//! Collections that most sessions leave empty: they take one pointer then.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::hash_map::Entry::{Occupied, Vacant};
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::SubRecord;

/// A queue.
#[derive(Debug)]
#[allow(clippy::box_collection)] // the size of the empty one counts
pub(crate) struct RareQueue<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for RareQueue<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> RareQueue<T> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.0.as_ref()?.front()
    }

    pub(crate) fn push_back(&mut self, item: T) {
        self.0.get_or_insert_default().push_back(item);
    }

    pub(crate) fn push_front(&mut self, item: T) {
        self.0.get_or_insert_default().push_front(item);
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let item = self.0.as_mut()?.pop_front();
        self.tidy();
        item
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        if let Some(queue) = &mut self.0 {
            queue.retain(keep);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.0.as_ref().is_some_and(|queue| queue.is_empty()) {
            self.0 = None;
        }
    }
}

impl<T> Extend<T> for RareQueue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push_back(item));
    }
}

impl<T> FromIterator<T> for RareQueue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut queue = Self::default();
        queue.extend(items);
        queue
    }
}

/// Packet identifiers.
#[derive(Debug, Default)]
#[allow(clippy::box_collection)] // few sessions have any
pub(crate) struct PacketIds(Option<Box<HashSet<u16>>>);

impl PacketIds {
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |ids| ids.len())
    }

    pub(crate) fn contains(&self, packet_id: u16) -> bool {
        self.0.as_ref().is_some_and(|ids| ids.contains(&packet_id))
    }

    /// Whether it was not there.
    pub(crate) fn insert(&mut self, packet_id: u16) -> bool {
        self.0.get_or_insert_default().insert(packet_id)
    }

    /// Whether it was there. The memory of the last one stays: see [`PacketIds::tidy`].
    pub(crate) fn remove(&mut self, packet_id: u16) -> bool {
        self.0.as_mut().is_some_and(|ids| ids.remove(&packet_id))
    }

    /// Gives memory back if nothing is left.
    pub(crate) fn tidy(&mut self) {
        if self.len() == 0 {
            self.0 = None;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

/// Up to this many subscriptions are a list, the first one without memory of its own.
const FEW: usize = 8;

/// The subscriptions of one session by filter. Most sessions have a few, some a million.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Kept);

type Entry = (Arc<str>, SubRecord);

#[derive(Debug)]
#[allow(clippy::box_collection)] // the size of the list counts
enum Kept {
    Few(SmallVec<[Entry; 1]>),
    Many(Box<HashMap<Arc<str>, SubRecord>>),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Kept::Few(list) => list.len(),
            Kept::Many(map) => map.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn contains(&self, filter: &str) -> bool {
        match &self.0 {
            Kept::Few(list) => list.iter().any(|(name, _)| **name == *filter),
            Kept::Many(map) => map.contains_key(filter),
        }
    }

    /// Adds a subscription, or replaces one: then `filter` becomes the copy that is there already.
    /// Whether one was replaced; `None` if `limit` subscriptions are there and this is a new one.
    pub(crate) fn insert(
        &mut self,
        filter: &mut Arc<str>,
        record: SubRecord,
        limit: usize,
    ) -> Option<bool> {
        let full = self.len() >= limit;
        match &mut self.0 {
            Kept::Few(list) => {
                if let Some((name, known)) = list.iter_mut().find(|(name, _)| name == filter) {
                    filter.clone_from(name);
                    *known = record;
                    return Some(true);
                }
                if full {
                    return None;
                }
                if list.len() < FEW {
                    list.push((filter.clone(), record));
                } else {
                    let mut map: Box<HashMap<_, _>> = Box::new(list.drain(..).collect());
                    map.insert(filter.clone(), record);
                    self.0 = Kept::Many(map);
                }
            }
            Kept::Many(map) => match map.entry(filter.clone()) {
                Occupied(mut known) => {
                    filter.clone_from(known.key());
                    known.insert(record);
                    return Some(true);
                }
                Vacant(_) if full => return None,
                Vacant(new) => {
                    new.insert(record);
                }
            },
        }
        Some(false)
    }

    /// Removes a subscription.
    pub(crate) fn remove(&mut self, filter: &str) -> Option<Entry> {
        let removed = match &mut self.0 {
            Kept::Few(list) => {
                let at = list.iter().position(|(name, _)| **name == *filter)?;
                Some(list.swap_remove(at))
            }
            Kept::Many(map) => map.remove_entry(filter),
        };
        if self.is_empty() {
            *self = Self::default();
        }
        removed
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &SubRecord)> {
        let (few, many) = match &self.0 {
            Kept::Few(list) => (Some(list), None),
            Kept::Many(map) => (None, Some(map)),
        };
        let few = few
            .into_iter()
            .flatten()
            .map(|(name, record)| (name, record));
        few.chain(many.into_iter().flat_map(|map| map.iter()))
    }

    /// Takes them one after another; the rest stays behind the iterator.
    pub(crate) fn drain(self) -> Draining {
        match self.0 {
            Kept::Few(list) => Draining::Few(list.into_iter()),
            Kept::Many(map) => Draining::Many(map.into_iter()),
        }
    }
}

/// See [`Subscriptions::drain`].
pub(crate) enum Draining {
    Few(smallvec::IntoIter<[Entry; 1]>),
    Many(hashbrown::hash_map::IntoIter<Arc<str>, SubRecord>),
}

impl Iterator for Draining {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        match self {
            Self::Few(list) => list.next(),
            Self::Many(map) => map.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(list) => list.size_hint(),
            Self::Many(map) => map.size_hint(),
        }
    }
}

impl ExactSizeIterator for Draining {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_few_and_many_are_found_replaced_and_removed() {
        for count in [1, FEW, FEW + 1, 100] {
            let mut subscriptions = Subscriptions::default();
            let names: Vec<Arc<str>> = (0..count).map(|n| format!("t/{n}").into()).collect();
            for (id, name) in (1..).zip(&names) {
                let record = SubRecord {
                    id,
                    ..SubRecord::default()
                };
                let new = subscriptions.insert(&mut name.clone(), SubRecord::default(), count);
                let mut copy = format!("t/{}", id - 1).into();
                let replaced = subscriptions.insert(&mut copy, record, count);
                assert_eq!((new, replaced), (Some(false), Some(true)));
                assert!(Arc::ptr_eq(&copy, name));
            }
            assert_eq!(subscriptions.len(), count);
            let one_more = subscriptions.insert(&mut "x".into(), SubRecord::default(), count);
            assert_eq!(one_more, None);
            for (id, name) in (1..).zip(&names) {
                assert!(subscriptions.contains(name));
                let found = subscriptions.iter().find(|(key, _)| *key == name);
                assert_eq!(found.map(|(_, record)| record.id), Some(id));
            }
            assert!(!subscriptions.contains("t") && subscriptions.remove("t").is_none());
            let removed = subscriptions.remove("t/0").map(|(_, record)| record.id);
            assert_eq!(removed, Some(1));
            assert_eq!(subscriptions.len(), count - 1);
            let mut rest = subscriptions.drain();
            assert_eq!(rest.len(), count - 1);
            assert_eq!(rest.by_ref().count(), count - 1);
        }
    }

    #[test]
    fn an_empty_queue_holds_nothing() {
        let mut queue: RareQueue<u8> = [1, 2, 3].into_iter().collect();
        queue.retain(|item| *item != 2);
        queue.push_front(0);
        assert_eq!((queue.len(), queue.front()), (3, Some(&0)));
        while queue.pop_front().is_some() {}
        assert!(queue.is_empty() && queue.0.is_none());
        queue.push_back(1);
        queue.retain(|_| false);
        assert!(queue.is_empty() && queue.front().is_none());
    }

    #[test]
    fn packet_identifiers_give_their_memory_back() {
        let mut ids = PacketIds::default();
        assert!(ids.insert(7) && !ids.insert(7) && ids.contains(7));
        assert!(ids.remove(7) && !ids.remove(7));
        ids.tidy();
        assert!(ids.0.is_none() && ids.len() == 0);
    }
}
