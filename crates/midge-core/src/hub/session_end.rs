//! Sessions without connection: their wills, their expiry, their end.

use std::sync::Arc;

use midge_codec::ReasonCode;

use super::{After, Batch, Hub};
use crate::event::{Event, EventMask};
use crate::reason::DisconnectReason;
use crate::session::{Due, Session, SessionGuard, Sessions, State};
use crate::store::Op;
use crate::sync::atomic::Ordering;

impl Hub {
    /// The will when a connection ends: gone, now, or after its delay (section 3.1.3.2.2).
    pub(super) fn decide_will(
        &self,
        session: &Arc<Session>,
        state: &mut State,
        reason: &DisconnectReason,
        ends: bool,
        batch: &mut Batch,
    ) {
        let withdrawn = match reason {
            DisconnectReason::ByClient(code) => *code == ReasonCode::Success, // MQTT-3.14.4-3
            DisconnectReason::Shutdown => !self.config().shutdown.wills,
            _ => false,
        };

        if withdrawn && state.will.take().is_some() {
            self.record_session(session, state);
        }

        let Some(will) = &state.will else { return };
        let at_once = ends || will.delay_s == 0 || *reason == DisconnectReason::Shutdown;
        if at_once {
            self.release_will(session, state, batch);
        } else if will.delay_s < state.expiry_s {
            // A longer delay ends with the session.
            let at = batch.now.after_s(u64::from(will.delay_s));
            let epoch = state.epoch;
            let key = self.arm(at, Due::WillDelay(session.clone(), epoch));
            state.offline.get_or_insert_default().will_timer = Some(key);
        }
    }

    /// Takes the will out of the session for publication (MQTT-3.1.2-10).
    pub(super) fn release_will(
        &self,
        session: &Arc<Session>,
        state: &mut State,
        batch: &mut Batch,
    ) {
        if let Some(will) = state.will.take() {
            if state.recorded.is_some() {
                // Until it is published.
                self.open_unit(batch);
            }
            self.record_session(session, state);
            let session = session.clone();
            batch.after.push(After::Will { session, will });
        }
    }

    pub(super) fn cancel_timers(&self, state: &mut State) {
        let Some(offline) = &mut state.offline else {
            return;
        };
        let keys = [offline.expiry_timer.take(), offline.will_timer.take()];
        for key in keys.into_iter().flatten() {
            self.env.timers.cancel(key);
        }
    }

    /// Ends a session: it is not found any more, its will is published, its messages are given up,
    /// its subscriptions are removed later, in slices.
    pub(super) fn end_session(
        &self,
        sessions: &mut Sessions,
        session: &Arc<Session>,
        batch: &mut Batch,
    ) {
        sessions.remove(session);
        let mut state = session.lock();
        if state.dead {
            return;
        }
        if state.recorded.is_some() {
            // Until its will is published, and others have its shared messages.
            self.open_unit(batch);
        }
        state.record(&self.env, |client_id| Op::SessionEnded { client_id });

        state.dead = true;
        if batch.wants_change(&self.env, EventMask::SESSION_ENDED) {
            let event = Event::SessionEnded {
                client_id: session.client_id.clone(),
                session: session.number,
            };
            batch.record(&self.env, event);
        }

        self.cancel_timers(&mut state);
        self.release_will(session, &mut state, batch);

        let mut ended = SessionGuard::new(session, state, &self.env, batch);
        ended.give_up_inflight();
        let has_messages = ended.give_up_some();
        let mut state = ended.into_state();

        // Only now: a thread that looks for room in between finds that it is being made.
        state.unwatch_expiry(&self.env);

        let subscriptions = std::mem::take(&mut state.subscriptions);
        state.inbound.clear();
        state.retained.clear();
        drop(state);
        if has_messages || !subscriptions.is_empty() {
            batch.after.push(After::Teardown {
                session: session.clone(),
                subscriptions,
                has_messages,
            });
        }

        batch
            .after
            .push(After::SessionEnded(session.client_id.clone()));
    }

    pub(super) fn count_subscriptions(&self, shared: bool, change: i64) {
        let counters = &self.env.counters;
        counters.subscriptions.fetch_add(change, Ordering::Relaxed);
        if shared {
            counters
                .shared_subscriptions
                .fetch_add(change, Ordering::Relaxed);
        }
    }

    /// The session expiry interval of a disconnected session has passed.
    pub(super) fn session_expired(&self, session: &Arc<Session>, epoch: u32, batch: &mut Batch) {
        let mut sessions = self.sessions.lock();
        {
            let mut state = session.lock();
            if state.epoch != epoch || state.attached.is_some() || state.dead {
                return;
            }
            if let Some(offline) = &mut state.offline {
                offline.expiry_timer = None;
            }
        }
        self.env
            .counters
            .sessions_expired
            .fetch_add(1, Ordering::Relaxed);
        self.end_session(&mut sessions, session, batch);
    }

    /// The will delay of a disconnected session has passed.
    pub(super) fn will_due(&self, session: &Arc<Session>, epoch: u32, batch: &mut Batch) {
        let mut state = session.lock();
        if state.epoch == epoch && state.attached.is_none() && !state.dead {
            if let Some(offline) = &mut state.offline {
                offline.will_timer = None;
            }
            self.release_will(session, &mut state, batch);
        }
    }

    /// Ends a session and its connection, as the host asks. `false` if there is none.
    pub(super) fn clear(&self, client_id: &str, reason: ReasonCode, batch: &mut Batch) -> bool {
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.find(client_id).cloned() else {
            return false;
        };

        let holder = session
            .lock()
            .attached
            .as_ref()
            .map(|attached| attached.link.clone());

        if let Some(link) = holder {
            self.detach(
                &mut sessions,
                &session,
                &link,
                (DisconnectReason::ByServer(reason), None),
                batch,
            );
        }

        self.end_session(&mut sessions, &session, batch);
        true
    }

    /// Begins a unit that goes on until the effects of the batch have been carried out: see
    /// [`Hub::hand_over_changes`].
    pub(super) fn open_unit(&self, batch: &mut Batch) {
        if let Some(journal) = self.env.journal()
            && !std::mem::replace(&mut batch.unit, true)
        {
            journal.open();
        }
    }

    /// Hands over what was recorded. The unit of the batch ends, if it has one and nothing is left of
    /// it to be done.
    pub(super) fn hand_over_changes(&self, batch: &mut Batch) {
        let Some(journal) = self.env.journal() else {
            return;
        };
        if batch.unit && !batch.owes_to_unit() {
            batch.unit = false;
            journal.close();
        }
        journal.flush(batch.now);
    }

    /// Records what a session is: that it exists, for how long, with which will, since when without
    /// connection.
    pub(super) fn record_session(&self, session: &Session, state: &mut State) {
        state.record_row(session, &self.env);
    }
}
