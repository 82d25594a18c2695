//! The writing side of a connection: the one way out for its bytes. The thread that has made output for
//! a client writes it at once; the connection's driver is woken only when the transport is full.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll, Waker};

use midge_core::{Batch, DisconnectReason, Flush, Link, NextOutput, Outbox};
use parking_lot::Mutex;

use super::Context;
use crate::transport::{DirectWrite, Transport, Unread};

/// Slices of one vectored write.
const SLICES: usize = 32;

/// Pieces of the hub's work in one flush, such as a page of retained messages, that have to be done
/// before there is more to write. Then other connections get their turn.
const DETOURS: usize = 2;

/// Bytes of a backlog in one flush, unless that is nearly all of it. Then other connections get their turn.
const WRITE_BUDGET: usize = 128 * 1024;

/// The writing side of one connection, shared by its driver and all threads that publish to it. Fields
/// in the order of use.
#[repr(C)]
pub(super) struct Outlet<D> {
    pub(super) context: Arc<Context>,
    state: Mutex<State<D>>,
    /// The driver's task.
    waker: OnceLock<Waker>,
    /// The driver is in a turn, or has unhandled input.
    busy: AtomicBool,
    /// The silence deadline was reached with unread input: the driver calls `Hub::judge` after it.
    overdue: AtomicBool,
}

/// The part of a transport that any thread may use.
enum TransportPart<D> {
    /// It can be written to directly.
    Direct(D),
    /// Only the driver writes, and unread input is known, if at all, from a record of its own.
    /// One word, since most are written to directly.
    Watched(Option<Box<Arc<dyn Unread>>>),
}

impl<D: DirectWrite> TransportPart<D> {
    fn of(transport: &mut impl Transport<Direct = D>) -> Self {
        match transport.direct() {
            Some(direct) => Self::Direct(direct),
            None => Self::Watched(transport.unread().map(Box::new)),
        }
    }

    /// The part to write to directly.
    fn direct(transport: &mut Option<Self>) -> Option<&mut D> {
        match transport {
            Some(Self::Direct(direct)) => Some(direct),
            _ => None,
        }
    }

    /// Whether there is unread input, the end of the stream included.
    fn has_unread(&self) -> bool {
        match self {
            Self::Direct(direct) => direct.has_unread(),
            Self::Watched(unread) => unread.as_ref().is_some_and(|unread| unread.has_unread()),
        }
    }
}

struct State<D> {
    /// The connection; gone when its driver has ended.
    link: Option<Arc<Link>>,
    /// `None` after the end of the driver.
    transport: Option<TransportPart<D>>,
    out: Outbox,
    /// The driver will continue (the transport is full, or it yielded), so other threads need not write.
    driver_continues: bool,
    /// The transport accepted output again after it was full.
    accepted_again: bool,
    failed: bool,
}

impl<D: DirectWrite> State<D> {
    /// Writes once.
    #[inline]
    fn write(&mut self, writer: &mut impl Writer<D>) -> io::Result<usize> {
        let direct = TransportPart::direct(&mut self.transport);
        let count = match self.out.single() {
            Some(all) => writer.write(direct, &[IoSlice::new(all)]),
            None => write_vectored(&self.out, |slices| writer.write(direct, slices)),
        }?;

        // A transport of another crate may say more than it was given.
        let count = count.min(self.out.len());
        self.out.advance(count);
        Ok(count)
    }

    fn fail(&mut self) {
        self.failed = true;
        self.out.release();
    }
}

/// Whether a connection was ended to make room for others: its output is dropped, not waited for.
fn gives_up(link: &Link) -> bool {
    link.ended() == Some(&DisconnectReason::MemoryFull)
}

/// Work to be done with no lock held.
#[derive(Default)]
struct DeferredWork {
    batches: Vec<Batch>,
    /// More memory is held than `limits.total_bytes` allows.
    exceeded: bool,
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All is written.
    Empty,
    /// The transport takes no more at present.
    Blocked,
    /// The rest is written when other connections have had their turn.
    Paused,
    /// The transport is broken.
    Failed,
}

