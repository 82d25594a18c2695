//! A message comes to a session: straight into the outbox, into the queue, or dropped by name.

use std::sync::Arc;

use midge_codec::{QoS, Version};

use super::room::{block_of, encode, qos0_frame, refusal_qos0, takes};
use super::{
    Attached, Delivery, Effects, Env, Extra, Inflight, SessionGuard, Stage, subscription_ids,
};
use crate::config::Overflow;
use crate::event::{Event, EventMask};
use crate::message::{MessageRef, Outcome, SharedMessage};
use crate::reason::{DisconnectReason, DropReason};
use crate::session::attached::OUTBOX_HIGH;
use crate::store::StoredDelivery;
use crate::sync::atomic::Ordering;
use crate::time::Tick;

/// A message that can be delivered to several receivers: made into a kept [`Message`] for the first
/// one that has to keep it, encoded once for those that get the very same bytes.
///
/// [`Message`]: crate::Message
pub(crate) trait Deliverable {
    /// The message's parts.
    fn parts(&self) -> MessageRef<'_>;
    /// The message as it is kept.
    fn keep(&mut self) -> SharedMessage;
    /// The message as it is kept, if that was necessary already.
    fn kept(&self) -> Option<&SharedMessage>;
    /// The message's number, that of the message as it is kept.
    fn number(&mut self) -> u64;
    /// The encoded QoS 0 packet without anything that differs by receiver, if it pays.
    fn frame(&mut self, version: Version) -> Option<&[u8]>;
}

impl Delivery {
    pub(crate) fn to_stored(&self, released: bool) -> StoredDelivery {
        StoredDelivery {
            message: self.message.clone(),
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids().to_vec(),
            group: self.group().cloned(),
            original: (self.extra.as_deref()).and_then(|extra| extra.original.clone()),
            packet_id: self.packet_id,
            released,
        }
    }
}

/// How a message goes to one session.
#[derive(Clone, Copy)]
pub(crate) struct DeliveryTerms<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) id: u32,
    pub(crate) extra: Option<&'a Arc<Extra>>,
    /// A retained message for a new subscription: it goes before what waits.
    pub(crate) before_queue: bool,
}

impl DeliveryTerms<'_> {
    fn delivery(&self, message: SharedMessage) -> Delivery {
        Delivery {
            message,
            extra: self.extra.cloned(),
            id: self.id,
            packet_id: 0,
            qos: self.qos,
            retain: self.retain,
        }
    }
}

