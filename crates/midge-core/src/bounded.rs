//! The list in every queue to the host: items in their order, bounded in number and in bytes.

use std::collections::VecDeque;

/// What happens when a queue to the host is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueOverflow {
    /// The oldest item makes room.
    #[default]
    DropOldest,
    /// The new item is dropped.
    DropNewest,
}

/// Bounds and policy of a queue to the host.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueueLimits {
    /// Most items, at least 1.
    pub items: usize,
    /// Most bytes of topics, properties and payloads.
    pub bytes: usize,
    /// What gives way.
    pub overflow: QueueOverflow,
}

impl QueueLimits {
    /// So many items and bytes, of which the oldest give way.
    pub const fn new(items: usize, bytes: usize) -> Self {
        Self {
            items,
            bytes,
            overflow: QueueOverflow::DropOldest,
        }
    }

    /// Sets what gives way.
    #[must_use]
    pub const fn overflow(mut self, overflow: QueueOverflow) -> Self {
        self.overflow = overflow;
        self
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            items: 1024,
            bytes: 16 << 20,
            overflow: QueueOverflow::DropOldest,
        }
    }
}

/// How an item has come into a [`Bounded`] list; kept with it. `()` keeps nothing.
pub trait Arrival {
    /// Whether items are numbered and losses told.
    const COUNTS: bool;

    /// The item with this number, from 1 on, comes in; so many were lost since the one before it.
    fn new(number: u64, lost: u64) -> Self;

    /// Items that were lost just before this one.
    fn lost(&self) -> u64;

    /// Adds to [`Arrival::lost`].
    fn lose(&mut self, count: u64);
}

impl Arrival for () {
    const COUNTS: bool = false;

    fn new(_: u64, _: u64) -> Self {}

    fn lost(&self) -> u64 {
        0
    }

    fn lose(&mut self, _: u64) {}
}

#[derive(Debug)]
struct Entry<T, A> {
    item: T,
    arrival: A,
    size: usize,
}

/// Items in the order of their arrival, within limits. It has no lock and wakes nothing.
#[derive(Debug)]
pub struct Bounded<T, A = ()> {
    entries: VecDeque<Entry<T, A>>,
    bytes: usize,
    limits: QueueLimits,
    /// Items that came so far, those included that were dropped at once.
    arrived: u64,
    /// Lost since the last item was appended.
    lost: u64,
}

