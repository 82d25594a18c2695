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

impl Hub {
    pub(super) fn offer<O: Deliverable>(
        &self,
        target: &Target,
        deliverable: &mut O,
        observers: &Observers,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        match target {
            Target::One(target) => {
                let outcome = self.offer_one(target, deliverable, observers, false, batch);
                self.note(target, outcome, deliverable, receipt, batch);
            }
            Target::Group(group) => self.offer_group(group, deliverable, observers, receipt, batch),
        }
    }

    pub(super) fn offer_one<O: Deliverable>(
        &self,
        target: &SubTarget,
        deliverable: &mut O,
        observers: &Observers,
        retained: bool,
        batch: &mut Batch,
    ) -> Outcome {
        let parts = deliverable.parts();
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
                let outcome = session.guard(&self.env, batch).offer(deliverable, terms);
                match outcome {
                    Outcome::Dropped(_) if batch.overdue => {
                        self.offer_again(session, deliverable, terms, batch)
                    }
                    outcome => outcome,
                }
            }

            Subscriber::Observer(key) => {
                let Some(observer) = observers.get(*key) else {
                    return Outcome::Sent;
                };
                let expiry = parts.expiry;
                let message = deliverable.keep();
                let received = Received::new(message, retained, qos, expiry);
                let (lost, wake) = observer.push(received);
                if wake {
                    batch.observers.push(observer.clone());
                }
                if lost > 0 {
                    self.env
                        .counters
                        .count_drops(DropReason::ObserverFull, lost as u64);
                }
                Outcome::Sent
            }
        }
    }

    /// Offers a message again that found all room taken, after what is overdue has expired.
    #[cold]
    fn offer_again<O: Deliverable>(
        &self,
        session: &Arc<Session>,
        deliverable: &mut O,
        terms: DeliveryTerms<'_>,
        batch: &mut Batch,
    ) -> Outcome {
        batch.overdue = false;
        let parts = deliverable.parts();
        let size = parts.payload.len() + parts.topic.len() + SMALL_MESSAGE;
        self.expire_overdue(size, batch);

        batch.insists = true;
        let outcome = session.guard(&self.env, batch).offer(deliverable, terms);
        batch.insists = false;
        outcome
    }

    /// Offers to the members of a shared group until one takes it. A member that is disconnected
    /// or full, or cannot take so large a packet, is passed over.
    fn offer_group<O: Deliverable>(
        &self,
        group: &Arc<Group>,
        deliverable: &mut O,
        observers: &Observers,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        self.offer_members(
            group,
            &group.candidates(),
            deliverable,
            observers,
            receipt,
            batch,
        );
    }

    pub(super) fn offer_members<O: Deliverable>(
        &self,
        group: &Arc<Group>,
        candidates: &Candidates,
        deliverable: &mut O,
        observers: &Observers,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        let Some(first) = &candidates.first else {
            return;
        };

        let mut target = SubTarget::new(first, Some(group));
        let mut outcome = self.offer_one(&target, deliverable, observers, false, batch);
        if matches!(outcome, Outcome::Dropped(_)) {
            let mut asked = Asked::default();
            asked.add(&first.subscriber);
            for sub in group.others(candidates, &asked) {
                let other = SubTarget::new(&sub, Some(group));
                let next = self.offer_one(&other, deliverable, observers, false, batch);
                if !matches!(next, Outcome::Dropped(_)) {
                    (target, outcome) = (other, next);
                    break;
                }
            }
        }

        self.note(&target, outcome, deliverable, receipt, batch);
    }

    /// Counts and tells what a session did with a message.
    pub(super) fn note<O: Deliverable>(
        &self,
        target: &SubTarget,
        outcome: Outcome,
        deliverable: &mut O,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) {
        let Subscriber::Session(session) = &target.subscriber else {
            return;
        };

        if let Outcome::Dropped(reason) = outcome {
            let number = batch
                .wants(EventMask::DROPPED)
                .then(|| deliverable.number());
            let lost = Lost {
                topic: deliverable.parts().topic,
                number,
            };
            batch.report_drop(&self.env, session.whom(), lost, reason);
        }
        if let Some(receipt) = receipt {
            receipt.outcomes.push((session.client_id.clone(), outcome));
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
            self.offer_group(&group, &mut deliverable, &router.observers, None, batch);
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

        let target = Target::One(target);
        self.offer(&target, &mut routed, &Observers::NONE, Some(receipt), batch);
    }
}
