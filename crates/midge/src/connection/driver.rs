//! The IO of one connection: one `poll`, no `select!`.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use midge_core::{Connection, DisconnectReason, Flush, Link};
use tokio::io::ReadBuf;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::fairness::Fairness;
use super::input::{Consumer, Input, Read};
use super::outlet::{Flushed, Outlet};
use super::{Context, Wakeups};
use crate::timers::Sleep;
use crate::transport::Transport;

/// Acknowledgements that may wait unsent before nothing more is read from the client.
const REPLIES_HIGH: usize = 64 * 1024;
/// Time for the last bytes of an ended connection to get out.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes thrown away while waiting for the other side to close.
const DISCARD: u32 = 1 << 20;

enum Stage {
    /// Nothing has been read yet.
    Fresh,
    /// To be admitted when something has arrived.
    Outside,
    /// Waiting to be admitted.
    Queued,
    Running,
    /// The connection has ended: the last bytes are written.
    Flushing,
    /// Nothing more is written; waiting for the other side to close.
    Closing(u32),
}

/// Drives one connection from its first byte to its last. Fields in the order of use.
#[repr(C)]
pub(crate) struct Driver<T: Transport> {
    transport: T,
    outlet: Arc<Outlet<T::Direct>>,
    wakeups: Arc<Wakeups>,
    stage: Stage,
    fairness: Fairness,
    /// There may be output that no other thread writes: acknowledgements of what was read, and what the
    /// transport did not take.
    unwritten: bool,
    /// This driver owes the thread's collected wake-ups a flush.
    owes_flush: bool,
    /// At least one byte was read.
    heard: bool,
    /// Bytes read since the silence deadline was reached.
    overdue_bytes: u32,
    input: Input,
    connection: Connection,
    linger: Option<Box<Sleep>>,
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<T: Transport> Driver<T> {
    /// The driver of a transport that has moved to its runtime, whose connections share `wakeups`. `accept`
    /// makes the link, whose output the driver flushes; `None` turns the connection away.
    pub(crate) fn new(
        mut transport: T,
        context: Arc<Context>,
        wakeups: Arc<Wakeups>,
        accept: impl FnOnce(Arc<dyn Flush>) -> Option<Arc<Link>>,
    ) -> Option<Self> {
        let outlet = Arc::new(Outlet::new(context, &mut transport));
        let link = accept(outlet.clone())?;
        outlet.bind(link.clone());

        let connection = Connection::new(outlet.context.hub.clone(), link);
        Some(Self {
            transport,
            connection,
            outlet,
            wakeups,
            input: Input::new(),
            stage: Stage::Fresh,
            fairness: Fairness::new(),
            linger: None,
            unwritten: true,
            owes_flush: false,
            heard: false,
            overdue_bytes: 0,
            cut: None,
        })
    }

    fn drive(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let is_fresh = matches!(self.stage, Stage::Fresh);
        debug_assert!(is_fresh || self.outlet.wakes(cx), "a driver is one task");

        loop {
            match self.stage {
                Stage::Fresh => {
                    self.outlet.register(cx);
                    // Mostly nothing is there yet.
                    self.stage = Stage::Outside;
                    ready!(self.run(cx));
                }
                Stage::Outside if !self.outlet.context.admits(cx.waker()) => {
                    self.stage = Stage::Queued;
                    return Poll::Pending;
                }
                Stage::Outside | Stage::Queued => self.stage = Stage::Running,
                Stage::Running => ready!(self.run(cx)),
                Stage::Flushing => ready!(self.flush_last(cx)),
                Stage::Closing(discarded) => return self.close(cx, discarded),
            }
        }
    }

    /// Gives other connections their turn, those included whose sockets become ready: waking one's own
    /// task would keep the runtime from looking at its sockets for many rounds.
    fn give_way(&self, cx: &mut task::Context<'_>) {
        let pause = std::pin::pin!(tokio::task::yield_now());
        if pause.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// One round: write, ask a hook, read. Pending when nothing can go on.
    fn run(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.flush_wakeups();
        self.connection.flush_dirty();

        let flushed = self.poll_flush(cx);
        if self.connection.link().ended().is_some() {
            self.stage = Stage::Flushing;
            self.input = Input::new();
            return Poll::Ready(());
        }

        if self.connection.is_waiting() {
            return self.poll_hook(cx);
        }

        if flushed != Flushed::Empty && !self.may_answer() {
            self.judge_by_output();
            return Poll::Pending;
        }

        if self.fairness.skips_read() {
            self.give_way(cx);
            return Poll::Pending;
        }

        let to = Consumer {
            connection: &mut self.connection,
            context: &self.outlet.context,
        };
        if to.connection.is_interrupted() {
            self.input.resume(to);
            self.fairness.end_turn();
            return Poll::Ready(());
        }

        match self.input.poll_read(cx, &mut self.transport, to) {
            Poll::Ready(Ok(Read {
                count: count @ 1..,
                bulk,
            })) => {
                self.note_read(count, bulk);
                // Read once in each turn: a client that is written to all the time is heard, too.
                if flushed == Flushed::Paused {
                    return Poll::Pending;
                }
                self.fairness.count_read();
            }
            Poll::Ready(_) => self.lost(),
            Poll::Pending => {
                self.fairness.rest();
                // Pending may precede the readiness event of the runtime, which wakes this task.
                if self.outlet.is_overdue() && !self.outlet.has_unread() {
                    self.judge();
                }
                return Poll::Pending;
            }
        }

        self.leave_wakeups(cx)
    }

    /// Asks the hook that the connection waits for, or continues work that was cut into slices.
    fn poll_hook(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        if self.fairness.skips_work(self.connection.gives_way()) {
            self.give_way(cx);
            return Poll::Pending;
        }

        let now = self.outlet.context.now();
        if self.connection.poll(cx, now).is_pending() {
            // Input behind the pending hook does not count as CONNECT.
            self.judge();
            return Poll::Pending;
        }

        self.input.resume(Consumer {
            connection: &mut self.connection,
            context: &self.outlet.context,
        });
        Poll::Ready(())
    }

    /// Notes what a read has brought.
    #[inline]
    fn note_read(&mut self, count: usize, bulk: bool) {
        self.heard = true;
        if self.outlet.is_overdue() {
            self.note_overdue(count);
        }
        if bulk || self.connection.is_interrupted() {
            self.fairness.end_turn();
        }
    }

    /// Leaves the wake-ups of what was read to the thread's, or to the next round: other connections that
    /// are ready to be read may have more for the same receivers. Much for one receiver is written
    /// immediately, while the processor's cache still has it.
    #[inline]
    fn leave_wakeups(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let is_run = self.fairness.is_turn_over() && self.connection.has_one_dirty_other();
        let much = self.input.is_large() || is_run;
        if !much && self.connection.has_dirty_others() {
            let Context { hub, time, .. } = &*self.outlet.context;
            self.owes_flush = (self.wakeups).collect(&mut self.connection, hub, || time.now());
            if self.owes_flush {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }

        Poll::Ready(())
    }

    /// Judges an overdue client that is not read from. Packets cannot count while they are not read;
    /// reading output counts instead.
    fn judge_by_output(&mut self) {
        if self.outlet.is_overdue() {
            if self.outlet.accepted_again() {
                self.connection.note_output_read(self.outlet.context.now());
            }
            self.judge();
        }
    }

    /// Ends an overdue client, or arms its next deadline: its unread input was handled.
    fn judge(&mut self) {
        self.outlet.judge(self.connection.link());
        self.overdue_bytes = 0;
    }

    /// Bounds the reading of an overdue client that sends without a pause: the bytes of the longest
    /// packet have either contained a whole packet or nothing that counts.
    #[cold]
    fn note_overdue(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.overdue_bytes = self.overdue_bytes.saturating_add(count);
        if self.overdue_bytes >= self.outlet.context.hub.config().limits.packet_bytes {
            self.judge();
        }
    }

    /// Whether there is room for more answers to a client that does not take the last ones.
    fn may_answer(&self) -> bool {
        let unwritten = self.connection.unwritten_replies();
        unwritten == 0 || unwritten <= REPLIES_HIGH && !self.outlet.context.hub.is_full()
    }

    /// Writes the output, or a part of a long backlog.
    fn poll_flush(&mut self, cx: &mut task::Context<'_>) -> Flushed {
        self.unwritten |=
            self.connection.has_output() || self.connection.link().take_write_request();
        if !self.unwritten {
            return Flushed::Empty;
        }

        if self.fairness.skips_backlog() {
            self.give_way(cx);
            return Flushed::Paused;
        }

        let flushed = self.write(cx);
        self.unwritten = matches!(flushed, Flushed::Blocked | Flushed::Paused);
        match flushed {
            Flushed::Failed => self.lost(),
            Flushed::Empty => self.connection.output_written(),
            Flushed::Paused => self.fairness.pause_backlog(),
            Flushed::Blocked => {}
        }

        flushed
    }

    /// Writes. The task is woken when what is left can be written.
    fn write(&mut self, cx: &mut task::Context<'_>) -> Flushed {
        let flushed = self.outlet.flush_on_driver(&mut self.transport, cx);
        if flushed == Flushed::Paused {
            self.give_way(cx);
        }
        flushed
    }

    /// The other side closed, or the transport broke.
    fn lost(&mut self) {
        self.stage = Stage::Closing(DISCARD);
        self.input = Input::new();
        let (context, link) = (&self.outlet.context, self.connection.link());
        if self.heard {
            context.hub.lost(link, context.now());
        } else {
            context.hub.closed_unheard(link, context.now());
        }
    }

    /// Whether the transport is kept open for the client, which may not have read yet why it was
    /// disconnected. A shutdown waits for no client.
    fn worth_waiting(&self) -> bool {
        !matches!(
            self.connection.link().ended(),
            Some(
                DisconnectReason::ByClient(_)
                    | DisconnectReason::ConnectionLost
                    | DisconnectReason::Shutdown
            )
        )
    }

    /// Time is up for an ended connection.
    fn lingered(&mut self, cx: &mut task::Context<'_>) -> bool {
        let linger = self
            .linger
            .get_or_insert_with(|| Box::new(self.outlet.context.timers.sleep(LINGER)));
        Pin::new(&mut **linger).poll(cx).is_ready()
    }

    /// Whether the broker has stopped waiting for clients.
    fn is_cut(&mut self, cx: &mut task::Context<'_>) -> bool {
        let token = &self.outlet.context.cut;
        let cut = self
            .cut
            .get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        cut.as_mut().poll(cx).is_ready()
    }

    fn flush_last(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let flushed = self.write(cx);
        let waits = match flushed {
            Flushed::Empty | Flushed::Failed => false,
            Flushed::Blocked => !self.is_cut(cx),
            // The transport accepts output: finish writing.
            Flushed::Paused => true,
        };

        if waits && !self.lingered(cx) {
            return Poll::Pending;
        }

        let failed = flushed != Flushed::Empty;
        let shut = self.transport.poll_shutdown(cx);
        let discarded = if failed || matches!(shut, Poll::Ready(Err(_))) {
            DISCARD
        } else {
            0
        };

        self.stage = Stage::Closing(discarded);
        Poll::Ready(())
    }

    /// Waits for the other side to close, so that what was written last is not lost in a reset.
    fn close(&mut self, cx: &mut task::Context<'_>, mut discarded: u32) -> Poll<()> {
        let mut scratch = [0; 4096];
        while discarded < DISCARD {
            let mut buffer = ReadBuf::new(&mut scratch);
            match self.transport.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    discarded += u32::try_from(buffer.filled().len()).unwrap_or(DISCARD);
                }
                Poll::Ready(_) => discarded = DISCARD,
                Poll::Pending if !self.worth_waiting() || self.is_cut(cx) || self.lingered(cx) => {
                    discarded = DISCARD;
                }
                Poll::Pending => {
                    self.stage = Stage::Closing(discarded);
                    return Poll::Pending;
                }
            }
        }

        Poll::Ready(())
    }
}

impl<T: Transport> Future for Driver<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let driver = &mut *self;
        driver.outlet.begin_turn();
        // A panic ends this connection and no other.
        match catch_unwind(AssertUnwindSafe(|| driver.drive(cx))) {
            Ok(done) => {
                let unhandled = driver.connection.is_interrupted();
                driver.outlet.end_turn(unhandled);
                done
            }
            Err(_) => {
                let context = &self.outlet.context;
                let link = self.connection.link();
                context.hub.caught_panic(link, context.now());
                Poll::Ready(())
            }
        }
    }
}

impl<T: Transport> Driver<T> {
    /// Flushes the thread's collected wake-ups, if this driver owes that.
    fn flush_wakeups(&mut self) {
        if std::mem::take(&mut self.owes_flush) {
            let Context { hub, time, .. } = &*self.outlet.context;
            self.wakeups.flush(hub, || time.now());
        }
    }
}

impl<T: Transport> Drop for Driver<T> {
    fn drop(&mut self) {
        self.flush_wakeups();
        self.connection.flush_dirty();

        let context = &self.outlet.context;
        context.hub.closed(self.connection.link(), context.now());
        self.outlet.close();
    }
}
