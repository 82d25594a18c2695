//! Messages in flight towards a client, by packet identifier.

use std::sync::Arc;

use hashbrown::HashMap;

use super::Inflight;
use crate::budget::{Budget, Charge, Part};
use crate::sync::Hashing;

/// Above this many slots memory is given back when nothing is in flight any more.
const KEPT_SLOTS: usize = 16;

/// Memory of a message under a given identifier.
const NUMBERED: usize = 8 * size_of::<(u16, Inflight)>() / 7;

/// Identifiers that are left alone for a while after they became free.
const RESTING: usize = 8;

/// A slab: the slot of an identifier is the one before its number. Identifiers that are free again
/// rest and are used again in the order in which they became free, so that an acknowledgement that
/// comes late or twice does not meet a new message.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Option<Box<Slab>>);

#[derive(Debug, Default)]
struct Slab {
    slots: Vec<Slot>,
    /// Free slots: a list in the slots themselves.
    free: usize,
    /// The identifiers that became free first and last, if any is free.
    first: u16,
    last: u16,
    /// The order of sending, among what is in flight at the same time.
    sequence: u64,
    /// Slots that need no further charge.
    charged: usize,
    /// For the slots, which stay when the messages go that were charged for them.
    charge: Option<Charge>,
    /// Messages whose identifiers were given before, anywhere among all that there are.
    numbered: HashMap<u16, Inflight, Hashing>,
}

#[derive(Debug)]
enum Slot {
    Used(Inflight),
    /// With the identifier that became free next, unless it is the last one.
    Free(u16),
}

impl Slot {
    fn used(&self) -> Option<&Inflight> {
        match self {
            Self::Used(entry) => Some(entry),
            Self::Free(_) => None,
        }
    }

    fn used_mut(&mut self) -> Option<&mut Inflight> {
        match self {
            Self::Used(entry) => Some(entry),
            Self::Free(_) => None,
        }
    }
}

impl Slab {
    fn set(&mut self, packet_id: u16, slot: Slot) -> Option<Slot> {
        let place = self.slots.get_mut(place(packet_id))?;
        Some(std::mem::replace(place, slot))
    }

    /// Charges the slots after their number has grown.
    #[cold]
    fn charge(&mut self, budget: &Arc<Budget>) {
        self.charged = self.slots.capacity();
        let numbered = self.numbered.capacity();
        if self.charged + numbered > KEPT_SLOTS {
            self.charge
                .get_or_insert_with(|| Charge::new(budget, Part::Sessions))
                .set(self.charged * size_of::<Slot>() + numbered * NUMBERED);
        }
    }

    fn next_free(&self, packet_id: u16) -> u16 {
        match self.slots.get(place(packet_id)) {
            Some(Slot::Free(next)) => *next,
            _ => 0,
        }
    }

    /// Appends an identifier, whose slot is free, to the list.
    #[inline]
    fn rest(&mut self, packet_id: u16) {
        if self.free == 0 {
            self.first = packet_id;
        } else {
            self.set(self.last, Slot::Free(packet_id));
        }
        self.last = packet_id;
        self.free += 1;
    }

    /// Takes an identifier out of the list, wherever it is.
    fn wake(&mut self, packet_id: u16) {
        let next = self.next_free(packet_id);
        if packet_id == self.first {
            self.first = next;
        } else {
            let mut before = self.first;
            while before != 0 && self.next_free(before) != packet_id {
                before = self.next_free(before);
            }
            self.set(before, Slot::Free(next));
            if packet_id == self.last {
                self.last = before;
            }
        }
        self.free -= 1;
    }
}

