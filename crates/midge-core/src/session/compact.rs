//! Collections that most sessions leave empty: they take one pointer then.

use std::collections::VecDeque;

use std::sync::Arc;

use hashbrown::HashSet;

use crate::budget::{Budget, Charge, Part};

/// A queue.
#[derive(Debug)]
#[allow(clippy::box_collection)] // the size of the empty one counts
pub(crate) struct CompactQueue<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for CompactQueue<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> CompactQueue<T> {
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
        let queue = self.0.as_mut()?;
        let item = queue.pop_front();
        if queue.len() * SPARSE < queue.capacity() {
            self.tidy();
        }
        item
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Gives memory back that is not used any more.
    #[cold]
    fn tidy(&mut self) {
        if let Some(queue) = &mut self.0 {
            if queue.is_empty() {
                self.0 = None;
            } else if queue.capacity() > FEW {
                queue.shrink_to(queue.len() * 2);
            }
        }
    }
}

/// A queue that fills less than this part of its memory gives half of it back.
const SPARSE: usize = 4;
/// Unless it is as short as that.
const FEW: usize = 8;

impl<T> FromIterator<T> for CompactQueue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut queue = Self::default();
        items.into_iter().for_each(|item| queue.push_back(item));
        queue
    }
}

/// Packet identifiers.
#[derive(Debug, Default)]
pub(crate) struct PacketIds(Option<Box<Ids>>);

#[derive(Debug, Default)]
struct Ids {
    known: HashSet<u16>,
    /// For more of them than belong to any session.
    charge: Option<Charge>,
}

/// Identifiers that a session has room for without a charge.
const FREE_IDS: usize = 28;
/// Bytes of one in a set that has just grown.
const ID: usize = 8;

impl Ids {
    /// Makes room for one more, unless no more memory may be held.
    #[cold]
    fn grow(&mut self, budget: &Arc<Budget>) -> bool {
        let capacity = (self.known.capacity() * 2).max(FREE_IDS);
        if capacity > FREE_IDS {
            let charge = self
                .charge
                .get_or_insert_with(|| Charge::new(budget, Part::Sessions));
            if !charge.try_set(capacity * ID) {
                return false;
            }
        }
        self.known.reserve(capacity - self.known.len());
        true
    }

    /// Gives memory back that is not used any more.
    #[cold]
    fn shrink(&mut self) {
        self.known.shrink_to(self.known.len() * 2);
        let capacity = self.known.capacity();
        if capacity <= FREE_IDS {
            self.charge = None;
        } else if let Some(charge) = &mut self.charge {
            charge.set(capacity * ID);
        }
    }
}

/// No more memory may be held for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl PacketIds {
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |ids| ids.known.len())
    }

    pub(crate) fn contains(&self, packet_id: u16) -> bool {
        self.0
            .as_ref()
            .is_some_and(|ids| ids.known.contains(&packet_id))
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|ids| ids.known.iter().copied())
    }

    /// Whether it was not there.
    pub(crate) fn insert(
        &mut self,
        packet_id: u16,
        budget: &Arc<Budget>,
    ) -> Result<bool, NoMemory> {
        self.make_room(budget)?;
        Ok(self.insert_anyway(packet_id))
    }

    /// Makes room for one more.
    pub(crate) fn make_room(&mut self, budget: &Arc<Budget>) -> Result<(), NoMemory> {
        let ids = self.0.get_or_insert_default();
        if ids.known.len() == ids.known.capacity() && !ids.grow(budget) {
            return Err(NoMemory);
        }
        Ok(())
    }

    /// Adds one that was accepted before; whether it was not there.
    pub(crate) fn insert_anyway(&mut self, packet_id: u16) -> bool {
        self.0.get_or_insert_default().known.insert(packet_id)
    }

    /// Whether it was there. The memory of the last one stays: see [`PacketIds::tidy`].
    pub(crate) fn remove(&mut self, packet_id: u16) -> bool {
        self.0
            .as_mut()
            .is_some_and(|ids| ids.known.remove(&packet_id))
    }

    /// Gives memory back if little or nothing is left.
    pub(crate) fn tidy(&mut self) {
        let Some(ids) = &mut self.0 else { return };
        if ids.known.is_empty() {
            self.0 = None;
        } else if ids.known.len() * 2 * SPARSE < ids.known.capacity() {
            ids.shrink();
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
        let mut queue: CompactQueue<u8> = [1, 3].into_iter().collect();
        queue.push_front(0);
        assert_eq!((queue.len(), queue.front()), (3, Some(&0)));
        while queue.pop_front().is_some() {}
        assert!(queue.is_empty() && queue.0.is_none());
        assert!(queue.front().is_none());
    }

    #[test]
    fn packet_identifiers_give_their_memory_back() {
        let (mut ids, budget) = (PacketIds::default(), Budget::new(80_000));
        let insert = |ids: &mut PacketIds, id| ids.insert(id, &budget);
        assert_eq!(insert(&mut ids, 7), Ok(true));
        assert_eq!(insert(&mut ids, 7), Ok(false));
        assert!(ids.contains(7));
        assert!(ids.remove(7) && !ids.remove(7));
        ids.tidy();
        assert!(ids.0.is_none() && ids.len() == 0);

        let mut taken = 0;
        while insert(&mut ids, taken).is_ok() {
            taken += 1;
        }
        let charged = budget.of(Part::Sessions);
        assert!((2_000..20_000).contains(&taken) && charged > 30_000);
        for id in 1..taken {
            assert!(ids.remove(id));
            ids.tidy();
        }
        assert!(ids.contains(0) && ids.len() == 1);
        assert_eq!(budget.of(Part::Sessions), 0);
    }

    #[test]
    fn a_queue_that_was_long_gives_its_memory_back() {
        let mut queue: CompactQueue<u64> = (0..10_000).collect();
        for n in 0..9_990 {
            assert_eq!(queue.pop_front(), Some(n));
        }
        let capacity = queue.0.as_ref().map(|queue| queue.capacity());
        assert!(capacity.is_some_and(|capacity| capacity < 100));
    }
}
