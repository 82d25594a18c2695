//! A message is offered to its receivers, one after another.

use std::sync::Arc;

use midge_codec::QoS;

use super::Hub;
use super::publish::Publisher;
use super::routed_message::{Kept, RoutedMessage};
use crate::event::{EventMask, Lost, Whom};
use crate::hooks::HookSet;
use crate::hub::Batch;
use crate::message::{MessageRef, Origin, Outcome, Receipt, SMALL_MESSAGE};
use crate::observer::{Observers, Received};
use crate::reason::DropReason;
use crate::router::{Asked, Candidates, Group, SubTarget, Subscriber, Target};
use crate::session::{Deliverable, Delivery, DeliveryTerms, Session};

/// One message that is offered to its receivers, under one read lock of the router.
pub(super) struct Offering<'a, O> {
    pub(super) hub: &'a Hub,
    pub(super) deliverable: &'a mut O,
    pub(super) observers: &'a Observers,
    /// What each receiver did, for a publisher that asked.
    pub(super) receipt: Option<&'a mut Receipt>,
    pub(super) batch: &'a mut Batch,
}

impl<O: Deliverable> Offering<'_, O> {
    pub(super) fn offer(&mut self, target: &Target) {
        match target {
            Target::One(target) => {
                let outcome = self.offer_one(target, false);
                self.note(target, outcome);
            }
            Target::Group(group) => self.offer_members(group, &group.candidates()),
        }
    }

    /// Offers to one receiver; `retained` messages go before those that wait in its queue.
    pub(super) fn offer_one(&mut self, target: &SubTarget, retained: bool) -> Outcome {
        let parts = self.deliverable.parts();
        let qos = parts.qos.min(target.qos);
        let retain = retained || (target.retain_as_published && parts.retain);

        match &target.subscriber {
            Subscriber::Session(session) => {
                let terms = DeliveryTerms {
                    qos,
                    retain,
                    id: target.id,
                    extra: target.extra.as_ref(),
                    before_queue: retained,
                };
                let outcome = self.offer_session(session, terms);
                match outcome {
                    Outcome::Dropped(_) if self.batch.overdue => self.offer_again(session, terms),
                    outcome => outcome,
                }
            }

            Subscriber::Observer(key) => {
                let Some(observer) = self.observers.get(*key) else {
                    return Outcome::Sent;
                };
                let expiry = parts.expiry;
                let message = self.deliverable.keep();
                let received = Received::new(message, retained, qos, expiry);
                let (lost, wake) = observer.push(received);
                if wake {
                    self.batch.observers.push(observer.clone());
                }
                if lost > 0 {
                    let counters = &self.hub.env.counters;
                    counters.count_drops(DropReason::ObserverFull, lost as u64);
                }
                Outcome::Sent
            }
        }
    }

    #[inline(always)]
    fn offer_session(&mut self, session: &Arc<Session>, terms: DeliveryTerms<'_>) -> Outcome {
        session
            .guard(&self.hub.env, self.batch)
            .offer(self.deliverable, terms)
    }

    /// Offers a message again that found all room taken, after what is overdue has expired.
    #[cold]
    fn offer_again(&mut self, session: &Arc<Session>, terms: DeliveryTerms<'_>) -> Outcome {
        self.batch.overdue = false;
        let parts = self.deliverable.parts();
        let size = parts.payload.len() + parts.topic.len() + SMALL_MESSAGE;
        self.hub.expire_overdue(size, self.batch);

        self.batch.insists = true;
        let outcome = self.offer_session(session, terms);
        self.batch.insists = false;
        outcome
    }

    /// Offers to the members of a shared group until one takes it. A member that is disconnected
    /// or full, or cannot take so large a packet, is passed over.
    pub(super) fn offer_members(&mut self, group: &Arc<Group>, candidates: &Candidates) {
        let Some(first) = &candidates.first else {
            return;
        };

        let mut target = SubTarget::new(first, Some(group));
        let mut outcome = self.offer_one(&target, false);
        if matches!(outcome, Outcome::Dropped(_)) {
            let mut asked = Asked::default();
            asked.add(&first.subscriber);
            for sub in group.others(candidates, &asked) {
                let other = SubTarget::new(&sub, Some(group));
                let next = self.offer_one(&other, false);
                if !matches!(next, Outcome::Dropped(_)) {
                    (target, outcome) = (other, next);
                    break;
                }
            }
        }

        self.note(&target, outcome);
    }

    /// Counts and tells what a session did with the message.
    pub(super) fn note(&mut self, target: &SubTarget, outcome: Outcome) {
        let Subscriber::Session(session) = &target.subscriber else {
            return;
        };

        if let Outcome::Dropped(reason) = outcome {
            let wants_number = self.batch.wants(EventMask::DROPPED);
            let number = wants_number.then(|| self.deliverable.number());
            let lost = Lost {
                topic: self.deliverable.parts().topic,
                number,
            };
            let env = &self.hub.env;
            self.batch.report_drop(env, session.whom(), lost, reason);
        }
        if let Some(receipt) = &mut self.receipt {
            receipt.outcomes.push((session.client_id.clone(), outcome));
        }
    }
}

impl Hub {
    /// The offering of a message that no publisher waits for.
    pub(super) fn offering<'a, O: Deliverable>(
        &'a self,
        deliverable: &'a mut O,
        observers: &'a Observers,
        batch: &'a mut Batch,
    ) -> Offering<'a, O> {
        Offering {
            hub: self,
            deliverable,
            observers,
            receipt: None,
            batch,
        }
    }

    /// Gives a message of a shared group to another member.
    pub(super) fn redeliver(&self, delivery: &Delivery, batch: &mut Batch) {
        let Some(filter) = delivery.group() else {
            return;
        };
        let message = delivery.original();
        let mut deliverable = Kept {
            message,
            now: batch.now,
        };
        if message.is_expired(batch.now) {
            let reason = DropReason::Expired;
            return batch.report_drop(&self.env, Whom::NOBODY, Lost::kept(message), reason);
        }

        let router = self.router.read();
        let Some(group) = router.group(filter).cloned() else {
            let reason = DropReason::SessionEnded;
            return batch.report_drop(&self.env, Whom::NOBODY, Lost::kept(message), reason);
        };
        if self.asks_per_receiver() {
            drop(router);
            self.offer_group_filtered(&group, &mut deliverable, None, batch);
        } else {
            self.offering(&mut deliverable, &router.observers, batch)
                .offer_members(&group, &group.candidates());
        }
    }

    /// Whether hooks decide about each receiver.
    pub(super) fn asks_per_receiver(&self) -> bool {
        self.hooks
            .intersects(HookSet::AUTHORIZE_RECEIVE.union(HookSet::INTERCEPT_DELIVERY))
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
        let mut place = None;
        let mut message = message;
        message.charge(&self.env.budget, &mut place);

        let mut routed = RoutedMessage::new(message, &publisher, self, batch.now);
        routed.tracker = receipt.tracker.clone();

        let target = SubTarget {
            subscriber: Subscriber::Session(session.clone()),
            qos: QoS::ExactlyOnce,
            retain_as_published: true,
            id: 0,
            extra: None,
        };

        receipt.matched = 1;

        let no_observers = Observers::NONE;
        let mut offering = self.offering(&mut routed, &no_observers, batch);
        offering.receipt = Some(receipt);
        offering.offer(&Target::One(target));
    }
}