impl InFlight {
    pub(crate) fn len(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |slab| slab.slots.len() - slab.free + slab.numbered.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An identifier that is free, never 0 (MQTT-2.2.1-4).
    #[inline]
    pub(crate) fn free_packet_id(&self) -> Option<u16> {
        let Some(slab) = &self.0 else { return Some(1) };
        let new = u16::try_from(slab.slots.len() + 1).ok();
        if slab.free >= RESTING || new.is_none() {
            Some(slab.first).filter(|_| slab.free > 0)
        } else {
            new
        }
    }

    #[inline]
    pub(crate) fn get(&self, packet_id: u16) -> Option<&Inflight> {
        let slab = self.0.as_ref()?;
        let used = slab.slots.get(place(packet_id)).and_then(Slot::used);
        used.or_else(|| slab.numbered.get(&packet_id))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, packet_id: u16) -> Option<&mut Inflight> {
        let slab = self.0.as_deref_mut()?;
        let used = (slab.slots.get_mut(place(packet_id))).and_then(Slot::used_mut);
        used.or_else(|| slab.numbered.get_mut(&packet_id))
    }

    /// As [`InFlight::insert`], under an identifier that was not asked for here.
    pub(crate) fn insert_numbered(
        &mut self,
        packet_id: u16,
        mut entry: Inflight,
        budget: &Arc<Budget>,
    ) {
        let slab = self.0.get_or_insert_default();
        slab.sequence += 1;
        entry.sequence = slab.sequence;

        let before = slab.numbered.capacity();
        slab.numbered.insert(packet_id, entry);
        if slab.numbered.capacity() != before {
            slab.charge(budget);
        }
    }

    /// The highest id of the messages in flight, 0 for none.
    pub(crate) fn newest_message(&self) -> u64 {
        let slab = self.0.as_deref();
        let slots = slab.into_iter().flat_map(|slab| &slab.slots);
        let numbered = slab.into_iter().flat_map(|slab| slab.numbered.values());
        let all = slots.filter_map(Slot::used).chain(numbered);
        all.map(|entry| entry.delivery.message.id())
            .max()
            .unwrap_or(0)
    }

    /// Puts a message in flight under an identifier that is free, the last one in the order of sending.
    #[inline]
    pub(crate) fn insert(&mut self, packet_id: u16, mut entry: Inflight, budget: &Arc<Budget>) {
        let slab = self.0.get_or_insert_default();
        slab.sequence += 1;
        entry.sequence = slab.sequence;

        let at = place(packet_id);
        if at < slab.slots.len() {
            // In any other order than they became free only what is restored.
            slab.wake(packet_id);
            slab.set(packet_id, Slot::Used(entry));
            return;
        }

        while slab.slots.len() < at {
            slab.slots.push(Slot::Free(0));
            slab.rest(u16::try_from(slab.slots.len()).unwrap_or_default());
        }

        slab.slots.push(Slot::Used(entry));
        if slab.slots.len() > slab.charged {
            slab.charge(budget);
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, packet_id: u16) -> Option<Inflight> {
        let slab = self.0.as_mut()?;
        let slot = (slab.slots.get_mut(place(packet_id))).filter(|slot| slot.used().is_some());
        let Some(slot) = slot else {
            return self.remove_numbered(packet_id);
        };
        let Slot::Used(entry) = std::mem::replace(slot, Slot::Free(0)) else {
            return None;
        };
        slab.rest(packet_id);
        if slab.slots.len() > KEPT_SLOTS && slab.slots.len() == slab.free {
            self.tidy();
        }
        Some(entry)
    }

    fn remove_numbered(&mut self, packet_id: u16) -> Option<Inflight> {
        let slab = self.0.as_deref_mut()?;
        let entry = slab.numbered.remove(&packet_id)?;
        if slab.numbered.capacity() > KEPT_SLOTS && slab.numbered.is_empty() {
            self.tidy();
        }
        Some(entry)
    }

    /// Gives the memory back when nothing is in flight.
    fn tidy(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }

    /// Everything in flight with its identifier.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Inflight)> {
        let ids = 1..=u16::MAX;
        let (slots, numbered) = match self.0.as_deref_mut() {
            Some(slab) => (Some(&mut slab.slots), Some(&mut slab.numbered)),
            None => (None, None),
        };
        let slots = ids.zip(slots.into_iter().flatten());
        let numbered = numbered.into_iter().flatten();
        slots
            .filter_map(|(packet_id, slot)| Some((packet_id, slot.used_mut()?)))
            .chain(numbered.map(|(packet_id, entry)| (*packet_id, entry)))
    }

    /// Takes everything.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Inflight> + use<> {
        let slab = self.0.take().map(|slab| *slab).unwrap_or_default();
        let slots = slab.slots.into_iter().filter_map(|slot| match slot {
            Slot::Used(entry) => Some(entry),
            Slot::Free(_) => None,
        });
        slots.chain(slab.numbered.into_values())
    }
}

