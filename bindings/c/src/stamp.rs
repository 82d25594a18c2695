//! When something came, by the clocks of the system.

use std::cell::Cell;

use broker::Arrival;

/// When something happened, by both clocks, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) wall: u64,
    pub(crate) monotonic: u64,
}

/// How an item has come into a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) seq: u64,
    pub(crate) lost: u64,
    pub(crate) stamp: Stamp,
}

impl Arrival for Arrived {
    const COUNTS: bool = true;

    #[inline(always)]
    fn new(seq: u64, lost: u64) -> Self {
        Self {
            seq,
            lost,
            stamp: Stamp::now(),
        }
    }

    fn lost(&self) -> u64 {
        self.lost
    }

    fn lose(&mut self, count: u64) {
        self.lost += count;
    }
}

/// Nanoseconds for which the distance between the clocks is taken as known.
const CLOCKS_AGREE: u64 = 10_000_000;

thread_local! {
    /// When the distance between the clocks was read, and the distance.
    static DISTANCE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

#[cfg(unix)]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the time that it is given.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

#[cfg(unix)]
fn monotonic() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

#[cfg(unix)]
fn wall() -> u64 {
    read(libc::CLOCK_REALTIME)
}

#[cfg(windows)]
fn monotonic() -> u64 {
    use windows_sys::Win32::System::Performance::{
        QueryPerformanceCounter, QueryPerformanceFrequency,
    };

    let (mut ticks, mut frequency) = (0, 0);
    // SAFETY: both write a variable of this function.
    unsafe {
        QueryPerformanceFrequency(&raw mut frequency);
        QueryPerformanceCounter(&raw mut ticks);
    }
    let (ticks, frequency) = (ticks.unsigned_abs(), frequency.unsigned_abs().max(1));
    // In two parts: ticks times a thousand million are too many after some minutes.
    let parts = (ticks % frequency).wrapping_mul(1_000_000_000) / frequency;
    (ticks / frequency)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(parts)
}

#[cfg(windows)]
fn wall() -> u64 {
    use std::time::SystemTime;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

impl Stamp {
    /// The present. Of two clocks one is read, and now and then the other one.
    pub(crate) fn now() -> Self {
        let monotonic = monotonic();
        let (at, mut distance) = DISTANCE.get();
        if at == 0 || monotonic.wrapping_sub(at) > CLOCKS_AGREE {
            distance = wall().wrapping_sub(monotonic);
            DISTANCE.set((monotonic, distance));
        }
        Self {
            wall: monotonic.wrapping_add(distance),
            monotonic,
        }
    }
}
