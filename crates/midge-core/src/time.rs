//! Time as the core knows it: a number handed in. The core never reads a clock.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;

use crate::hooks::Deferred;
use crate::message::SharedMessage;
use crate::session::{Link, Session};

/// Milliseconds since the broker started, by the clock of whoever drives the hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The last moment that comes: as far as a clock may be moved.
    pub const LAST: Self = Self(u64::MAX - 1);

    /// This moment plus a number of milliseconds.
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This moment plus a number of seconds.
    pub const fn after_s(self, seconds: u64) -> Self {
        self.after_ms(seconds.saturating_mul(1000))
    }

    /// This moment plus a duration, rounded down to milliseconds.
    pub fn after(self, duration: Duration) -> Self {
        self.after_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds from this moment to a later one, 0 if it has passed.
    pub const fn until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// What happens when a deadline is reached.
pub(crate) enum Due {
    /// Check a connection for silence: time to CONNECT, or keep alive.
    Silence(Arc<Link>),
    /// The session expiry interval of a disconnected session.
    SessionExpiry(Arc<Session>, u32),
    /// The will delay of a disconnected session.
    WillDelay(Arc<Session>, u32),
    /// A retained message with a message expiry interval.
    RetainedExpiry(SharedMessage),
    /// A hook's answer that did not come.
    HookTimeout(Deferred),
    /// Messages that wait for a session may have expired.
    QueueExpiry(Arc<Session>),
    /// Publish the `$SYS` topics.
    Sys,
}

/// Names an armed deadline so that it can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey(Tick, NonZeroU64);

impl TimerKey {
    /// Its moment.
    pub(crate) fn at(self) -> Tick {
        self.0
    }
}

/// Deadlines that are looked at for those of one kind.
const LOOKED_AT: usize = 256;

/// All deadlines of a hub, in one ordered structure. As many entries as there are things alive.
#[derive(Default)]
pub(crate) struct Timers {
    inner: Mutex<TimersInner>,
}

struct TimersInner {
    due: BTreeMap<TimerKey, Due>,
    /// Sessions whose [`Due::QueueExpiry`] was taken, until their messages are dropped: who needs the
    /// room meanwhile helps.
    expiring: Vec<Arc<Session>>,
    sequence: NonZeroU64,
}

impl Default for TimersInner {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
            expiring: Vec::new(),
            sequence: NonZeroU64::MIN,
        }
    }
}

impl Timers {
    /// Arms a deadline. The flag tells whether it is now the earliest one.
    pub(crate) fn arm(&self, at: Tick, due: Due) -> (TimerKey, bool) {
        let mut inner = self.inner.lock();
        inner.sequence = inner.sequence.saturating_add(1);
        let key = TimerKey(at, inner.sequence);
        let earliest = inner
            .due
            .first_key_value()
            .is_none_or(|(first, _)| key < *first);
        inner.due.insert(key, due);
        (key, earliest)
    }

    pub(crate) fn cancel(&self, key: TimerKey) {
        // The value may own the last reference to a session: drop it outside the lock.
        let gone = self.inner.lock().due.remove(&key);
        drop(gone);
    }

    pub(crate) fn next(&self) -> Option<Tick> {
        self.inner
            .lock()
            .due
            .first_key_value()
            .map(|(key, _)| key.0)
    }

    /// Takes the earliest deadline that is due at `now`, with its own moment.
    pub(crate) fn pop(&self, now: Tick) -> Option<(Tick, Due)> {
        let mut inner = self.inner.lock();
        let (key, _) = inner.due.first_key_value()?;
        if key.0 > now {
            return None;
        }
        let (key, due) = inner.due.pop_first()?;
        if let Due::QueueExpiry(session) = &due {
            let session = session.clone();
            inner.expiring.push(session);
        }
        Some((key.0, due))
    }

    /// Whether something is due at `now` that nobody has taken yet, or messages are just expiring.
    pub(crate) fn is_due(&self, now: Tick) -> bool {
        let inner = self.inner.lock();
        let next = inner.due.first_key_value();
        !inner.expiring.is_empty() || next.is_some_and(|(key, _)| key.0 <= now)
    }

    /// The sessions whose messages are just expiring.
    pub(crate) fn expiring(&self) -> Vec<Arc<Session>> {
        self.inner.lock().expiring.clone()
    }

    /// Takes a session out that may have expired messages at `now`, before the deadlines ahead of it:
    /// if there is one among the first that are due.
    pub(crate) fn pop_queue_expiry(&self, now: Tick) -> Option<Arc<Session>> {
        let mut inner = self.inner.lock();
        let due = inner.due.iter().take_while(|(key, _)| key.0 <= now);
        let mut sessions = due
            .take(LOOKED_AT)
            .filter(|(_, due)| matches!(due, Due::QueueExpiry(_)));
        let key = *sessions.next()?.0;
        let Due::QueueExpiry(session) = inner.due.remove(&key)? else {
            return None;
        };
        inner.expiring.push(session.clone());
        Some(session)
    }

    /// The messages of a session that was taken have expired.
    pub(crate) fn has_expired(&self, session: &Arc<Session>) {
        let mut inner = self.inner.lock();
        let at = (inner.expiring.iter()).position(|known| Arc::ptr_eq(known, session));
        // Whoever calls has the session, so this is not its end.
        at.map(|at| inner.expiring.swap_remove(at));
    }

    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut self.inner.lock().due);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_can_be_taken_back() {
        let timers = Timers::default();
        let (_, first) = timers.arm(Tick(5), Due::Sys);
        assert!(first);
        let (early, first) = timers.arm(Tick(3), Due::Sys);
        assert!(first);
        let (_, first) = timers.arm(Tick(5), Due::Sys);
        assert!(!first);
        timers.cancel(early);
        assert_eq!(timers.next(), Some(Tick(5)));
        assert!(timers.pop(Tick(4)).is_none());
        assert!(timers.pop(Tick(5)).is_some());
        assert!(timers.pop(Tick(5)).is_some());
        assert!(timers.pop(Tick::NEVER).is_none());
    }

    #[test]
    fn ticks_saturate() {
        assert_eq!(Tick(1).after_s(u64::MAX), Tick::NEVER);
        assert_eq!(Tick(9).until(Tick(3)), 0);
    }
}
