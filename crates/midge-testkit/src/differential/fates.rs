//! Every message and receiver has one fate.

use midge_core::{DropReason, Event, Stats};

/// Sums over everything that was published: what was due to receivers, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Receivers that matched, over all messages.
    pub due: u64,
    /// QoS 0 messages that were written, QoS 1 and 2 messages that were acknowledged, and messages that
    /// the host got.
    pub delivered: u64,
    /// Messages that wait or are in flight at the end.
    pub waiting: u64,
    /// Messages that a receiver did not get, by reason.
    pub dropped: Vec<(DropReason, u64)>,
}

impl Fates {
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Published { matched, .. } => self.due += *matched as u64,
            Event::Delivered { qos, .. } if *qos as u8 == 0 => self.delivered += 1,
            Event::Acknowledged { .. } => self.delivered += 1,
            Event::Dropped { reason, .. } => {
                match self.dropped.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, count)) => *count += 1,
                    None => self.dropped.push((*reason, 1)),
                }
            }
            _ => {}
        }
    }

    /// The first sum that does not add up, if any. `adds_up` leaves out retained messages, which have no
    /// publish of their own for each receiver.
    pub(super) fn fault(&self, stats: &Stats, adds_up: bool) -> Option<String> {
        for (reason, count) in stats.dropped() {
            let told = self.dropped.iter().find(|(known, _)| *known == reason);
            let told = told.map_or(0, |(_, count)| *count);
            if told != count {
                return Some(format!("{count} drops {reason:?} counted, {told} told"));
            }
        }
        let dropped: u64 = (self.dropped.iter())
            .filter(|(reason, _)| concerns_a_receiver(*reason))
            .map(|(_, count)| count)
            .sum();
        let sum = self.delivered + self.waiting + dropped;
        (adds_up && sum != self.due).then(|| format!("{sum} fates: {self:?}"))
    }
}

/// Other messages were not taken from their publisher, or not retained.
fn concerns_a_receiver(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::QueueFull
            | DropReason::TotalQueueFull
            | DropReason::PacketTooLarge
            | DropReason::NotConnected
            | DropReason::Expired
            | DropReason::SessionEnded
            | DropReason::RefusedByReceiver
    )
}
