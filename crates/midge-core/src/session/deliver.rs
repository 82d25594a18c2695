//! A message comes to a session: straight into the outbox, into the queue, or dropped by name.

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{QoS, Version};

use super::effects::Effects;
use super::room::{SEGMENT, block_of, encode, over_budget, qos0_frame, refusal_qos0, takes};
use super::{Attached, Delivery, Extra, Inflight, Session, Stage, State, subscription_ids};
use crate::config::{Config, Overflow};
use crate::event::{Event, EventMask, Lost};
use crate::message::{MessageRef, Outcome, SMALL_MESSAGE, SharedMessage};
use crate::publish_run::Run;
use crate::reason::{DisconnectReason, DropReason};
use crate::session::Env;
use crate::session::attached::OUTBOX_HIGH;
use crate::store::{Op, StoredDelivery};
use crate::time::Tick;

/// A message with what it needs on its way through the receivers: made into a kept [`Message`]
/// when the first one has to keep it, encoded once for those that get the very same bytes.
pub(crate) trait Offering {
    /// The message's parts.
    fn parts(&self) -> MessageRef<'_>;
    /// The message as it is kept.
    fn keep(&mut self) -> SharedMessage;
    /// The message as it is kept, if somebody has kept it already.
    fn kept(&self) -> Option<&SharedMessage>;
    /// The message's number, that of the message as it is kept.
    fn number(&mut self) -> u64;
    /// The encoded QoS 0 packet without anything that differs by receiver, if it pays.
    fn frame(&mut self, version: Version) -> Option<&[u8]>;
}

impl Delivery {
    pub(crate) fn to_stored(&self, packet_id: Option<u16>, released: bool) -> StoredDelivery {
        StoredDelivery {
            message: self.message.clone(),
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids().to_vec(),
            packet_id,
            released,
        }
    }
}

/// How a message goes to one session.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) id: u32,
    pub(crate) extra: Option<&'a Arc<Extra>>,
    /// A retained message for a new subscription: it goes before what waits.
    pub(crate) ahead: bool,
}

impl Session {
    /// Offers a message to the session.
    pub(crate) fn offer<O: Offering>(
        self: &Arc<Self>,
        offering: &mut O,
        terms: Terms<'_>,
        env: &Env,
        effects: &mut Effects,
    ) -> Outcome {
        let mut state = self.lock();
        if state.dead {
            return Outcome::Dropped(DropReason::SessionEnded);
        }

        if terms.qos == QoS::AtMostOnce {
            self.offer_qos0(&mut state, offering, terms, env, effects)
        } else {
            let delivery = Delivery {
                message: offering.keep(),
                extra: terms.extra.cloned(),
                id: terms.id,
                qos: terms.qos,
                retain: terms.retain,
            };
            self.offer_acknowledged(&mut state, delivery, terms.ahead, env, effects)
        }
    }

    /// Offers a run of QoS 0 messages; `false` if it has to be offered message by message.
    /// `bytes` are its bytes if they are to be shared instead of copied.
    pub(crate) fn offer_run(
        &self,
        run: &Run<'_>,
        bytes: Option<&Bytes>,
        env: &Env,
        effects: &mut Effects,
    ) -> bool {
        let mut state = self.lock();
        if state.dead || state.queued_qos0 > 0 || state.awaits_retained() {
            return false;
        }

        let Some(attached) = state.attached.as_deref_mut() else {
            return false;
        };

        let settings = attached.settings;
        let as_it_came = run.suits(settings.version)
            && settings.alias_maximum == 0
            && settings.maximum_packet == u32::MAX;

        if as_it_came {
            let size = run.bytes.len();
            let copied = if bytes.is_some() { SEGMENT } else { size };
            let pays = attached.pays(size, effects);
            if pays && over_budget(attached, size, copied, env).is_some() {
                return false;
            }
            match bytes {
                Some(bytes) => attached.outbox.push_segment(bytes.clone()),
                None => attached.outbox.push(run.bytes),
            }
            attached.append_paid(pays, copied, env, effects);
            effects.local.publish_sent += run.packets;
            effects.local.publish_bytes_sent += run.payloads;
            effects.touch(attached);
        }

        as_it_came
    }

    /// Offers a run of QoS 1 or 2 messages, as far as they can be sent at once as they came. What
    /// is left in `messages` has to be offered message by message.
    pub(crate) fn offer_acknowledged_run(
        &self,
        run: &Run<'_>,
        extra: Option<&Arc<Extra>>,
        messages: &mut impl Iterator<Item = SharedMessage>,
        env: &Env,
        effects: &mut Effects,
    ) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let waits = !state.queue.is_empty() || !state.resend.is_empty() || state.awaits_retained();
        if state.dead || waits {
            return;
        }

