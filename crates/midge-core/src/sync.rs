//! The locks and atomics of the core, in one place, so that a model checker can stand in for them.
//!
//! An ordinary build uses `parking_lot` and `std`. A build with `--cfg shuttle` uses the scheduler of
//! [`shuttle`](https://docs.rs/shuttle), which decides at each of these operations which thread runs
//! next: `tests/interleavings/run.sh` explores takeover, delivery, unsubscribe, end, wake-up and
//! budget with it.
//!
//! State that all brokers of a process share (the pool of message allocations, instance numbers)
//! stays on the ordinary types: an exploration must not depend on the one before it.

#[cfg(shuttle)]
mod order;
#[cfg(shuttle)]
mod scheduled;

/// A number for all brokers of the process.
pub(crate) use std::sync::atomic::AtomicU64 as ProcessWide;

/// A number that also changes while a panic unwinds, where the checker cannot schedule. For
/// diagnostics only: no decision may depend on when a change becomes visible.
pub(crate) use std::sync::atomic::AtomicU32 as Unscheduled;

#[cfg(shuttle)]
pub use order::{Order, lock_in, locks_held};
#[cfg(not(shuttle))]
pub(crate) use ordinary::*;
#[cfg(shuttle)]
pub(crate) use scheduled::*;

#[cfg(not(shuttle))]
mod ordinary {
    pub(crate) use hashbrown::DefaultHashBuilder as Hashing;
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use std::sync::{OnceLock, atomic};
    pub(crate) use std::thread_local;
}
