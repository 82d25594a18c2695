//! Driving the engine: until something holds, or for the measured time.

use std::ops::Range;

use super::Engine;
use super::publisher::WRITTEN;
use crate::os::{cpu_s, machine_cpu, now_ns, seconds_since, self_cpu_s};

/// After this much silence with messages outstanding, they are written off as lost.
const STALL_NS: u64 = 1_500_000_000;

/// Counters of the engine.
#[derive(Default, Clone)]
pub(crate) struct Stats {
    pub(crate) received: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) stalls: u64,
    /// Connections that the broker closed after they were up.
    pub(crate) closed: u64,
    /// Messages that this generator did not write.
    pub(crate) foreign: u64,
    pub(crate) retained: u64,
    pub(crate) acks: u64,
    pub(crate) ack_errors: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
}

impl Stats {
    /// What happened since `start`; faults count from the very beginning.
    fn since(&self, start: &Self) -> Self {
        Self {
            received: self.received - start.received,
            received_bytes: self.received_bytes - start.received_bytes,
            sent: self.sent - start.sent,
            acks: self.acks - start.acks,
            reads: self.reads - start.reads,
            writes: self.writes - start.writes,
            ..self.clone()
        }
    }
}

/// How long and how fast.
pub(crate) struct RunOptions {
    /// Seconds.
    pub(crate) warmup: f64,
    pub(crate) duration: f64,
    /// Messages per second of all scheduled publishers together; 0: saturate.
    pub(crate) rate: f64,
    /// Poll instead of sleeping between due messages.
    pub(crate) spin: bool,
    /// The broker's process, 0 if unknown.
    pub(crate) pid: u64,
}

/// What the measured time gave.
pub(crate) struct Measured {
    pub(crate) wall: f64,
    pub(crate) stats: Stats,
    pub(crate) broker_cpu: f64,
    pub(crate) self_cpu: f64,
    pub(crate) machine_cpu: f64,
    pub(crate) steal: f64,
}

/// Readings at one moment.
struct Snapshot {
    ns: u64,
    broker: f64,
    own: f64,
    machine: (f64, f64),
    stats: Stats,
}

/// The open-loop schedule: message `n` is due at a fixed time, whatever happened before.
struct Schedule {
    interval: f64,
    next: f64,
    publishers: Vec<usize>,
    turn: usize,
}

impl Engine {
    fn snapshot(&self, pid: u64) -> Snapshot {
        Snapshot {
            ns: now_ns(),
            broker: cpu_s(pid),
            own: self_cpu_s(),
            machine: machine_cpu(),
            stats: self.stats.clone(),
        }
    }

    /// Dials every connection of the range, at most `parallel` handshakes at a time; seconds used.
    pub(crate) fn connect_all(
        &mut self,
        range: Range<usize>,
        parallel: usize,
        timeout: f64,
    ) -> f64 {
        let start = now_ns();
        let total = range.len();
        let settled = |e: &Self| e.ready + (e.stats.closed + e.connect_failed) as usize;
        let before = settled(self);
        let mut dialed = 0;

        loop {
            let done = settled(self) - before;
            if done >= total || seconds_since(start) > timeout {
                return seconds_since(start);
            }
            while dialed < total && dialed < done + parallel {
                self.dial(range.start + dialed);
                dialed += 1;
            }
            self.poll(1_000_000);
        }
    }

    /// Runs until `holds` or the time is over; true when it held.
    pub(crate) fn until(&mut self, timeout: f64, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let start = now_ns();
        loop {
            if holds(self) {
                return true;
            }
            if seconds_since(start) > timeout {
                return false;
            }
            self.turn(2_000_000);
        }
    }

    /// Sends what may be sent, then waits for events unless there is more to send.
    fn turn(&mut self, wait: u64) {
        self.pump_marked();
        self.poll(if self.dirty.is_empty() { wait } else { 0 });
    }

    /// Runs for a while, so that the broker comes to rest.
    pub(crate) fn rest(&mut self, seconds: f64) {
        self.until(seconds, |_| false);
    }

    fn outstanding(&self) -> u64 {
        self.publishers
            .iter()
            .map(|p| p.sent.saturating_sub(p.received / p.fan))
            .sum()
    }

    /// The measured part of a run. Scheduled publishers take turns on one schedule, and a message's
    /// latency counts from the time it was due: a broker that stalls is charged for the waiting.
    pub(crate) fn run(&mut self, o: &RunOptions) -> Measured {
        let start = now_ns();
        let measure_from = start + (o.warmup * 1e9) as u64;
        let end = measure_from + (o.duration * 1e9) as u64;
        let mut schedule = self.schedule(o.rate, start);
        for publisher in 0..self.publishers.len() {
            self.mark(publisher);
        }

        let mut base = None;
        let mut progress = (start, self.stats.received);
        loop {
            let now = now_ns();
            if base.is_none() && now >= measure_from {
                self.latency.clear();
                self.way.clear();
                base = Some(self.snapshot(o.pid));
            }
            if now >= end || self.stats.closed > 0 {
                break;
            }
            let mut wait = 20_000_000;
            if let Some(s) = &mut schedule {
                wait = self.release_due(s, now);
                if o.spin {
                    wait = 0;
                }
            }
            self.turn(wait);
            if self.stats.received != progress.1 {
                progress = (now, self.stats.received);
            } else if now - progress.0 > STALL_NS && schedule.is_none() && self.outstanding() > 0 {
                self.write_off();
                progress = (now, self.stats.received);
            }
        }

        let after = self.snapshot(o.pid);
        let base = base.unwrap_or_else(|| self.snapshot(o.pid));
        Measured {
            wall: (after.ns - base.ns) as f64 / 1e9,
            broker_cpu: after.broker - base.broker,
            self_cpu: after.own - base.own,
            machine_cpu: after.machine.0 - base.machine.0,
            steal: after.machine.1 - base.machine.1,
            stats: after.stats.since(&base.stats),
        }
    }

    fn schedule(&mut self, rate: f64, start: u64) -> Option<Schedule> {
        if rate <= 0.0 {
            return None;
        }
        let measured: Vec<usize> = (0..self.publishers.len())
            .filter(|&i| self.publishers[i].measured)
            .collect();
        for &publisher in &measured {
            let publisher = &mut self.publishers[publisher];
            publisher.scheduled = true;
            publisher.written.resize(WRITTEN, 0);
        }
        Some(Schedule {
            interval: 1e9 / rate,
            next: start as f64,
            publishers: measured,
            turn: 0,
        })
    }

    /// Hands out the messages that are due; nanoseconds until the next one.
    fn release_due(&mut self, s: &mut Schedule, now: u64) -> u64 {
        while s.next <= now as f64 {
            let publisher = s.publishers[s.turn];
            self.publishers[publisher].due.push_back(s.next as u64);
            self.mark(publisher);
            s.turn = (s.turn + 1) % s.publishers.len();
            s.next += s.interval;
        }
        (s.next - now as f64) as u64
    }

    fn write_off(&mut self) {
        self.stats.stalls += 1;
        self.stats.lost += self.outstanding();
        let publishers = self.publishers.len();
        for index in 0..publishers {
            let p = &mut self.publishers[index];
            p.received = p.sent * p.fan;
            let sent = p.sent as u32;
            for row in self.sequence.chunks_mut(publishers) {
                row[index] = sent;
            }
            self.mark(index);
        }
    }
}
