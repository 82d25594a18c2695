//! The session's half of the fast path: runs of packets that need no decision, under one lock.
//!
//! Which packets may come this way is decided in `hub/rules`; what this session cannot take as it came
//! is left to the caller, which offers it message by message.

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::QoS;

use super::room::{SEGMENT, over_budget};
use super::{Delivery, Env, Extra, Inflight, Link, Session, SessionGuard, Stage, State};
use crate::budget::Budget;
use crate::message::{SMALL_MESSAGE, SharedMessage};
use crate::runs::{PUBACK, PUBCOMP, PUBREC, PUBREL, PublishRun, short_ack};
use crate::session::attached::OUTBOX_HIGH;
use crate::sync::MutexGuard;

/// Bytes of acknowledgements that are handled under one lock.
const ACKNOWLEDGEMENTS: usize = 4 * 2048;

impl SessionGuard<'_> {
    /// Offers a run of QoS 0 messages; `false` if it has to be offered message by message.
    /// `bytes` are its bytes if they are to be shared instead of copied.
    #[inline(always)]
    pub(crate) fn offer_run(&mut self, run: &PublishRun<'_>, bytes: Option<&Bytes>) -> bool {
        let (env, state) = (self.env, &mut *self.state);
        if state.dead || state.queued_qos0 > 0 || state.awaits_retained() {
            return false;
        }

        let effects = &mut *self.effects;
        let Some(attached) = state.attached.as_deref_mut() else {
            return false;
        };

        let settings = attached.settings;
        let as_it_came = run.suits(settings.version) && settings.forwards_verbatim();
        if as_it_came {
            let size = run.bytes.len();
            let copied = if bytes.is_some() { SEGMENT } else { size };
            let needs_charge = attached.needs_charge(size, effects);
            if needs_charge && over_budget(attached, size, copied, env).is_some() {
                return false;
            }

            match bytes {
                Some(bytes) => attached.outbox.push_segment(bytes.clone()),
                None => attached.outbox.push(run.bytes),
            }
            attached.charge_appended(needs_charge, copied, env, effects);
            effects.local.publish_sent += run.count;
            effects.local.publish_bytes_sent += run.payload_bytes;
            effects.touch(attached);
        }

        as_it_came
    }

    /// Offers a run of QoS 1 or 2 messages, as far as they can be sent at once as they came. What
    /// is left in `messages` has to be offered message by message.
    pub(crate) fn offer_acknowledged_run(
        &mut self,
        run: &PublishRun<'_>,
        extra: Option<&Arc<Extra>>,
        messages: &mut impl Iterator<Item = SharedMessage>,
    ) {
        let (env, state) = (self.env, &mut *self.state);
        let waits = !state.queue.is_empty() || !state.resend.is_empty() || state.awaits_retained();
        if state.dead || waits {
            return;
        }

        let effects = &mut *self.effects;
        let Some(attached) = state.attached.as_deref_mut() else {
            return;
        };

        let settings = attached.settings;
        if !run.suits(settings.version) || !settings.forwards_verbatim() {
            return;
        }

        let limit = env.config.limits.session_queue_bytes;
        let (mut cost, mut charged) = (0, 0);
        let mut packets = run.packets();
        let most = run.bytes.len() + run.count as usize * SMALL_MESSAGE;
        if env.has_no_room(most).is_some() {
            return;
        }

        let before = attached.outbox.len();
        while attached.has_window()
            && attached.outbox.len() < OUTBOX_HIGH
            // The largest that a message of a run can cost.
            && state.queued_bytes + cost + 2 * OUTBOX_HIGH <= limit
            && let Some(packet_id) = state.inflight.free_packet_id()
            && let Some(packet) = packets.next()
            && let Some(message) = messages.next()
        {
            cost += message.cost();
            charged += message.share();
            attached
                .outbox
                .push_numbered(packet.bytes, packet.packet_id_at, packet_id);

            attached.in_window += 1;
            effects.local.publish_sent += 1;
            effects.local.publish_bytes_sent += message.payload().len() as u64;
            let entry = Inflight {
                delivery: Delivery {
                    message,
                    extra: extra.cloned(),
                    id: 0,
                    packet_id: 0,
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
            env.charge_queues(charged);
            let size = attached.outbox.len() - before;
            attached.charge_appended(attached.needs_charge(0, effects), size, env, effects);
            effects.touch(attached);
        }
    }

    /// Handles the acknowledgements without reason code at the start of `input`, as far as they are
    /// what the flow of their identifiers asks for: the number of bytes used. Answers are appended
    /// to the replies.
    pub(crate) fn acknowledge_run(mut self, input: &[u8]) -> usize {
        let input = input.get(..ACKNOWLEDGEMENTS).unwrap_or(input);
        let (mut used, mut released) = (0, 0);
        while let Some(&[header, 2, a, b]) = input.get(used..used + 4) {
            let packet_id = u16::from_be_bytes([a, b]);
            let entry = self.state.inflight.get(packet_id);
            let stage = entry.map(|entry| (entry.delivery.qos, entry.stage));
            match (header, stage) {
                (PUBACK, Some((QoS::AtLeastOnce, _))) | (PUBCOMP, Some((_, Stage::Released))) => {
                    released += self.complete_flow(packet_id);
                }
                (PUBREC, Some((QoS::ExactlyOnce, _))) => {
                    if let Some(entry) = self.state.inflight.get_mut(packet_id) {
                        entry.stage = Stage::Released;
                    }
                    let answer = short_ack(PUBREL, packet_id);
                    self.effects.replies.extend_from_slice(&answer);
                    self.effects.packet_sent();
                }
                (PUBREL, _) if self.state.inbound.remove(packet_id) => {
                    let answer = short_ack(PUBCOMP, packet_id);
                    self.effects.replies.extend_from_slice(&answer);
                    self.effects.packet_sent();
                }
                _ => break,
            }
            used += 4;
        }

        self.state.inbound.tidy();
        let env = self.env;
        drop(self);

        if released > 0 {
            env.release_queues(released);
        }
        used
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
}
