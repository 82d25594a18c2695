//! Flow of QoS 1 and 2: acknowledgements, the window, sending what waits, resuming.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use crate::sync::MutexGuard;
use midge_codec::{Ack, Packet, Properties, QoS, ReasonCode, Version};

use super::deliver::release;
use super::effects::{Effects, Orphan};
use super::room::{encode, takes};
use super::{Delivery, Inflight, NoMemory, Session, Stage, State};
use crate::budget::Budget;
use crate::event::{Event, EventMask, Lost};
use crate::message::SharedMessage;
use crate::reason::DropReason;
use crate::session::attached::OUTBOX_HIGH;
use crate::session::{Due, Env, Link};
use crate::steps;
use crate::store::Op;
use crate::time::Tick;

/// Bytes of acknowledgements that are handled under one lock.
const ACKNOWLEDGEMENTS: usize = 4 * 2048;

/// The same as [`OUTBOX_HIGH`] when so much is held for all clients that nothing new is admitted:
/// what waits is charged already, its encoded copies are not.
const OUTBOX_FULL: usize = 4 * 1024;

/// Messages looked at in one go when a queue drains, so that one session cannot hold up a thread.
pub(crate) const PUMP_BUDGET: usize = 4096;
/// Expired messages of one session that are dropped in one go.
const EXPIRED_TOGETHER: usize = 256;
/// Messages that hooks are asked about in one go before they leave a queue.
const ASKED_TOGETHER: usize = 64;

/// An acknowledgement that does not belong to the state of its packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowError(pub(crate) &'static str);

/// What a PUBLISH or PUBREC means for its packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Known: go on with the flow.
    Known,
    /// Not known.
    Unknown,
    /// The session belongs to another connection by now: nothing has changed, and there is no
    /// answer.
    Detached,
}

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

    /// Takes a message that has expired, wherever it waits.
    pub(crate) fn take_expired(&mut self, now: Tick, env: &Env) -> Option<Delivery> {
        let delivery = if let Some(number) = self.queue.expired(now) {
            let delivery = self.queue.remove(number)?;
            self.queued_qos0 -= u32::from(delivery.qos == QoS::AtMostOnce);
            delivery
        } else {
            let number = self.ahead.expired(now)?;
            // Hooks were asked about the first ones, and not about the next.
            let asked = usize::from(self.asked);
            self.asked -= u8::from(self.ahead.is_among_first(number, asked));
            self.ahead.remove(number)?
        };
        env.counters.queued_messages.fetch_sub(1, Ordering::Relaxed);
        Some(delivery)
    }

    /// Takes what is to be sent next: retained messages for new subscriptions before the queue.
    fn take_next(&mut self, env: &Env) -> Option<Delivery> {
        let ahead = self.ahead.pop_front();
        if ahead.is_some() {
            env.counters.queued_messages.fetch_sub(1, Ordering::Relaxed);
            return ahead;
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
        self.take_next(env)
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
            self.ahead.push_front(delivery);
        }

        let waiting = &env.counters.queued_messages;
        waiting.fetch_add(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Whether messages wait for room in the window or in the outbox.
    pub(crate) fn waits(&self) -> bool {
        !(self.queue.is_empty() && self.resend.is_empty() && self.ahead.is_empty())
    }

    /// Whether there is more to send when there is room: messages that wait, retained ones.
    pub(crate) fn has_more(&self) -> bool {
        self.waits() || !self.retained.is_empty()
    }

    fn window_back(&mut self, entry: &Inflight, effects: &mut Effects) {
        if let (true, Some(attached)) = (entry.counted, self.attached.as_deref_mut()) {
            attached.in_window = attached.in_window.saturating_sub(1);
        }
        effects.moves_up |= self.has_more();
    }

    /// Ends a flow that went as it should; what the message had been charged.
    fn complete(&mut self, session: &Session, packet_id: u16, effects: &mut Effects) -> usize {
        let Some(entry) = self.inflight.remove(packet_id) else {
            return 0;
        };
        self.window_back(&entry, effects);
        let (cost, share) = (entry.delivery.cost(), entry.delivery.share());
        let message = entry.delivery.message;
        self.queued_bytes = self.queued_bytes.saturating_sub(cost);
        if let Some(tracker) = message.tracker() {
            tracker.closed();
        }
        if effects.wants(EventMask::ACKNOWLEDGED) {
            self.tell_acknowledged(session, message, effects);
        }
        share
    }

    #[cold]
    fn tell_acknowledged(&self, session: &Session, message: SharedMessage, effects: &mut Effects) {
        // Acknowledgements come from the present connection only.
        let connection = self.attached.as_ref();
        effects.event(Event::Acknowledged {
            client_id: session.client_id.clone(),
            message,
            connection: connection.map_or(0, |attached| attached.link.number()),
            session: session.number,
        });
    }

    fn finish(
        &mut self,
        session: &Session,
        packet_id: u16,
        reason: ReasonCode,
        env: &Env,
        effects: &mut Effects,
    ) {
        let Some(entry) = self.inflight.remove(packet_id) else {
            return;
        };

        self.window_back(&entry, effects);
        release(self, &entry.delivery, Some(packet_id), env);
        if reason.is_error() {
            let lost = Lost::kept(&entry.delivery.message);
            let reason = DropReason::RefusedByReceiver;
            effects.dropped(env, session.whom(), lost, reason);
        } else if effects.wants(EventMask::ACKNOWLEDGED) {
            self.tell_acknowledged(session, entry.delivery.message, effects);
        }
    }
}

/// QoS 2 messages coming in, under the lock of their session.
pub(crate) struct Receiving<'a> {
    state: MutexGuard<'a, State>,
    budget: &'a Arc<Budget>,
    maximum: usize,
}

