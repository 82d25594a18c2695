//! Messages that expire while they wait (MQTT-3.3.2-5).

use std::sync::Arc;

use midge_codec::QoS;

use super::{Delivery, Due, Effects, Env, Session, SessionGuard, State};
use crate::reason::DropReason;
use crate::steps;
use crate::sync::atomic::Ordering;
use crate::time::Tick;

/// Expired messages of one session that are dropped in one go.
const EXPIRED_TOGETHER: usize = 256;

impl State {
    /// Takes a message that has expired, wherever it waits.
    pub(crate) fn take_expired(&mut self, now: Tick, env: &Env) -> Option<Delivery> {
        let delivery = if let Some(number) = self.queue.expired(now) {
            let delivery = self.queue.remove(number)?;
            self.queued_qos0 -= u32::from(delivery.qos == QoS::AtMostOnce);
            delivery
        } else {
            let number = self.retained_backlog.expired(now)?;
            // Hooks were asked about the first ones, and not about the next.
            let asked = usize::from(self.asked);
            self.asked -= u8::from(self.retained_backlog.is_among_first(number, asked));
            self.retained_backlog.remove(number)?
        };
        env.counters.queued_messages.fetch_sub(1, Ordering::Relaxed);
        Some(delivery)
    }

    /// Cancels the deadlines of what waits.
    pub(crate) fn unwatch_expiry(&mut self, env: &Env) {
        for queue in [&mut self.queue, &mut self.retained_backlog] {
            if let Some(timer) = queue.set_timer(None) {
                env.timers.cancel(timer);
            }
        }
    }
}

impl Session {
    /// Sees to it that what waits and expires is looked for when it does.
    pub(crate) fn watch_expiry(self: &Arc<Self>, state: &mut State, env: &Env) {
        for queue in [&mut state.queue, &mut state.retained_backlog] {
            if let Some(at) = queue.unwatched() {
                let timer = env.arm(at, Due::QueueExpiry(self.clone()));
                if let Some(before) = queue.set_timer(Some(timer)) {
                    env.timers.cancel(before);
                }
            }
        }
    }

    /// Drops messages that have expired (MQTT-3.3.2-5), not very many at once: how many. The deadline
    /// has come.
    pub(crate) fn drop_expired(self: &Arc<Self>, env: &Env, effects: &mut Effects) -> usize {
        let mut guard = self.guard(env, effects);
        let now = guard.effects.now;
        guard.state.queue.take_timer(now);
        guard.state.retained_backlog.take_timer(now);
        if guard.state.dead {
            return 0;
        }

        let mut dropped = 0;
        while dropped < EXPIRED_TOGETHER
            && let Some(delivery) = guard.state.take_expired(now, env)
        {
            steps::add(1);
            dropped += 1;
            guard.drop_delivery(&delivery, DropReason::Expired);
        }
        guard.watch_expiry();
        dropped
    }
}

impl SessionGuard<'_> {
    /// See [`Session::watch_expiry`].
    pub(crate) fn watch_expiry(&mut self) {
        self.session.watch_expiry(&mut self.state, self.env);
    }
}
