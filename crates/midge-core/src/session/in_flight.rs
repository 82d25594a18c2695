//! Messages in flight towards a client, by packet identifier.

use std::collections::VecDeque;

use super::Inflight;

/// Above this many slots memory is given back when nothing is in flight any more.
const KEPT_SLOTS: usize = 16;

/// A slab: the slot of an identifier is the one before its number. Identifiers that are free again
/// are used again in the order in which they became free, so that a late acknowledgement does not
/// soon meet a new message.
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
        match slab.free.front() {
            Some(packet_id) => Some(*packet_id),
            None => u16::try_from(slab.slots.len() + 1).ok(),
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
