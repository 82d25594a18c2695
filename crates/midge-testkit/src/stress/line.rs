//! A connection at the core: bytes in, output taken, no socket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use midge_core::{Batch, Connection, Dirty, Flush, Hub, Link, NextOutput, Outbox, Tick};

/// Takes a lock, whatever panicked under it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clock of a script, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicU64);

impl Clock {
    pub(super) fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::SeqCst))
    }

    pub(super) fn set(&self, tick: Tick) {
        self.0.fetch_max(tick.0, Ordering::SeqCst);
    }
}

/// A client's end of a connection.
pub(super) trait Line: Send {
    /// Sends bytes; the broker reads them when it works.
    fn write(&mut self, bytes: &[u8]);

    /// Lets the broker read what was sent, as far as it takes it; `false` if nothing has happened.
    fn work(&mut self) -> bool;

    /// Appends what the broker has sent; waits for something if `wait`. `false` if nothing came.
    fn read(&mut self, into: &mut Vec<u8>, wait: bool) -> bool;

    /// Whether the broker has ended the connection, or will have when its bytes are read.
    fn ended(&self) -> bool;

    /// Whether a hook's answer is awaited.
    fn is_waiting(&self) -> bool;

    /// Whether work and reading are synchronous: what is not there now does not come by itself.
    fn is_direct(&self) -> bool;

    /// What was sent and not read by the broker.
    fn unread(&self) -> usize;

    /// Loses what was sent and not read, but for some bytes.
    fn forget(&mut self, keep: usize);

    /// The broker did nothing for so long that it never will.
    fn is_stuck(&self) -> bool;

    /// Breaks the connection without a word, after the broker has read what was sent if `reads`; what
    /// comes last is appended.
    fn close(self: Box<Self>, into: &mut Vec<u8>, reads: bool) -> Ended;

    /// Output that waits although no notification said so.
    fn silent_output(&mut self) -> usize;
}

/// Whether the broker has noticed that a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It has.
    Now,
    /// It will.
    Sometime,
    /// It does not, though it should.
    Never,
}

/// How the receivers of what a connection sends are told, as a driver may do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// `Connection::receive` tells.
    AtOnce,
    /// `Connection::receive_unflushed`, then `Connection::flush_dirty`.
    After,
    /// Several connections are flushed together with `Hub::flush`.
    Together,
}

/// The writing side: what [`Flush`] reaches.
pub(super) struct Tap {
    hub: Arc<Hub>,
    clock: Arc<Clock>,
    notified: AtomicBool,
    /// A notification takes the output at once, on its own thread.
    eager: bool,
    side: Mutex<Side>,
}

#[derive(Default)]
struct Side {
    link: Option<Arc<Link>>,
    out: Outbox,
    bytes: Vec<u8>,
}

impl Flush for Tap {
    fn flush(&self) {
        self.notified.store(true, Ordering::SeqCst);
        if self.eager {
            self.write_all();
        }
    }
}

impl Tap {
    /// Takes all output, as often as the hub has more.
    fn write_all(&self) {
        loop {
            let mut leftovers = Vec::new();
            self.take(&mut lock(&self.side), &mut leftovers);
            if leftovers.is_empty() {
                return;
            }
            for mut batch in leftovers {
                self.hub.finish(&mut batch);
            }
        }
    }

    fn take(&self, side: &mut Side, leftovers: &mut Vec<Batch>) {
        let Some(link) = side.link.clone() else {
            return;
        };

        let mut wrote = false;
        loop {
            let (out, now) = (&mut side.out, || self.clock.now());
            match self.hub.next_output(&link, wrote, out, leftovers, now) {
                NextOutput::Bytes => {}
                NextOutput::Nothing => return,
                // Finding out what comes next may take more than one turn.
                NextOutput::Later => {
                    wrote = false;
                    continue;
                }
            }
            while !side.out.is_empty() {
                let count = side.out.chunk().len();
                side.bytes.extend_from_slice(side.out.chunk());
                side.out.advance(count);
                self.hub.count_written(count as u64);
            }
            wrote = true;
        }
    }
}

/// A connection whose IO is done by the thread that has it.
pub(super) struct CoreLine {
    tap: Arc<Tap>,
    connection: Connection,
    link: Arc<Link>,
    input: Vec<u8>,
    telling: Telling,
}