/// Identifier 0 has none.
#[inline]
fn place(packet_id: u16) -> usize {
    usize::from(packet_id).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Account, Origin, OwnedMessage};
    use crate::session::{Delivery, Stage};
    use crate::time::Tick;
    use midge_codec::QoS;

    fn entry(sequence: u64) -> Inflight {
        let message = OwnedMessage::new("t", "x");
        let message = message
            .parts()
            .keep(None, 1, Origin::Host, Tick(0), None, Account::Host);
        Inflight {
            delivery: Delivery {
                message,
                extra: None,
                id: 0,
                packet_id: 0,
                qos: QoS::AtLeastOnce,
                retain: false,
            },
            sequence,
            stage: Stage::Published,
            counted: true,
        }
    }

    fn add(table: &mut InFlight, sequence: u64) -> u16 {
        let packet_id = table.free_packet_id().unwrap();
        table.insert(packet_id, entry(sequence), &Budget::new(0));
        packet_id
    }

    #[test]
    fn mqtt_2_2_1_4_identifiers_are_free_and_used_again_late() {
        let mut table = InFlight::default();
        let ids: Vec<u16> = (0..4).map(|n| add(&mut table, n)).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        assert!(table.remove(2).is_some() && table.remove(2).is_none());
        assert!(table.remove(1).is_some());
        assert!(table.remove(0).is_none() && table.remove(9).is_none());
        let more: Vec<u16> = (5..11).map(|n| add(&mut table, n)).collect();
        assert_eq!(more, [5, 6, 7, 8, 9, 10]);
        for packet_id in 3..=8 {
            assert!(table.remove(packet_id).is_some());
        }
        // Eight rest: now the first ones have rested long enough.
        assert_eq!([add(&mut table, 11), add(&mut table, 12)], [2, 11]);
        assert_eq!(table.get(2).map(|e| e.sequence), Some(11));
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn what_is_restored_comes_in_any_order() {
        let mut table = InFlight::default();
        for packet_id in [7, 3, 1, 6] {
            table.insert(packet_id, entry(packet_id.into()), &Budget::new(0));
        }

        let free: Vec<u16> = (0..5).map(|n| add(&mut table, n)).collect();
        assert_eq!(free, [8, 9, 10, 11, 12]);

        let ids: Vec<u16> = table.iter_mut().map(|(packet_id, _)| packet_id).collect();
        assert_eq!(ids, [1, 3, 6, 7, 8, 9, 10, 11, 12]);

        // Identifiers that were never used rest first.
        for packet_id in [9, 3, 7, 12, 1] {
            assert!(table.remove(packet_id).is_some());
        }

        let again: Vec<u16> = (0..2).map(|n| add(&mut table, n)).collect();
        assert_eq!(again, [2, 13]);
        for packet_id in [10, 8] {
            assert!(table.remove(packet_id).is_some());
        }

        let again: Vec<u16> = (0..2).map(|n| add(&mut table, n)).collect();
        assert_eq!(again, [4, 5]);
        assert_eq!(table.take().count(), 6);
        assert!(table.is_empty());
    }

    #[test]
    fn slots_stay_charged_as_long_as_they_are_there() {
        let (mut table, budget) = (InFlight::default(), Budget::new(0));
        for packet_id in 1..=1_000 {
            table.insert(packet_id, entry(0), &budget);
        }
        let charged = budget.of(Part::Sessions);
        assert!(charged >= 1_000 * size_of::<Slot>());
        for packet_id in 1..1_000 {
            assert!(table.remove(packet_id).is_some());
        }
        assert_eq!(budget.of(Part::Sessions), charged);
        assert!(table.remove(1_000).is_some());
        assert_eq!(budget.of(Part::Sessions), 0);
    }

    #[test]
    fn all_identifiers_can_be_in_use() {
        let mut table = InFlight::default();
        for n in 0..u64::from(u16::MAX) {
            add(&mut table, n);
        }
        assert_eq!((table.free_packet_id(), table.len()), (None, 65_535));
        for packet_id in 1..=u16::MAX {
            assert!(table.remove(packet_id).is_some());
        }
        assert!(table.is_empty() && table.0.is_none());
    }
}
