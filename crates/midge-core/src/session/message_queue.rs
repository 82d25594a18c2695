//! Messages that wait for a client, in their order; those that expire are found wherever they stand.

use std::collections::{BTreeSet, VecDeque};

use super::Delivery;
use crate::steps;
use crate::time::{Tick, TimerKey};

/// A queue that most sessions leave empty: it takes one pointer then.
#[derive(Debug, Default)]
pub(crate) struct MessageQueue(Option<Box<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// With the places of messages that were taken from the middle, in the order of their numbers. The
    /// first and the last are no such places.
    slots: VecDeque<Slot>,
    /// Messages in the slots.
    count: usize,
    /// Those that expire, the first one first.
    expiring: BTreeSet<(Tick, u64)>,
    /// When it is to be looked for messages that have expired.
    timer: Option<TimerKey>,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    delivery: Option<Delivery>,
}

/// The number of the first message of an empty queue: there is room on both sides.
const MIDDLE: u64 = 1 << 63;
/// A queue with fewer messages than one part of its memory gives half of it back.
const SPARSE: usize = 4;
/// Unless it is as short as that.
const FEW: usize = 8;
/// Empty places are removed when there are more than this and than a quarter of the messages, so that
/// each costs a few moves at most.
const EMPTY: usize = 16;

impl Inner {
    fn note(&mut self, number: u64, delivery: &Delivery) {
        self.count += 1;
        let expires = delivery.message.expires();
        if expires != Tick::NEVER {
            self.expiring.insert((expires, number));
        }
    }

    fn forget(&mut self, number: u64, delivery: &Delivery) {
        self.count -= 1;
        let expires = delivery.message.expires();
        if expires != Tick::NEVER {
            self.expiring.remove(&(expires, number));
        }
    }

    /// Removes empty places from both ends.
    fn trim(&mut self) {
        while (self.slots.front()).is_some_and(|slot| slot.delivery.is_none()) {
            self.slots.pop_front();
        }
        while (self.slots.back()).is_some_and(|slot| slot.delivery.is_none()) {
            self.slots.pop_back();
        }
    }

    /// Removes empty places where there are too many of them.
    fn compact(&mut self) {
        let empty = self.slots.len() - self.count;
        if empty > EMPTY && empty > self.count / SPARSE {
            steps::add(self.slots.len() / 64);
            self.slots.retain(|slot| slot.delivery.is_some());
        }
    }
}

