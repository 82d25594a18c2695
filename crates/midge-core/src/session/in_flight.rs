//! Messages in flight towards a client, by packet identifier.

use std::collections::VecDeque;

use super::Inflight;

/// Above this many slots memory is given back when nothing is in flight any more.
const KEPT_SLOTS: usize = 16;

/// A slab: the slot of an identifier is the one before its number. Identifiers that are free again
/// are used again in the order in which they became free, so that a late acknowledgement does not
/// soon meet a new message.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    slots: Vec<Option<Inflight>>,
    free: VecDeque<u16>,
}

impl InFlight {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An identifier that is free, never 0 (MQTT-2.2.1-4).
    #[inline]
    pub(crate) fn free_packet_id(&self) -> Option<u16> {
        match self.free.front() {
            Some(packet_id) => Some(*packet_id),
            None => u16::try_from(self.slots.len() + 1).ok(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, packet_id: u16) -> Option<&Inflight> {
        self.slots.get(slot(packet_id))?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, packet_id: u16) -> Option<&mut Inflight> {
        self.slots.get_mut(slot(packet_id))?.as_mut()
    }

    /// Puts a message in flight under an identifier that is free.
    #[inline]
    pub(crate) fn insert(&mut self, packet_id: u16, entry: Inflight) {
        let at = slot(packet_id);
        if self.free.front() == Some(&packet_id) {
            self.free.pop_front();
        } else if at >= self.slots.len() {
            while self.slots.len() < at {
                self.slots.push(None);
                self.free.extend(u16::try_from(self.slots.len()));
            }
            self.slots.push(Some(entry));
            return;
        } else {
            // Only what is restored comes in any order.
            self.free.retain(|free| *free != packet_id);
        }
        if let Some(free) = self.slots.get_mut(at) {
            *free = Some(entry);
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, packet_id: u16) -> Option<Inflight> {
        let entry = self.slots.get_mut(slot(packet_id))?.take()?;
        self.free.push_back(packet_id);
        if self.slots.len() > KEPT_SLOTS && self.is_empty() {
            *self = Self::default();
        }
        Some(entry)
    }

    /// Everything in flight with its identifier.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Inflight)> {
        let ids = 1..=u16::MAX;
        ids.zip(&mut self.slots)
            .filter_map(|(packet_id, slot)| Some((packet_id, slot.as_mut()?)))
    }

    /// Takes everything.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Inflight> + use<> {
        std::mem::take(self).slots.into_iter().flatten()
    }
}

/// Identifier 0 has none.
#[inline]
fn slot(packet_id: u16) -> usize {
    usize::from(packet_id).wrapping_sub(1)
}