impl<T, A: Arrival> Bounded<T, A> {
    /// An empty list.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            limits: QueueLimits {
                items: limits.items.max(1),
                ..limits
            },
            arrived: 0,
            lost: 0,
        }
    }

    pub(crate) fn limits(&self) -> &QueueLimits {
        &self.limits
    }

    /// Appends an item of that many bytes. What gives way for it, or the item itself, is moved to
    /// `dropped`, to be dropped without a lock; so is an item that there is no memory for. One item
    /// always fits. Whether it was taken.
    // Inlined: an item in two registers, stored and at once read as a whole, stalls the processor.
    #[inline(always)]
    pub fn push(&mut self, item: T, size: usize, dropped: &mut Vec<T>) -> bool {
        if A::COUNTS {
            self.arrived += 1;
        }

        let has_room =
            self.entries.len() < self.entries.capacity() || self.entries.try_reserve(1).is_ok();
        if self.is_full(size) || !has_room {
            if self.limits.overflow == QueueOverflow::DropNewest || !has_room {
                self.lose(1);
                dropped.push(item);
                return false;
            }
            self.make_room(size, dropped);
        }

        self.bytes += size;
        let arrival = match A::COUNTS {
            true => A::new(self.arrived, std::mem::take(&mut self.lost)),
            false => A::new(0, 0),
        };
        self.entries.push_back(Entry {
            item,
            arrival,
            size,
        });
        true
    }

    fn is_full(&self, size: usize) -> bool {
        self.entries.len() >= self.limits.items
            || (!self.entries.is_empty() && self.bytes + size > self.limits.bytes)
    }

    #[cold]
    fn make_room(&mut self, size: usize, dropped: &mut Vec<T>) {
        while self.is_full(size) {
            let Some(old) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= old.size;
            // The losses that the dropped item would have told are told by the next one.
            let lost = old.arrival.lost() + 1;
            match self.entries.front_mut() {
                Some(next) => next.arrival.lose(lost),
                None => self.lose(lost),
            }
            dropped.push(old.item);
        }
    }

    /// Items were lost on their way here.
    pub fn lose(&mut self, count: u64) {
        if A::COUNTS {
            self.lost += count;
        }
    }

    /// Takes the oldest item.
    #[inline]
    pub fn pop(&mut self) -> Option<(T, A)> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.size;
        Some((entry.item, entry.arrival))
    }

    /// Moves up to `max` of the oldest items to the end of `into`; the number moved.
    pub(crate) fn drain_into(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let count = self.entries.len().min(max);
        let mut freed = 0;
        into.extend(self.entries.drain(..count).map(|entry| {
            freed += entry.size;
            entry.item
        }));
        self.bytes -= freed;
        count
    }

    /// Drops the items that `stays` is false for. In place: there may be no memory for a list of them.
    pub fn retain(&mut self, stays: impl Fn(&T) -> bool) {
        let Self { entries, bytes, .. } = self;
        entries.retain(|entry| {
            let stays = stays(&entry.item);
            if !stays {
                *bytes -= entry.size;
            }
            stays
        });
    }

    /// Takes all items, and leaves an empty list.
    pub fn take(&mut self) -> Self {
        let limits = self.limits;
        std::mem::replace(self, Self::new(limits))
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Numbered(u64, u64);

    impl Arrival for Numbered {
        const COUNTS: bool = true;

        fn new(number: u64, lost: u64) -> Self {
            Self(number, lost)
        }

        fn lost(&self) -> u64 {
            self.1
        }

        fn lose(&mut self, count: u64) {
            self.1 += count;
        }
    }

    fn list(items: usize, overflow: QueueOverflow) -> Bounded<u32, Numbered> {
        Bounded::new(QueueLimits::new(items, 100).overflow(overflow))
    }

    #[test]
    fn the_item_behind_a_loss_tells_it() {
        let (mut list, mut dropped) = (list(2, QueueOverflow::DropOldest), Vec::new());
        list.lose(3);
        for n in 0..4 {
            list.push(n, 1, &mut dropped);
        }
        assert_eq!(dropped, [0, 1]);
        assert_eq!(list.pop(), Some((2, Numbered(3, 5))));
        assert_eq!(list.pop(), Some((3, Numbered(4, 0))));

        // Nothing is left that could tell of the last one before the next one comes.
        list.push(4, 1, &mut dropped);
        list.push(5, 200, &mut dropped);
        assert_eq!((list.pop(), list.len()), (Some((5, Numbered(6, 1))), 0));
    }

    #[test]
    fn the_next_item_tells_of_newer_ones_that_gave_way() {
        let (mut list, mut dropped) = (list(1, QueueOverflow::DropNewest), Vec::new());
        for n in 0..3 {
            list.push(n, 1, &mut dropped);
        }
        assert_eq!(
            (list.pop(), &*dropped),
            (Some((0, Numbered(1, 0))), &[1, 2][..])
        );
        list.push(3, 1, &mut dropped);
        assert_eq!(list.pop(), Some((3, Numbered(4, 2))));
    }

    #[test]
    fn bytes_come_back_whatever_takes_an_item() {
        let (mut list, mut dropped) = (list(9, QueueOverflow::DropOldest), Vec::new());
        for round in 0..3 {
            list.push(round, 60, &mut dropped);
            list.push(round + 10, 40, &mut dropped);
            assert_eq!((list.len(), list.bytes), (2, 100));
            match round {
                0 => list.retain(|item| *item != 0),
                1 => drop(list.take()),
                _ => assert_eq!(list.drain_into(&mut Vec::new(), 1), 1),
            }
            while list.pop().is_some() {}
            assert_eq!(list.bytes, 0);
        }
        assert!(dropped.is_empty());
    }
}
