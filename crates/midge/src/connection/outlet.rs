//! The writing side of a connection. Whoever has output for a client writes it at once, on its own
//! thread; the connection's driver is woken only when the socket is full.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};

use midge_core::{Batch, DisconnectReason, Link, Notify, Outbox};
use parking_lot::Mutex;

use crate::engine::runtime::Core;
use crate::transport::{DirectWrite, Shared};

/// Slices of one vectored write.
const SLICES: usize = 32;

/// Times that a flush does what the hub has to do before there is more to write, such as looking up a
/// page of retained messages, before others get their turn.
const DETOURS: usize = 2;

/// Bytes of a backlog after which others get their turn, unless that is nearly all of it.
const WRITE_BUDGET: usize = 128 * 1024;

/// The writing side of one connection, shared by its driver and everybody who publishes to it. In the
/// order of use: what each message touches lies together.
#[repr(C)]
pub(crate) struct Outlet {
    pub(crate) core: Arc<Core>,
    state: Mutex<State>,
    /// The driver's task.
    waker: OnceLock<Waker>,
    /// The driver is in a turn, or has unhandled input.
    busy: AtomicBool,
    /// The silence deadline was reached with unread input: the driver calls `Hub::judge` after it.
    overdue: AtomicBool,
}

struct State {
    /// The connection; gone when its driver has ended.
    link: Option<Arc<Link>>,
    /// `None` after the end of the driver.
    shared: Option<Shared>,
    out: Outbox,
    /// The driver goes on, when the socket takes more or others have had their turn.
    waits: bool,
    /// The transport accepted output again after it was full.
    took: bool,
    failed: bool,
}

impl State {
    fn fail(&mut self) {
        self.failed = true;
        self.out.release();
    }
}

/// Whether a connection had to make room for others: what waits for it is not waited with.
fn gives_up(link: &Link) -> bool {
    link.ended() == Some(&DisconnectReason::MemoryFull)
}

/// What is left to be done with no lock held.
#[derive(Default)]
struct Leftovers {
    batches: Vec<Batch>,
    /// More is held than may be.
    exceeded: bool,
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All is written.
    Empty,
    /// The transport takes no more at present.
    Blocked,
    /// The rest is to be written when others have had their turn.
    Paused,
    /// The transport is broken.
    Failed,
}

impl Outlet {
    pub(crate) fn new(core: Arc<Core>, shared: Shared) -> Self {
        let state = State {
            link: None,
            shared: Some(shared),
            out: Outbox::default(),
            waits: false,
            took: false,
            failed: false,
        };
        Self {
            core,
            state: Mutex::new(state),
            waker: OnceLock::new(),
            busy: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
        }
    }

    /// Begins a turn of the driver; precedes every read from the transport.
    pub(crate) fn begin_turn(&self) {
        self.busy.store(true, Ordering::Release);
    }

    /// Ends a turn of the driver, perhaps with unhandled input.
    pub(crate) fn end_turn(&self, unhandled: bool) {
        self.busy.store(unhandled, Ordering::Release);
    }

    /// Whether the silence deadline was reached with unread input.
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Judges an overdue client.
    pub(crate) fn judge(&self, link: &Arc<Link>) {
        if !self.is_overdue() || !self.overdue.swap(false, Ordering::AcqRel) {
            return;
        }
        // A manual clock may have moved past the deadline that this arms, and fires it no more.
        loop {
            let now = self.core.now();
            self.core.hub.judge(link, now);
            if !self.core.time.is_manual() || self.core.now() == now {
                return;
            }
        }
    }

    /// Whether the transport has unread input.
    pub(crate) fn has_unread(&self) -> bool {
        let shared = &self.state.lock().shared;
        shared.as_ref().is_some_and(Shared::has_unread)
    }

    /// Whether the client has read output since the last call, after the transport was full.
    pub(crate) fn took(&self) -> bool {
        std::mem::take(&mut self.state.lock().took)
    }

    pub(crate) fn bind(&self, link: Arc<Link>) {
        self.state.lock().link = Some(link);
    }

