//! Messages that a session was charged for and will not send: another member of a shared group gets
//! them, or they are dropped by name.

use midge_codec::QoS;

use super::{Delivery, Reassigned, SessionGuard, Stage};
use crate::reason::DropReason;
use crate::steps;

/// Messages of an ended session that are given up in one slice.
const MESSAGES: usize = 256;

impl SessionGuard<'_> {
    /// Gives a message of a shared group to another member.
    pub(super) fn pass_on(&mut self, delivery: Delivery) {
        // First: a receipt must not see the message as done in between.
        let reassigned = Reassigned::new(delivery);
        self.state.end_accounting(&reassigned.delivery, self.env);
        self.effects.reassign.push(reassigned);
    }

    /// Ends the accounting of a message that the session was charged for. If it is one of a shared
    /// group and may be sent `again`, another member gets it; otherwise it is dropped.
    pub(crate) fn give_up(&mut self, delivery: Delivery, again: bool, reason: DropReason) {
        if again && delivery.group().is_some() {
            self.pass_on(delivery);
        } else {
            self.drop_delivery(&delivery, reason);
        }
    }

    /// Gives up what is in flight. Messages of shared groups go to other members, but for QoS 2
    /// messages that were sent already (MQTT-4.8.2-5).
    pub(crate) fn give_up_inflight(&mut self) {
        if self.state.inflight.is_empty() {
            return;
        }

        let mut inflight: Vec<_> = self.state.inflight.take().collect();
        inflight.sort_unstable_by_key(|entry| entry.sequence);
        for entry in inflight {
            let qos = entry.delivery.qos;
            let again = entry.stage == Stage::Published && qos == QoS::AtLeastOnce;
            self.give_up(entry.delivery, again, DropReason::SessionEnded);
        }
    }

    /// Gives up some of the messages that wait for an ended session; whether more are left.
    pub(crate) fn give_up_some(&mut self) -> bool {
        for _ in 0..MESSAGES {
            steps::add(1);
            let Some(delivery) = self.state.take_any(self.env) else {
                return false;
            };
            self.give_up(delivery, true, DropReason::SessionEnded);
        }
        true
    }
}
