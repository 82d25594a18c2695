//! The locks and atomics of the core, in one place, so that a model checker can stand in for them.
//!
//! An ordinary build uses `parking_lot` and `std`. A build with `--cfg shuttle` uses the scheduler of
//! [`shuttle`](https://docs.rs/shuttle), which decides at each of these operations which thread runs
//! next: `tests/interleavings/run.sh` explores takeover, delivery, unsubscribe, end, wake-up and
//! budget with it.
//!
//! What is shared by all brokers of a process (the pool of message allocations, instance numbers)
//! stays on the ordinary types: an exploration must not depend on the one before it.

/// A number for all brokers of the process.
pub(crate) use std::sync::atomic::AtomicU64 as ProcessWide;

#[cfg(not(shuttle))]
pub(crate) use ordinary::*;
#[cfg(shuttle)]
pub(crate) use scheduled::*;

#[cfg(not(shuttle))]
mod ordinary {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use std::sync::atomic;
}

/// The types of `shuttle` with the interface of `parking_lot`.
#[cfg(shuttle)]
mod scheduled {
    use std::fmt;
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;
    use std::time::{Duration, Instant};

    pub(crate) use shuttle::sync::atomic;
    pub(crate) use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};

    #[derive(Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    /// Holds the guard in an `Option`, because [`Condvar`] takes it away for a while.
    pub(crate) struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("a condition variable has the guard")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("a condition variable has the guard")
        }
    }

    impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Mutex { .. }")
        }
    }

    #[derive(Default)]
    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<T> fmt::Debug for RwLock<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("RwLock { .. }")
        }
    }

    #[derive(Default)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    /// Whether a wait ended without a notification. Time does not pass in an exploration: never.
    pub(crate) struct WaitTimeoutResult;

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            false
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            if let Some(held) = guard.0.take() {
                guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
            }
        }

        pub(crate) fn wait_until<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            _: Instant,
        ) -> WaitTimeoutResult {
            self.wait(guard);
            WaitTimeoutResult
        }

        pub(crate) fn wait_while_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            mut goes_on: impl FnMut(&mut T) -> bool,
            _: Duration,
        ) -> WaitTimeoutResult {
            while goes_on(&mut *guard) {
                self.wait(guard);
            }
            WaitTimeoutResult
        }
    }

    impl fmt::Debug for Condvar {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Condvar { .. }")
        }
    }
}
