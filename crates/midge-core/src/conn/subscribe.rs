//! SUBSCRIBE and UNSUBSCRIBE from a client.

use std::sync::Arc;

use midge_codec::{
    Packet, ReasonCode, ReasonPacket, Suback, Subscribe, SubscribeFilter, Unsuback, Unsubscribe,
    Version,
};

use super::answer::encode_within;
use super::handshake::granted;
use super::{Connection, Fault, NO_PROPERTIES, Step, Then, reason_string};
use crate::hooks::{Answer, FIRST, HookSet, Place, Refusal, Said};
use crate::hub::{Grant, Subscribing, slice};
use crate::reason::DisconnectReason;
use crate::session::Session;
use crate::subscription::{has_wildcards, is_shared};

/// A SUBSCRIBE whose authorization is awaited, filter by filter.
pub(super) struct HeldSubscribe {
    packet_id: u16,
    work: Subscribing,
    /// The filter that is asked about.
    at: usize,
    /// Where asking about it goes on.
    place: Place,
    text: Option<String>,
}

/// An UNSUBSCRIBE that is too large for one turn.
pub(super) struct HeldUnsubscribe {
    packet_id: u16,
    /// What is left of it.
    filters: std::vec::IntoIter<Box<str>>,
    reasons: Vec<ReasonCode>,
}

impl Connection {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe<'_>) -> Step {
        let id = subscribe.properties.subscription_id().unwrap_or(0);
        if id != 0 && !self.hub.config().mqtt.subscription_identifiers_available {
            let what = "subscription identifiers are not supported here";
            let reason = ReasonCode::SubscriptionIdentifiersNotSupported;
            return Err(Fault::violation(reason, what));
        }
        let mut text = None;
        let mut grants = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            grants.push(self.check_filter(filter, id, &mut text)?);
        }
        self.authorize_subscribe(HeldSubscribe {
            packet_id: subscribe.packet_id,
            work: Subscribing::new(grants),
            at: 0,
            place: FIRST,
            text,
        })
    }

    /// Checks one filter against what is offered here.
    fn check_filter(
        &self,
        filter: &SubscribeFilter<'_>,
        id: u32,
        text: &mut Option<String>,
    ) -> Result<Grant, Fault> {
        let mqtt = &self.hub.config().mqtt;
        let v5 = self.version == Version::V5;
        let shared = is_shared(filter.filter) && (v5 || mqtt.shared_v3);
        let mut grant = Grant {
            filter: filter.filter.into(),
            options: filter.options,
            id,
            shared,
            answer: None,
        };

        grant.options.qos = granted(grant.options.qos, mqtt.maximum_qos);
        if self.bridge {
            // No Local does not exist for shared subscriptions (MQTT-3.8.3-4).
            grant.options.no_local = !shared;
            grant.options.retain_as_published = true;
        }

        let mut refuse = |reason, what: &'static str| {
            grant.answer = Some(reason);
            text.get_or_insert_with(|| what.to_owned());
        };

        if shared && filter.options.no_local {
            let what = "No Local on a shared subscription"; // MQTT-3.8.3-4
            return Err(Fault::violation(ReasonCode::ProtocolError, what));
        }

        if shared && !mqtt.shared_available {
            let (reason, what) = (
                ReasonCode::SharedSubscriptionsNotSupported,
                "shared subscriptions are not supported here",
            );
            if v5 {
                return Err(Fault::violation(reason, what));
            }
            refuse(reason, what);
        }

        if !mqtt.wildcard_available && has_wildcards(filter.filter) {
            let (reason, what) = (
                ReasonCode::WildcardSubscriptionsNotSupported,
                "filters with wildcards are not supported here",
            );
            if v5 {
                return Err(Fault::violation(reason, what));
            }
            refuse(reason, what);
        }

        if let Err(what) = self.hub.check_filter(filter.filter) {
            refuse(ReasonCode::TopicFilterInvalid, what);
        }

        Ok(grant)
    }

    fn authorize_subscribe(&mut self, mut held: HeldSubscribe) -> Step {
        if self.hub.hooks.intersects(HookSet::AUTHORIZE_SUBSCRIBE)
            && let Some(client) = self.info.clone()
        {
            while let Some(grant) = held.work.grants.get(held.at) {
                if grant.answer.is_none() {
                    let (filter, options) = (&grant.filter, &grant.options);
                    match (self.hub).authorize_subscribe(&client, filter, options, held.place) {
                        Said::Yes => {}
                        Said::No(refusal) => self.deny(&mut held, refusal),
                        Said::Later(deferred, place) => {
                            held.place = place;
                            return self.wait(deferred, Then::Subscribe(Box::new(held)));
                        }
                    }
                }
                held.next();
            }
        }

        // Replies that were put together before must leave before.
        self.push_replies();
        self.make_subscriptions(held)
    }

    /// One set of hooks has answered: the others behind it are asked.
    pub(super) fn subscribe_held(&mut self, mut held: HeldSubscribe, answer: Answer) -> Step {
        if let Some(refusal) = answer.objection() {
            self.deny(&mut held, refusal);
            held.next();
        }
        self.authorize_subscribe(held)
    }

    /// A hook refuses the filter that it was asked about.
    fn deny(&mut self, held: &mut HeldSubscribe, refusal: Refusal) {
        let whom = self.link.whom(self.session.as_ref());
        let packet = (ReasonPacket::Suback, self.version); // MQTT-3.9.3-2
        let reason = self.batch.carried(whom, packet, refusal.reason);
        if let Some(grant) = held.work.grants.get_mut(held.at) {
            grant.answer = Some(reason);
        }
        if held.text.is_none() {
            held.text = refusal.text;
        }
    }

    /// Makes the subscriptions, those of a large packet in several turns.
    pub(super) fn make_subscriptions(&mut self, mut held: HeldSubscribe) -> Step {
        let Some(session) = self.session.clone() else {
            return Ok(());
        };

        let (version, maximum) = (self.version, self.maximum_packet);
        let explains = self.problem_information && version == Version::V5;
        let text = held.text.as_deref().filter(|_| explains);
        let packet_id = held.packet_id;
        let mut fits = true;
        let mut length = 0;
        let suback = |grants: &[Grant], out: &mut Vec<u8>| {
            let before = out.len();
            let explained = reason_string(text);
            let mut suback = Suback {
                packet_id,
                properties: explained.as_properties(),
                reasons: grants.iter().map(|g| suback_code(g, version)).collect(),
            };

            let within = (version, maximum);
            fits = text.is_some() && encode_within(&Packet::Suback(suback.clone()), within, out);
            if !fits {
                suback.properties = NO_PROPERTIES;
                fits = encode_within(&Packet::Suback(suback), within, out);
            }
            length = out.len() - before;
        };

        let is_done = self.hub.subscribe(
            &self.link,
            &session,
            &mut held.work,
            suback,
            &mut self.batch,
        );
        self.note_unwritten(length);
        if !is_done {
            self.give_way(Then::MakeSubscriptions(Box::new(held)));
        }
        if fits { Ok(()) } else { Err(too_large()) }
    }

    pub(super) fn unsubscribe(
        &mut self,
        session: &Arc<Session>,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Step {
        let (count, work) = slice(unsubscribe.filters.iter().copied());
        self.batch.work += work;
        let (now, later) = unsubscribe.filters.split_at(count);
        let filters = now.iter().copied();
        let reasons = (self.hub).unsubscribe(&self.link, session, filters, &mut self.batch);
        let Some(reasons) = reasons else {
            return Ok(());
        };

        if later.is_empty() {
            return self.unsubscribed(unsubscribe.packet_id, reasons);
        }

        let held = HeldUnsubscribe {
            packet_id: unsubscribe.packet_id,
            filters: later
                .iter()
                .map(|filter| Box::from(*filter))
                .collect::<Vec<_>>()
                .into_iter(),
            reasons,
        };

        self.give_way(Then::Unsubscribe(Box::new(held)));
        Ok(())
    }

    /// Goes on with an UNSUBSCRIBE that is too large for one turn.
    pub(super) fn unsubscribe_held(&mut self, mut held: HeldUnsubscribe) -> Step {
        let Some(session) = self.session.clone() else {
            return Ok(());
        };
        let (count, work) = slice(held.filters.as_slice().iter().map(|filter| &**filter));
        self.batch.work += work;
        let now: Vec<_> = held.filters.by_ref().take(count).collect();
        let filters = now.iter().map(|filter| &**filter);
        let reasons = (self.hub).unsubscribe(&self.link, &session, filters, &mut self.batch);
        let Some(reasons) = reasons else {
            return Ok(());
        };
        held.reasons.extend(reasons);
        if held.filters.as_slice().is_empty() {
            return self.unsubscribed(held.packet_id, held.reasons);
        }
        self.give_way(Then::Unsubscribe(Box::new(held)));
        Ok(())
    }

    fn unsubscribed(&mut self, packet_id: u16, mut reasons: Vec<ReasonCode>) -> Step {
        if self.version != Version::V5 {
            reasons.clear();
        }
        let packet = Packet::Unsuback(Unsuback {
            packet_id,
            properties: NO_PROPERTIES,
            reasons,
        });
        let within = (self.version, self.maximum_packet);
        if !encode_within(&packet, within, &mut self.batch.replies) {
            return Err(too_large());
        }
        self.batch.packet_sent();
        Ok(())
    }
}