        let Some(attached) = state.attached.as_deref_mut() else {
            return;
        };

        let settings = attached.settings;
        if !run.suits(settings.version)
            || settings.alias_maximum > 0
            || settings.maximum_packet != u32::MAX
        {
            return;
        }

        let limit = env.config.limits.session_queue_bytes;
        let (mut cost, mut charged) = (0, 0);
        let mut pieces = run.pieces();
        let most = run.bytes.len() + run.packets as usize * SMALL_MESSAGE;
        if env.has_no_room(most).is_some() {
            return;
        }

        let before = attached.outbox.len();
        while attached.has_window()
            && attached.outbox.len() < OUTBOX_HIGH
            // The largest that a message of a run can cost.
            && state.queued_bytes + cost + 2 * OUTBOX_HIGH <= limit
            && let Some(packet_id) = state.inflight.free_packet_id()
            && let Some(piece) = pieces.next()
            && let Some(message) = messages.next()
        {
            cost += message.cost();
            charged += message.share();
            attached
                .outbox
                .push_numbered(piece.bytes, piece.packet_id_at, packet_id);
            attached.in_window += 1;
            effects.local.publish_sent += 1;
            effects.local.publish_bytes_sent += message.payload().len() as u64;
            let entry = Inflight {
                delivery: Delivery {
                    message,
                    extra: extra.cloned(),
                    id: 0,
                    qos: run.qos,
                    retain: false,
                },
                sequence: 0, // given by the table
                stage: Stage::Published,
                counted: true,
            };
            state.inflight.insert(packet_id, entry, &env.budget);
        }
        if charged > 0 {
            state.queued_bytes += cost;
            env.charge(charged);
            let size = attached.outbox.len() - before;
            attached.append_paid(attached.pays(0, effects), size, env, effects);
            effects.touch(attached);
        }
    }

    fn offer_qos0<O: Offering>(
        self: &Arc<Self>,
        state: &mut State,
        offering: &mut O,
        terms: Terms<'_>,
        env: &Env,
        effects: &mut Effects,
    ) -> Outcome {
        let overtakes = !terms.ahead && (state.queued_qos0 > 0 || state.awaits_retained());
        let Some(attached) = state.attached.as_deref_mut().filter(|_| !overtakes) else {
            if state.attached.is_none() && !env.config.mqtt.queue_qos0_offline {
                return Outcome::Dropped(DropReason::NotConnected);
            }
            let delivery = Delivery {
                message: offering.keep(),
                extra: terms.extra.cloned(),
                id: terms.id,
                qos: terms.qos,
                retain: terms.retain,
            };
            if !takes(state, &delivery, effects.now) {
                return Outcome::Dropped(DropReason::PacketTooLarge);
            }
            return self.enqueue(state, delivery, env, effects);
        };

        let ids = subscription_ids(&terms.id, terms.extra.map(|extra| &**extra));
        let settings = attached.settings;
        let parts = offering.parts();
        let size = parts.payload.len() + parts.topic.len() + parts.properties.block_len();
        let pays = attached.pays(size, effects);
        if pays
            && let Some(reason) = refusal_qos0(attached, offering, terms.retain, ids, env, effects)
        {
            if effects.waits_for_overdue(reason, size, env) {
                return Outcome::Dropped(reason);
            }
            return self.refuse(attached, reason, &env.config, effects);
        }

        let plain = ids.is_empty()
            && !terms.retain
            && settings.alias_maximum == 0
            && settings.maximum_packet == u32::MAX;

        match plain.then(|| offering.frame(settings.version)).flatten() {
            Some(frame) => attached.outbox.push(frame),
            None => {
                let parts = offering.parts();
                let block = block_of(offering, settings.version, effects.scratch());
                let frame = qos0_frame(offering, terms.retain, ids, block);
                if !attached.publish(frame, parts.payload, parts.backing) {
                    return Outcome::Dropped(DropReason::PacketTooLarge);
                }
            }
        }

        attached.append_paid(pays, size, env, effects);
        effects.local.publish_sent += 1;
        effects.local.publish_bytes_sent += offering.parts().payload.len() as u64;
        effects.touch(attached);
        if effects.wants(EventMask::DELIVERED) {
            effects.event(Event::Delivered {
                client_id: self.client_id.clone(),
                message: offering.keep(),
                qos: QoS::AtMostOnce,
                connection: attached.link.number(),
                session: self.number,
            });
        }

        Outcome::Sent
    }

    /// A QoS 1 or 2 message: sent at once if the window allows and nothing waits before it.
    pub(crate) fn offer_acknowledged(
        self: &Arc<Self>,
        state: &mut State,
        delivery: Delivery,
        ahead: bool,
        env: &Env,
        effects: &mut Effects,
    ) -> Outcome {
        if !takes(state, &delivery, effects.now) {
            return Outcome::Dropped(DropReason::PacketTooLarge); // MQTT-3.1.2-25
        }

        let first = match ahead {
            true => state.ahead.is_empty(),
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
            return match ahead {
                true => self.put_ahead(state, delivery, env, effects),
                false => self.enqueue(state, delivery, env, effects),
            };
        }
        if let Some(tracker) = delivery.message.tracker() {
            tracker.opened();
        }

        charge(state, &delivery, env);
        match self.send(state, delivery, env, effects) {
            Ok(()) => Outcome::Sent,
            Err((_, reason)) => Outcome::Dropped(reason),
        }
    }

    /// Keeps a retained message until the window opens; at most one page of them.
    fn put_ahead(
        self: &Arc<Self>,
        state: &mut State,
        delivery: Delivery,
        env: &Env,
        effects: &mut Effects,
    ) -> Outcome {
        let has_room = |state: &State| {
            let limit = env.config.limits.session_queue_bytes;
            state.queued_bytes + delivery.cost() <= limit
        };
        while (!has_room(state) || env.has_no_room(delivery.share()).is_some())
            && self.drop_one_expired(state, env, effects)
        {}
        if state.queued_bytes + delivery.cost() > env.config.limits.session_queue_bytes {
            return Outcome::Dropped(DropReason::QueueFull);
        }
        if let Some(reason) = env.has_no_room(delivery.share()) {
            effects.waits_for_overdue(reason, delivery.share(), env);
            return Outcome::Dropped(reason);
        }

        let expires = delivery.message.expires();
        charge(state, &delivery, env);
        env.counters
            .queued_messages
            .fetch_add(1, crate::sync::atomic::Ordering::Relaxed);
        state.ahead.push_back(delivery);
        if expires != Tick::NEVER {
            self.watch_expiry(state, env);
        }

        Outcome::Queued
    }

    /// Puts a message into the queue, within its bounds.
    fn enqueue(
        self: &Arc<Self>,
        state: &mut State,
        delivery: Delivery,
        env: &Env,
        effects: &mut Effects,
    ) -> Outcome {
        let limits = &env.config.limits;

        // MQTT leaves the meaning of an interval of 0 open: it is for those who are there.
        if state.attached.is_none() && delivery.message.is_expired(effects.now) {
            return Outcome::Dropped(DropReason::Expired);
        }

        let (cost, share) = (delivery.cost(), delivery.share());
        loop {
            let full = state.queue.len() >= limits.session_queue_messages
                || state.queued_bytes + cost > limits.session_queue_bytes;
            let total = env.has_no_room(share);
            let Some(reason) = full.then_some(DropReason::QueueFull).or(total) else {
                break;
            };
            // What has expired gives its place before anything else does.
            if self.drop_one_expired(state, env, effects) {
                continue;
            }
            if total.is_some() && effects.waits_for_overdue(reason, share, env) {
                return Outcome::Dropped(reason);
            }
            match (env.config.overflow, state.attached.as_deref_mut()) {
                (Overflow::DropOldest, _) => {
                    let Some(oldest) = state.take_queued(env) else {
                        return Outcome::Dropped(reason);
                    };
                    self.dropped(state, &oldest, reason, env, effects);
                }
                (Overflow::Disconnect, Some(attached)) => {
                    return self.refuse(attached, reason, &env.config, effects);
                }
                _ => return Outcome::Dropped(reason),
            }
        }

        if let Some(tracker) = delivery.message.tracker() {
            tracker.opened();
        }

        charge(state, &delivery, env);
        env.counters
            .queued_messages
            .fetch_add(1, crate::sync::atomic::Ordering::Relaxed);
        state.queued_qos0 += u32::from(delivery.qos == QoS::AtMostOnce);

        let expires = delivery.message.expires();
        state.queue.push_back(delivery);
        if expires != Tick::NEVER {
            self.watch_expiry(state, env);
        }
        if let Some(attached) = state.attached.as_deref_mut() {
            effects.touch(attached);
        }

        Outcome::Queued
    }

    /// Encodes a message for the connection and puts it in flight. A message that has to be given up
    /// comes back with the reason, for the caller to count and tell.
    pub(crate) fn send(
        self: &Arc<Self>,
        state: &mut State,
        delivery: Delivery,
        env: &Env,
        effects: &mut Effects,
    ) -> Result<(), (Delivery, DropReason)> {
        let acknowledged = delivery.qos != QoS::AtMostOnce;
        let packet_id = if acknowledged {
            state.inflight.free_packet_id()
        } else {
            Some(0)
        };
        let (Some(packet_id), Some(attached)) = (packet_id, state.attached.as_deref_mut()) else {
            release(state, &delivery, None, env);
            return Err((delivery, DropReason::QueueFull));
        };
        if !encode(attached, &delivery, packet_id, false, effects.now) {
            // MQTT-3.1.2-25: as if it had been sent.
            release(state, &delivery, None, env);
            return Err((delivery, DropReason::PacketTooLarge));
        }

        let pays = attached.pays(0, effects);
        attached.append_paid(pays, delivery.message.copied(), env, effects);
        effects.touch(attached);
        effects.local.publish_sent += 1;
        effects.local.publish_bytes_sent += delivery.message.payload().len() as u64;
        if effects.wants(EventMask::DELIVERED) {
            effects.event(Event::Delivered {
                client_id: self.client_id.clone(),
                message: delivery.message.clone(),
                qos: delivery.qos,
                connection: attached.link.number(),
                session: self.number,
            });
        }
        if !acknowledged {
            release(state, &delivery, None, env);
            return Ok(());
        }

        attached.in_window += 1;
        if let Some((journal, client_id)) = state.recorded(env) {
            let message_id = delivery.message.id();
            journal.record(Op::Sent {
                client_id,
                message_id,
                packet_id,
            });
        }
        let entry = Inflight {
            delivery,
            sequence: 0, // given by the table
            stage: Stage::Published,
            counted: true,
        };
        state.inflight.insert(packet_id, entry, &env.budget);
        Ok(())
    }

    /// Gives up a message that was taken: accounts, counts, tells.
    pub(crate) fn dropped(
        &self,
        state: &mut State,
        delivery: &Delivery,
        reason: DropReason,
        env: &Env,
        effects: &mut Effects,
    ) {
        release(state, delivery, None, env);
        self.tell_dropped(delivery, reason, env, effects);
    }

    /// Counts and tells that the client does not get a message.
    pub(super) fn tell_dropped(
        &self,
        delivery: &Delivery,
        reason: DropReason,
        env: &Env,
        effects: &mut Effects,
    ) {
        let lost = Lost::kept(&delivery.message);
        effects.dropped(env, self.whom(), lost, reason);
    }

    /// Drops one message that has expired, to make room.
    fn drop_one_expired(&self, state: &mut State, env: &Env, effects: &mut Effects) -> bool {
        let Some(delivery) = state.take_expired(effects.now, env) else {
            return false;
        };
        self.dropped(state, &delivery, DropReason::Expired, env, effects);
        true
    }

    /// Refuses a message for a full client, as the policy says.
    fn refuse(
        &self,
        attached: &mut Attached,
        reason: DropReason,
        config: &Config,
        effects: &mut Effects,
    ) -> Outcome {
        if config.overflow == Overflow::Disconnect && reason != DropReason::PacketTooLarge {
            effects.kick(attached, DisconnectReason::TooSlow);
        }
        Outcome::Dropped(reason)
    }
}

fn charge(state: &mut State, delivery: &Delivery, env: &Env) {
    if let Some((journal, client_id)) = state.recorded(env)
        && delivery.qos != QoS::AtMostOnce
    {
        let delivery = delivery.to_stored(None, false);
        journal.record(Op::Taken {
            client_id,
            delivery,
        });
    }
    state.queued_bytes += delivery.cost();
    env.charge(delivery.share());
}

/// Ends the accounting of a message that was taken.
pub(crate) fn release(state: &mut State, delivery: &Delivery, packet_id: Option<u16>, env: &Env) {
    if let Some((journal, client_id)) = state.recorded(env)
        && delivery.qos != QoS::AtMostOnce
    {
        let message_id = delivery.message.id();
        journal.record(Op::Done {
            client_id,
            message_id,
            packet_id,
        });
    }
    state.queued_bytes = state.queued_bytes.saturating_sub(delivery.cost());
    env.release(delivery.share());

    if let Some(tracker) = delivery.message.tracker() {
        tracker.closed();
    }
}
