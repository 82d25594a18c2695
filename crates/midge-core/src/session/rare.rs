//! Collections that most sessions leave empty: they take one pointer then.

use std::collections::VecDeque;

use hashbrown::HashSet;

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

    fn tidy(&mut self) {
        if self.0.as_ref().is_some_and(|queue| queue.is_empty()) {
            self.0 = None;
        }
    }
}

impl<T> FromIterator<T> for RareQueue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut queue = Self::default();
        items.into_iter().for_each(|item| queue.push_back(item));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_queue_holds_nothing() {
        let mut queue: RareQueue<u8> = [1, 3].into_iter().collect();
        queue.push_front(0);
        assert_eq!((queue.len(), queue.front()), (3, Some(&0)));
        while queue.pop_front().is_some() {}
        assert!(queue.is_empty() && queue.0.is_none());
        assert!(queue.front().is_none());
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
