//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;

use midge_codec::{QoS, ReasonCode, SubscriptionOptions};

use super::Hub;
use crate::budget::Part;
use crate::event::{Event, EventMask};
use crate::hub::Batch;
use crate::outbox::Outbox;
use crate::router::{EmptiedTrie, Router, Subscriber};
use crate::session::{Link, RetainedCursor, Session, State, SubscriptionLimits};
use crate::steps;
use crate::store::{Op, StoredSubscription};
use crate::subscription::SubRecord;

/// Bytes of an answer with retained messages that waits, in a list that may be half empty.
const WALK: usize = 2 * size_of::<RetainedCursor>();

/// The cost of one slice of a SUBSCRIBE or UNSUBSCRIBE at most, as [`cost`] counts it: it holds the
/// router for some 100 microseconds.
pub(super) const SLICE: usize = 768;

/// One filter of a SUBSCRIBE, and what was decided about it.
pub(crate) struct Grant {
    pub(crate) filter: Arc<str>,
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: u32,
    pub(crate) shared: bool,
    /// A refusal that came before; otherwise the answer is filled in.
    pub(crate) answer: Option<ReasonCode>,
}

/// A SUBSCRIBE whose subscriptions are made, in slices if it is large.
pub(crate) struct Subscribing {
    pub(crate) grants: Vec<Grant>,
    /// Filters that have their subscriptions.
    made: usize,
    /// What the connection had to send before the first slice: SUBACK comes behind it, and before
    /// what the new subscriptions bring meanwhile.
    before: Option<Outbox>,
}

impl Subscribing {
    pub(crate) fn new(grants: Vec<Grant>) -> Self {
        Self {
            grants,
            made: 0,
            before: None,
        }
    }
}

/// How much work it is to make or remove a subscription: nodes of the trie, and tables.
pub(super) fn cost(filter: &str) -> usize {
    levels(filter) + 4
}

/// The number of filters in the next slice, and their work.
pub(crate) fn slice<'a>(filters: impl Iterator<Item = &'a str>) -> (usize, u64) {
    let (mut count, mut work) = (0, 0);
    for filter in filters {
        if work >= SLICE {
            break;
        }
        work += cost(filter);
        count += 1;
    }
    (count, work as u64)
}

impl Hub {
    /// Makes a slice of the granted subscriptions; whether that was the last one. After it SUBACK is
    /// written with `suback`, before anything that the new subscriptions bring, retained messages
    /// included. Between slices the connection's output is held back.
    pub(crate) fn subscribe(
        &self,
        link: &Arc<Link>,
        session: &Arc<Session>,
        work: &mut Subscribing,
        suback: impl FnOnce(&[Grant], &mut Vec<u8>),
        batch: &mut Batch,
    ) -> bool {
        let Some(rest) = work.grants.get_mut(work.made..) else {
            return true;
        };
        let (count, work_of_slice) = slice(rest.iter().map(|grant| &*grant.filter));
        let is_last = count == rest.len();

        let section = steps::section(steps::Section::Subscriptions);
        let mut router = self.router.write();
        let until = self.retained.read().stamp();
        let Some(mut state) = session.lock_for(link) else {
            return true;
        };

        batch.work += work_of_slice;
        let mut emptied = Vec::new();
        for grant in rest.iter_mut().take(count) {
            if grant.answer.is_none() {
                emptied.extend(self.make_subscription(
                    session,
                    &mut router,
                    &mut state,
                    grant,
                    until,
                ));
            }
        }

        // Slice by slice: the connection may end before the last one, and what it has is kept.
        let made = rest.get(..count).unwrap_or_default();
        self.report_subscribed((link, session), made, batch);
        work.made += count;

        let recorded = state.last_recorded();
        if let Some(attached) = state.attached.as_deref_mut() {
            if !is_last {
                attached.held = true;
                work.before
                    .get_or_insert_with(|| std::mem::take(&mut attached.outbox));
                return false;
            }
            attached.held = false;
            let before = work.before.take();
            let brought = before.map(|before| std::mem::replace(&mut attached.outbox, before));
            attached.append(&self.env.budget, |outbox| {
                if recorded > 0 {
                    outbox.hold(recorded);
                }
                suback(&work.grants, outbox.buffer());
            });
            if let Some(brought) = brought {
                attached.outbox.append(brought);
            }
            batch.packet_sent();
            batch.touch(attached);
        }
        drop(state);
        drop(router);
        drop(section);

        self.throw_away(emptied);
        true
    }

