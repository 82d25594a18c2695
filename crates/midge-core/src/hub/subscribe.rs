//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;

use midge_codec::{QoS, ReasonCode, SubscriptionOptions};

use super::Hub;
use super::output::HELD;
use crate::batch::Batch;
use crate::event::{Event, EventMask};
use crate::link::Link;
use crate::router::Subscriber;
use crate::session::{RetainedCursor, Session, State, SubRecord};
use crate::store::{Op, StoredSubscription};

/// Answers with retained messages that may wait for one client before repetitions are merged.
const MAX_CURSORS: usize = 1024;

/// One filter of a SUBSCRIBE, and what was decided about it.
pub(crate) struct Grant {
    pub(crate) filter: Arc<str>,
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: u32,
    pub(crate) shared: bool,
    /// A refusal that came before; otherwise the answer is filled in.
    pub(crate) answer: Option<ReasonCode>,
}

impl Hub {
    /// Makes the granted subscriptions and writes SUBACK with `suback`, before anything that the
    /// new subscriptions bring, retained messages included.
    pub(crate) fn subscribe(
        &self,
        link: &Arc<Link>,
        session: &Arc<Session>,
        grants: &mut [Grant],
        suback: impl FnOnce(&[Grant], &mut Vec<u8>),
        batch: &mut Batch,
    ) {
        let limit = self.config().limits.subscriptions_per_client;
        let mut router = self.router.write();
        let until = self.retained.read().stamp();
        let Some(mut state) = session.lock_for(link) else {
            return;
        };
        let mut cursors = Vec::new();
        for grant in grants.iter_mut().filter(|grant| grant.answer.is_none()) {
            let record = SubRecord {
                options: grant.options,
                id: grant.id,
                shared: grant.shared,
            };
            // The router and the session share one copy of the filter.
            let Some(existed) = (state.subscriptions).insert(&mut grant.filter, record, limit)
            else {
                grant.answer = Some(ReasonCode::QuotaExceeded);
                continue;
            };
            let subscriber = Subscriber::Session(session.clone());
            router.insert(&grant.filter, subscriber, record, grant.shared);
            if let Some((journal, client_id)) = self.shared.recorded(&state) {
                let subscription = StoredSubscription {
                    filter: grant.filter.clone(),
                    record,
                };
                journal.record(Op::Subscribed {
                    client_id,
                    subscription,
                });
            }
            if !existed {
                self.count_subscriptions(grant.shared, 1);
            }
            grant.answer = Some(ReasonCode::granted(grant.options.qos));
            let retained = self.config().mqtt.retain_available
                && !grant.shared
                && State::wants_retained(&grant.options, existed);
            if retained {
                let filter = grant.filter.clone();
                cursors.push(RetainedCursor {
                    filter,
                    record,
                    from: None,
                    until,
                });
            }
        }
        if let Some(attached) = state.attached.as_deref_mut() {
            suback(grants, attached.outbox.buffer());
            if self.shared.journal().is_some() {
                attached.held_until = HELD;
            }
            batch.packet_sent();
            batch.touch(attached);
        }
        if state.retained.len() + cursors.len() > MAX_CURSORS {
            // Who subscribes again and again without reading starts over.
            state
                .retained
                .retain(|old| !cursors.iter().any(|new| new.filter == old.filter));
        }
        state.retained.extend(cursors);
        drop(state);
        drop(router);
        self.hold_until_committed(link, session, batch);
        self.tell_subscribed(session, grants, batch);
    }

    fn tell_subscribed(&self, session: &Session, grants: &[Grant], batch: &mut Batch) {
        for grant in grants {
            let (client_id, filter) = (session.client_id.clone(), grant.filter.clone());
            let refused = grant.answer.filter(|answer| answer.is_error());
            match refused {
                Some(reason) if batch.wants(EventMask::SUBSCRIBE_REFUSED) => {
                    batch.event(Event::SubscribeRefused {
                        client_id,
                        filter,
                        reason,
                    });
                }
                None if batch.wants(EventMask::SUBSCRIBED) => {
                    let qos = grant.options.qos;
                    batch.event(Event::Subscribed {
                        client_id,
                        filter,
                        qos,
                    });
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
            let mut router = self.router.write();
            let mut state = session.lock_for(link)?;
            let Some((name, record)) = state.subscriptions.remove(filter) else {
                answers.push(ReasonCode::NoSubscriptionExisted);
                continue;
            };
            state.retained.retain(|cursor| cursor.filter != name);
            if let Some((journal, client_id)) = self.shared.recorded(&state) {
                journal.record(Op::Unsubscribed {
                    client_id,
                    filter: name.clone(),
                });
            }
            drop(state);
            let waste = router.remove(filter, &subscriber, record.shared);
            drop(router);
            self.throw_away(waste);
            self.count_subscriptions(record.shared, -1);
            answers.push(ReasonCode::Success);
            if batch.wants(EventMask::UNSUBSCRIBED) {
                batch.event(Event::Unsubscribed {
                    client_id: session.client_id.clone(),
                    filter: name,
                });
            }
        }
        Some(answers)
    }

    /// What a filter must keep to beyond being well formed.
    pub(crate) fn check_filter(&self, filter: &str) -> Result<(), &'static str> {
        let limits = &self.config().limits;
        if filter.len() > limits.topic_bytes {
            return Err("topic filter is too long");
        }
        if levels(filter) > limits.topic_levels {
            return Err("topic filter has too many levels");
        }
        Ok(())
    }

    /// What a topic name must keep to.
    pub(crate) fn check_topic(&self, topic: &str) -> Result<(), &'static str> {
        let limits = &self.config().limits;
        if midge_codec::TopicName::new(topic).is_err() {
            return Err("not a valid topic name");
        }
        if topic.len() > limits.topic_bytes {
            return Err("topic name is too long");
        }
        if topic.len() > limits.topic_levels && levels(topic) > limits.topic_levels {
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