impl HeldUnsubscribe {
    pub(super) fn size(&self) -> usize {
        let left = self.filters.as_slice();
        let filters = left
            .iter()
            .map(|filter| filter.len() + size_of::<Box<str>>() + 16);
        filters.sum::<usize>() + self.reasons.capacity()
    }
}

impl HeldSubscribe {
    pub(super) fn size(&self) -> usize {
        let grants = &self.work.grants;
        let filters = grants.iter().map(|grant| grant.filter.len() + 32);
        grants.capacity() * size_of::<Grant>() + filters.sum::<usize>()
    }

    /// Goes on with the next filter.
    fn next(&mut self) {
        self.at += 1;
        self.place = FIRST;
    }

    /// Refuses what is not decided yet.
    pub(super) fn deny_rest(&mut self, refusal: &Refusal) {
        let open = self.work.grants.iter_mut().skip(self.at);
        for grant in open.filter(|grant| grant.answer.is_none()) {
            grant.answer = Some(refusal.reason);
        }
        if self.text.is_none() {
            self.text.clone_from(&refusal.text);
        }
    }
}

/// The code in SUBACK: 3.1.1 knows one failure, 3.1 none, so that a refused 3.1 subscription is
/// answered with the QoS that was asked for.
fn suback_code(grant: &Grant, version: Version) -> ReasonCode {
    let answer = grant.answer.unwrap_or(ReasonCode::UnspecifiedError);
    match version {
        Version::V5 => answer,
        _ if !answer.is_error() => answer,
        version if version.is_v31() => ReasonCode::granted(grant.options.qos),
        _ => ReasonCode::UnspecifiedError,
    }
}

fn too_large() -> Fault {
    Fault::silent(DisconnectReason::ProtocolViolation {
        reason: ReasonCode::PacketTooLarge,
        what: "not even the acknowledgement fits into the client's Maximum Packet Size",
    })
}