/// How a flush reaches the transport: [`DirectWrite`], or the driver's [`Transport`].
trait Writer<D> {
    /// Some of the bytes; `WouldBlock` if none are taken at present.
    fn write(&mut self, direct: Option<&mut D>, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// What the transport has kept; `WouldBlock` if some of it stays.
    fn flush(&mut self, direct: Option<&mut D>) -> io::Result<()>;
}

/// From any thread.
struct FromAnyThread;

impl<D: DirectWrite> Writer<D> for FromAnyThread {
    fn write(&mut self, direct: Option<&mut D>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match direct {
            Some(direct) => direct.try_write(slices),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn flush(&mut self, direct: Option<&mut D>) -> io::Result<()> {
        direct.map_or(Ok(()), DirectWrite::try_flush)
    }
}

/// On the driver's task, which the transport wakes.
struct OnDriver<'a, 'b, T>(&'a mut T, &'a mut task::Context<'b>);

impl<D, T: Transport> Writer<D> for OnDriver<'_, '_, T> {
    fn write(&mut self, _: Option<&mut D>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        would_block(self.0.poll_write(self.1, slices))
    }

    fn flush(&mut self, _: Option<&mut D>) -> io::Result<()> {
        would_block(self.0.poll_flush(self.1))
    }
}

fn would_block<V>(polled: Poll<io::Result<V>>) -> io::Result<V> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<D: DirectWrite> Outlet<D> {
    pub(super) fn new(context: Arc<Context>, transport: &mut impl Transport<Direct = D>) -> Self {
        let state = State {
            link: None,
            transport: Some(TransportPart::of(transport)),
            out: Outbox::default(),
            driver_continues: false,
            accepted_again: false,
            failed: false,
        };
        Self {
            context,
            state: Mutex::new(state),
            waker: OnceLock::new(),
            busy: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
        }
    }

    /// Begins a turn of the driver; precedes every read from the transport.
    pub(super) fn begin_turn(&self) {
        self.busy.store(true, Ordering::Release);
    }

    /// Ends a turn of the driver, perhaps with unhandled input.
    pub(super) fn end_turn(&self, unhandled: bool) {
        self.busy.store(unhandled, Ordering::Release);
    }

    /// Whether the silence deadline was reached with unread input.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Judges an overdue client.
    pub(super) fn judge(&self, link: &Arc<Link>) {
        if !self.is_overdue() || !self.overdue.swap(false, Ordering::AcqRel) {
            return;
        }

        // A manual clock may have moved past the deadline that this arms, and fires it no more.
        loop {
            let now = self.context.now();
            self.context.hub.judge(link, now);
            if !self.context.time.is_manual() || self.context.now() == now {
                return;
            }
        }
    }

    /// Whether the transport has unread input.
    pub(super) fn has_unread(&self) -> bool {
        let transport = &self.state.lock().transport;
        transport.as_ref().is_some_and(TransportPart::has_unread)
    }

    /// Whether the client has read output since the last call, after the transport was full.
    pub(super) fn accepted_again(&self) -> bool {
        std::mem::take(&mut self.state.lock().accepted_again)
    }

    pub(super) fn bind(&self, link: Arc<Link>) {
        self.state.lock().link = Some(link);
    }

    /// Releases the connection and its transport, although other threads may keep this outlet.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        let gone = (state.link.take(), state.transport.take());
        state.fail();
        drop(state);

        drop(gone);
    }

    /// Registers the driver's task, which stays the same, before its first flush. No wake-up is lost: a
    /// thread that wakes it has held the lock of the state before, and that flush takes it, too.
    pub(super) fn register(&self, cx: &task::Context<'_>) {
        self.waker.get_or_init(|| cx.waker().clone());
    }

    /// Whether the task of this context is the one that is woken.
    pub(super) fn wakes(&self, cx: &task::Context<'_>) -> bool {
        let known = self.waker.get();
        known.is_some_and(|known| known.will_wake(cx.waker()))
    }

    /// Writes what there is, on the driver's task, which is woken when a full transport takes more.
    pub(super) fn flush_on_driver(
        &self,
        transport: &mut impl Transport<Direct = D>,
        cx: &mut task::Context<'_>,
    ) -> Flushed {
        let mut writer = OnDriver(transport, cx);
        self.write(|state, deferred| self.write_out(state, &mut writer, deferred))
    }

    /// Writes, and again after work of the hub that leads to more output. That work runs with no lock
    /// held: it may come back to this outlet.
    fn write(&self, mut once: impl FnMut(&mut State<D>, &mut DeferredWork) -> Flushed) -> Flushed {
        for _ in 0..DETOURS {
            let mut deferred = DeferredWork::default();
            let flushed = once(&mut self.state.lock(), &mut deferred);
            if deferred.exceeded {
                self.context.hub.relieve(self.context.now());
            }
            if deferred.batches.is_empty() {
                return flushed;
            }
            for mut batch in deferred.batches {
                self.context.hub.finish(&mut batch);
            }
        }

        let mut state = self.state.lock();
        if state.failed {
            return Flushed::Failed;
        }
        // The driver goes on.
        state.driver_continues = true;
        if let Some(link) = &state.link {
            link.request_write();
        }
        Flushed::Paused
    }

    fn write_directly(&self, state: &mut State<D>, deferred: &mut DeferredWork) -> Flushed {
        match state.transport {
            Some(TransportPart::Direct(_)) => self.write_out(state, &mut FromAnyThread, deferred),
            _ if state.failed => Flushed::Failed,
            _ => {
                // It may take the driver some time to come to it.
                if let Some(link) = &state.link {
                    deferred.exceeded |= self.context.hub.charge_output(link);
                }
                Flushed::Blocked
            }
        }
    }

    /// Takes output and writes it until there is no more, or the transport is full, or others must have
    /// their turn.
    fn write_out(
        &self,
        state: &mut State<D>,
        writer: &mut impl Writer<D>,
        deferred: &mut DeferredWork,
    ) -> Flushed {
        let mut written = 0;
        let had_stopped = std::mem::take(&mut state.driver_continues);
        let result = loop {
            if state.failed {
                state.out.release();
                break Flushed::Failed;
            }
            if state.out.is_empty()
                && let Some(end) = self.take_next(state, writer, written > 0, deferred)
            {
                break end;
            }

            let nearly_all = state.out.len() <= WRITE_BUDGET && written < 4 * WRITE_BUDGET;
            if written >= WRITE_BUDGET && !nearly_all {
                state.driver_continues = true;
                break Flushed::Paused;
            }

            match state.write(writer) {
                Ok(0) => state.failed = true,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.driver_continues = true;
                    break Flushed::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => state.failed = true,
            }
        };

        if written > 0 {
            self.context.hub.count_written(written as u64);
            state.accepted_again |= had_stopped;
        }
        if state.driver_continues {
            return self.hold(state, result, deferred);
        }

        result
    }

    /// Takes the output that comes next, when everything before it has left the transport. Returns what
    /// ends the flush if there is none.
    #[inline]
    fn take_next(
        &self,
        state: &mut State<D>,
        writer: &mut impl Writer<D>,
        wrote: bool,
        deferred: &mut DeferredWork,
    ) -> Option<Flushed> {
        let flushed = loop {
            match writer.flush(TransportPart::direct(&mut state.transport)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match flushed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                state.driver_continues = true;
                return Some(Flushed::Blocked);
            }
            Err(_) => {
                state.fail();
                return Some(Flushed::Failed);
            }
        }

        let Some(link) = &state.link else {
            return Some(Flushed::Empty);
        };
        let Context { hub, time, .. } = &*self.context;
        let (out, work) = (&mut state.out, &mut deferred.batches);
        match hub.next_output(link, wrote, out, work, || time.now()) {
            NextOutput::Bytes => None,
            NextOutput::Nothing => Some(Flushed::Empty),
            // Finding out what comes next may be the work of more than one turn.
            NextOutput::Later => {
                state.driver_continues = true;
                Some(Flushed::Paused)
            }
        }
    }

    /// Charges the output that the transport does not take now, or drops it with its connection.
    #[cold]
    fn hold(&self, state: &mut State<D>, result: Flushed, deferred: &mut DeferredWork) -> Flushed {
        if let Some(link) = &state.link {
            if gives_up(link) {
                state.fail();
                return Flushed::Failed;
            }
            deferred.exceeded |= self.context.hub.hold_output(link, &mut state.out);
        }
        result
    }
}

/// Not inlined: its array would be filled for each write.
#[inline(never)]
fn write_vectored(
    out: &Outbox,
    write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = out.io_slices(&mut slices, WRITE_BUDGET);
    write(slices.get(..used).unwrap_or_default())
}

impl<D: DirectWrite> Flush for Outlet<D> {
    fn flush(&self) {
        let mut wakes = false;
        let flushed = self.write(|state, deferred| {
            let flushed = if state.driver_continues {
                if state.link.as_deref().is_some_and(gives_up) {
                    state.fail();
                }
                // The driver writes it.
                Flushed::Empty
            } else {
                self.write_directly(state, deferred)
            };
            if let Some(link) = &state.link
                && (flushed != Flushed::Empty || link.ended().is_some())
            {
                link.request_write();
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
