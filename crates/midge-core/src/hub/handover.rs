//! State that a hub leaves to the next one of the process.

use std::sync::Arc;

use super::Hub;
use crate::message::Origin;
use crate::session::{Session, Stage, State};
use crate::store::{Recovered, RecoveredSession, StoredDelivery, StoredSubscription};
use crate::sync::Mutex;
use crate::time::Tick;

/// Sessions and retained messages that go from one broker of this process to the next: left when it
/// stops, taken when the next one starts. In between nothing is recorded, so unlike a
/// [`Store`](crate::Store) it costs a running broker nothing; a broker that does not stop in order
/// leaves nothing.
#[derive(Debug, Default)]
pub struct Handover {
    state: Mutex<Option<Recovered>>,
}

impl Handover {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether nothing has been left, or it has been taken.
    pub fn is_empty(&self) -> bool {
        self.state.lock().is_none()
    }
}

impl Hub {
    /// Goes on with what another hub has left, and leaves the same at its own end. To be called
    /// once, before anything connects.
    pub fn hand_over(&self, handover: &Arc<Handover>, now: Tick) {
        let state = handover.state.lock().take();
        if let Some(state) = state {
            self.resume(state, now);
        }

        *self.handover.lock() = Some(handover.clone());
    }

    /// Leaves what is to be kept to the next hub, once. All connections have ended.
    pub(super) fn leave(&self, at: Tick) {
        let Some(handover) = self.handover.lock().take() else {
            return;
        };
        let mut next = Recovered {
            last_message_id: self.next_message_id(),
            at,
            ..Recovered::default()
        };

        for session in self.all_sessions() {
            let mut state = session.lock();
            if state.expiry_s > 0 && !state.dead {
                next.sessions
                    .push((session.client_id.clone(), keep(&session, &mut state)));
            }
        }

        let of_clients = |message: &&crate::SharedMessage| *message.origin() != Origin::Broker;
        next.retained
            .extend(self.retained.read().iter().filter(of_clients).cloned());

        *handover.state.lock() = Some(next);
    }
}

fn keep(session: &Session, state: &mut State) -> RecoveredSession {
    let mut flights: Vec<_> = (state.inflight.iter_mut())
        .map(|(packet_id, entry)| {
            let released = entry.stage == Stage::Released;
            let delivery = StoredDelivery {
                packet_id,
                ..entry.delivery.to_stored(released)
            };
            (entry.sequence, delivery)
        })
        .collect();
    flights.sort_unstable_by_key(|(sequence, _)| *sequence);
    let waiting = state.retained_backlog.iter().chain(state.queue.iter());
    let waiting = waiting.map(|delivery| delivery.to_stored(false));
    let sent = flights.into_iter().map(|(_, delivery)| delivery);

    RecoveredSession {
        session: state.to_stored(session),
        subscriptions: (state.subscriptions.iter())
            .map(|(filter, record)| StoredSubscription::of(filter.clone(), *record))
            .collect(),
        deliveries: sent.chain(waiting).collect(),
        open: state.inbound.iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::message::OwnedMessage;

    #[test]
    fn what_is_left_is_taken_once_and_nothing_is_recorded_meanwhile() {
        let handover = Handover::new();
        let start = |now| {
            let mut config = Config::default();
            config.sys.interval_s = 0;
            let hub = Hub::new(config, None, None, "", now);
            hub.hand_over(&handover, now);
            // A journal takes messages at QoS 1 and 2 off the fast path.
            assert!(hub.env.journal().is_none() && handover.is_empty());
            hub
        };
        let hub = start(Tick(0));
        for topic in ["a", "$b/c"] {
            let mut message = OwnedMessage::new(topic, "kept");
            message.retain = true;
            message.expiry = Some(60);
            hub.set_retained(&message, Tick(0)).unwrap();
        }
        hub.shut_down(Tick(1000));
        hub.dispose(Tick(1000));
        hub.dispose(Tick(2000));

        // Expiry goes on from where it was.
        let hub = start(Tick(500_000));
        for filter in ["a", "$b/#"] {
            let kept = hub.retained(filter, Tick(500_000));
            assert_eq!(kept.len(), 1, "{filter}");
            assert_eq!(kept[0].remaining_expiry(Tick(500_000)), Some(59));
        }
        hub.dispose(Tick(500_000));
        assert!(!handover.is_empty());
    }
}