    /// Lets go of the connection and its socket, however many still know this outlet.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        let gone = (state.link.take(), state.shared.take());
        state.failed = true;
        state.out.release();
        drop(state);
        drop(gone);
    }

    /// Registers the driver's task, which stays the same, before its first flush. Nobody is missed:
    /// whoever wakes it has held the lock of the state before, and that flush takes it, too.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.get_or_init(|| cx.waker().clone());
    }

    /// Whether the task of this context is the one that is woken.
    pub(crate) fn wakes(&self, cx: &Context<'_>) -> bool {
        let known = self.waker.get();
        known.is_some_and(|known| known.will_wake(cx.waker()))
    }

    /// Writes what there is with `write`, which says `WouldBlock` when it takes no more.
    pub(crate) fn flush_with(
        &self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flushed {
        self.flush(|state, leftovers| self.write_out(state, |_, slices| write(slices), leftovers))
    }

    /// Flushes again if the hub has something left to do, some times. That runs with no lock held: it
    /// may come back to this outlet.
    fn flush(&self, mut once: impl FnMut(&mut State, &mut Leftovers) -> Flushed) -> Flushed {
        for _ in 0..DETOURS {
            let mut leftovers = Leftovers::default();
            let flushed = once(&mut self.state.lock(), &mut leftovers);
            if leftovers.exceeded {
                self.core.hub.relieve(self.core.now());
            }
            if leftovers.batches.is_empty() {
                return flushed;
            }
            for mut batch in leftovers.batches {
                self.core.hub.finish(&mut batch);
            }
        }

        let mut state = self.state.lock();
        if state.failed {
            return Flushed::Failed;
        }
        // The driver goes on.
        state.waits = true;
        if let Some(link) = &state.link {
            link.ask();
        }
        Flushed::Paused
    }

    fn write_directly(&self, state: &mut State, leftovers: &mut Leftovers) -> Flushed {
        match state.shared.as_ref().and_then(Shared::direct) {
            Some(_) => self.write_out(state, DirectWrite::try_write_to, leftovers),
            None if state.failed => Flushed::Failed,
            None => {
                // It may take the driver some time to come to it.
                if let Some(link) = &state.link {
                    leftovers.exceeded |= self.core.hub.charge_output(link);
                }
                Flushed::Blocked
            }
        }
    }

    /// `write` is given the socket, if anybody may write to it.
    fn write_out(
        &self,
        state: &mut State,
        mut write: impl FnMut(Option<&DirectWrite>, &[IoSlice<'_>]) -> io::Result<usize>,
        leftovers: &mut Leftovers,
    ) -> Flushed {
        let mut written = 0;
        let had_stopped = std::mem::take(&mut state.waits);
        let result = loop {
            if state.failed {
                state.out.release();
                break Flushed::Failed;
            }
            if state.out.is_empty() {
                let Some(link) = &state.link else {
                    break Flushed::Empty;
                };
                let Core { hub, time, .. } = &*self.core;
                if written > 0 && !hub.output_written(link) {
                    break Flushed::Empty;
                }
                if let Some(batch) = hub.take_output(link, &mut state.out, || time.now()) {
                    leftovers.batches.push(batch);
                }
                if state.out.is_empty() {
                    // Finding out what comes next may be the work of more than one turn.
                    state.waits = link.take_unfinished();
                    break if state.waits {
                        Flushed::Paused
                    } else {
                        Flushed::Empty
                    };
                }
            }
            let nearly_all = state.out.len() <= WRITE_BUDGET && written < 4 * WRITE_BUDGET;
            if written >= WRITE_BUDGET && !nearly_all {
                state.waits = true;
                break Flushed::Paused;
            }
            let direct = state.shared.as_ref().and_then(Shared::direct);
            let result = match state.out.single() {
                Some(all) => write(direct, &[IoSlice::new(all)]),
                None => write_vectored(&state.out, |slices| write(direct, slices)),
            };
            match result {
                Ok(0) => state.failed = true,
                Ok(count) => {
                    written += count;
                    state.out.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.waits = true;
                    break Flushed::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => state.failed = true,
            }
        };

        if written > 0 {
            self.core.hub.count_written(written as u64);
            state.took |= had_stopped;
        }
        if state.waits {
            return self.hold(state, result, leftovers);
        }

        result
    }

    /// What the transport does not take now is charged, or given up with its connection.
    #[cold]
    fn hold(&self, state: &mut State, result: Flushed, leftovers: &mut Leftovers) -> Flushed {
        if let Some(link) = &state.link {
            if gives_up(link) {
                state.fail();
                return Flushed::Failed;
            }
            leftovers.exceeded |= self.core.hub.hold_output(link, &mut state.out);
        }
        result
    }
}

/// Not inlined: its array would be filled for each write.
#[inline(never)]
fn write_vectored(
    out: &Outbox,
    mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = out.io_slices(&mut slices, WRITE_BUDGET);
    write(slices.get(..used).unwrap_or_default())
}

impl Notify for Outlet {
    fn notify(&self) {
        let mut wakes = false;
        let flushed = self.flush(|state, leftovers| {
            let flushed = if state.waits {
                if state.link.as_deref().is_some_and(gives_up) {
                    state.fail();
                }
                // The driver knows.
                Flushed::Empty
            } else {
                self.write_directly(state, leftovers)
            };
            if let Some(link) = &state.link
                && (flushed != Flushed::Empty || link.ended().is_some())
            {
                link.ask();
                wakes = true;
            }
            flushed
        });

        wakes |= flushed == Flushed::Paused;
        if wakes && let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    fn is_behind(&self) -> bool {
        // In this order: input that has left the transport belongs to a driver that is busy, or that
        // has finished and noted it.
        let behind = self.has_unread() || self.busy.load(Ordering::Acquire);
        if behind {
            self.overdue.store(true, Ordering::Release);
            if let Some(waker) = self.waker.get() {
                waker.wake_by_ref();
            }
        }
        behind
    }
}