impl MessageQueue {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.count == 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.count)
    }

    /// All messages, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        let slots = self.0.iter().flat_map(|inner| &inner.slots);
        slots.filter_map(|slot| slot.delivery.as_ref())
    }

    /// The message that [`MessageQueue::pop_front`] takes.
    #[inline]
    pub(crate) fn front(&self) -> Option<&Delivery> {
        self.0.as_deref()?.slots.front()?.delivery.as_ref()
    }

    pub(crate) fn push_back(&mut self, delivery: Delivery) {
        let inner = self.0.get_or_insert_default();
        let number = (inner.slots.back()).map_or(MIDDLE, |slot| slot.number + 1);
        inner.note(number, &delivery);
        inner.slots.push_back(Slot {
            number,
            delivery: Some(delivery),
        });
    }

    pub(crate) fn push_front(&mut self, delivery: Delivery) {
        let inner = self.0.get_or_insert_default();
        let number = (inner.slots.front()).map_or(MIDDLE, |slot| slot.number - 1);
        inner.note(number, &delivery);
        inner.slots.push_front(Slot {
            number,
            delivery: Some(delivery),
        });
    }

    pub(crate) fn pop_front(&mut self) -> Option<Delivery> {
        let inner = self.0.as_deref_mut()?;
        let slot = inner.slots.pop_front()?;
        let delivery = slot.delivery?;
        inner.forget(slot.number, &delivery);
        self.tidy();
        Some(delivery)
    }

    /// The number of a message that has expired, the one that did so first.
    pub(crate) fn expired(&self, now: Tick) -> Option<u64> {
        let (at, number) = self.0.as_deref()?.expiring.first()?;
        (*at <= now).then_some(*number)
    }

    /// Whether a message is among the first `most`.
    pub(crate) fn is_among_first(&self, number: u64, most: usize) -> bool {
        let slots = self.0.iter().flat_map(|inner| &inner.slots);
        let mut first = slots.filter(|slot| slot.delivery.is_some()).take(most);
        first.any(|slot| slot.number == number)
    }

    /// Takes a message out, wherever it stands.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Delivery> {
        let inner = self.0.as_deref_mut()?;
        let at = inner
            .slots
            .binary_search_by_key(&number, |slot| slot.number);
        let delivery = inner.slots.get_mut(at.ok()?)?.delivery.take()?;
        inner.forget(number, &delivery);
        inner.compact();
        self.tidy();
        Some(delivery)
    }

    /// When the next message expires, if no deadline is armed for it.
    pub(crate) fn unwatched(&self) -> Option<Tick> {
        let inner = self.0.as_deref()?;
        let (at, _) = inner.expiring.first()?;
        let is_watched = inner.timer.is_some_and(|timer| timer.at() <= *at);
        (!is_watched).then_some(*at)
    }

    /// Notes when it is going to be looked; the deadline before, if there is one.
    pub(crate) fn set_timer(&mut self, timer: Option<TimerKey>) -> Option<TimerKey> {
        let inner = self.0.as_deref_mut()?;
        let before = std::mem::replace(&mut inner.timer, timer);
        self.tidy();
        before
    }

    /// The deadline, if it has come.
    pub(crate) fn take_timer(&mut self, now: Tick) -> bool {
        let timer = self.0.as_deref().and_then(|inner| inner.timer);
        let has_come = timer.is_some_and(|timer| timer.at() <= now);
        if has_come {
            self.set_timer(None);
        }
        has_come
    }

    /// Gives memory back that is not used any more.
    fn tidy(&mut self) {
        let Some(inner) = self.0.as_deref_mut() else {
            return;
        };
        inner.trim();
        if inner.slots.len() * SPARSE >= inner.slots.capacity() && inner.count > 0 {
            return;
        }
        if inner.count == 0 && inner.timer.is_none() {
            self.0 = None;
        } else if inner.slots.capacity() > FEW {
            inner.slots.shrink_to(inner.slots.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Account, MessageRef, Origin};
    use crate::session::Due;
    use crate::time::Timers;
    use midge_codec::QoS;

    /// A message with this number for a name, that expires after so many seconds, 0 for never.
    fn delivery(name: u32, expiry: u32) -> Delivery {
        let payload = name.to_be_bytes();
        let mut message = MessageRef::new("t", &payload);
        message.expiry = (expiry > 0).then_some(expiry);
        Delivery {
            message: message.keep(None, 1, Origin::Host, Tick(0), None, Account::Host),
            extra: None,
            id: 0,
            packet_id: 0,
            qos: QoS::AtLeastOnce,
            retain: false,
        }
    }

    fn name(delivery: &Delivery) -> u32 {
        let payload = delivery.message.payload().try_into();
        payload.map_or(u32::MAX, u32::from_be_bytes)
    }

    fn expire(queue: &mut MessageQueue, now: Tick) -> Vec<u32> {
        let mut gone = Vec::new();
        while let Some(number) = queue.expired(now) {
            gone.extend(queue.remove(number).as_ref().map(name));
        }
        gone
    }

    fn drain(queue: &mut MessageQueue) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop_front())
            .map(|delivery| name(&delivery))
            .collect()
    }

    #[test]
    fn what_expires_is_taken_from_anywhere_and_the_rest_stays_in_order() {
        let mut queue = MessageQueue::default();
        for (message, expiry) in [(1, 0), (2, 5), (3, 3), (4, 0), (5, 3)] {
            queue.push_back(delivery(message, expiry));
        }
        queue.push_front(delivery(0, 4));
        assert_eq!(queue.len(), 6);
        assert!(expire(&mut queue, Tick(2_999)).is_empty());
        assert_eq!(expire(&mut queue, Tick(3_000)), [3, 5]);
        assert_eq!(expire(&mut queue, Tick(9_000)), [0, 2]);
        queue.push_back(delivery(6, 1));
        queue.push_front(delivery(7, 0));
        assert_eq!(drain(&mut queue), [7, 1, 4, 6]);
        assert!(queue.is_empty() && queue.0.is_none());
        assert!(queue.expired(Tick::LAST).is_none());
    }

    #[test]
    fn empty_places_do_not_pile_up() {
        let mut queue = MessageQueue::default();
        queue.push_back(delivery(0, 0));
        for message in 1..10_000 {
            queue.push_back(delivery(message, 1));
            queue.push_back(delivery(message, 0));
            if message > 10 {
                assert_eq!(
                    expire(&mut queue, Tick(1_000)).len(),
                    if message == 11 { 11 } else { 1 }
                );
            }
            let places = queue.0.as_ref().map_or(0, |inner| inner.slots.len());
            assert!(places <= queue.len() * 5 / 4 + 2 * EMPTY + 11, "{places}");
        }
        let left = drain(&mut queue);
        assert_eq!(left.len(), 10_000);
        assert!(left.is_sorted());
    }

    #[test]
    fn a_queue_that_was_long_gives_its_memory_back() {
        let mut queue = MessageQueue::default();
        for message in 0..10_000 {
            queue.push_back(delivery(message, 1 + message % 2 * 9));
        }
        assert_eq!(expire(&mut queue, Tick(1_000)).len(), 5_000);
        for message in 0..4_990 {
            assert_eq!(queue.pop_front().as_ref().map(name), Some(2 * message + 1));
        }
        let capacity = queue.0.as_ref().map(|inner| inner.slots.capacity());
        assert!(
            capacity.is_some_and(|capacity| capacity < 100),
            "{capacity:?}"
        );
        assert_eq!(expire(&mut queue, Tick(10_000)).len(), 10);
        assert!(queue.0.is_none());
    }

    #[test]
    fn a_deadline_is_asked_for_when_no_earlier_one_is_there() {
        let (mut queue, timers) = (MessageQueue::default(), Timers::default());
        let arm = |at| Some(timers.arm(at, Due::Sys).0);
        queue.push_back(delivery(0, 0));
        assert_eq!(queue.unwatched(), None);
        queue.push_back(delivery(1, 5));
        assert_eq!(queue.unwatched(), Some(Tick(5_000)));
        assert_eq!(queue.set_timer(arm(Tick(5_000))), None);
        queue.push_back(delivery(2, 9));
        assert_eq!(queue.unwatched(), None);
        queue.push_back(delivery(3, 2));
        assert_eq!(queue.unwatched(), Some(Tick(2_000)));
        let before = queue.set_timer(arm(Tick(2_000)));
        assert_eq!(before.map(TimerKey::at), Some(Tick(5_000)));

        assert!(!queue.take_timer(Tick(1_999)));
        assert!(queue.take_timer(Tick(2_000)) && !queue.take_timer(Tick(2_000)));
        assert_eq!(expire(&mut queue, Tick(2_000)), [3]);
        assert_eq!(queue.unwatched(), Some(Tick(5_000)));
        // It is remembered as long as it is armed.
        assert_eq!(queue.set_timer(arm(Tick(5_000))), None);
        assert_eq!(drain(&mut queue), [0, 1, 2]);
        assert!(queue.is_empty() && queue.0.is_some());
        assert!(queue.take_timer(Tick(5_000)) && queue.0.is_none());
    }

    #[test]
    fn the_first_ones_are_known() {
        let mut queue = MessageQueue::default();
        for message in 0..5 {
            queue.push_back(delivery(message, 1));
        }
        assert!(queue.remove(MIDDLE + 1).is_some());
        assert!(queue.is_among_first(MIDDLE, 1));
        assert!(queue.is_among_first(MIDDLE + 2, 2));
        assert!(!queue.is_among_first(MIDDLE + 3, 2));
        assert!(!queue.is_among_first(MIDDLE + 1, 9));
        assert!(queue.remove(MIDDLE + 1).is_none());
    }
}
