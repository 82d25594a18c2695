//! The IO of one connection: one `poll`, no `select!`.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_core::{Connection, DisconnectReason, Link};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::input::{Input, Read, Sink};
use super::outlet::{Flushed, Outlet};
use crate::engine::runtime::Core;
use crate::engine::workers::Home;
use crate::error::ConnectError;
use crate::transport::{Ends, Transport};

/// Reads before other connections get their turn.
const READ_BUDGET: u8 = 4;
/// Rounds of the runtime that others then have to themselves. A small message needs three on its
/// way: it is read; its receiver is told, after all that was ready has been read; it is written.
const ROUNDS: u8 = 3;
/// Acknowledgements that may wait unsent before nothing more is read from the client.
const REPLIES_HIGH: usize = 64 * 1024;
/// Time for the last bytes of an ended connection to get out.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes thrown away while waiting for the other side to close.
const DISCARD: u32 = 1 << 20;

enum Stage {
    /// Nothing has been read yet.
    Fresh,
    /// To come in when something has arrived.
    Outside,
    /// It waits for its turn to come in.
    Queued,
    Running,
    /// The connection has ended: the last bytes go out.
    Flushing,
    /// Nothing more is written; waiting for the other side to close.
    Closing(u32),
}

/// Takes in a connection whose socket belongs to the runtime `home`, if there is room.
pub(crate) fn connect<T: Transport>(
    core: &Arc<Core>,
    home: &Arc<Home>,
    (transport, shared): Ends<T>,
    peer: Arc<str>,
    listener: Arc<str>,
) -> bool {
    let outlet = Arc::new(Outlet::new(core.clone(), shared));
    let accepted = core
        .hub
        .accept(peer, listener, outlet.clone(), core.time.now());
    let Some(link) = accepted else { return false };

    let driver = Driver::new(transport, outlet, link, home.clone());
    core.spawn_connection(&home.runtime, driver);
    true
}

/// The same for the host, which is told when there is none.
pub(crate) fn connect_checked<T: Transport>(
    core: &Arc<Core>,
    home: &Arc<Home>,
    ends: Ends<T>,
    peer: &str,
) -> Result<(), ConnectError> {
    if !core.is_closing() && connect(core, home, ends, peer.into(), peer.into()) {
        Ok(())
    } else {
        Err(ConnectError::Refused)
    }
}

