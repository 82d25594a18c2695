//! Deadlines: fired by the owner of the clock.

use std::sync::Arc;

use super::Hub;
use crate::event::{Event, EventMask};
use crate::hub::Batch;
use crate::reason::DisconnectReason;
use crate::session::{Due, Link};
use crate::steps;
use crate::store::Op;
use crate::time::{Tick, TimerKey};

/// Deadlines in one go. The longest ones end a session with a slice of messages.
const DUE: usize = 16;

/// Expired messages that are dropped at once for the room that another one needs.
const OVERDUE: usize = 1024;

impl Hub {
    /// The next moment at which something is due.
    pub fn next_deadline(&self) -> Option<Tick> {
        self.env.timers.next()
    }

    /// Says how far the clock is about to be moved, step by step. Zero when it just runs.
    pub fn set_horizon(&self, target: Tick) {
        self.horizon
            .store(target.0, crate::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn horizon(&self) -> Tick {
        Tick(self.horizon.load(crate::sync::atomic::Ordering::Relaxed))
    }

    /// Does everything that is due at `now`, in order. Each thing happens at its own moment, so
    /// that a large step of a manual clock gives the same result as many small ones.
    pub fn fire(&self, now: Tick) {
        while self.fire_some(now) {}
    }

    /// Does some of what is due at `now`, in order; `false` if that was all. So that others get their
    /// turn when very much is due at once.
    pub fn fire_some(&self, now: Tick) -> bool {
        let _section = steps::section(steps::Section::Background);
        for _ in 0..DUE {
            let Some((at, due)) = self.env.timers.pop(now) else {
                return false;
            };
            let mut batch = self.begin(at);
            let expiring = match &due {
                Due::QueueExpiry(session) => Some(session.clone()),
                _ => None,
            };
            self.catch_hook_panic(|| self.handle_due(due, &mut batch));
            if let Some(session) = expiring {
                self.env.timers.has_expired(&session);
            }
        }
        true
    }

    fn handle_due(&self, due: Due, batch: &mut Batch) {
        match due {
            Due::Silence(link) => self.check_silence(&link, batch),
            Due::SessionExpiry(session, epoch) => self.session_expired(&session, epoch, batch),
            Due::WillDelay(session, epoch) => self.will_due(&session, epoch, batch),
            Due::RetainedExpiry(message) => {
                let mut retained = self.retained.write();
                let removed = retained.remove_exact(&message);

                if let (Some(journal), true) = (self.env.journal(), removed) {
                    journal.record(Op::RetainedRemoved {
                        topic: message.topic().into(),
                    });
                }

                drop(retained);
                if removed && batch.wants_change(&self.env, EventMask::EXPIRED) {
                    batch.event(Event::RetainedExpired { message });
                }
            }
            Due::QueueExpiry(session) => {
                session.drop_expired(&self.env, batch);
            }
            Due::HookTimeout(deferred) => deferred.expire(),
            Due::Sys if cfg!(feature = "sys") => self.publish_sys(batch),
            Due::Sys => {}
        }
    }

    /// Drops messages that have expired and whose deadlines have not been fired yet, until a message of
    /// `bytes` has room; a bounded number of them. No session must be locked.
    #[cold]
    pub(super) fn expire_overdue(&self, bytes: usize, batch: &mut Batch) {
        let timers = &self.env.timers;
        let mut left = OVERDUE;
        while left > 0
            && self.env.has_no_room(bytes).is_some()
            && let Some(session) = timers.pop_queue(batch.now)
        {
            left = left.saturating_sub(1 + session.drop_expired(&self.env, batch));
            timers.has_expired(&session);
        }
        // Last: what another thread has taken is here, or done. Its session is free when it is.
        for session in timers.expiring() {
            session.drop_expired(&self.env, batch);
        }
    }

    /// Arms the silence deadline of a connection, after its allowed silence was set.
    pub(crate) fn watch(&self, link: &Arc<Link>) {
        let mut timer = link.timer.lock();
        if let Some(old) = timer.take() {
            self.env.timers.cancel(old);
        }
        if link.ended().is_none()
            && let Some(at) = link.silent_at()
        {
            *timer = Some(self.arm(at, Due::Silence(link.clone())));
        }
    }

    pub(super) fn unwatch(&self, link: &Link) {
        if let Some(old) = link.timer.lock().take() {
            self.env.timers.cancel(old);
        }
    }

    /// A connection may have been silent for too long (MQTT-3.1.2-22); packets only note when they
    /// came, so mostly it has not, and the deadline moves on. Unread input postpones the decision until
    /// [`Hub::judge`].
    fn check_silence(&self, link: &Arc<Link>, batch: &mut Batch) {
        // Another thread may have armed the next deadline since this one was taken out.
        self.unwatch(link);
        let is_due = |at: Tick| at <= batch.now;
        if link.silent_at().is_some_and(is_due) {
            match self.catch_hook_panic(|| link.io.is_behind()) {
                Some(true) => return,
                Some(false) => {}
                // Nothing would look at this connection again.
                None => return self.end(link, DisconnectReason::InternalError, batch),
            }
        }

        self.judge_silence(link, batch);
    }

    /// Ends a connection that is still silent after all of its unread input was handled, or arms its
    /// next deadline. Due after each [`Flush::is_behind`](crate::Flush::is_behind) that was true.
    pub fn judge(&self, link: &Arc<Link>, now: Tick) {
        let mut batch = self.begin(now);
        self.unwatch(link);
        self.judge_silence(link, &mut batch);
    }

    fn judge_silence(&self, link: &Arc<Link>, batch: &mut Batch) {
        // Read again: input may have been handled since the deadline was found due.
        match link.silent_at() {
            Some(at) if at <= batch.now => {
                let reason = if link.has_session() {
                    DisconnectReason::KeepAliveTimeout
                } else {
                    DisconnectReason::ConnectTimeout
                };
                self.end(link, reason, batch);
            }
            Some(_) => self.watch(link),
            None => {}
        }
    }

    /// Gives a deferred answer its time limit, to be cancelled when it has come.
    pub(crate) fn limit(&self, deferred: &crate::hooks::Deferred, now: Tick) -> TimerKey {
        let at = now.after_ms(self.config().hooks.timeout_ms);
        self.arm(at, Due::HookTimeout(deferred.share()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::flush::Flush;

    /// Does not know whether there is unread input.
    struct Broken;

    impl Flush for Broken {
        fn flush(&self) {}

        fn is_behind(&self) -> bool {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }

    #[test]
    fn a_silent_connection_with_a_broken_transport_ends() {
        let mut config = Config::default();
        config.sys.interval_s = 0;
        let start = Tick(0);
        let hub = Hub::new(config, None, None, "", start);
        let link = hub.accept("".into(), "".into(), Arc::new(Broken), start);
        let link = link.unwrap();

        let due = hub.next_deadline().unwrap();
        hub.fire(due);
        assert_eq!(link.ended(), Some(&DisconnectReason::InternalError));
        assert_eq!(hub.stats(due).panics, 1);
        hub.closed(&link, due);
        assert_eq!(hub.next_deadline(), None);
    }
}
