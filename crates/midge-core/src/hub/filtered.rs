//! Hooks that decide per receiver. They run without a lock, so what they have decided is compared
//! with the subscriptions as they are afterwards.

use std::sync::Arc;

use hashbrown::HashMap;
use midge_codec::QoS;

use super::Hub;
use super::ask::Decided;
use super::offer::Offering;
use super::publish::Unpublished;
use super::routed_message::{Kept, RoutedMessage};
use crate::client::ClientInfo;
use crate::hooks::{FIRST, HookSet};
use crate::hub::Batch;
use crate::message::{Outcome, OwnedMessage, Receipt, SharedMessage};
use crate::observer::Observers;
use crate::reason::DropReason;
use crate::router::{Asked, Group, Router, Sub, SubTarget, Subscriber, Target};
use crate::session::{Deliverable, Extra, Session};
use crate::time::Tick;

/// Rounds of questions about receivers that subscribed while others were asked about. Receivers
/// that are still unknown then do not get the message.
const ROUNDS: usize = 16;

/// One receiver and what the hooks have said about it.
struct Planned {
    target: Target,
    /// `None`: not asked yet. Shared groups are asked member by member, later.
    verdict: Option<Decided>,
}

impl Planned {
    fn new(target: Target) -> Self {
        Self {
            target,
            verdict: None,
        }
    }

    fn is_to_be_asked(&self) -> bool {
        self.verdict.is_none() && matches!(self.target, Target::One(_))
    }
}

