//! Clocks and the figures of `/proc`.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::error::{Error, Result};

fn clock(id: ClockId) -> u64 {
    let t = clock_gettime(id);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Monotonic time in nanoseconds.
#[inline]
pub(crate) fn now_ns() -> u64 {
    clock(ClockId::Monotonic)
}

/// Nanoseconds since 1970, which is how the kernel stamps packets.
pub(crate) fn wall_ns() -> u64 {
    clock(ClockId::Realtime)
}

/// Seconds since a [`now_ns`].
pub(crate) fn seconds_since(start_ns: u64) -> f64 {
    (now_ns() - start_ns) as f64 / 1e9
}

/// CPU seconds of this process.
pub(crate) fn self_cpu_s() -> f64 {
    clock(ClockId::ProcessCPUTime) as f64 / 1e9
}

/// Gives this thread only the time that others leave over. A small nice value would not do: a
/// thread that wakes up waits for the slice of the one that runs, unless that one is idle-class.
pub(crate) fn lowest_priority() -> Result<()> {
    rustix::process::nice(19)?;
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let status = Command::new("chrt")
        .args(["--idle", "--pid", "0", &thread])
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Error::new("chrt (util-linux) cannot lower the priority")),
    }
}

fn tick_s() -> f64 {
    1.0 / rustix::param::clock_ticks_per_second() as f64
}

/// CPU seconds (user and system, all threads) of a process; NaN when there is no such process.
///
/// `stat` counts in ticks of 10 ms but knows threads that are gone; `schedstat` counts in
/// nanoseconds but only threads that live. Both are lower bounds, so the larger one is the better.
pub(crate) fn cpu_s(pid: u64) -> f64 {
    let coarse = stat_cpu_s(pid).unwrap_or(f64::NAN);
    coarse.max(sched_cpu_s(pid).unwrap_or(0.0))
}

fn stat_cpu_s(pid: u64) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks; utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) * tick_s())
}

fn sched_cpu_s(pid: u64) -> Option<f64> {
    let mut ns = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        ns += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(ns / 1e9)
}

/// Resident bytes of a process: (now, peak).
pub(crate) fn rss(pid: u64) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
}

/// Seconds of the whole machine: (busy, taken by the hypervisor). Shows what others do meanwhile.
pub(crate) fn machine_cpu() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or("");
    let v: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|x| x.parse().ok())
        .collect();
    match v[..] {
        [user, nice, system, _idle, _wait, irq, softirq, steal, ..] => (
            (user + nice + system + irq + softirq) * tick_s(),
            steal * tick_s(),
        ),
        _ => (0.0, 0.0),
    }
}

/// Raises the limit of open files as far as this process may.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Without the raise, only the largest scenarios fail, and they say so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Xorshift: enough to spread topics.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
