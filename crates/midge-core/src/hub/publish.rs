//! The way of a message from a publisher to the queues of all its receivers.

use std::sync::Arc;

use midge_codec::{QoS, ReasonCode};

use super::Hub;
use super::passage::{Kept, Passage};
use super::routes::RouteCache;
use crate::batch::Batch;
use crate::event::{DropReason, Event, EventMask};
use crate::hooks::{DeliveryVerdict, HookSet, Interception, Refusal};
use crate::message::{MessageRef, Origin, OwnedMessage};
use crate::observer::Received;
use crate::receipt::{Outcome, Receipt};
use crate::router::{Candidates, Group, SubTarget, Subscriber, Target};
use crate::session::{Delivery, Offering, Session, Terms};
use crate::shared_message::SharedMessage;
use crate::store::Op;
use crate::time::Tick;

/// Memory for so many receivers is kept.
const KEPT_TARGETS: usize = 1024;

/// Who publishes.
#[derive(Clone)]
pub(crate) enum Publisher<'a> {
    Client(&'a Arc<Session>),
    Other(Origin),
}

impl Publisher<'_> {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Client(session) => Origin::Client(session.client_id.clone()),
            Self::Other(origin) => origin.clone(),
        }
    }

    fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Client(session) => Some(session),
            Self::Other(_) => None,
        }
    }
}

