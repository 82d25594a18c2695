//! The surroundings that every part of the core uses without a lock: settings, counters, observers,
//! the budget, the journal, deadlines.

use std::sync::Arc;

use midge_codec::DecodeLimits;

use crate::budget::{Budget, Part};
use crate::config::{Config, Overflow};
use crate::event::Taps;
use crate::reason::DropReason;
use crate::stats::Counters;
use crate::store::{Journal, Store};
use crate::sync::Mutex;
use crate::time::{Deadline, Tick, TimerKey, Timers};

/// The surroundings of all sessions of one hub. Deadlines are those of its user.
pub(crate) struct Env<D: Deadline> {
    pub(crate) config: Settings,
    pub(crate) counters: Counters,
    pub(crate) taps: Taps,
    pub(crate) budget: Arc<Budget>,
    journal: Option<Journal>,
    pub(crate) timers: Timers<D>,
    on_deadline: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

/// The configuration, with what is needed per message at hand.
pub(crate) struct Settings {
    inner: Config,
    pub(crate) overflow: Overflow,
    pub(crate) decode_limits: DecodeLimits,
}

impl std::ops::Deref for Settings {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.inner
    }
}

impl<D: Deadline> Env<D> {
    pub(crate) fn new(config: Config, budget: Arc<Budget>, store: Option<Arc<dyn Store>>) -> Self {
        Self {
            config: Settings {
                decode_limits: config.limits.of_decoding(),
                overflow: config.overflow.session,
                inner: config,
            },
            counters: Counters::default(),
            taps: Taps::default(),
            budget,
            journal: store.map(Journal::new),
            timers: Timers::default(),
            on_deadline: Mutex::new(None),
        }
    }

    #[inline]
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Sets what is called when an earlier deadline than all others has been armed.
    pub(crate) fn on_deadline(&self, notify: Option<Arc<dyn Fn() + Send + Sync>>) {
        *self.on_deadline.lock() = notify;
    }

    /// Arms a deadline.
    pub(crate) fn arm(&self, at: Tick, due: D) -> TimerKey {
        let (key, earliest) = self.timers.arm(at, due);
        if earliest {
            let notify = self.on_deadline.lock().clone();
            if let Some(notify) = notify {
                notify();
            }
        }
        key
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.budget.of(Part::Queues)
    }

    pub(crate) fn charge_queues(&self, bytes: usize) {
        self.budget.charge(Part::Queues, bytes);
    }

    pub(crate) fn release_queues(&self, bytes: usize) {
        self.budget.release(Part::Queues, bytes);
    }

    /// Why no `bytes` more may wait for clients, if so.
    #[inline]
    pub(crate) fn has_no_room(&self, bytes: usize) -> Option<DropReason> {
        if self.budget.waiting() + bytes > self.config.limits.total_queue_bytes {
            Some(DropReason::TotalQueueFull)
        } else if !self.budget.has_room(bytes) {
            Some(DropReason::MemoryFull)
        } else {
            None
        }
    }
}