impl SessionGuard<'_> {
    /// Offers a message to the session.
    #[inline(always)]
    pub(crate) fn offer<O: Deliverable>(
        &mut self,
        deliverable: &mut O,
        terms: DeliveryTerms<'_>,
    ) -> Outcome {
        if self.state.dead {
            return Outcome::Dropped(DropReason::SessionEnded);
        }

        if terms.qos == QoS::AtMostOnce {
            self.offer_qos0(deliverable, terms)
        } else {
            let delivery = terms.delivery(deliverable.keep());
            self.offer_acknowledged(delivery, terms.before_queue)
        }
    }

    fn offer_qos0<O: Deliverable>(
        &mut self,
        deliverable: &mut O,
        terms: DeliveryTerms<'_>,
    ) -> Outcome {
        let (env, state) = (self.env, &mut *self.state);
        let overtakes = !terms.before_queue && (state.queued_qos0 > 0 || state.awaits_retained());
        let Some(attached) = state.attached.as_deref_mut().filter(|_| !overtakes) else {
            if state.attached.is_none() && !env.config.mqtt.queue_qos0_offline {
                return Outcome::Dropped(DropReason::NotConnected);
            }

            let delivery = terms.delivery(deliverable.keep());
            if !takes(state, &delivery, self.effects.now) {
                return Outcome::Dropped(DropReason::PacketTooLarge);
            }
            return self.enqueue(delivery);
        };

        let effects = &mut *self.effects;
        let ids = subscription_ids(&terms.id, terms.extra.map(|extra| &**extra));
        let settings = attached.settings;
        let parts = deliverable.parts();
        let size = parts.payload.len() + parts.topic.len() + parts.properties.block_len();
        let needs_charge = attached.needs_charge(size, effects);
        if needs_charge
            && let Some(reason) =
                refusal_qos0(attached, deliverable, terms.retain, ids, env, effects)
        {
            if effects.waits_for_overdue(reason, size, env) {
                return Outcome::Dropped(reason);
            }
            return refuse(attached, reason, env, effects);
        }

        let plain = ids.is_empty() && !terms.retain && settings.forwards_verbatim();
        match plain.then(|| deliverable.frame(settings.version)).flatten() {
            Some(frame) => attached.outbox.push(frame),
            None => {
                let parts = deliverable.parts();
                let block = block_of(deliverable, settings.version, effects.scratch());
                let frame = qos0_frame(deliverable, terms.retain, ids, block);
                if !attached.publish(frame, parts.payload, parts.backing) {
                    return Outcome::Dropped(DropReason::PacketTooLarge);
                }
            }
        }

        attached.charge_appended(needs_charge, size, env, effects);
        effects.local.publish_sent += 1;
        effects.local.publish_bytes_sent += deliverable.parts().payload.len() as u64;
        effects.touch(attached);
        if effects.wants(EventMask::DELIVERED) {
            effects.event(Event::Delivered {
                client_id: self.session.client_id.clone(),
                message: deliverable.keep(),
                qos: QoS::AtMostOnce,
                connection: attached.link.number(),
                session: self.session.number,
            });
        }

        Outcome::Sent
    }

    /// A QoS 1 or 2 message: sent at once if the window allows and nothing waits before it.
    fn offer_acknowledged(&mut self, mut delivery: Delivery, before_queue: bool) -> Outcome {
        let (env, state) = (self.env, &mut *self.state);
        if !takes(state, &delivery, self.effects.now) {
            return Outcome::Dropped(DropReason::PacketTooLarge); // MQTT-3.1.2-25
        }

        let first = match before_queue {
            true => state.retained_backlog.is_empty(),
            false => state.queue.is_empty() && !state.awaits_retained(),
        };

        let direct = first
            && state.resend.is_empty()
            && state.attached.as_ref().is_some_and(|attached| {
                attached.has_window() && attached.outbox.len() < OUTBOX_HIGH
            });

        if !direct
            || env.has_no_room(delivery.share()).is_some()
            || state.queued_bytes + delivery.cost() > env.config.limits.session_queue_bytes
        {
            return match before_queue {
                true => self.enqueue_retained(delivery),
                false => self.enqueue(delivery),
            };
        }

        if let Some(tracker) = delivery.message.tracker() {
            tracker.opened();
        }

        self.begin_accounting(&mut delivery);
        match self.send(delivery) {
            Ok(()) => Outcome::Sent,
            Err((_, reason)) => Outcome::Dropped(reason),
        }
    }

    /// Keeps a retained message until the window opens; at most one page of them.
    fn enqueue_retained(&mut self, mut delivery: Delivery) -> Outcome {
        let env = self.env;
        let (cost, share) = (delivery.cost(), delivery.share());
        let limit = env.config.limits.session_queue_bytes;
        while (self.state.queued_bytes + cost > limit || env.has_no_room(share).is_some())
            && self.drop_one_expired()
        {}

        if self.state.queued_bytes + cost > limit {
            return Outcome::Dropped(DropReason::QueueFull);
        }
        if let Some(reason) = env.has_no_room(share) {
            self.effects.waits_for_overdue(reason, share, env);
            return Outcome::Dropped(reason);
        }

        let expires = delivery.message.expires();
        self.begin_accounting(&mut delivery);
        let state = &mut *self.state;
        env.counters.queued_messages.fetch_add(1, Ordering::Relaxed);
        state.retained_backlog.push_back(delivery);
        if expires != Tick::NEVER {
            self.watch_expiry();
        }

        Outcome::Queued
    }

    /// Puts a message into the queue, within its bounds.
    fn enqueue(&mut self, mut delivery: Delivery) -> Outcome {
        let env = self.env;
        let limits = &env.config.limits;

        // MQTT leaves the meaning of an interval of 0 open: it is for clients that are connected.
        if self.state.attached.is_none() && delivery.message.is_expired(self.effects.now) {
            return Outcome::Dropped(DropReason::Expired);
        }

        let (cost, share) = (delivery.cost(), delivery.share());
        loop {
            let full = self.state.queue.len() >= limits.session_queue_messages
                || self.state.queued_bytes + cost > limits.session_queue_bytes;
            let total = env.has_no_room(share);
            let Some(reason) = full.then_some(DropReason::QueueFull).or(total) else {
                break;
            };

            // Expired messages make room before anything else does.
            if self.drop_one_expired() {
                continue;
            }
            if total.is_some() && self.effects.waits_for_overdue(reason, share, env) {
                return Outcome::Dropped(reason);
            }

            match (env.config.overflow, self.state.attached.as_deref_mut()) {
                (Overflow::DropOldest, _) => {
                    let Some(oldest) = self.state.take_queued(env) else {
                        return Outcome::Dropped(reason);
                    };
                    self.drop_delivery(&oldest, reason);
                }
                (Overflow::Disconnect, Some(attached)) => {
                    return refuse(attached, reason, env, self.effects);
                }
                _ => return Outcome::Dropped(reason),
            }
        }

        if let Some(tracker) = delivery.message.tracker() {
            tracker.opened();
        }

        self.begin_accounting(&mut delivery);
        let state = &mut *self.state;
        env.counters.queued_messages.fetch_add(1, Ordering::Relaxed);
        state.queued_qos0 += u32::from(delivery.qos == QoS::AtMostOnce);

        let expires = delivery.message.expires();
        state.queue.push_back(delivery);
        if expires != Tick::NEVER {
            self.watch_expiry();
        }
        if let Some(attached) = self.state.attached.as_deref_mut() {
            self.effects.touch(attached);
        }

        Outcome::Queued
    }

    /// Encodes a message for the connection and puts it in flight. A message that has to be given up
    /// comes back with the reason, for the caller to count and tell.
    pub(super) fn send(&mut self, delivery: Delivery) -> Result<(), (Delivery, DropReason)> {
        let (env, state) = (self.env, &mut *self.state);
        let effects = &mut *self.effects;
        let acknowledged = delivery.qos != QoS::AtMostOnce;
        let packet_id = match delivery.packet_id {
            0 if acknowledged => state.inflight.free_packet_id(),
            given => Some(given),
        };
        let held = match acknowledged {
            true => state.held_by(delivery.qos, env),
            false => None,
        };
        let (Some(packet_id), Some(attached)) = (packet_id, state.attached.as_deref_mut()) else {
            state.end_accounting(&delivery, env);
            return Err((delivery, DropReason::QueueFull));
        };
        if let Some(position) = held {
            attached.outbox.hold(position);
        }

        if !encode(attached, &delivery, packet_id, false, effects.now) {
            // MQTT-3.1.2-25: as if it had been sent.
            state.end_accounting(&delivery, env);
            return Err((delivery, DropReason::PacketTooLarge));
        }

        let needs_charge = attached.needs_charge(0, effects);
        attached.charge_appended(needs_charge, delivery.message.copied(), env, effects);
        effects.touch(attached);
        effects.local.publish_sent += 1;
        effects.local.publish_bytes_sent += delivery.message.payload().len() as u64;
        if effects.wants(EventMask::DELIVERED) {
            effects.event(Event::Delivered {
                client_id: self.session.client_id.clone(),
                message: delivery.message.clone(),
                qos: delivery.qos,
                connection: attached.link.number(),
                session: self.session.number,
            });
        }

        if !acknowledged {
            state.end_accounting(&delivery, env);
            return Ok(());
        }

        attached.in_window += 1;
        let entry = Inflight {
            delivery,
            sequence: 0, // given by the table
            stage: Stage::Published,
            counted: true,
        };
        match entry.delivery.packet_id {
            0 => state.inflight.insert(packet_id, entry, &env.budget),
            _ => (state.inflight).insert_numbered(packet_id, entry, &env.budget),
        }
        Ok(())
    }

    /// Drops one message that has expired, to make room.
    fn drop_one_expired(&mut self) -> bool {
        let Some(delivery) = self.state.take_expired(self.effects.now, self.env) else {
            return false;
        };

        self.drop_delivery(&delivery, DropReason::Expired);
        true
    }
}

/// Refuses a message for a full client, as the policy says.
fn refuse(
    attached: &mut Attached,
    reason: DropReason,
    env: &Env,
    effects: &mut Effects,
) -> Outcome {
    if env.config.overflow == Overflow::Disconnect && reason != DropReason::PacketTooLarge {
        effects.disconnect_later(attached, DisconnectReason::TooSlow);
    }
    Outcome::Dropped(reason)
}