    fn make_subscription(
        &self,
        session: &Arc<Session>,
        router: &mut Router,
        state: &mut State,
        grant: &mut Grant,
        until: u64,
    ) -> Option<EmptiedTrie> {
        let record = SubRecord {
            options: grant.options,
            id: grant.id,
            shared: grant.shared,
        };

        // The router and the session share one copy of the filter.
        let limits = self.subscription_limits();
        let Ok(old) = (state.subscriptions).insert(&mut grant.filter, record, &limits) else {
            grant.answer = Some(ReasonCode::QuotaExceeded);
            return None;
        };

        if old.is_none() && !self.admit_subscription(&grant.filter) {
            state.subscriptions.remove(&grant.filter);
            grant.answer = Some(ReasonCode::QuotaExceeded);
            return None;
        }

        let subscriber = Subscriber::Session(session.clone());
        let mut emptied = None;
        if let Some(old) = old.filter(|old| old.shared != grant.shared) {
            // Another version of the protocol takes it for something else.
            emptied = router.remove(&grant.filter, &subscriber, old.shared);
            self.count_subscriptions(old.shared, -1);
            self.count_subscriptions(grant.shared, 1);
        }
        router.insert(&grant.filter, subscriber, record, grant.shared);
        state.record(&self.env, |client_id| Op::Subscribed {
            client_id,
            subscription: StoredSubscription::of(grant.filter.clone(), record),
        });
        if old.is_none() {
            self.count_subscriptions(grant.shared, 1);
        }
        grant.answer = Some(ReasonCode::granted(grant.options.qos));

        let retained = self.config().mqtt.retain_available
            && !grant.shared
            && State::wants_retained(&grant.options, old.is_some());
        if retained {
            state.add_walk(RetainedCursor {
                filter: grant.filter.clone(),
                record,
                from: None,
                until,
                _charge: self.env.budget.hold(Part::Subscriptions, WALK),
            });
        }
        emptied
    }

    fn subscription_limits(&self) -> SubscriptionLimits {
        let limits = &self.config().limits;
        SubscriptionLimits {
            all: limits.subscriptions_per_client,
            shared: limits.shared_subscriptions_per_client,
            patterns: limits.wildcard_patterns_per_client,
        }
    }

    fn report_subscribed(
        &self,
        (link, session): (&Link, &Session),
        grants: &[Grant],
        batch: &mut Batch,
    ) {
        if !batch.wants_change(
            &self.env,
            EventMask::SUBSCRIBE_REFUSED.union(EventMask::SUBSCRIBED),
        ) {
            return;
        }

        let (connection, number) = (link.number(), session.number);
        for grant in grants {
            let (client_id, filter) = (session.client_id.clone(), grant.filter.clone());
            let refused = grant.answer.filter(|answer| answer.is_error());

            match refused {
                Some(reason) if batch.wants_change(&self.env, EventMask::SUBSCRIBE_REFUSED) => {
                    let event = Event::SubscribeRefused {
                        client_id,
                        filter,
                        reason,
                        connection,
                        session: number,
                    };
                    batch.record(&self.env, event);
                }
                None if batch.wants_change(&self.env, EventMask::SUBSCRIBED) => {
                    let qos = grant.options.qos;
                    let event = Event::Subscribed {
                        client_id,
                        filter,
                        qos,
                        connection,
                        session: number,
                    };
                    batch.record(&self.env, event);
                }
                _ => {}
            }
        }
    }

    /// Removes subscriptions; one reason code per filter (MQTT-3.11.3-2). Messages that wait stay.
    /// `None` if the session belongs to another connection by now.
    pub(crate) fn unsubscribe<'a>(
        &self,
        link: &Link,
        session: &Arc<Session>,
        filters: impl Iterator<Item = &'a str>,
        batch: &mut Batch,
    ) -> Option<Vec<ReasonCode>> {
        let subscriber = Subscriber::Session(session.clone());
        let mut answers = Vec::new();
        for filter in filters {
            let _section = steps::section(steps::Section::Subscriptions);
            let mut router = self.router.write();
            let mut state = session.lock_for(link)?;
            let Some((name, record)) = state.subscriptions.remove(filter) else {
                answers.push(ReasonCode::NoSubscriptionExisted);
                continue;
            };
            batch.wait_for(state.record(&self.env, |client_id| Op::Unsubscribed {
                client_id,
                filter: name.clone(),
            }));

            if batch.wants_change(&self.env, EventMask::UNSUBSCRIBED) {
                let event = Event::Unsubscribed {
                    client_id: session.client_id.clone(),
                    filter: name,
                    connection: link.number(),
                    session: session.number,
                };
                batch.record(&self.env, event);
            }

            drop(state);
            let emptied = router.remove(filter, &subscriber, record.shared);
            drop(router);

            self.release_subscription(filter);
            self.throw_away(emptied);
            self.count_subscriptions(record.shared, -1);
            answers.push(ReasonCode::Success);
        }

        Some(answers)
    }

    /// The limits of a well-formed filter.
    pub(crate) fn check_filter(&self, filter: &str) -> Result<(), &'static str> {
        let limits = &self.config().limits;
        if filter.len() > limits.topic_bytes {
            return Err("topic filter is too long");
        }
        if filter.len() >= limits.topic_levels && levels(filter) > limits.topic_levels {
            return Err("topic filter has too many levels");
        }
        Ok(())
    }

    /// The limits of a topic name.
    pub(crate) fn check_topic(&self, topic: &str) -> Result<(), &'static str> {
        let limits = &self.config().limits;
        if midge_codec::TopicName::new(topic).is_err() {
            return Err("not a valid topic name");
        }
        if topic.len() > limits.topic_bytes {
            return Err("topic name is too long");
        }
        if topic.len() >= limits.topic_levels && levels(topic) > limits.topic_levels {
            return Err("topic name has too many levels");
        }
        Ok(())
    }

    /// The subscription options that in-process subscribers have.
    pub(super) fn observer_options(qos: QoS) -> SubscriptionOptions {
        SubscriptionOptions {
            qos,
            retain_as_published: true,
            ..Default::default()
        }
    }
}

fn levels(topic: &str) -> usize {
    topic.bytes().filter(|byte| *byte == b'/').count() + 1
}
