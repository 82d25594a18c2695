//! Going on with what a store gives back, or another hub has left.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use hashbrown::HashMap;

use super::Hub;
use crate::budget::Budget;
use crate::message::{Account, Origin, SharedMessage};
use crate::reason::DisconnectReason;
use crate::router::Subscriber;
use crate::session::{
    Delivery, Due, Extra, Inflight, Session, Stage, State, SubscriptionLimits, Will,
};
use crate::store::{Recovered, RecoveredSession, StoredDelivery};
use crate::subscription::is_shared;
use crate::time::Tick;

/// Brings messages into the time of this hub, each once, however many receivers share it.
struct Rebase {
    budget: Arc<Budget>,
    from: Tick,
    to: Tick,
    moved: HashMap<u64, SharedMessage>,
}

impl Rebase {
    fn message(&mut self, old: &SharedMessage) -> SharedMessage {
        let (from, to) = (self.from, self.to);
        let account = Account::Once(&self.budget);
        self.moved
            .entry(old.id())
            .or_insert_with(|| old.moved(from, to, account))
            .clone()
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
            .store(last_message_id + 1, Ordering::Relaxed);

        let mut rebase = Rebase {
            budget: self.env.budget.clone(),
            from: at,
            to: now,
            moved: HashMap::new(),
        };

        let mut batch = self.begin(now);
        for message in retained {
            let message = rebase.message(&message);
            let timer = (message.expires() != Tick::NEVER)
                .then(|| self.arm(message.expires(), Due::RetainedExpiry(message.clone())));
            if *message.origin() != Origin::Broker {
                // Messages that were accepted once stay, whatever the bounds are now.
                let unbounded = (usize::MAX, usize::MAX);
                let _ = self.retained.write().insert(message, timer, unbounded);
            }
        }

        for (client_id, recovered) in sessions {
            let session = self.new_session(client_id.clone(), recovered.username.clone());
            self.sessions.lock().insert(session.clone());
            self.recover_subscriptions(&session, &recovered);
            let mut state = session.lock();
            state.expiry_s = recovered.expiry_s;
            state.offline.get_or_insert_default().since = now;
            for packet_id in &recovered.open {
                let _ = state.inbound.make_room(&self.env.budget);
                state.inbound.insert_anyway(*packet_id);
            }

            for stored in &recovered.deliveries {
                let message = rebase.message(&stored.message);
                self.recover_delivery(&mut state, stored, message);
            }
            session.watch_expiry(&mut state, &self.env);
            // From here on changes are recorded again, if they are at all.
            let recorded = self.env.journal().map(|_| session.client_id.clone());
            state.recorded = recorded;
            if state.expiry_s != u32::MAX {
                let at = now.after_s(u64::from(state.expiry_s));
                let epoch = state.epoch;
                let key = self.arm(at, Due::SessionExpiry(session.clone(), epoch));
                state.offline.get_or_insert_default().expiry_timer = Some(key);
            }
            let budget = &self.env.budget;
            state.will = recovered.will.map(|will| Will::restored(will, budget));
            // Subscriptions that were accepted once stay, whatever the limits are now.
            let names = recovered.username.as_ref().map_or(0, |name| name.len());
            state.restore(budget, client_id.len() + names);
            let lost = DisconnectReason::ConnectionLost;
            self.decide_will(&session, &mut state, &lost, false, &mut batch);
        }
    }

    fn recover_subscriptions(&self, session: &Arc<Session>, recovered: &RecoveredSession) {
        let mut router = self.router.write();
        for stored in &recovered.subscriptions {
            let shared = stored.record.shared && is_shared(&stored.filter);
            let subscriber = Subscriber::Session(session.clone());
            router.insert(&stored.filter, subscriber, stored.record, shared);
            self.restore_subscription(&stored.filter);
            let mut filter = stored.filter.clone();
            let mut state = session.lock();
            let unbounded = &SubscriptionLimits::NONE;
            let _ = (state.subscriptions).insert(&mut filter, stored.record, unbounded);
            drop(state);
            self.count_subscriptions(shared, 1);
        }
    }

    fn recover_delivery(&self, state: &mut State, stored: &StoredDelivery, message: SharedMessage) {
        let (id, extra) = match &stored.subscription_ids[..] {
            [] => (0, None),
            [one] => (*one, None),
            many => (
                0,
                Some(Arc::new(Extra {
                    ids: many.to_vec(),
                    group: None,
                    original: None,
                })),
            ),
        };

        let (qos, retain) = (stored.qos, stored.retain);
        let delivery = Delivery {
            message,
            extra,
            id,
            qos,
            retain,
        };

        state.queued_bytes += delivery.cost();
        self.env.charge_queues(delivery.share());
        match stored.packet_id {
            Some(packet_id) => {
                let stage = if stored.released {
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
                state.inflight.insert(packet_id, entry, &self.env.budget);
            }
            None => {
                self.env
                    .counters
                    .queued_messages
                    .fetch_add(1, Ordering::Relaxed);
                state.queued_qos0 += u32::from(qos == midge_codec::QoS::AtMostOnce);
                state.queue.push_back(delivery);
            }
        }
    }
}
