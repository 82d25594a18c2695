//! The broker's clock: the system's, or one that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use midge_core::{Hub, Tick};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Which clock a broker has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clock {
    /// The system's monotonic clock.
    #[default]
    System,
    /// A clock that stands still until [`ClockHandle::advance`] moves it: keep alive, wills,
    /// expiry and time limits of hooks in milliseconds instead of minutes.
    Manual,
}

/// Reads the time for the core.
#[derive(Clone, Debug)]
pub(crate) enum TimeSource {
    System(Instant),
    Manual(Arc<AtomicU64>),
}

impl TimeSource {
    pub(crate) fn new(clock: Clock) -> Self {
        match clock {
            Clock::System => Self::System(Instant::now()),
            Clock::Manual => Self::Manual(Arc::default()),
        }
    }

    pub(crate) fn is_manual(&self) -> bool {
        matches!(self, Self::Manual(_))
    }

    pub(crate) fn now(&self) -> Tick {
        match self {
            Self::System(start) => Tick::default().after(start.elapsed()),
            Self::Manual(now) => Tick(now.load(Ordering::Acquire)),
        }
    }
}

/// The right to move a manual clock: one caller at a time.
#[derive(Debug, Default)]
pub(crate) struct Mover {
    moving: Mutex<()>,
    thread: Mutex<Option<ThreadId>>,
    /// Milliseconds that were asked for by what a moving clock has called.
    further: AtomicU64,
}

/// The clock of a running broker.
#[derive(Debug)]
pub struct ClockHandle<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) time: &'a TimeSource,
    pub(crate) mover: &'a Mover,
}

impl ClockHandle<'_> {
    /// Time since the broker started.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.time.now().0)
    }

    /// Moves a manual clock. Everything that comes due on the way happens in order and each at its
    /// own moment, on the calling thread, before this returns; what goes to clients is then on its
    /// way. Without effect on the system's clock.
    ///
    /// A hook that a moving clock has called may move it too: it then goes on further, when the hook
    /// has returned.
    ///
    /// What never expires does not, however far the clock is moved: it stops some 584 million years
    /// after the start.
    pub fn advance(&self, by: Duration) {
        let TimeSource::Manual(now) = self.time else {
            return;
        };

        let further = &self.mover.further;
        let me = Some(thread::current().id());
        if *self.mover.thread.lock() == me {
            let by = Tick::default().after(by).0;
            let add = |further: u64| Some(further.saturating_add(by));
            let _ = further.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            return;
        }

        let _one_at_a_time = self.mover.moving.lock();
        *self.mover.thread.lock() = me;

        // Also when a hook panics.
        let _gone = Leave(self.mover);
        let target = |from: Tick, by| from.after_ms(by).min(Tick::LAST);
        let (by, from) = (Tick::default().after(by).0, now.load(Ordering::Acquire));
        let mut to = target(Tick(from), by);
        self.hub.set_horizon(to);
        while let Some(due) = self.hub.next_deadline().filter(|due| *due <= to) {
            let at = due.0.max(now.load(Ordering::Acquire));
            now.store(at, Ordering::Release);
            self.hub.fire(Tick(at));
            to = target(to, further.swap(0, Ordering::Relaxed));
            self.hub.set_horizon(to);
        }

        now.store(to.0, Ordering::Release);
    }
}

struct Leave<'a>(&'a Mover);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        *self.0.thread.lock() = None;
    }
}
