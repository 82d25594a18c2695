//! What a hub leaves to the next one of the process.

use std::sync::Arc;

use super::Hub;
use crate::message::Origin;
use crate::session::{Stage, State};
use crate::store::{Recovered, RecoveredSession};
use crate::sync::Mutex;
use crate::time::Tick;

/// Sessions and retained messages that go from one broker of this process to the next: left when it
/// stops, taken when the next one starts. In between nothing is recorded, so unlike a
/// [`Store`](crate::Store) it costs a running broker nothing; a broker that does not stop in order
/// leaves nothing.
#[derive(Debug, Default)]
pub struct Handover {
    left: Mutex<Option<Recovered>>,
}

impl Handover {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether nothing has been left, or it has been taken.
    pub fn is_empty(&self) -> bool {
        self.left.lock().is_none()
    }
}

impl Hub {
    /// Goes on with what another hub has left, and leaves the same at its own end. To be called
    /// once, before anything connects.
    pub fn hand_over(&self, handover: &Arc<Handover>, now: Tick) {
        let left = handover.left.lock().take();
        if let Some(left) = left {
            self.resume(left, now);
        }

        *self.handover.lock() = Some(handover.clone());
    }

    /// Leaves what is to be kept to the next hub, once. All connections have ended.
    pub(super) fn leave(&self, at: Tick) {
        let Some(handover) = self.handover.lock().take() else {
            return;
        };
        let mut left = Recovered {
            last_message_id: self.next_message_id(),
            at,
            ..Recovered::default()
        };
        for session in self.all_sessions() {
            let mut state = session.lock();
            if state.expiry_s > 0 && !state.dead {
                left.sessions
                    .push((session.client_id.clone(), keep(&mut state)));
            }
        }
        let of_clients = |message: &&crate::SharedMessage| *message.origin() != Origin::Broker;
        left.retained
            .extend(self.retained.read().iter().filter(of_clients).cloned());

        *handover.left.lock() = Some(left);
    }
}

fn keep(state: &mut State) -> RecoveredSession {
    let mut flights: Vec<_> = (state.inflight.iter_mut())
        .map(|(packet_id, entry)| {
            let released = entry.stage == Stage::Released;
            let delivery = entry.delivery.to_stored(Some(packet_id), released);
            (entry.sequence, delivery)
        })
        .collect();
    flights.sort_unstable_by_key(|(sequence, _)| *sequence);
    let waiting = state.ahead.iter().chain(state.queue.iter());
    let waiting = waiting.map(|delivery| delivery.to_stored(None, false));
    let sent = flights.into_iter().map(|(_, delivery)| delivery);

    RecoveredSession {
        expiry_s: state.expiry_s,
        will: state.will.as_deref().map(|will| (**will).clone()),
        subscriptions: (state.subscriptions.iter())
            .map(|(filter, record)| crate::store::StoredSubscription {
                filter: filter.clone(),
                record: *record,
            })
            .collect(),
        deliveries: sent.chain(waiting).collect(),
        open: state.inbound.iter().collect(),
    }
}
