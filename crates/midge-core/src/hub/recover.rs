//! Going on with what a store gives back, or another hub has left.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use hashbrown::HashMap;
use midge_codec::{QoS, TopicFilter, TopicName};

use super::{Batch, Hub};
use crate::budget::Budget;
use crate::client::ClientInfo;
use crate::message::{Account, Origin, SharedMessage};
use crate::reason::DisconnectReason;
use crate::router::Subscriber;
use crate::session::{
    Delivery, Due, Extra, Inflight, Recorded, Session, Stage, State, SubscriptionLimits, Will,
};
use crate::store::{Recovered, RecoveredSession, StoredDelivery, StoredSubscription};
use crate::subscription::is_shared;
use crate::time::Tick;

/// Brings messages into the time of this hub, each once, however many receivers share it.
struct Rebase {
    budget: Arc<Budget>,
    from: Tick,
    to: Tick,
    moved: HashMap<u64, SharedMessage>,
    last: Option<Arc<Extra>>,
}

/// The most that a packet may be (section 2.1.4).
const LARGEST_PACKET: usize = 268_435_455;
/// The largest subscription identifier (section 3.8.2.1.2).
const LARGEST_IDENTIFIER: u32 = 268_435_455;

impl Rebase {
    /// `None` for one that no client could have published.
    fn message(&mut self, old: &SharedMessage) -> Option<SharedMessage> {
        if !is_topic(old.topic()) || old.size() > LARGEST_PACKET {
            return None;
        }

        let (from, to) = (self.from, self.to);
        let account = Account::Once(&self.budget);
        let moved = self
            .moved
            .entry(old.id())
            .or_insert_with(|| old.moved(from, to, account));
        Some(moved.clone())
    }

    /// The part of a delivery that only few have; one for all messages of a shared group.
    fn extra(&mut self, stored: &StoredDelivery) -> Option<Arc<Extra>> {
        let valid = |group: &&Arc<str>| is_shared(group) && TopicFilter::new(group).is_ok();
        let group = stored.group.as_ref().filter(valid);
        let original = stored.original.as_ref().filter(|_| group.is_some());
        let original = original.and_then(|original| self.message(original));
        let ids = &stored.subscription_ids;
        if group.is_none() && ids.len() <= 1 {
            return None;
        }

        let alike = self.last.as_ref().filter(|last| {
            original.is_none()
                && last.original.is_none()
                && last.group.as_ref() == group
                && last.ids == *ids
        });
        let extra = alike.cloned().unwrap_or_else(|| {
            Arc::new(Extra {
                ids: ids.clone(),
                group: group.cloned(),
                original,
            })
        });
        self.last = Some(extra.clone());
        Some(extra)
    }
}

impl Hub {
    pub(super) fn resume(&self, recovered: Recovered, now: Tick) {
        let Recovered {
            sessions,
            retained,
            last_message_id,
            at,
        } = recovered;
        self.next_message
            .store(last_message_id.saturating_add(1), Ordering::Relaxed);

        let mut rebase = Rebase {
            budget: self.env.budget.clone(),
            from: at,
            to: now,
            moved: HashMap::new(),
            last: None,
        };

        let mut batch = self.begin(now);
        for message in retained {
            let Some(message) = rebase.message(&message) else {
                continue;
            };
            let timer = (message.expires() != Tick::NEVER)
                .then(|| self.arm(message.expires(), Due::RetainedExpiry(message.clone())));
            if *message.origin() != Origin::Broker {
                // Messages that were accepted once stay, whatever the bounds are now.
                let unbounded = (usize::MAX, usize::MAX);
                let _ = self.retained.write().insert(message, timer, unbounded);
            }
        }

        for (client_id, recovered) in sessions {
            self.recover_session(client_id, recovered, &mut rebase, &mut batch);
        }
    }

