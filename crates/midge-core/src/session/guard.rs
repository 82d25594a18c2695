//! A session under its lock, with what work on it needs.

use std::sync::Arc;

use super::{Delivery, Effects, Env, Link, Session, State};
use crate::event::Lost;
use crate::reason::DropReason;
use crate::store::Op;
use crate::sync::MutexGuard;
use midge_codec::QoS;

/// A session under its lock, its surroundings, and the effects that are noted for later.
pub(crate) struct SessionGuard<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) state: MutexGuard<'a, State>,
    pub(super) env: &'a Env,
    pub(crate) effects: &'a mut Effects,
}

impl Session {
    /// Locks the session for a piece of work.
    #[inline]
    pub(crate) fn guard<'a>(
        self: &'a Arc<Self>,
        env: &'a Env,
        effects: &'a mut Effects,
    ) -> SessionGuard<'a> {
        SessionGuard::new(self, self.lock(), env, effects)
    }

    /// As [`Session::guard`], on behalf of one of its connections: see [`Session::lock_for`].
    #[inline]
    pub(crate) fn guard_for<'a>(
        self: &'a Arc<Self>,
        link: &Link,
        env: &'a Env,
        effects: &'a mut Effects,
    ) -> Option<SessionGuard<'a>> {
        let state = self.lock_for(link)?;

        Some(SessionGuard::new(self, state, env, effects))
    }
}

impl<'a> SessionGuard<'a> {
    /// Goes on with a session that is locked already.
    #[inline]
    pub(crate) fn new(
        session: &'a Arc<Session>,
        state: MutexGuard<'a, State>,
        env: &'a Env,
        effects: &'a mut Effects,
    ) -> Self {
        Self {
            session,
            state,
            env,
            effects,
        }
    }

    /// The lock alone; no effects are noted any more.
    #[inline]
    pub(crate) fn into_state(self) -> MutexGuard<'a, State> {
        self.state
    }

    /// Gives up a message that was taken: accounts, counts, tells.
    pub(super) fn drop_delivery(&mut self, delivery: &Delivery, reason: DropReason) {
        self.state.end_accounting(delivery, self.env);
        self.report_dropped(delivery, reason);
    }

    /// Counts and tells that the client does not get a message.
    pub(super) fn report_dropped(&mut self, delivery: &Delivery, reason: DropReason) {
        let lost = Lost::kept(&delivery.message);
        (self.effects).report_drop(self.env, self.session.whom(), lost, reason);
    }
}

impl SessionGuard<'_> {
    /// Begins the accounting of a message that is taken.
    #[inline]
    pub(super) fn begin_accounting(&mut self, delivery: &mut Delivery) {
        if self.state.recorded.is_some() && delivery.qos != QoS::AtMostOnce {
            self.record_taken(delivery);
        }

        self.state.queued_bytes += delivery.cost();
        self.env.charge_queues(delivery.share());
    }
}

impl State {
    /// Ends the accounting of a message that was taken.
    pub(crate) fn end_accounting(&mut self, delivery: &Delivery, env: &Env) {
        if self.recorded.is_some() && delivery.qos != QoS::AtMostOnce {
            let (message_id, packet_id) = (delivery.message.id(), delivery.packet_id);
            self.record(env, |client_id| Op::Done {
                client_id,
                message_id,
                packet_id,
            });
        }

        self.queued_bytes = self.queued_bytes.saturating_sub(delivery.cost());
        env.release_queues(delivery.share());

        if let Some(tracker) = delivery.message.tracker() {
            tracker.closed();
        }
    }
}