impl Receiving<'_> {
    /// Whether a message is new and may come; its identifier is in use then (MQTT-4.3.3-10).
    pub(crate) fn open(&mut self, packet_id: u16) -> bool {
        self.state.inbound.len() < self.maximum
            && self.state.inbound.insert(packet_id, self.budget) == Ok(true)
    }
}

impl Session {
    /// PUBACK from the client. Unknown identifiers are ignored.
    pub(crate) fn puback(
        &self,
        link: &Link,
        packet_id: u16,
        reason: ReasonCode,
        env: &Env,
        effects: &mut Effects,
    ) -> Result<(), FlowError> {
        let Some(mut state) = self.lock_for(link) else {
            return Ok(());
        };

        match state.inflight.get(packet_id) {
            Some(entry) if entry.delivery.qos == QoS::ExactlyOnce => {
                Err(FlowError("PUBACK for a QoS 2 message"))
            }
            Some(_) => {
                state.finish(self, packet_id, reason, env, effects);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// PUBREC from the client (MQTT-4.3.3-4): whether PUBREL is to follow with success.
    pub(crate) fn pubrec(
        &self,
        link: &Link,
        packet_id: u16,
        reason: ReasonCode,
        env: &Env,
        effects: &mut Effects,
    ) -> Result<Received, FlowError> {
        let Some(mut state) = self.lock_for(link) else {
            return Ok(Received::Detached);
        };

        match state.inflight.get_mut(packet_id) {
            Some(entry) if entry.delivery.qos != QoS::ExactlyOnce => {
                Err(FlowError("PUBREC for a QoS 1 message"))
            }
            Some(_) if reason.is_error() => {
                // MQTT-4.4.0-2: the message is done, no PUBREL.
                state.finish(self, packet_id, reason, env, effects);
                Ok(Received::Known)
            }
            Some(entry) => {
                let first = entry.stage == Stage::Published;
                entry.stage = Stage::Released;
                let message_id = entry.delivery.message.id();
                if let Some((journal, client_id)) = state.recorded(env).filter(|_| first) {
                    journal.record(Op::Released {
                        client_id,
                        message_id,
                        packet_id,
                    });
                }
                Ok(Received::Known)
            }
            None => Ok(Received::Unknown),
        }
    }

    /// PUBCOMP from the client.
    pub(crate) fn pubcomp(
        &self,
        link: &Link,
        packet_id: u16,
        env: &Env,
        effects: &mut Effects,
    ) -> Result<(), FlowError> {
        let Some(mut state) = self.lock_for(link) else {
            return Ok(());
        };

        match state.inflight.get(packet_id) {
            Some(entry) if entry.stage == Stage::Published => {
                Err(FlowError("PUBCOMP without PUBREC"))
            }
            Some(_) => {
                let reason = ReasonCode::Success;
                state.finish(self, packet_id, reason, env, effects);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Handles the acknowledgements without reason code at the start of `input`, as far as they are
    /// what the flow of their identifiers asks for: the number of bytes used. Answers are appended
    /// to the batch's replies.
    pub(crate) fn acknowledge_run(
        &self,
        link: &Link,
        input: &[u8],
        env: &Env,
        effects: &mut Effects,
    ) -> usize {
        if env.journal().is_some() {
            return 0;
        }
        let Some(mut state) = self.lock_for(link) else {
            return 0;
        };

        let input = input.get(..ACKNOWLEDGEMENTS).unwrap_or(input);
        let (mut used, mut released) = (0, 0);
        while let Some(&[header, 2, a, b]) = input.get(used..used + 4) {
            let packet_id = u16::from_be_bytes([a, b]);
            let entry = state.inflight.get(packet_id);
            let stage = entry.map(|entry| (entry.delivery.qos, entry.stage));
            match (header, stage) {
                (0x40, Some((QoS::AtLeastOnce, _))) | (0x70, Some((_, Stage::Released))) => {
                    released += state.complete(self, packet_id, effects);
                }
                (0x50, Some((QoS::ExactlyOnce, _))) => {
                    if let Some(entry) = state.inflight.get_mut(packet_id) {
                        entry.stage = Stage::Released;
                    }
                    effects.replies.extend_from_slice(&[0x62, 2, a, b]);
                    effects.packet_sent();
                }
                (0x62, _) if state.inbound.remove(packet_id) => {
                    effects.replies.extend_from_slice(&[0x70, 2, a, b]);
                    effects.packet_sent();
                }
                _ => break,
            }
            used += 4;
        }
        state.inbound.tidy();
        drop(state);
        if released > 0 {
            env.release(released);
        }
        used
    }

    /// Takes QoS 2 messages from the client, several under one lock; `None` if the session belongs
    /// to another connection by now.
    pub(crate) fn receiving_qos2<'a>(
        &'a self,
        link: &Link,
        maximum: u16,
        env: &'a Env,
    ) -> Option<Receiving<'a>> {
        Some(Receiving {
            state: self.lock_for(link)?,
            budget: &env.budget,
            maximum: usize::from(maximum),
        })
    }

    /// A QoS 2 PUBLISH has come: whether its identifier is in use, and so the message a repetition
    /// (MQTT-4.3.3-10). Nothing changes: the identifier is in use once the message has been decided,
    /// see [`Session::open_qos2`]. The reason code if as many as `maximum` are open already, or as
    /// many as there is memory for.
    pub(crate) fn check_qos2(
        &self,
        link: &Link,
        packet_id: u16,
        maximum: u16,
        env: &Env,
    ) -> Result<Received, ReasonCode> {
        let Some(mut state) = self.lock_for(link) else {
            return Ok(Received::Detached);
        };
        if state.inbound.contains(packet_id) {
            return Ok(Received::Known);
        }

        if state.inbound.len() >= usize::from(maximum) {
            return Err(ReasonCode::ReceiveMaximumExceeded); // MQTT-3.3.4-7
        }
        match state.inbound.make_room(&env.budget) {
            Ok(()) => Ok(Received::Unknown),
            Err(NoMemory) => Err(ReasonCode::QuotaExceeded),
        }
    }

    /// A QoS 2 message of the client has been decided: from now on a repetition is known. In one
    /// step with routing it, because whatever is known is not routed again.
    pub(crate) fn open_qos2(&self, link: &Link, packet_id: u16, env: &Env) -> Received {
        let Some(mut state) = self.lock_for(link) else {
            return Received::Detached;
        };
        // There is room: it was made when the message came.
        if !state.inbound.insert_anyway(packet_id) {
            return Received::Known;
        }

        if let Some((journal, client_id)) = state.recorded(env) {
            journal.record(Op::Opened {
                client_id,
                packet_id,
            });
        }
        Received::Unknown
    }

    /// PUBREL from the client: the identifier is free again.
    pub(crate) fn release_qos2(&self, link: &Link, packet_id: u16, env: &Env) -> Received {
        let Some(mut state) = self.lock_for(link) else {
            return Received::Detached;
        };
        if !state.inbound.remove(packet_id) {
            return Received::Unknown;
        }

        state.inbound.tidy();
        if let Some((journal, client_id)) = state.recorded(env) {
            journal.record(Op::Closed {
                client_id,
                packet_id,
            });
        }
        Received::Known
    }

    /// Prepares the state for a new connection: what is in flight is to be sent again, in the
    /// original order (MQTT-4.4.0-1, MQTT-4.6.0-1).
    pub(crate) fn prepare_resume(state: &mut State) {
        let mut order: Vec<(u64, u16)> = Vec::with_capacity(state.inflight.len());
        for (packet_id, entry) in state.inflight.iter_mut() {
            entry.counted = false;
            order.push((entry.sequence, packet_id));
        }
        order.sort_unstable();
        state.resend = order.into_iter().map(|(_, packet_id)| packet_id).collect();
    }

    /// Sends what waits, as far as the window and the outbox allow, at most `most` messages. `false`
    /// if that was too few to see where the end is.
    pub(crate) fn pump(
        self: &Arc<Self>,
        state: &mut State,
        most: usize,
        env: &Env,
        effects: &mut Effects,
    ) -> bool {
        let high = match env.budget.has_room(OUTBOX_HIGH) {
            true => OUTBOX_HIGH,
            false => OUTBOX_FULL,
        };
        self.pump_resend(state, high, env, effects);
        for _ in 0..most {
            if !state.can_send_next(high) {
                return true;
            }
            let Some(delivery) = state.take_next(env) else {
                return true;
            };

            // An interval that ran out while waiting (MQTT-3.3.2-5).
            if delivery.message.is_expired(effects.now) {
                self.dropped(state, &delivery, DropReason::Expired, env, effects);
                continue;
            }

            // Another member of its group may take what is too large for this one.
            if delivery.group().is_some() && !takes(state, &delivery, effects.now) {
                self.pass_on(state, delivery, None, env, effects);
                continue;
            }

            if let Err((delivery, reason)) = self.send(state, delivery, env, effects) {
                self.tell_dropped(&delivery, reason, env, effects);
            }
        }
        !(state.can_send_next(high) && state.waits())
    }

    fn pump_resend(&self, state: &mut State, high: usize, env: &Env, effects: &mut Effects) {
        while let Some(packet_id) = state.resend.front().copied() {
            let State {
                attached,
                inflight,
                resend,
                ..
            } = &mut *state;
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

            match entry.stage {
                Stage::Released => {
                    let version = attached.settings.version;
                    let out = attached.outbox.buffer();
                    encode_ack(
                        AckKind::Pubrel,
                        packet_id,
                        ReasonCode::Success,
                        version,
                        out,
                    );
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
                        self.give_up(state, packet_id, env, effects);
                        continue;
                    }
                }
            }

            resend.pop_front();
            effects.touch(attached);
        }
    }
}

impl Session {
    /// Sees to it that what waits and expires is looked for when it does.
    pub(crate) fn watch_expiry(self: &Arc<Self>, state: &mut State, env: &Env) {
        for queue in [&mut state.queue, &mut state.ahead] {
            if let Some(at) = queue.unwatched() {
                let timer = env.arm(at, Due::QueueExpiry(self.clone()));
                if let Some(before) = queue.set_timer(Some(timer)) {
                    env.timers.cancel(before);
                }
            }
        }
    }

    /// Nothing more is to be looked for.
    pub(crate) fn unwatch_expiry(state: &mut State, env: &Env) {
        for queue in [&mut state.queue, &mut state.ahead] {
            if let Some(timer) = queue.set_timer(None) {
                env.timers.cancel(timer);
            }
        }
    }

    /// Drops messages that have expired (MQTT-3.3.2-5), not very many at once: how many. The deadline
    /// has come.
    pub(crate) fn drop_expired(self: &Arc<Self>, env: &Env, effects: &mut Effects) -> usize {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.queue.take_timer(effects.now);
        state.ahead.take_timer(effects.now);
        if state.dead {
            return 0;
        }

        let mut dropped = 0;
        while dropped < EXPIRED_TOGETHER
            && let Some(delivery) = state.take_expired(effects.now, env)
        {
            steps::add(1);
            dropped += 1;
            self.dropped(state, &delivery, DropReason::Expired, env, effects);
        }
        self.watch_expiry(state, env);
        dropped
    }

    /// Gives a message of a shared group to another member.
    fn pass_on(
        &self,
        state: &mut State,
        delivery: Delivery,
        packet_id: Option<u16>,
        env: &Env,
        effects: &mut Effects,
    ) {
        // First: a receipt must not see the message as done in between.
        let orphan = Orphan::new(delivery);
        release(state, &orphan.delivery, packet_id, env);
        effects.orphans.push(orphan);
    }

    /// Gives up a message in flight that does not fit into a packet of the present connection. Another
    /// member of a shared group gets it, unless it is one of QoS 2 (MQTT-4.8.2-5).
    fn give_up(&self, state: &mut State, packet_id: u16, env: &Env, effects: &mut Effects) {
        state.resend.pop_front();
        let Some(entry) = state.inflight.remove(packet_id) else {
            return;
        };
        if entry.delivery.group().is_some() && entry.delivery.qos == QoS::AtLeastOnce {
            return self.pass_on(state, entry.delivery, Some(packet_id), env, effects);
        }
        release(state, &entry.delivery, Some(packet_id), env);
        let lost = Lost::kept(&entry.delivery.message);
        let reason = DropReason::PacketTooLarge;
        effects.dropped(env, self.whom(), lost, reason);
    }
}

/// The four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckKind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

impl AckKind {
    pub(crate) fn packet(self, ack: Ack<'_>) -> Packet<'_> {
        match self {
            Self::Puback => Packet::Puback(ack),
            Self::Pubrec => Packet::Pubrec(ack),
            Self::Pubrel => Packet::Pubrel(ack),
            Self::Pubcomp => Packet::Pubcomp(ack),
        }
    }
}

/// Encodes an acknowledgement without properties.
pub(crate) fn encode_ack(
    kind: AckKind,
    packet_id: u16,
    reason: ReasonCode,
    version: Version,
    out: &mut Vec<u8>,
) {
    let ack = Ack {
        packet_id,
        reason,
        properties: Properties::EMPTY,
    };
    // Without properties it always fits.
    let _ = midge_codec::encode(&kind.packet(ack), version, out);
}