impl CoreLine {
    /// Opens a connection; `None` if the broker takes no more.
    pub(super) fn open(
        hub: &Arc<Hub>,
        clock: &Arc<Clock>,
        eager: bool,
        telling: Telling,
    ) -> Option<Self> {
        let tap = Arc::new(Tap {
            hub: hub.clone(),
            clock: clock.clone(),
            notified: AtomicBool::new(false),
            eager,
            side: Mutex::default(),
        });

        let link = hub.accept("stress".into(), "core".into(), tap.clone(), clock.now())?;
        lock(&tap.side).link = Some(link.clone());
        Some(Self {
            connection: Connection::new(hub.clone(), link.clone()),
            tap,
            link,
            input: Vec::new(),
            telling,
        })
    }

    /// Does what may call a hook. A panic ends the connection, as a driver does it.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).ok();
        if done.is_none() {
            self.tap.hub.caught_panic(&self.link, self.tap.clock.now());
        }
        done
    }

    /// Lets the broker read once.
    fn receive(&mut self) -> usize {
        let hub = self.tap.hub.clone();
        let now = self.tap.clock.now();
        let input = Bytes::from(std::mem::take(&mut self.input));
        let used = match self.telling {
            Telling::AtOnce => self.connection.receive(&input, Some(&input), now),
            Telling::After => {
                let used = self.connection.receive_unflushed(&input, Some(&input), now);
                self.connection.flush_dirty();
                used
            }
            Telling::Together => {
                let used = self.connection.receive_unflushed(&input, None, now);
                let mut dirty = Dirty::new();
                self.connection.take_dirty(&mut dirty);
                hub.flush(&mut dirty, || self.tap.clock.now());
                used
            }
        };

        self.input = input[used.min(input.len())..].to_vec();
        used
    }
}

impl Line for CoreLine {
    fn write(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    fn work(&mut self) -> bool {
        let mut worked = false;

        loop {
            if self.link.ended().is_some() {
                self.input.clear();
                return worked;
            }
            if self.connection.is_waiting() {
                let mut cx = Context::from_waker(Waker::noop());
                let now = self.tap.clock.now();
                let polled = self.guarded(|line| line.connection.poll(&mut cx, now));
                if polled.is_some_and(|polled| polled.is_pending()) {
                    return worked;
                }
                worked = true;
                continue;
            }
            if self.input.is_empty() {
                return worked;
            }
            let used = self.guarded(Self::receive).unwrap_or(1);
            worked |= used > 0;
            if used == 0 && !self.connection.is_waiting() {
                return worked;
            }
        }
    }

    fn read(&mut self, into: &mut Vec<u8>, _wait: bool) -> bool {
        if self.connection.has_output() || self.tap.notified.swap(false, Ordering::SeqCst) {
            self.tap.write_all();
            self.connection.output_written();
        }
        let mut side = lock(&self.tap.side);
        let came = !side.bytes.is_empty();
        into.append(&mut side.bytes);
        came
    }

    fn ended(&self) -> bool {
        self.link.ended().is_some()
    }

    fn is_waiting(&self) -> bool {
        self.connection.is_waiting()
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn unread(&self) -> usize {
        self.input.len()
    }

    fn forget(&mut self, keep: usize) {
        self.input.truncate(keep);
    }

    fn is_stuck(&self) -> bool {
        false
    }

    fn close(mut self: Box<Self>, into: &mut Vec<u8>, reads: bool) -> Ended {
        if reads {
            while self.work() {}
        }
        let (hub, now) = (self.tap.hub.clone(), self.tap.clock.now());
        self.connection.flush_dirty();
        hub.lost(&self.link, now);
        self.tap.write_all();
        into.append(&mut lock(&self.tap.side).bytes);
        hub.closed(&self.link, now);
        let side = std::mem::take(&mut *lock(&self.tap.side));
        drop(side);
        Ended::Now
    }

    fn silent_output(&mut self) -> usize {
        if self.connection.has_output() || self.tap.notified.load(Ordering::SeqCst) {
            return 0;
        }
        self.tap.write_all();
        let bytes = &mut lock(&self.tap.side).bytes;
        bytes.len()
    }
}

impl Drop for CoreLine {
    fn drop(&mut self) {
        // The tap knows the link, and the link the tap.
        lock(&self.tap.side).link = None;
    }
}