    fn recover_session(
        &self,
        client_id: Arc<str>,
        recovered: RecoveredSession,
        rebase: &mut Rebase,
        batch: &mut Batch,
    ) {
        let row = &recovered.session;
        let session = self.new_session(client_id.clone(), row.username.clone());
        {
            let mut sessions = self.sessions.lock();
            if sessions.find(&client_id).is_some() {
                return;
            }
            sessions.insert(session.clone());
        }
        self.recover_subscriptions(&session, &recovered);

        let now = batch.now;
        let mut state = session.lock();
        state.expiry_s = row.expiry_s;
        // One that was connected has been without connection since the end of its broker.
        let away = (row.disconnected).map_or(0, |disconnected| disconnected.until(rebase.from));
        state.offline.get_or_insert_default().since = Tick(now.0.saturating_sub(away));
        let info = ClientInfo {
            client_id: client_id.clone(),
            username: row.username.clone(),
            peer: "".into(),
            listener: row.listener.clone(),
            version: row.version,
            connection: 0,
        };
        state.info = Some(info)
            .filter(|info| self.is_worth_keeping(info))
            .map(Arc::new);

        for packet_id in recovered.open.iter().filter(|id| **id != 0) {
            let _ = state.inbound.make_room(&self.env.budget);
            state.inbound.insert_anyway(*packet_id);
        }
        let sent = sent_before(&recovered);
        let is_sound = |stored: &&StoredDelivery| {
            stored.packet_id != 0 || stored.qos == QoS::AtMostOnce || self.env.journal().is_none()
        };
        let deliveries = recovered.deliveries.iter().enumerate();
        for (at, stored) in deliveries.filter(|(_, stored)| is_sound(stored)) {
            if let Some(message) = rebase.message(&stored.message) {
                let extra = rebase.extra(stored);
                self.recover_delivery(&mut state, (stored, at < sent), message, extra);
            }
        }
        session.watch_expiry(&mut state, &self.env);

        // From here on changes are recorded again, if they are at all.
        let recorded = Recorded::new(session.client_id.clone(), row.identifiers);
        state.recorded = self.env.journal().map(|_| recorded);
        if state.expiry_s != u32::MAX {
            let left = (u64::from(state.expiry_s) * 1000).saturating_sub(away);
            let epoch = state.epoch;
            let due = Due::SessionExpiry(session.clone(), epoch);
            let key = self.arm(now.after_ms(left), due);
            state.offline.get_or_insert_default().expiry_timer = Some(key);
        }

        let budget = &self.env.budget;
        let will = row
            .will
            .clone()
            .filter(|will| is_topic(&will.message.topic));
        state.will = will.map(|will| Will::restored(will, budget));
        // Subscriptions that were accepted once stay, whatever the limits are now.
        let names = row.username.as_ref().map_or(0, |name| name.len());
        state.restore(budget, client_id.len() + names);
        let lost = DisconnectReason::ConnectionLost;
        self.decide_will(&session, &mut state, &lost, false, batch);
    }

    fn recover_subscriptions(&self, session: &Arc<Session>, recovered: &RecoveredSession) {
        let mut router = self.router.write();
        for stored in recovered.subscriptions.iter().filter(|one| is_sound(one)) {
            let record = stored.record();
            let mut filter = stored.filter.clone();
            let unbounded = &SubscriptionLimits::NONE;
            let old = (session.lock().subscriptions).insert(&mut filter, record, unbounded);
            if !matches!(old, Ok(None)) {
                continue;
            }
            let subscriber = Subscriber::Session(session.clone());
            router.insert(&filter, subscriber, record, record.shared);
            self.restore_subscription(&filter);
            self.count_subscriptions(record.shared, 1);
        }
    }

    fn recover_delivery(
        &self,
        state: &mut State,
        (stored, was_sent): (&StoredDelivery, bool),
        message: SharedMessage,
        extra: Option<Arc<Extra>>,
    ) {
        let (qos, retain) = (stored.qos, stored.retain);
        let delivery = Delivery {
            message,
            extra,
            id: stored.subscription_ids.first().copied().unwrap_or_default(),
            packet_id: self.env.journal().map_or(0, |_| stored.packet_id),
            qos,
            retain,
        };

        state.queued_bytes += delivery.cost();
        self.env.charge_queues(delivery.share());
        // Nothing overtakes a message that waits for its packet identifier.
        let goes_on = was_sent && qos != QoS::AtMostOnce && state.queue.is_empty();
        let packet_id = Some(stored.packet_id).filter(|id| *id != 0 && goes_on);

        match packet_id.filter(|id| state.inflight.get(*id).is_none()) {
            Some(packet_id) => {
                let stage = if stored.released && qos == QoS::ExactlyOnce {
                    Stage::Released
                } else {
                    Stage::Published
                };
                let entry = Inflight {
                    delivery,
                    sequence: 0, // given by the table
                    stage,
                    counted: false,
                };
                let (inflight, budget) = (&mut state.inflight, &self.env.budget);
                match entry.delivery.packet_id {
                    0 => inflight.insert(packet_id, entry, budget),
                    _ => inflight.insert_numbered(packet_id, entry, budget),
                }
            }
            None => {
                self.env
                    .counters
                    .queued_messages
                    .fetch_add(1, Ordering::Relaxed);
                state.queued_qos0 += u32::from(qos == QoS::AtMostOnce);
                state.queue.push_back(delivery);
            }
        }
    }
}

/// How many of the first deliveries may have been sent before: all, if the session had a connection to
/// the last.
fn sent_before(recovered: &RecoveredSession) -> usize {
    let deliveries = &recovered.deliveries;
    if recovered.session.disconnected.is_none() {
        return deliveries.len();
    }
    let sent = recovered.session.sent;
    let last = (deliveries.iter()).rposition(|one| one.released || one.message.id() <= sent);
    last.map_or(0, |last| last + 1)
}

/// Whether a message may have this topic.
fn is_topic(topic: &str) -> bool {
    TopicName::new(topic).is_ok()
}

/// Whether a client may have a subscription.
fn is_sound(stored: &StoredSubscription) -> bool {
    let id = stored.subscription_id.unwrap_or(1);
    TopicFilter::new(&stored.filter).is_ok() && (1..=LARGEST_IDENTIFIER).contains(&id)
}
