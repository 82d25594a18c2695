//! Sending what waits: the queue, retained messages, and what a resumed session sends again.

use midge_codec::{QoS, ReasonCode};

use super::acknowledge::{AckKind, encode_ack};
use super::room::{encode, takes};
use super::{Delivery, Env, SessionGuard, Stage, State};
use crate::reason::DropReason;
use crate::session::attached::OUTBOX_HIGH;
use crate::sync::atomic::Ordering;

/// The same as [`OUTBOX_HIGH`] when so much is held for all clients that nothing new is admitted:
/// what waits is charged already, its encoded copies are not.
const OUTBOX_FULL: usize = 4 * 1024;

/// Messages looked at in one go when a queue drains, so that one session cannot hold up a thread.
pub(crate) const PUMP_BUDGET: usize = 4096;
/// Messages that hooks are asked about in one go before they leave a queue.
const ASKED_TOGETHER: usize = 64;

impl State {
    /// Takes the first message of the queue.
    pub(crate) fn take_queued(&mut self, env: &Env) -> Option<Delivery> {
        let head = self.queue.pop_front();
        if let Some(head) = &head {
            self.queued_qos0 -= u32::from(head.qos == QoS::AtMostOnce);
            env.counters.queued_messages.fetch_sub(1, Ordering::Relaxed);
        }
        head
    }

    /// Takes what is to be sent next: retained messages for new subscriptions before the queue.
    fn take_next(&mut self, env: &Env) -> Option<Delivery> {
        let next = self.retained_backlog.front();
        let next = next.or_else(|| self.queue.front());
        if next.is_some_and(|next| self.waits_for_identifier(next)) {
            return None;
        }

        let retained = self.retained_backlog.pop_front();
        if retained.is_some() {
            env.counters.queued_messages.fetch_sub(1, Ordering::Relaxed);
            return retained;
        }
        if self.awaits_retained() {
            None
        } else {
            self.take_queued(env)
        }
    }

    /// Takes whatever waits, when the session ends.
    pub(crate) fn take_any(&mut self, env: &Env) -> Option<Delivery> {
        self.retained.clear();
        (self.paging, self.asking) = (false, false);
        let retained = self.retained_backlog.pop_front();
        if retained.is_some() {
            env.counters.queued_messages.fetch_sub(1, Ordering::Relaxed);
            return retained;
        }
        self.take_queued(env)
    }

    /// Whether the window and the outbox have room for another message, and everything that was sent
    /// before has been sent again.
    pub(crate) fn can_send_next(&self, high: usize) -> bool {
        self.resend.is_empty()
            && self
                .attached
                .as_deref()
                .is_some_and(|attached| attached.has_window() && attached.outbox.len() < high)
    }

    /// Takes the messages that are to be sent next, for hooks to be asked about: not more than can
    /// probably be sent at once. Until [`State::give_back`] nothing is sent that would overtake them.
    pub(crate) fn take_for_asking(&mut self, env: &Env) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < ASKED_TOGETHER
            && let Some(delivery) = self.take_next(env)
        {
            taken.push(delivery);
        }

