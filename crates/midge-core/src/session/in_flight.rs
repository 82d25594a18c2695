//! Messages in flight towards a client, by packet identifier.

use std::collections::VecDeque;

use super::Inflight;

/// Above this many slots memory is given back when nothing is in flight any more.
const KEPT_SLOTS: usize = 16;

/// Identifiers that are left alone for a while after they became free.
const RESTING: usize = 8;

/// A slab: the slot of an identifier is the one before its number. Identifiers that are free again
/// rest and are used again in the order in which they became free, so that an acknowledgement that
/// comes late or twice does not meet a new message.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Option<Box<Slab>>);

#[derive(Debug, Default)]
struct Slab {
    slots: Vec<Option<Inflight>>,
    free: VecDeque<u16>,
}

impl InFlight {
    pub(crate) fn len(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |slab| slab.slots.len() - slab.free.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An identifier that is free, never 0 (MQTT-2.2.1-4).
    #[inline]
    pub(crate) fn free_packet_id(&self) -> Option<u16> {
        let Some(slab) = &self.0 else { return Some(1) };
        let new = u16::try_from(slab.slots.len() + 1).ok();
        let rested = slab.free.front().copied();
        if slab.free.len() >= RESTING || new.is_none() {
            rested
        } else {
            new
        }
    }

    #[inline]
    pub(crate) fn get(&self, packet_id: u16) -> Option<&Inflight> {
        self.0.as_ref()?.slots.get(slot(packet_id))?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, packet_id: u16) -> Option<&mut Inflight> {
        self.0.as_mut()?.slots.get_mut(slot(packet_id))?.as_mut()
    }

    /// Puts a message in flight under an identifier that is free.
    #[inline]
    pub(crate) fn insert(&mut self, packet_id: u16, entry: Inflight) {
        let slab = self.0.get_or_insert_default();
        let at = slot(packet_id);
        if slab.free.front() == Some(&packet_id) {
            slab.free.pop_front();
        } else if at >= slab.slots.len() {
            while slab.slots.len() < at {
                slab.slots.push(None);
                slab.free.extend(u16::try_from(slab.slots.len()));
            }
            slab.slots.push(Some(entry));
            return;
        } else {
            // Only what is restored comes in any order.
            slab.free.retain(|free| *free != packet_id);
        }
        if let Some(free) = slab.slots.get_mut(at) {
            *free = Some(entry);
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, packet_id: u16) -> Option<Inflight> {
        let slab = self.0.as_mut()?;
        let entry = slab.slots.get_mut(slot(packet_id))?.take()?;
        slab.free.push_back(packet_id);
        if slab.slots.len() > KEPT_SLOTS && slab.slots.len() == slab.free.len() {
            self.0 = None;
        }
        Some(entry)
    }

    /// Everything in flight with its identifier.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Inflight)> {
        let ids = 1..=u16::MAX;
        let slots = self.0.iter_mut().flat_map(|slab| &mut slab.slots);
        ids.zip(slots)
            .filter_map(|(packet_id, slot)| Some((packet_id, slot.as_mut()?)))
    }

    /// Takes everything.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Inflight> + use<> {
        self.0
            .take()
            .into_iter()
            .flat_map(|slab| slab.slots)
            .flatten()
    }
}

/// Identifier 0 has none.
#[inline]
fn slot(packet_id: u16) -> usize {
    usize::from(packet_id).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Origin, OwnedMessage};
    use crate::session::{Delivery, Stage};
    use crate::time::Tick;
    use midge_codec::QoS;

    fn entry(sequence: u64) -> Inflight {
        let message = OwnedMessage::new("t", "x");
        let message = message.parts().keep(None, 1, Origin::Host, Tick(0), None);
        Inflight {
            delivery: Delivery {
                message,
                extra: None,
                id: 0,
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
        table.insert(packet_id, entry(sequence));
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
        for packet_id in [7, 3, 1] {
            table.insert(packet_id, entry(packet_id.into()));
        }
        let mut free: Vec<u16> = (0..5).map(|n| add(&mut table, n)).collect();
        free.sort_unstable();
        assert_eq!(free, [8, 9, 10, 11, 12]);
        let ids: Vec<u16> = table.iter_mut().map(|(packet_id, _)| packet_id).collect();
        assert_eq!(ids, [1, 3, 7, 8, 9, 10, 11, 12]);
        assert_eq!(table.take().count(), 8);
        assert!(table.is_empty());
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