impl Hub {
    /// As [`Hub::route_directly`], with hooks that decide per receiver. Receivers that subscribe
    /// while the hooks think are asked about as well; receivers that have left get nothing.
    pub(super) fn route_filtered(
        &self,
        routed: &mut RoutedMessage<'_>,
        mut receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> Result<usize, Unpublished> {
        let topic = routed.message.topic;
        let client_id = routed.publisher.client_id();
        let (mut plan, mut generation) = {
            let router = self.router.read();
            let targets = router.resolve(topic, client_id);
            let plan: Vec<_> = targets.into_iter().map(Planned::new).collect();
            (plan, router.generation())
        };

        let mut rounds = 0;
        let (unit, order, router) = loop {
            for planned in plan.iter_mut().filter(|planned| planned.is_to_be_asked()) {
                planned.verdict = Some(self.ask(&planned.target, routed, batch.now));
            }

            let unit = self.unit(&routed.message);
            let order = (routed.message.retain).then(|| self.retained_order.lock(topic));
            let router = self.router.read();
            if router.generation() == generation {
                break (unit, order, router);
            }
            generation = router.generation();
            plan = renewed(plan, &router, topic, client_id);
            rounds += 1;
            if rounds == ROUNDS || !plan.iter().any(Planned::is_to_be_asked) {
                break (unit, order, router);
            }
        };

        self.admit(routed.publisher, batch)?;
        if routed.message.retain {
            self.retain_delivered(routed, batch);
        }

        let matched = plan.len();
        routed.receivers = matched;
        let mut groups = Vec::new();
        let mut offering = self.offering(routed, &router.observers, batch);
        offering.receipt = receipt.as_deref_mut();

        for Planned { target, verdict } in plan {
            match target {
                Target::One(target) => {
                    let outcome =
                        offering.offer_as_decided(&target, verdict.unwrap_or(Decided::Drop));
                    offering.note(&target, outcome);
                }
                Target::Group(group) => groups.push(group),
            }
        }
        if !groups.is_empty() {
            // Their members are asked one by one, with no lock held.
            self.open_unit(batch);
        }
        drop(router);
        drop(order);
        drop(unit);

        for group in groups {
            self.offer_group_filtered(&group, routed, receipt.as_deref_mut(), batch);
        }
        Ok(matched)
    }

    /// What the hooks say about one receiver. Subscriptions of the host are not asked about.
    fn ask(&self, target: &Target, routed: &mut RoutedMessage<'_>, now: Tick) -> Decided {
        match target {
            Target::One(SubTarget {
                subscriber: Subscriber::Session(session),
                qos,
                ..
            }) => self.verdict(session, *qos, routed, now),
            Target::One(_) | Target::Group(_) => Decided::Deliver,
        }
    }

    /// The message that goes to one receiver in place of another one.
    pub(super) fn replacement(
        &self,
        by: &OwnedMessage,
        of: &SharedMessage,
        now: Tick,
    ) -> SharedMessage {
        let (id, origin) = (self.next_message_id(), of.origin().clone());

        let (mut place, mut parts) = (None, by.parts());
        parts.charge(&self.env.budget, &mut place);

        parts.keep(
            None,
            id,
            origin,
            now,
            of.tracker().cloned(),
            self.account(1),
        )
    }

    /// Asks about the members of a shared group one after another until one may take the message
    /// and can. A member that left meanwhile, that may not have the message, is full, or cannot
    /// take so large a packet, is passed over. The message is dropped only if no member is left.
    pub(super) fn offer_group_filtered<O: Deliverable>(
        &self,
        group: &Arc<Group>,
        deliverable: &mut O,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        let mut asked = Asked::default();
        let mut last = None;
        let candidates = group.candidates();
        let mut waiting: Vec<Sub> = candidates.first.clone().into_iter().collect();

        while !waiting.is_empty() {
            for sub in std::mem::take(&mut waiting) {
                asked.add(&sub.subscriber);
                let target = SubTarget::new(&sub, Some(group));
                let verdict = match &sub.subscriber {
                    Subscriber::Session(session) => {
                        self.verdict(session, target.qos, deliverable, batch.now)
                    }
                    Subscriber::Observer(_) => Decided::Deliver,
                };

                // Under the lock nothing leaves the group.
                let router = self.router.read();
                if !group.has(&sub.subscriber) {
                    continue;
                }
                let mut offering = self.offering(deliverable, &router.observers, batch);
                let outcome = offering.offer_as_decided(&target, verdict);
                if !matches!(outcome, Outcome::Dropped(_)) {
                    offering.receipt = receipt;
                    return offering.note(&target, outcome);
                }
                last = Some((target, outcome));
            }
            waiting = group.others(&candidates, &asked);
        }

        if let Some((target, outcome)) = last {
            let no_observers = Observers::NONE;
            let mut offering = self.offering(deliverable, &no_observers, batch);
            offering.receipt = receipt;
            offering.note(&target, outcome);
        }
    }

    /// What the hooks say about one receiver. One that panics says no.
    fn verdict<O: Deliverable>(
        &self,
        session: &Session,
        qos: QoS,
        deliverable: &mut O,
        now: Tick,
    ) -> Decided {
        let ask = || self.ask_hooks(session, qos, deliverable, now);
        self.catch_hook_panic(ask).unwrap_or(Decided::Drop)
    }

    fn ask_hooks<O: Deliverable>(
        &self,
        session: &Session,
        qos: QoS,
        deliverable: &mut O,
        now: Tick,
    ) -> Decided {
        if self.hooks.intersects(HookSet::AUTHORIZE_RECEIVE)
            && !self.authorize_receive(&session.info(), &deliverable.parts())
        {
            return Decided::Drop;
        }
        if !self.hooks.intersects(HookSet::INTERCEPT_DELIVERY) {
            return Decided::Deliver;
        }

        let receiver = (&*session.client_id, qos);
        self.intercept_delivery(receiver, &deliverable.keep(), now, FIRST)
    }

    /// Whether a client may still receive a message that has waited for it. A hook that panics
    /// says no.
    pub(super) fn may_receive(
        &self,
        client: &ClientInfo,
        message: &SharedMessage,
        now: Tick,
    ) -> bool {
        let ask = || self.authorize_receive(client, &message.parts(now));

        self.catch_hook_panic(ask).unwrap_or(false)
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
        let mut deliverable = Kept {
            message,
            now: batch.now,
        };

        let no_observers = Observers::NONE;
        let replaced;
        if let Subscriber::Session(session) = &target.subscriber
            && self.asks_per_receiver()
        {
            match self.verdict(session, target.qos, &mut deliverable, batch.now) {
                Decided::Deliver => {}
                Decided::Drop => {
                    let outcome = Outcome::Dropped(DropReason::RefusedByHook);
                    let mut offering = self.offering(&mut deliverable, &no_observers, batch);
                    return offering.note(target, outcome);
                }
                Decided::Replace(other) => {
                    replaced = other;
                    deliverable.message = &replaced;
                }
            }
        }

        let mut offering = self.offering(&mut deliverable, &no_observers, batch);
        let outcome = offering.offer_one(target, true);
        offering.note(target, outcome);
    }
}

impl<O: Deliverable> Offering<'_, O> {
    /// Offers the message to one receiver as the hooks have decided.
    fn offer_as_decided(&mut self, target: &SubTarget, verdict: Decided) -> Outcome {
        match verdict {
            Decided::Deliver => self.offer_one(target, false),
            Decided::Replace(replaced) => {
                let target = with_original(target, self.deliverable.keep());
                let mut deliverable = Kept {
                    message: &replaced,
                    now: self.batch.now,
                };
                self.hub
                    .offering(&mut deliverable, self.observers, self.batch)
                    .offer_one(&target, false)
            }
            Decided::Drop => Outcome::Dropped(DropReason::RefusedByHook),
        }
    }
}

/// A member of a shared group with the message that another member gets in its place.
fn with_original(target: &SubTarget, original: SharedMessage) -> SubTarget {
    let mut target = target.clone();
    if let Some(extra) = target.extra.as_ref().filter(|extra| extra.group.is_some()) {
        target.extra = Some(Arc::new(Extra {
            ids: extra.ids.clone(),
            group: extra.group.clone(),
            original: Some(original),
        }));
    }
    target
}

/// The present receivers of a topic, with what was decided about those that were known before.
fn renewed(
    plan: Vec<Planned>,
    router: &Router,
    topic: &str,
    publisher: Option<&str>,
) -> Vec<Planned> {
    // The old targets stay alive as long as their addresses are compared.
    let (old, mut verdicts): (Vec<_>, HashMap<_, _>) = plan
        .into_iter()
        .filter_map(|planned| match planned.target {
            Target::One(target) => {
                let key = target.subscriber.key();
                Some((target, (key, planned.verdict)))
            }
            Target::Group(_) => None,
        })
        .unzip();

    let mut plan: Vec<_> = (router.resolve(topic, publisher).into_iter())
        .map(Planned::new)
        .collect();
    for planned in &mut plan {
        if let Target::One(target) = &planned.target {
            planned.verdict = verdicts.remove(&target.subscriber.key()).flatten();
        }
    }
    drop(old);
    plan
}
