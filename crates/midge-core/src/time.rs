//! Time as the core knows it: a number handed in. The core never reads a clock.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;

/// Milliseconds since the broker started, by the clock of the hub's driver.
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

/// The purpose of a deadline.
pub(crate) trait Deadline {
    /// The place where messages wait.
    type Queue;

    /// The queue whose messages may have expired, if that is what is due.
    fn queue(&self) -> Option<&Arc<Self::Queue>>;
}

/// All deadlines of a hub, in one ordered structure. As many entries as there are things alive.
pub(crate) struct Timers<D: Deadline> {
    inner: Mutex<Inner<D>>,
}

struct Inner<D: Deadline> {
    due: BTreeMap<TimerKey, D>,
    /// Queues whose deadline was taken, until their expired messages are dropped: a thread that needs
    /// the room meanwhile helps.
    expiring: Vec<Arc<D::Queue>>,
    sequence: NonZeroU64,
}

impl<D: Deadline> Default for Timers<D> {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
        }
    }
}

impl<D: Deadline> Default for Inner<D> {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
            expiring: Vec::new(),
            sequence: NonZeroU64::MIN,
        }
    }
}

impl<D: Deadline> Timers<D> {
    /// Arms a deadline. The flag tells whether it is now the earliest one.
    pub(crate) fn arm(&self, at: Tick, due: D) -> (TimerKey, bool) {
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
    pub(crate) fn pop(&self, now: Tick) -> Option<(Tick, D)> {
        let mut inner = self.inner.lock();
        let (key, _) = inner.due.first_key_value()?;
        if key.0 > now {
            return None;
        }
        let (key, due) = inner.due.pop_first()?;
        if let Some(queue) = due.queue().cloned() {
            inner.expiring.push(queue);
        }
        Some((key.0, due))
    }

    /// Whether something is due at `now` and not taken yet, or messages are just expiring.
    pub(crate) fn is_due(&self, now: Tick) -> bool {
        let inner = self.inner.lock();
        let next = inner.due.first_key_value();
        !inner.expiring.is_empty() || next.is_some_and(|(key, _)| key.0 <= now)
    }

    /// The queues whose messages are just expiring.
    pub(crate) fn expiring(&self) -> Vec<Arc<D::Queue>> {
        self.inner.lock().expiring.clone()
    }

    /// Takes a queue out that may have expired messages at `now`, before the deadlines ahead of it: if
    /// there is one among the first that are due.
    pub(crate) fn pop_queue(&self, now: Tick) -> Option<Arc<D::Queue>> {
        let mut inner = self.inner.lock();
        let due = inner.due.iter().take_while(|(key, _)| key.0 <= now);
        let mut queues = due
            .take(LOOKED_AT)
            .filter_map(|(key, due)| Some((*key, due.queue()?.clone())));
        let (key, queue) = queues.next()?;

        let due = inner.due.remove(&key);
        inner.expiring.push(queue.clone());
        drop(inner);

        // It is not the last reference, so nothing ends here.
        drop(due);
        Some(queue)
    }

    /// The messages of a queue that was taken have expired.
    pub(crate) fn has_expired(&self, queue: &Arc<D::Queue>) {
        let mut inner = self.inner.lock();
        let at = (inner.expiring.iter()).position(|known| Arc::ptr_eq(known, queue));
        // The caller has the queue, so this is not its end.
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

    struct Nothing;

    impl Deadline for Nothing {
        type Queue = ();

        fn queue(&self) -> Option<&Arc<()>> {
            None
        }
    }

    #[test]
    fn deadlines_come_in_order_and_can_be_taken_back() {
        let timers = Timers::default();
        let (_, first) = timers.arm(Tick(5), Nothing);
        assert!(first);
        let (early, first) = timers.arm(Tick(3), Nothing);
        assert!(first);
        let (_, first) = timers.arm(Tick(5), Nothing);
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