impl Hub {
    /// Publishes: hooks that intercept, then routing. The number of receivers, or the refusal of a
    /// hook. Authorization has been settled before.
    pub(crate) fn publish(
        &self,
        publisher: &Publisher<'_>,
        message: MessageRef<'_>,
        cache: Option<&mut RouteCache>,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> Result<usize, Refusal> {
        let Some(hooks) = self.hooks(HookSet::INTERCEPT_PUBLISH) else {
            return Ok(self.route(publisher, message, cache, receipt, batch));
        };
        match crate::guard::in_hook(|| hooks.intercept_publish(&publisher.origin(), &message)) {
            Interception::Forward => Ok(self.route(publisher, message, cache, receipt, batch)),
            Interception::Replace(other) => {
                let other = *other;
                if let Err(what) = self.check_topic(&other.topic) {
                    return Err(Refusal::new(ReasonCode::TopicNameInvalid).text(what));
                }
                Ok(self.route(publisher, other.parts(), None, receipt, batch))
            }
            Interception::Drop => {
                self.drop_published(publisher, message.topic, batch);
                Ok(1) // the publisher is not to know: no "no matching subscribers"
            }
            Interception::Refuse(refusal) => {
                self.drop_published(publisher, message.topic, batch);
                Err(refusal)
            }
        }
    }

    fn drop_published(&self, publisher: &Publisher<'_>, topic: &str, batch: &mut Batch) {
        let client_id = publisher.origin().client_id().map(Arc::from);
        batch.dropped(
            &self.shared,
            client_id.as_ref(),
            topic,
            DropReason::RefusedByHook,
        );
    }

    /// Routes a message: retained store first, then every receiver, all under the router's read
    /// lock, so that nothing overtakes.
    fn route(
        &self,
        publisher: &Publisher<'_>,
        message: MessageRef<'_>,
        cache: Option<&mut RouteCache>,
        mut receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> usize {
        let mut passage = Passage::new(message, publisher, self, batch.now);
        passage.tracker = receipt.as_ref().and_then(|receipt| receipt.tracker.clone());
        passage.v3 = std::mem::take(&mut batch.frame_v3);
        passage.v5 = std::mem::take(&mut batch.frame_v5);
        passage.v3.clear();
        passage.v5.clear();
        let filtered = self
            .hook_set
            .has(HookSet::AUTHORIZE_RECEIVE.and(HookSet::INTERCEPT_DELIVERY));
        let matched = if filtered {
            self.route_filtered(&mut passage, receipt.as_deref_mut(), batch)
        } else {
            let router = self.router.read();
            if message.retain {
                self.retain(&mut passage, batch);
            }
            let session = publisher.session();
            let mut once = Vec::new();
            let known = cache.and_then(|cache| cache.route(message.topic, &router, session));
            let targets = match known {
                Some(route) => {
                    if message.qos != QoS::AtMostOnce || route.kept {
                        passage.topic = Some(route.topic.clone());
                    }
                    &route.targets[..]
                }
                None => {
                    once = std::mem::take(&mut batch.targets);
                    router.resolve_into(message.topic, session, &mut once);
                    &once[..]
                }
            };
            passage.many = targets.len() > 1;
            for target in targets {
                self.offer(target, &mut passage, receipt.as_deref_mut(), batch);
            }
            let matched = targets.len();
            drop(router);
            // The memory is used again, unless it is that of a message to very many.
            if (1..=KEPT_TARGETS).contains(&once.capacity()) {
                once.clear();
                batch.targets = once;
            }
            matched
        };
        if batch.wants(EventMask::PUBLISHED)
            && !matches!(publisher, Publisher::Other(Origin::Broker))
        {
            batch.event(Event::Published {
                message: passage.keep(),
                matched,
            });
        }
        batch.frame_v3 = std::mem::take(&mut passage.v3);
        batch.frame_v5 = std::mem::take(&mut passage.v5);
        matched
    }

    /// As [`Hub::route`], with hooks that decide per receiver. They run without a lock, so the
    /// receivers are looked up before and again after: whoever left in between gets nothing.
    fn route_filtered(
        &self,
        passage: &mut Passage<'_>,
        mut receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> usize {
        let topic = passage.message.topic;
        let session = passage.publisher.session();
        let (asked, generation) = {
            let router = self.router.read();
            (router.resolve(topic, session), router.generation())
        };
        let matched = asked.len();
        let mut plans = Vec::with_capacity(asked.len());
        for target in asked {
            plans.push(self.ask(target, passage));
        }
        let router = self.router.read();
        if passage.message.retain {
            self.retain(passage, batch);
        }
        let now = (router.generation() != generation).then(|| router.resolve(topic, session));
        for (target, verdict) in plans {
            let still = now
                .as_ref()
                .is_none_or(|now| now.iter().any(|t| same_receiver(t, &target)));
            match verdict {
                _ if !still => {}
                DeliveryVerdict::Deliver => {
                    self.offer(&target, passage, receipt.as_deref_mut(), batch);
                }
                DeliveryVerdict::Replace(other) => {
                    let kept = other.parts().keep(
                        None,
                        self.next_message_id(),
                        passage.publisher.origin(),
                        batch.now,
                        passage.tracker.clone(),
                    );
                    let mut kept = Kept {
                        message: &kept,
                        now: batch.now,
                    };
                    self.offer(&target, &mut kept, receipt.as_deref_mut(), batch);
                }
                DeliveryVerdict::Drop => {
                    let client_id = client_id(&target);
                    let reason = DropReason::RefusedByHook;
                    batch.dropped(&self.shared, client_id.as_ref(), topic, reason);
                    if let (Some(receipt), Some(id)) = (receipt.as_deref_mut(), client_id) {
                        receipt.outcomes.push((id, Outcome::Dropped(reason)));
                    }
                }
            }
        }
        matched
    }

    /// Asks the hooks about one receiver; a group stands for its member whose turn it is.
    fn ask(&self, target: Target, passage: &mut Passage<'_>) -> (Target, DeliveryVerdict) {
        let target = match &target {
            Target::Group(group) => match group.candidates().first {
                Some(sub) => Target::One(SubTarget::new(&sub, Some(group))),
                None => target,
            },
            Target::One(_) => target,
        };
        let Target::One(SubTarget {
            subscriber: Subscriber::Session(session),
            qos,
            ..
        }) = &target
        else {
            return (target, DeliveryVerdict::Deliver);
        };
        let (client_id, qos) = (session.client_id.clone(), *qos);
        let verdict = self.verdict(&client_id, qos, passage);
        (target, verdict)
    }

    /// What the hooks say about one receiver. One that panics says no.
    fn verdict<O: Offering>(&self, client_id: &str, qos: QoS, offering: &mut O) -> DeliveryVerdict {
        let ask = || self.ask_hooks(client_id, qos, offering);
        self.contain(ask).unwrap_or(DeliveryVerdict::Drop)
    }

    fn ask_hooks<O: Offering>(
        &self,
        client_id: &str,
        qos: QoS,
        offering: &mut O,
    ) -> DeliveryVerdict {
        if let Some(hooks) = self.hooks(HookSet::AUTHORIZE_RECEIVE)
            && !crate::guard::in_hook(|| hooks.authorize_receive(client_id, &offering.parts()))
        {
            return DeliveryVerdict::Drop;
        }
        let Some(hooks) = self.hooks(HookSet::INTERCEPT_DELIVERY) else {
            return DeliveryVerdict::Deliver;
        };
        let message = offering.keep();
        let verdict = crate::guard::in_hook(|| {
            hooks.intercept_delivery(client_id, &message, qos.min(message.qos()))
        });
        match verdict {
            // A replacement that cannot be sent is as good as none.
            DeliveryVerdict::Replace(other) if self.check_topic(&other.topic).is_err() => {
                DeliveryVerdict::Drop
            }
            verdict => verdict,
        }
    }

    /// Stores or removes the retained message of a topic (MQTT-3.3.1-5 to MQTT-3.3.1-7). `false`
    /// if the store is full.
    fn retain(&self, passage: &mut Passage<'_>, batch: &mut Batch) -> bool {
        let topic = passage.message.topic;
        let replaced = if passage.message.payload.is_empty() {
            let mut retained = self.retained.write();
            let removed = retained.remove(topic);
            if let (Some(journal), true) = (self.shared.journal(), removed.is_some()) {
                journal.record(Op::RetainedRemoved {
                    topic: topic.into(),
                });
            }
            removed
        } else {
            let message = passage.keep();
            let limits = &self.config().limits;
            let timer = (message.expires() != Tick::NEVER).then(|| {
                self.arm(
                    message.expires(),
                    crate::time::Due::RetainedExpiry(message.clone()),
                )
            });
            let mut retained = self.retained.write();
            let bounds = (limits.retained_messages, limits.retained_bytes);
            let Ok(replaced) = retained.insert(message.clone(), timer, bounds) else {
                drop(retained);
                if let Some(timer) = timer {
                    self.timers.cancel(timer);
                }
                batch.dropped(&self.shared, None, topic, DropReason::RetainedFull);
                return false;
            };
            let system = *message.origin() == Origin::Broker;
            if let (Some(journal), false) = (self.shared.journal(), system) {
                journal.record(Op::Retained { message });
            }
            replaced
        };
        if let Some(timer) = replaced.and_then(|replaced| replaced.timer) {
            self.timers.cancel(timer);
        }
        true
    }

    /// Stores a retained message without delivering it; `false` if the store is full.
    pub(super) fn store_retained(
        &self,
        message: MessageRef<'_>,
        origin: Origin,
        batch: &mut Batch,
    ) -> bool {
        let publisher = Publisher::Other(origin);
        let mut passage = Passage::new(message, &publisher, self, batch.now);
        let _order = self.router.read();
        self.retain(&mut passage, batch)
    }

    pub(super) fn offer<O: Offering>(
        &self,
        target: &Target,
        offering: &mut O,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        match target {
            Target::One(target) => {
                let outcome = self.offer_one(target, offering, false, batch);
                self.note(target, outcome, offering, receipt, batch);
            }
            Target::Group(group) => self.offer_group(group, offering, receipt, batch),
        }
    }

    fn offer_one<O: Offering>(
        &self,
        target: &SubTarget,
        offering: &mut O,
        retained: bool,
        batch: &mut Batch,
    ) -> Outcome {
        let parts = offering.parts();
        let qos = parts.qos.min(target.qos);
        let retain = retained || (target.retain_as_published && parts.retain);
        match &target.subscriber {
            Subscriber::Session(session) => {
                let terms = Terms {
                    qos,
                    retain,
                    id: target.id,
                    extra: target.extra.as_ref(),
                    ahead: retained,
                };
                session.offer(offering, terms, &self.shared, batch)
            }
            Subscriber::Observer(observer) => {
                let expiry = parts.expiry;
                let message = offering.keep();
                let received = Received::new(message, retained, qos, expiry);
                let (lost, wake) = observer.push(received);
                if wake {
                    batch.observers.push(observer.clone());
                }
                if lost > 0 {
                    self.shared
                        .counters
                        .dropped(DropReason::ObserverFull, lost as u64);
                }
                Outcome::Sent
            }
        }
    }

    /// Offers to the members of a shared group until one takes it. A member that is disconnected
    /// or full, or cannot take so large a packet, is passed over.
    fn offer_group<O: Offering>(
        &self,
        group: &Arc<Group>,
        offering: &mut O,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        self.offer_members(group, &group.candidates(), offering, receipt, batch);
    }

    pub(super) fn offer_members<O: Offering>(
        &self,
        group: &Arc<Group>,
        candidates: &Candidates,
        offering: &mut O,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        let Some(first) = &candidates.first else {
            return;
        };
        let mut target = SubTarget::new(first, Some(group));
        let mut outcome = self.offer_one(&target, offering, false, batch);
        if matches!(outcome, Outcome::Dropped(_)) {
            for sub in group.others(candidates) {
                let other = SubTarget::new(&sub, Some(group));
                let next = self.offer_one(&other, offering, false, batch);
                if !matches!(next, Outcome::Dropped(_)) {
                    (target, outcome) = (other, next);
                    break;
                }
            }
        }
        self.note(&target, outcome, offering, receipt, batch);
    }

    /// Counts and tells what a session did with a message.
    fn note<O: Offering>(
        &self,
        target: &SubTarget,
        outcome: Outcome,
        offering: &O,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        let Subscriber::Session(session) = &target.subscriber else {
            return;
        };
        if let Outcome::Dropped(reason) = outcome {
            let topic = offering.parts().topic;
            batch.dropped(&self.shared, Some(&session.client_id), topic, reason);
        }
        if let Some(receipt) = receipt {
            receipt.outcomes.push((session.client_id.clone(), outcome));
        }
    }

    /// Offers a retained message to a session because of its subscription.
    pub(super) fn offer_retained(
        &self,
        message: &SharedMessage,
        target: &SubTarget,
        batch: &mut Batch,
    ) {
        if message.is_expired(batch.now) {
            return;
        }
        let mut offering = Kept {
            message,
            now: batch.now,
        };
        let replaced;
        if let Subscriber::Session(session) = &target.subscriber
            && self
                .hook_set
                .has(HookSet::AUTHORIZE_RECEIVE.and(HookSet::INTERCEPT_DELIVERY))
        {
            match self.verdict(&session.client_id, target.qos, &mut offering) {
                DeliveryVerdict::Deliver => {}
                DeliveryVerdict::Drop => {
                    let reason = DropReason::RefusedByHook;
                    batch.dropped(
                        &self.shared,
                        Some(&session.client_id),
                        message.topic(),
                        reason,
                    );
                    return;
                }
                DeliveryVerdict::Replace(other) => {
                    let origin = message.origin().clone();
                    replaced =
                        other
                            .parts()
                            .keep(None, self.next_message_id(), origin, batch.now, None);
                    offering = Kept {
                        message: &replaced,
                        now: batch.now,
                    };
                }
            }
        }
        let outcome = self.offer_one(target, &mut offering, true, batch);
        self.note(target, outcome, &offering, None, batch);
    }

    /// Gives a message of a shared group to another member, because the one that had it left.
    pub(super) fn redeliver(&self, delivery: &Delivery, batch: &mut Batch) {
        let Some(group) = delivery.group() else {
            return;
        };
        let router = self.router.read();
        let Some(group) = router.group(group) else {
            return;
        };
        let mut offering = Kept {
            message: &delivery.message,
            now: batch.now,
        };
        if !delivery.message.is_expired(batch.now) {
            self.offer_group(&group.clone(), &mut offering, None, batch);
        }
    }

    /// Offers a message to one session, whatever it subscribed to.
    pub(super) fn offer_direct(
        &self,
        session: &Arc<Session>,
        message: MessageRef<'_>,
        origin: Origin,
        receipt: &mut Receipt,
        batch: &mut Batch,
    ) {
        let publisher = Publisher::Other(origin);
        let mut passage = Passage::new(message, &publisher, self, batch.now);
        passage.tracker = receipt.tracker.clone();
        let target = SubTarget {
            subscriber: Subscriber::Session(session.clone()),
            qos: QoS::ExactlyOnce,
            retain_as_published: true,
            id: 0,
            extra: None,
        };
        receipt.matched = 1;
        self.offer(&Target::One(target), &mut passage, Some(receipt), batch);
    }

    /// Publishes a will that has come due.
    pub(super) fn publish_will(
        &self,
        client_id: &Arc<str>,
        will: &OwnedMessage,
        batch: &mut Batch,
    ) {
        let publisher = Publisher::Other(Origin::Will(client_id.clone()));
        if self
            .publish(&publisher, will.parts(), None, None, batch)
            .is_ok()
            && batch.wants(EventMask::WILL_SENT)
        {
            let topic = will.topic.as_str().into();
            batch.event(Event::WillSent {
                client_id: client_id.clone(),
                topic,
            });
        }
    }
}

fn same_receiver(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::One(a), Target::One(b)) => {
            let member = b.extra.as_ref().and_then(|extra| extra.group.as_ref());
            member.is_none() && a.subscriber.same(&b.subscriber)
        }
        (Target::Group(a), Target::Group(b)) => Arc::ptr_eq(a, b),
        (Target::Group(a), Target::One(b)) => {
            let member = b.extra.as_ref().and_then(|extra| extra.group.as_ref());
            member.is_some_and(|group| *a.filter == **group)
        }
        (Target::One(_), Target::Group(_)) => false,
    }
}

fn client_id(target: &Target) -> Option<Arc<str>> {
    match target {
        Target::One(SubTarget {
            subscriber: Subscriber::Session(session),
            ..
        }) => Some(session.client_id.clone()),
        _ => None,
    }
}