/// Drives one connection from its first byte to its last. In the order of use: what each message
/// touches lies together.
#[repr(C)]
struct Driver<T> {
    transport: T,
    outlet: Arc<Outlet>,
    home: Arc<Home>,
    stage: Stage,
    /// Reads since the last pause; beyond the budget, rounds of this pause.
    reads: u8,
    /// Rounds until more of a backlog is written.
    rounds: u8,
    /// Others have had their turn since the connection has begun to wait for that.
    gave_way: bool,
    /// There may be output that nobody else writes: acknowledgements of what was read, and what the
    /// socket did not take.
    unwritten: bool,
    /// To tell those who have to be told, for all connections of this thread.
    tells: bool,
    /// At least one byte was read.
    heard: bool,
    /// Bytes read since the silence deadline was reached.
    overdue: u32,
    input: Input,
    connection: Connection,
    linger: Option<Pin<Box<Sleep>>>,
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<T: Transport> Driver<T> {
    fn new(transport: T, outlet: Arc<Outlet>, link: Arc<Link>, home: Arc<Home>) -> Self {
        outlet.bind(link.clone());

        let connection = Connection::new(outlet.core.hub.clone(), link);
        Self {
            transport,
            connection,
            outlet,
            home,
            input: Input::new(),
            stage: Stage::Fresh,
            linger: None,
            reads: 0,
            rounds: 0,
            gave_way: false,
            unwritten: true,
            tells: false,
            heard: false,
            overdue: 0,
            cut: None,
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
                Stage::Outside if !self.outlet.core.may_enter(cx.waker()) => {
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

    /// Lets others have their turn. Those whose sockets are ready come first too: waking oneself
    /// would keep the runtime from looking at its sockets for many rounds.
    fn give_way(&self, cx: &mut Context<'_>) {
        let pause = std::pin::pin!(tokio::task::yield_now());
        if pause.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// One round: write, ask a hook, read. Pending when nothing can go on.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.tell_all();
        self.connection.notify_receivers();
        let flushed = self.poll_flush(cx);
        if self.connection.link().ended().is_some() {
            self.stage = Stage::Flushing;
            self.input = Input::new();
            return Poll::Ready(());
        }
        if self.connection.is_waiting() {
            if self.connection.gives_way() && !self.gave_way {
                self.gave_way = true;
                self.give_way(cx);
                return Poll::Pending;
            }
            self.gave_way = false;
            if self
                .connection
                .poll(cx, self.outlet.core.now())
                .is_pending()
            {
                // Input behind the pending hook does not count as CONNECT.
                self.judge();
                return Poll::Pending;
            }
            self.input.resume(Sink {
                connection: &mut self.connection,
                core: &self.outlet.core,
            });
            return Poll::Ready(());
        }
        if flushed != Flushed::Empty && !self.may_answer() {
            if self.outlet.is_overdue() {
                // Packets cannot count while they are not read; reading output counts instead.
                if self.outlet.took() {
                    self.connection.is_taking(self.outlet.core.now());
                }
                self.judge();
            }
            return Poll::Pending;
        }
        if self.reads >= READ_BUDGET {
            self.reads += 1;
            if self.reads >= READ_BUDGET + ROUNDS {
                self.reads = 0;
            }
            self.give_way(cx);
            return Poll::Pending;
        }
        let to = Sink {
            connection: &mut self.connection,
            core: &self.outlet.core,
        };
        if to.connection.is_interrupted() {
            self.input.resume(to);
            self.reads = READ_BUDGET;
            return Poll::Ready(());
        }

        match self.input.poll_read(cx, self.transport.reader(), to) {
            Poll::Ready(Ok(Read {
                count: count @ 1..,
                bulk,
            })) => {
                self.heard = true;
                if self.outlet.is_overdue() {
                    self.note_overdue(count);
                }
                if bulk || self.connection.is_interrupted() {
                    self.reads = READ_BUDGET;
                }
                // Read once in each turn: a client that is written to all the time is heard, too.
                if flushed == Flushed::Paused {
                    return Poll::Pending;
                }
                self.reads = (self.reads + 1).min(READ_BUDGET);
            }
            Poll::Ready(_) => self.lost(),
            Poll::Pending => {
                self.reads = 0;
                // Pending may precede the readiness event of the runtime, which wakes this task.
                if self.outlet.is_overdue() && !self.outlet.has_unread() {
                    self.judge();
                }
                return Poll::Pending;
            }
        }
        // Others that are ready to read may have more for the same receivers. Much for one receiver
        // is written at once, while the processor's cache still has it.
        let much =
            self.input.is_large() || self.reads >= READ_BUDGET && self.connection.owes_one_notice();
        if !much && self.connection.owes_others_notice() {
            let core = &self.outlet.core;
            let notices = &self.home.notices;
            self.tells = notices.collect(&mut self.connection, &core.hub, || core.now());
            if self.tells {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Ends an overdue client, or arms its next deadline: its unread input was handled.
    fn judge(&mut self) {
        self.outlet.judge(self.connection.link());
        self.overdue = 0;
    }

    /// Bounds the reading of an overdue client that sends without a pause: the bytes of the longest
    /// packet have either contained a whole packet or nothing that counts.
    #[cold]
    fn note_overdue(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.overdue = self.overdue.saturating_add(count);
        if self.overdue >= self.outlet.core.hub.config().limits.packet_bytes {
            self.judge();
        }
    }

    /// Whether there is room for more answers to a client that does not take the last ones.
    fn may_answer(&self) -> bool {
        let unwritten = self.connection.unwritten_replies();
        unwritten == 0 || unwritten <= REPLIES_HIGH && !self.outlet.core.hub.is_full()
    }

    /// Writes what there is to write, some of it if there is very much.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Flushed {
        self.unwritten |= self.connection.has_output() || self.connection.link().take_asked();
        if !self.unwritten {
            return Flushed::Empty;
        }

        if self.rounds > 0 {
            self.rounds -= 1;
            self.give_way(cx);
            return Flushed::Paused;
        }

        let flushed = self.write(cx);
        self.unwritten = matches!(flushed, Flushed::Blocked | Flushed::Paused);
        match flushed {
            Flushed::Failed => self.lost(),
            Flushed::Empty => self.connection.output_written(),
            Flushed::Paused => self.rounds = ROUNDS - 1,
            Flushed::Blocked => {}
        }

        flushed
    }

    /// Writes; with something left, the task is woken when it is to go on.
    fn write(&mut self, cx: &mut Context<'_>) -> Flushed {
        let transport = &mut self.transport;
        let flushed = self.outlet.flush_with(|slices| {
            let written = transport.poll_write(cx, slices);
            match written {
                Poll::Ready(result) => result,
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        if flushed == Flushed::Paused {
            self.give_way(cx);
        }
        flushed
    }

    /// The other side closed, or the transport broke.
    fn lost(&mut self) {
        self.stage = Stage::Closing(DISCARD);
        self.input = Input::new();
        let core = &self.outlet.core;
        if self.heard {
            core.hub.lost(self.connection.link(), core.now());
        } else {
            core.hub.left(self.connection.link(), core.now());
        }
    }

    /// Whether the client is to be waited for before the socket is closed, because it may not have
    /// read yet why it was disconnected. At shutdown nobody is waited for.
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
    fn lingered(&mut self, cx: &mut Context<'_>) -> bool {
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        linger.as_mut().poll(cx).is_ready()
    }

    /// Whether the broker has stopped waiting for clients.
    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        let token = &self.outlet.core.cut;
        let cut = self
            .cut
            .get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        cut.as_mut().poll(cx).is_ready()
    }

    fn flush_last(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
    fn close(&mut self, cx: &mut Context<'_>, mut discarded: u32) -> Poll<()> {
        let mut scratch = [0; 4096];
        while discarded < DISCARD {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(self.transport.reader()).poll_read(cx, &mut buffer) {
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

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
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
                self.outlet
                    .core
                    .hub
                    .caught_panic(self.connection.link(), self.outlet.core.now());
                Poll::Ready(())
            }
        }
    }
}

impl<T> Driver<T> {
    /// Tells all who have to be told, if this connection is to do that.
    fn tell_all(&mut self) {
        if std::mem::take(&mut self.tells) {
            let core = &self.outlet.core;
            self.home.notices.tell(&core.hub, || core.now());
        }
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.tell_all();
        self.connection.notify_receivers();
        self.outlet
            .core
            .hub
            .closed(self.connection.link(), self.outlet.core.now());
        self.outlet.close();
    }
}
