//! The types of `shuttle` with the interface of `parking_lot`. Each lock checks the order of locks.

use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::order::{Held, locks_held};

pub(crate) use shuttle::sync::atomic;
pub(crate) use shuttle::thread_local;

/// Maps hash alike in each run, so that a schedule can be replayed.
pub(crate) type Hashing = BuildHasherDefault<DefaultHasher>;

/// A guard of `shuttle` and the place of its lock in the order.
pub(crate) struct Guard<G> {
    /// In an `Option`, because [`Condvar`] takes it away for a while.
    guard: Option<G>,
    held: Option<Held>,
}

pub(crate) type MutexGuard<'a, T> = Guard<shuttle::sync::MutexGuard<'a, T>>;

// The guard is away only while a condition variable waits with it.
#[allow(clippy::expect_used)]
impl<G: Deref> Deref for Guard<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        self.guard
            .as_ref()
            .expect("a condition variable has the guard")
    }
}

#[allow(clippy::expect_used)]
impl<G: DerefMut> DerefMut for Guard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        self.guard
            .as_mut()
            .expect("a condition variable has the guard")
    }
}

fn guard<T, G>(lock: impl FnOnce() -> Result<G, PoisonError<G>>) -> Guard<G> {
    let held = Some(Held::take::<T>());
    let guard = Some(lock().unwrap_or_else(PoisonError::into_inner));
    Guard { guard, held }
}

#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        guard::<T, _>(|| self.0.lock())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex { .. }")
    }
}

#[derive(Default)]
pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> Guard<shuttle::sync::RwLockReadGuard<'_, T>> {
        guard::<T, _>(|| self.0.read())
    }

    pub(crate) fn write(&self) -> Guard<shuttle::sync::RwLockWriteGuard<'_, T>> {
        guard::<T, _>(|| self.0.write())
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock { .. }")
    }
}

/// A cell that is written once. Looking at it is a step that others may come before or after.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    step: atomic::AtomicBool,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            step: atomic::AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.step.load(atomic::Ordering::Acquire);
        self.value.get()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.step.store(true, atomic::Ordering::Release);
        self.value.set(value)
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

    /// Only the guard's own lock may be held.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        drop(guard.held.take());
        assert_eq!(locks_held(), 0, "waiting under another lock");
        if let Some(held) = guard.guard.take() {
            guard.guard = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }
        guard.held = Some(Held::take::<T>());
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