        self.asking |= !taken.is_empty();
        taken
    }

    /// Puts messages back before everything else that waits.
    pub(crate) fn give_back(&mut self, deliveries: Vec<Delivery>, env: &Env) {
        self.asking = false;
        let count = deliveries.len();
        self.asked = u8::try_from(count).unwrap_or(u8::MAX);
        for delivery in deliveries.into_iter().rev() {
            self.retained_backlog.push_front(delivery);
        }

        let waiting = &env.counters.queued_messages;
        waiting.fetch_add(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Whether messages wait for room in the window or in the outbox.
    pub(crate) fn waits(&self) -> bool {
        !(self.queue.is_empty() && self.resend.is_empty() && self.retained_backlog.is_empty())
    }

    /// Whether there is more to send when there is room: messages that wait, retained ones.
    pub(crate) fn has_more(&self) -> bool {
        self.waits() || !self.retained.is_empty()
    }

    /// Prepares the state for a new connection: what is in flight is to be sent again, in the
    /// original order (MQTT-4.4.0-1, MQTT-4.6.0-1).
    pub(crate) fn prepare_resume(&mut self) {
        let mut order: Vec<(u64, u16)> = Vec::with_capacity(self.inflight.len());
        for (packet_id, entry) in self.inflight.iter_mut() {
            entry.counted = false;
            order.push((entry.sequence, packet_id));
        }
        order.sort_unstable();
        self.resend = order.into_iter().map(|(_, packet_id)| packet_id).collect();
    }
}

impl SessionGuard<'_> {
    /// Sends what waits, as far as the window and the outbox allow, at most `most` messages. `false`
    /// if that was too few to see where the end is.
    pub(crate) fn pump(&mut self, most: usize) -> bool {
        let env = self.env;
        let high = match env.budget.has_room(OUTBOX_HIGH) {
            true => OUTBOX_HIGH,
            false => OUTBOX_FULL,
        };

        self.pump_resend(high);
        for _ in 0..most {
            if !self.state.can_send_next(high) {
                return true;
            }
            let Some(delivery) = self.state.take_next(env) else {
                return true;
            };

            // An interval that ran out while waiting (MQTT-3.3.2-5).
            let now = self.effects.now;
            if delivery.message.is_expired(now) {
                self.drop_delivery(&delivery, DropReason::Expired);
                continue;
            }

            // Another member of its group may take what is too large for this one.
            if delivery.group().is_some() && !takes(&self.state, &delivery, now) {
                self.pass_on(delivery);
                continue;
            }

            if let Err((delivery, reason)) = self.send(delivery) {
                self.report_dropped(&delivery, reason);
            }
        }
        !(self.state.can_send_next(high) && self.state.waits())
    }

    fn pump_resend(&mut self, high: usize) {
        while let Some(packet_id) = self.state.resend.front().copied() {
            let State {
                attached,
                inflight,
                resend,
                ..
            } = &mut *self.state;
            let Some(attached) = attached.as_deref_mut() else {
                return;
            };
            let Some(entry) = inflight.get_mut(packet_id) else {
                resend.pop_front();
                continue;
            };

            if attached.outbox.len() >= high {
                return;
            }

            let effects = &mut *self.effects;
            match entry.stage {
                Stage::Released => {
                    let version = attached.settings.version;
                    let out = attached.outbox.buffer();
                    let reason = ReasonCode::Success;
                    encode_ack(AckKind::Pubrel, packet_id, reason, version, out);
                    effects.packet_sent();
                }
                Stage::Published => {
                    if !attached.has_window() {
                        return;
                    }
                    // A message once sent is sent again even if it is expired (MQTT-4.3.3-7).
                    if encode(attached, &entry.delivery, packet_id, true, effects.now) {
                        attached.in_window += 1;
                        entry.counted = true;
                        effects.local.publish_sent += 1;
                        effects.local.publish_bytes_sent +=
                            entry.delivery.message.payload().len() as u64;
                    } else {
                        // Too large for this connection: done with (MQTT-3.1.2-25).
                        self.skip_resend(packet_id);
                        continue;
                    }
                }
            }

            resend.pop_front();
            effects.touch(attached);
        }
    }

    /// Gives up a message in flight that does not fit into a packet of the present connection. Another
    /// member of a shared group gets it, unless it is one of QoS 2 (MQTT-4.8.2-5).
    fn skip_resend(&mut self, packet_id: u16) {
        self.state.resend.pop_front();
        let Some(entry) = self.state.inflight.remove(packet_id) else {
            return;
        };

        let delivery = entry.delivery;
        if delivery.group().is_some() && delivery.qos == QoS::AtLeastOnce {
            return self.pass_on(delivery);
        }
        self.state.end_accounting(&delivery, self.env);
        self.report_dropped(&delivery, DropReason::PacketTooLarge);
    }
}
